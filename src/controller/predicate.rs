//! Which watch events need a reconcile: the decision is new, edited, restarted by its annotation, or someone else wrote its status.

use crate::api::v1alpha1::{ApprovalDecision, ReadyClass};
use crate::decision::{current_class, reconcile_key, status_is_current};

/// Whether the operator has not acted on the decision as it is now. `cached` is what the operator knew before.
pub(super) fn needs_reconcile(cached: Option<&ApprovalDecision>, decision: &ApprovalDecision) -> bool {
    cached.is_none_or(|cached| {
        reconcile_key(cached) != reconcile_key(decision) || status_changed_externally(cached, decision)
    })
}

/// Whether someone else may have written the status, which would otherwise stay until the next event. The operator itself never
/// removes a reason and never changes a final one. It does start submissions, and one extra reconcile after that costs nothing.
/// That reconcile may see the submission before its outcome, and wait until the deadline of the submission; so an outcome that
/// needs work before that deadline counts as well.
fn status_changed_externally(cached: &ApprovalDecision, decision: &ApprovalDecision) -> bool {
    let class = current_class;
    cached.status != decision.status
        && match (class(cached), class(decision)) {
            (_, None) => true,
            (Some(ReadyClass::Settled), Some(_)) => true,
            (Some(ReadyClass::Stalled | ReadyClass::Suspended), Some(_)) => status_is_current(cached),
            (Some(ReadyClass::Waiting | ReadyClass::Retrying), Some(now)) => now == ReadyClass::InFlight,
            (Some(ReadyClass::InFlight), Some(now)) => matches!(now, ReadyClass::Waiting | ReadyClass::Retrying),
            (None, Some(_)) => false,
        }
}
