//! What holds for each request that leaves and for each state, compared with CodePipeline's own ledger.

use super::Replicas;
use super::state::{State, Version, Violation};
use super::users::OTHER_USER;
use approval_operator::api::v1alpha1::{ReadyClass, Reason};
use approval_operator::decision::phase::submission;
use approval_operator::decision::{Intent, current_reason, status_is_current};
use jiff::Timestamp;

/// More attempts than the disturbances of a world can cause. Further ones would never end.
const MAX_ATTEMPTS: i64 = 9;

impl Replicas {
    /// Whether a request may leave: its intent is recorded, and the version with the intent permits it.
    pub fn may_leave(&self, state: &State, written: &Version, intent: &Intent, clock: Timestamp) -> bool {
        let decision = &written.decision;
        let not_after = decision.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let is_recorded = |version: &Version| {
            submission(&version.decision) == Some(&intent.submission)
                && current_reason(&version.decision) == Some(Reason::Submitting)
                && version.decision.spec == decision.spec
        };
        let live = state.live.as_ref().filter(|live| live.uid() == written.uid());
        is_recorded(written)
            && live.is_none_or(is_recorded)
            && !decision.spec.suspend
            && decision.metadata.deletion_timestamp.is_none()
            && not_after.is_none_or(|time| time.is_ok_and(|time| clock < time))
    }

    /// Whether the status agrees with CodePipeline's ledger.
    pub fn status_is_accurate(&self, state: &State) -> bool {
        let Some(live) = &state.live else { return true };
        let Some(reason) = current_reason(&live.decision) else { return true };
        let (spec, status) = (&live.decision.spec, live.decision.status.as_ref());
        let result = spec.result.status.to_string();
        let mut accepted = state.codepipeline.accepted();
        let ours = state.codepipeline.accepted().find(|(entry, _)| entry.caller == live.uid());
        match (reason.ready_class(), reason) {
            (ReadyClass::Settled, Reason::Delivered) => {
                // The operator cannot distinguish the same result from an earlier incarnation of the decision.
                let twin =
                    || accepted.find(|(entry, _)| entry.caller != OTHER_USER && entry.summary == spec.result.summary);
                ours.or_else(twin).is_some_and(|(entry, execution)| {
                    let pinned = status.and_then(|status| status.pipeline_execution_id.as_ref());
                    entry.status == result
                        && status.and_then(|status| status.approved_at) == Some(entry.at)
                        && pinned.is_none_or(|pinned| *pinned == execution)
                })
            }
            (ReadyClass::Settled, _) => {
                let names = |token: &str, execution: &str| state.codepipeline.names(spec, token, execution);
                ours.is_none()
                    && accepted.any(|(entry, execution)| entry.status == result && names(&entry.token, &execution))
            }
            (ReadyClass::InFlight, _) => true,
            (ReadyClass::Stalled | ReadyClass::Retrying | ReadyClass::Waiting | ReadyClass::Suspended, _) => {
                ours.is_none() || !status_is_current(&live.decision)
            }
        }
    }

    /// The violation in a state, or on the way to it.
    pub fn check(&self, state: &State) -> Option<Violation> {
        let submission = state.live.as_ref().and_then(|live| submission(&live.decision));
        match state.violation {
            Some(violation) => Some(violation),
            None if !self.status_is_accurate(state) => Some(Violation::Accuracy),
            None => submission.filter(|submission| submission.attempts > MAX_ATTEMPTS).map(|_| Violation::Settlement),
        }
    }
}
