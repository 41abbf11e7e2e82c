//! What to do next about a decision, as a pure function of what was observed and the time. Everything that keeps an answer
//! from being sent twice, or from being misreported, is decided here; the rest of the module only carries it out.

mod recover;
mod seek;

use super::limits::{
    LEAST_BACK_OFF, RECORD_LAG, Settings, believable, created, deadline, expiry, latest_start, next_attempt,
};
use super::outcome::{Doubt, Earlier, Expiry, Intent, Outcome, Pending};
use super::progress::{Progress, execution_ids};
use crate::api::time::{later, to_millisecond};
use crate::api::v1alpha1::{ApprovalDecision, Binding, Exception, Submission, Token};
use crate::codepipeline::{CallError, ExecutionIds, Reading, Record, Refusal};
use jiff::Timestamp;
use recover::{completed, recover};
use seek::seek;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What is known in a round over one decision.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The object, as it was watched, read or last written.
    pub decision: &'a ApprovalDecision,
    /// What this round has done about an answer.
    pub attempt: &'a Attempt,
    /// What the service's record said, if this round read it.
    pub record: Option<&'a RecordReading>,
    /// What can be seen of the pipeline, if this round looked.
    pub sight: Option<&'a Sight>,
}

/// A shared look at the pipeline of a decision that is bound to a run.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When this decision, as it is now, was first looked at. Nothing final follows from a look that began before.
    pub asked: Timestamp,
    /// The newest look.
    pub reading: Arc<Reading>,
}

/// A look at the service's record.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RecordReading {
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
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
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
    /// Nothing, until something new is to be seen of the pipeline, or until then.
    WaitForNews {
        /// A look that begins then is wanted, whatever it shows.
        again: Option<Timestamp>,
        /// When the time is over.
        until: Timestamp,
    },
    /// Look at the pipeline, with all who wait for a run of it; until then.
    Look(Timestamp),
    /// Read the service's record of the request with this token.
    ReadRecord(Token),
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
            Progress::Retrying(submission) => begin(seen, settings, now, Some(&believable(submission, now))),
            Progress::Refused(submission, exception) => again(seen, settings, now, &submission, &exception),
            Progress::UnderWay(submission) => recover(seen, settings, now, &believable(submission, now)),
            Progress::CompletedByOthers(submission, exception) => {
                completed(seen, settings, now, &believable(submission, now), Earlier::NotTaken, &exception)
            }
        },
    }
}

/// Nothing of ours is with the service: send an answer if it may be sent.
fn begin(seen: &Observed<'_>, settings: &Settings, now: Timestamp, last: Option<&Submission>) -> Step {
    let token = match (seen.decision.spec.binding(), last) {
        (Ok(Binding::Token(token)), _) => token,
        // It was chosen, and nothing was taken: the decision stays with it.
        (Ok(Binding::Run(_)), Some(last)) => &last.token,
        (Ok(Binding::Run(run)), None) => return seek(seen, settings, now, run, None),
        (Err(detail), _) => return Step::Settle(Outcome::Invalid { detail }),
    };
    let expiry = match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            return expired(seen, settings, now, expiry, last, token);
        }
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
    let submission = attempt(settings, now, attempts, token);
    Step::Intend(Intent { submission, ids, earlier: Earlier::NotTaken })
}

/// The service refused a token that was found: look again.
fn again(seen: &Observed<'_>, settings: &Settings, now: Timestamp, last: &Submission, exception: &Exception) -> Step {
    match seen.decision.spec.binding() {
        Ok(Binding::Run(run)) => seek(seen, settings, now, run, Some((last, exception))),
        Ok(Binding::Token(_)) | Err(_) => begin(seen, settings, now, None),
    }
}

/// The intent is written: the object that the write returned decides whether the request may leave.
fn intended(seen: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent) -> Step {
    let submission = &intent.submission;
    let expiry = match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            return expired(seen, settings, now, expiry, Some(submission), &submission.token);
        }
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let latest = latest_start(settings, submission);
    if now < latest {
        return Step::Send { intent: intent.clone(), latest: latest.min(expiry.at()) };
    }
    let again = attempt(settings, now, submission.attempts, &submission.token);
    let start_time = match intent.earlier {
        Earlier::NotTaken | Earlier::Refused => again.start_time,
        Earlier::InDoubt => submission.start_time,
    };
    Step::Intend(Intent { submission: Submission { start_time, ..again }, ..intent.clone() })
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
    let is_found = matches!(seen.decision.spec.binding(), Ok(Binding::Run(_)));
    match error {
        // The request that was found is over, or gone: its run may have come to another.
        CallError::Refused {
            refusal: Refusal::InvalidApprovalToken | Refusal::ApprovalAlreadyCompleted,
            exception,
        } if is_found && *earlier == Earlier::NotTaken => Step::Settle(Outcome::Waiting {
            pending: Pending::NewLook,
            exception: Some(exception.clone()),
            again: None,
            until: expiry(seen.decision, settings, now).map_or(now, |expiry| expiry.at()),
        }),
        CallError::Refused { refusal: Refusal::ApprovalAlreadyCompleted, exception } => {
            completed(seen, settings, now, submission, *earlier, exception)
        }
        CallError::Refused { refusal, exception } => {
            Step::Settle(Outcome::Refused { refusal: *refusal, exception: Some(exception.clone()), record: None })
        }
        CallError::Lost { detail } => unconfirmed(Doubt::Lost(detail.clone())),
        CallError::NotTaken { cause, exception, detail } => match earlier {
            Earlier::InDoubt => unconfirmed(Doubt::NotAsked(detail.clone())),
            Earlier::NotTaken | Earlier::Refused => {
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

/// The time is over. A decision that was restored from a backup was answered in an earlier life, which the record tells: one
/// that is new here is given a minute to read it.
fn expired(
    seen: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    expiry: Expiry,
    last: Option<&Submission>,
    token: &Token,
) -> Step {
    let patience = later(created(seen.decision, now), RECORD_LAG);
    match seen.record() {
        None => Step::ReadRecord(token.clone()),
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

/// An attempt that begins now.
fn attempt(settings: &Settings, now: Timestamp, attempts: i64, token: &Token) -> Submission {
    Submission { attempts, start_time: now, deadline: deadline(settings, now), token: token.clone() }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
