//! The ledger: every PutApprovalResult call that reached the endpoint, in order, with its outcome. It has no lag, and
//! entries are never removed, so tests compare reads with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ActionExecutionId, Exception, PipelineExecutionId};

/// One PutApprovalResult call. The members hold what the caller sent, valid or not; an omitted member is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// When the call was processed.
    pub at: Timestamp,
    /// The ARN of the caller.
    pub caller: String,
    /// The pipeline.
    pub pipeline_name: String,
    /// The stage.
    pub stage_name: String,
    /// The action.
    pub action_name: String,
    /// The token of the approval request.
    pub token: String,
    /// The status: `Approved`, `Rejected`, or an invalid value.
    pub status: String,
    /// The summary.
    pub summary: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The injected fault that affected the call, if any: the caller may have received something other than `outcome`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The outcome of a PutApprovalResult call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It completed the approval.
    Accepted {
        /// The `approvedAt` of the response.
        approved_at: Timestamp,
        /// The execution of the approval.
        pipeline_execution_id: PipelineExecutionId,
        /// The action execution of the approval.
        action_execution_id: ActionExecutionId,
    },
    /// CodePipeline raised this exception, and nothing changed.
    Refused(Exception),
    /// A fault dropped the call, and nothing changed.
    NotApplied,
}

impl LedgerEntry {
    /// Whether CodePipeline accepted the result.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted { .. })
    }

    /// The exception that CodePipeline raised.
    #[must_use]
    pub fn refusal(&self) -> Option<&Exception> {
        match &self.outcome {
            Outcome::Refused(exception) => Some(exception),
            Outcome::Accepted { .. } | Outcome::NotApplied => None,
        }
    }
}
