//! What the executions that a decision names come to: their one request, a response, or what the decision waits for.

use crate::api::v1alpha1::{Exception, Location, Token};
use crate::codepipeline::{
    CompletedApproval, DisabledTransition, ExecutionEnd, ExecutionIds, ExecutionRevision, PipelineExecution,
    SimilarRevision, UnknownExecution,
};
use jiff::Timestamp;

/// What a snapshot says about the request that a decision names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// It is pending, and none of the requests that the decision names has received a response.
    Pending(PendingRequest),
    /// There is none yet, or something could hide a response.
    NotYet {
        /// What the decision waits for.
        wait: ExecutionWait,
        /// When to poll again, if that is before the next regular poll.
        recheck_at: Option<Timestamp>,
    },
    /// A request that the decision names received a response, which used up the decision. This is the newest one.
    Settled {
        /// The response.
        response: CompletedApproval,
        /// What is open besides.
        open: Option<OpenRequest>,
    },
    /// Its execution ended before it was opened, or without a response.
    Ended {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
    },
    /// CodePipeline does not know the execution.
    UnknownExecution(UnknownExecution),
    /// The source revisions do not name one request.
    Ambiguous(Ambiguity),
    /// There cannot be one.
    Missing(Missing),
}

impl Resolution {
    /// Whether it is only known that something may be in history that was not read.
    #[must_use]
    pub fn is_beyond_history(&self) -> bool {
        matches!(
            self,
            Self::NotYet { wait: ExecutionWait::Execution { position: ExecutionPosition::BeyondHistory, .. }, .. }
        )
    }
}

/// A pending request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingRequest {
    /// Its token.
    pub token: Token,
    /// Its action execution.
    pub action_execution: String,
    /// Its execution.
    pub execution: PipelineExecution,
}

impl PendingRequest {
    /// Its pipeline execution and action execution.
    #[must_use]
    pub fn ids(&self) -> ExecutionIds {
        ExecutionIds { pipeline: Some(self.execution.id.clone()), action: Some(self.action_execution.clone()) }
    }
}

/// A request, or an execution on its way to one, that a used-up decision does not answer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct OpenRequest {
    /// pipelineExecutionId
    pub execution: String,
    /// Whether it asks already.
    pub is_pending: bool,
}

/// Why source revisions do not name one request.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Ambiguity {
    /// These executions each have one.
    SeveralRequests(Vec<String>),
    /// The execution with the pending request has a source that no entry covers.
    NotCovered {
        /// pipelineExecutionId
        execution: String,
        /// The source.
        source: ExecutionRevision,
    },
}

/// What a decision waits for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionWait {
    /// An execution of the source revisions.
    NoExecution {
        /// The source revisions of the newest execution, which show how a revision is written.
        newest: Vec<ExecutionRevision>,
        /// What is wrong with the entries, if that is known.
        hint: Option<RevisionHint>,
    },
    /// CodePipeline does not know the execution, which may be too new to be visible.
    UnknownExecution,
    /// The execution has not reached the approval.
    Execution {
        /// pipelineExecutionId
        execution: String,
        /// How far it has come.
        position: ExecutionPosition,
    },
    /// Several executions of the source revisions seem to wait for this approval; history will confirm.
    Several(Vec<String>),
    /// The newest execution of the source revisions ended before its approval received a response: only a later one can receive
    /// it.
    LaterExecution {
        /// pipelineExecutionId
        execution: String,
        /// How it ended.
        end: ExecutionEnd,
    },
    /// The newest execution of the source revisions has a source that no entry covers.
    NotCovered {
        /// pipelineExecutionId
        execution: String,
        /// The source.
        source: ExecutionRevision,
    },
    /// The execution is being stopped, and is not approved while it is.
    Stopping {
        /// pipelineExecutionId
        execution: String,
    },
}

/// Why no execution may ever have the source revisions of a decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RevisionHint {
    /// An execution has a source revision that an entry may mean.
    Similar(SimilarRevision),
    /// No execution has a source action of this name.
    UnknownSource {
        /// actionName of the entry
        action: String,
        /// The source actions that there are.
        known: Vec<String>,
    },
}

/// How far an execution has come.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionPosition {
    /// In a stage.
    InStage {
        /// stageName
        stage: String,
        /// CodePipeline's word for the status of the stage, such as InProgress.
        status: String,
    },
    /// It waits to enter a stage.
    BeforeStage {
        /// stageName
        stage: String,
        /// Why it may not enter, if someone disabled the transition.
        disabled: Option<DisabledTransition>,
        /// The execution that is in the stage.
        behind: Option<String>,
    },
    /// At the approval, whose token is not visible yet.
    AtApproval,
    /// Past the approval, whose outcome is not in history yet.
    PastApproval,
    /// It asked before, and history does not show yet how that request ended.
    PreviousRequest,
    /// Somewhere that only history shows, and the operator could not read all of that.
    BeyondHistory,
    /// Somewhere else.
    InProgress,
}

impl ExecutionPosition {
    /// Whether the execution may have received a response that history does not show.
    pub(crate) const fn may_hide_response(&self) -> bool {
        match self {
            Self::PastApproval | Self::PreviousRequest | Self::BeyondHistory => true,
            Self::InStage { .. } | Self::BeforeStage { .. } | Self::AtApproval | Self::InProgress => false,
        }
    }
}

/// What a pipeline has of the names for which CodePipeline refused a result.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RefusedNames {
    /// It lacks one of them, or the action is not an approval.
    Missing(Missing),
    /// It has them: it was changed since. What kind of action it is may not be visible.
    Found,
}

/// What there is not.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Missing {
    /// The pipeline.
    Pipeline {
        /// What CodePipeline says.
        exception: Exception,
        /// The account and region without it.
        location: Option<Location>,
    },
    /// A stage of this name.
    Stage {
        /// The stages that there are.
        stages: Vec<String>,
    },
    /// An action of this name in the stage.
    Action {
        /// What the decision may mean.
        candidates: Candidates,
        /// Other stages that have an action of this name.
        stages: Vec<String>,
    },
    /// The action exists, and is not an approval.
    NotAnApproval {
        /// Its category.
        category: String,
        /// What the decision may mean.
        candidates: Candidates,
    },
}

/// The actions of a stage that a decision may mean.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Candidates {
    /// Those that history shows as approvals.
    pub approvals: Vec<String>,
    /// Those that history does not show.
    pub others: Vec<String>,
}
