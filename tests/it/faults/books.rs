//! The books about operators: what passes between them and their neighbours is entered, so that they can be held to it. No
//! answer may leave before an intent to give it has landed.

use crate::support::wire::{Answer, Linked, Passing, Script, Wire};
use crate::support::{Case, Settings};
use approval_operator::api::v1alpha1::Reason;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Of all operators of a test.
#[derive(Default)]
pub struct Books(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// By the token of the request: intents that landed, and answers that were sent.
    intents: BTreeMap<String, usize>,
    answers: BTreeMap<String, usize>,
    /// What a request is, and how many there were.
    requests: BTreeMap<String, usize>,
    /// Intents that were refused, for somebody else had written.
    collisions: usize,
    wrong: Vec<String>,
}

/// An operator's ways to both of its neighbours, which are wires.
pub struct Wired {
    pub settings: Settings,
    _linked: Linked,
    _wires: [Wire; 2],
}

impl Books {
    pub fn open() -> Arc<Self> {
        Arc::default()
    }

    /// The ways of an operator whose requests to the API server go as the script has it, which passes on by [`Self::pass`].
    pub async fn wired(self: &Arc<Self>, case: &Case, to_api_server: impl Script) -> Wired {
        self.wired_by(case, to_api_server, self.honest()).await
    }

    /// The same with a script for the way to the service too.
    pub async fn wired_by(self: &Arc<Self>, case: &Case, to_api_server: impl Script, to_service: impl Script) -> Wired {
        let (to_api_server, linked) = Wire::to_api_server(&case.kubeconfig, to_api_server).await;
        let to_service = Wire::to_service(&case.service.url(), to_service).await;
        let settings = case.operator_by(linked.kubeconfig()).set("AWS_ENDPOINT_URL", to_service.url());
        Wired { settings, _linked: linked, _wires: [to_api_server, to_service] }
    }

    /// Passes everything on.
    pub fn honest(self: &Arc<Self>) -> impl Script {
        let books = self.clone();
        move |passing| {
            let books = books.clone();
            Box::pin(async move { books.pass(passing).await })
        }
    }

    /// Passes a request on, and enters it.
    pub async fn pass(&self, passing: Passing) -> Option<Answer> {
        let kind = passing.name.kind.clone();
        *self.entries().requests.entry(kind.clone()).or_default() += 1;
        let intent = (kind == "PUT approvaldecisions/status").then(|| intended(&passing.body)).flatten();
        if kind == "PutApprovalResult" {
            self.sent(&passing.body);
        }
        let answer = passing.forward().await?;
        match intent {
            Some(token) if answer.status().is_success() => *self.entries().intents.entry(token).or_default() += 1,
            Some(_) if answer.status() == 409 => self.entries().collisions += 1,
            Some(_) | None => {}
        }
        Some(answer)
    }

    fn sent(&self, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let token = body["token"].as_str().unwrap_or_default().to_owned();
        let mut entries = self.entries();
        let answers = entries.answers.entry(token.clone()).or_default();
        *answers += 1;
        let answers = *answers;
        if answers > entries.intents.get(&token).copied().unwrap_or_default() {
            entries.wrong.push(format!("an answer to {} was sent without an intent", body["pipelineName"]));
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    /// How many requests of a kind were passed on.
    pub fn requests(&self, kind: &str) -> usize {
        self.entries().requests.get(kind).copied().unwrap_or_default()
    }

    pub fn collisions(&self) -> usize {
        self.entries().collisions
    }

    pub fn wrong(&self) -> Vec<String> {
        self.entries().wrong.clone()
    }
}

/// The token of the intent, if a status that is written is one.
pub fn intended(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let status = &body["status"];
    let mut conditions = status["conditions"].as_array()?.iter();
    let is_intent = conditions.any(|it| it["type"] == "Ready" && it["reason"] == Reason::Submitting.as_str());
    is_intent.then(|| status["submission"]["token"].as_str().unwrap().to_owned())
}
