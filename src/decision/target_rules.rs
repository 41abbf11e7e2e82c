//! The rules of the target, for one step: before anything is read, and again before an intent is recorded and before a request leaves.

use super::outcome::{Outcome, Requeue};
use super::step::{Observed, Step};
use super::target::{Forbidden, TargetObservation, TargetProblem, check};
use super::timing::{HISTORY_LAG, Settings};
use crate::api::time::later;
use crate::codepipeline::CallerIdentity;
use jiff::Timestamp;

/// The account and region in which the decision may continue, if they are known; otherwise what to do first.
pub(super) fn may_continue(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<CallerIdentity>, Step> {
    let Some(target) = observed.target else { return Err(Step::FindTarget) };
    let found = observed.pipeline.and_then(|pipeline| pipeline.poll.identity.as_ref());
    check(observed.decision, target, found)
        .map_err(|problem| Step::WriteStatus(outcome(problem, target, settings, now)))
}

/// What to report of a problem, and when the decision is reconciled again: a change of the targets always does that.
pub(super) fn outcome(
    problem: TargetProblem,
    target: &TargetObservation,
    settings: &Settings,
    now: Timestamp,
) -> Outcome {
    let is_own = matches!(target, TargetObservation::Own { .. });
    let requeue = match &problem {
        // Only a poll shows that the operator has its former credentials again.
        TargetProblem::Forbidden(Forbidden::Pinned { .. }) if is_own => {
            let recheck_at = later(now, HISTORY_LAG);
            Requeue::OnPipelineChange { recheck_at: Some(recheck_at), until: later(recheck_at, HISTORY_LAG) }
        }
        TargetProblem::OwnUnknown | TargetProblem::OtherIdentity { .. } => {
            Requeue::At(later(now, settings.poll_interval))
        }
        TargetProblem::NotListed(_)
        | TargetProblem::NotFound
        | TargetProblem::Forbidden(_)
        | TargetProblem::NotVerified(_)
        | TargetProblem::RequiredByFlag
        | TargetProblem::RequiredBy(_) => Requeue::AwaitChange,
    };
    Outcome::TargetProblem { problem, requeue }
}
