//! Logs the requests of operators to both of their servers, so that tests can check them. No submission may leave before its
//! intent was written.

use approval_operator::api::v1alpha1::Reason;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use test_support::proxy::{Handler, ProxiedKubeconfig, ProxiedRequest, Proxy, Response};
use test_support::{OperatorCommand, TestEnv};

/// The requests of all operators of a test.
#[derive(Default)]
pub struct RequestLog(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// How many intents were written, by the token of the approval request.
    intents: BTreeMap<String, usize>,
    /// How many results were submitted, by the token of the approval request.
    submissions: BTreeMap<String, usize>,
    /// How many requests there were of each kind.
    requests: BTreeMap<String, usize>,
    /// Intents that the API server refused because someone else had written.
    conflicts: usize,
    violations: Vec<String>,
}

/// An operator that reaches both of its servers through proxies.
pub struct ProxiedOperator {
    pub command: OperatorCommand,
    _kubeconfig: ProxiedKubeconfig,
    _proxies: [Proxy; 2],
}

impl RequestLog {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An operator whose requests to the API server go through this handler, which forwards them with [`Self::forward`].
    pub async fn proxied_operator(self: &Arc<Self>, env: &TestEnv, to_api_server: impl Handler) -> ProxiedOperator {
        self.proxied_operator_with(env, to_api_server, self.forward_all()).await
    }

    /// The same with a handler for the requests to CodePipeline too.
    pub async fn proxied_operator_with(
        self: &Arc<Self>,
        env: &TestEnv,
        to_api_server: impl Handler,
        to_codepipeline: impl Handler,
    ) -> ProxiedOperator {
        let (api_server, kubeconfig) = Proxy::to_api_server(&env.kubeconfig, to_api_server).await;
        let codepipeline = Proxy::to_codepipeline(&env.codepipeline.url(), to_codepipeline).await;
        let command = env.operator_via(kubeconfig.path()).env("AWS_ENDPOINT_URL", codepipeline.url());
        ProxiedOperator { command, _kubeconfig: kubeconfig, _proxies: [api_server, codepipeline] }
    }

    /// Forwards every request.
    pub fn forward_all(self: &Arc<Self>) -> impl Handler {
        let log = self.clone();
        move |request| {
            let log = log.clone();
            Box::pin(async move { log.forward(request).await })
        }
    }

    /// Logs a request and forwards it.
    pub async fn forward(&self, request: ProxiedRequest) -> Option<Response> {
        let kind = request.name.kind.clone();
        *self.entries().requests.entry(kind.clone()).or_default() += 1;
        let intent = (kind == "PUT approvaldecisions/status").then(|| intent_token(&request.body)).flatten();
        if kind == "PutApprovalResult" {
            self.log_submission(&request.body);
        }
        let response = request.forward().await?;
        match intent {
            Some(token) if response.status().is_success() => *self.entries().intents.entry(token).or_default() += 1,
            Some(_) if response.status() == 409 => self.entries().conflicts += 1,
            Some(_) | None => {}
        }
        Some(response)
    }

    fn log_submission(&self, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let token = body["token"].as_str().unwrap_or_default().to_owned();
        let mut entries = self.entries();
        let submissions = entries.submissions.entry(token.clone()).or_default();
        *submissions += 1;
        let submissions = *submissions;
        if submissions > entries.intents.get(&token).copied().unwrap_or_default() {
            entries.violations.push(format!("a result was submitted to {} without an intent", body["pipelineName"]));
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    /// How many requests of a kind were forwarded.
    pub fn requests(&self, kind: &str) -> usize {
        self.entries().requests.get(kind).copied().unwrap_or_default()
    }

    pub fn conflicts(&self) -> usize {
        self.entries().conflicts
    }

    pub fn violations(&self) -> Vec<String> {
        self.entries().violations.clone()
    }
}

/// The token of the intent, if this status is one.
pub fn intent_token(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let status = &body["status"];
    let mut conditions = status["conditions"].as_array()?.iter();
    let is_intent = conditions.any(|it| it["type"] == "Ready" && it["reason"] == Reason::Submitting.as_str());
    is_intent.then(|| status["submission"]["token"].as_str().unwrap().to_owned())
}
