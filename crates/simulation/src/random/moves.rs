//! What can happen in a world. Numbers name what exists then, so that every sequence of moves makes sense.

use super::targets::TargetChange;
use crate::fixtures::SUMMARY;
use approval_operator::api::v1alpha1::ApprovalStatus;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Move {
    /// A replica performs the next effect of a reconcile. If no reconcile of the decision is in progress, it starts one.
    Step(Replica, usize, Fault),
    /// A replica starts a reconcile from a version of the decision that is this many writes old.
    StepFromOldVersion(Replica, usize, usize),
    /// A replica performs all reconciles that are due.
    ReconcileDue(Replica),
    /// A replica polls the pipeline.
    Poll(Replica, PollPlan),
    /// A replica publishes the poll that it completed earlier.
    Publish(Replica),
    /// A replica loses everything that it has in memory. Its watch lists the decisions when time passes next.
    Crash(Replica),
    /// The watch of a replica delivers nothing until it resumes.
    DelayWatch(Replica),
    /// The watch of a replica delivers what it missed.
    ResumeWatch(Replica),
    /// The replicas get credentials for another account, which has no pipelines, or for the first one again.
    SwitchAccount,
    /// An administrator changes a target.
    Target(usize, TargetChange),
    /// This many milliseconds pass.
    PassTime(i64),
    /// Someone changes the pipeline.
    Pipeline(PipelineChange),
    /// Someone changes a decision.
    Decision(usize, DecisionChange),
}

/// A replica of the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replica {
    A,
    B,
}

/// How a poll goes.
#[derive(Clone, Debug, Default)]
pub struct PollPlan {
    /// How many milliseconds each call takes.
    pub call_milliseconds: i64,
    /// The call that fails.
    pub failing_call: Option<usize>,
    /// The execution whose history cannot be read.
    pub unreadable: Option<usize>,
    /// Someone changes the pipeline before this call.
    pub change: Option<(usize, PipelineChange)>,
    /// Whether the poll is published only later.
    pub published_later: bool,
}

/// Execution 0 is the newest. Request 0 is the one that has been pending for the longest time.
#[derive(Clone, Debug)]
pub enum PipelineChange {
    /// An execution starts, with a revision of each source.
    Start([usize; 2]),
    /// An action that is in progress, and not an approval, completes.
    Complete { execution: usize, succeeded: bool },
    /// Someone retries the stage in which an execution failed.
    Retry { execution: usize, all: bool },
    /// Someone rolls the stage of the approval back to an execution.
    RollBack { execution: usize },
    /// Someone stops an execution.
    Stop { execution: usize, abandon: bool },
    /// Someone else responds to a request.
    Respond { request: usize, result: ApprovalStatus, summary: Summary },
    /// Someone disables or enables the transition into the stage of the approval.
    SetTransition { is_enabled: bool },
    /// Someone saves the pipeline without changes.
    Save,
    /// Someone edits the pipeline.
    Redefine(Shape),
    /// Someone deletes the pipeline.
    Delete,
}

/// Which parts of the pipeline's definition exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    Whole,
    WithoutApproval,
    WithoutStage,
}

#[derive(Clone, Debug)]
pub enum DecisionChange {
    Bind(BindTo),
    SetResult(ApprovalStatus, Summary),
    Suspend(bool),
    ClearNotAfter,
    /// This many seconds from now.
    SetNotAfter(i64),
    ClearIgnoreResponsesBefore,
    /// This many seconds ago.
    SetIgnoreResponsesBefore(i64),
    SetAction(ActionChoice),
    /// Name another target, or none.
    SetTarget(Option<usize>),
    /// Set the annotation to a new value.
    Annotate,
    /// Another version of the operator replaces the reason by one that this version does not know.
    ReplaceReason,
    Delete,
    /// Create the decision again as it was, with another uid.
    Restore,
}

/// The action that a decision names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActionChoice {
    Approval,
    /// The pipeline may not have it.
    SecondApproval,
    Unknown,
    NotAnApproval,
    InUnknownStage,
    InUnknownPipeline,
}

/// What a decision is bound to.
#[derive(Clone, Debug)]
pub enum BindTo {
    Execution(usize),
    UnknownExecution,
    /// A revision of one of the two sources, or of any, and nothing of the other source.
    Revision(usize, Option<usize>),
    /// A revision of each source; none stands for any revision.
    Revisions(usize, Option<usize>),
    Token(usize),
}

/// The summary of a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Summary {
    Ours,
    Other,
    Empty,
}

impl Summary {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ours => SUMMARY,
            Self::Other => "looks good to me",
            Self::Empty => "",
        }
    }
}

/// What goes wrong with the next call, to CodePipeline or to the API server.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// It is refused, for a temporary cause.
    NotApplied,
    /// The request is lost.
    RequestLost,
    /// The request arrives, and the response is lost.
    ResponseLost,
    /// As [`Self::ResponseLost`], but a submission arrives this many milliseconds later.
    Slow(i64),
}

/// A decision that someone creates.
#[derive(Clone, Debug)]
pub struct NewDecision {
    pub bind_to: BindTo,
    pub action: ActionChoice,
    pub result: ApprovalStatus,
    pub summary: Summary,
    /// The target that it names.
    pub target: Option<usize>,
}

impl NewDecision {
    /// An approval of the first approval action.
    pub const fn approval(bind_to: BindTo) -> Self {
        Self {
            bind_to,
            action: ActionChoice::Approval,
            result: ApprovalStatus::Approved,
            summary: Summary::Ours,
            target: None,
        }
    }
}
