//! A decision as it travels between the operator and the API server. What comes is taken without what others noted about it:
//! managedFields alone are more than all the rest, and would be taken apart with each answer and each event of a watch, for nobody.
//! What goes is a status and whose it is, for the API server takes no more from a PUT of a status, and would compare all the rest.

use super::approval_decision::{ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, REQUESTED_AT};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A decision with no more of its metadata than the operator reads. It is written as the body of a PUT of its status: the spec,
/// which such a PUT leaves as it is, is not in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Received")]
pub struct Lean(pub ApprovalDecision);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: Precondition<'a>,
    status: Option<&'a ApprovalDecisionStatus>,
}

/// Which object, and as which edit of it: of another, the API server refuses the status with 409.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Precondition<'a> {
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    uid: Option<&'a str>,
    resource_version: Option<&'a str>,
}

impl Serialize for Lean {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(ApprovalDecision { metadata, status, .. }) = self;
        let metadata = Precondition {
            name: metadata.name.as_deref(),
            namespace: metadata.namespace.as_deref(),
            uid: metadata.uid.as_deref(),
            resource_version: metadata.resource_version.as_deref(),
        };
        let (api_version, kind) = (ApprovalDecision::api_version(&()), ApprovalDecision::kind(&()));
        Sent { api_version, kind, metadata, status: status.as_ref() }.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct Received {
    metadata: Metadata,
    spec: ApprovalDecisionSpec,
    status: Option<ApprovalDecisionStatus>,
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

/// The one of them that is read.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "codepipeline.approvals.dev/requestedAt")]
    requested_at: Option<String>,
}

impl From<Received> for Lean {
    fn from(Received { metadata, spec, status }: Received) -> Self {
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
        Self(ApprovalDecision { metadata, spec, status })
    }
}

/// It is the same resource.
impl Resource for Lean {
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
    use serde_json::{Value, json};

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
    fn what_others_noted_is_left_out_and_all_else_is_kept() {
        let mut noted = object();
        noted["metadata"]["labels"] = json!({ "team": "web" });
        noted["metadata"]["annotations"]["note"] = json!("keep");
        noted["metadata"]["managedFields"] = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        let Lean(decision) = serde_json::from_value(noted).unwrap();
        assert_eq!(serde_json::to_value(&decision).unwrap(), object());
    }

    #[test]
    fn a_status_is_sent_with_what_it_is_the_status_of() {
        let lean: Lean = serde_json::from_value(object()).unwrap();
        let sent = json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1",
            "kind": "ApprovalDecision",
            "metadata": { "name": "release", "namespace": "team", "uid": "uid-1", "resourceVersion": "7" },
            "status": { "observedGeneration": -1 },
        });
        assert_eq!(serde_json::to_value(&lean).unwrap(), sent);
    }
}
