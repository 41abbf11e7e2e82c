//! What decisions that wait cost: reads, writes, CPU time and memory, and the time from a token's appearance to the submission. One case has
//! 10,000 decisions on 100 pipelines, the other 50 targets. The API server is real, CodePipeline is the local one.
//!
//! `make bench` prints the numbers. Reads are per pipeline and poll interval, so that they do not depend on the machine.
//! `-- pipelines` or `-- targets` selects a case.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

mod targets;
mod usage;

use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, SourceRevision,
};
use futures::future::join_all;
use futures::{StreamExt, stream};
use kube::api::{ListParams, PostParams};
use local_codepipeline::api::Operation;
use local_codepipeline::model::{LedgerEntry, PipelineExecutionId as ExecutionId};
use std::time::{Duration, Instant};
use test_support::{TestEnv, pipeline_with_build};
use tokio::time::sleep;
use usage::{ResourceUsage, mebibytes};

const PIPELINES: usize = 100;
const DECISIONS_PER_PIPELINE: usize = 100;
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// How many poll intervals to measure.
const INTERVALS: u32 = 4;
/// How many tokens appear during one poll interval.
const TOKENS: usize = 20;

const READS: [(&str, Operation); 3] = [
    ("GetPipelineState", Operation::GetPipelineState),
    ("ListPipelineExecutions", Operation::ListPipelineExecutions),
    ("ListActionExecutions", Operation::ListActionExecutions),
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let selected: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_selected = |case: &str| selected.is_empty() || selected.iter().any(|name| name == case);
    if is_selected("pipelines") {
        runtime.block_on(measure());
    }
    if is_selected("targets") {
        runtime.block_on(targets::measure());
    }
}

async fn measure() {
    let env = TestEnv::new().await;
    let executions: Vec<ExecutionId> = (0..PIPELINES).map(|number| start_execution(&env, number)).collect();
    // The rate limit is high enough that only the poll interval limits the reads.
    let operator = env
        .operator()
        .env("APPROVAL_OPERATOR_POLL_INTERVAL", &format!("{}s", POLL_INTERVAL.as_secs()))
        .arg("--aws-requests-per-second=100")
        .start();
    operator.wait_until_ready().await;
    let idle = ResourceUsage::of(operator.pid());

    let started_at = Instant::now();
    create_decisions(&env, &executions).await;
    let all = PIPELINES * DECISIONS_PER_PIPELINE;
    println!("{:>10.1} s    to create {all} decisions", started_at.elapsed().as_secs_f64());
    while operator.metric("approval_operator_decisions{reason=\"Waiting\"}").await < all as f64 {
        sleep(Duration::from_millis(100)).await;
    }
    println!("{:>10.1} s    until all of them are Waiting", started_at.elapsed().as_secs_f64());
    sleep(POLL_INTERVAL).await;

    let (usage_before, reads_before) = (ResourceUsage::of(operator.pid()), count_reads(&env));
    let versions_before = resource_versions(&env).await;
    let window_start = Instant::now();
    sleep(POLL_INTERVAL * INTERVALS).await;
    let (usage, window) = (ResourceUsage::of(operator.pid()), window_start.elapsed());
    println!("\nWhile they wait, over {INTERVALS} poll intervals of {} s:", POLL_INTERVAL.as_secs());
    let intervals = window.as_secs_f64() / POLL_INTERVAL.as_secs_f64();
    for ((name, _), (count, before)) in READS.iter().zip(count_reads(&env).iter().zip(reads_before)) {
        println!(
            "{:>10.2}      {name} per pipeline and interval",
            (count - before) as f64 / PIPELINES as f64 / intervals
        );
    }
    let versions = resource_versions(&env).await;
    let written = versions.iter().zip(&versions_before).filter(|(now, before)| now != before).count();
    println!("{written:>10}      decisions written");
    let cpu = (usage.cpu - usage_before.cpu).as_secs_f64() / window.as_secs_f64();
    println!("{:>10.2} %    of one core", cpu * 100.0);
    println!("{:>10.1} MiB  resident, {:.1} MiB before the first decision", mebibytes(usage), mebibytes(idle));
    let per_decision = (usage.resident - idle.resident) as f64 / all as f64 / 1024.0;
    println!("{per_decision:>10.2} KiB  per decision");

    let latencies = executions.iter().take(TOKENS).enumerate().map(async |(number, execution)| {
        sleep(POLL_INTERVAL * number as u32 / TOKENS as u32).await;
        time_to_submission(&env, number, *execution).await
    });
    let mut latencies = join_all(latencies).await;
    latencies.sort();
    println!("\nFrom the appearance of a token to its submission, of {TOKENS} tokens:");
    println!("{:>10.2} s    median", latencies[TOKENS / 2].as_secs_f64());
    println!("{:>10.2} s    longest", latencies[TOKENS - 1].as_secs_f64());
}

