//! The calls to CodePipeline: polls, and requests that arrive, whose responses may be lost.

use super::codepipeline::Reader;
use super::loop_mutants::Defect;
use super::state::{InFlightRequest, ObservedPoll, Operator, Reconcile, State, Violation};
use super::targets::{Place, is_by};
use super::{Fault, Replica, Replicas};
use crate::fixtures;
use approval_operator::codepipeline::{CallError, Poll, RetryCause, read_snapshot};
use futures::FutureExt;
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

impl Replicas {
    /// The poller of an operator polls the pipeline.
    pub fn poll(&self, state: &mut State, replica: Replica, fault: Fault) -> Option<()> {
        let started_at = self.clock(state, replica);
        let place = state.target.place()?;
        let codepipeline = state.codepipeline_in(place).clone();
        let reader = Reader { codepipeline: &codepipeline, now: state.now };
        let subscription = state.operators[replica as usize].subscription.as_mut()?;
        let result = match fault {
            Fault::None => {
                let queries = HashSet::from([subscription.query.clone()]);
                read_snapshot(&reader, started_at, queries, None).now_or_never()?
            }
            Fault::NotApplied => Err(fixtures::not_applied(RetryCause::Throttled)),
            Fault::Unreachable | Fault::ResponseLost => return None,
        };
        let codepipeline = result.is_ok().then_some(codepipeline);
        let mut poll = Poll::new(started_at, Some(place.location()), result);
        if poll.failure().is_some() {
            let since = subscription.newest.as_ref().and_then(|newest| newest.poll.failing_since);
            poll.failing_since = since.or(Some(started_at));
        }
        subscription.newest = Some(ObservedPoll { place, codepipeline, poll: Arc::new(poll) });
        Some(())
    }

    /// The newest poll is out of date.
    pub fn invalidate_poll(&self, operator: &mut Operator) {
        if self.subject.defect != Some(Defect::FirstPollIsKept) {
            operator.subscription.iter_mut().for_each(|subscription| subscription.newest = None);
        }
    }

    /// A request arrives at CodePipeline.
    pub fn arrive(&self, state: &mut State, request: &InFlightRequest) -> Result<Timestamp, CallError> {
        let InFlightRequest { version, submission, .. } = request;
        let (spec, uid, place) = (&version.decision.spec, version.uid(), Place::of(submission));
        let (now, caller) = (state.now, self.caller(uid));
        let at = state.codepipeline_in_mut(place).put(now, &submission.token, &submission.result, &caller)?;
        let times_in = |place| {
            let counted = state.codepipeline_in(place).counted(spec);
            counted.filter(|response| is_by(&response.by, uid)).count()
        };
        // An edit may have released the decision from its place.
        let is_edited = version.decision.metadata.generation != Some(1);
        let places = [Place::Here, Place::Elsewhere].into_iter().filter(|counted| !is_edited || *counted == place);
        let times: usize = places.map(times_in).sum();
        let codepipeline = state.codepipeline_in(place);
        let request = codepipeline.request(&submission.token);
        let is_named = request.is_some_and(|request| codepipeline.names(spec, request));
        if !is_named {
            state.violation = Some(Violation::Binding);
        } else if times > 1 {
            state.violation = Some(Violation::Accuracy);
        } else if submission.deadline < state.now {
            state.violation = Some(Violation::Permission);
        }
        Ok(at)
    }

    /// An operator receives the response to its request, or learns that there is none.
    pub fn respond(
        &self,
        state: &mut State,
        replica: Replica,
        response: Result<Timestamp, CallError>,
    ) -> Option<InFlightRequest> {
        let response = match (self.subject.defect, response) {
            (Some(Defect::AcceptedIsReportedAsNotApplied), Ok(_)) => Err(fixtures::not_applied(RetryCause::Throttled)),
            (_, response) => response.map(Some),
        };
        let operator = &mut state.operators[replica as usize];
        let Reconcile { reconciliation, known, target, poll, in_flight } =
            operator.reconcile.take_if(|reconcile| reconcile.in_flight.is_some())?;
        let mut reconciliation = reconciliation.into_value();
        if !matches!(response, Err(CallError::NotApplied { .. }))
            && self.subject.defect != Some(Defect::PollOutlivesSubmission)
        {
            self.invalidate_poll(operator);
        }
        if self.subject.defect != Some(Defect::ResponseIsNotReported) {
            reconciliation.on_response(response);
        }
        operator.reconcile = Some(Reconcile::new(reconciliation, known, target, poll));
        in_flight
    }
}
