//! The requests for one decision, prepared before the clock starts, with the statuses that the operator would write.

use super::connection::{Connection, Template};
use super::{CeilingOptions, RequestKind, WriteMethod};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Submission, Token};
use approval_operator::decision::{Details, Intent, Outcome, PriorAttempts, Report, Settings, status};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Resource, ResourceExt};
use serde_json::json;

/// The placeholder of the resourceVersion in a body.
pub const VERSION: &str = "@version@";

/// The requests for one decision, in order.
pub struct DecisionRequests {
    version: String,
    requests: Vec<Template>,
}

impl DecisionRequests {
    pub fn new(decision: &ApprovalDecision, options: &CeilingOptions) -> Self {
        let path = ApprovalDecision::url_path(&(), decision.namespace().as_deref());
        let path = format!("{path}/{}", decision.name_any());
        let (now, mut decision) = (Timestamp::now(), decision.clone());
        decision.metadata.managed_fields = None;
        let requests = match options.requests {
            RequestKind::Get => vec![Template::get(&path)],
            RequestKind::NoOpWrite => {
                let status = decision.status.clone().unwrap_or_default();
                vec![status_write(&path, &decision, &status, options)]
            }
            RequestKind::StatusWrites
            | RequestKind::StatusWritesAndEvent
            | RequestKind::WatchedStatusWritesAndEvent => {
                let outcome = Outcome::Submitting(intent(&decision, now));
                let submitting = status(&decision, &outcome, now);
                let first = status_write(&path, &decision, &submitting, options);
                decision.status = Some(submitting);
                let outcome = Outcome::Delivered { approved_at: Some(now), record: None };
                let second = status_write(&path, &decision, &status(&decision, &outcome, now), options);
                let with_event = options.requests != RequestKind::StatusWrites;
                let event = with_event.then(|| event_write(&decision, &outcome, now));
                [first, second].into_iter().chain(event).collect()
            }
        };
        Self { version: decision.resource_version().unwrap_or_default(), requests }
    }

    pub async fn send(&self, connection: &mut Connection) {
        let mut version = self.version.clone();
        for request in &self.requests {
            version = connection.send(request, &version).await;
        }
    }
}

fn intent(decision: &ApprovalDecision, now: Timestamp) -> Intent {
    let token = decision.spec.token.clone().unwrap_or_else(|| Token(String::new()));
    let spec = &decision.spec;
    let submission = Submission {
        target: None,
        account_id: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        session_name: None,
        pipeline_name: spec.pipeline_name.clone(),
        stage_name: spec.stage_name.clone(),
        action_name: spec.action_name.clone(),
        pipeline_execution_id: None,
        action_execution_id: None,
        token,
        result: spec.result.clone(),
        attempts: 1,
        start_time: now,
        deadline: now.saturating_add(SignedDuration::from_secs(20)).unwrap(),
        outcome: None,
    };
    Intent { submission, execution: None, prior: PriorAttempts::NotApplied }
}

fn status_write(
    path: &str,
    decision: &ApprovalDecision,
    status: &ApprovalDecisionStatus,
    options: &CeilingOptions,
) -> Template {
    let mut object = serde_json::to_value(decision).unwrap();
    object["metadata"]["resourceVersion"] = VERSION.into();
    object["status"] = serde_json::to_value(status).unwrap();
    let metadata =
        json!({ "name": decision.name_any(), "namespace": decision.namespace(), "resourceVersion": VERSION });
    let without_spec = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "status": object["status"],
    });
    let (http_method, content_type, body) = match options.method {
        WriteMethod::Put => ("PUT", "application/json", object),
        WriteMethod::PutStatus => ("PUT", "application/json", without_spec),
        WriteMethod::MergePatch => {
            let patch = json!({ "metadata": { "resourceVersion": VERSION }, "status": object["status"] });
            ("PATCH", "application/merge-patch+json", patch)
        }
        WriteMethod::JsonPatch => {
            let test = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": VERSION });
            let add = json!({ "op": "add", "path": "/status", "value": object["status"] });
            ("PATCH", "application/json-patch+json", json!([test, add]))
        }
        WriteMethod::Apply => ("PATCH", "application/apply-patch+yaml", without_spec),
    };
    let apply = if options.method == WriteMethod::Apply { "fieldManager=ceiling&force=true" } else { "" };
    let validation = if options.ignore_unknown_fields { "fieldValidation=Ignore" } else { "" };
    Template::new(http_method, &format!("{path}/status?{validation}&{apply}"), content_type, &body.to_string())
}

fn event_write(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> Template {
    // No detail depends on them.
    let settings = Settings {
        aws_timeout: SignedDuration::ZERO,
        waiting_limit: SignedDuration::ZERO,
        poll_interval: SignedDuration::ZERO,
    };
    let details = Details { settings: &settings, snapshot: None, location: None };
    let announcement = Report::new(decision, outcome, details, None, now).announcement.unwrap();
    let namespace = decision.namespace().unwrap();
    let object = decision.object_ref(&());
    let body = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": format!("{}.{:x}", decision.name_any(), now.as_nanosecond()), "namespace": namespace },
        "eventTime": MicroTime(now),
        "regarding": object,
        "note": announcement.note,
        "reason": announcement.reason.as_str(),
        "action": "PutApprovalResult",
        "type": "Normal",
        "reportingController": "ceiling",
        "reportingInstance": "ceiling",
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?");
    Template::new("POST", &path, "application/json", &body.to_string())
}
