//! The wording of what is about targets. What a message says of a target that does not admit the decision follows from the decision alone:
//! its namespace must not learn anything from it.

use super::details::{brief, capitalized};
use crate::api::v1alpha1::{ApprovalDecision, Submission};
use crate::decision::target::{Forbidden, TargetProblem, TargetsUnavailable, Unverified, VerifyFailure};
use kube::ResourceExt;

/// Why the decision may not use its target now.
pub fn what_happened(decision: &ApprovalDecision, problem: &TargetProblem) -> String {
    let spec = &decision.spec;
    let target = spec.target_ref.as_ref().map_or_else(
        || "The operator's own identity".to_owned(),
        |target| format!("ApprovalTarget {:?} (spec.targetRef.name)", target.name),
    );
    match problem {
        TargetProblem::Unavailable(TargetsUnavailable::Disabled) => {
            "spec.targetRef is set, and this operator runs with --approval-targets=false".to_owned()
        }
        TargetProblem::Unavailable(why) => capitalized(unavailable(why)),
        TargetProblem::NotFound => format!("{target} does not exist"),
        TargetProblem::BeingDeleted => format!("{target} is being deleted"),
        TargetProblem::Forbidden(Forbidden::NotAdmitted) => format!(
            "{target} does not admit namespace {}, pipeline {} and result {} together",
            decision.namespace().unwrap_or_default(),
            spec.pipeline_name,
            spec.result.status
        ),
        TargetProblem::Forbidden(Forbidden::Guarded { found }) => {
            let guards = spec.target_ref.as_ref();
            let guard = |name: &str, value: Option<&String>| value.map(|value| format!("{name} {value}"));
            let account = guard("accountId", guards.and_then(|guards| guards.account_id.as_ref()));
            let region = guard("region", guards.and_then(|guards| guards.region.as_ref()));
            let guards = account.into_iter().chain(region).collect::<Vec<_>>().join(" and ");
            format!("{target} has {found}, and spec.targetRef asks for {guards}")
        }
        TargetProblem::Forbidden(Forbidden::Pinned { pinned, found }) => format!(
            "The operator found the request of this decision in {pinned} (status.accountId, status.region), and {} now has {found}",
            if spec.target_ref.is_some() { target.as_str() } else { "the operator" }
        ),
        TargetProblem::LabelsUnknown => format!(
            "{target} selects namespaces by labels, and the operator cannot read those of namespace {}",
            decision.namespace().unwrap_or_default()
        ),
        TargetProblem::NotVerified(Unverified::Failed(VerifyFailure { cause, message })) => {
            format!("{target} is not ready: {} ({})", cause.reason().as_str(), brief(message))
        }
        TargetProblem::NotVerified(Unverified::Pending) => {
            format!("{target} is not ready: the operator has not verified it with STS yet")
        }
        TargetProblem::OtherLocation { found, expected } => {
            format!("{target} has {expected}, and the operator found itself in {found}")
        }
        TargetProblem::OwnUnknown => {
            "The operator's own AWS account and region, which may be those of an ApprovalTarget, are not known yet"
                .to_owned()
        }
        TargetProblem::RequiredByFlag => {
            "spec.targetRef is not set, and this operator runs with --ambient-credentials=false".to_owned()
        }
        TargetProblem::RequiredBy(name) => {
            format!("spec.targetRef is not set, and ApprovalTarget {name:?} has the operator's own account and region")
        }
    }
}

/// What to do about it.
pub fn remedy(problem: &TargetProblem) -> &'static str {
    match problem {
        TargetProblem::Unavailable(why) => unavailable_remedy(why),
        TargetProblem::LabelsUnknown => "Allow the operator to list and watch namespaces; it continues automatically.",
        TargetProblem::Forbidden(Forbidden::NotAdmitted) => {
            "Correct spec, or ask an administrator for an access entry in the ApprovalTarget."
        }
        TargetProblem::Forbidden(Forbidden::Guarded { .. }) => "Correct spec.targetRef.",
        TargetProblem::Forbidden(Forbidden::Pinned { .. }) => {
            "If the decision is meant for the new account and region, change the annotation codepipeline.approvals.dev/requestedAt."
        }
        TargetProblem::NotVerified(Unverified::Failed(failure)) => failure.cause.reason().remedy(),
        TargetProblem::OwnUnknown => {
            "Set spec.targetRef.name to an ApprovalTarget, or wait: the operator continues automatically."
        }
        TargetProblem::NotVerified(Unverified::Pending) | TargetProblem::OtherLocation { .. } => {
            "Wait: the operator continues automatically."
        }
        TargetProblem::BeingDeleted => "Set spec.targetRef.name to another ApprovalTarget, or create it again.",
        TargetProblem::NotFound | TargetProblem::RequiredByFlag | TargetProblem::RequiredBy(_) => {
            problem.reason().remedy()
        }
    }
}

/// Why it is not known what targets there are.
pub fn unavailable(why: &TargetsUnavailable) -> String {
    match why {
        TargetsUnavailable::Disabled => "this operator runs with --approval-targets=false".to_owned(),
        TargetsUnavailable::NotListed => "the operator has not listed the ApprovalTargets yet".to_owned(),
        TargetsUnavailable::Refused(error) => {
            format!("the operator is not allowed to list ApprovalTargets ({})", brief(error))
        }
        TargetsUnavailable::WatchBroken => "the operator's watch on ApprovalTargets has failed for too long".to_owned(),
    }
}

/// What to do about it.
pub const fn unavailable_remedy(why: &TargetsUnavailable) -> &'static str {
    match why {
        TargetsUnavailable::Disabled => "Remove spec.targetRef, or run the operator without --approval-targets=false.",
        TargetsUnavailable::NotListed => "Wait: the operator continues automatically.",
        TargetsUnavailable::Refused(_) => {
            "Allow the operator to list and watch approvaltargets, or run it with --approval-targets=false if none is used."
        }
        TargetsUnavailable::WatchBroken => {
            "Check the API server and the operator's log; the operator continues automatically."
        }
    }
}

/// Where a submission was sent.
pub fn sent(submission: Option<&Submission>) -> String {
    let Some(submission) = submission else { return String::new() };
    let through =
        submission.target.as_ref().map(|name| format!(" through ApprovalTarget {name:?}")).unwrap_or_default();
    format!("to {}{through}", submission.location())
}
