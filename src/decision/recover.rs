//! A submission whose outcome CodePipeline's history must show: one in doubt, and one that CodePipeline refused because its request was
//! completed or gone.

use super::attribution::is_ours;
use super::evaluate::evaluate;
use super::last::Last;
use super::outcome::{Outcome, PriorAttempts, UnconfirmedCause, Wait};
use super::phase::execution_ids;
use super::resolve::refused_names;
use super::step::{Observed, Step};
use super::subject::{is_for_spec, record, subject};
use super::target_rules::may_recover;
use super::timing::{HISTORY_LAG, RECORD_RETRY_LIMIT, Settings, next_history_read};
use crate::api::time::later;
use crate::api::v1alpha1::{ApprovalDecision, Binding, Exception, Submission, SubmissionOutcome};
use crate::codepipeline::{
    ApprovalRecord, CallError, CompletedApproval, ExecutionIds, PipelineObservation, Refusal, RetryCause,
};
use jiff::Timestamp;

/// What history says of a submission in doubt.
enum Finding {
    /// CodePipeline accepted it.
    Ours(CompletedApproval),
    /// The request was completed otherwise.
    ByOthers(CompletedApproval),
    /// CodePipeline has not accepted it.
    NotAccepted,
    /// There is no trace of it, where an accepted one would have left it by now.
    NoTrace,
}

/// CodePipeline may have accepted a submission, and its response is lost: history settles it. The spec is evaluated after that.
pub(super) fn recover(observed: &Observed<'_>, settings: &Settings, now: Timestamp, submission: &Submission) -> Step {
    let decision = observed.decision;
    if now < submission.deadline {
        return Step::WaitUntil(submission.deadline);
    }
    let Some(target) = observed.target else { return Step::FindTarget };
    let next = next_history_read(decision, settings, now, submission);
    let unconfirmed = |cause, ids, next| Step::WriteStatus(Outcome::Unconfirmed { cause, refused: None, ids, next });
    if let Err(cause) = may_recover(submission, target) {
        return unconfirmed(cause, execution_ids(submission), next);
    }
    let reliable_after = later(submission.deadline, HISTORY_LAG);
    let Some(pipeline) = observed.pipeline else { return Step::ReadPipeline(later(now, HISTORY_LAG)) };
    if pipeline.poll.started_at < submission.deadline {
        return Step::AwaitSnapshot { recheck_at: Some(submission.deadline), until: later(now, HISTORY_LAG) };
    }
    let subject = subject(decision);
    let finding = match find(&subject, submission, pipeline, reliable_after) {
        Ok(finding) => finding,
        Err((cause, ids)) => {
            let next = if now < reliable_after { next.min(reliable_after) } else { next };
            return unconfirmed(cause, ids, next);
        }
    };
    if !is_for_spec(submission, decision) {
        return Step::WriteStatus(match finding {
            Finding::Ours(record) => Outcome::Delivered { approved_at: record.at, record: Some(record) },
            Finding::ByOthers(_) | Finding::NotAccepted | Finding::NoTrace => {
                Outcome::Waiting { wait: Wait::CurrentSpec, exception: None, recheck_at: None, until: now }
            }
        });
    }
    match (finding, decision.spec.binding()) {
        (Finding::Ours(record), _) => {
            Step::WriteStatus(Outcome::Delivered { approved_at: record.at, record: Some(record) })
        }
        (Finding::ByOthers(record), Some(Binding::Token(_))) => {
            Step::WriteStatus(Outcome::completed_by_others(decision, &record, None, None))
        }
        (Finding::ByOthers(_), _) => evaluate(observed, settings, now, Last::None),
        (Finding::NotAccepted, _) => evaluate(observed, settings, now, Last::InDoubt(submission)),
        (Finding::NoTrace, _) => match evaluate(observed, settings, now, Last::InDoubt(submission)) {
            Step::WriteStatus(Outcome::TargetProblem { problem, .. }) => {
                unconfirmed(UnconfirmedCause::NoTraceAtTarget(Box::new(problem)), execution_ids(submission), next)
            }
            Step::WriteStatus(outcome) if !outcome.request_is_completed() => {
                unconfirmed(UnconfirmedCause::NoTrace, execution_ids(submission), next)
            }
            step => step,
        },
    }
}

/// What the newest poll shows; `Err` says why that is not conclusive.
fn find(
    subject: &ApprovalDecision,
    submission: &Submission,
    pipeline: &PipelineObservation,
    reliable_after: Timestamp,
) -> Result<Finding, (UnconfirmedCause, ExecutionIds)> {
    let known = execution_ids(submission);
    let poll = &pipeline.poll;
    let is_reliable = reliable_after <= poll.started_at;
    if is_of_other_account(submission, pipeline) {
        return Err((UnconfirmedCause::OtherAccount, known));
    }
    let snapshot = match &poll.result {
        Ok(snapshot) => snapshot,
        Err(error) if poll.failure().is_some() => {
            return Err((UnconfirmedCause::HistoryUnreadable(error.detail()), known));
        }
        Err(_) => return Err((UnconfirmedCause::PipelineNotFound, known)),
    };
    match record(subject, &submission.token, &known, snapshot) {
        ApprovalRecord::Completed(record) if is_ours(submission, &record) => Ok(Finding::Ours(record)),
        ApprovalRecord::Completed(record) => Ok(Finding::ByOthers(record)),
        ApprovalRecord::Pending(_) => Ok(Finding::NotAccepted),
        ApprovalRecord::Lagging(_) if is_reliable => Ok(Finding::NotAccepted),
        ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory if is_reliable => Ok(Finding::NoTrace),
        ApprovalRecord::Lagging(ids) => Err((UnconfirmedCause::NotInHistory, ids)),
        ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory => Err((UnconfirmedCause::NotInHistory, known)),
        ApprovalRecord::Unreadable(error) => Err((UnconfirmedCause::HistoryUnreadable(error.detail()), known)),
    }
}