fn pipeline_name(number: usize) -> String {
    format!("pipeline-{number}")
}

/// Starts an execution that stays in the Build stage until the benchmark completes it.
fn start_execution(env: &TestEnv, number: usize) -> ExecutionId {
    let name = pipeline_name(number);
    env.codepipeline.with_service(|service, now| {
        service.put_pipeline(now, pipeline_with_build(&name)).unwrap();
        service.start_execution(now, &name, &[]).unwrap()
    })
}

/// Creates one decision for the execution of each pipeline. The others name revisions that have no execution yet.
async fn create_decisions(env: &TestEnv, executions: &[ExecutionId]) {
    let decisions = executions.iter().enumerate().flat_map(|(number, execution)| {
        (0..DECISIONS_PER_PIPELINE).map(move |index| {
            let revision = SourceRevision { action_name: None, revision_id: Some(format!("{number:020}{index:020}")) };
            let result = ApprovalResult { status: ApprovalStatus::Approved, summary: "measured".to_owned() };
            let [stage, action] = ["Prod", "Approve"].map(str::to_owned);
            let spec = ApprovalDecisionSpec {
                pipeline_execution_id: (index == 0).then(|| PipelineExecutionId(execution.to_string())),
                source_revisions: (index > 0).then_some(revision).into_iter().collect(),
                ..ApprovalDecisionSpec::new(pipeline_name(number), stage, action, result)
            };
            ApprovalDecision::new(&format!("{}-{index}", pipeline_name(number)), spec)
        })
    });
    let created = stream::iter(decisions).map(async |decision| {
        env.decisions.create(&PostParams::default(), &decision).await.unwrap();
    });
    created.buffer_unordered(32).collect::<()>().await;
}

fn count_reads(env: &TestEnv) -> [u64; READS.len()] {
    READS.map(|(_, operation)| env.codepipeline.request_count(operation))
}

async fn resource_versions(env: &TestEnv) -> Vec<Option<String>> {
    let decisions = env.decisions.list_metadata(&ListParams::default()).await.unwrap();
    decisions.items.into_iter().map(|decision| decision.metadata.resource_version).collect()
}

/// Completes the build of a pipeline, so that its token appears, and measures the time until the operator submits the result.
async fn time_to_submission(env: &TestEnv, number: usize, execution: ExecutionId) -> Duration {
    let name = pipeline_name(number);
    let appeared_at = env.codepipeline.with_service(|service, now| {
        service.complete_action(now, &name, execution, ("Build", "Compile"), true).unwrap();
        now
    });
    let is_accepted = |entry: &&LedgerEntry| entry.pipeline_name == name && entry.is_accepted();
    env.codepipeline.wait_for(|service, _| service.ledger().iter().any(|entry| is_accepted(&entry))).await;
    let ledger = env.codepipeline.ledger();
    let accepted = ledger.iter().find(is_accepted).unwrap();
    Duration::try_from(accepted.at.duration_since(appeared_at)).unwrap()
}
