//! The operator's clock is wrong when STS is asked about a target. The tests shift the `Date` header of AWS's responses instead of the clock.

use super::site::{ONE, REGION, Site, through};
use approval_operator::api::v1alpha1::Reason;
use jiff::SignedDuration;
use local_codepipeline::iam::{StsCall, StsOperation};
use serde_json::json;
use std::time::Duration;
use test_support::{message, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_not_reported_as_missing_credentials_and_a_correct_one_heals_the_target() {
    let site = Site::new().await;
    let env = &site.env;
    let set_skew = |seconds| env.codepipeline.set_date_offset(SignedDuration::from_secs(seconds));
    set_skew(3600);
    site.create("production", ONE).await;
    let approval = env.codepipeline.in_account(ONE, REGION).open_approval("web", "Prod", "Approve").unwrap();
    env.create("web", through("production", spec("web", &approval))).await;
    let operator = env.operator().start();
    let text = site.wait_for("production", "ClockSkew").await;
    assert!(text.contains(" s behind AWS's") && text.contains("Synchronize the clock"), "{text}");
    let decision = env.wait_for_reason("web", Reason::TargetNotReady).await;
    let text = message(&decision);
    assert!(text.contains("ClockSkew (") && text.contains("Synchronize the clock"), "{text}");
    set_skew(0);
    site.wait_for("production", "Verified").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    operator.wait_for_log("STS confirmed the ApprovalTarget, which is Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_may_pass_leaves_a_target_ready_and_is_logged_once() {
    let site = Site::new().await;
    let env = &site.env;
    let set_skew = |seconds| env.codepipeline.set_date_offset(SignedDuration::from_secs(seconds));
    site.create("production", ONE).await;
    let operator = env.operator().start();
    site.wait_for("production", "Verified").await;
    set_skew(3600);
    for pipeline in ["one", "two"] {
        // A client that was just loaded is not loaded again.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let asked = env.codepipeline.sts_calls().len();
        let mut access = site.spec(ONE)["access"].clone();
        access[0]["pipelines"] = json!([pipeline]);
        site.patch("production", json!({ "access": access })).await;
        let is_asked =
            |calls: &[StsCall]| calls.iter().skip(asked).any(|call| call.operation == StsOperation::GetCallerIdentity);
        env.codepipeline.wait_for_sts_calls(is_asked).await;
        operator.wait_for_log("which stays Ready: ").await;
    }
    // Its status describes the former generation, until STS confirms this one.
    set_skew(0);
    site.wait_for("production", "Verified").await;
    operator.wait_for_log("STS confirmed the ApprovalTarget, which is Ready").await;
    let log = operator.log();
    assert_eq!(log.matches("which stays Ready: ").count(), 1, "{log}");
    assert!(!log.contains("is not Ready"), "{log}");
}
