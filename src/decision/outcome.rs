//! The outcomes of a reconcile. `decide` produces them; `status` and `message` report them.

use super::resolve::{ExecutionWait, Missing};
use super::timing::Expiry;
use crate::api::v1alpha1::{Exception, InvalidSpec, Reason, Submission};
use crate::codepipeline::{CompletedApproval, ExecutionEnd, ExecutionIds, Refusal, RetryCause};
use jiff::Timestamp;

/// What to report about a decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// CodePipeline accepted our result.
    Delivered {
        /// When, according to CodePipeline.
        approved_at: Option<Timestamp>,
        /// CodePipeline's history, where the response was lost.
        record: Option<CompletedApproval>,
    },
    /// The approval had already received the same result.
    AlreadyDecided {
        /// CodePipeline's history of it.
        record: CompletedApproval,
        /// The exception, if a result was submitted.
        exception: Option<Exception>,
    },
    /// CodePipeline refused the result, or would refuse it.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The exception, if a result was submitted.
        exception: Option<Exception>,
        /// How the approval was completed, where history shows it.
        record: Option<CompletedApproval>,
        /// Why an earlier result may have been accepted nevertheless.
        caveat: Option<Caveat>,
    },
    /// The state view shows that the pipeline has no such approval.
    Missing(Missing),
    /// The execution that the decision names ended before its approval received a response.
    ExecutionEnded {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
    },
    /// CodePipeline does not know the execution that the decision names.
    PipelineExecutionNotFound(Exception),
    /// Several pending requests have the source revision.
    AmbiguousRevision {
        /// Their executions.
        executions: Vec<String>,
    },
    /// The API server admitted a field that is not valid.
    Invalid(InvalidSpec),
    /// It is too late to submit the result.
    Expired {
        /// The limit that passed.
        expiry: Expiry,
        /// Why an earlier result may have been accepted nevertheless.
        caveat: Option<Caveat>,
    },
    /// The owner holds the decision back.
    Suspended,
    /// The approval is not pending yet.
    Waiting {
        /// What the decision waits for.
        wait: Wait,
        /// The exception, if CodePipeline refused a result and the operator resolves the request again.
        exception: Option<Exception>,
        /// When to poll again, if that is before the next regular poll.
        recheck_at: Option<Timestamp>,
        /// When the wait ends.
        until: Timestamp,
    },
    /// The operator has been unable to read the pipeline for a while.
    Unreadable {
        /// What has to change.
        cause: RetryCause,
        /// The exception, if CodePipeline raised one.
        exception: Option<Exception>,
        /// What happened, for people.
        detail: String,
        /// Since when.
        since: Timestamp,
        /// When the wait ends.
        until: Timestamp,
    },
    /// A result is about to be sent.
    Submitting(Intent),
    /// It is not known whether CodePipeline accepted a result.
    Unconfirmed {
        /// Why not.
        cause: UnconfirmedCause,
        /// The exception, if someone else completed the approval: then only their result is unknown.
        completed: Option<Exception>,
        /// What is known of the request.
        ids: ExecutionIds,
        /// When to continue.
        next: Timestamp,
    },
    /// The attempt was not applied, and the operator retries.
    Retrying {
        /// The attempt.
        submission: Submission,
        /// What has to change.
        cause: RetryCause,
        /// The exception, if CodePipeline raised one.
        exception: Option<Exception>,
        /// What happened, for people.
        detail: String,
        /// When to retry.
        next: Timestamp,
    },
}

/// The intent to submit a result. It is written to the status before the request leaves.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Intent {
    /// As in the status.
    pub submission: Submission,
    /// What is known of the request.
    pub ids: ExecutionIds,
    /// The attempts before this one.
    pub prior: PriorAttempts,
}

/// What a decision that names an execution waits for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Wait {
    /// Its execution.
    Execution(ExecutionWait),
    /// Another poll, because CodePipeline refused the request that was found.
    RequestRefused,
    /// A poll that succeeds.
    ReadablePipeline {
        /// What happened, for people.
        detail: String,
        /// When the first poll failed.
        since: Timestamp,
    },
}

