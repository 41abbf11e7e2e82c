//! The next step for a decision, as a pure function of what was observed and the time. Everything that prevents a second
//! submission, or a wrong report about one, is decided here; the reconciliation only carries it out.

use super::outcome::{Caveat, Intent, Outcome, PriorAttempts, UnconfirmedCause, Wait};
use super::phase::{Phase, execution_ids};
use super::recover::{completed, recover};
use super::step::{Attempt, Observed, Permission, Step};
use super::timing::{
    Expiry, HISTORY_LAG, Settings, created_at, expiry, ignore_forged_times, next_attempt, send_deadline, soonest_retry,
    start_attempt,
};
use super::unsent::find_request;
use crate::api::time::{later, to_millisecond};
use crate::api::v1alpha1::{ApprovalDecision, Binding, Submission, Token};
use crate::codepipeline::{ApprovalRecord, CallError, ExecutionIds, Refusal};
use jiff::Timestamp;
use std::ops::ControlFlow;

/// [`decide`], or a mutant of it that a test drives the reconciliation with.
pub type Decide = fn(&Observed<'_>, &Settings, Timestamp) -> Step;

/// Decides what to do next.
#[must_use]
pub fn decide(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    let now = to_millisecond(now);
    let decision = observed.decision;
    match observed.attempt {
        Attempt::NotPrepared(intent, error) => after_error(observed, settings, now, intent, error),
        Attempt::Submitted(_, Ok(approved_at)) => {
            Step::WriteStatus(Outcome::Delivered { approved_at: *approved_at, record: None })
        }
        Attempt::Submitted(intent, Err(error)) => after_error(observed, settings, now, intent, error),
        Attempt::IntentRecorded(intent) => send(observed, settings, now, intent),
        Attempt::None => match Phase::of(decision) {
            Phase::Done => Step::AwaitChange,
            Phase::Fresh => start(observed, settings, now, None),
            Phase::Retrying(last) => start(observed, settings, now, Some(&ignore_forged_times(last, now))),
            Phase::Refused(last, exception) => match decision.spec.binding() {
                Ok(Binding::Execution(execution)) => {
                    let permission = permission(decision, settings, now);
                    find_request(observed, settings, now, permission, execution, Some((&last, &exception)))
                }
                Ok(Binding::Token(_)) | Err(_) => start(observed, settings, now, None),
            },
            Phase::InFlight(submission) => {
                let permission = permission(decision, settings, now);
                recover(observed, settings, now, permission, &ignore_forged_times(submission, now))
            }
            Phase::CompletedByOthers(submission, exception) => {
                let submission = ignore_forged_times(submission, now);
                completed(observed, settings, now, &submission, PriorAttempts::NotApplied, &exception)
            }
        },
    }
}

/// No submission of ours is in flight: starts one if it is allowed.
fn start(observed: &Observed<'_>, settings: &Settings, now: Timestamp, last: Option<&Submission>) -> Step {
    let decision = observed.decision;
    let permission = permission(decision, settings, now);
    let token = match (decision.spec.binding(), last) {
        (Ok(Binding::Token(token)), _) => token,
        // The operator resolved this request before, and nothing was applied: the decision stays pinned to it.
        (Ok(Binding::Execution(_)), Some(last)) => &last.token,
        (Ok(Binding::Execution(execution)), None) => {
            return find_request(observed, settings, now, permission, execution, None);
        }
        (Err(invalid), _) => return Step::WriteStatus(Outcome::Invalid(invalid)),
    };
    let expiry = match permission {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            return expired(observed, settings, now, expiry, last, token);
        }
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let (attempts, ids) = match last {
        None => (1, ExecutionIds::default()),
        Some(last) => {
            let next = next_attempt(decision, last);
            if now < next {
                return Step::WaitUntil(next.min(expiry.at()));
            }
            (last.attempts.saturating_add(1), execution_ids(decision))
        }
    };
    let submission = start_attempt(settings, now, attempts, token);
    Step::RecordIntent(Intent { submission, ids, prior: PriorAttempts::NotApplied })
}

/// The intent is recorded. The object that the write returned decides whether the request may leave.
fn send(observed: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent) -> Step {
    let submission = &intent.submission;
    let expiry = match permission(observed.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            return expired(observed, settings, now, expiry, Some(submission), &submission.token);
        }
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let send_deadline = send_deadline(settings, submission);
    if now < send_deadline {
        return Step::Send { intent: intent.clone(), send_deadline: send_deadline.min(expiry.at()) };
    }
    let renewed = start_attempt(settings, now, submission.attempts, &submission.token);
    let start_time = match intent.prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => renewed.start_time,
        PriorAttempts::InDoubt => submission.start_time,
    };
    Step::RecordIntent(Intent { submission: Submission { start_time, ..renewed }, ..intent.clone() })
}

