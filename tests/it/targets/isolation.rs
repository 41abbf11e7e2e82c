//! A target whose STS hangs, throttles or denies slows nobody else.

use super::site::{ONE, REGION, Site, TWO, role_arn, through};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use local_codepipeline::iam::{Role, StsOperation};
use std::time::{Duration, Instant};
use test_support::{reason, spec};

const BROKEN: [(&str, &str); 3] = [("hangs", TWO), ("throttles", "333333333333"), ("denies", "444444444444")];

/// More decisions than the operator reconciles at a time.
const DECISIONS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn three_broken_targets_slow_no_other() {
    let site = Site::new().await;
    let env = &site.env;
    let sts_fault = |fault: Fault| fault.on(StsOperation::AssumeRole).always();
    for (name, account) in BROKEN {
        site.create(name, account).await;
    }
    site.create("healthy", ONE).await;
    let _operator = env.operator().arg("--concurrency=4").arg("--aws-timeout=5s").start();
    for (name, _) in BROKEN {
        site.wait_for(name, "Verified").await;
    }
    // They break after STS confirmed them, so that their decisions get as far as a session.
    let broken = BROKEN.map(|(_, account)| env.codepipeline.in_account(account, REGION));
    broken[0].inject(sts_fault(Fault::hang_before_applying()));
    broken[1].inject(sts_fault(Fault::error(400, "Throttling", "Rate exceeded")));
    env.codepipeline.put_role(Role::new(&role_arn(BROKEN[2].1)).unwrap().trusts([]).unwrap());
    for ((name, _), account) in BROKEN.iter().zip(&broken) {
        for number in 0..DECISIONS {
            let pipeline = format!("{name}-{number}");
            let approval = account.open_approval(&pipeline, "Prod", "Approve").unwrap();
            env.create(&pipeline, through(name, spec(&pipeline, &approval))).await;
        }
    }
    // All that can hang does.
    env.codepipeline.wait_for_sts_calls(|calls| calls.iter().any(|call| call.fault.is_some())).await;
    let healthy = env.codepipeline.in_account(ONE, REGION);
    let started = Instant::now();
    for number in 0..DECISIONS {
        let pipeline = format!("healthy-{number}");
        let approval = healthy.open_approval(&pipeline, "Prod", "Approve").unwrap();
        env.create(&pipeline, through("healthy", spec(&pipeline, &approval))).await;
        env.wait_for_reason(&pipeline, Reason::Delivered).await;
    }
    println!("{DECISIONS} decisions of the healthy target: {:?}", started.elapsed());
    assert_eq!(healthy.ledger().len(), DECISIONS);
    for account in &broken {
        assert_eq!(account.request_count(Operation::PutApprovalResult), 0);
    }
    // Each says what is wrong, and continues when that ends.
    let reported =
        |decision: &ApprovalDecision| matches!(reason(decision), Some(Reason::AccessDenied | Reason::TargetNotReady));
    env.wait_until("denies-0", "the refusal", reported).await;
    // The calls that failed made the operator ask STS again, long before the next regular time.
    site.wait_for("denies", "AssumeRoleDenied").await;
    broken[0].clear_faults();
    env.wait_for_reason("hangs-0", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_takes_six_seconds_to_assume_is_assumed_once_for_a_decision() {
    let site = Site::new().await;
    let env = &site.env;
    site.create("slow", ONE).await;
    let _operator = env.operator().arg("--aws-timeout=10s").start();
    site.wait_for("slow", "Verified").await;
    let account = env.codepipeline.in_account(ONE, REGION);
    // Longer than an intent may take to be written.
    account.inject(Fault::delayed().delay_before(Duration::from_secs(6)).on(StsOperation::AssumeRole).always());
    let approval = account.open_approval("shop", "Prod", "Approve").unwrap();
    env.create("release", through("slow", spec("shop", &approval))).await;
    env.wait_for_reason("release", Reason::Delivered).await;
    let calls = env.codepipeline.sts_calls();
    let sessions =
        calls.iter().filter(|call| call.session_name.as_deref().is_some_and(|name| name.contains(".release.")));
    assert_eq!(sessions.count(), 1, "{calls:?}");
}
