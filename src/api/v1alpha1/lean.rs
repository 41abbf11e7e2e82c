//! A decision as the operator takes it from the API server: without what others noted about it. managedFields alone are more than
//! all the rest, and would be taken apart with each answer and each event of a watch, for nobody.

use super::approval_decision::{ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, REQUESTED_AT};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A decision with no more of its metadata than the operator reads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Received")]
pub struct Lean(pub ApprovalDecision);

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
    use serde_json::json;

    #[test]
    fn what_others_noted_is_left_out_and_all_else_is_kept() {
        let object = json!({
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
        });
        let mut noted = object.clone();
        noted["metadata"]["labels"] = json!({ "team": "web" });
        noted["metadata"]["annotations"]["note"] = json!("keep");
        noted["metadata"]["managedFields"] = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        let lean: Lean = serde_json::from_value(noted).unwrap();
        assert_eq!(serde_json::to_value(&lean).unwrap(), object);
    }
}
