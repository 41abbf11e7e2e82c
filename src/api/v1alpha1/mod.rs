//! Version `v1alpha1`: a file a kind, and the reasons that their conditions carry.

mod approval_decision;
mod binding;
mod lean;
mod reason;

pub use approval_decision::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception,
    NotAfter, REQUESTED_AT, Submission,
};
pub use binding::{Binding, PipelineExecutionId, RunBinding, SourceRevision, Token};
pub use lean::Lean;
pub use reason::{Reason, Standing};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The definitions of every kind, as `approval-operator crd` prints them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ApprovalDecision::crd()]
}
