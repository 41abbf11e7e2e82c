//! The result that a decision carries.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result, as PutApprovalResult accepts it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
pub struct ApprovalResult {
    /// Approved or Rejected.
    pub status: ApprovalStatus,
    /// Why, in 0 to 512 characters. CodePipeline shows it beside the action in the pipeline's history. An action may require
    /// a summary that is not empty.
    #[schemars(length(max = 512))]
    pub summary: String,
}

/// Whether the pipeline may continue.
#[derive(Clone, Copy, Debug, Deserialize, strum::Display, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum ApprovalStatus {
    /// The pipeline continues.
    Approved,
    /// The stage fails.
    Rejected,
}
