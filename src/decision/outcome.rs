//! Where a round over a decision can come out: the one vocabulary between deciding and telling.

use super::choose::{Missing, Wait};
use crate::api::v1alpha1::{Exception, Reason, Submission};
use crate::codepipeline::{Cause, ExecutionEnd, ExecutionIds, Finished, Refusal};
use jiff::Timestamp;

/// What is to be told of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The service took our answer.
    Delivered {
        /// When, as the service told.
        approved_at: Option<Timestamp>,
        /// The record, where the answer was lost and the record told instead.
        record: Option<Finished>,
    },
    /// The request was answered before, as this decision would have it.
    AlreadyDecided {
        /// The record of it.
        record: Finished,
        /// What the service raised, if it was asked.
        exception: Option<Exception>,
    },
    /// The service refused, or would.
    Refused {
        /// Which refusal.
        refusal: Refusal,
        /// What the service raised, if it was asked.
        exception: Option<Exception>,
        /// How the request ended, where the record tells.
        record: Option<Finished>,
    },
    /// The pipeline has no such approval, as the state view shows it.
    Missing(Missing),
    /// The run that the decision is bound to ended before its approval was answered.
    ExecutionEnded {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
    },
    /// The service does not know the run that the decision is bound to.
    PipelineExecutionNotFound(Exception),
    /// More than one pending request is of the source revision.
    AmbiguousRevision {
        /// The runs that they belong to.
        executions: Vec<String>,
    },
    /// A field that the API server let pass cannot be right.
    Invalid {
        /// The field, what was found, and what to do.
        detail: String,
    },
    /// The time for an answer is over.
    Expired {
        /// Which limit passed.
        expiry: Expiry,
        /// Why it is not certain that no answer was taken before, where it is not.
        unproven: Option<String>,
    },
    /// The owner holds the decision back.
    Suspended,
    /// The approval is not pending yet.
    Waiting {
        /// What is waited for.
        pending: Pending,
        /// What the service raised when it was answered, where that is why it is looked for anew.
        exception: Option<Exception>,
        /// When to look at the pipeline again, if that is to be sooner than by itself.
        again: Option<Timestamp>,
        /// When there is no answer any more.
        until: Timestamp,
    },
    /// The pipeline cannot be read, and has not been for a while.
    Unreadable {
        /// What has to change.
        cause: Cause,
        /// What the service raised, if it was reached.
        exception: Option<Exception>,
        /// What was seen, for people.
        detail: String,
        /// Since when.
        since: Timestamp,
        /// When there is no answer any more.
        until: Timestamp,
    },
    /// An answer is about to be sent.
    Submitting(Intent),
    /// What became of an answer is not known.
    Unconfirmed {
        /// Why not.
        doubt: Doubt,
        /// Set where the request was completed by others: then no answer of ours is in doubt, only theirs.
        completed: Option<Exception>,
        /// What is known of the request.
        ids: ExecutionIds,
        /// When to look again.
        next: Timestamp,
    },
    /// The answer was not taken and is sent again.
    Retrying {
        /// The attempt that was not taken.
        submission: Submission,
        /// What has to change.
        cause: Cause,
        /// What the service raised, if it was reached.
        exception: Option<Exception>,
        /// What was seen, for people.
        detail: String,
        /// When to try again.
        next: Timestamp,
    },
}

/// An attempt at answering: it is written to the status before the request leaves.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Intent {
    /// As it stands in the status.
    pub submission: Submission,
    /// What is known of the request.
    pub ids: ExecutionIds,
    /// Whether earlier attempts may have been taken.
    pub earlier: Earlier,
}

/// What a decision waits for that is bound to a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pending {
    /// Its run.
    Run(Wait),
    /// A new look at the pipeline: the request that was found is no longer pending.
    NewLook,
    /// A look at the pipeline that does not fail.
    Sight {
        /// What was seen, for people.
        detail: String,
        /// Since when it cannot be read.
        since: Timestamp,
    },
}

/// What is known of the attempts before this one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Earlier {
    /// There was none, or none was taken.
    NotTaken,
    /// The service refused this token before, which the operator had found itself.
    Refused,
    /// One of them may have been taken.
    InDoubt,
}

/// Which limit on waiting comes first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// The decision's own.
    NotAfter(Timestamp),
    /// The operator's, counted from the decision's creation.
    WaitingLimit(Timestamp),
}

impl Expiry {
    /// When it is over.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::NotAfter(at) | Self::WaitingLimit(at) => *at,
        }
    }
}

/// Why an answer is unconfirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// No answer came, or none that can be read.
    Lost(String),
    /// The service's record cannot be read.
    Unreadable(String),
    /// The service's record does not show what became of the request yet.
    NotInRecord,
    /// Asking again with the same token failed.
    NotAsked(String),
}

impl Outcome {
    /// The reason that stands in Ready.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Delivered { .. } => Reason::Delivered,
            Self::AlreadyDecided { .. } => Reason::AlreadyDecided,
            Self::Refused { refusal, .. } => (*refusal).into(),
            Self::Missing(Missing::Stage) => Reason::StageNotFound,
            Self::Missing(Missing::Action | Missing::Approval(_)) => Reason::ActionNotFound,
            Self::ExecutionEnded { .. } => Reason::ExecutionEnded,
            Self::PipelineExecutionNotFound(_) => Reason::PipelineExecutionNotFound,
            Self::AmbiguousRevision { .. } => Reason::AmbiguousRevision,
            Self::Invalid { .. } => Reason::ValidationFailed,
            Self::Expired { .. } => Reason::Expired,
            Self::Suspended => Reason::Suspended,
            Self::Waiting { .. } => Reason::Waiting,
            Self::Unreadable { cause, .. } => (*cause).into(),
            Self::Submitting(_) => Reason::Submitting,
            Self::Unconfirmed { .. } => Reason::Unconfirmed,
            Self::Retrying { cause, .. } => (*cause).into(),
        }
    }

    /// When to begin another round over the decision.
    #[must_use]
    pub const fn next(&self) -> Next {
        match self {
            Self::Unconfirmed { next, .. } | Self::Retrying { next, .. } => Next::At(*next),
            Self::Waiting { again, until, .. } => Next::AtNews { again: *again, until: *until },
            Self::Unreadable { until, .. } => Next::AtNews { again: None, until: *until },
            Self::Delivered { .. }
            | Self::AlreadyDecided { .. }
            | Self::Refused { .. }
            | Self::Missing(_)
            | Self::ExecutionEnded { .. }
            | Self::PipelineExecutionNotFound(_)
            | Self::AmbiguousRevision { .. }
            | Self::Invalid { .. }
            | Self::Expired { .. }
            | Self::Suspended
            | Self::Submitting(_) => Next::AtChange,
        }
    }
}

/// When another round over a decision begins, besides when the decision changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Only then.
    AtChange,
    /// At this time.
    At(Timestamp),
    /// When there is something new to see of its pipeline, or the time is over.
    AtNews {
        /// A look that begins then is wanted, whatever it shows.
        again: Option<Timestamp>,
        /// When the time is over.
        until: Timestamp,
    },
}
