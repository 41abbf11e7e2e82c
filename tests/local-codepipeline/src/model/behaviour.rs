//! How the service behaves where the live one's behaviour is a matter of time or is not promised: how far its views lag
//! behind the truth, and where its tokens come from.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::TokenRule;

/// What can be set about a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// How far the views lag behind.
    pub lags: Lags,
    /// Where tokens come from.
    pub tokens: TokenRule,
}

/// How long after the truth each view shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lags {
    /// An approval just entered is absent from GetPipelineState, and its token from the history of PARALLEL mode.
    pub token: SignedDuration,
    /// A run or an action just started is absent from the lists.
    pub start: SignedDuration,
    /// An approval just answered is still InProgress in ListActionExecutions.
    pub decision: SignedDuration,
    /// An approval that an edit of its pipeline cancelled is still InProgress in ListActionExecutions.
    pub cancellation: SignedDuration,
}

impl Default for Lags {
    /// No lag, but for cancellation: there the two views contradict each other for minutes, which no test waits out.
    fn default() -> Self {
        Self {
            token: SignedDuration::ZERO,
            start: SignedDuration::ZERO,
            decision: SignedDuration::ZERO,
            cancellation: SignedDuration::from_mins(2),
        }
    }
}

impl Lags {
    /// What was measured on the live service: it is what the binary starts with.
    #[must_use]
    pub fn lifelike() -> Self {
        Self {
            token: SignedDuration::from_secs(7),
            start: SignedDuration::from_secs(1),
            decision: SignedDuration::from_secs(30),
            ..Self::default()
        }
    }
}
