//! The ledger: every PutApprovalResult that reached the endpoint, in the order in which they came, with what became of
//! it. Nothing ever changes or removes an entry, so a test can trust it more than any view.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ActionExecutionId, Exception, PipelineExecutionId};

/// One PutApprovalResult. What the caller sent is kept as it came, wrong or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// When it was dealt with.
    pub at: Timestamp,
    /// The ARN of who sent it.
    pub caller: String,
    /// Of which pipeline; empty where the request left it out, as with the others.
    pub pipeline_name: String,
    /// Of which stage.
    pub stage_name: String,
    /// Of which action.
    pub action_name: String,
    /// For which approval request.
    pub token: String,
    /// `Approved`, `Rejected`, or what the caller sent instead.
    pub status: String,
    /// The words of the caller.
    pub summary: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What went wrong on purpose, so that the caller may have been told something else than `outcome`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What became of one PutApprovalResult.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It decided the approval.
    Accepted {
        /// What the answer says as `approvedAt`.
        approved_at: Timestamp,
        /// The run that it decided.
        pipeline_execution_id: PipelineExecutionId,
        /// The attempt that it decided.
        action_execution_id: ActionExecutionId,
    },
    /// The service said no, and nothing changed.
    Refused(Exception),
    /// A fault kept it from the service, and nothing changed.
    NotApplied,
}

impl LedgerEntry {
    /// Whether it decided an approval.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted { .. })
    }

    /// What the service said no with.
    #[must_use]
    pub fn refusal(&self) -> Option<&Exception> {
        match &self.outcome {
            Outcome::Refused(exception) => Some(exception),
            Outcome::Accepted { .. } | Outcome::NotApplied => None,
        }
    }
}
