//! Verifies a target with STS, and reports the result in its status and in an Event for each change of reason: when the target is new or
//! goes elsewhere, when a call through it failed, and every [`backoff::VERIFICATION`].

use super::target_context::{StatusWrite, TargetContext};
use super::targets::ObservedTarget;
use crate::api::conditions::{Condition, MAX_MESSAGE};
use crate::api::time::to_second;
use crate::api::v1alpha1::{ApprovalTarget, ApprovalTargetStatus, TargetReason, WireTarget};
use crate::backoff;
use crate::codepipeline::Verified;
use crate::decision::{FailureCause, Unverified, Verification, VerifyFailure, place_of};
use crate::error_chain::display_chain;
use crate::leader_election::LeaderState;
use futures::future::join;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Verifies a target.
///
/// # Errors
/// When its status could not be written. It is retried.
pub(super) async fn verify_target(target: Arc<WireTarget>, context: Arc<TargetContext>) -> Result<Action, kube::Error> {
    let name = target.name_any();
    let is_leading = || *context.leader.borrow() == LeaderState::Leader;
    let Some(before) = context.targets.get(&name).filter(|_| is_leading()) else { return Ok(Action::await_change()) };
    let found = match &before.target.spec.unsupported {
        Some(problem) => Err(VerifyFailure { cause: FailureCause::Unsupported, message: problem.clone() }),
        None => {
            let (found, ()) = join(before.connection.client.verify(), verify_own(&context, &before)).await;
            found.map_err(|error| or_known(error.into(), &before.verification))
        }
    };
    if !is_leading() {
        return Ok(Action::await_change());
    }
    let next = Action::requeue(next_verification(&found));
    let affected = context.targets.set_verification(&name, &before.destination, &found);
    context.wake(&name, affected);
    let known = context.targets.get(&name).filter(|known| known.destination == before.destination);
    let Some(known) = known else { return Ok(Action::await_change()) };
    log_change(&name, before.last_failure, &found, &known.verification);
    if known.verification != Verification::from(&found) {
        // A transient failure leaves it Ready.
        return Ok(next);
    }
    report(&context, &known.target, &found).await?;
    Ok(next)
}

/// Logs a failure whose cause is another one than that of the last verification, and the first success after a failure.
fn log_change(
    name: &str,
    last_failure: Option<FailureCause>,
    found: &Result<Verified, VerifyFailure>,
    now: &Verification,
) {
    let cause = found.as_ref().err().map(|failure| failure.cause);
    if cause == last_failure {
        return;
    }
    let Err(failure) = found else {
        return tracing::info!(target = name, "STS confirmed the ApprovalTarget, which is Ready");
    };
    let effect = match now {
        Verification::Verified => "could not verify the ApprovalTarget, which stays Ready",
        Verification::Unverified(_) => "the ApprovalTarget is not Ready",
    };
    tracing::warn!(target = name, reason = failure.cause.reason().as_str(), "{effect}: {}", with_remedy(failure));
}

/// When to verify a target again after STS said this.
const fn next_verification(found: &Result<Verified, VerifyFailure>) -> Duration {
    match found {
        Ok(_) => backoff::VERIFICATION,
        Err(_) => backoff::FAILED_VERIFICATION,
    }
}

/// What happens after the status could not be written.
#[allow(clippy::needless_pass_by_value, reason = "kube-runtime passes it so")]
pub(super) fn error_policy(target: Arc<WireTarget>, error: &kube::Error, _: Arc<TargetContext>) -> Action {
    let delay = backoff::FAILED_RECONCILE;
    tracing::warn!(
        target = target.name_any(),
        "could not write the status of the ApprovalTarget: {}; retrying in {delay:?}",
        display_chain(error)
    );
    Action::requeue(delay)
}

/// Asks STS who the operator itself is, if the target is in its own account and region. Decisions without a target must name this one, so
/// they call nothing that would show that the operator has other credentials since.
async fn verify_own(context: &TargetContext, target: &ObservedTarget) {
    let own = &context.targets.own().client;
    let place = place_of(&target.target);
    if own.identity().is_some_and(|identity| identity == place)
        && let Err(error) = own.verify().await
    {
        tracing::debug!("could not verify the operator's own credentials: {error}");
    }
}

