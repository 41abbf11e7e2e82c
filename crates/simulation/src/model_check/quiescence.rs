//! Every decision settles. The checker's own `eventually` misses cycles, so this is checked in each state by its definition: from
//! here on nothing fails and no user acts, operators do what is due, and time passes as they need it to. Then the decision settles
//! within a bounded time.

use super::codepipeline::Request;
use super::operator::Progress;
use super::state::{Budget, State, Version, Violation, digest};
use super::targets::Place;
use super::{Fault, REPLICAS, Replica, Replicas};
use crate::fixtures::SETTINGS;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, ReadyClass, Reason};
use approval_operator::decision::{Requeue, current_class, current_reason, is_edited, status_is_current};
use jiff::{SignedDuration, Timestamp};
use std::sync::PoisonError;

/// The most steps that operators may take.
const MAX_STEPS: usize = 200;

/// More than all timeouts together.
const MAX_TIME: SignedDuration = SignedDuration::from_mins(30);

impl Replicas {
    /// The violation that a state leads to without further disturbances. None if the decision settles.
    pub fn after_quiescence(&self, state: &State) -> Option<Violation> {
        let mut state = state.clone();
        state.left = Budget::default();
        // A request that still arrives leads to another state, which is checked too.
        state.abandoned.clear();
        // Two pollers may have seen different things last, and poll again.
        state.operators.iter_mut().for_each(|operator| self.invalidate_poll(operator));
        let end = state.now + MAX_TIME;
        let mut path = Vec::new();
        let idle = || REPLICAS.map(|replica| (!self.world.replicas.contains(&replica)).then_some(Timestamp::MAX));
        let mut waits = idle();
        let verdict = loop {
            state = state.canonical(0, false);
            if let Some(violation) = self.check(&state) {
                break Some(violation);
            }
            if waits == idle() {
                let here = digest(&state);
                let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(verdict) = verdicts.get(&here) {
                    break *verdict;
                }
                path.push(here);
            }
            if path.len() > MAX_STEPS || end < state.now {
                break Some(Violation::Settlement);
            }
            if let Some(replica) = REPLICAS.into_iter().find(|replica| waits[*replica as usize].is_none()) {
                waits[replica as usize] = self.in_cluster_of(&mut state, replica, |state| self.act(state, replica));
                if waits[replica as usize].is_none() {
                    waits = idle();
                }
                continue;
            }
            if state.decisions().all(|live| self.is_settled(&state, live)) {
                break None;
            }
            let next = waits.into_iter().flatten().min().unwrap_or(end);
            if next == Timestamp::MAX {
                break Some(Violation::Settlement);
            }
            state.now = next.max(state.now + SignedDuration::from_secs(1));
            for operator in &mut state.operators {
                self.invalidate_poll(operator);
            }
            waits = idle();
        };
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.extend(path.into_iter().map(|state| (state, verdict)));
        verdict
    }

    /// An operator acts. If there is nothing to do, returns until when, by CodePipeline's clock.
    fn act(&self, state: &mut State, replica: Replica) -> Option<Timestamp> {
        let ahead = self.clock(state, replica).duration_since(state.now);
        if self.is_waiting(state, replica) {
            self.arrive_and_respond(state, replica, true);
            return None;
        }
        let before = state.live.clone();
        let reconcile = state.operators[replica as usize].reconcile.as_ref();
        let target = state.target;
        let is_outdated = reconcile.is_some_and(|reconcile| {
            Some(&reconcile.known) != before.as_ref() || reconcile.target.is_some_and(|observed| observed != target)
        });
        let progress = self.step(state, replica, None, Fault::None);
        // The watch shows a change, of the target too, which starts another reconcile.
        if is_outdated || state.live != before {
            return None;
        }
        match progress {
            Some(Progress::Performed | Progress::Failed) => None,
            Some(Progress::Finished(Requeue::At(time))) => Some(time - ahead),
            Some(Progress::Finished(Requeue::OnPipelineChange { until, .. })) => {
                let subscription = state.operators[replica as usize].subscription.as_ref();
                if subscription.is_some_and(|subscription| subscription.newest.is_none()) {
                    return self.poll(state, replica, Fault::None).and(None);
                }
                Some((until - ahead).min(state.now + SETTINGS.poll_interval))
            }
            Some(Progress::Finished(Requeue::AwaitChange)) | None => Some(Timestamp::MAX),
        }
    }

    /// Whether nothing is left to do for the decision.
    fn is_settled(&self, state: &State, live: &Version) -> bool {
        let decision = &live.decision;
        if decision.metadata.deletion_timestamp.is_some() {
            return true;
        }
        match current_class(decision) {
            Some(ReadyClass::Settled) => !is_edited(decision),
            Some(ReadyClass::Stalled | ReadyClass::Suspended) => {
                let is_forbidden = current_reason(decision) == Some(Reason::TargetForbidden);
                let is_true = || self.target_reason(state, decision) == Some(Reason::TargetForbidden);
                status_is_current(decision) && (!is_forbidden || is_true())
            }
            Some(ReadyClass::Waiting | ReadyClass::Retrying) => {
                status_is_current(decision)
                    && match self.target_reason(state, decision) {
                        Some(reason) => current_reason(decision) == Some(reason),
                        None => self.has_to_wait(state, decision),
                    }
            }
            Some(ReadyClass::InFlight) => {
                current_reason(decision) == Some(Reason::Unconfirmed) && self.is_unrecoverable(state, live)
            }
            Some(ReadyClass::Pending) | None => false,
        }
    }

    /// Whether the decision waits for something that only a user can do: no request that it names has a response, and none is pending
    /// that may be answered.
    fn has_to_wait(&self, state: &State, decision: &ApprovalDecision) -> bool {
        let place = state.target.place().unwrap_or(Place::Here);
        let (codepipeline, spec) = (state.codepipeline_in(place), &decision.spec);
        let is_approval = spec.result.status == ApprovalStatus::Approved;
        let is_held_back = |request: &Request| {
            let rejects = |rejection: &ApprovalDecision| {
                rejection.status.is_none() && codepipeline.names(&rejection.spec, request)
            };
            let is_rejected = state.rejection.as_ref().is_some_and(|rejection| rejects(rejection));
            is_approval && (is_rejected || codepipeline.is_stopping(&request.execution))
        };
        let mut pending = codepipeline.pending().iter().filter(|pending| codepipeline.names(spec, pending));
        codepipeline.counted(spec).next().is_none() && pending.all(is_held_back)
    }
}
