//! Whether the operator knows what targets there are. While it does not, no decision that depends on them is delivered.

use super::watch_health::WatchHealth;
use crate::decision::TargetsUnavailable;

/// Whether the targets are known.
pub(super) enum Listing {
    /// `--approval-targets=false`
    Disabled,
    NotListed,
    /// The operator is not allowed to list them. This is what the API server says.
    Refused(String),
    /// They are known, unless the watch has been broken since.
    Listed(WatchHealth),
}

impl Listing {
    /// Why it is not known what targets there are, if it matters.
    pub(super) fn unavailable(&self, target: Option<&str>) -> Option<TargetsUnavailable> {
        match self {
            Self::Disabled if target.is_none() => None,
            Self::Disabled => Some(TargetsUnavailable::Disabled),
            Self::NotListed => Some(TargetsUnavailable::NotListed),
            Self::Refused(error) => Some(TargetsUnavailable::Refused(error.clone())),
            Self::Listed(health) => health.broken().map(|_| TargetsUnavailable::WatchBroken),
        }
    }
}
