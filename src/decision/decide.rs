//! What to do next about a decision, as a pure function of what was observed and the time. Everything that keeps an answer
//! from being sent twice, or from being misreported, is decided here; the rest of the module only carries it out.

use super::limits::{
    LEAST_BACK_OFF, MARGIN, RECORD_LAG, RECORD_PATIENCE, Settings, created, deadline, earlier, expiry, later,
    latest_start, next_attempt,
};
use super::outcome::{Doubt, Earlier, Expiry, Intent, Outcome};
use super::progress::{Progress, execution_ids};
use crate::api::time::to_millisecond;
use crate::api::v1alpha1::{ApprovalDecision, Exception, Submission};
use crate::codepipeline::{CallError, ExecutionIds, Finished, Record, Refusal};
use jiff::Timestamp;
use std::ops::ControlFlow;

/// What is known in a round over one decision.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The object, as it was watched, read or last written.
    pub decision: &'a ApprovalDecision,
    /// What this round has done about an answer.
    pub attempt: &'a Attempt,
    /// What the service's record said, if this round read it.
    pub record: Option<&'a Reading>,
}

/// A look at the service's record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    /// When it began. What the service did later may not be in it, however long it took.
    pub begun: Timestamp,
    /// What it came to.
    pub result: Result<Record, CallError>,
}

impl Observed<'_> {
    fn record(&self) -> Option<Result<&Record, &CallError>> {
        self.record.map(|reading| reading.result.as_ref())
    }
}

/// What a round has done about an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// Nothing.
    None,
    /// The client is not fit to send anything, so that no intent was written.
    NotPrepared(Intent, CallError),
    /// The intent stands in the object's status, and nothing was sent under it.
    Intended(Intent),
    /// The request was given to the client, under a written intent.
    Answered(Intent, Result<Option<Timestamp>, CallError>),
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing, until the object changes.
    Rest,
    /// Nothing, until then or until the object changes.
    WaitUntil(Timestamp),
    /// Read the service's record of the request.
    ReadRecord,
    /// Write the intent to answer.
    Intend(Intent),
    /// Send the request under the intent that was written.
    Send {
        /// What was written.
        intent: Intent,
        /// It leaves before then or not at all.
        latest: Timestamp,
    },
    /// Write what became of the decision.
    Settle(Outcome),
}

/// Decides what to do next.
#[must_use]
pub fn decide(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    let now = to_millisecond(now);
    match seen.attempt {
        Attempt::NotPrepared(intent, error) => failed(seen, settings, now, intent, error),
        Attempt::Answered(_, Ok(approved_at)) => {
            Step::Settle(Outcome::Delivered { approved_at: *approved_at, record: None })
        }
        Attempt::Answered(intent, Err(error)) => failed(seen, settings, now, intent, error),
        Attempt::Intended(intent) => intended(seen, settings, now, intent),
        Attempt::None => match Progress::of(seen.decision) {
            Progress::Over => Step::Rest,
            Progress::Fresh => begin(seen, settings, now, None),
            Progress::Retrying(submission) => begin(seen, settings, now, Some(&submission)),
            Progress::UnderWay(submission) => recover(seen, settings, now, &submission),
            Progress::CompletedByOthers(submission, exception) => {
                completed(seen, settings, now, &submission, Earlier::NotTaken, &exception)
            }
        },
    }
}

/// Nothing of ours is with the service: send an answer if it may be sent.
fn begin(seen: &Observed<'_>, settings: &Settings, now: Timestamp, last: Option<&Submission>) -> Step {
    let expiry = match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => return expired(seen, settings, now, expiry, last),
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let (attempts, ids) = match last {
        None => (1, ExecutionIds::default()),
        Some(last) => {
            let next = next_attempt(seen.decision, last);
            if now < next {
                return Step::WaitUntil(next.min(expiry.at()));
            }
            (last.attempts.saturating_add(1), execution_ids(seen.decision))
        }
    };
    Step::Intend(intent(seen.decision, settings, now, attempts, None, ids))
}

/// The intent is written: the object that the write returned decides whether the request may leave.
fn intended(seen: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent) -> Step {
    let expiry = match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            return expired(seen, settings, now, expiry, Some(&intent.submission));
        }
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let latest = latest_start(settings, &intent.submission);
    if now < latest {
        return Step::Send { intent: intent.clone(), latest: latest.min(expiry.at()) };
    }
    let in_doubt = match intent.earlier {
        Earlier::NotTaken => None,
        Earlier::InDoubt => Some(&intent.submission),
    };
    let attempts = intent.submission.attempts;
    Step::Intend(self::intent(seen.decision, settings, now, attempts, in_doubt, intent.ids.clone()))
}

