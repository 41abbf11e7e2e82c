//! What the driver observes of the target of a decision.

use super::verification::Verification;
use crate::api::v1alpha1::{ApprovalTarget, Location};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of the target that a decision names.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetObservation {
    /// It is not known what targets there are.
    Unavailable(TargetsUnavailable),
    /// The decision names no target: it uses the operator's own identity.
    Own {
        /// Whether decisions may do so.
        ambient: AmbientCredentials,
        /// The operator's own account and region, if known.
        location: Option<Location>,
        /// Where all targets are, by name.
        targets: Arc<BTreeMap<String, Location>>,
    },
    /// There is no target of this name.
    NotFound,
    /// There is one.
    Found {
        /// The target.
        target: Arc<ApprovalTarget>,
        /// The labels of the decision's namespace. None: they cannot be read.
        namespace_labels: Option<BTreeMap<String, String>>,
        /// Whether the operator can access the account.
        verification: Verification,
    },
}

/// Why it is not known what targets there are.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TargetsUnavailable {
    /// `--approval-targets=false`: the operator does not look for them.
    Disabled,
    /// They have not been listed yet.
    NotListed,
    /// The operator is not allowed to list them. This is what the API server says.
    Refused(String),
    /// The watch has failed for too long.
    WatchBroken,
}

/// Whether decisions may use the operator's own identity: `--ambient-credentials`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AmbientCredentials {
    /// They may.
    Enabled,
    /// Each decision must name a target.
    Disabled,
}

/// Where the request of a decision that rejects is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RejectionLocation {
    /// In this account and region.
    At(Location),
    /// This cannot be told. It may be anywhere.
    Unknown,
    /// Nowhere: the decision may not use its target.
    NotAdmitted,
}
