//! The next step for a decision, as a pure function of what was observed and the time. Everything that prevents a second
//! submission, or a wrong report about one, is decided here; the reconciliation only carries it out.

use super::attribution::session_name;
use super::evaluate::evaluate;
use super::last::Last;
use super::outcome::{Intent, Outcome, PriorAttempts, Requeue, UnconfirmedCause, Wait};
use super::phase::{Phase, execution_ids};
use super::recover::{explain, recover};
use super::step::{Attempt, Observed, Step};
use super::submit::conflict_step;
use super::target::TargetProblem;
use super::target_rules::may_continue;
use super::timing::{
    AttemptTimes, Settings, expiry, ignore_forged_times, next_attempt, next_history_read, send_deadline, soonest_retry,
    start_attempt,
};
use crate::api::time::{later, to_millisecond};
use crate::api::v1alpha1::{Binding, Submission};
use crate::codepipeline::{CallError, Refusal};
use jiff::Timestamp;

/// [`decide`], or a mutant of it that a test drives the reconciliation with.
pub type Decide = fn(&Observed<'_>, &Settings, Timestamp) -> Step;

/// Decides what to do next.
#[must_use]
pub fn decide(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    let now = to_millisecond(now);
    match observed.attempt {
        Attempt::Submitted(_, Ok(approved_at)) => {
            Step::WriteStatus(Outcome::Delivered { approved_at: *approved_at, record: None })
        }
        Attempt::NotAllowed(intent, problem) => not_allowed(observed, settings, now, intent, problem),
        Attempt::NotPrepared(intent, error) | Attempt::Submitted(intent, Err(error)) => {
            after_error(observed, settings, now, intent, error)
        }
        Attempt::IntentRecorded(intent) => send(observed, settings, now, intent),
        Attempt::None => match Phase::of(observed.decision) {
            Phase::Done => Step::AwaitChange,
            Phase::InDoubt(submission) => recover(observed, settings, now, &ignore_forged_times(submission, now)),
            Phase::Unexplained(submission, exception) => {
                explain(observed, settings, now, &ignore_forged_times(submission, now), exception)
            }
            Phase::Fresh => evaluate(observed, settings, now, Last::None),
            Phase::Retrying(last) => {
                evaluate(observed, settings, now, Last::NotApplied(&ignore_forged_times(last, now)))
            }
            Phase::Refused(last, exception) => evaluate(observed, settings, now, Last::Refused(last, exception)),
        },
    }
}

/// The intent is recorded. The object that the write returned decides whether the request may leave.
fn send(observed: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent) -> Step {
    let decision = observed.decision;
    let submission = &intent.submission;
    // Nothing was sent under this intent. Earlier attempts may be in doubt, and history settles that once this one is over.
    let unless_in_doubt = |step| match intent.prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => step,
        PriorAttempts::InDoubt => Step::WaitUntil(submission.deadline),
    };
    if decision.metadata.deletion_timestamp.is_some() {
        return unless_in_doubt(Step::AwaitChange);
    }
    let valid = match decision.spec.validate(now) {
        Ok(valid) => valid,
        Err(_) => return unless_in_doubt(evaluate(observed, settings, now, Last::NotApplied(submission))),
    };
    match may_continue(observed, settings, now) {
        Ok(_) => {}
        Err(step) if matches!(*step, Step::WriteStatus(_)) => return unless_in_doubt(*step),
        Err(step) => return *step,
    }
    let expiry = expiry(decision, valid.not_after, settings, now);
    if decision.spec.suspend || expiry.at() <= now {
        return unless_in_doubt(evaluate(observed, settings, now, Last::NotApplied(submission)));
    }
    match conflict_step(observed, now, expiry.at(), intent) {
        Some(step @ Step::WriteStatus(_)) => return unless_in_doubt(step),
        Some(step) => return step,
        None => {}
    }
    let send_deadline = send_deadline(settings, submission);
    // Recovery must not rely on a session name that the request does not have.
    let is_attributed = submission.session_name.is_none() || submission.session_name == session_name(observed);
    if now < send_deadline && is_attributed {
        return Step::Send { intent: intent.clone(), send_deadline: send_deadline.min(expiry.at()) };
    }
    let AttemptTimes { start_time, deadline } = start_attempt(settings, now);
    let start_time = match intent.prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => start_time,
        PriorAttempts::InDoubt => submission.start_time,
    };
    Step::RecordIntent(Intent {
        submission: Submission {
            session_name: submission.session_name.clone().filter(|_| is_attributed),
            start_time,
            deadline,
            ..submission.clone()
        },
        ..intent.clone()
    })
}

