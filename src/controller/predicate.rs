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
            // The status was removed, and the schema's default is in its place.
            (_, None | Some(ReadyClass::Pending)) => true,
            (Some(ReadyClass::Settled), Some(_)) => true,
            (Some(ReadyClass::Stalled | ReadyClass::Suspended), Some(_)) => status_is_current(cached),
            (Some(ReadyClass::Waiting | ReadyClass::Retrying), Some(now)) => now == ReadyClass::InFlight,
            // CodePipeline refused the submission, and its history may show why at once.
            (Some(ReadyClass::InFlight), Some(ReadyClass::InFlight)) => is_refused(decision) && !is_refused(cached),
            (Some(ReadyClass::InFlight), Some(now)) => matches!(now, ReadyClass::Waiting | ReadyClass::Retrying),
            (None | Some(ReadyClass::Pending), Some(_)) => false,
        }
}

fn is_refused(decision: &ApprovalDecision) -> bool {
    decision.status.as_ref().is_some_and(|status| status.exception.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{
        ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus, Exception, Token,
    };
    use crate::codepipeline::ExecutionIds;
    use crate::decision::{Outcome, PriorAttempts, UnconfirmedCause, status};
    use jiff::Timestamp;

    /// A decision after its submission was sent, and after CodePipeline refused it, if it did.
    fn unconfirmed(refused: Option<&str>) -> ApprovalDecision {
        let result = ApprovalResult { status: ApprovalStatus::Approved, summary: String::new() };
        let token = Some(Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned()));
        let names = ["shop", "Prod", "Approve"].map(str::to_owned);
        let [pipeline, stage, action] = names;
        let spec = ApprovalDecisionSpec { token, ..ApprovalDecisionSpec::new(pipeline, stage, action, result) };
        let mut decision = ApprovalDecision::new("release", spec);
        let exception = |name: &str| Exception { r#type: name.to_owned(), message: String::new() };
        let outcome = Outcome::Unconfirmed {
            cause: UnconfirmedCause::NotInHistory,
            refused: refused.map(|name| (exception(name), PriorAttempts::NotApplied)),
            ids: ExecutionIds::default(),
            next: Timestamp::UNIX_EPOCH,
        };
        decision.status = Some(status(&decision, &outcome, Timestamp::UNIX_EPOCH));
        decision
    }

    #[test]
    fn a_refusal_needs_a_reconcile_although_one_that_saw_only_the_submission_waits_for_its_deadline() {
        let [sent, refused] = [unconfirmed(None), unconfirmed(Some("InvalidApprovalTokenException"))];
        assert!(needs_reconcile(Some(&sent), &refused));
        assert!(!needs_reconcile(Some(&sent), &sent));
        assert!(!needs_reconcile(Some(&refused), &refused));
    }

    #[test]
    fn a_status_that_someone_removed_needs_a_reconcile() {
        let reported = unconfirmed(None);
        let removed = ApprovalDecision { status: Some(ApprovalDecisionStatus::pending()), ..reported.clone() };
        assert!(needs_reconcile(Some(&reported), &removed));
        assert!(!needs_reconcile(Some(&removed), &removed));
        assert!(!needs_reconcile(Some(&removed), &reported), "the operator's own report");
    }
}
