//! The configurable behaviour, where that of AWS depends on timing or is not documented: how long reads lag behind
//! changes, how tokens are generated, what reads show in PARALLEL mode and after a timeout.

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
    /// What GetPipelineState shows of a pipeline in PARALLEL mode.
    pub parallel_state: ParallelState,
    /// The summary of an approval that timed out. Assumed: there is none by default, because the text of AWS is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_summary: Option<String>,
}

/// What GetPipelineState shows of a pipeline in PARALLEL mode. AWS's documentation says that it may be outdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ParallelState {
    /// The current definition and the newest execution of each action, without tokens.
    #[default]
    WithoutTokens,
    /// No stages.
    Empty,
    /// The pipeline as it was when an edit set the mode PARALLEL, or before its first edit if it always had that mode. Assumed:
    /// an approval that was pending then still is, with its token.
    Stale,
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
