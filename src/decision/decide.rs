//! What to do next about a decision, as a pure function of what was observed and the time. Everything that keeps an answer
//! from being sent twice, or from being misreported, is decided here; the rest of the module only carries it out.

use super::outcome::{Doubt, Earlier, Expiry, Intent, Outcome};
use super::progress::{Progress, execution_ids};
use crate::api::time::to_millisecond;
use crate::api::v1alpha1::{ApprovalDecision, Exception, Submission};
use crate::codepipeline::{CallError, ExecutionIds, Finished, Record, Refusal};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How far the clocks of operators and of the service may differ.
pub const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// How long writing an intent may take. It adds to [`MARGIN`]: a request that leaves late must not be looked for too early.
const LATENESS: SignedDuration = SignedDuration::from_secs(5);

/// How long the service's history may lag behind what it did: on the live service a decision was in it after some 30 s.
pub const RECORD_LAG: SignedDuration = SignedDuration::from_secs(60);

/// How long a record that contradicts an exception of the service is read again, before the exception is what counts.
pub const RECORD_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The longest pause between two attempts.
const MAX_BACK_OFF: i64 = 300;

/// The operator's settings that decisions depend on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The longest time that a call to the service takes.
    pub aws_timeout: SignedDuration,
    /// How long after its creation a decision may be answered.
    pub waiting_limit: SignedDuration,
    /// How long to wait between two looks at the service's record.
    pub poll_interval: SignedDuration,
}

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
    /// The intent stands in the object's status, and nothing was sent under it.
    Intended(Intent),
    /// The request was sent, or could not be.
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
    Send(Intent),
    /// Write what became of the decision.
    Settle(Outcome),
}

