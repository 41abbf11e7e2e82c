//! What holds for each request that leaves and for each state, compared with what CodePipeline accepted.

use super::Replicas;
use super::codepipeline::{CodePipeline, Response};
use super::state::{State, Version, Violation};
use super::targets::{Place, is_by};
use super::users::OTHER_USER;
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalStatus, Binding, ReadyClass, Reason, Submission, SubmissionOutcome, Token, UserTime,
};
use approval_operator::decision::timing::CLOCK_SKEW;
use approval_operator::decision::{Outcome, current_class, current_reason, is_edited};
use jiff::Timestamp;
use local_codepipeline::model::ExecutionMode;

/// More attempts than the disturbances of a world can cause. Further ones would never end.
const MAX_ATTEMPTS: i64 = 9;

impl Replicas {
    /// Whether an intent may be recorded: the spec names the request, and according to the poll no response has used up the decision, and
    /// the execution is not being stopped. No listed decision rejects the request.
    pub fn may_be_prepared(
        &self,
        state: &State,
        decision: &ApprovalDecision,
        submission: &Submission,
        polled: Option<&CodePipeline>,
    ) -> Result<(), Violation> {
        self.is_not_rejected(state, submission)?;
        let spec = &decision.spec;
        if !matches!(spec.binding(), Some(Binding::Execution(_))) {
            return Ok(());
        }
        let polled = polled.ok_or(Violation::Binding)?;
        let request = polled.request(&submission.token).ok_or(Violation::Binding)?;
        // In PARALLEL mode only history has the token, and history may still show the request as pending after its response.
        let is_other = |response: &Response| response.request.token != submission.token;
        if !polled.names(spec, request) || polled.counted(spec).any(is_other) {
            return Err(Violation::Binding);
        }
        let is_approval = submission.result.status == ApprovalStatus::Approved;
        if is_approval && polled.is_stopping(&request.execution) { Err(Violation::Permission) } else { Ok(()) }
    }

    /// Whether no decision that the cache has lists rejects the request of an approval.
    pub fn is_not_rejected(&self, state: &State, submission: &Submission) -> Result<(), Violation> {
        let is_approval = submission.result.status == ApprovalStatus::Approved;
        let is_rejected =
            state.rejection.as_ref().filter(|rejection| rejection.status.is_none()).is_some_and(|rejection| {
                let request = state.codepipeline.request(&submission.token);
                request.is_some_and(|request| state.codepipeline.names(&rejection.spec, request))
            });
        if is_approval && is_rejected { Err(Violation::Permission) } else { Ok(()) }
    }

    /// Whether an outcome is about the newest response that counts according to the poll. In PARALLEL mode, that response may be missing
    /// from history.
    pub fn is_newest_response(
        &self,
        decision: &ApprovalDecision,
        outcome: &Outcome,
        polled: Option<&CodePipeline>,
    ) -> Result<(), Violation> {
        let (Outcome::AlreadyDecided { record, .. } | Outcome::Refused { record: Some(record), .. }) = outcome else {
            return Ok(());
        };
        let spec = &decision.spec;
        if self.world.mode == ExecutionMode::Parallel || !matches!(spec.binding(), Some(Binding::Execution(_))) {
            return Ok(());
        }
        let counted = || polled.into_iter().flat_map(|polled| polled.counted(spec));
        let newest_at = counted().map(|response| response.at).max();
        let is_reported = |response: &Response| {
            Some(response.at) == newest_at && record.result.is_some_and(|result| result.to_string() == response.result)
        };
        let is_newest = newest_at == record.at && counted().any(is_reported);
        if is_newest { Ok(()) } else { Err(Violation::Accuracy) }
    }

    /// Whether a request may leave: its intent is recorded, and the version with the intent permits it.
    pub fn may_leave(&self, state: &State, written: &Version, submission: &Submission, clock: Timestamp) -> bool {
        let decision = &written.decision;
        let not_after = decision.spec.not_after.as_ref().map(|UserTime(time)| time.parse::<Timestamp>());
        let is_recorded = |version: &Version| {
            version.submission() == Some(submission) && current_reason(&version.decision) == Some(Reason::Submitting)
        };
        // An edit after that is acted on later.
        let live = state.live.as_ref().filter(|live| live.uid() == written.uid());
        is_recorded(written)
            && live.is_none_or(|live| live.submission() == Some(submission))
            && !decision.spec.suspend
            && decision.metadata.deletion_timestamp.is_none()
            && not_after.is_none_or(|time| time.is_ok_and(|time| clock < time))
    }

    /// The violation in a state, or on the way to it.
    pub fn check(&self, state: &State) -> Option<Violation> {
        state.violation.or_else(|| state.decisions().find_map(|live| self.check_decision(state, live)))
    }

