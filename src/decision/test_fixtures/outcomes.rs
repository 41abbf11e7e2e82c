//! Outcomes: at least one of each kind, and at least one for each reason.

use super::*;
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::{InvalidSpec, Location, Unsupported};
use crate::codepipeline::{ExecutionEnd, ExecutionRevision, SimilarRevision};
use crate::decision::conflict::RejectionMatch;
use crate::decision::outcome::{Caveat, Outcome, Requeue, UnconfirmedCause, Wait};
use crate::decision::resolve::{
    Ambiguity, Candidates, ExecutionPosition, ExecutionWait, Missing, OpenRequest, RefusedNames, RevisionHint,
};
use crate::decision::target::{Forbidden, TargetProblem, TargetsUnavailable};
use crate::decision::timing::Expiry;

pub fn delivered() -> Outcome {
    Outcome::Delivered { approved_at: Some(at(1)), record: None }
}

/// The response was lost, and history shows that the result was accepted.
pub fn delivered_by_history() -> Outcome {
    Outcome::Delivered { approved_at: Some(at(0)), record: Some(completed_approval(Approved, 0)) }
}

pub fn already_decided() -> Outcome {
    let (record, exception) = (completed_approval(Approved, 0), Some(already_completed()));
    Outcome::AlreadyDecided { record, open: None, exception }
}

pub fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<CompletedApproval>) -> Outcome {
    Outcome::Refused { refusal, exception, record, open: None, names: None, caveat: None }
}

/// A refusal that follows an attempt in doubt.
pub fn refused_after_doubt(refusal: Refusal) -> Outcome {
    let exception = Some(exception(Reason::from(refusal).as_str()));
    let caveat = Some(Caveat::AttemptInDoubt);
    Outcome::Refused { refusal, exception, record: None, open: None, names: None, caveat }
}

/// CodePipeline refused a name, and the pipeline was read.
pub fn refused_names(refusal: Refusal, names: RefusedNames) -> Outcome {
    let (exception, names) = (Some(exception(Reason::from(refusal).as_str())), Some(names));
    Outcome::Refused { refusal, exception, record: None, open: None, names, caveat: None }
}

pub fn invalid_token() -> Outcome {
    refused(Refusal::InvalidApprovalToken, Some(exception("InvalidApprovalToken")), None)
}

pub fn rejected_by_others(exception: Option<Exception>) -> Outcome {
    refused(Refusal::ApprovalAlreadyCompleted, exception, Some(completed_approval(Rejected, 0)))
}

/// Another execution asks, or is on its way.
pub fn open_request(is_pending: bool) -> OpenRequest {
    OpenRequest { execution: "7d20b1c4".to_owned(), is_pending }
}

pub fn target_problem(problem: TargetProblem) -> Outcome {
    Outcome::TargetProblem { problem, requeue: Requeue::AwaitChange }
}

pub fn expired(expiry: Expiry, caveat: Option<Caveat>) -> Outcome {
    Outcome::Expired { expiry, caveat }
}

pub fn suspended() -> Outcome {
    Outcome::Suspended { not_after: None }
}

pub fn missing(missing: Missing) -> Outcome {
    Outcome::Missing { missing, until: at(60) }
}

pub fn execution_ended(end: ExecutionEnd) -> Outcome {
    Outcome::ExecutionEnded { execution: "4f1a9c2e".to_owned(), end, until: at(60) }
}

pub fn unknown_execution(location: Option<Location>) -> Outcome {
    Outcome::PipelineExecutionNotFound { exception: exception("PipelineExecutionNotFound"), location }
}

pub fn waiting(wait: Wait) -> Outcome {
    Outcome::Waiting { wait, exception: None, recheck_at: None, until: at(60) }
}

pub fn waiting_for(wait: ExecutionWait) -> Outcome {
    waiting(Wait::Execution(wait))
}

pub fn conflicting(rejection: Option<&str>) -> Outcome {
    conflict(rejection, RejectionMatch::Same)
}

/// A conflict that is as certain as this.
pub fn conflict(rejection: Option<&str>, found: RejectionMatch) -> Outcome {
    let rejection = rejection.map(str::to_owned);
    Outcome::Conflicting { rejection, found, ids: ExecutionIds::default(), until: at(60) }
}

