//! Where a decision may go: what is known of its target, and whether the rules let the decision use it. Nothing is read from a pipeline and
//! nothing is sent before [`check`] agrees.

mod admission;
mod observation;
mod problem;
mod verification;

use super::phase::pin;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalTarget};
use crate::codepipeline::CallerIdentity;
use kube::ResourceExt;
use std::collections::BTreeMap;

use admission::{Admission, UnknownAccess, admission};

pub use observation::{AmbientCredentials, Place, TargetObservation, TargetPlace, TargetsUnavailable};
pub use problem::{Forbidden, TargetProblem};
pub use verification::{FailureCause, Unverified, Verification, VerifyFailure};

/// The account and region of a target.
#[must_use]
pub fn place_of(target: &ApprovalTarget) -> CallerIdentity {
    CallerIdentity { account_id: target.spec.account_id.clone(), region: target.spec.region.clone() }
}

/// Where the request of a decision is, which another decision may reject.
#[must_use]
pub fn place(decision: &ApprovalDecision, observation: &TargetObservation) -> Place {
    // This version cannot tell what such a decision names.
    if decision.spec.unsupported.is_some() {
        return Place::Unknown;
    }
    match observation {
        TargetObservation::Unavailable(_) => Place::Unknown,
        TargetObservation::NotFound => place_despite(decision, &TargetProblem::NotFound),
        TargetObservation::Found { target, .. } if is_being_deleted(target) => {
            place_despite(decision, &TargetProblem::BeingDeleted)
        }
        TargetObservation::Own { .. } => match check(decision, observation, None) {
            Ok(place) => place.map_or(Place::Unknown, Place::from),
            Err(problem) => place_despite(decision, &problem),
        },
        TargetObservation::Found { target, namespace_labels, .. } => {
            if admission_of(decision, target, namespace_labels.as_ref()) == Admission::Refused {
                return Place::NotAdmitted;
            }
            match meant(decision, target) {
                Ok(place) => place.into(),
                Err(forbidden) => place_despite(decision, &TargetProblem::Forbidden(forbidden)),
            }
        }
    }
}

/// Where the request of a decision is that has a problem with its target.
fn place_despite(decision: &ApprovalDecision, problem: &TargetProblem) -> Place {
    match problem {
        TargetProblem::Unavailable(_) | TargetProblem::LabelsUnknown | TargetProblem::OwnUnknown => Place::Unknown,
        // The decision is about the request that it found there.
        TargetProblem::Forbidden(Forbidden::Pinned { pinned, .. }) => pinned.clone().into(),
        // A target that is created again, to change its region for example, must not lift a rejection meanwhile.
        TargetProblem::NotFound | TargetProblem::BeingDeleted => pin(decision).map_or(Place::NotAdmitted, Place::from),
        TargetProblem::Forbidden(Forbidden::NotAdmitted | Forbidden::Guarded { .. })
        | TargetProblem::NotVerified(_)
        | TargetProblem::OtherIdentity { .. }
        | TargetProblem::RequiredByFlag
        | TargetProblem::RequiredBy(_) => Place::NotAdmitted,
    }
}

/// Whether a decision may use its target, and where that is, if known. `found` is the account and region that the operator found itself
/// in, from a poll or from credentials.
///
/// # Errors
/// When the decision may not use it. What a decision may not know comes last: one that is not admitted learns nothing else.
pub fn check(
    decision: &ApprovalDecision,
    observation: &TargetObservation,
    found: Option<&CallerIdentity>,
) -> Result<Option<CallerIdentity>, TargetProblem> {
    match observation {
        TargetObservation::Unavailable(why) => Err(TargetProblem::Unavailable(why.clone())),
        TargetObservation::NotFound => Err(TargetProblem::NotFound),
        TargetObservation::Found { target, .. } if is_being_deleted(target) => Err(TargetProblem::BeingDeleted),
        TargetObservation::Found { target, namespace_labels, verification } => {
            match admission_of(decision, target, namespace_labels.as_ref()) {
                Admission::Admitted => {}
                Admission::Unknown(UnknownAccess::NamespaceLabels) => return Err(TargetProblem::LabelsUnknown),
                Admission::Unknown(UnknownAccess::Target) | Admission::Refused => {
                    return Err(TargetProblem::Forbidden(Forbidden::NotAdmitted));
                }
            }
            let place = meant(decision, target).map_err(TargetProblem::Forbidden)?;
            match verification {
                Verification::Verified => {}
                Verification::Unverified(why) => return Err(TargetProblem::NotVerified(why.clone())),
            }
            match found.filter(|found| **found != place) {
                Some(found) => Err(TargetProblem::OtherIdentity { found: found.clone(), expected: place }),
                None => Ok(Some(place)),
            }
        }
        TargetObservation::Own { ambient: AmbientCredentials::Disabled, .. } => Err(TargetProblem::RequiredByFlag),
        TargetObservation::Own { ambient: AmbientCredentials::Enabled, identity, targets } => {
            let Some(place) = found.or(identity.as_ref()) else {
                return if targets.is_empty() { Ok(None) } else { Err(TargetProblem::OwnUnknown) };
            };
            // Always the same one, so that the message does not change.
            let here = targets.iter().filter(|target| target.is_at(place));
            if let Some(name) = here.map(|target| &target.name).min() {
                return Err(TargetProblem::RequiredBy(name.clone()));
            }
            stays(decision, place).map_err(TargetProblem::Forbidden)?;
            Ok(Some(place.clone()))
        }
    }
}

/// Whether an administrator deleted the target, and a finalizer keeps it. Submissions that it sent can still be settled.
const fn is_being_deleted(target: &ApprovalTarget) -> bool {
    target.metadata.deletion_timestamp.is_some()
}

fn admission_of(
    decision: &ApprovalDecision,
    target: &ApprovalTarget,
    namespace_labels: Option<&BTreeMap<String, String>>,
) -> Admission {
    let spec = &decision.spec;
    let namespace = decision.namespace().unwrap_or_default();
    admission(target, &namespace, namespace_labels, &spec.pipeline_name, spec.result.status)
}

/// The account and region of the target, if the decision means them.
fn meant(decision: &ApprovalDecision, target: &ApprovalTarget) -> Result<CallerIdentity, Forbidden> {
    let place = place_of(target);
    let guards = decision.spec.target_ref.as_ref();
    let is_other = |guard: Option<&String>, found: &String| guard.is_some_and(|guard| guard != found);
    if is_other(guards.and_then(|guards| guards.account_id.as_ref()), &place.account_id)
        || is_other(guards.and_then(|guards| guards.region.as_ref()), &place.region)
    {
        return Err(Forbidden::Guarded { found: place });
    }
    stays(decision, &place)?;
    Ok(place)
}

/// Whether the decision found its request in this account and region, if it found it.
fn stays(decision: &ApprovalDecision, place: &CallerIdentity) -> Result<(), Forbidden> {
    match pin(decision).filter(|pinned| pinned != place) {
        Some(pinned) => Err(Forbidden::Pinned { pinned, found: place.clone() }),
        None => Ok(()),
    }
}
