//! The operator's clock differs from AWS's. The tests shift the `Date` header of AWS's responses instead of the clock.

use crate::faults::request_log::RequestLog;
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::Reason;
use jiff::SignedDuration;
use local_codepipeline::api::Operation;
use std::time::{Duration, Instant};
use test_support::{TestEnv, condition, for_execution, message, pipeline_with_build, ready};

const SKEW: &str = "approval_operator_clock_skew_seconds";

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_submitted_while_the_clock_is_wrong_and_a_correct_clock_heals_it() {
    for (skew, direction) in [(11, "behind"), (-11, "ahead of")] {
        let env = TestEnv::new().await;
        env.codepipeline.set_date_offset(seconds(skew));
        env.open_and_approve("web").await;
        env.put_pipeline(pipeline_with_build("shop"));
        let execution = env.start_execution("shop", "rev");
        env.create("shop", for_execution("shop", execution)).await;
        let operator = env.operator().start();
        let decision = env.wait_for_reason("web", Reason::ClockSkew).await;
        assert_eq!(ready(&decision), Some(ConditionStatus::False));
        assert!(condition(&decision, "Reconciling").is_some());
        let message = message(&decision);
        assert!(
            message.contains(&format!(" s {direction} AWS's, and at most 10 s are allowed: it shows 2")),
            "{message}"
        );
        assert!(
            message.contains("Synchronize the clock of the operator's node (NTP); the operator retries automatically."),
            "{message}"
        );
        // Reads go on, and find the request that may not be submitted.
        env.wait_for_reason("shop", Reason::Waiting).await;
        env.complete_build("shop", execution, true);
        env.wait_for_reason("shop", Reason::ClockSkew).await;
        assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
        let metric = operator.metric(SKEW).await;
        assert!((metric - skew as f64).abs() < 1.5, "{metric}");
        env.codepipeline.set_date_offset(seconds(0));
        for name in ["web", "shop"] {
            env.wait_for_reason(name, Reason::Delivered).await;
        }
        assert!(operator.metric(SKEW).await.abs() < 1.5);
        assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_submitted_if_the_clock_is_almost_right() {
    for skew in [9, -9] {
        let env = TestEnv::new().await;
        env.codepipeline.set_date_offset(seconds(skew));
        env.open_and_approve("web").await;
        let _operator = env.operator().start();
        env.wait_for_reason("web", Reason::Delivered).await;
        env.wait_for_events("web", &["Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_becomes_wrong_stops_submissions_and_sts_is_asked_at_most_once_per_second() {
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let proxied = log.proxied_operator(&env, log.forward_all()).await;
    let operator = proxied.command.start();
    env.open_and_approve("first").await;
    env.wait_for_reason("first", Reason::Delivered).await;
    assert_eq!(log.requests("GetCallerIdentity"), 1, "{}", operator.log());
    env.codepipeline.set_date_offset(seconds(3600));
    // The response to this one shows that the clock is wrong.
    env.open_and_approve("second").await;
    env.wait_for_reason("second", Reason::Delivered).await;
    let wrong_since = Instant::now();
    let names = ["a", "b", "c", "d"];
    for name in names {
        env.open_and_approve(name).await;
    }
    for name in names {
        env.wait_for_reason(name, Reason::ClockSkew).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (asked, limit) = (log.requests("GetCallerIdentity"), 2 + wrong_since.elapsed().as_secs());
    assert!((2..=limit).contains(&(asked as u64)), "{asked} times, not at most {limit}");
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 2);
    env.codepipeline.set_date_offset(seconds(0));
    for name in names {
        env.wait_for_reason(name, Reason::Delivered).await;
    }
}
