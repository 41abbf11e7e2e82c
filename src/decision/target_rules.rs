//! The rules of the target, for one step: before anything is read, and again before an intent is recorded and before a request leaves.

use super::outcome::{Intent, Outcome, Requeue, UnconfirmedCause};
use super::step::{Attempt, Observed, Step};
use super::target::{Forbidden, TargetObservation, TargetProblem, TargetsUnavailable, check};
use super::timing::{HISTORY_LAG, Settings};
use crate::api::time::later;
use crate::api::v1alpha1::{Location, Submission};
use crate::codepipeline::{CallError, RetryCause};
use jiff::Timestamp;

/// The account and region in which the decision may continue, if they are known; otherwise what to do first.
pub(super) fn may_continue(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<Location>, Box<Step>> {
    let Some(target) = observed.target else { return Err(Box::new(Step::FindTarget)) };
    check(observed.decision, target, observed.polled_location())
        .map_err(|problem| Box::new(Step::WriteStatus(outcome(problem, target, settings, now))))
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
        TargetProblem::OwnUnknown | TargetProblem::OtherLocation { .. } => {
            Requeue::At(later(now, settings.poll_interval))
        }
        TargetProblem::Unavailable(_)
        | TargetProblem::NotFound
        | TargetProblem::BeingDeleted
        | TargetProblem::LabelsUnknown
        | TargetProblem::Forbidden(_)
        | TargetProblem::NotVerified(_)
        | TargetProblem::RequiredByFlag
        | TargetProblem::RequiredBy(_) => Requeue::AwaitChange,
    };
    Outcome::TargetProblem { problem, requeue }
}

/// Where the operator looks for the request of a decision that may use its target: the target says so, or a poll that was read.
pub(super) fn resolved_location(observed: &Observed<'_>) -> Option<Location> {
    match observed.target {
        Some(TargetObservation::Found { target, .. }) => Some(target.spec.location()),
        Some(TargetObservation::Unavailable(_) | TargetObservation::Own { .. } | TargetObservation::NotFound)
        | None => observed.polled_location().cloned(),
    }
}

/// Where the request of a decision that may use its target is, also before a poll was read: then the operator's own credentials say so.
pub(super) fn request_location(observed: &Observed<'_>) -> Option<Location> {
    match observed.target {
        Some(TargetObservation::Own { location: own, .. }) => observed.polled_location().or(own.as_ref()).cloned(),
        Some(TargetObservation::Unavailable(_) | TargetObservation::NotFound | TargetObservation::Found { .. })
        | None => resolved_location(observed),
    }
}

/// Whether the history of a submission can be read: its target still is where the submission was sent. Whether the target admits the
/// decision, or is verified, does not matter.
///
/// # Errors
/// Why not.
pub(super) fn may_recover(submission: &Submission, target: &TargetObservation) -> Result<(), UnconfirmedCause> {
    match target {
        TargetObservation::Unavailable(why) => Err(UnconfirmedCause::TargetsUnavailable(why.clone())),
        TargetObservation::NotFound => Err(UnconfirmedCause::TargetNotFound),
        // The polls say who the operator is.
        TargetObservation::Own { .. } => Ok(()),
        TargetObservation::Found { target, .. } => {
            let location = target.spec.location();
            if location == submission.location() { Ok(()) } else { Err(UnconfirmedCause::TargetElsewhere(location)) }
        }
    }
}

/// The intent with the account and region of the credentials, which may be others than those that the rules were checked for.
///
/// # Errors
/// The attempt that ends here, if the result must not be sent there.
pub(super) fn prepared(observed: &Observed<'_>, mut intent: Intent, found: Location) -> Result<Intent, Box<Attempt>> {
    let allowed = match observed.target {
        Some(target) => check(observed.decision, target, Some(&found)).map(drop),
        // The target is observed before credentials are prepared.
        None => Err(TargetProblem::Unavailable(TargetsUnavailable::NotListed)),
    };
    if let Err(problem) = allowed {
        return Err(Box::new(Attempt::NotAllowed(intent, problem)));
    }
    if let Some(read) = observed.polled_location().filter(|read| **read != found) {
        let detail = format!("the pipeline was read in {read}, and the credentials are for {found}");
        let error = CallError::NotApplied { cause: RetryCause::CredentialsUnavailable, exception: None, detail };
        return Err(Box::new(Attempt::NotPrepared(intent, error)));
    }
    intent.submission.set_location(found);
    Ok(intent)
}
