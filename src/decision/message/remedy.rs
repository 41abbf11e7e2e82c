//! What to do about an outcome: the remedy of its reason, or a better one where more is known than the reason.

use super::target;
use crate::api::v1alpha1::{ApprovalDecision, Binding, InvalidSpec};
use crate::codepipeline::{ExecutionEnd, Refusal, RetryCause};
use crate::decision::outcome::{Outcome, UnconfirmedCause, Wait};
use crate::decision::resolve::{Ambiguity, ExecutionPosition, ExecutionWait, Missing, RefusedNames, RevisionHint};
use crate::decision::timing::Expiry;

/// What to do: one sentence.
pub fn remedy(decision: &ApprovalDecision, outcome: &Outcome) -> &'static str {
    let is_by_token = matches!(decision.spec.binding(), Some(Binding::Token(_)));
    let has_target = decision.spec.target_ref.is_some();
    let has_summary = !decision.spec.result.summary.is_empty();
    match outcome {
        Outcome::Refused { refusal: Refusal::InvalidApprovalToken, .. } if !has_summary => {
            "Set spec.result.summary if the action requires one; otherwise name the request that is pending."
        }
        Outcome::Refused { refusal: Refusal::InvalidApprovalToken, .. } if is_by_token => {
            "Set spec.token to the token of the request that is pending."
        }
        Outcome::Refused { refusal: Refusal::InvalidApprovalToken, .. } => {
            "Check that the approval is pending, and change the annotation codepipeline.approvals.dev/requestedAt to try again."
        }
        Outcome::Refused { refusal: Refusal::ApprovalAlreadyCompleted, .. } if is_by_token => {
            "Check the pipeline's history; to answer a later request, set spec.token to its token."
        }
        Outcome::Refused { names: Some(RefusedNames::Found), .. } => {
            "Check that this is the approval, and change the annotation codepipeline.approvals.dev/requestedAt to try again."
        }
        Outcome::Expired { expiry: Expiry::NotAfter(_), .. } => {
            "If the result is still wanted, set spec.notAfter to a later time."
        }
        Outcome::Expired { expiry: Expiry::WaitingLimit(_), .. } => {
            "To wait as long again, change the annotation codepipeline.approvals.dev/requestedAt; to wait longer, set \
             spec.notAfter, which replaces the limit."
        }
        Outcome::ExecutionEnded {
            end: ExecutionEnd::Succeeded | ExecutionEnd::Superseded | ExecutionEnd::Cancelled,
            ..
        } => "Name another execution.",
        Outcome::ExecutionEnded { end: ExecutionEnd::Failed | ExecutionEnd::Stopped, .. } => {
            "Retry the stage of the execution, or name another execution."
        }
        Outcome::AmbiguousRevision(Ambiguity::SeveralRequests(_)) => {
            "Name one of the executions with spec.pipelineExecutionId."
        }
        Outcome::Invalid(invalid) => self::invalid(invalid),
        Outcome::Waiting { wait: Wait::Execution(wait), .. } => waiting(wait).unwrap_or(outcome.reason().remedy()),
        Outcome::Unconfirmed { cause: UnconfirmedCause::OtherAccount, .. } => {
            "Give the operator credentials for that account and region: it settles this once it can read the history there."
        }
        Outcome::TargetProblem { problem, .. } => target::remedy(problem),
        Outcome::Unconfirmed {
            cause: UnconfirmedCause::TargetNotFound | UnconfirmedCause::TargetElsewhere(_), ..
        } => "Restore the ApprovalTarget as it was: the operator settles this once it can read the history there.",
        Outcome::Unconfirmed {
            cause: UnconfirmedCause::NoTraceAtTarget(problem) | UnconfirmedCause::RetryNotAllowed(problem),
            ..
        } => target::remedy(problem),
        Outcome::Unconfirmed { cause: UnconfirmedCause::NamesNotRead, .. } => {
            "Wait: the operator reports the names once it has read the pipeline."
        }
        Outcome::Missing { missing: Missing::Pipeline { .. }, .. }
        | Outcome::Refused { refusal: Refusal::PipelineNotFound, .. }
            if has_target =>
        {
            "Correct spec.pipelineName or spec.targetRef."
        }
        Outcome::PipelineExecutionNotFound { .. } if has_target => {
            "Correct spec.pipelineExecutionId or spec.targetRef."
        }
        // STS, not CodePipeline: the target itself is verified, with another session name.
        Outcome::Retrying { cause: RetryCause::AccessDenied, exception: None, .. } if has_target => {
            "Allow the session name NAMESPACE.* (sts:RoleSessionName) in the trust policy of this role; the operator \
             retries automatically."
        }
        Outcome::Retrying { cause: RetryCause::AccessDenied, .. }
        | Outcome::Unreadable { cause: RetryCause::AccessDenied, .. }
            if has_target =>
        {
            "Allow it in the IAM policy of the role of the ApprovalTarget; the operator retries automatically."
        }
        Outcome::Retrying { cause: RetryCause::CredentialsUnavailable, .. }
        | Outcome::Unreadable { cause: RetryCause::CredentialsUnavailable, .. }
            if has_target =>
        {
            "Check the ApprovalTarget (kubectl get apt) and the operator's credentials; the operator retries automatically."
        }
        Outcome::Unconfirmed { cause: UnconfirmedCause::TargetsUnavailable(why), .. } => {
            target::unavailable_remedy(why)
        }
        Outcome::Refused { .. }
        | Outcome::Delivered { .. }
        | Outcome::AlreadyDecided { .. }
        | Outcome::Missing { .. }
        | Outcome::PipelineExecutionNotFound { .. }
        | Outcome::AmbiguousRevision(Ambiguity::NotCovered { .. })
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Unreadable { .. }
        | Outcome::Submitting(_)
        | Outcome::Unconfirmed { .. }
        | Outcome::Retrying { .. } => outcome.reason().remedy(),
    }
}

/// What to do about a spec that the operator cannot act on.
const fn invalid(invalid: &InvalidSpec) -> &'static str {
    match invalid {
        InvalidSpec::Binding => "Set exactly one of them.",
        InvalidSpec::NotATime { .. } => "Use RFC 3339, such as 2026-01-31T17:00:00Z.",
        InvalidSpec::FutureTime(_) => "Set it to a time in the past.",
        InvalidSpec::Unsupported(_) => "Upgrade the operator, or remove it.",
    }
}

/// What to do about an execution that may never come, or that is not waited for.
const fn waiting(wait: &ExecutionWait) -> Option<&'static str> {
    match wait {
        ExecutionWait::NoExecution { hint: Some(RevisionHint::Similar(_)), .. } => {
            Some("If you mean that one, correct spec.sourceRevisions.")
        }
        ExecutionWait::NoExecution { hint: Some(RevisionHint::UnknownSource { .. }), .. } => {
            Some("Correct actionName in spec.sourceRevisions.")
        }
        ExecutionWait::NotCovered { .. } => Some(
            "Add an entry for this source to spec.sourceRevisions, or wait for an execution whose sources are covered.",
        ),
        ExecutionWait::Execution {
            position: ExecutionPosition::PastApproval | ExecutionPosition::PreviousRequest,
            ..
        } => Some("The operator continues when history shows it; no action needed."),
        ExecutionWait::NoExecution { hint: None, .. }
        | ExecutionWait::UnknownExecution
        | ExecutionWait::Execution { .. }
        | ExecutionWait::Several(_)
        | ExecutionWait::LaterExecution { .. }
        | ExecutionWait::Stopping { .. } => None,
    }
}