pub fn unreadable(cause: RetryCause) -> Outcome {
    let detail = "the connection broke".to_owned();
    Outcome::Unreadable { cause, exception: None, detail, since: at(0), until: at(60) }
}

pub fn submitting() -> Outcome {
    let mut intent = intent(1, 0, 25, PriorAttempts::NotApplied);
    let ExecutionIds { pipeline, action } = ids();
    (intent.submission.pipeline_execution_id, intent.submission.action_execution_id) = (pipeline, action);
    Outcome::Submitting(intent)
}

pub fn unconfirmed(cause: UnconfirmedCause) -> Outcome {
    Outcome::Unconfirmed { cause, refused: None, ids: ids(), next: at(25) }
}

/// CodePipeline refused the last attempt, because the request is completed or gone.
pub fn unexplained(cause: UnconfirmedCause, exception: Exception, prior: PriorAttempts) -> Outcome {
    Outcome::Unconfirmed { cause, refused: Some((exception, prior)), ids: ids(), next: at(25) }
}

pub fn retrying(cause: RetryCause) -> Outcome {
    retrying_until(cause, 60)
}

/// The next attempt is due at time 4, if the decision does not expire before.
pub fn retrying_until(cause: RetryCause, until: i64) -> Outcome {
    let (exception, detail) = (Some(exception(Reason::from(cause).as_str())), "not now".to_owned());
    Outcome::Retrying { submission: submission(2, 0, 25), cause, exception, detail, next: at(4), until: at(until) }
}

