//! Verifies a target with STS, and reports the result in its status and in an Event for each change of reason: when the target is new or
//! was changed, when a call through it failed, and every [`backoff::VERIFICATION`].

use super::target_context::{StatusWrite, TargetContext};
use super::target_status::{TargetEvent, TargetReport, or_known, with_remedy};
use super::targets::KnownTarget;
use crate::api::v1alpha1::{ApprovalTarget, ApprovalTargetStatus, WireTarget};
use crate::backoff;
use crate::codepipeline::Verified;
use crate::decision::{FailureCause, Verification, VerifyFailure};
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
async fn verify_own(context: &TargetContext, target: &KnownTarget) {
    let own = &context.targets.own().client;
    if own.location() == Some(target.target.spec.location())
        && let Err(error) = own.verify().await
    {
        tracing::debug!("could not verify the operator's own credentials: {error}");
    }
}

/// Writes what is known now, and records an Event if the reason is another one than before.
async fn report(
    context: &TargetContext,
    target: &ApprovalTarget,
    found: &Result<Verified, VerifyFailure>,
) -> Result<(), kube::Error> {
    let TargetReport { status, event } = TargetReport::new(target, found, Timestamp::now());
    if target.status.as_ref() != Some(&status) {
        let ApprovalTargetStatus { observed_generation, conditions, caller_arn, .. } = status;
        let fields = json!({
            "observedGeneration": observed_generation, "conditions": conditions, "callerArn": caller_arn,
        });
        if context.write_status(target, &fields).await? == StatusWrite::Gone {
            return Ok(());
        }
    }
    if let Some(TargetEvent { reason, message }) = event {
        context.events.publish_target(target, reason, &message).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::test_fixtures::targets::here;

    #[test]
    fn a_target_is_verified_again_after_ten_minutes_and_soon_while_it_is_not_ready() {
        assert_eq!(next_verification(&Ok(Verified { location: here(), caller_arn: None })), Duration::from_secs(600));
        let failure = VerifyFailure { cause: FailureCause::Unreachable, message: String::new() };
        assert_eq!(next_verification(&Err(failure)), Duration::from_secs(15));
    }
}
