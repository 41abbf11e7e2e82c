//! What every settled decision has to say, by the service's ledger, whatever went wrong on the way.

use super::case::{BOB, Case, reason};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason, Standing};
use jiff::Timestamp;
use local_codepipeline::model::{LedgerEntry, Outcome};

/// Says no, and why, unless it holds.
pub fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

pub fn is_settled(decision: &ApprovalDecision) -> bool {
    reason(decision).is_some_and(|reason| match reason.standing() {
        Standing::Settled | Standing::Stalled | Standing::Suspended => true,
        Standing::Retrying | Standing::UnderWay | Standing::Waiting => false,
    })
}

impl Case {
    /// What the operator sent to the pipeline of a decision, and when the service took any of it.
    pub fn sent_and_taken(&self, decision: &ApprovalDecision) -> (Vec<LedgerEntry>, Vec<Timestamp>) {
        let mut sent = self.service.ledger_of(&decision.spec.pipeline_name);
        sent.retain(|entry| entry.caller != BOB);
        let taken = sent.iter().filter_map(|entry| match entry.outcome {
            Outcome::Accepted { approved_at, .. } => Some(approved_at),
            Outcome::Refused(_) | Outcome::NotApplied => None,
        });
        let taken = taken.collect();
        (sent, taken)
    }

    /// Whether a settled decision that alone speaks of its pipeline tells what became of it: that it was answered is said if and
    /// only if the service took an answer of ours, and then it took one and no other.
    pub fn tells_the_truth(&self, decision: &ApprovalDecision) -> Result<(), String> {
        let (_, taken) = self.sent_and_taken(decision);
        let found = reason(decision);
        let told = decision.status.as_ref().and_then(|status| status.approved_at);
        ensure(taken.len() <= 1, format!("{} answers were taken", taken.len()))?;
        match (taken.first(), found) {
            (Some(at), Some(Reason::Delivered)) => {
                ensure(told == Some(*at), format!("it says {told:?}, and the service {at}"))
            }
            (Some(_), other) => Err(format!("its answer was taken, and it says {other:?}")),
            (None, Some(Reason::Delivered)) => Err("it says Delivered, and nothing was taken".to_owned()),
            (None, _) => Ok(()),
        }
    }
}
