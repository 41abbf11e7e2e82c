//! What CodePipeline shows of a pipeline, as far as the operator reads it: the state view, the executions, and the history of
//! actions. A status that this version does not know counts as in progress, because it does not end anything.

use crate::api::v1alpha1::{ApprovalStatus, SourceRevision, Token};
use jiff::Timestamp;

/// GetPipelineState: the current state of each stage and action.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PipelineState {
    /// In the order of the pipeline.
    pub stages: Vec<StageState>,
}

/// The current state of a stage.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StageState {
    /// stageName
    pub name: String,
    /// The execution that is in the stage, or was in it last.
    pub latest_execution: Option<StageExecution>,
    /// The executions that wait to enter it.
    pub inbound_executions: Vec<String>,
    /// inboundTransitionState, if no execution may enter it now.
    pub disabled_transition: Option<DisabledTransition>,
    /// Its actions.
    pub actions: Vec<ActionState>,
}

/// A transition into a stage that someone disabled.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DisabledTransition {
    /// disabledReason
    pub reason: Option<String>,
}

/// An execution in a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StageExecution {
    /// pipelineExecutionId
    pub pipeline_execution_id: String,
    /// CodePipeline's word for its status in the stage.
    pub status: String,
}

impl StageExecution {
    /// Whether it keeps others from entering the stage.
    #[must_use]
    pub fn occupies_stage(&self) -> bool {
        matches!(self.status.as_str(), "InProgress" | "Stopping")
    }
}

/// The current state of an action.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ActionState {
    /// actionName
    pub name: String,
    /// Its newest execution, without its pipeline execution. Until a new execution reaches the action, it is that of the previous one.
    pub latest_execution: Option<LatestExecution>,
}

/// The newest execution of an action.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LatestExecution {
    /// actionExecutionId
    pub action_execution_id: Option<String>,
    /// externalExecutionId
    pub external_execution_id: Option<String>,
    /// The token of a pending approval. In PARALLEL mode there is none here.
    pub token: Option<Token>,
    /// Its status.
    pub progress: ActionProgress,
}

/// The status of an action execution.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ActionProgress {
    /// In progress, according to this view.
    #[default]
    InProgress,
    /// Completed.
    Completed(ActionCompletion),
}

/// How an action execution was completed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActionCompletion {
    /// Its final status.
    pub status: CompletionStatus,
    /// The summary.
    pub summary: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// By whom, if by anyone.
    pub by: Option<String>,
}

/// The final status of an action execution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompletionStatus {
    /// Succeeded
    Succeeded,
    /// Failed
    Failed,
    /// Its execution was stopped without waiting for it.
    Abandoned,
}

/// The summaries that CodePipeline itself writes into an approval that ended without a response. Measured: the one of an approval that was
/// pending when its pipeline was edited. Not proven: that a time-out has no summary. If it has one, the request counts as rejected.
const OWN_SUMMARIES: [&str; 1] = ["The approval action has been canceled."];

impl ActionCompletion {
    /// The result that completed an approval. A failed one was rejected if it has what only a response leaves: who responded, or
    /// a summary that is not CodePipeline's own.
    #[must_use]
    pub fn result(&self) -> Option<ApprovalStatus> {
        let is_from_response = |summary: &str| !summary.is_empty() && !OWN_SUMMARIES.contains(&summary);
        match self.status {
            CompletionStatus::Succeeded => Some(ApprovalStatus::Approved),
            CompletionStatus::Failed if self.by.is_some() || self.summary.as_deref().is_some_and(is_from_response) => {
                Some(ApprovalStatus::Rejected)
            }
            CompletionStatus::Failed | CompletionStatus::Abandoned => None,
        }
    }
}

/// An execution of a pipeline, as ListPipelineExecutions shows it, or GetPipelineExecution, which shows no times and revisions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PipelineExecution {
    /// pipelineExecutionId
    pub id: String,
    /// Its status.
    pub status: ExecutionStatus,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// The revisions that its source actions provided.
    pub source_revisions: Vec<ExecutionRevision>,
    /// What started it.
    pub execution_type: ExecutionType,
    /// How it runs beside other executions.
    pub mode: ExecutionMode,
}

/// The revision that a source action of an execution provided.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ExecutionRevision {
    /// actionName
    pub action_name: String,
    /// revisionId, which some sources do not have.
    pub revision_id: Option<String>,
}

impl ExecutionRevision {
    /// Whether an entry of a decision is about this source revision.
    #[must_use]
    pub fn is_covered_by(&self, entry: &SourceRevision) -> bool {
        entry.action_name.as_ref().is_none_or(|name| *name == self.action_name)
            && (entry.revision_id.is_none() || entry.revision_id == self.revision_id)
    }
}

