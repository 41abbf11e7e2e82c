//! A decision that names executions: the operator finds its request, or waits for it.

use super::last::Last;
use super::outcome::{Caveat, Outcome, Wait};
use super::phase::status_is_current;
use super::resolve::{ExecutionWait, Missing, Named, PendingRequest, Resolution, resolve};
use super::step::{Observed, Step};
use super::submit::submit;
use super::timing::{Expiry, HISTORY_LAG, Settings, UNKNOWN_EXECUTION_GRACE, UNREADABLE_GRACE, created_at};
use crate::api::time::later;
use crate::api::v1alpha1::{ApprovalStatus, Exception, ExecutionBinding};
use crate::codepipeline::{CallError, ExecutionStatus, Poll, Refusal};
use jiff::Timestamp;

/// Finds the request.
pub(super) fn find_request(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    expiry: Expiry,
    executions: ExecutionBinding<'_>,
    ignore_responses_before: Option<Timestamp>,
    last: Last<'_>,
) -> Step {
    let decision = observed.decision;
    let next = last.next_attempt(decision, settings);
    if now < next && now < expiry.at() {
        return Step::WaitUntil(next.min(expiry.at()));
    }
    let Some(pipeline) = observed.pipeline else {
        // A decision that has expired needs one poll too, but must not ask for it without a pause.
        let until = if now < expiry.at() { expiry.at() } else { later(now, settings.poll_interval) };
        return Step::ReadPipeline(until);
    };
    let poll = &pipeline.poll;
    if let Some(error) = poll.failure() {
        return unreadable(observed, now, expiry, error, poll.failing_since.unwrap_or(now));
    }
    let until = expiry.at();
    let exception = match last {
        Last::Refused(_, exception) => Some(exception),
        Last::None | Last::NotApplied(_) | Last::InDoubt(_) => None,
    };
    let refused_as_completed = match last {
        Last::Refused(last, exception) if Refusal::of(exception) == Some(Refusal::ApprovalAlreadyCompleted) => {
            Some(&last.token)
        }
        Last::None | Last::NotApplied(_) | Last::Refused(..) | Last::InDoubt(_) => None,
    };
    let (stage, action) = (&decision.spec.stage_name, &decision.spec.action_name);
    let named = Named { stage, action, executions, ignore_responses_before, refused_as_completed };
    let resolution = match &poll.result {
        Ok(snapshot) => resolve(snapshot, named),
        Err(error) => {
            let unknown = || Exception { r#type: "PipelineNotFoundException".to_owned(), message: error.detail() };
            let exception = error.exception().cloned().unwrap_or_else(unknown);
            Resolution::Missing(Missing::Pipeline { exception, location: poll.location.clone() })
        }
    };
    if let (true, Ok(snapshot)) = (resolution.is_beyond_history(), &poll.result)
        && let Some((error, since)) = snapshot.history_failure()
    {
        return unreadable(observed, now, expiry, error, since);
    }
    let waiting = |wait, recheck_at| {
        let (wait, exception) = (Wait::Execution(wait), exception.cloned());
        Outcome::Waiting { wait, exception, recheck_at, until }
    };
    let outcome = match resolution {
        Resolution::Settled { response, open } => {
            return Step::WriteStatus(Outcome::completed_by_others(decision, &response, open, exception));
        }
        Resolution::Pending(request) if now < until => {
            return match may_be_submitted(observed, &request) {
                Ok(()) => {
                    let PendingRequest { token, execution, .. } = &request;
                    let execution = Some(execution.clone());
                    let intent = last.intent(observed, settings, now, token, request.ids(), execution);
                    submit(observed, now, until, intent)
                }
                Err(wait) => Step::WriteStatus(waiting(wait, None)),
            };
        }
        Resolution::Pending(_) => Outcome::Expired { expiry: expiry.clone(), caveat: None },
        Resolution::NotYet { wait, recheck_at } => waiting(wait, recheck_at),
        Resolution::Ended { execution, end } => Outcome::ExecutionEnded { execution, end, until },
        Resolution::UnknownExecution(unknown) => {
            let reliable_after = later(pipeline.subscribed_at, UNKNOWN_EXECUTION_GRACE);
            if reliable_after <= unknown.read_at {
                let location = poll.location.clone();
                Outcome::PipelineExecutionNotFound { exception: unknown.exception, location }
            } else {
                waiting(ExecutionWait::UnknownExecution, Some(reliable_after))
            }
        }
        Resolution::Ambiguous(ambiguity) => Outcome::AmbiguousRevision(ambiguity),
        Resolution::Missing(missing) => Outcome::Missing { missing, until },
    };
    if now < until { Step::WriteStatus(outcome) } else { expired(outcome, poll, settings, now, expiry) }
}

/// An execution that is being stopped ends with its stage, which someone may retry later without asking again.
fn may_be_submitted(observed: &Observed<'_>, request: &PendingRequest) -> Result<(), ExecutionWait> {
    match (observed.decision.spec.result.status, request.execution.status) {
        (ApprovalStatus::Approved, ExecutionStatus::Stopping) => {
            Err(ExecutionWait::Stopping { execution: request.execution.id.clone() })
        }
        (ApprovalStatus::Rejected, ExecutionStatus::Stopping)
        | (_, ExecutionStatus::InProgress | ExecutionStatus::Ended(_)) => Ok(()),
    }
}

/// After the limit, only a response counts, and this poll shows none.
fn expired(outcome: Outcome, poll: &Poll, settings: &Settings, now: Timestamp, expiry: Expiry) -> Step {
    let caveat =
        if let Outcome::Waiting { wait: Wait::Execution(ExecutionWait::Execution { execution, position }), .. } =
            outcome
            && position.may_hide_response()
        {
            Some(Caveat::OutcomeNotInHistory { execution })
        } else {
            None
        };
    expire(poll, settings, now, expiry, caveat)
}

/// Reports that the limit passed, once a poll that started after that shows no response: one may have come since an earlier poll.
pub(super) fn expire(poll: &Poll, settings: &Settings, now: Timestamp, expiry: Expiry, caveat: Option<Caveat>) -> Step {
    if poll.started_at < expiry.at() {
        return Step::AwaitSnapshot { recheck_at: Some(expiry.at()), until: later(now, settings.poll_interval) };
    }
    Step::WriteStatus(Outcome::Expired { expiry, caveat })
}

/// The pipeline, or history that may show a response, cannot be read since then.
fn unreadable(observed: &Observed<'_>, now: Timestamp, expiry: Expiry, error: &CallError, since: Timestamp) -> Step {
    let detail = error.detail();
    if expiry.at() <= now {
        let give_up_at = later(created_at(observed.decision, now), HISTORY_LAG);
        if now < give_up_at {
            return Step::AwaitSnapshot { recheck_at: None, until: give_up_at };
        }
        return Step::WriteStatus(Outcome::Expired { expiry, caveat: Some(Caveat::PipelineUnreadable(detail)) });
    }
    let report_at = later(since, UNREADABLE_GRACE);
    if report_at <= now {
        let (cause, exception, until) = (error.cause(), error.exception().cloned(), expiry.at());
        return Step::WriteStatus(Outcome::Unreadable { cause, exception, detail, since, until });
    }
    let until = report_at.min(expiry.at());
    if status_is_current(observed.decision) {
        return Step::AwaitSnapshot { recheck_at: None, until };
    }
    let wait = Wait::ReadablePipeline { detail, since };
    Step::WriteStatus(Outcome::Waiting { wait, exception: None, recheck_at: None, until })
}
