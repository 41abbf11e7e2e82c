//! Where a decision may go: what is known of its target, and whether the rules let the decision use it. Nothing is read from a pipeline and
//! nothing is sent before [`check`] agrees.

mod admission;
mod observation;
mod problem;
mod verification;

use super::phase::pinned_location;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalTarget, Location};
use kube::ResourceExt;
use std::collections::BTreeMap;

use admission::{Admission, UnknownAccess, admission};

pub use observation::{AmbientCredentials, RejectionLocation, TargetObservation, TargetsUnavailable};
pub use problem::{Forbidden, TargetProblem};
pub use verification::{FailureCause, Unverified, Verification, VerifyFailure};

/// Where the request of a decision that rejects is.
#[must_use]
pub fn rejection_location(decision: &ApprovalDecision, observation: &TargetObservation) -> RejectionLocation {
    // This version cannot tell what such a decision names.
    if decision.spec.unsupported.is_some() {
        return RejectionLocation::Unknown;
    }
    match observation {
        TargetObservation::Unavailable(_) => RejectionLocation::Unknown,
        TargetObservation::NotFound => location_despite(decision, &TargetProblem::NotFound),
        TargetObservation::Found { target, .. } if is_being_deleted(target) => {
            location_despite(decision, &TargetProblem::BeingDeleted)
        }
        TargetObservation::Own { .. } => match check(decision, observation, None) {
            Ok(location) => location.map_or(RejectionLocation::Unknown, RejectionLocation::At),
            Err(problem) => location_despite(decision, &problem),
        },
        TargetObservation::Found { target, namespace_labels, .. } => {
            if admission_of(decision, target, namespace_labels.as_ref()) == Admission::Refused {
                return RejectionLocation::NotAdmitted;
            }
            match meant(decision, target) {
                Ok(location) => RejectionLocation::At(location),
                Err(forbidden) => location_despite(decision, &TargetProblem::Forbidden(forbidden)),
            }
        }
    }
}

/// Where the request of a rejection is that has a problem with its target.
fn location_despite(decision: &ApprovalDecision, problem: &TargetProblem) -> RejectionLocation {
    match problem {
        TargetProblem::Unavailable(_) | TargetProblem::LabelsUnknown | TargetProblem::OwnUnknown => {
            RejectionLocation::Unknown
        }
        // The decision is about the request that it found there.
        TargetProblem::Forbidden(Forbidden::Pinned { pinned, .. }) => RejectionLocation::At(pinned.clone()),
        // A target that is created again, to change its region for example, must not lift a rejection meanwhile.
        TargetProblem::NotFound | TargetProblem::BeingDeleted => {
            pinned_location(decision).map_or(RejectionLocation::NotAdmitted, RejectionLocation::At)
        }
        TargetProblem::Forbidden(Forbidden::NotAdmitted | Forbidden::Guarded { .. })
        | TargetProblem::NotVerified(_)
        | TargetProblem::OtherLocation { .. }
        | TargetProblem::RequiredByFlag
        | TargetProblem::RequiredBy(_) => RejectionLocation::NotAdmitted,
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
    found: Option<&Location>,
) -> Result<Option<Location>, TargetProblem> {
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
            let expected = meant(decision, target).map_err(TargetProblem::Forbidden)?;
            match verification {
                Verification::Verified => {}
                Verification::Unverified(why) => return Err(TargetProblem::NotVerified(why.clone())),
            }
            match found.filter(|found| **found != expected) {
                Some(found) => Err(TargetProblem::OtherLocation { found: found.clone(), expected }),
                None => Ok(Some(expected)),
            }
        }
        TargetObservation::Own { ambient: AmbientCredentials::Disabled, .. } => Err(TargetProblem::RequiredByFlag),
        TargetObservation::Own { ambient: AmbientCredentials::Enabled, location, targets } => {
            let Some(own) = found.or(location.as_ref()) else {
                return if targets.is_empty() { Ok(None) } else { Err(TargetProblem::OwnUnknown) };
            };
            // Always the first one by name, so that the message does not change.
            if let Some((name, _)) = targets.iter().find(|(_, target)| *target == own) {
                return Err(TargetProblem::RequiredBy(name.clone()));
            }
            stays(decision, own).map_err(TargetProblem::Forbidden)?;
            Ok(Some(own.clone()))
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
fn meant(decision: &ApprovalDecision, target: &ApprovalTarget) -> Result<Location, Forbidden> {
    let location = target.spec.location();
    let guards = decision.spec.target_ref.as_ref();
    let is_other = |guard: Option<&String>, found: &String| guard.is_some_and(|guard| guard != found);
    if is_other(guards.and_then(|guards| guards.account_id.as_ref()), &location.account_id)
        || is_other(guards.and_then(|guards| guards.region.as_ref()), &location.region)
    {
        return Err(Forbidden::Guarded { found: location });
    }
    stays(decision, &location)?;
    Ok(location)
}

/// Whether the decision found its request in this account and region, if it found it.
fn stays(decision: &ApprovalDecision, location: &Location) -> Result<(), Forbidden> {
    match pinned_location(decision).filter(|pinned| pinned != location) {
        Some(pinned) => Err(Forbidden::Pinned { pinned, found: location.clone() }),
        None => Ok(()),
    }
}