/// What is known of earlier attempts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PriorAttempts {
    /// There was none, or none was applied.
    NotApplied,
    /// CodePipeline refused this token before. The operator had found the token itself.
    Refused,
    /// CodePipeline may have accepted one of them.
    InDoubt,
}

impl PriorAttempts {
    /// What a refusal of the attempt after them has to say.
    pub(super) const fn caveat(self) -> Option<Caveat> {
        match self {
            Self::NotApplied | Self::Refused => None,
            Self::InDoubt => Some(Caveat::AttemptInDoubt),
        }
    }
}

/// Why CodePipeline may have accepted a result of a decision that expired or was refused.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Caveat {
    /// The response to an attempt was lost, and nothing has shown since how it ended.
    AttemptInDoubt,
    /// The history of the approval cannot be read, for this reason.
    HistoryUnreadable(String),
    /// The part of history that the operator reads does not show the approval.
    BeyondHistory,
    /// An attempt was sent, and history shows no trace of it.
    NoTraceOfAttempt,
    /// History does not show the outcome of the approval of this execution.
    OutcomeNotInHistory {
        /// pipelineExecutionId
        execution: String,
    },
    /// The pipeline cannot be read, for this reason.
    PipelineUnreadable(String),
}

/// Why the outcome of a submission is not known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum UnconfirmedCause {
    /// There was no response, or an unreadable one.
    ResponseLost(String),
    /// CodePipeline's history cannot be read.
    HistoryUnreadable(String),
    /// CodePipeline's history does not show the outcome yet.
    NotInHistory,
    /// A further attempt with the same token failed.
    RetryFailed(String),
}

impl Outcome {
    /// The reason of the Ready condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Delivered { .. } => Reason::Delivered,
            Self::AlreadyDecided { .. } => Reason::AlreadyDecided,
            Self::Refused { refusal, .. } => (*refusal).into(),
            Self::Missing(Missing::Stage) => Reason::StageNotFound,
            Self::Missing(Missing::Action | Missing::NotAnApproval { .. }) => Reason::ActionNotFound,
            Self::ExecutionEnded { .. } => Reason::ExecutionEnded,
            Self::PipelineExecutionNotFound(_) => Reason::PipelineExecutionNotFound,
            Self::AmbiguousRevision { .. } => Reason::AmbiguousRevision,
            Self::Invalid(_) => Reason::ValidationFailed,
            Self::Expired { .. } => Reason::Expired,
            Self::Suspended => Reason::Suspended,
            Self::Waiting { .. } => Reason::Waiting,
            Self::Unreadable { cause, .. } | Self::Retrying { cause, .. } => (*cause).into(),
            Self::Submitting(_) => Reason::Submitting,
            Self::Unconfirmed { .. } => Reason::Unconfirmed,
        }
    }

    /// When to reconcile the decision again.
    #[must_use]
    pub const fn requeue(&self) -> Requeue {
        match self {
            Self::Unconfirmed { next, .. } | Self::Retrying { next, .. } => Requeue::At(*next),
            Self::Waiting { recheck_at, until, .. } => {
                Requeue::OnPipelineChange { recheck_at: *recheck_at, until: *until }
            }
            Self::Unreadable { until, .. } => Requeue::OnPipelineChange { recheck_at: None, until: *until },
            Self::Delivered { .. }
            | Self::AlreadyDecided { .. }
            | Self::Refused { .. }
            | Self::Missing(_)
            | Self::ExecutionEnded { .. }
            | Self::PipelineExecutionNotFound(_)
            | Self::AmbiguousRevision { .. }
            | Self::Invalid(_)
            | Self::Expired { .. }
            | Self::Suspended
            | Self::Submitting(_) => Requeue::AwaitChange,
        }
    }
}

/// When to reconcile a decision again. A change of the decision always does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Requeue {
    /// Only then.
    AwaitChange,
    /// At this time.
    At(Timestamp),
    /// When a poll of its pipeline shows something new, or the wait ends.
    OnPipelineChange {
        /// A poll that starts at this time or later is wanted, even if it shows nothing new.
        recheck_at: Option<Timestamp>,
        /// When the wait ends.
        until: Timestamp,
    },
}
