//! A decision without a submission in doubt: what its spec asks for now.

use super::conflict::Rejections;
use super::find_request::{expire, find_request};
use super::last::Last;
use super::outcome::{Caveat, Outcome};
use super::phase::{execution_ids, known_ids};
use super::step::{Observed, Step};
use super::subject::record;
use super::submit::submit;
use super::target_rules::{may_continue, request_location};
use super::timing::{CLOCK_SKEW, Expiry, HISTORY_LAG, Settings, created_at, expiry};
use crate::api::time::{earlier, later};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalStatus, Binding, InvalidSpec, Location, SettledRequest, Submission, SubmissionOutcome,
    Token,
};
use crate::codepipeline::{ApprovalRecord, CompletedApproval, Refusal};
use jiff::Timestamp;

/// Evaluates the spec.
pub(super) fn evaluate(observed: &Observed<'_>, settings: &Settings, now: Timestamp, last: Last<'_>) -> Step {
    let decision = observed.decision;
    if decision.metadata.deletion_timestamp.is_some() {
        // Deleting a decision must not change the pipeline, though a finalizer may keep the object for a while.
        return Step::AwaitChange;
    }
    let valid = match decision.spec.validate(now) {
        Ok(valid) => valid,
        // The clock of the user who wrote the present time may be ahead.
        Err(InvalidSpec::FutureTime(time)) if time <= later(now, CLOCK_SKEW) => return Step::WaitUntil(time),
        Err(invalid) => return Step::WriteStatus(Outcome::Invalid(invalid)),
    };
    let location = match may_continue(observed, settings, now) {
        Ok(location) => location,
        Err(step) => return *step,
    };
    let not_after = valid.not_after;
    let is_suspended = decision.spec.suspend && not_after.is_none_or(|not_after| now < not_after);
    let suspended = || Step::WriteStatus(Outcome::Suspended { not_after });
    if is_suspended && !has_accepted_submission(decision) {
        return suspended();
    }
    let expiry = expiry(decision, not_after, settings, now);
    let step = match valid.binding {
        Binding::Token(token) => match accepted_before(decision, token, location.as_ref()) {
            Some(outcome) => Step::WriteStatus(outcome),
            None => by_token(observed, settings, now, expiry, token, last),
        },
        Binding::Execution(execution) => {
            find_request(observed, settings, now, expiry, execution, valid.ignore_responses_before, last)
        }
    };
    match step {
        step if !is_suspended => step,
        // A result that CodePipeline accepted is not held back, whatever came after it.
        Step::WriteStatus(outcome) if outcome.request_is_completed() => Step::WriteStatus(outcome),
        Step::ReadPipeline(until) => Step::ReadPipeline(until),
        Step::AwaitChange
        | Step::FindTarget
        | Step::WaitUntil(_)
        | Step::AwaitSnapshot { .. }
        | Step::ListRejections
        | Step::RecordIntent(_)
        | Step::Send { .. }
        | Step::WriteStatus(_) => suspended(),
    }
}

/// Whether CodePipeline accepted the last submission, which may have been for another edit of the spec.
fn has_accepted_submission(decision: &ApprovalDecision) -> bool {
    let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
    submission.is_some_and(|submission| submission.outcome == Some(SubmissionOutcome::Accepted))
}

/// The spec has the token of the request.
fn by_token(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    expiry: Expiry,
    token: &Token,
    last: Last<'_>,
) -> Step {
    let decision = observed.decision;
    if expiry.at() <= now {
        return expired(observed, settings, now, expiry, token);
    }
    let next = last.next_attempt(decision, settings);
    if now < next {
        return Step::WaitUntil(next.min(expiry.at()));
    }
    let mut ids = known_ids(decision, token);
    let mut execution = None;
    let is_approval = decision.spec.result.status == ApprovalStatus::Approved;
    let location = request_location(observed);
    let needs_execution = |rejections: &Rejections| rejections.need_execution(location.as_ref());
    if is_approval && observed.rejections.is_some_and(needs_execution) {
        // The execution of the request tells whether a rejection means it.
        let Some(pipeline) = observed.pipeline else { return Step::ReadPipeline(expiry.at()) };
        if let Ok(snapshot) = &pipeline.poll.result {
            ids = match record(decision, token, &ids, snapshot) {
                ApprovalRecord::Pending(found) | ApprovalRecord::Lagging(found) => found,
                ApprovalRecord::Completed(completed) => completed.ids,
                ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory | ApprovalRecord::Unreadable(_) => ids,
            };
            execution = snapshot.executions.iter().find(|execution| ids.pipeline.as_ref() == Some(&execution.id));
        }
    }
    let intent = last.intent(observed, settings, now, token, ids, execution.cloned());
    submit(observed, now, expiry.at(), intent)
}

