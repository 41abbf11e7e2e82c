//! Where a round over a decision can come out: the one vocabulary between deciding and telling.

use crate::api::v1alpha1::{Exception, Reason, Submission};
use crate::codepipeline::{Cause, ExecutionIds, Finished, Refusal};
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Intent {
    /// As it stands in the status.
    pub submission: Submission,
    /// What is known of the request.
    pub ids: ExecutionIds,
    /// Whether earlier attempts may have been taken.
    pub earlier: Earlier,
}

/// What is known of the attempts before this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Earlier {
    /// There was none, or none was taken.
    NotTaken,
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
            Self::Invalid { .. } => Reason::ValidationFailed,
            Self::Expired { .. } => Reason::Expired,
            Self::Suspended => Reason::Suspended,
            Self::Submitting(_) => Reason::Submitting,
            Self::Unconfirmed { .. } => Reason::Unconfirmed,
            Self::Retrying { cause, .. } => (*cause).into(),
        }
    }

    /// When to look at the decision again; never, where only a change of it can matter.
    #[must_use]
    pub const fn next(&self) -> Option<Timestamp> {
        match self {
            Self::Unconfirmed { next, .. } | Self::Retrying { next, .. } => Some(*next),
            Self::Delivered { .. }
            | Self::AlreadyDecided { .. }
            | Self::Refused { .. }
            | Self::Invalid { .. }
            | Self::Expired { .. }
            | Self::Suspended
            | Self::Submitting(_) => None,
        }
    }
}