/// What started an execution.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionType {
    /// A change of a source, or a person. An execution without a type counts as one.
    Standard,
    /// A rollback to an earlier execution, whose source revisions it has. A type that this version does not know counts as one.
    Rollback,
}

/// The status of an execution.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionStatus {
    /// InProgress
    InProgress,
    /// Someone stopped it, and its actions in progress continue to their end.
    Stopping,
    /// It ended.
    Ended(ExecutionEnd),
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, Eq, Hash, strum::IntoStaticStr, PartialEq)]
pub enum ExecutionEnd {
    /// Succeeded
    Succeeded,
    /// Failed
    Failed,
    /// Stopped
    Stopped,
    /// Superseded: a newer execution replaced it.
    Superseded,
    /// Cancelled
    Cancelled,
}

impl ExecutionEnd {
    /// Whether someone may still retry its stage, so that its approval asks after all.
    #[must_use]
    pub const fn may_be_retried(self) -> bool {
        match self {
            Self::Failed | Self::Stopped => true,
            Self::Succeeded | Self::Superseded | Self::Cancelled => false,
        }
    }

    /// CodePipeline's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How executions of a pipeline run beside each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionMode {
    /// One execution at a time is in a stage (QUEUED, SUPERSEDED): the state view shows the token of a pending approval.
    Serial,
    /// Executions are independent (PARALLEL): history shows the tokens.
    Parallel,
}

impl PipelineExecution {
    /// Whether each of these entries covers one of its source revisions. Entries never name a rollback. No entries name nothing.
    #[must_use]
    pub fn meets(&self, entries: &[SourceRevision]) -> bool {
        self.execution_type == ExecutionType::Standard
            && !entries.is_empty()
            && entries.iter().all(|entry| self.source_revisions.iter().any(|found| found.is_covered_by(entry)))
    }

    /// Its source revisions that none of these entries covers.
    pub fn not_covered_by(&self, entries: &[SourceRevision]) -> impl Iterator<Item = &ExecutionRevision> {
        self.source_revisions.iter().filter(|found| !entries.iter().any(|entry| found.is_covered_by(entry)))
    }

    /// How it ended, if it has.
    #[must_use]
    pub const fn end(&self) -> Option<ExecutionEnd> {
        match self.status {
            ExecutionStatus::Ended(end) => Some(end),
            ExecutionStatus::InProgress | ExecutionStatus::Stopping => None,
        }
    }
}

/// An action execution, as ListActionExecutions shows it: with its pipeline execution, and some 30 s later than the state view
/// when an approval is completed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActionExecution {
    /// pipelineExecutionId
    pub pipeline_execution_id: String,
    /// actionExecutionId
    pub action_execution_id: String,
    /// stageName
    pub stage_name: String,
    /// actionName
    pub action_name: String,
    /// The action's category, such as Approval or Build.
    pub category: String,
    /// The token of an approval, in PARALLEL mode or once it is completed.
    pub external_execution_id: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// Its status.
    pub progress: ActionProgress,
}

impl ActionExecution {
    /// Whether it belongs to this action.
    #[must_use]
    pub fn is_of(&self, stage: &str, action: &str) -> bool {
        self.stage_name == stage && self.action_name == action
    }
}

/// The pipeline execution and the action execution of a request, as far as they are known.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExecutionIds {
    /// pipelineExecutionId
    pub pipeline: Option<String>,
    /// actionExecutionId
    pub action: Option<String>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// Its entries.
    pub items: Vec<T>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ApprovalStatus::{Approved, Rejected};
    use CompletionStatus::{Abandoned, Failed, Succeeded};

    #[test]
    fn a_failed_approval_was_rejected_if_it_has_what_only_a_response_leaves() {
        let [canceled] = OWN_SUMMARIES.map(Some);
        for (status, by, summary, expected) in [
            (Succeeded, None, None, Some(Approved)),
            (Failed, Some("ada"), None, Some(Rejected)),
            (Failed, Some("ada"), canceled, Some(Rejected)),
            (Failed, None, Some("not this week"), Some(Rejected)),
            (Failed, None, canceled, None),
            (Failed, None, Some(""), None),
            (Failed, None, None, None),
            (Abandoned, None, Some("not this week"), None),
        ] {
            let (summary, by) = (summary.map(str::to_owned), by.map(str::to_owned));
            let completion = ActionCompletion { status, summary, at: None, by };
            assert_eq!(completion.result(), expected, "{completion:?}");
        }
    }
}
