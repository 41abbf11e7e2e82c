//! Which decisions a reconcile serves first: those whose result may have to be sent. What the others need can wait.

use super::phase::Phase;
use super::timing::{Settings, expiry};
use crate::api::v1alpha1::ApprovalDecision;
use jiff::Timestamp;

/// Whether a release may wait for the next reconcile of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// The reconcile may send the result, or finish a submission.
    MaySubmit,
    /// It can only report: the decision is settled, suspended, expired or invalid.
    ReportsOnly,
}

/// How urgent the next reconcile of a decision is.
#[must_use]
pub fn urgency(decision: &ApprovalDecision, settings: &Settings, now: Timestamp) -> Urgency {
    match Phase::of(decision) {
        Phase::Done => Urgency::ReportsOnly,
        Phase::InDoubt(_) | Phase::Unexplained(..) => Urgency::MaySubmit,
        Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) => match decision.spec.validate(now) {
            Ok(valid) if !decision.spec.suspend && now < expiry(decision, valid.not_after, settings, now).at() => {
                Urgency::MaySubmit
            }
            Ok(_) | Err(_) => Urgency::ReportsOnly,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::UserTime;
    use crate::decision::status;
    use crate::decision::test_fixtures::outcomes::delivered;
    use crate::decision::test_fixtures::{DecisionExt, SETTINGS, at, fresh};

    #[test]
    fn only_what_may_be_submitted_is_urgent() {
        let not_after =
            |time: Timestamp| fresh().with(|decision| decision.spec.not_after = Some(UserTime(time.to_string())));
        let urgent = [fresh(), not_after(at(10))];
        let others = [
            not_after(at(1)),
            fresh().with(|decision| decision.spec.not_after = Some(UserTime("tomorrow".to_owned()))),
            fresh().with(|decision| decision.spec.suspend = true),
            fresh().with(|decision| decision.status = Some(status(decision, &delivered(), at(2)))),
        ];
        for (decisions, expected) in [(&urgent[..], Urgency::MaySubmit), (&others[..], Urgency::ReportsOnly)] {
            for decision in decisions {
                assert_eq!(urgency(decision, &SETTINGS, at(3)), expected, "{decision:?}");
            }
        }
    }
}
