//! What a verification means for the status of a target, and how the operator words it. `verify_target.rs` writes it. Decisions have their
//! own words for the same failure.

use crate::api::conditions::{Condition, MAX_MESSAGE};
use crate::api::time::to_second;
use crate::api::v1alpha1::{ApprovalTarget, ApprovalTargetStatus, TargetReason};
use crate::codepipeline::Verified;
use crate::decision::{FailureCause, Unverified, Verification, VerifyFailure};
use crate::error_chain::one_line;
use jiff::Timestamp;

/// What to report about a target.
#[derive(Debug, PartialEq)]
pub(super) struct TargetReport {
    /// Its whole status. What a verification does not show is as before.
    pub(super) status: ApprovalTargetStatus,
    /// Recorded if the reason is another one than before.
    pub(super) event: Option<TargetEvent>,
}

/// The Event of a new reason.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TargetEvent {
    pub(super) reason: TargetReason,
    pub(super) message: String,
}

impl TargetReport {
    /// Reports what a verification found.
    pub(super) fn new(target: &ApprovalTarget, found: &Result<Verified, VerifyFailure>, now: Timestamp) -> Self {
        let (reason, message) = describe(found);
        let before = ready(target);
        let is_new = before.is_none_or(|before| before.reason != reason.as_str());
        let event = is_new.then(|| TargetEvent { reason, message: message.clone() });
        let unchanged = before.filter(|before| before.status == reason.ready());
        let ready = Condition {
            r#type: "Ready".to_owned(),
            status: reason.ready(),
            observed_generation: target.metadata.generation,
            last_transition_time: unchanged.map_or_else(|| to_second(now), |before| before.last_transition_time),
            reason: reason.as_str().to_owned(),
            message,
        };
        let status = ApprovalTargetStatus {
            observed_generation: target.metadata.generation,
            conditions: vec![ready],
            caller_arn: found.as_ref().ok().and_then(|verified| verified.caller_arn.clone()),
            ..target.status.clone().unwrap_or_default()
        };
        Self { status, event }
    }
}

/// The failure, or the known one if both are a wrong clock. Its message has the time, so it would change the status of the target and of
/// each decision that waits for it whenever STS is asked.
pub(super) fn or_known(failure: VerifyFailure, known: &Verification) -> VerifyFailure {
    match known {
        Verification::Unverified(Unverified::Failed(known))
            if (known.cause, failure.cause) == (FailureCause::ClockSkew, FailureCause::ClockSkew) =>
        {
            known.clone()
        }
        Verification::Verified | Verification::Unverified(_) => failure,
    }
}

/// What happened, and what to do. What happened is cut, never what to do.
pub(super) fn with_remedy(VerifyFailure { cause, message }: &VerifyFailure) -> String {
    let remedy = format!(". {}", cause.reason().remedy());
    let message = one_line(message);
    let mut letters = message.trim_end_matches('.').chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let room = MAX_MESSAGE.saturating_sub(remedy.chars().count());
    first.chain(letters).take(room).chain(remedy.chars()).collect()
}

/// The reason and the message of the Ready condition.
fn describe(found: &Result<Verified, VerifyFailure>) -> (TargetReason, String) {
    match found {
        Ok(Verified { caller_arn, .. }) => {
            let caller = caller_arn
                .as_ref()
                .map_or_else(|| "with credentials of the account".to_owned(), |arn| format!("as {arn}"));
            (TargetReason::Verified, format!("STS confirmed the account. The operator calls AWS {caller}."))
        }
        Err(failure) => (failure.cause.reason(), with_remedy(failure)),
    }
}