/// Until when a result may be sent, unless something other than the time forbids it.
fn permission(decision: &ApprovalDecision, settings: &Settings, now: Timestamp) -> Permission {
    if decision.metadata.deletion_timestamp.is_some() {
        // Deleting a decision must not change the pipeline, though a finalizer may keep the object for a while.
        return ControlFlow::Break(Step::AwaitChange);
    }
    if decision.spec.suspend {
        return ControlFlow::Break(Step::WriteStatus(Outcome::Suspended));
    }
    match expiry(decision, settings, now) {
        Ok(expiry) => ControlFlow::Continue(expiry),
        Err(invalid) => ControlFlow::Break(Step::WriteStatus(Outcome::Invalid(invalid))),
    }
}

/// The result was not accepted, or the response was lost.
fn after_error(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    intent: &Intent,
    error: &CallError,
) -> Step {
    let Intent { submission, prior, ids } = intent;
    let decision = observed.decision;
    let unconfirmed = |cause| {
        let next = submission.deadline;
        Step::WriteStatus(Outcome::Unconfirmed { cause, completed: None, ids: ids.clone(), next })
    };
    let is_resolved = matches!(decision.spec.binding(), Ok(Binding::Execution(_)));
    match error {
        // The request that the operator resolved is completed or gone: the execution may have opened another one.
        CallError::Refused {
            refusal: Refusal::InvalidApprovalToken | Refusal::ApprovalAlreadyCompleted,
            exception,
        } if is_resolved && *prior == PriorAttempts::NotApplied => Step::WriteStatus(Outcome::Waiting {
            wait: Wait::RequestRefused,
            exception: Some(exception.clone()),
            recheck_at: None,
            until: expiry(decision, settings, now).map_or(now, |expiry| expiry.at()),
        }),
        CallError::Refused { refusal: Refusal::ApprovalAlreadyCompleted, exception } => {
            completed(observed, settings, now, submission, *prior, exception)
        }
        CallError::Refused { refusal, exception } => Step::WriteStatus(Outcome::Refused {
            refusal: *refusal,
            exception: Some(exception.clone()),
            record: None,
            caveat: prior.caveat(),
        }),
        CallError::Indeterminate { detail } => unconfirmed(UnconfirmedCause::ResponseLost(detail.clone())),
        CallError::NotApplied { cause, exception, detail } => match prior {
            PriorAttempts::InDoubt => unconfirmed(UnconfirmedCause::RetryFailed(detail.clone())),
            PriorAttempts::NotApplied | PriorAttempts::Refused => {
                // A failure that took long must not be followed at once.
                let next = next_attempt(decision, submission).max(soonest_retry(now));
                Step::WriteStatus(Outcome::Retrying {
                    submission: submission.clone(),
                    cause: *cause,
                    exception: exception.clone(),
                    detail: detail.clone(),
                    next: expiry(decision, settings, now).map_or(next, |expiry| next.min(expiry.at())),
                })
            }
        },
    }
}

/// It is too late to submit. A decision that was restored from a backup may have been delivered before, which history shows: a
/// new object has a minute to read it.
fn expired(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    expiry: Expiry,
    last: Option<&Submission>,
    token: &Token,
) -> Step {
    let give_up_at = later(created_at(observed.decision, now), HISTORY_LAG);
    let caveat = match observed.record() {
        None => return Step::ReadRecord(token.clone()),
        Some(Ok(ApprovalRecord::Completed(record))) if record.result == Some(observed.decision.spec.result.status) => {
            return Step::WriteStatus(Outcome::AlreadyDecided { record: record.clone(), exception: None });
        }
        Some(Ok(ApprovalRecord::BeyondHistory)) => Some(Caveat::BeyondHistory),
        Some(Ok(_)) => None,
        Some(Err(_)) if last.is_none() && now < give_up_at => {
            return Step::WaitUntil(later(now, settings.poll_interval).min(give_up_at));
        }
        Some(Err(error)) => Some(Caveat::HistoryUnreadable(error.detail())),
    };
    Step::WriteStatus(Outcome::Expired { expiry, caveat })
}

#[cfg(test)]
mod tests;
