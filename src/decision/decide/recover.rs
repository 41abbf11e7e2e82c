//! What the service's record says of a request that was answered, or may have been: by us, or by somebody else.

use super::{Observed, Step, attempt, unless_held_back};
use crate::api::time::{earlier, later};
use crate::api::v1alpha1::{ApprovalDecision, Exception, Submission};
use crate::codepipeline::{Finished, Record, Refusal};
use crate::decision::limits::{MARGIN, RECORD_LAG, RECORD_PATIENCE, Settings};
use crate::decision::outcome::{Doubt, Earlier, Intent, Outcome};
use crate::decision::progress::execution_ids;
use jiff::Timestamp;
use std::ops::ControlFlow;

/// An answer may be with the service, and nobody here is waiting for it: the record tells.
pub(super) fn recover(seen: &Observed<'_>, settings: &Settings, now: Timestamp, submission: &Submission) -> Step {
    if now < submission.deadline {
        return Step::WaitUntil(submission.deadline);
    }
    let known = execution_ids(seen.decision);
    let lag_over = later(submission.deadline, RECORD_LAG);
    let lag_is_over = seen.record.is_some_and(|reading| reading.begun >= lag_over);
    let unconfirmed = |doubt, ids, next| Step::Settle(Outcome::Unconfirmed { doubt, completed: None, ids, next });
    let (ids, settled) = match seen.record() {
        None => return Step::ReadRecord(submission.token.clone()),
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
        Some(Ok(Record::Finished(record))) => return Step::Settle(by_others(seen.decision, record, None)),
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
            let again = attempt(settings, now, submission.attempts.saturating_add(1), &submission.token);
            let submission = Submission { start_time: submission.start_time, ..again };
            Step::Intend(Intent { submission, ids, earlier: Earlier::InDoubt })
        }
        ControlFlow::Break(step) => step,
    }
}

/// The service says that the request was completed before this attempt: the record tells how.
pub(super) fn completed(
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
        None => return Step::ReadRecord(submission.token.clone()),
        Some(Ok(Record::Finished(record))) => {
            if earlier == Earlier::InDoubt && is_ours(seen.decision, submission, record) {
                return Step::Settle(Outcome::Delivered { approved_at: record.at, record: Some(record.clone()) });
            }
            return Step::Settle(by_others(seen.decision, record, Some(exception)));
        }
        Some(Ok(Record::PipelineNotFound(_) | Record::Unseen)) => return refused(),
        Some(Ok(Record::Pending(ids) | Record::Lagging(ids))) => (Doubt::NotInRecord, ids.clone()),
        Some(Err(error)) => (Doubt::Unreadable(error.detail()), execution_ids(seen.decision)),
    };
    let readable = matches!(doubt, Doubt::NotInRecord);
    if now >= later(submission.deadline, RECORD_PATIENCE) && (readable || earlier != Earlier::InDoubt) {
        return refused();
    }
    let completed = match earlier {
        Earlier::NotTaken | Earlier::Refused => Some(exception.clone()),
        Earlier::InDoubt => None,
    };
    Step::Settle(Outcome::Unconfirmed { doubt, completed, ids, next: later(now, settings.poll_interval) })
}

/// Whether what ended the request was an attempt of ours: the same answer in the same words while they were under way.
/// Where our summary is empty, the service stores words of its own, and the result and the time decide.
fn is_ours(decision: &ApprovalDecision, submission: &Submission, record: &Finished) -> bool {
    let answer = &decision.spec.result;
    let in_time = record.at.is_some_and(|at| earlier(submission.start_time, MARGIN) <= at && at <= submission.deadline);
    let same_words = answer.summary.is_empty() || record.summary.as_deref() == Some(&answer.summary);
    in_time && same_words && record.result == Some(answer.status)
}

/// The request is over, and not by our answer.
pub(super) fn by_others(decision: &ApprovalDecision, record: &Finished, exception: Option<&Exception>) -> Outcome {
    if record.result == Some(decision.spec.result.status) {
        Outcome::AlreadyDecided { record: record.clone(), exception: exception.cloned() }
    } else {
        Outcome::Refused {
            refusal: Refusal::ApprovalAlreadyCompleted,
            exception: exception.cloned(),
            record: Some(record.clone()),
        }
    }
}
