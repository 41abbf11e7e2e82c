//! Why a decision may not use its target now.

use super::observation::TargetsUnavailable;
use super::verification::Unverified;
use crate::api::v1alpha1::{Location, Reason};

/// Why a decision may not use its target now.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TargetProblem {
    /// The operator does not know what targets there are.
    Unavailable(TargetsUnavailable),
    /// There is no target of this name.
    NotFound,
    /// The target is being deleted.
    BeingDeleted,
    /// The decision must not use the target, and nothing else is said about the target.
    Forbidden(Forbidden),
    /// Whether the target admits the decision depends on the labels of its namespace, which cannot be read.
    LabelsUnknown,
    /// STS has not confirmed that the operator can access the account.
    NotVerified(Unverified),
    /// The operator found itself in another account or region than the one of the target.
    OtherLocation {
        /// Where it was.
        found: Location,
        /// Where the target is.
        expected: Location,
    },
    /// The operator does not know its own account and region yet, which may be those of a target.
    OwnUnknown,
    /// The decision names no target, and the operator runs with `--ambient-credentials=false`.
    RequiredByFlag,
    /// The decision names no target, and this target has the operator's own account and region.
    RequiredBy(String),
}

/// Why a decision must not use a target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Forbidden {
    /// No access entry admits the namespace, the pipeline and the result together.
    NotAdmitted,
    /// `spec.targetRef` says another account or region than the one of the target.
    Guarded {
        /// Where the target is.
        found: Location,
    },
    /// The decision found its request in another account or region, and was not edited since.
    Pinned {
        /// Where it found the request.
        pinned: Location,
        /// Where the target is now, or the operator.
        found: Location,
    },
}

impl TargetProblem {
    /// The reason of the Ready condition.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unavailable(_)
            | Self::LabelsUnknown
            | Self::NotVerified(_)
            | Self::OtherLocation { .. }
            | Self::OwnUnknown => Reason::TargetNotReady,
            Self::NotFound | Self::BeingDeleted => Reason::TargetNotFound,
            Self::Forbidden(_) => Reason::TargetForbidden,
            Self::RequiredByFlag | Self::RequiredBy(_) => Reason::TargetRequired,
        }
    }
}
