//! The rules of the target, for one step: before anything is read, and again before an intent is recorded and before a request leaves.

use super::outcome::{Intent, Outcome, Requeue, UnconfirmedCause};
use super::step::{Attempt, Observed, Step};
use super::target::{Forbidden, TargetObservation, TargetProblem, TargetsUnavailable, check, place_of};
use super::timing::{HISTORY_LAG, Settings};
use crate::api::time::later;
use crate::api::v1alpha1::Submission;
use crate::codepipeline::{CallError, CallerIdentity, RetryCause};
use jiff::Timestamp;

/// The account and region in which the decision may continue, if they are known; otherwise what to do first.
pub(super) fn may_continue(
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<CallerIdentity>, Box<Step>> {
    let Some(target) = observed.target else { return Err(Box::new(Step::FindTarget)) };
    let found = observed.pipeline.and_then(|pipeline| pipeline.poll.identity.as_ref());
    check(observed.decision, target, found)
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
        TargetProblem::OwnUnknown | TargetProblem::OtherIdentity { .. } => {
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

/// Where the request of a decision is that may use its target, if this is known.
pub(super) fn place_of_request(observed: &Observed<'_>) -> Option<CallerIdentity> {
    let found = observed.pipeline.and_then(|pipeline| pipeline.poll.identity.clone());
    match observed.target {
        Some(TargetObservation::Found { target, .. }) => Some(place_of(target)),
        Some(TargetObservation::Own { identity, .. }) => found.or_else(|| identity.clone()),
        Some(TargetObservation::Unavailable(_) | TargetObservation::NotFound) | None => None,
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
            let place = place_of(target);
            if is_at(submission, &place) { Ok(()) } else { Err(UnconfirmedCause::TargetElsewhere(place)) }
        }
    }
}

/// Whether a submission was sent to this account and region.
pub(super) fn is_at(submission: &Submission, place: &CallerIdentity) -> bool {
    (&submission.account_id, &submission.region) == (&place.account_id, &place.region)
}

/// Where the operator looks for the request of a decision that may use its target: the target says so, or a poll that was read.
pub(super) fn resolved_in(observed: &Observed<'_>) -> Option<CallerIdentity> {
    match observed.target {
        Some(TargetObservation::Found { target, .. }) => Some(place_of(target)),
        Some(TargetObservation::Unavailable(_) | TargetObservation::Own { .. } | TargetObservation::NotFound)
        | None => observed.pipeline.and_then(|pipeline| pipeline.poll.identity.clone()),
    }
}

/// The intent with the account and region of the credentials, which may be others than those that the rules were checked for.
///
/// # Errors
/// The attempt that ends here, if the result must not be sent there.
pub(super) fn prepared(
    observed: &Observed<'_>,
    intent: Intent,
    identity: CallerIdentity,
) -> Result<Intent, Box<Attempt>> {
    let allowed = match observed.target {
        Some(target) => check(observed.decision, target, Some(&identity)).map(drop),
        // The target is observed before credentials are prepared.
        None => Err(TargetProblem::Unavailable(TargetsUnavailable::NotListed)),
    };
    if let Err(problem) = allowed {
        return Err(Box::new(Attempt::NotAllowed(intent, problem)));
    }
    let read = observed.pipeline.and_then(|pipeline| pipeline.poll.identity.as_ref());
    if let Some(read) = read.filter(|read| **read != identity) {
        let place =
            |CallerIdentity { account_id, region }: &CallerIdentity| format!("account {account_id}, region {region}");
        let detail =
            format!("the pipeline was read in {}, and the credentials are for {}", place(read), place(&identity));
        let error = CallError::NotApplied { cause: RetryCause::CredentialsUnavailable, exception: None, detail };
        return Err(Box::new(Attempt::NotPrepared(intent, error)));
    }
    let CallerIdentity { account_id, region } = identity;
    Ok(Intent { submission: Submission { account_id, region, ..intent.submission }, ..intent })
}