/// Until when an answer may be sent, unless the decision is held back for another reason than the time.
fn unless_held_back(decision: &ApprovalDecision, settings: &Settings, now: Timestamp) -> ControlFlow<Step, Expiry> {
    if decision.metadata.deletion_timestamp.is_some() {
        // Deleting a decision must not touch the pipeline, though a finalizer may hold the object for a while.
        return ControlFlow::Break(Step::Rest);
    }
    if decision.spec.suspend {
        return ControlFlow::Break(Step::Settle(Outcome::Suspended));
    }
    match expiry(decision, settings, now) {
        Ok(expiry) => ControlFlow::Continue(expiry),
        Err(detail) => ControlFlow::Break(Step::Settle(Outcome::Invalid { detail })),
    }
}

/// The answer was not taken, or its response was lost.
fn failed(seen: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent, error: &CallError) -> Step {
    let Intent { submission, earlier, ids } = intent;
    let unconfirmed = |doubt| {
        let next = submission.deadline;
        Step::Settle(Outcome::Unconfirmed { doubt, completed: None, ids: ids.clone(), next })
    };
    match error {
        CallError::Refused { refusal: Refusal::ApprovalAlreadyCompleted, exception } => {
            completed(seen, settings, now, submission, *earlier, exception)
        }
        CallError::Refused { refusal, exception } => {
            Step::Settle(Outcome::Refused { refusal: *refusal, exception: Some(exception.clone()), record: None })
        }
        CallError::Lost { detail } => unconfirmed(Doubt::Lost(detail.clone())),
        CallError::NotTaken { cause, exception, detail } => match earlier {
            Earlier::InDoubt => unconfirmed(Doubt::NotAsked(detail.clone())),
            Earlier::NotTaken => {
                // A failure that took its time must not be followed at once.
                let next = next_attempt(seen.decision, submission).max(later(now, LEAST_BACK_OFF));
                Step::Settle(Outcome::Retrying {
                    submission: submission.clone(),
                    cause: *cause,
                    exception: exception.clone(),
                    detail: detail.clone(),
                    next: expiry(seen.decision, settings, now).map_or(next, |expiry| next.min(expiry.at())),
                })
            }
        },
    }
}

/// An answer may be with the service, and nobody here is waiting for it: the record tells.
fn recover(seen: &Observed<'_>, settings: &Settings, now: Timestamp, submission: &Submission) -> Step {
    if now < submission.deadline {
        return Step::WaitUntil(submission.deadline);
    }
    let known = execution_ids(seen.decision);
    let lag_over = later(submission.deadline, RECORD_LAG);
    let lag_is_over = seen.record.is_some_and(|reading| reading.begun >= lag_over);
    let unconfirmed = |doubt, ids, next| Step::Settle(Outcome::Unconfirmed { doubt, completed: None, ids, next });
    let (ids, settled) = match seen.record() {
        None => return Step::ReadRecord,
        Some(Err(error)) => {
            let next = later(now, settings.poll_interval);
            return unconfirmed(Doubt::Unreadable(error.detail()), known, next);
        }
        Some(Ok(Record::PipelineNotFound(exception))) => {
            return Step::Settle(Outcome::Refused {
                refusal: Refusal::PipelineNotFound,
                exception: Some(exception.clone()),
                record: None,
            });
        }
        Some(Ok(Record::Finished(record))) if is_ours(seen.decision, submission, record) => {
            return Step::Settle(Outcome::Delivered { approved_at: record.at, record: Some(record.clone()) });
        }
        Some(Ok(Record::Finished(record))) => return by_others(seen.decision, record, None),
        Some(Ok(Record::Pending(ids))) => (ids.clone(), true),
        Some(Ok(Record::Lagging(ids))) => (ids.clone(), lag_is_over),
        Some(Ok(Record::Unseen)) => (known, lag_is_over),
    };
    if !settled {
        return unconfirmed(Doubt::NotInRecord, ids, later(now, settings.poll_interval).min(lag_over));
    }
    // The attempts so far were not taken, or left no trace where a taken one would have by now. The same token can be sent
    // again: if one was taken after all, the service refuses this one.
    match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            let pending = matches!(seen.record(), Some(Ok(Record::Pending(_))));
            let unproven = "an answer was sent, and CodePipeline's record shows no trace of it";
            Step::Settle(Outcome::Expired { expiry, unproven: (!pending).then(|| unproven.to_owned()) })
        }
        ControlFlow::Continue(_) => {
            let attempts = submission.attempts.saturating_add(1);
            Step::Intend(intent(seen.decision, settings, now, attempts, Some(submission), ids))
        }
        ControlFlow::Break(step) => step,
    }
}

