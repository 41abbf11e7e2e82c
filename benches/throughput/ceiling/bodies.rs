//! What is asked for one decision, made ahead: the very statuses that the operator would write.

use super::connection::{Connection, Template};
use super::{Question, Tuning, Write};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Submission, Token};
use approval_operator::codepipeline::ExecutionIds;
use approval_operator::decision::{Earlier, Intent, Outcome, event, message, status};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

/// Stands in a body where a resourceVersion is to be.
pub const VERSION: &str = "@version@";

/// The requests of one decision, one after the other.
pub struct Writes {
    version: String,
    requests: Vec<Template>,
}

impl Writes {
    pub fn of(decision: &ApprovalDecision, tuning: &Tuning) -> Self {
        let path = ApprovalDecision::url_path(&(), decision.namespace().as_deref());
        let path = format!("{path}/{}", decision.name_any());
        let (now, mut decision) = (Timestamp::now(), decision.clone());
        decision.metadata.managed_fields = None;
        let requests = match tuning.ask {
            Question::Get => vec![Template::get(&path)],
            Question::Same => {
                let status = decision.status.clone().unwrap_or_default();
                vec![write(&path, &decision, &status, tuning)]
            }
            Question::Writes | Question::WritesAndEvent | Question::WatchedWritesAndEvent => {
                let outcome = Outcome::Submitting(intent(&decision, now));
                let submitting = status(&decision, &outcome, now);
                let first = write(&path, &decision, &submitting, tuning);
                decision.status = Some(submitting);
                let outcome = Outcome::Delivered { approved_at: Some(now), record: None };
                let second = write(&path, &decision, &status(&decision, &outcome, now), tuning);
                let with_event = tuning.ask != Question::Writes;
                let event = with_event.then(|| event_of(&decision, &outcome, now));
                [first, second].into_iter().chain(event).collect()
            }
        };
        Self { version: decision.resource_version().unwrap_or_default(), requests }
    }

    pub async fn carry_out(&self, connection: &mut Connection) {
        let mut version = self.version.clone();
        for request in &self.requests {
            version = connection.send(request, &version).await;
        }
    }
}

fn intent(decision: &ApprovalDecision, now: Timestamp) -> Intent {
    let token = decision.spec.token.clone().unwrap_or_else(|| Token(String::new()));
    let deadline = now.saturating_add(SignedDuration::from_secs(20)).unwrap();
    let submission = Submission { attempts: 1, start_time: now, deadline, token };
    Intent { submission, ids: ExecutionIds::default(), earlier: Earlier::NotTaken }
}

fn write(path: &str, decision: &ApprovalDecision, status: &ApprovalDecisionStatus, tuning: &Tuning) -> Template {
    let mut object = serde_json::to_value(decision).unwrap();
    object["metadata"]["resourceVersion"] = VERSION.into();
    object["status"] = serde_json::to_value(status).unwrap();
    let metadata =
        json!({ "name": decision.name_any(), "namespace": decision.namespace(), "resourceVersion": VERSION });
    let slim = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "status": object["status"],
    });
    let (method, kind, body) = match tuning.write {
        Write::Put => ("PUT", "application/json", object),
        Write::PutStatus => ("PUT", "application/json", slim),
        Write::MergePatch => ("PATCH", "application/merge-patch+json", merge(object["status"].take())),
        Write::JsonPatch => {
            let test = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": VERSION });
            let add = json!({ "op": "add", "path": "/status", "value": object["status"] });
            ("PATCH", "application/json-patch+json", json!([test, add]))
        }
        Write::Apply => ("PATCH", "application/apply-patch+yaml", slim),
    };
    let apply = if tuning.write == Write::Apply { "fieldManager=ceiling&force=true" } else { "" };
    let lax = if tuning.lax { "fieldValidation=Ignore" } else { "" };
    Template::new(method, &format!("{path}/status?{lax}&{apply}"), kind, &body.to_string())
}

fn merge(status: Value) -> Value {
    json!({ "metadata": { "resourceVersion": VERSION }, "status": status })
}

fn event_of(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> Template {
    let event = event(decision, outcome, None).unwrap();
    let namespace = decision.namespace().unwrap();
    let object = decision.object_ref(&());
    let body = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": format!("{}.{:x}", decision.name_any(), now.as_nanosecond()), "namespace": namespace },
        "eventTime": MicroTime(now),
        "regarding": object,
        "note": message(decision, outcome),
        "reason": event.reason,
        "action": event.action,
        "type": "Normal",
        "reportingController": "ceiling",
        "reportingInstance": "ceiling",
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?");
    Template::new("POST", &path, "application/json", &body.to_string())
}
