//! The webhook receivers of Flux and Argo CD, and the event that GitLab sends to them after a push.

use super::installation::{Installation, WEBHOOK_TOKEN, example};
use super::site::{Controller, Site};
use http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use test_control_plane::User;
use test_support::chart::{apply, kubectl};

impl Site {
    /// The URL of the webhook. Flux has a receiver for each repository, and Argo CD one for all.
    pub fn webhook_url(&self) -> String {
        let installation = Installation::shared();
        match self.controller {
            Controller::Flux => {
                let namespace = &self.env.namespace;
                let secret = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": { "name": format!("{namespace}-webhook"), "namespace": namespace },
                    "stringData": { "token": WEBHOOK_TOKEN },
                });
                let mut objects = example("flux-receiver.yaml", namespace, "", "");
                objects.insert(0, secret);
                apply(&installation.cluster, &objects);
                let run = |arguments: &[&str]| {
                    let arguments = [&["--namespace", namespace], arguments].concat();
                    kubectl(&installation.cluster, User::Admin, &arguments, &Value::Null).expect_success()
                };
                let receiver = format!("receiver/{namespace}");
                run(&["wait", "--for=condition=Ready", "--timeout=60s", &receiver]);
                let path = run(&["get", &receiver, "--output=jsonpath={.status.webhookPath}"]);
                format!("http://{}{path}", installation.flux_webhooks)
            }
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                format!("http://{}/api/webhook", installation.argo_cd_webhooks)
            }
        }
    }

    /// Sends the event of a push.
    pub async fn send_webhook(&self, url: &str, commit: &str, file: &str) {
        let event = json!({
            "object_kind": "push",
            "ref": "refs/heads/main",
            "after": commit,
            "project": { "web_url": self.repository.url.trim_end_matches(".git"), "default_branch": "main" },
            "commits": [{ "id": commit, "modified": [file] }],
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        let accepted = async || {
            let request = Request::post(url)
                .header("Content-Type", "application/json")
                .header("X-Gitlab-Event", "Push Hook")
                .header("X-Gitlab-Token", WEBHOOK_TOKEN)
                .body(event.to_string())
                .unwrap();
            // The receiver may not have started yet.
            client.request(request).await.is_ok_and(|response| response.status().is_success())
        };
        self.operator.eventually("the receiver accepts the event", accepted).await;
    }

    /// What the receiver logs when it has requested what [`Site::notify`] requests.
    pub fn webhook_log(&self) -> String {
        match self.controller {
            Controller::Flux => format!("resource 'GitRepository/{0}.{0}' annotated", self.env.namespace),
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                format!("Requested app '{}-checkout' refresh", self.env.namespace)
            }
        }
    }
}