/// The service says that the request was completed before this attempt: the record tells how.
fn completed(
    seen: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    submission: &Submission,
    earlier: Earlier,
    exception: &Exception,
) -> Step {
    let refused = || {
        let (refusal, exception) = (Refusal::ApprovalAlreadyCompleted, Some(exception.clone()));
        Step::Settle(Outcome::Refused { refusal, exception, record: None })
    };
    let (doubt, ids) = match seen.record() {
        None => return Step::ReadRecord,
        Some(Ok(Record::Finished(record))) => {
            if earlier == Earlier::InDoubt && is_ours(seen.decision, submission, record) {
                return Step::Settle(Outcome::Delivered { approved_at: record.at, record: Some(record.clone()) });
            }
            return by_others(seen.decision, record, Some(exception));
        }
        Some(Ok(Record::PipelineNotFound(_) | Record::Unseen)) => return refused(),
        Some(Ok(Record::Pending(ids) | Record::Lagging(ids))) => (Doubt::NotInRecord, ids.clone()),
        Some(Err(error)) => (Doubt::Unreadable(error.detail()), execution_ids(seen.decision)),
    };
    let readable = matches!(doubt, Doubt::NotInRecord);
    if now >= later(submission.deadline, RECORD_PATIENCE) && (readable || earlier == Earlier::NotTaken) {
        return refused();
    }
    let completed = match earlier {
        Earlier::NotTaken => Some(exception.clone()),
        Earlier::InDoubt => None,
    };
    Step::Settle(Outcome::Unconfirmed { doubt, completed, ids, next: later(now, settings.poll_interval) })
}

/// The request is over, and not by our answer.
fn by_others(decision: &ApprovalDecision, record: &Finished, exception: Option<&Exception>) -> Step {
    Step::Settle(if record.result == Some(decision.spec.result.status) {
        Outcome::AlreadyDecided { record: record.clone(), exception: exception.cloned() }
    } else {
        Outcome::Refused {
            refusal: Refusal::ApprovalAlreadyCompleted,
            exception: exception.cloned(),
            record: Some(record.clone()),
        }
    })
}

/// The time is over. A decision that was restored from a backup was answered in an earlier life, which the record tells: one
/// that is new here is given a minute to read it.
fn expired(
    seen: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    expiry: Expiry,
    last: Option<&Submission>,
) -> Step {
    let patience = later(created(seen.decision, now), RECORD_LAG);
    match seen.record() {
        None => Step::ReadRecord,
        Some(Ok(Record::Finished(record))) if record.result == Some(seen.decision.spec.result.status) => {
            Step::Settle(Outcome::AlreadyDecided { record: record.clone(), exception: None })
        }
        Some(Ok(_)) => Step::Settle(Outcome::Expired { expiry, unproven: None }),
        Some(Err(_)) if last.is_none() && now < patience => {
            Step::WaitUntil(later(now, settings.poll_interval).min(patience))
        }
        Some(Err(error)) => {
            let unproven = format!("CodePipeline's record of the request cannot be read ({})", error.detail());
            Step::Settle(Outcome::Expired { expiry, unproven: Some(unproven) })
        }
    }
}

/// Whether what ended the request was an attempt of ours: the same answer in the same words while they were under way.
/// Where our summary is empty, the service stores words of its own, and the result and the time decide.
fn is_ours(decision: &ApprovalDecision, submission: &Submission, record: &Finished) -> bool {
    let answer = &decision.spec.result;
    let in_time = record.at.is_some_and(|at| earlier(submission.start_time, MARGIN) <= at && at <= submission.deadline);
    let same_words = answer.summary.is_empty() || record.summary.as_deref() == Some(&answer.summary);
    in_time && same_words && record.result == Some(answer.status)
}

fn intent(
    decision: &ApprovalDecision,
    settings: &Settings,
    now: Timestamp,
    attempts: i64,
    in_doubt: Option<&Submission>,
    ids: ExecutionIds,
) -> Intent {
    Intent {
        submission: Submission {
            attempts,
            start_time: in_doubt.map_or(now, |submission| submission.start_time),
            deadline: deadline(settings, now),
            token: decision.spec.token.clone(),
        },
        ids,
        earlier: if in_doubt.is_some() { Earlier::InDoubt } else { Earlier::NotTaken },
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
