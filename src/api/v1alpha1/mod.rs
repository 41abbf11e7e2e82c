//! Version `v1alpha1`: one file for each kind, and the reasons of their conditions.

mod approval_decision;
mod approval_result;
mod approval_target;
mod binding;
mod location;
mod reason;
mod submission;
mod target_reason;
mod target_ref;
mod valid_spec;
mod wire_decision;
mod wire_target;

pub use approval_decision::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, Exception, ObservedSourceRevision, REQUESTED_AT,
    Unsupported, UserTime,
};
pub use approval_result::{ApprovalResult, ApprovalStatus};
pub use approval_target::{
    Access, ApprovalTarget, ApprovalTargetSpec, ApprovalTargetStatus, LabelOperator, LabelRequirement,
    NamespaceSelector, Namespaces,
};
pub use binding::{Binding, ExecutionBinding, PipelineExecutionId, SourceRevision, Token};
pub use location::Location;
pub use reason::{ReadyClass, Reason};
pub use submission::{SettledRequest, Submission, SubmissionOutcome};
pub use target_reason::TargetReason;
pub use target_ref::TargetRef;
pub use valid_spec::{InvalidSpec, ValidSpec};
pub use wire_decision::WireDecision;
pub use wire_target::WireTarget;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The CustomResourceDefinition of every kind, as `approval-operator crd` prints them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![ApprovalDecision::crd(), ApprovalTarget::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        version.schema.iter_mut().filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(unwrap_lines);
    }
    crds
}

/// Joins the lines of every description. They are those of the comments here, and `kubectl explain` breaks lines where it needs to.
fn unwrap_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| unwrap_lines(property));
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => unwrap_lines(items),
        Some(JSONSchemaPropsOrArray::Schemas(several)) => several.iter_mut().for_each(unwrap_lines),
        None => {}
    }
    match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => unwrap_lines(values),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => {}
    }
}
