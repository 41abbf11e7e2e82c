//! The last step before an intent is recorded, and again before its request leaves: a rejection of the same request goes first.

use super::conflict::{Rejections, conflict};
use super::outcome::{Intent, Outcome};
use super::phase::execution_ids;
use super::step::{Observed, Step};
use super::target_rules::request_location;
use crate::api::v1alpha1::ApprovalStatus;
use jiff::Timestamp;
use kube::ResourceExt;

/// Records the intent, unless another decision rejects the request. The wait for that ends at `until`.
pub(super) fn submit(observed: &Observed<'_>, now: Timestamp, until: Timestamp, intent: Intent) -> Step {
    conflict_step(observed, now, until, &intent).unwrap_or(Step::RecordIntent(intent))
}

/// What to do before the request of an intent may leave, if anything.
pub(super) fn conflict_step(
    observed: &Observed<'_>,
    now: Timestamp,
    until: Timestamp,
    intent: &Intent,
) -> Option<Step> {
    if observed.decision.spec.result.status == ApprovalStatus::Rejected {
        return None;
    }
    match observed.rejections {
        None => Some(Step::ListRejections),
        // The cache wakes the decision once it is complete.
        Some(Rejections::NotListed) => Some(Step::AwaitChange),
        Some(Rejections::Listed(rejections)) => {
            let submission = &intent.submission;
            // Before the intent is recorded, the submission does not say where it is sent.
            let is_recorded = !submission.account_id.is_empty();
            let location = if is_recorded { Some(submission.location()) } else { request_location(observed) };
            let (token, execution) = (&submission.token, intent.execution.as_ref());
            let (rejection, found) = conflict(rejections, location.as_ref(), token, execution, now)?;
            let is_visible = observed.decision.namespace().is_some_and(|namespace| namespace == rejection.namespace);
            // A rejection that is Stalled is not reconciled at its notAfter, so no one would wake this decision then.
            let until = rejection.not_after.map_or(until, |not_after| until.min(not_after));
            let rejection = is_visible.then(|| rejection.name.clone());
            let ids = execution_ids(submission);
            Some(Step::WriteStatus(Outcome::Conflicting { rejection, found, ids, until }))
        }
    }
}