/// The failure, or the known one if both are a wrong clock. Its message has the time, so it would change the status of the target and of
/// each decision that waits for it whenever STS is asked.
fn or_known(failure: VerifyFailure, known: &Verification) -> VerifyFailure {
    match known {
        Verification::Unverified(Unverified::Failed(known))
            if (known.cause, failure.cause) == (FailureCause::ClockSkew, FailureCause::ClockSkew) =>
        {
            known.clone()
        }
        Verification::Verified | Verification::Unverified(_) => failure,
    }
}

/// Writes what is known now, and records an Event if the reason is another one than before.
async fn report(
    context: &TargetContext,
    target: &ApprovalTarget,
    found: &Result<Verified, VerifyFailure>,
) -> Result<(), kube::Error> {
    let (reason, message) = describe(found);
    let caller_arn = found.as_ref().ok().and_then(|verified| verified.caller_arn.clone());
    let previous = ready(target).map(|ready| ready.reason.clone());
    let status = status(target, reason, message.clone(), caller_arn, Timestamp::now());
    if target.status.as_ref() != Some(&status) {
        let ApprovalTargetStatus { observed_generation, conditions, caller_arn, .. } = status;
        let fields = json!({
            "observedGeneration": observed_generation, "conditions": conditions, "callerArn": caller_arn,
        });
        if context.write_status(target, &fields).await? == StatusWrite::Gone {
            return Ok(());
        }
    }
    if previous.as_deref() != Some(reason.as_str()) {
        context.events.publish_target(target, reason, &message).await;
    }
    Ok(())
}

/// The reason and the message of the Ready condition.
fn describe(found: &Result<Verified, VerifyFailure>) -> (TargetReason, String) {
    match found {
        Ok(Verified { caller_arn, .. }) => {
            let caller = caller_arn.as_deref().unwrap_or("credentials of the account");
            let message = format!("STS confirmed the account. The operator goes there as {caller}.");
            (TargetReason::Verified, message)
        }
        Err(failure) => (failure.cause.reason(), with_remedy(failure)),
    }
}

/// What happened, and what to do. Decisions have their own words for it.
fn with_remedy(VerifyFailure { cause, message }: &VerifyFailure) -> String {
    let mut letters = message.trim_end_matches('.').chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let text = first.chain(letters).chain(". ".chars()).chain(cause.reason().remedy().chars());
    text.take(MAX_MESSAGE).collect()
}

fn ready(target: &ApprovalTarget) -> Option<&Condition> {
    let conditions = target.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.r#type == "Ready")
}

/// The status of the target with these findings; its other fields stay.
fn status(
    target: &ApprovalTarget,
    reason: TargetReason,
    message: String,
    caller_arn: Option<String>,
    now: Timestamp,
) -> ApprovalTargetStatus {
    let unchanged = ready(target).filter(|before| before.status == reason.ready());
    let ready = Condition {
        r#type: "Ready".to_owned(),
        status: reason.ready(),
        observed_generation: target.metadata.generation,
        last_transition_time: unchanged.map_or_else(|| to_second(now), |before| before.last_transition_time),
        reason: reason.as_str().to_owned(),
        message,
    };
    let observed_generation = target.metadata.generation;
    let known = target.status.clone().unwrap_or_default();
    ApprovalTargetStatus { observed_generation, conditions: vec![ready], caller_arn, ..known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codepipeline::CallerIdentity;

    #[test]
    fn a_target_is_verified_again_after_ten_minutes_and_soon_while_it_is_not_ready() {
        let identity = CallerIdentity { account_id: "111122223333".to_owned(), region: "eu-west-1".to_owned() };
        assert_eq!(next_verification(&Ok(Verified { identity, caller_arn: None })), Duration::from_secs(600));
        let failure = VerifyFailure { cause: FailureCause::Unreachable, message: String::new() };
        assert_eq!(next_verification(&Err(failure)), Duration::from_secs(15));
    }

    #[test]
    fn the_time_in_the_message_of_a_wrong_clock_changes_nothing() {
        let failure = |cause, message: &str| VerifyFailure { cause, message: message.to_owned() };
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
