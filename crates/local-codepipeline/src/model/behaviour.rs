//! The configurable behaviour, where that of AWS depends on timing or is not documented: how long reads lag behind
//! changes, and how tokens are generated.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::TokenRule;

/// The configurable behaviour of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// How long reads lag behind changes.
    pub lags: Lags,
    /// How tokens are generated.
    pub tokens: TokenRule,
}

/// How long after a change each read shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lags {
    /// GetPipelineState omits a new approval, and the history of PARALLEL mode its token.
    pub token: SignedDuration,
    /// The lists omit a new execution or action execution.
    pub start: SignedDuration,
    /// ListActionExecutions still shows a completed approval as InProgress.
    pub decision: SignedDuration,
    /// ListActionExecutions still shows an approval that an edit of the pipeline has cancelled as InProgress.
    pub cancellation: SignedDuration,
}

impl Default for Lags {
    /// No lag except `cancellation`: in AWS the two reads contradict each other for minutes, and clients must handle
    /// that.
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
    /// The lags measured in AWS; the default of the command line.
    #[must_use]
    pub fn realistic() -> Self {
        Self {
            token: SignedDuration::from_secs(7),
            start: SignedDuration::from_secs(1),
            decision: SignedDuration::from_secs(30),
            ..Self::default()
        }
    }
}