fn ready(target: &ApprovalTarget) -> Option<&Condition> {
    let conditions = target.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.r#type == "Ready")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::ConditionStatus;
    use crate::decision::test_fixtures::targets::{here, target};

    const ARN: &str = "arn:aws:sts::111122223333:assumed-role/approver/approval-operator";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn confirmed() -> Result<Verified, VerifyFailure> {
        Ok(Verified { location: here(), caller_arn: Some(ARN.to_owned()) })
    }

    fn failure(cause: FailureCause, message: &str) -> VerifyFailure {
        VerifyFailure { cause, message: message.to_owned() }
    }

    /// The target of this generation with the status that reports this.
    fn reported(generation: i64, found: &Result<Verified, VerifyFailure>, time: Timestamp) -> ApprovalTarget {
        let mut target = target(here());
        target.metadata.generation = Some(generation);
        let TargetReport { status, .. } = TargetReport::new(&target, found, time);
        target.status = Some(ApprovalTargetStatus { pipelines: Some(3), pending_requests: Some(2), ..status });
        target
    }

    #[test]
    fn each_finding_has_its_reason_message_and_caller() {
        for (found, ready, reason, message) in [
            (
                confirmed(),
                ConditionStatus::True,
                TargetReason::Verified,
                format!("STS confirmed the account. The operator calls AWS as {ARN}."),
            ),
            (
                Ok(Verified { location: here(), caller_arn: None }),
                ConditionStatus::True,
                TargetReason::Verified,
                "STS confirmed the account. The operator calls AWS with credentials of the account.".to_owned(),
            ),
            (
                Err(failure(FailureCause::AssumeRoleDenied, "the role could not be assumed:\n\tAccessDenied.")),
                ConditionStatus::False,
                TargetReason::AssumeRoleDenied,
                format!("The role could not be assumed: AccessDenied. {}", TargetReason::AssumeRoleDenied.remedy()),
            ),
            (
                Err(failure(FailureCause::Unsupported, "unknown field spec.shape")),
                ConditionStatus::False,
                TargetReason::ValidationFailed,
                "Unknown field spec.shape. Upgrade the operator, or remove this from the ApprovalTarget.".to_owned(),
            ),
        ] {
            // It was Ready with the ARN before.
            let TargetReport { status, .. } = TargetReport::new(&reported(1, &confirmed(), at(5)), &found, at(9));
            let [condition] = status.conditions.as_slice() else { panic!("{status:?}") };
            assert_eq!((condition.status, condition.reason.as_str()), (ready, reason.as_str()));
            assert_eq!(condition.message, message);
            assert_eq!(status.caller_arn, found.ok().and_then(|verified| verified.caller_arn), "{reason:?}");
        }
    }

    #[test]
    fn the_generation_changes_with_each_report_and_the_transition_time_with_the_status_only() {
        let denied = Err(failure(FailureCause::AssumeRoleDenied, "not trusted"));
        let unreachable = Err(failure(FailureCause::Unreachable, "refused"));
        for (before, found, transition, is_new) in [
            (confirmed(), confirmed(), at(5), false),
            (confirmed(), denied.clone(), at(9), true),
            (denied.clone(), denied.clone(), at(5), false),
            (denied.clone(), unreachable, at(5), true),
            (denied, confirmed(), at(9), true),
        ] {
            let mut target = reported(1, &before, at(5));
            target.metadata.generation = Some(2);
            let TargetReport { status, event } = TargetReport::new(&target, &found, at(9));
            let condition = &status.conditions[0];
            assert_eq!(condition.last_transition_time, transition, "{before:?}, {found:?}");
            assert_eq!((status.observed_generation, condition.observed_generation), (Some(2), Some(2)));
            assert_eq!((status.pipelines, status.pending_requests), (Some(3), Some(2)), "another task writes them");
            let event = event.map(|event| (event.reason.as_str().to_owned(), event.message));
            assert_eq!(event, is_new.then(|| (condition.reason.clone(), condition.message.clone())));
        }
    }

    #[test]
    fn a_long_message_is_cut_before_what_to_do() {
        let text = with_remedy(&failure(FailureCause::Unreachable, &"é".repeat(MAX_MESSAGE)));
        assert_eq!(text.chars().count(), MAX_MESSAGE);
        assert!(text.ends_with(TargetReason::Unreachable.remedy()), "{text}");
    }

    #[test]
    fn the_time_in_the_message_of_a_wrong_clock_changes_nothing() {
        let known = |failure| Verification::Unverified(Unverified::Failed(failure));
        let skew = |time| failure(FailureCause::ClockSkew, time);
        let refused = failure(FailureCause::Unreachable, "refused");
        assert_eq!(or_known(skew("12:01"), &known(skew("12:00"))), skew("12:00"));
        assert_eq!(or_known(skew("12:01"), &known(refused.clone())), skew("12:01"));
        assert_eq!(or_known(skew("12:01"), &Verification::Verified), skew("12:01"));
        let late = failure(FailureCause::Unreachable, "within 10s");
        assert_eq!(or_known(late.clone(), &known(refused)), late);
    }
}
