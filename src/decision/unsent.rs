//! A decision that names an execution and has no submission in flight: the operator finds its request, or waits for it.

use super::outcome::{Caveat, Intent, Outcome, PriorAttempts, Wait};
use super::phase::status_is_current;
use super::recover::completed_by_others;
use super::resolve::{ExecutionPosition, ExecutionWait, Resolution, resolve};
use super::step::{Observed, Permission, Step};
use super::timing::{
    Expiry, HISTORY_LAG, LIST_LAG, Settings, UNKNOWN_EXECUTION_GRACE, UNREADABLE_GRACE, created_at, start_attempt,
};
use crate::api::time::later;
use crate::api::v1alpha1::{Exception, ExecutionBinding, Submission};
use crate::codepipeline::{CallError, Refusal};
use jiff::Timestamp;
use std::ops::ControlFlow;

/// Finds the request. CodePipeline refused the `refused` submission with this exception.
pub(super) fn find_request(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    permission: Permission,
    execution: ExecutionBinding<'_>,
    refused: Option<(&Submission, &Exception)>,
) -> Step {
    let expiry = match permission {
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let Some(pipeline) = observed.pipeline else {
        // A decision that has expired needs one poll too, but must not ask for it without a pause.
        let until = if now < expiry.at() { expiry.at() } else { later(now, settings.poll_interval) };
        return Step::ReadPipeline(until);
    };
    let poll = &pipeline.poll;
    if let Some(error) = poll.failure() {
        return unreadable(observed, now, expiry, error);
    }
    let exception = refused.map(|(_, exception)| exception);
    let resolution = match &poll.result {
        Ok(snapshot) => resolve(snapshot, &observed.decision.spec, execution),
        Err(error) => {
            let (refusal, exception) = (Refusal::PipelineNotFound, error.exception().cloned());
            return unless_expired(Outcome::Refused { refusal, exception, record: None, caveat: None }, now, expiry);
        }
    };
    let reliable_after = later(pipeline.subscribed_at, LIST_LAG);
    if resolution.may_be_retried() && poll.started_at < reliable_after && now < expiry.at() {
        // Anyone who retries a stage and then decides at once means the request that is about to open.
        return Step::AwaitSnapshot { recheck_at: Some(reliable_after), until: expiry.at() };
    }
    let waiting = |wait, recheck_at| {
        let (wait, exception, until) = (Wait::Execution(wait), exception.cloned(), expiry.at());
        Outcome::Waiting { wait, exception, recheck_at, until }
    };
    let outcome = match resolution {
        Resolution::Pending(request) if now < expiry.at() => {
            let (attempts, prior) = match refused {
                None => (1, PriorAttempts::NotApplied),
                Some((last, _)) if last.token == request.token => {
                    (last.attempts.saturating_add(1), PriorAttempts::Refused)
                }
                Some((last, _)) => (last.attempts.saturating_add(1), PriorAttempts::NotApplied),
            };
            let submission = start_attempt(settings, now, attempts, &request.token);
            return Step::RecordIntent(Intent { submission, ids: request.ids, prior });
        }
        Resolution::Pending(_) => Outcome::Expired { expiry: expiry.clone(), caveat: None },
        Resolution::NotYet { wait, recheck_at } => waiting(wait, recheck_at),
        Resolution::Completed(record) => completed_by_others(observed.decision, &record, exception),
        Resolution::Ended { execution, end } => Outcome::ExecutionEnded { execution, end },
        Resolution::UnknownExecution(exception) => {
            let reliable_after = later(pipeline.subscribed_at, UNKNOWN_EXECUTION_GRACE);
            if reliable_after <= poll.started_at {
                Outcome::PipelineExecutionNotFound(exception)
            } else {
                waiting(ExecutionWait::UnknownExecution, Some(reliable_after))
            }
        }
        Resolution::Ambiguous(executions) => Outcome::AmbiguousRevision { executions },
        Resolution::Missing(missing) => Outcome::Missing(missing),
    };
    unless_expired(outcome, now, expiry)
}

/// After the limit, only a response with the same result counts: a decision that was restored from a backup may have been
/// delivered before.
fn unless_expired(outcome: Outcome, now: Timestamp, expiry: Expiry) -> Step {
    if now < expiry.at() {
        return Step::WriteStatus(outcome);
    }
    let caveat = match outcome {
        Outcome::AlreadyDecided { .. } => return Step::WriteStatus(outcome),
        Outcome::Waiting {
            wait:
                Wait::Execution(ExecutionWait::Execution {
                    execution,
                    position: ExecutionPosition::PastApproval | ExecutionPosition::BeyondHistory,
                }),
            ..
        } => Some(Caveat::OutcomeNotInHistory { execution }),
        _ => None,
    };
    Step::WriteStatus(Outcome::Expired { expiry, caveat })
}

/// The pipeline cannot be read.
fn unreadable(observed: &Observed<'_>, now: Timestamp, expiry: Expiry, error: &CallError) -> Step {
    let since = observed.pipeline.and_then(|pipeline| pipeline.poll.failing_since).unwrap_or(now);
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
