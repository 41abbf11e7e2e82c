//! Outcomes: at least one of each kind, and at least one for each reason.

use super::*;
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::InvalidSpec;
use crate::codepipeline::ExecutionEnd;
use crate::decision::outcome::{Caveat, Outcome, UnconfirmedCause, Wait};
use crate::decision::resolve::{ExecutionPosition, ExecutionWait, Missing};
use crate::decision::timing::Expiry;

pub fn delivered() -> Outcome {
    Outcome::Delivered { approved_at: Some(at(1)), record: None }
}

/// The response was lost, and history shows that the result was accepted.
pub fn delivered_by_history() -> Outcome {
    Outcome::Delivered { approved_at: Some(at(0)), record: Some(completed_approval(Approved, 0)) }
}

pub fn already_decided() -> Outcome {
    Outcome::AlreadyDecided { record: completed_approval(Approved, 0), exception: Some(already_completed()) }
}

pub fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<CompletedApproval>) -> Outcome {
    Outcome::Refused { refusal, exception, record, caveat: None }
}

/// A refusal that follows an attempt in doubt.
pub fn refused_after_doubt(refusal: Refusal) -> Outcome {
    let exception = Some(exception(Reason::from(refusal).as_str()));
    Outcome::Refused { refusal, exception, record: None, caveat: Some(Caveat::AttemptInDoubt) }
}

pub fn invalid_token() -> Outcome {
    refused(Refusal::InvalidApprovalToken, Some(exception("InvalidApprovalToken")), None)
}

pub fn rejected_by_others(exception: Option<Exception>) -> Outcome {
    refused(Refusal::ApprovalAlreadyCompleted, exception, Some(completed_approval(Rejected, 0)))
}

pub fn expired(expiry: Expiry, caveat: Option<Caveat>) -> Outcome {
    Outcome::Expired { expiry, caveat }
}

pub fn waiting(wait: Wait) -> Outcome {
    Outcome::Waiting { wait, exception: None, recheck_at: None, until: at(60) }
}

pub fn waiting_for(wait: ExecutionWait) -> Outcome {
    waiting(Wait::Execution(wait))
}

pub fn unreadable(cause: RetryCause) -> Outcome {
    let detail = "the connection broke".to_owned();
    Outcome::Unreadable { cause, exception: None, detail, since: at(0), until: at(60) }
}

pub fn submitting() -> Outcome {
    Outcome::Submitting(Intent { ids: ids(), ..intent(1, 0, 20, PriorAttempts::NotApplied) })
}

pub fn unconfirmed(cause: UnconfirmedCause, completed: Option<Exception>) -> Outcome {
    Outcome::Unconfirmed { cause, completed, ids: ids(), next: at(20) }
}

pub fn retrying(cause: RetryCause) -> Outcome {
    let exception = Some(exception(Reason::from(cause).as_str()));
    Outcome::Retrying { submission: submission(2, 0, 20), cause, exception, detail: "not now".to_owned(), next: at(4) }
}

pub fn outcomes() -> Vec<Outcome> {
    let detail = "the connection broke".to_owned();
    let execution = || "execution".to_owned();
    let mut all = vec![
        delivered(),
        Outcome::Delivered { approved_at: None, record: Some(completed_approval(Approved, 0)) },
        already_decided(),
        Outcome::AlreadyDecided { record: completed_approval(Approved, 0), exception: None },
        rejected_by_others(Some(already_completed())),
        rejected_by_others(None),
        refused_after_doubt(Refusal::InvalidApprovalToken),
        Outcome::Invalid(InvalidSpec::Binding),
        Outcome::Invalid(InvalidSpec::NotAfter("soon".to_owned())),
        expired(Expiry::NotAfter(at(60)), None),
        expired(Expiry::WaitingLimit(at(60)), None),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::HistoryUnreadable(detail.clone()))),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::BeyondHistory)),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::NoTraceOfAttempt)),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::OutcomeNotInHistory { execution: execution() })),
        expired(Expiry::NotAfter(at(60)), Some(Caveat::PipelineUnreadable(detail.clone()))),
        Outcome::Suspended,
        Outcome::Missing(Missing::Stage),
        Outcome::Missing(Missing::Action),
        Outcome::Missing(Missing::NotAnApproval { category: "Build".to_owned() }),
        Outcome::ExecutionEnded { execution: execution(), end: ExecutionEnd::Superseded },
        Outcome::PipelineExecutionNotFound(exception("PipelineExecutionNotFound")),
        Outcome::AmbiguousRevision { executions: vec!["one".to_owned(), "other".to_owned()] },
        waiting_for(ExecutionWait::NoExecution { newest: Vec::new() }),
        waiting_for(ExecutionWait::UnknownExecution),
        waiting_for(ExecutionWait::LaterExecution { execution: execution(), end: ExecutionEnd::Failed }),
        waiting_for(ExecutionWait::Several(vec!["one".to_owned(), "other".to_owned()])),
        waiting(Wait::RequestRefused),
        waiting(Wait::ReadablePipeline { detail: detail.clone(), since: at(0) }),
        submitting(),
        unconfirmed(UnconfirmedCause::ResponseLost(detail.clone()), None),
        unconfirmed(UnconfirmedCause::HistoryUnreadable(detail.clone()), Some(already_completed())),
        unconfirmed(UnconfirmedCause::NotInHistory, None),
        unconfirmed(UnconfirmedCause::RetryFailed(detail), None),
    ];
    let positions = [
        ExecutionPosition::InStage { stage: "Build".to_owned(), status: "InProgress".to_owned() },
        ExecutionPosition::BeforeStage { stage: "Build".to_owned(), disabled: None },
        ExecutionPosition::AtApproval,
        ExecutionPosition::PastApproval,
        ExecutionPosition::BeyondHistory,
        ExecutionPosition::InProgress,
    ];
    all.extend(positions.map(|position| waiting_for(ExecutionWait::Execution { execution: execution(), position })));
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
