//! What the service tells of a pipeline, as far as the operator reads it: the state view, the runs, and the history of
//! actions. Statuses that this version does not know count as in progress, for they end nothing.

use crate::api::v1alpha1::{ApprovalStatus, SourceRevision, Token};
use jiff::Timestamp;

/// GetPipelineState: each stage and action as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PipelineState {
    /// In the order of the pipeline.
    pub stages: Vec<StageState>,
}

/// A stage as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StageState {
    /// stageName
    pub name: String,
    /// The run that is in the stage, or was the last in it.
    pub latest_execution: Option<StageExecution>,
    /// The runs that wait in front of it.
    pub inbound_executions: Vec<String>,
    /// Its actions.
    pub actions: Vec<ActionState>,
}

/// A run in a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StageExecution {
    /// pipelineExecutionId
    pub pipeline_execution_id: String,
    /// For people.
    pub status: String,
}

/// An action as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ActionState {
    /// actionName
    pub name: String,
    /// Its newest execution. It does not say of which run, and while a run is on its way here it is of the run before.
    pub latest_execution: Option<LatestExecution>,
}

/// The newest execution of an action.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LatestExecution {
    /// actionExecutionId
    pub action_execution_id: Option<String>,
    /// externalExecutionId
    pub external_execution_id: Option<String>,
    /// The token of an approval that is pending; in PARALLEL mode there is none here.
    pub token: Option<Token>,
    /// How it stands.
    pub progress: ActionProgress,
}

/// How an execution of an action stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ActionProgress {
    /// It goes on, as far as the view knows.
    #[default]
    InProgress,
    /// It is over.
    Over(Ending),
}

/// How an execution of an action ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The word for it.
    pub status: EndStatus,
    /// What was said with it.
    pub summary: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// By whom, where anybody did.
    pub by: Option<String>,
}

/// How an action can end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndStatus {
    /// Succeeded
    Succeeded,
    /// Failed
    Failed,
    /// Its run was stopped without waiting for it.
    Abandoned,
}

impl Ending {
    /// The answer that ended an approval. One that failed was rejected only if the record names who did it: time-outs and
    /// cancellations fail without.
    #[must_use]
    pub fn result(&self) -> Option<ApprovalStatus> {
        match self.status {
            EndStatus::Succeeded => Some(ApprovalStatus::Approved),
            EndStatus::Failed if self.by.is_some() => Some(ApprovalStatus::Rejected),
            EndStatus::Failed | EndStatus::Abandoned => None,
        }
    }
}

/// A run of a pipeline, as ListPipelineExecutions shows it, or without times and revisions GetPipelineExecution.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PipelineExecution {
    /// pipelineExecutionId
    pub id: String,
    /// How it stands.
    pub status: ExecutionStatus,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub updated: Option<Timestamp>,
    /// What its source actions came upon.
    pub source_revisions: Vec<SourceRevision>,
    /// Whether runs of the pipeline meet each other.
    pub mode: ExecutionMode,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionStatus {
    /// InProgress
    InProgress,
    /// Somebody stops it, and what is under way comes to its end.
    Stopping,
    /// Over.
    Over(ExecutionEnd),
}

/// How a run can end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionEnd {
    /// Succeeded
    Succeeded,
    /// Failed
    Failed,
    /// Stopped
    Stopped,
    /// Superseded: a newer run went on in its place.
    Superseded,
    /// Cancelled
    Cancelled,
}

impl ExecutionEnd {
    /// The service's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Stopped => "Stopped",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// Whether runs of a pipeline meet each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionMode {
    /// One run at a time is in a stage (QUEUED, SUPERSEDED): the state view shows the token of a pending approval.
    Serial,
    /// Each goes its own way (PARALLEL): the history shows the tokens.
    Parallel,
}

impl PipelineExecution {
    /// Whether it was started with a revision.
    #[must_use]
    pub fn has(&self, wanted: &SourceRevision) -> bool {
        self.source_revisions.iter().any(|found| {
            found.revision_id == wanted.revision_id
                && (wanted.action_name.is_none() || found.action_name == wanted.action_name)
        })
    }

    /// How it ended, if it did.
    #[must_use]
    pub const fn end(&self) -> Option<ExecutionEnd> {
        match self.status {
            ExecutionStatus::Over(end) => Some(end),
            ExecutionStatus::InProgress | ExecutionStatus::Stopping => None,
        }
    }
}

/// An execution of an action, as ListActionExecutions shows it: it says of which run, and learns of an approval's end some
/// half a minute later than the state view.
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
    /// The token of an approval, in PARALLEL mode and once it is over.
    pub external_execution_id: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// How it stands.
    pub progress: ActionProgress,
}

impl ActionExecution {
    /// Whether it is of this action.
    #[must_use]
    pub fn is_of(&self, stage: &str, action: &str) -> bool {
        self.stage_name == stage && self.action_name == action
    }
}

/// A page of a list, the newest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The token of the next, if there is one.
    pub next: Option<String>,
}
