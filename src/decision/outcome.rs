//! The outcomes of a reconcile. `decide` produces them; `status` and `message` report them.

use super::conflict::RejectionMatch;
use super::resolve::{Ambiguity, ExecutionWait, Missing, OpenRequest, RefusedNames};
use super::target::{TargetProblem, TargetsUnavailable};
use super::timing::Expiry;
use crate::api::v1alpha1::{ApprovalDecision, Exception, InvalidSpec, Location, ReadyClass, Reason, Submission};
use crate::codepipeline::{CompletedApproval, ExecutionEnd, ExecutionIds, PipelineExecution, Refusal, RetryCause};
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
        /// What is open besides.
        open: Option<OpenRequest>,
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
        /// What is open besides.
        open: Option<OpenRequest>,
        /// What the pipeline has of the names that were refused, where it was read.
        names: Option<RefusedNames>,
        /// Why an earlier result may have been accepted nevertheless.
        caveat: Option<Caveat>,
    },
    /// The pipeline does not exist, or has no such approval, according to a poll: it may be created or changed later.
    Missing {
        /// What there is not.
        missing: Missing,
        /// When the wait ends.
        until: Timestamp,
    },
    /// The execution that the decision names ended before its approval received a response.
    ExecutionEnded {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
        /// When the wait for a retry ends.
        until: Timestamp,
    },
    /// CodePipeline does not know the execution that the decision names.
    PipelineExecutionNotFound {
        /// What CodePipeline says.
        exception: Exception,
        /// The account and region without it.
        location: Option<Location>,
    },
    /// The source revisions do not name one request.
    AmbiguousRevision(Ambiguity),
    /// The API server admitted a field that is not valid.
    Invalid(InvalidSpec),
    /// The decision may not use its target now.
    TargetProblem {
        /// Why not.
        problem: TargetProblem,
        /// When to look again.
        requeue: Requeue,
    },
    /// It is too late to submit the result.
    Expired {
        /// The limit that passed.
        expiry: Expiry,
        /// Why an earlier result may have been accepted nevertheless.
        caveat: Option<Caveat>,
    },
    /// The owner holds the decision back.
    Suspended {
        /// When it expires.
        not_after: Option<Timestamp>,
    },
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
    /// Another decision rejects the request, or may, and goes first.
    Conflicting {
        /// The rejection, if this decision may name it: both are in one namespace.
        rejection: Option<String>,
        /// Whether it is about the request.
        found: RejectionMatch,
        /// What is known of the request.
        ids: ExecutionIds,
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
        /// The exception with which CodePipeline refused the last attempt, if it did, and what is known of those before it. Where none of
        /// them is in doubt, only how the request was completed is unknown.
        refused: Option<(Exception, PriorAttempts)>,
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
        /// When the decision expires, perhaps before that.
        until: Timestamp,
    },
}

/// The intent to submit a result. It is written to the status before the request leaves.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Intent {
    /// As in the status.
    pub submission: Submission,
    /// The execution of the request, if it was read.
    pub execution: Option<PipelineExecution>,
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
    /// The spec as it is now: the submission was for an earlier edit, and was not accepted.
    CurrentSpec,
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
    /// CodePipeline refused a name, and the pipeline is read for those that it has.
    NamesNotRead,
    /// A further attempt with the same token failed.
    RetryFailed(String),
    /// The pipeline no longer exists, or not yet again.
    PipelineNotFound,
    /// The operator now has another AWS account or region than the submission, whose history it does not read.
    OtherAccount,
    /// The operator does not know what targets there are.
    TargetsUnavailable(TargetsUnavailable),
    /// The target of the submission does not exist now.
    TargetNotFound,
    /// The target of the submission now has another account or region, whose history the operator does not read.
    TargetElsewhere(Location),
    /// CodePipeline's history shows no trace of the submission, and the rules do not permit to send it again.
    NoTrace,
    /// CodePipeline's history shows no trace of the submission, and the target does not permit to send it again, for this reason.
    NoTraceAtTarget(Box<TargetProblem>),
    /// A further attempt with the same token is not permitted, for this reason.
    RetryNotAllowed(Box<TargetProblem>),
}

impl Outcome {
    /// The request is completed, and not by an attempt of ours that is in doubt.
    #[must_use]
    pub fn completed_by_others(
        decision: &ApprovalDecision,
        record: &CompletedApproval,
        open: Option<OpenRequest>,
        exception: Option<&Exception>,
    ) -> Self {
        let (record, exception) = (record.clone(), exception.cloned());
        if record.result == Some(decision.spec.result.status) {
            Self::AlreadyDecided { record, open, exception }
        } else {
            let (refusal, record) = (Refusal::ApprovalAlreadyCompleted, Some(record));
            // The request received one result, and history shows that it is not ours: no doubt is left.
            Self::Refused { refusal, exception, record, open, names: None, caveat: None }
        }
    }

