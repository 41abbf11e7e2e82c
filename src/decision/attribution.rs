//! Whose result CodePipeline accepted. Where a target has a role, a submission is sent in a role session that is named after its decision,
//! and `lastUpdatedBy` proves whose it was. Otherwise the result, the summary and the time have to do.

use super::step::Observed;
use super::target::TargetObservation;
use super::timing::CLOCK_SKEW;
use crate::api::time::earlier;
use crate::api::v1alpha1::{ApprovalDecision, Submission};
use crate::codepipeline::{CompletedApproval, SessionName};
use kube::ResourceExt;

/// The name of the session in which the result of a decision is sent; none if its target has no role.
pub(super) fn session_name(observed: &Observed<'_>) -> Option<String> {
    match observed.target? {
        TargetObservation::Found { target, .. } => {
            target.spec.role_arn.as_ref().map(|_| name_of_session(observed.decision))
        }
        TargetObservation::Unavailable(_) | TargetObservation::Own { .. } | TargetObservation::NotFound => None,
    }
}

/// Whether an attempt of ours completed the request.
pub(super) fn is_ours(submission: &Submission, record: &CompletedApproval) -> bool {
    let is_same_result = record.result == Some(submission.result.status);
    let not_before = earlier(submission.start_time, CLOCK_SKEW);
    match (&submission.session_name, &record.by) {
        (Some(name), Some(by)) => {
            is_same_result && SessionName::of_arn(by) == Some(name) && record.at.is_none_or(|at| not_before <= at)
        }
        // CodePipeline stores a summary of its own where ours is empty; then the result and the time decide.
        (None, _) | (_, None) => {
            let in_time = record.at.is_some_and(|at| not_before <= at && at <= submission.deadline);
            let summary = &submission.result.summary;
            is_same_result && in_time && (summary.is_empty() || record.summary.as_deref() == Some(summary))
        }
    }
}

fn name_of_session(decision: &ApprovalDecision) -> String {
    let namespace = decision.namespace().unwrap_or_default();
    SessionName::of(&namespace, &decision.name_any(), &decision.uid().unwrap_or_default()).to_string()
}
