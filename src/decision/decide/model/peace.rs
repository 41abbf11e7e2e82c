//! That every decision settles. The search's own `eventually` misses what goes round in circles, so it is checked in each
//! state as what it means: from here on nothing goes wrong and nobody does anything, operators do what is due, time passes as
//! they want it to, and within a bounded time the decision has come to its end.

use super::operator::Done;
use super::state::{Budget, State, Wrong, digest};
use super::{Fault, Replicas, WHO, Who};
use crate::api::v1alpha1::Standing;
use crate::decision::fixtures::SETTINGS;
use crate::decision::outcome::Next;
use crate::decision::progress::stands;
use crate::decision::status::current_reason;
use jiff::{SignedDuration, Timestamp};
use std::sync::PoisonError;

/// How many steps of operators it may take.
const STEPS: usize = 200;

/// How long, which is more than anybody's patience adds up to.
const TIME: SignedDuration = SignedDuration::from_mins(30);

impl Replicas {
    /// What a state comes to in peace: nothing, if the decision settles, or else what is wrong.
    pub fn in_peace(&self, state: &State) -> Option<Wrong> {
        let mut state = state.clone();
        state.left = Budget::default();
        // Those who sent them have given up on them, and whatever may yet arrive is a state of its own.
        state.adrift.clear();
        let end = state.now + TIME;
        let mut path = Vec::new();
        let mut waits: [Option<Timestamp>; 2] = [None, None];
        let verdict = loop {
            state = state.canonical(0, false);
            if let Some(wrong) = self.judge(&state) {
                break Some(wrong);
            }
            if waits == [None, None] {
                let here = digest(&state);
                let known = self.peace.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(verdict) = known.get(&here) {
                    break *verdict;
                }
                path.push(here);
            }
            if path.len() > STEPS || end < state.now {
                break Some(Wrong::Unsettled);
            }
            if let Some(who) = WHO.into_iter().find(|who| waits[*who as usize].is_none()) {
                waits[who as usize] = self.act(&mut state, who);
                if waits[who as usize].is_none() {
                    waits = [None, None];
                }
                continue;
            }
            if self.is_settled(&state) {
                break None;
            }
            let next = waits.into_iter().flatten().min().unwrap_or(end);
            if next == Timestamp::MAX {
                break Some(Wrong::Unsettled);
            }
            state.now = next.max(state.now + SignedDuration::from_secs(1));
            for operator in &mut state.operators {
                operator.question.iter_mut().for_each(|question| question.newest = None);
            }
            waits = [None, None];
        };
        let mut known = self.peace.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(path.into_iter().map(|state| (state, verdict)));
        verdict
    }

    /// An operator does something; if there is nothing to do, says until when, by the service's clock.
    fn act(&self, state: &mut State, who: Who) -> Option<Timestamp> {
        let ahead = self.clock(state, who).duration_since(state.now);
        if self.is_waiting(state, who) {
            self.hear(state, who, true);
            return None;
        }
        match self.step(state, who, None, Fault::None) {
            Some(Done::Something | Done::ForNow) => None,
            Some(Done::Until(Next::At(time))) => Some(time - ahead),
            Some(Done::Until(Next::AtNews { until, .. })) => {
                Some((until - ahead).min(state.now + SETTINGS.poll_interval))
            }
            Some(Done::Until(Next::AtChange)) | None => Some(Timestamp::MAX),
        }
    }

    /// Whether there is nothing left to be done about the decision.
    fn is_settled(&self, state: &State) -> bool {
        let Some(live) = &state.live else { return true };
        let (decision, spec) = (&live.decision, &live.decision.spec);
        if decision.metadata.deletion_timestamp.is_some() {
            return true;
        }
        match current_reason(decision).map(|reason| reason.standing()) {
            Some(Standing::Settled) => true,
            Some(Standing::Stalled | Standing::Suspended) => stands(decision),
            // Its request is not there yet, or it is over and another run of the revision may come.
            Some(Standing::Waiting) => {
                let is_pending = state
                    .service
                    .pending()
                    .iter()
                    .any(|pending| state.service.names(spec, &pending.token.0, &pending.run));
                let is_answered =
                    state.service.taken().any(|(entry, run)| state.service.names(spec, &entry.token, &run));
                stands(decision) && !is_pending && !is_answered
            }
            Some(Standing::Retrying | Standing::UnderWay) | None => false,
        }
    }
}
