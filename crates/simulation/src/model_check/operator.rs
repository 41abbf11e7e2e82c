//! Performs the effects of the operator's own [`Reconciliation`] on the state, one effect in each step. What a reconcile does in
//! memory alone belongs to the step before it, because no one can observe when it happens.

use super::loop_mutants::Defect;
use super::state::{InFlightRequest, ObservedPoll, Operator, Reconcile, State, Subscription, Version, Violation};
use super::targets::{Place, TargetState};
use super::{Fault, Replica, Replicas};
use crate::fixtures::{self, SETTINGS};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Submission};
use approval_operator::codepipeline::{PipelineObservation, Query, RetryCause, WakeCondition};
use approval_operator::decision::{
    Effect, Reconciliation, Rejection, Rejections, Requeue, Stage, WriteResult, subscription_generation,
};
use jiff::{SignedDuration, Timestamp};

/// The transition time of every condition. `decide` does not see it, and otherwise states would differ only by it.
const TRANSITION_TIME: Timestamp = Timestamp::UNIX_EPOCH;

/// The result of a step.
pub enum Progress {
    /// The reconcile performed an effect, and continues.
    Performed,
    /// The reconcile is complete.
    Finished(Requeue),
    /// The reconcile failed.
    Failed,
}

/// The result of a write.
enum Written {
    Result(WriteResult),
    /// The API server did not respond.
    NoResponse,
}

impl Replicas {
    /// An operator continues its reconcile, or starts one from a version of the decision. None if that is not possible, or if the
    /// fault does not apply.
    pub fn step(&self, state: &mut State, replica: Replica, from: Option<Version>, fault: Fault) -> Option<Progress> {
        let in_progress = state.operators[replica as usize].reconcile.take();
        let start = || from.or_else(|| state.live.clone()).map(Reconcile::start);
        let is_first = in_progress.is_none();
        let Reconcile { reconciliation, known, target, poll, .. } = in_progress.or_else(start)?;
        let clock = self.clock(state, replica);
        let reconciliation = reconciliation.into_value();
        let in_flight = None;
        let performer =
            Performer { model: self, state, replica, clock, fault, reconciliation, known, target, poll, in_flight };
        performer.run(is_first)
    }

    pub fn clock(&self, state: &State, replica: Replica) -> Timestamp {
        state.now + SignedDuration::from_secs(self.world.clocks[replica as usize])
    }
}

/// A step of one operator.
struct Performer<'a> {
    model: &'a Replicas,
    state: &'a mut State,
    replica: Replica,
    clock: Timestamp,
    fault: Fault,
    reconciliation: Reconciliation,
    known: Version,
    target: Option<TargetState>,
    poll: Option<ObservedPoll>,
    in_flight: Option<InFlightRequest>,
}

