//! Invariants that every settled decision keeps whatever fails, checked against CodePipeline's ledger.

use super::test_env::{BOB, TestEnv, reason};
use approval_operator::api::v1alpha1::{ApprovalDecision, ReadyClass, Reason};
use jiff::Timestamp;
use local_codepipeline::model::{LedgerEntry, Outcome};

/// An error with this message unless the condition holds.
pub fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

pub fn is_settled(decision: &ApprovalDecision) -> bool {
    reason(decision).is_some_and(|reason| match reason.ready_class() {
        ReadyClass::Settled | ReadyClass::Stalled | ReadyClass::Suspended => true,
        ReadyClass::Retrying | ReadyClass::InFlight | ReadyClass::Pending | ReadyClass::Waiting => false,
    })
}

impl TestEnv {
    /// The operator's submissions to the pipeline of a decision, and the times of those that CodePipeline accepted.
    pub fn sent_and_accepted(&self, decision: &ApprovalDecision) -> (Vec<LedgerEntry>, Vec<Timestamp>) {
        let mut sent = self.codepipeline.ledger_for(&decision.spec.pipeline_name);
        sent.retain(|entry| entry.caller != BOB);
        let accepted = sent.iter().filter_map(|entry| match entry.outcome {
            Outcome::Accepted { approved_at, .. } => Some(approved_at),
            Outcome::Refused(_) | Outcome::NotApplied => None,
        });
        let accepted = accepted.collect();
        (sent, accepted)
    }

    /// Checks the status of a settled decision that is the only one of its pipeline: it is `Delivered` if and only if
    /// CodePipeline accepted a submission of the operator, and CodePipeline accepted at most one.
    pub fn check_status_matches_ledger(&self, decision: &ApprovalDecision) -> Result<(), String> {
        let (_, accepted) = self.sent_and_accepted(decision);
        let approved_at = decision.status.as_ref().and_then(|status| status.approved_at);
        ensure(accepted.len() <= 1, format!("CodePipeline accepted {} submissions", accepted.len()))?;
        match (accepted.first(), reason(decision)) {
            (Some(at), Some(Reason::Delivered)) => {
                ensure(approved_at == Some(*at), format!("approvedAt is {approved_at:?}, and CodePipeline's is {at}"))
            }
            (Some(_), other) => Err(format!("CodePipeline accepted the result, and the reason is {other:?}")),
            (None, Some(Reason::Delivered)) => {
                Err("the reason is Delivered, and CodePipeline accepted nothing".to_owned())
            }
            (None, _) => Ok(()),
        }
    }
}
