//! What CodePipeline's history says about a request that was completed, or may have been: by us, or by someone else.

use super::outcome::{Caveat, Intent, Outcome, PriorAttempts, UnconfirmedCause};
use super::phase::execution_ids;
use super::step::{Observed, Permission, Step};
use super::timing::{
    CLOCK_SKEW, HISTORY_LAG, RECORD_RETRY_LIMIT, Settings, next_attempt_in_doubt, next_history_read, start_attempt,
};
use crate::api::time::{earlier, later};
use crate::api::v1alpha1::{ApprovalDecision, Exception, Submission};
use crate::codepipeline::{ApprovalRecord, CompletedApproval, Refusal};
use jiff::Timestamp;
use std::ops::ControlFlow;

/// CodePipeline may have accepted a submission, and its response is lost: history settles it.
pub(super) fn recover(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    permission: Permission,
    submission: &Submission,
) -> Step {
    if now < submission.deadline {
        return Step::WaitUntil(submission.deadline);
    }
    let known = execution_ids(observed.decision);
    let reliable_after = later(submission.deadline, HISTORY_LAG);
    let is_reliable = observed.record.is_some_and(|record| record.started_at >= reliable_after);
    let unconfirmed = |cause, ids, next| Step::WriteStatus(Outcome::Unconfirmed { cause, completed: None, ids, next });
    let next_read = || next_history_read(observed.decision, settings, now, submission);
    let (ids, is_conclusive) = match observed.record() {
        None => return Step::ReadRecord(submission.token.clone()),
        Some(Err(error)) => {
            return unconfirmed(UnconfirmedCause::HistoryUnreadable(error.detail()), known, next_read());
        }
        Some(Ok(ApprovalRecord::PipelineNotFound(exception))) => {
            return Step::WriteStatus(Outcome::Refused {
                refusal: Refusal::PipelineNotFound,
                exception: Some(exception.clone()),
                record: None,
                caveat: PriorAttempts::InDoubt.caveat(),
            });
        }
        Some(Ok(ApprovalRecord::Completed(record))) if is_ours(observed.decision, submission, record) => {
            return Step::WriteStatus(Outcome::Delivered { approved_at: record.at, record: Some(record.clone()) });
        }
        Some(Ok(ApprovalRecord::Completed(record))) => {
            return Step::WriteStatus(completed_by_others(observed.decision, record, None));
        }
        Some(Ok(ApprovalRecord::Pending(ids))) => (ids.clone(), true),
        Some(Ok(ApprovalRecord::Lagging(ids))) => (ids.clone(), is_reliable),
        Some(Ok(ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory)) => (known, is_reliable),
    };
    if !is_conclusive {
        return unconfirmed(UnconfirmedCause::NotInHistory, ids, next_read().min(reliable_after));
    }
    // The attempts so far were not applied, or left no trace where an accepted one would have left it by now. It is safe to send
    // the same token again: if CodePipeline did accept one, it refuses this attempt.
    match permission {
        ControlFlow::Continue(expiry) if expiry.at() <= now => {
            let caveat = match observed.record() {
                Some(Ok(ApprovalRecord::Pending(_))) => None,
                Some(Ok(ApprovalRecord::BeyondHistory)) => Some(Caveat::BeyondHistory),
                Some(_) | None => Some(Caveat::NoTraceOfAttempt),
            };
            Step::WriteStatus(Outcome::Expired { expiry, caveat })
        }
        ControlFlow::Continue(expiry) => {
            let soonest = next_attempt_in_doubt(observed.decision, settings, submission);
            if now < soonest {
                return Step::WaitUntil(soonest.min(expiry.at()));
            }
            let next = start_attempt(settings, now, submission.attempts.saturating_add(1), &submission.token);
            let submission = Submission { start_time: submission.start_time, ..next };
            Step::RecordIntent(Intent { submission, ids, prior: PriorAttempts::InDoubt })
        }
        ControlFlow::Break(step) => step,
    }
}

/// CodePipeline says that the request was completed before this attempt: history shows how.
pub(super) fn completed(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    submission: &Submission,
    prior: PriorAttempts,
    exception: &Exception,
) -> Step {
    let refused = || {
        let (refusal, exception) = (Refusal::ApprovalAlreadyCompleted, Some(exception.clone()));
        Step::WriteStatus(Outcome::Refused { refusal, exception, record: None, caveat: prior.caveat() })
    };
    let (cause, ids) = match observed.record() {
        None => return Step::ReadRecord(submission.token.clone()),
        Some(Ok(ApprovalRecord::Completed(record))) => {
            if prior == PriorAttempts::InDoubt && is_ours(observed.decision, submission, record) {
                return Step::WriteStatus(Outcome::Delivered { approved_at: record.at, record: Some(record.clone()) });
            }
            return Step::WriteStatus(completed_by_others(observed.decision, record, Some(exception)));
        }
        Some(Ok(ApprovalRecord::PipelineNotFound(_) | ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory)) => {
            return refused();
        }
        Some(Ok(ApprovalRecord::Pending(ids) | ApprovalRecord::Lagging(ids))) => {
            (UnconfirmedCause::NotInHistory, ids.clone())
        }
        Some(Err(error)) => (UnconfirmedCause::HistoryUnreadable(error.detail()), execution_ids(observed.decision)),
    };
    let is_readable = matches!(cause, UnconfirmedCause::NotInHistory);
    let give_up_at = later(submission.deadline, RECORD_RETRY_LIMIT);
    if now >= give_up_at && (is_readable || prior != PriorAttempts::InDoubt) {
        return refused();
    }
    let next = next_history_read(observed.decision, settings, now, submission);
    let next = if now < give_up_at { next.min(give_up_at) } else { next };
    let completed = match prior {
        PriorAttempts::NotApplied | PriorAttempts::Refused => Some(exception.clone()),
        PriorAttempts::InDoubt => None,
    };
    Step::WriteStatus(Outcome::Unconfirmed { cause, completed, ids, next })
}

/// Whether an attempt of ours completed the request: the same result and summary, while our attempts were in flight. CodePipeline
/// stores a summary of its own where ours is empty; then the result and the time decide.
fn is_ours(decision: &ApprovalDecision, submission: &Submission, record: &CompletedApproval) -> bool {
    let result = &decision.spec.result;
    let in_time =
        record.at.is_some_and(|at| earlier(submission.start_time, CLOCK_SKEW) <= at && at <= submission.deadline);
    let same_summary = result.summary.is_empty() || record.summary.as_deref() == Some(&result.summary);
    in_time && same_summary && record.result == Some(result.status)
}

/// The request is completed, and not by our result.
pub(super) fn completed_by_others(
    decision: &ApprovalDecision,
    record: &CompletedApproval,
    exception: Option<&Exception>,
) -> Outcome {
    let (record, exception) = (record.clone(), exception.cloned());
    if record.result == Some(decision.spec.result.status) {
        Outcome::AlreadyDecided { record, exception }
    } else {
        let (refusal, record) = (Refusal::ApprovalAlreadyCompleted, Some(record));
        // The request received one result, and history shows that it is not ours: no doubt is left.
        Outcome::Refused { refusal, exception, record, caveat: None }
    }
}