impl Performer<'_> {
    fn run(mut self, is_first: bool) -> Option<Progress> {
        let mut performed = false;
        while self.in_flight.is_none() {
            let mut next = self.reconciliation.clone();
            match next.next_by(self.model.subject.decide, &SETTINGS, self.clock) {
                Effect::Announce(_) | Effect::FindAccepted { .. } => self.reconciliation = next,
                Effect::FindTarget { .. } => {
                    self.reconciliation = next;
                    self.reconciliation.on_target(self.state.target.observation());
                    self.target = Some(self.state.target);
                }
                Effect::ReadPipeline { query, condition, .. } => {
                    let target = self.target.filter(|_| next.observed().target.is_some());
                    let checked = self.model.may_read(next.decision(), target);
                    self.state.violation = self.state.violation.or(checked.err());
                    let newest = self.subscribe(query, &condition);
                    self.reconciliation = next;
                    self.reconciliation.on_snapshot(newest);
                }
                Effect::ListRejections => {
                    let rejections = self.state.rejection.iter().filter_map(|decision| Rejection::of(decision));
                    let rejections = Rejections::Listed(rejections.collect());
                    self.reconciliation = next;
                    self.reconciliation.on_rejections(rejections);
                }
                Effect::Finish(_) if !performed && self.fault != Fault::None => return None,
                Effect::Finish(requeue) => {
                    match requeue {
                        Requeue::AwaitChange | Requeue::At(_) => self.operator().subscription = None,
                        Requeue::OnPipelineChange { .. } => {}
                    }
                    return Some(Progress::Finished(requeue));
                }
                effect => {
                    // What led to this effect was observed in this step.
                    if performed || is_first {
                        self.check(&effect, next.stage());
                    }
                    if performed {
                        break;
                    }
                    let before = std::mem::replace(&mut self.reconciliation, next);
                    performed = true;
                    match self.perform(effect)? {
                        Progress::Performed => {}
                        ended => return Some(ended),
                    }
                    if self.in_flight.is_some() && self.model.subject.defect == Some(Defect::RequestIsSentTwice) {
                        self.reconciliation = before;
                    }
                }
            }
        }
        let Self { state, replica, reconciliation, known, target, poll, in_flight, .. } = self;
        let reconcile = Reconcile { in_flight, ..Reconcile::new(reconciliation, known, target, poll) };
        state.operators[replica as usize].reconcile = Some(reconcile);
        Some(Progress::Performed)
    }

    fn perform(&mut self, effect: Effect) -> Option<Progress> {
        match effect {
            Effect::EnsureCredentials { .. } => {
                let result = match self.fault {
                    Fault::None => {
                        let place = self.state.target.place();
                        let no_target = || fixtures::not_applied(RetryCause::CredentialsUnavailable);
                        place.map(Place::location).ok_or_else(no_target)
                    }
                    Fault::NotApplied => Err(fixtures::not_applied(RetryCause::CredentialsUnavailable)),
                    Fault::Unreachable | Fault::ResponseLost => return None,
                };
                self.reconciliation.on_credentials(result);
            }
            Effect::RecordIntent(status) => match self.write(*status)? {
                Written::Result(result) => self.reconciliation.on_written(result, self.clock),
                Written::NoResponse => return Some(Progress::Failed),
            },
            Effect::Send { submission, send_deadline } => self.send(*submission, send_deadline)?,
            Effect::WriteStatus(status) => match self.write(*status)? {
                Written::Result(result) => self.reconciliation.on_written(result, self.clock),
                Written::NoResponse if self.reconciliation.on_write_failed().is_none() => {
                    return Some(Progress::Failed);
                }
                Written::NoResponse => {}
            },
            Effect::FindTarget { .. }
            | Effect::ReadPipeline { .. }
            | Effect::ListRejections
            | Effect::FindAccepted { .. }
            | Effect::Announce(_)
            | Effect::Finish(_) => {}
        }
        Some(Progress::Performed)
    }

    fn operator(&mut self) -> &mut Operator {
        &mut self.state.operators[self.replica as usize]
    }

    /// Subscribes to the pipeline, and returns the newest poll if it meets the condition. Unlike the product, this returns any
    /// other poll than the known one, although it may show nothing new.
    fn subscribe(&mut self, query: Query, condition: &WakeCondition) -> Option<PipelineObservation> {
        let generation = subscription_generation(&self.known.decision, &query);
        let (clock, known_poll) = (self.clock, self.poll.clone());
        // Without its target, there is no poller.
        self.state.target.place()?;
        let subscription = &mut self.operator().subscription;
        if subscription.as_ref().is_none_or(|subscription| subscription.generation != generation) {
            *subscription = Some(Subscription { generation, query, subscribed_at: clock, newest: None });
        }
        let subscription = subscription.as_ref()?;
        let newest = subscription.newest.clone().filter(|newest| match condition {
            WakeCondition::Any => true,
            WakeCondition::NewerThan { .. } => known_poll.as_ref() != Some(newest),
        })?;
        let observation = PipelineObservation { subscribed_at: subscription.subscribed_at, poll: newest.poll.clone() };
        self.poll = Some(newest);
        Some(observation)
    }

    /// Checks what a reconcile is about to do against what it observed.
    fn check(&mut self, effect: &Effect, stage: &Stage) {
        let polled = self.poll.as_ref().and_then(|poll| poll.codepipeline.as_ref());
        let checked = match (effect, stage) {
            (Effect::EnsureCredentials { .. }, Stage::Prepare(intent)) => {
                let (decision, polled_in) = (&self.known.decision, self.poll.as_ref().map(|poll| poll.place));
                let may_go = self.model.may_go(self.state, decision, polled_in);
                may_go.and_then(|()| self.model.may_be_prepared(self.state, decision, &intent.submission, polled))
            }
            (Effect::Send { submission, .. }, _) => {
                let may_go = self.model.may_go(self.state, &self.known.decision, None);
                may_go.and_then(|()| self.model.is_not_rejected(self.state, submission))
            }
            (Effect::WriteStatus(_), Stage::Report { outcome, .. }) => {
                self.model.is_newest_response(&self.known.decision, outcome, polled)
            }
            (
                Effect::EnsureCredentials { .. }
                | Effect::FindTarget { .. }
                | Effect::ReadPipeline { .. }
                | Effect::ListRejections
                | Effect::FindAccepted { .. }
                | Effect::RecordIntent(_)
                | Effect::WriteStatus(_)
                | Effect::Announce(_)
                | Effect::Finish(_),
                _,
            ) => Ok(()),
        };
        self.state.violation = self.state.violation.or(checked.err());
    }

    /// Hands the request to the client.
    fn send(&mut self, submission: Submission, send_deadline: Timestamp) -> Option<()> {
        // The client does not send after the deadline.
        let refused = match self.fault {
            // Nor in the session of a target that has moved.
            Fault::None => send_deadline <= self.clock || self.state.target.place() != Some(Place::of(&submission)),
            Fault::NotApplied => true,
            Fault::Unreachable | Fault::ResponseLost => return None,
        };
        if refused {
            self.reconciliation.on_response(Err(fixtures::not_applied(RetryCause::Throttled)));
            return Some(());
        }
        if !self.model.may_leave(self.state, &self.known, &submission, self.clock) {
            self.state.violation = Some(Violation::Permission);
        }
        if !self.state.sent.insert(self.known.number) {
            self.state.violation.get_or_insert(Violation::Accuracy);
        }
        let ahead = self.clock.duration_since(self.state.now);
        let arrives_by = send_deadline + SETTINGS.aws_timeout - ahead;
        self.in_flight = Some(InFlightRequest { version: self.known.clone(), submission, arrives_by });
        Some(())
    }

    /// Writes a status over the version that the operator knows, or reads the decision after a conflict.
    fn write(&mut self, mut status: ApprovalDecisionStatus) -> Option<Written> {
        match self.fault {
            Fault::None | Fault::ResponseLost => {}
            Fault::Unreachable => return Some(Written::NoResponse),
            Fault::NotApplied => return None,
        }
        if self.model.subject.defect == Some(Defect::PlaceIsNotWritten) {
            status.set_location(None);
        }
        for condition in &mut status.conditions {
            condition.last_transition_time = TRANSITION_TIME;
        }
        let Some(live) = self.state.live.clone().filter(|live| live.uid() == self.known.uid()) else {
            return Some(Written::Result(WriteResult::Gone));
        };
        if live.number != self.known.number {
            match self.model.subject.defect {
                Some(Defect::ConflictIsOverwritten) => {}
                Some(Defect::ConflictIsReportedAsWritten) => {
                    let known = ApprovalDecision::clone(&self.known.decision);
                    let unwritten = ApprovalDecision { status: Some(status), ..known };
                    self.known = Version { decision: unwritten.clone().into(), ..self.known };
                    return Some(Written::Result(WriteResult::Written(Box::new(unwritten))));
                }
                Some(_) | None => {
                    let decision = ApprovalDecision::clone(&live.decision);
                    self.known = live;
                    return Some(Written::Result(WriteResult::Conflict(Box::new(decision))));
                }
            }
        }
        if matches!(self.reconciliation.stage(), Stage::RecordIntent(_)) {
            // Calls separate the attempts, so no two start within the same millisecond.
            self.state.now += SignedDuration::from_millis(1);
        }
        let decision = ApprovalDecision { status: Some(status), ..ApprovalDecision::clone(&live.decision) };
        let written = self.model.store(self.state, decision);
        if self.fault == Fault::ResponseLost {
            return Some(Written::NoResponse);
        }
        let decision = ApprovalDecision::clone(&written.decision);
        self.known = written;
        Some(Written::Result(WriteResult::Written(Box::new(decision))))
    }
}
