//! A decision as it travels between the operator and the API server. Deserializing skips the metadata that the operator does not use:
//! managedFields alone are larger than everything else, in each response and each watch event. Serializing writes the status and
//! its precondition only: the API server ignores the rest of the body in a PUT of a status, but would parse and compare it.
//!
//! Measured with 2,000 waiting decisions, in one run: without this type the operator uses 14 % more CPU (0.94 instead of 0.82 s
//! per 1,000 decisions) and 7 % more memory (26.8 instead of 25.1 MiB), and delivers 5 % fewer decisions per second.

use super::approval_decision::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, REQUESTED_AT, Unsupported,
};
use super::approval_result::{ApprovalResult, ApprovalStatus};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A decision with only the metadata that the operator uses. It serializes as the body of a PUT of its status, without the spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WireInput")]
pub struct WireDecision(pub ApprovalDecision);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireOutput<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: Precondition<'a>,
    status: Option<&'a ApprovalDecisionStatus>,
}

/// The object and its version: the API server refuses the status of any other version with 409.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Precondition<'a> {
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    uid: Option<&'a str>,
    resource_version: Option<&'a str>,
}

impl Serialize for WireDecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(ApprovalDecision { metadata, status, .. }) = self;
        let metadata = Precondition {
            name: metadata.name.as_deref(),
            namespace: metadata.namespace.as_deref(),
            uid: metadata.uid.as_deref(),
            resource_version: metadata.resource_version.as_deref(),
        };
        let (api_version, kind) = (ApprovalDecision::api_version(&()), ApprovalDecision::kind(&()));
        WireOutput { api_version, kind, metadata, status: status.as_ref() }.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct WireInput {
    metadata: Metadata,
    spec: Value,
    status: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    annotations: Option<Annotations>,
}

/// The only annotation that the operator uses.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "codepipeline.approvals.dev/requestedAt")]
    requested_at: Option<String>,
}

impl From<WireInput> for WireDecision {
    fn from(WireInput { metadata, spec, status }: WireInput) -> Self {
        let requested_at = metadata.annotations.and_then(|annotations| annotations.requested_at);
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: requested_at.map(|value| BTreeMap::from([(REQUESTED_AT.to_owned(), value)])),
            ..ObjectMeta::default()
        };
        let mut spec = parse_spec(spec);
        let status = match status.map(ApprovalDecisionStatus::deserialize).transpose() {
            Ok(status) => status,
            Err(error) => {
                spec.unsupported = Some(Unsupported::Status(error.to_string()));
                None
            }
        };
        Self(ApprovalDecision { metadata, spec, status })
    }
}

/// Parses a spec. One that a newer version of the schema admitted must not stop the watch for all others.
fn parse_spec(value: Value) -> ApprovalDecisionSpec {
    let mut unknown_field = None;
    let note_field = |path: serde_ignored::Path<'_>| {
        unknown_field.get_or_insert_with(|| path.to_string());
    };
    match serde_ignored::deserialize(&value, note_field) {
        Ok(spec) => ApprovalDecisionSpec { unsupported: unknown_field.map(Unsupported::SpecField), ..spec },
        Err(error) => unsupported_spec(&value, error.to_string()),
    }
}

/// What can be read of a spec that cannot be parsed. It counts as a rejection of whatever its action asks for, because it may be
/// one, and nothing is ever sent for it.
fn unsupported_spec(value: &Value, error: String) -> ApprovalDecisionSpec {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let result = ApprovalResult { status: ApprovalStatus::Rejected, summary: String::new() };
    ApprovalDecisionSpec {
        unsupported: Some(Unsupported::SpecValue(error)),
        ..ApprovalDecisionSpec::new(text("pipelineName"), text("stageName"), text("actionName"), result)
    }
}

/// The same resource as [`ApprovalDecision`].
impl Resource for WireDecision {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(type_: &()) -> Cow<'_, str> {
        ApprovalDecision::kind(type_)
    }

    fn group(type_: &()) -> Cow<'_, str> {
        ApprovalDecision::group(type_)
    }

    fn version(type_: &()) -> Cow<'_, str> {
        ApprovalDecision::version(type_)
    }

    fn plural(type_: &()) -> Cow<'_, str> {
        ApprovalDecision::plural(type_)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1",
            "kind": "ApprovalDecision",
            "metadata": {
                "name": "release", "namespace": "team", "uid": "uid-1", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-07-01T12:00:00Z", "deletionTimestamp": "2026-07-01T12:01:00Z",
                "annotations": { REQUESTED_AT: "now" },
            },
            "spec": {
                "pipelineName": "shop", "stageName": "Production", "actionName": "Approve",
                "token": "0a1b2c3d-0000-4000-8000-00000000000a",
                "result": { "status": "Approved", "summary": "checked" },
            },
            "status": { "observedGeneration": -1 },
        })
    }

    #[test]
    fn unused_metadata_is_skipped_and_the_rest_is_kept() {
        let mut object_with_metadata = object();
        object_with_metadata["metadata"]["labels"] = json!({ "team": "web" });
        object_with_metadata["metadata"]["annotations"]["note"] = json!("keep");
        object_with_metadata["metadata"]["managedFields"] =
            json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        let WireDecision(decision) = serde_json::from_value(object_with_metadata).unwrap();
        assert_eq!(serde_json::to_value(&decision).unwrap(), object());
    }

    #[test]
    fn what_a_newer_schema_admits_is_reported_and_never_stops_the_watch() {
        for (pointer, value, expected) in [
            ("/spec", json!({ "schedule": { "days": "weekdays" } }), Unsupported::SpecField("schedule".to_owned())),
            ("/spec/result", json!({ "comment": 1 }), Unsupported::SpecField("result.comment".to_owned())),
        ] {
            let mut object = object();
            object.pointer_mut(pointer).unwrap().as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            let WireDecision(decision) = serde_json::from_value(object).unwrap();
            assert_eq!(decision.spec.unsupported, Some(expected));
            assert_eq!(decision.spec.result.status, ApprovalStatus::Approved);
        }
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_reported_beside_the_names() {
        let mut object = object();
        object["spec"]["result"]["status"] = json!("Postponed");
        let WireDecision(decision) = serde_json::from_value(object).unwrap();
        let Some(Unsupported::SpecValue(error)) = &decision.spec.unsupported else { panic!("{:?}", decision.spec) };
        assert!(error.contains("Postponed"), "{error}");
        assert_eq!(decision.spec.pipeline_name, "shop");
    }

    #[test]
    fn a_status_that_cannot_be_parsed_is_reported() {
        let mut object = object();
        object["status"]["conditions"] = json!([{ "type": "Ready", "status": "Perhaps" }]);
        let WireDecision(decision) = serde_json::from_value(object).unwrap();
        assert!(matches!(decision.spec.unsupported, Some(Unsupported::Status(_))), "{:?}", decision.spec);
    }

    #[test]
    fn a_status_is_sent_with_its_precondition_and_without_the_spec() {
        let decision: WireDecision = serde_json::from_value(object()).unwrap();
        let sent = json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1",
            "kind": "ApprovalDecision",
            "metadata": { "name": "release", "namespace": "team", "uid": "uid-1", "resourceVersion": "7" },
            "status": { "observedGeneration": -1 },
        });
        assert_eq!(serde_json::to_value(&decision).unwrap(), sent);
    }
}
