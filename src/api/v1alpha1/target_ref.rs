//! The reference of a decision to its target, with guards: a manifest that is applied to another cluster must not approve the pipeline of
//! the same name in another account.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The target of a decision. What is given must equal what the target has.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// The name of the ApprovalTarget.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// The AWS account that the target must have: 12 digits, in quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    pub account_id: Option<String>,
    /// The AWS region that the target must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub region: Option<String>,
}