    /// Whether the status agrees with what CodePipeline accepted.
    fn check_decision(&self, state: &State, live: &Version) -> Option<Violation> {
        if !submission_is_accurate(state, live) || !reason_is_accurate(state, live) {
            Some(Violation::Accuracy)
        } else if !self.place_is_known(live) {
            Some(Violation::Place)
        } else if !self.is_attributed(state, live) {
            Some(Violation::Attribution)
        } else {
            let is_endless = |submission: &Submission| submission.attempts > MAX_ATTEMPTS;
            live.submission().is_some_and(is_endless).then_some(Violation::Settlement)
        }
    }

    /// Where a session proves whose result CodePipeline accepted: whether the status says so, also if someone else responded with the same words.
    /// That it does not deny a result of ours follows from the submission, which is checked in every world.
    fn is_attributed(&self, state: &State, live: &Version) -> bool {
        let (Some(submission), Some(status)) = (live.submission(), &live.decision.status) else { return true };
        if !self.world.target.has_role() {
            return true;
        }
        let responses = || state.codepipeline_in(Place::of(submission)).responses().iter();
        let is_ours = |by: &str| is_by(by, live.uid());
        let was_accepted =
            responses().any(|response| response.request.token == submission.token && is_ours(&response.by));
        let decided_by = status.decided_by.as_ref();
        let is_seen = |by: &String| responses().any(|response| response.by == *by);
        match current_reason(&live.decision) {
            Some(Reason::Delivered) => was_accepted && decided_by.is_none_or(|by| is_ours(by)),
            Some(_) | None => decided_by.is_none_or(is_seen),
        }
    }
}

fn submission_is_accurate(state: &State, live: &Version) -> bool {
    live.submission().is_none_or(|submission| match submission.outcome {
        None => true,
        Some(SubmissionOutcome::Accepted) => {
            let codepipeline = state.codepipeline_in(Place::of(submission));
            codepipeline.responses().iter().any(|response| is_ours(response, live, submission))
        }
        Some(SubmissionOutcome::NotAccepted) => !state.is_accepted(live.uid(), submission),
    })
}

/// Whether a response is that to a submission. Without a role, the operator cannot distinguish the same result from an earlier
/// incarnation of the decision, or from another cluster.
fn is_ours(response: &Response, live: &Version, submission: &Submission) -> bool {
    let is_twin = || response.by != OTHER_USER && response.summary == submission.result.summary;
    response.request.token == submission.token
        && response.result == submission.result.status.to_string()
        && (is_by(&response.by, live.uid()) || is_twin())
}

fn reason_is_accurate(state: &State, live: &Version) -> bool {
    let (Some(class), Some(reason)) = (current_class(&live.decision), current_reason(&live.decision)) else {
        return true;
    };
    let (spec, status) = (&live.decision.spec, live.decision.status.as_ref());
    let approved_at = status.and_then(|status| status.approved_at);
    let pinned = status.and_then(|status| status.pipeline_execution_id.as_ref());
    let result = spec.result.status.to_string();
    // It describes an earlier edit.
    let is_edited = is_edited(&live.decision);
    let account_id = status.and_then(|status| status.account_id.as_deref());
    let codepipeline = state.codepipeline_in(account_id.map_or(Place::Here, Place::of_account));
    let mut counted = codepipeline.counted(spec);
    match (class, reason) {
        (ReadyClass::Settled, Reason::Delivered) => live.submission().is_some_and(|submission| {
            let mut responses = state.codepipeline_in(Place::of(submission)).responses().iter();
            responses.any(|response| {
                is_ours(response, live, submission)
                    && Some(response.at) == approved_at
                    && pinned.is_none_or(|pinned| *pinned == response.request.execution)
            })
        }),
        _ if is_edited => true,
        (ReadyClass::Settled, _) => {
            counted.any(|response| response.result == result && Some(response.at) == approved_at)
        }
        (_, Reason::ApprovalAlreadyCompleted) => counted.any(|response| response.result != result),
        (_, Reason::InvalidApprovalToken) => {
            let is_known = |token: &Token| codepipeline.request(token).is_some();
            !live.submission().is_some_and(|submission| is_known(&submission.token))
        }
        (_, Reason::Expired) => spec
            .not_after
            .as_ref()
            .is_some_and(|UserTime(time)| time.parse::<Timestamp>().is_ok_and(|time| time <= state.now + CLOCK_SKEW)),
        (
            ReadyClass::Stalled
            | ReadyClass::Retrying
            | ReadyClass::InFlight
            | ReadyClass::Pending
            | ReadyClass::Waiting
            | ReadyClass::Suspended,
            _,
        ) => true,
    }
}