    /// The response to the request that settles the decision, if it is not known to be ours.
    pub(super) const fn response_mut(&mut self) -> Option<&mut CompletedApproval> {
        let (Self::AlreadyDecided { record, .. } | Self::Refused { record: Some(record), .. }) = self else {
            return None;
        };
        Some(record)
    }

    /// What the request of [`Self::response_mut`] may be known by.
    pub(super) fn ids_of_response(&self, decision: &ApprovalDecision) -> Vec<String> {
        let (Self::AlreadyDecided { record, .. } | Self::Refused { record: Some(record), .. }) = self else {
            return Vec::new();
        };
        let token = decision.spec.token.as_ref().map(|token| token.0.clone());
        record.result.into_iter().flat_map(|_| record.ids.action.clone().into_iter().chain(token.clone())).collect()
    }

    /// The reason of the Ready condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Delivered { .. } => Reason::Delivered,
            Self::AlreadyDecided { .. } => Reason::AlreadyDecided,
            Self::Refused { refusal, .. } => (*refusal).into(),
            Self::Missing { missing: Missing::Pipeline { .. }, .. } => Reason::PipelineNotFound,
            Self::Missing { missing: Missing::Stage { .. }, .. } => Reason::StageNotFound,
            Self::Missing { missing: Missing::Action { .. } | Missing::NotAnApproval { .. }, .. } => {
                Reason::ActionNotFound
            }
            Self::ExecutionEnded { .. } => Reason::ExecutionEnded,
            Self::PipelineExecutionNotFound { .. } => Reason::PipelineExecutionNotFound,
            Self::AmbiguousRevision(_) => Reason::AmbiguousRevision,
            Self::Invalid(_) => Reason::ValidationFailed,
            Self::TargetProblem { problem, .. } => problem.reason(),
            Self::Expired { .. } => Reason::Expired,
            Self::Suspended { .. } => Reason::Suspended,
            Self::Waiting { .. } => Reason::Waiting,
            Self::Conflicting { .. } => Reason::ConflictingDecision,
            Self::Unreadable { cause, .. } | Self::Retrying { cause, .. } => (*cause).into(),
            Self::Submitting(_) => Reason::Submitting,
            Self::Unconfirmed { .. } => Reason::Unconfirmed,
        }
    }

    /// The kind of state that the conditions report.
    #[must_use]
    pub fn ready_class(&self) -> ReadyClass {
        match self {
            Self::Missing { .. } => ReadyClass::Retrying,
            Self::ExecutionEnded { end, .. } if end.may_be_retried() => ReadyClass::Retrying,
            outcome => outcome.reason().ready_class(),
        }
    }

    /// Whether it follows from how the request was completed, so that nothing is in doubt or left to send.
    pub(super) const fn request_is_completed(&self) -> bool {
        match self {
            Self::Delivered { .. } | Self::AlreadyDecided { .. } => true,
            Self::Refused { record, .. } => record.is_some(),
            Self::Missing { .. }
            | Self::ExecutionEnded { .. }
            | Self::PipelineExecutionNotFound { .. }
            | Self::AmbiguousRevision(_)
            | Self::Invalid(_)
            | Self::TargetProblem { .. }
            | Self::Expired { .. }
            | Self::Suspended { .. }
            | Self::Waiting { .. }
            | Self::Conflicting { .. }
            | Self::Unreadable { .. }
            | Self::Submitting(_)
            | Self::Unconfirmed { .. }
            | Self::Retrying { .. } => false,
        }
    }

    /// When to reconcile the decision again.
    #[must_use]
    pub fn requeue(&self) -> Requeue {
        match self {
            Self::TargetProblem { requeue, .. } => *requeue,
            Self::Unconfirmed { next, .. } => Requeue::At(*next),
            Self::Retrying { next, until, .. } => Requeue::At(*next.min(until)),
            Self::Suspended { not_after: Some(not_after) } => Requeue::At(*not_after),
            // The spec is acted on at once: it may name another pipeline, or nothing.
            Self::Waiting { wait: Wait::CurrentSpec, .. } => Requeue::AwaitChange,
            Self::Waiting { recheck_at, until, .. } => {
                Requeue::OnPipelineChange { recheck_at: *recheck_at, until: *until }
            }
            Self::Unreadable { until, .. } | Self::Missing { until, .. } | Self::Conflicting { until, .. } => {
                Requeue::OnPipelineChange { recheck_at: None, until: *until }
            }
            Self::ExecutionEnded { end, until, .. } if end.may_be_retried() => {
                Requeue::OnPipelineChange { recheck_at: None, until: *until }
            }
            Self::Delivered { .. }
            | Self::AlreadyDecided { .. }
            | Self::Refused { .. }
            | Self::ExecutionEnded { .. }
            | Self::PipelineExecutionNotFound { .. }
            | Self::AmbiguousRevision(_)
            | Self::Invalid(_)
            | Self::Expired { .. }
            | Self::Suspended { not_after: None }
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
