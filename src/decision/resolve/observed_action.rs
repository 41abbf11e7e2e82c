//! The approval action in a snapshot, and what a decision asks about it.

use crate::api::v1alpha1::{ExecutionBinding, Token};
use crate::codepipeline::{LatestExecution, PipelineExecution, PipelineSnapshot};
use jiff::Timestamp;

/// What a decision asks of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// stageName
    pub stage: &'a str,
    /// actionName
    pub action: &'a str,
    /// The executions.
    pub executions: ExecutionBinding<'a>,
    /// Requests that were completed before this time do not count.
    pub ignore_responses_before: Option<Timestamp>,
    /// The token of a request that CodePipeline refused as completed.
    pub refused_as_completed: Option<&'a Token>,
}

/// The snapshot of one action.
#[derive(Clone, Copy)]
pub struct ObservedAction<'a> {
    /// The snapshot.
    pub snapshot: &'a PipelineSnapshot,
    /// What the decision asks of it.
    pub named: Named<'a>,
    /// Its latest execution in the state view.
    pub latest: Option<&'a LatestExecution>,
}

impl ObservedAction<'_> {
    /// When the history of the action in an execution was last read, as far as it is known.
    pub fn history_read_at(self, execution: &PipelineExecution) -> Option<Timestamp> {
        self.snapshot.history_read_at(&execution.id, self.named.stage, self.named.action)
    }
}
