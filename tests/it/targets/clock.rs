//! The operator's clock is wrong when STS is asked about a target. The test shifts the `Date` header of AWS's responses instead of the clock.

use super::site::{ONE, REGION, Site, through};
use approval_operator::api::v1alpha1::Reason;
use jiff::SignedDuration;
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
    let _operator = env.operator().start();
    let text = site.wait_for("production", "ClockSkew").await;
    assert!(text.contains(" s behind AWS's") && text.contains("Synchronize the clock"), "{text}");
    let decision = env.wait_for_reason("web", Reason::TargetNotReady).await;
    let text = message(&decision);
    assert!(text.contains("ClockSkew (") && text.contains("Synchronize the clock"), "{text}");
    set_skew(0);
    site.wait_for("production", "Verified").await;
    env.wait_for_reason("web", Reason::Delivered).await;
}
