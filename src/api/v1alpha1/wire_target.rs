//! A target as it travels between the operator and the API server. One that a newer version of the schema admitted must not stop the
//! watch for all others, and must not admit what its author restricted with a field that this version does not know.

use super::approval_target::{ApprovalTarget, ApprovalTargetSpec, ApprovalTargetStatus};
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A target whose deserialization never fails because of its spec or status.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "WireInput")]
pub struct WireTarget(pub ApprovalTarget);

#[derive(Deserialize)]
struct WireInput {
    metadata: ObjectMeta,
    spec: Value,
    status: Option<Value>,
}

impl From<WireInput> for WireTarget {
    fn from(WireInput { metadata, spec, status }: WireInput) -> Self {
        let metadata = ObjectMeta { managed_fields: None, ..metadata };
        // The operator writes the whole status from what it verified, and decides nothing from it.
        let status = status.and_then(|status| ApprovalTargetStatus::deserialize(status).ok());
        Self(ApprovalTarget { metadata, spec: parse_spec(&spec), status })
    }
}

fn parse_spec(value: &Value) -> ApprovalTargetSpec {
    let mut unknown_field = None;
    let note_field = |path: serde_ignored::Path<'_>| {
        unknown_field.get_or_insert_with(|| path.to_string());
    };
    match serde_ignored::deserialize(value, note_field) {
        Ok(spec) => {
            let unsupported = unknown_field.map(|field| format!("unknown field spec.{field}"));
            ApprovalTargetSpec { unsupported, ..spec }
        }
        Err(error) => {
            let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            ApprovalTargetSpec {
                account_id: text("accountId"),
                region: text("region"),
                role_arn: None,
                external_id: None,
                access: Vec::new(),
                unsupported: Some(error.to_string()),
            }
        }
    }
}

/// The same resource as [`ApprovalTarget`].
impl Resource for WireTarget {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(type_: &()) -> Cow<'_, str> {
        ApprovalTarget::kind(type_)
    }

    fn group(type_: &()) -> Cow<'_, str> {
        ApprovalTarget::group(type_)
    }

    fn version(type_: &()) -> Cow<'_, str> {
        ApprovalTarget::version(type_)
    }

    fn plural(type_: &()) -> Cow<'_, str> {
        ApprovalTarget::plural(type_)
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

    fn target(spec: &Value) -> ApprovalTarget {
        let object = json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalTarget",
            "metadata": { "name": "production" }, "spec": spec, "status": { "conditions": 1 },
        });
        let WireTarget(target) = serde_json::from_value(object).unwrap();
        target
    }

    fn spec() -> Value {
        let access = json!([{ "namespaces": { "names": ["web"] }, "pipelines": ["web-*"] }]);
        json!({ "accountId": "111122223333", "region": "eu-west-1", "access": access })
    }

    #[test]
    fn what_a_newer_schema_admits_is_reported_and_keeps_the_names_of_the_place() {
        assert_eq!(target(&spec()).spec.unsupported, None);
        for (pointer, name, value, expected) in [
            ("/access/0", "times", json!("weekdays"), "unknown field spec.access.0.times"),
            ("/access/0", "results", json!(["Postponed"]), "Postponed"),
            ("/access/0/namespaces", "names", json!("web"), "expected a sequence"),
        ] {
            let mut newer = spec();
            newer.pointer_mut(pointer).unwrap()[name] = value;
            let spec = target(&newer).spec;
            let unsupported = spec.unsupported.unwrap();
            assert!(unsupported.contains(expected), "{unsupported}");
            assert_eq!((spec.account_id.as_str(), spec.region.as_str()), ("111122223333", "eu-west-1"));
        }
    }
}