/// Decides what to do next.
#[must_use]
pub fn decide(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    let now = to_millisecond(now);
    match seen.attempt {
        Attempt::Answered(intent, answer) => answered(seen, settings, now, intent, answer),
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
    if seen.decision.spec.suspend {
        return Step::Settle(Outcome::Suspended);
    }
    let expiry = match expiry(seen.decision, settings, now) {
        Ok(expiry) => expiry,
        Err(detail) => return Step::Settle(Outcome::Invalid { detail }),
    };
    if expiry.at() <= now {
        return expired(seen, expiry);
    }
    let Some(last) = last else {
        let intent = intent(seen.decision, settings, now, 1, None, ExecutionIds::default());
        return Step::Intend(intent);
    };
    let next = next_attempt(seen.decision, last);
    if now < next {
        return Step::WaitUntil(next.min(expiry.at()));
    }
    let attempts = last.attempts.saturating_add(1);
    Step::Intend(intent(seen.decision, settings, now, attempts, None, execution_ids(seen.decision)))
}

/// The intent is written: the object that the write returned decides whether the request may leave.
fn intended(seen: &Observed<'_>, settings: &Settings, now: Timestamp, intent: &Intent) -> Step {
    if seen.decision.spec.suspend {
        return Step::Settle(Outcome::Suspended);
    }
    match expiry(seen.decision, settings, now) {
        Err(detail) => Step::Settle(Outcome::Invalid { detail }),
        Ok(expiry) if expiry.at() <= now => expired(seen, expiry),
        Ok(_) if end_of_attempt(settings, now) > intent.submission.deadline => Step::Intend(Intent {
            submission: Submission {
                start_time: match intent.earlier {
                    Earlier::NotTaken => now,
                    Earlier::InDoubt => intent.submission.start_time,
                },
                deadline: deadline(settings, now),
                ..intent.submission.clone()
            },
            ..intent.clone()
        }),
        Ok(_) => Step::Send(intent.clone()),
    }
}

/// The answer came, or failed to.
fn answered(
    seen: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    intent: &Intent,
    answer: &Result<Option<Timestamp>, CallError>,
) -> Step {
    let Intent { submission, earlier, ids } = intent;
    let error = match answer {
        Ok(approved_at) => {
            return Step::Settle(Outcome::Delivered { approved_at: *approved_at, record: None });
        }
        Err(error) => error,
    };
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
            Earlier::NotTaken => Step::Settle(Outcome::Retrying {
                submission: submission.clone(),
                cause: *cause,
                exception: exception.clone(),
                detail: detail.clone(),
                next: until_expiry(seen.decision, settings, now, next_attempt(seen.decision, submission)),
            }),
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
    match expiry(seen.decision, settings, now) {
        _ if seen.decision.spec.suspend => Step::Settle(Outcome::Suspended),
        Err(detail) => Step::Settle(Outcome::Invalid { detail }),
        Ok(expiry) if expiry.at() <= now => Step::Settle(Outcome::Expired(expiry)),
        Ok(_) => {
            let attempts = submission.attempts.saturating_add(1);
            Step::Intend(intent(seen.decision, settings, now, attempts, Some(submission), ids))
        }
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
    if now >= later(submission.start_time, RECORD_PATIENCE) && (readable || earlier == Earlier::NotTaken) {
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

/// The time is over. A decision that was restored from a backup was answered in an earlier life, which the record tells.
fn expired(seen: &Observed<'_>, expiry: Expiry) -> Step {
    match seen.record() {
        None => Step::ReadRecord,
        Some(Ok(Record::Finished(record))) if record.result == Some(seen.decision.spec.result.status) => {
            Step::Settle(Outcome::AlreadyDecided { record: record.clone(), exception: None })
        }
        Some(Ok(_) | Err(_)) => Step::Settle(Outcome::Expired(expiry)),
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
            token: in_doubt.map_or(&decision.spec.token, |submission| &submission.token).clone(),
        },
        ids,
        earlier: if in_doubt.is_some() { Earlier::InDoubt } else { Earlier::NotTaken },
    }
}

fn deadline(settings: &Settings, now: Timestamp) -> Timestamp {
    later(end_of_attempt(settings, now), LATENESS)
}

/// When a request that leaves now can no longer reach the service, by anybody's clock.
fn end_of_attempt(settings: &Settings, now: Timestamp) -> Timestamp {
    later(later(now, settings.aws_timeout), MARGIN)
}

/// Which limit comes first.
fn expiry(decision: &ApprovalDecision, settings: &Settings, now: Timestamp) -> Result<Expiry, String> {
    let created = decision.creation_timestamp().map_or(now, |time| time.0);
    let limit = Expiry::WaitingLimit(later(created, settings.waiting_limit));
    let Some(not_after) = &decision.spec.not_after else {
        return Ok(limit);
    };
    match not_after.0.parse() {
        Ok(at) if at < limit.at() => Ok(Expiry::NotAfter(at)),
        Ok(_) => Ok(limit),
        Err(_) => Err(format!(
            "spec.notAfter is {:?}, which is no time: write one in RFC 3339, such as 2026-01-31T17:00:00Z",
            not_after.0
        )),
    }
}

fn until_expiry(decision: &ApprovalDecision, settings: &Settings, now: Timestamp, next: Timestamp) -> Timestamp {
    expiry(decision, settings, now).map_or(next, |expiry| next.min(expiry.at()))
}

/// Exponential back-off with full jitter, from 1 s to 5 min. The jitter is drawn from the object and the attempt, so that
/// a restart, or a look in between, comes to the same time.
fn next_attempt(decision: &ApprovalDecision, last: &Submission) -> Timestamp {
    let mut hasher = DefaultHasher::new();
    (decision.uid(), last.attempts).hash(&mut hasher);
    let ceiling = MAX_BACK_OFF.min(1 << last.attempts.clamp(0, 16)) * 1000;
    let drawn = i64::try_from(hasher.finish() >> 32).unwrap_or_default() % ceiling;
    later(last.start_time, SignedDuration::from_millis(drawn.max(1000)))
}

/// Sums that end at the edges of the calendar instead of failing.
fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