pub fn outcomes() -> Vec<Outcome> {
    let detail = || "the connection broke".to_owned();
    let execution = || "execution".to_owned();
    let several = || vec!["one".to_owned(), "other".to_owned()];
    let source = || ExecutionRevision { action_name: "Image".to_owned(), revision_id: Some("I1".to_owned()) };
    let mut all = vec![
        delivered(),
        Outcome::Delivered { approved_at: None, record: Some(completed_approval(Approved, 0)) },
        already_decided(),
        Outcome::AlreadyDecided { record: completed_approval(Approved, 0), open: None, exception: None },
        Outcome::AlreadyDecided {
            record: completed_approval(Approved, 0),
            open: Some(open_request(true)),
            exception: None,
        },
        rejected_by_others(Some(already_completed())),
        rejected_by_others(None),
        refused_after_doubt(Refusal::InvalidApprovalToken),
        Outcome::Invalid(InvalidSpec::Binding),
        Outcome::Invalid(InvalidSpec::NotATime { field: "notAfter", found: "soon".to_owned() }),
        Outcome::Invalid(InvalidSpec::FutureTime(at(60))),
        Outcome::Invalid(InvalidSpec::Unsupported(Unsupported::SpecField("targetRef".to_owned()))),
        target_problem(TargetProblem::NotFound),
        target_problem(TargetProblem::OwnUnknown),
        target_problem(TargetProblem::Forbidden(Forbidden::NotAdmitted)),
        target_problem(TargetProblem::RequiredByFlag),
        expired(Expiry::NotAfter(at(60)), None),
        expired(Expiry::WaitingLimit(at(60)), None),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::HistoryUnreadable(detail()))),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::BeyondHistory)),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::OutcomeNotInHistory { execution: execution() })),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::PipelineUnreadable(detail()))),
        suspended(),
        Outcome::Suspended { not_after: Some(at(60)) },
        missing(Missing::Pipeline { exception: exception("PipelineNotFound"), location: None }),
        missing(Missing::Stage { stages: several() }),
        missing(Missing::Action { candidates: Candidates::default(), stages: several() }),
        missing(Missing::NotAnApproval { category: "Build".to_owned(), candidates: Candidates::default() }),
        unknown_execution(None),
        Outcome::AmbiguousRevision(Ambiguity::SeveralRequests(several())),
        Outcome::AmbiguousRevision(Ambiguity::NotCovered { execution: execution(), source: source() }),
        waiting_for(ExecutionWait::NoExecution { newest: Vec::new(), hint: None }),
        waiting_for(ExecutionWait::NoExecution {
            newest: vec![source()],
            hint: Some(RevisionHint::UnknownSource { action: "Sorce".to_owned(), known: several() }),
        }),
        waiting_for(ExecutionWait::NoExecution {
            newest: vec![source()],
            hint: Some(RevisionHint::Similar(SimilarRevision { execution: execution(), revision: source() })),
        }),
        waiting_for(ExecutionWait::UnknownExecution),
        waiting_for(ExecutionWait::LaterExecution { execution: execution(), end: ExecutionEnd::Failed }),
        waiting_for(ExecutionWait::Several(several())),
        waiting_for(ExecutionWait::NotCovered { execution: execution(), source: source() }),
        waiting_for(ExecutionWait::Stopping { execution: execution() }),
        waiting(Wait::RequestRefused),
        waiting(Wait::CurrentSpec),
        waiting(Wait::ReadablePipeline { detail: detail(), since: at(0) }),
        conflicting(None),
        conflicting(Some("stop")),
        conflict(Some("stop"), RejectionMatch::ExecutionUnknown),
        submitting(),
        unconfirmed(UnconfirmedCause::ResponseLost(detail())),
        unconfirmed(UnconfirmedCause::HistoryUnreadable(detail())),
        unconfirmed(UnconfirmedCause::NotInHistory),
        unconfirmed(UnconfirmedCause::RetryFailed(detail())),
        unconfirmed(UnconfirmedCause::PipelineNotFound),
        unconfirmed(UnconfirmedCause::OtherAccount),
        unconfirmed(UnconfirmedCause::NoTrace),
        unconfirmed(UnconfirmedCause::TargetsUnavailable(TargetsUnavailable::Refused(detail()))),
        unconfirmed(UnconfirmedCause::TargetNotFound),
        unconfirmed(UnconfirmedCause::NoTraceAtTarget(Box::new(TargetProblem::NotFound))),
        unconfirmed(UnconfirmedCause::RetryNotAllowed(Box::new(TargetProblem::RequiredByFlag))),
        unexplained(UnconfirmedCause::NotInHistory, already_completed(), PriorAttempts::NotApplied),
        unexplained(UnconfirmedCause::NotInHistory, already_completed(), PriorAttempts::InDoubt),
        unexplained(UnconfirmedCause::NamesNotRead, exception("StageNotFound"), PriorAttempts::NotApplied),
        unexplained(UnconfirmedCause::NamesNotRead, exception("StageNotFound"), PriorAttempts::InDoubt),
        refused_names(Refusal::StageNotFound, RefusedNames::Missing(Missing::Stage { stages: several() })),
        refused_names(Refusal::ActionNotFound, RefusedNames::Found),
    ];
    let positions = [
        ExecutionPosition::InStage { stage: "Build".to_owned(), status: "InProgress".to_owned() },
        ExecutionPosition::BeforeStage { stage: "Build".to_owned(), disabled: None, behind: None },
        ExecutionPosition::BeforeStage { stage: "Build".to_owned(), disabled: None, behind: Some(execution()) },
        ExecutionPosition::AtApproval,
        ExecutionPosition::PastApproval,
        ExecutionPosition::PreviousRequest,
        ExecutionPosition::BeyondHistory,
        ExecutionPosition::InProgress,
    ];
    all.extend(positions.map(|position| waiting_for(ExecutionWait::Execution { execution: execution(), position })));
    all.extend(
        [
            ExecutionEnd::Succeeded,
            ExecutionEnd::Failed,
            ExecutionEnd::Stopped,
            ExecutionEnd::Superseded,
            ExecutionEnd::Cancelled,
        ]
        .map(execution_ended),
    );
    all.extend(RetryCause::ALL.iter().flat_map(|cause| [unreadable(*cause), retrying(*cause)]));
    all.extend(
        [
            Refusal::InvalidApprovalToken,
            Refusal::ApprovalAlreadyCompleted,
            Refusal::PipelineNotFound,
            Refusal::StageNotFound,
            Refusal::ActionNotFound,
            Refusal::ValidationFailed,
        ]
        .map(|refusal| refused(refusal, Some(exception(Reason::from(refusal).as_str())), None)),
    );
    all
}