/// CodePipeline accepted a result for this token before the spec was edited. It accepts no other, so nothing is sent.
fn accepted_before(decision: &ApprovalDecision, token: &Token, location: Option<&Location>) -> Option<Outcome> {
    let status = decision.status.as_ref()?;
    let submission = status.submission.as_ref()?;
    let spec = &decision.spec;
    let is_same_location = match location {
        Some(location) => *location == submission.location(),
        None => submission.target.is_none() && spec.target_ref.is_none(),
    };
    let is_same = submission.outcome == Some(SubmissionOutcome::Accepted)
        && is_same_location
        && submission.token == *token
        && (&submission.pipeline_name, &submission.stage_name, &submission.action_name)
            == (&spec.pipeline_name, &spec.stage_name, &spec.action_name);
    if !is_same {
        return None;
    }
    // Another request may have settled the decision since.
    let mut responses = status.settled.iter().chain(&status.history);
    let settled = responses.find(|response| is_response_to(response, submission));
    let at = settled.and_then(|settled| settled.approved_at);
    if submission.result.status == spec.result.status {
        return Some(Outcome::Delivered { approved_at: at, record: None });
    }
    let record = CompletedApproval {
        result: Some(submission.result.status),
        summary: Some(submission.result.summary.clone()),
        at,
        by: settled.and_then(|settled| settled.decided_by.clone()),
        ids: execution_ids(submission),
        decision: None,
    };
    let (refusal, record) = (Refusal::ApprovalAlreadyCompleted, Some(record));
    Some(Outcome::Refused { refusal, exception: None, record, open: None, names: None, caveat: None })
}

/// Whether this is CodePipeline's response to a submission that it accepted: it came during the attempts.
fn is_response_to(response: &SettledRequest, submission: &Submission) -> bool {
    let attempts = earlier(submission.start_time, CLOCK_SKEW)..=submission.deadline;
    response.approved_at.is_some_and(|at| attempts.contains(&at))
        && (&response.pipeline_name, &response.stage_name, &response.action_name)
            == (&submission.pipeline_name, &submission.stage_name, &submission.action_name)
}

/// It is too late to submit. A decision that was restored from a backup may have been delivered before, which history shows: a
/// new object has a minute to read it.
fn expired(observed: &Observed<'_>, settings: &Settings, now: Timestamp, expiry: Expiry, token: &Token) -> Step {
    let decision = observed.decision;
    // It must not ask for a poll without a pause.
    let Some(pipeline) = observed.pipeline else { return Step::ReadPipeline(later(now, settings.poll_interval)) };
    let give_up_at = later(created_at(decision, now), HISTORY_LAG);
    let unreadable = |detail| {
        if now < give_up_at {
            return Step::AwaitSnapshot { recheck_at: None, until: give_up_at };
        }
        let (expiry, caveat) = (expiry.clone(), Some(Caveat::HistoryUnreadable(detail)));
        Step::WriteStatus(Outcome::Expired { expiry, caveat })
    };
    let caveat = match &pipeline.poll.result {
        Err(error) if pipeline.poll.failure().is_some() => return unreadable(error.detail()),
        // The pipeline does not exist.
        Err(_) => None,
        Ok(snapshot) => match record(decision, token, &known_ids(decision, token), snapshot) {
            ApprovalRecord::Completed(record) if record.result.is_some() => {
                return Step::WriteStatus(Outcome::completed_by_others(decision, &record, None, None));
            }
            ApprovalRecord::Unreadable(error) => return unreadable(error.detail()),
            ApprovalRecord::BeyondHistory => Some(Caveat::BeyondHistory),
            ApprovalRecord::Completed(_)
            | ApprovalRecord::Pending(_)
            | ApprovalRecord::Lagging(_)
            | ApprovalRecord::NotVisible => None,
        },
    };
    expire(&pipeline.poll, settings, now, expiry, caveat)
}
