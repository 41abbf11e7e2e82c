//! What must hold of each request that leaves and of each state, by what the service itself has on record.

use super::Replicas;
use super::state::{State, Version, Wrong};
use crate::api::v1alpha1::{Reason, Standing};
use crate::decision::outcome::Intent;
use crate::decision::progress::{stands, submission};
use crate::decision::status::current_reason;
use jiff::Timestamp;

/// More attempts than all that goes wrong in a world can account for: they go on by themselves, and would for ever.
const ATTEMPTS: i64 = 9;

impl Replicas {
    /// Whether a request may leave: its intent is written, and the version that it was written as lets it.
    pub fn may_leave(&self, state: &State, written: &Version, intent: &Intent, clock: Timestamp) -> bool {
        let decision = &written.decision;
        let not_after = decision.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let is_intended = |version: &Version| {
            submission(&version.decision) == Some(&intent.submission)
                && current_reason(&version.decision) == Some(Reason::Submitting)
                && version.decision.spec == decision.spec
        };
        let live = state.live.as_ref().filter(|live| live.uid() == written.uid());
        is_intended(written)
            && live.is_none_or(is_intended)
            && !decision.spec.suspend
            && decision.metadata.deletion_timestamp.is_none()
            && not_after.is_none_or(|time| time.is_ok_and(|time| clock < time))
    }

    /// Whether what the status says is what the service has on record.
    pub fn tells_the_truth(&self, state: &State) -> bool {
        let Some(live) = &state.live else { return true };
        let Some(reason) = current_reason(&live.decision) else { return true };
        let (spec, status) = (&live.decision.spec, live.decision.status.as_ref());
        let result = spec.result.status.to_string();
        let mut taken = state.service.taken();
        let ours = state.service.taken().find(|(entry, _)| entry.caller == live.uid());
        match (reason.standing(), reason) {
            (Standing::Settled, Reason::Delivered) => {
                // What an earlier life of the decision said meanwhile in the same words is not to be told from it.
                let twin = || taken.find(|(entry, _)| entry.caller != "ada" && entry.summary == spec.result.summary);
                ours.or_else(twin).is_some_and(|(entry, run)| {
                    let pinned = status.and_then(|status| status.pipeline_execution_id.as_ref());
                    entry.status == result
                        && status.and_then(|status| status.approved_at) == Some(entry.at)
                        && pinned.is_none_or(|pinned| *pinned == run)
                })
            }
            (Standing::Settled, _) => {
                ours.is_none()
                    && taken.any(|(entry, run)| entry.status == result && state.service.names(spec, &entry.token, &run))
            }
            (Standing::UnderWay, _) => true,
            (Standing::Stalled | Standing::Retrying | Standing::Waiting | Standing::Suspended, _) => {
                ours.is_none() || !stands(&live.decision)
            }
        }
    }

    /// What is wrong with a state, by itself or by how it came about.
    pub fn judge(&self, state: &State) -> Option<Wrong> {
        let submission = state.live.as_ref().and_then(|live| submission(&live.decision));
        match state.wrong {
            Some(wrong) => Some(wrong),
            None if !self.tells_the_truth(state) => Some(Wrong::Truth),
            None => submission.filter(|submission| submission.attempts > ATTEMPTS).map(|_| Wrong::Unsettled),
        }
    }
}