/// The credentials belong to an account or region where the result must not be sent.
fn not_allowed(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    Intent { submission, prior, .. }: &Intent,
    problem: &TargetProblem,
) -> Step {
    match prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => {
            // Credentials that are loaded again may be others.
            let requeue = Requeue::At(later(now, settings.poll_interval));
            Step::WriteStatus(Outcome::TargetProblem { problem: problem.clone(), requeue })
        }
        PriorAttempts::InDoubt => Step::WriteStatus(Outcome::Unconfirmed {
            cause: UnconfirmedCause::RetryNotAllowed(Box::new(problem.clone())),
            refused: None,
            ids: execution_ids(submission),
            next: next_history_read(observed.decision, settings, now, submission).max(submission.deadline),
        }),
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
    let Intent { submission, prior, .. } = intent;
    let decision = observed.decision;
    let ids = execution_ids(submission);
    let expiry = || match decision.spec.validate(now) {
        Ok(valid) => expiry(decision, valid.not_after, settings, now).at(),
        Err(_) => now,
    };
    let is_resolved = matches!(decision.spec.binding(), Some(Binding::Execution(_)));
    match error {
        // The request that the operator resolved is completed or gone: the execution may have opened another one.
        CallError::Refused {
            refusal: Refusal::InvalidApprovalToken | Refusal::ApprovalAlreadyCompleted,
            exception,
        } if is_resolved && *prior == PriorAttempts::NotApplied => Step::WriteStatus(Outcome::Waiting {
            wait: Wait::RequestRefused,
            exception: Some(exception.clone()),
            recheck_at: None,
            until: expiry(),
        }),
        // History shows how the request was completed, or that it was not.
        CallError::Refused {
            refusal: Refusal::InvalidApprovalToken | Refusal::ApprovalAlreadyCompleted,
            exception,
        } => Step::WriteStatus(Outcome::Unconfirmed {
            cause: UnconfirmedCause::NotInHistory,
            refused: Some((exception.clone(), *prior)),
            ids,
            next: now,
        }),
        // The pipeline shows which names there are.
        CallError::Refused { refusal: Refusal::StageNotFound | Refusal::ActionNotFound, exception } => {
            Step::WriteStatus(Outcome::Unconfirmed {
                cause: UnconfirmedCause::NamesNotRead,
                refused: Some((exception.clone(), *prior)),
                ids,
                next: now,
            })
        }
        CallError::Refused { refusal, exception } => Step::WriteStatus(Outcome::Refused {
            refusal: *refusal,
            exception: Some(exception.clone()),
            record: None,
            open: None,
            names: None,
            caveat: prior.caveat(),
        }),
        CallError::Indeterminate { detail } => Step::WriteStatus(Outcome::Unconfirmed {
            cause: UnconfirmedCause::ResponseLost(detail.clone()),
            refused: None,
            ids,
            next: submission.deadline,
        }),
        CallError::NotApplied { cause, exception, detail } => match prior {
            PriorAttempts::InDoubt => Step::WriteStatus(Outcome::Unconfirmed {
                cause: UnconfirmedCause::RetryFailed(detail.clone()),
                refused: None,
                ids,
                next: next_history_read(decision, settings, now, submission).max(submission.deadline),
            }),
            PriorAttempts::NotApplied | PriorAttempts::Refused => {
                // A failure that took long must not be followed at once.
                let next = next_attempt(decision, submission).max(soonest_retry(now));
                Step::WriteStatus(Outcome::Retrying {
                    submission: submission.clone(),
                    cause: *cause,
                    exception: exception.clone(),
                    detail: detail.clone(),
                    next,
                    until: expiry(),
                })
            }
        },
    }
}

#[cfg(test)]
mod tests;
