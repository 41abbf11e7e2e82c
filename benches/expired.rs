//! How long a new decision with a token takes from its creation to its submission, alone and while 2,000 expired decisions with tokens are
//! created again, as after a restore from Git. They read the history of ten pipelines, and must not hold up the new one.
//!
//! `make bench` prints both times in one run, and the reads per expired decision.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

use approval_operator::api::v1alpha1::{ApprovalDecision, UserTime};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::PostParams;
use local_codepipeline::api::{ApprovalStatus, Operation};
use local_codepipeline::model::LedgerEntry;
use std::time::{Duration, Instant};
use test_support::{BOB, TestEnv, spec};
use tokio::time::sleep;

const PIPELINES: usize = 10;
const DECISIONS_PER_PIPELINE: usize = 200;
/// How many new decisions are timed in each situation, one after the other.
const NEW: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let env = TestEnv::new().await;
    let expired = expired_decisions(&env);
    let operator = env.operator().start();
    operator.wait_until_ready().await;

    let alone = submission_times(&env, "alone").await;
    report("alone", &alone);

    let started_at = Instant::now();
    let mut created = std::pin::pin!(
        stream::iter(&expired)
            .map(async |decision| drop(env.decisions.create(&PostParams::default(), decision).await.unwrap()))
            .buffer_unordered(32)
    );
    // The first expired decisions are in the operator's hands when the new ones arrive, and the rest arrives meanwhile.
    for _ in 0..expired.len() / 10 {
        created.next().await;
    }
    let (beside, ()) = tokio::join!(submission_times(&env, "beside"), created.collect::<()>());
    report("beside them", &beside);
    println!("{:>10.1} x    the median alone", beside[NEW / 2].as_secs_f64() / alone[NEW / 2].as_secs_f64());

    while operator.metric("approval_operator_decisions{reason=\"AlreadyDecided\"}").await < expired.len() as f64 {
        sleep(Duration::from_millis(100)).await;
    }
    println!("{:>10.1} s    until all {} are settled", started_at.elapsed().as_secs_f64(), expired.len());
    let reads = Operation::ALL.iter().filter(|operation| **operation != Operation::PutApprovalResult);
    let reads: u64 = reads.map(|read| env.codepipeline.request_count(*read)).sum();
    println!("{reads:>10}      reads, {:.2} per expired decision", reads as f64 / expired.len() as f64);
}

/// Decisions whose time is over, and whose requests got a response from someone else.
fn expired_decisions(env: &TestEnv) -> Vec<ApprovalDecision> {
    let pipelines = (0..PIPELINES).map(|number| format!("pipeline-{number}"));
    let decisions = pipelines.flat_map(|pipeline| {
        let approval = env.open_approval(&pipeline);
        let at = (pipeline.as_str(), "Prod", "Approve");
        env.codepipeline.respond_as(BOB, at, approval.token, ApprovalStatus::Approved, "yes").unwrap();
        let mut spec = spec(&pipeline, &approval);
        spec.not_after = Some(UserTime("2026-01-01T00:00:00Z".to_owned()));
        (0..DECISIONS_PER_PIPELINE)
            .map(move |number| ApprovalDecision::new(&format!("{pipeline}-{number}"), spec.clone()))
    });
    decisions.collect()
}

/// From the creation of a decision to the acceptance of its result, in ascending order.
async fn submission_times(env: &TestEnv, prefix: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..NEW {
        let pipeline = format!("{prefix}-{number}");
        let approval = env.open_approval(&pipeline);
        let decision = ApprovalDecision::new(&pipeline, spec(&pipeline, &approval));
        let created_at = Timestamp::now();
        env.decisions.create(&PostParams::default(), &decision).await.unwrap();
        let is_accepted = |entry: &LedgerEntry| entry.pipeline_name == pipeline && entry.is_accepted();
        env.codepipeline.wait_for(|service, _| service.ledger().iter().any(is_accepted)).await;
        let ledger = env.codepipeline.ledger();
        let accepted = ledger.iter().find(|entry| is_accepted(entry)).unwrap();
        times.push(Duration::try_from(accepted.at.duration_since(created_at)).unwrap());
    }
    times.sort();
    times
}

fn report(name: &str, times: &[Duration]) {
    let [median, longest] = [times[NEW / 2], times[NEW - 1]].map(|time| time.as_secs_f64() * 1000.0);
    println!("{median:>10.1} ms   median of {NEW} {name}, longest {longest:.1} ms");
}
