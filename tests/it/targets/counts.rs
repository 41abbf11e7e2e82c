//! The counts in the status of a target: they follow what the operator polls, and a busy pipeline does not become a busy API server.

use super::site::{ONE, REGION, Site, through};
use approval_operator::api::v1alpha1::{ApprovalTarget, ApprovalTargetStatus, Reason};
use approval_operator::backoff;
use kube::runtime::wait::await_condition;
use local_codepipeline::api::ApprovalStatus;
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::{for_revision, reason};
use tokio::time::{sleep, timeout};

impl Site {
    /// Waits until the status has these counts of pipelines and pending requests.
    async fn wait_for_counts(&self, name: &str, pipelines: i64, pending: i64) -> ApprovalTargetStatus {
        let expected = (Some(pipelines), Some(pending));
        let has_counts = |target: Option<&ApprovalTarget>| {
            let status = target.and_then(|target| target.status.as_ref());
            status.is_some_and(|status| (status.pipelines, status.pending_requests) == expected)
        };
        let found = timeout(Duration::from_secs(60), await_condition(self.targets.clone(), name, has_counts)).await;
        let Ok(found) = found else {
            panic!("{name} never had {expected:?}: {:?}", self.targets.get(name).await.unwrap().status)
        };
        found.unwrap().unwrap().status.unwrap()
    }

    /// The writes of the status of targets that the API server has received.
    fn status_writes(&self) -> u64 {
        let metrics = self.kubectl(&["get", "--raw", "/metrics"]);
        let is_write = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains(r#"resource="approvaltargets""#)
                && line.contains(r#"subresource="status""#)
        };
        let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let writes = metrics.lines().filter(is_write).map(count).sum::<f64>() as u64;
        writes
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_follow_decisions_and_requests_and_the_verification_keeps_them() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    let shop = account.open_approval("shop", "Prod", "Approve").unwrap();
    account.open_approval("api", "Prod", "Approve").unwrap();
    // No decision names this pipeline.
    account.open_approval("other", "Prod", "Approve").unwrap();
    site.create("production", ONE).await;
    site.create("unused", ONE).await;
    let operator = env.operator().start();
    for target in ["production", "unused"] {
        site.wait_for_counts(target, 0, 0).await;
    }
    // They wait for executions that do not exist, so the pending requests are those of no decision.
    for pipeline in ["shop", "api"] {
        env.create(pipeline, through("production", for_revision(pipeline, "later"))).await;
    }
    let status = site.wait_for_counts("production", 2, 2).await;
    let caller = status.caller_arn.clone().unwrap();
    assert!(caller.contains(ONE) && status.conditions[0].reason == "Verified", "{status:?}");
    let bob = "arn:aws:iam::111111111111:user/bob";
    account.respond_as(bob, ("shop", "Prod", "Approve"), shop.token, ApprovalStatus::Approved, "").unwrap();
    site.wait_for_counts("production", 2, 1).await;

    // The verification writes the same status.
    site.patch("production", json!({ "roleArn": null })).await;
    site.wait_for("production", "WrongAccount").await;
    let status = site.targets.get("production").await.unwrap().status.unwrap();
    assert_eq!((status.pipelines, status.pending_requests, status.caller_arn), (Some(2), Some(1), None));
    // A target that is not Ready has no subscribers.
    site.wait_for_counts("production", 0, 0).await;
    site.patch("production", json!({ "roleArn": super::site::role_arn(ONE) })).await;
    let status = site.wait_for_counts("production", 2, 1).await;
    assert_eq!((status.caller_arn.as_ref(), status.conditions[0].reason.as_str()), (Some(&caller), "Verified"));

    // The next start takes them over.
    drop(operator);
    let writes = site.status_writes();
    let _operator = env.operator().start();
    sleep(backoff::COUNTS_WRITE + Duration::from_secs(5)).await;
    assert_eq!(site.status_writes(), writes, "{:?}", site.targets.get("production").await.unwrap().status);
    env.delete("shop").await;
    site.wait_for_counts("production", 1, 1).await;
    env.delete("api").await;
    site.wait_for_counts("production", 0, 0).await;
    site.wait_for_counts("unused", 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_pipelines_change_there_is_at_most_one_write_in_each_interval() {
    let site = Site::new().await;
    let env = &site.env;
    let account = env.codepipeline.in_account(ONE, REGION);
    site.create("production", ONE).await;
    let _operator = env.operator().start();
    site.wait_for_counts("production", 0, 0).await;
    let (started_at, writes) = (Instant::now(), site.status_writes());
    let mut number = 0;
    while started_at.elapsed() < 2 * backoff::COUNTS_WRITE {
        let pipeline = format!("pipeline-{number}");
        account.open_approval(&pipeline, "Prod", "Approve").unwrap();
        env.create(&pipeline, through("production", for_revision(&pipeline, "later"))).await;
        if number % 2 == 1 {
            env.delete(&pipeline).await;
        }
        number += 1;
        sleep(Duration::from_millis(200)).await;
    }
    let kept = number - number / 2;
    println!("{number} pipelines, {kept} remain");
    let status = site.wait_for_counts("production", kept, kept).await;
    let (elapsed, writes) = (started_at.elapsed(), site.status_writes() - writes);
    let intervals = elapsed.as_secs() / backoff::COUNTS_WRITE.as_secs();
    assert!((1..=intervals).contains(&writes), "{writes} writes in {elapsed:?}: {status:?}");

    // What comes and goes within the interval causes none.
    let writes = site.status_writes();
    let approval = account.open_approval("brief", "Prod", "Approve").unwrap();
    env.create("brief", through("production", test_support::for_execution("brief", approval.pipeline_execution_id)))
        .await;
    let delivered = env.wait_for_reason("brief", Reason::Delivered).await;
    assert_eq!(reason(&delivered), Some(Reason::Delivered));
    sleep(backoff::COUNTS_WRITE + Duration::from_secs(2)).await;
    assert_eq!(site.status_writes(), writes);
}