/// Whether a poll read another account or region than the submission was sent to.
fn is_of_other_account(submission: &Submission, pipeline: &PipelineObservation) -> bool {
    pipeline.poll.location.as_ref().is_some_and(|location| *location != submission.location())
}

/// CodePipeline refused a submission because its request is completed or gone: history shows how, and whether an earlier attempt was
/// accepted. Or it refused a name: the pipeline shows which ones there are.
pub(super) fn explain(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    submission: &Submission,
    exception: &Exception,
) -> Step {
    let decision = observed.decision;
    let refusal = Refusal::of(exception).unwrap_or(Refusal::ApprovalAlreadyCompleted);
    let prior = match submission.outcome {
        None => PriorAttempts::InDoubt,
        Some(SubmissionOutcome::Accepted | SubmissionOutcome::NotAccepted) => PriorAttempts::NotApplied,
    };
    let Some(target) = observed.target else { return Step::FindTarget };
    let refused = |names| {
        let (exception, caveat) = (Some(exception.clone()), prior.caveat());
        Step::WriteStatus(Outcome::Refused { refusal, exception, record: None, open: None, names, caveat })
    };
    if matches!(refusal, Refusal::StageNotFound | Refusal::ActionNotFound) {
        // The names are for the message alone, so they change no outcome, and it does not wait for them for long.
        let give_up_at = later(submission.deadline, HISTORY_LAG);
        if may_recover(submission, target).is_err() {
            return refused(None);
        }
        let Some(pipeline) = observed.pipeline else {
            return if now < give_up_at { Step::ReadPipeline(give_up_at) } else { refused(None) };
        };
        return match &pipeline.poll.result {
            Ok(snapshot) if !is_of_other_account(submission, pipeline) => {
                refused(refused_names(snapshot, &decision.spec.stage_name, &decision.spec.action_name))
            }
            Ok(_) | Err(_) => refused(None),
        };
    }
    let refused = || refused(None);
    let known = execution_ids(submission);
    let unexplained = |cause, ids, next| {
        Step::WriteStatus(Outcome::Unconfirmed { cause, refused: Some((exception.clone(), prior)), ids, next })
    };
    let next = next_history_read(decision, settings, now, submission);
    if let Err(cause) = may_recover(submission, target) {
        return unexplained(cause, known, next);
    }
    let Some(pipeline) = observed.pipeline else { return Step::ReadPipeline(later(now, HISTORY_LAG)) };
    if is_of_other_account(submission, pipeline) {
        return unexplained(UnconfirmedCause::OtherAccount, known, next);
    }
    let record = match &pipeline.poll.result {
        Ok(snapshot) => record(decision, &submission.token, &known, snapshot),
        Err(error) if pipeline.poll.failure().is_some() => ApprovalRecord::Unreadable(error.clone()),
        Err(_) => ApprovalRecord::NotVisible,
    };
    let (cause, ids) = match record {
        ApprovalRecord::Completed(record) if prior == PriorAttempts::InDoubt && is_ours(submission, &record) => {
            return Step::WriteStatus(Outcome::Delivered { approved_at: record.at, record: Some(record) });
        }
        ApprovalRecord::Completed(record)
            if record.result.is_some() || refusal == Refusal::ApprovalAlreadyCompleted =>
        {
            return match decision.spec.binding() {
                // The newest response decides, and that may be one to another request.
                Some(Binding::Execution(_)) => evaluate(observed, settings, now, Last::Refused(submission, exception)),
                Some(Binding::Token(_)) | None => {
                    Step::WriteStatus(Outcome::completed_by_others(decision, &record, None, Some(exception)))
                }
            };
        }
        ApprovalRecord::Completed(_) | ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory => return refused(),
        // The token is valid, and something else of the request is not: an empty summary where the action requires one.
        ApprovalRecord::Pending(_) if refusal == Refusal::InvalidApprovalToken => return refused(),
        // Who may respond may not be allowed to read.
        ApprovalRecord::Unreadable(CallError::NotApplied { cause: RetryCause::AccessDenied, .. })
            if prior != PriorAttempts::InDoubt =>
        {
            return refused();
        }
        ApprovalRecord::Pending(ids) | ApprovalRecord::Lagging(ids) => (UnconfirmedCause::NotInHistory, ids),
        ApprovalRecord::Unreadable(error) => (UnconfirmedCause::HistoryUnreadable(error.detail()), known),
    };
    let is_readable = matches!(cause, UnconfirmedCause::NotInHistory);
    // An edit of the pipeline cancels a request, and history never shows that.
    let patience = if refusal == Refusal::InvalidApprovalToken { HISTORY_LAG } else { RECORD_RETRY_LIMIT };
    let give_up_at = later(submission.deadline, patience);
    if is_readable && give_up_at <= pipeline.poll.started_at {
        return refused();
    }
    unexplained(cause, ids, if now < give_up_at { next.min(give_up_at) } else { next })
}
