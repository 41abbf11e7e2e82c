//! What ten thousand decisions cost that wait on a hundred pipelines: reads, writes, processor time and memory, and how long
//! a token goes unanswered. The operator is the release build, the API server is real, and the endpoint is the local one;
//! so reads are told a pipeline and an interval, and times beside what the interval alone makes of them.
//!
//! `make bench` prints the figures. Nothing fails here but what would make them meaningless.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, SourceRevision,
};
use futures::future::join_all;
use futures::{StreamExt, stream};
use kube::api::{ListParams, PostParams};
use local_codepipeline::api::Operation;
use local_codepipeline::model::{
    ActionDefinition, Category, LedgerEntry, PipelineDefinition, PipelineExecutionId as RunId, StageDefinition, Takes,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::Case;
use tokio::time::sleep;

const PIPELINES: usize = 100;
const DECISIONS_EACH: usize = 100;
const INTERVAL: Duration = Duration::from_secs(15);
/// How many intervals are measured.
const INTERVALS: u32 = 4;
/// How many tokens appear, spread over an interval.
const TOKENS: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let case = Case::new().await;
    let runs: Vec<RunId> = (0..PIPELINES).map(|number| start_run(&case, number)).collect();
    // Enough that the pace of reads is the interval's and not this limit's.
    let operator = case
        .operator()
        .set("APPROVAL_OPERATOR_POLL_INTERVAL", &format!("{}s", INTERVAL.as_secs()))
        .argument("--aws-requests-per-second=100")
        .start();
    operator.until_ready().await;
    let idle = Usage::of(operator.pid());

    let begun = Instant::now();
    create_decisions(&case, &runs).await;
    println!("{:>10.1} s    to create {} decisions", begun.elapsed().as_secs_f64(), PIPELINES * DECISIONS_EACH);
    let waiting = "approval_operator_decisions{reason=\"Waiting\"}";
    let all = (PIPELINES * DECISIONS_EACH) as f64;
    while operator.metric(waiting).await < all {
        sleep(Duration::from_millis(100)).await;
    }
    println!("{:>10.1} s    until all of them wait", begun.elapsed().as_secs_f64());
    sleep(INTERVAL).await;

    let (before, reads, versions) = (Usage::of(operator.pid()), reads(&case), versions(&case).await);
    let window = Instant::now();
    sleep(INTERVAL * INTERVALS).await;
    let (after, window) = (Usage::of(operator.pid()), window.elapsed());
    println!("\nWaiting, over {INTERVALS} intervals of {} s:", INTERVAL.as_secs());
    for (operation, count) in self::reads(&case) {
        let count = (count - reads[&operation]) as f64;
        println!(
            "{:>10.2}      {} a pipeline an interval",
            count / PIPELINES as f64 / (window.as_secs_f64() / INTERVAL.as_secs_f64()),
            operation
        );
    }
    let changed = self::versions(&case).await.iter().zip(&versions).filter(|(now, then)| now != then).count();
    println!("{changed:>10}      decisions written");
    let cpu = (after.cpu - before.cpu).as_secs_f64() / window.as_secs_f64();
    println!("{:>10.2} %    of one core", cpu * 100.0);
    println!("{:>10.1} MB   resident, {:.1} MB of it with no decision at all", megabytes(after), megabytes(idle));
    let each = (after.resident - idle.resident) as f64 / all / 1024.0;
    println!("{each:>10.2} kB   a decision");

    let answers = runs.iter().take(TOKENS).enumerate().map(async |(number, run)| {
        sleep(INTERVAL * number as u32 / TOKENS as u32).await;
        until_answered(&case, number, *run).await
    });
    let mut late = join_all(answers).await;
    late.sort();
    println!("\nFrom a token's appearing to its answer, of {TOKENS}; an interval is {} s:", INTERVAL.as_secs());
    println!("{:>10.2} s    median", late[TOKENS / 2].as_secs_f64());
    println!("{:>10.2} s    longest", late[TOKENS - 1].as_secs_f64());
}

/// What a process has used of the machine.
#[derive(Clone, Copy)]
struct Usage {
    /// Processor time since it started.
    cpu: Duration,
    /// Memory in bytes.
    resident: u64,
}

impl Usage {
    fn of(pid: u32) -> Self {
        // proc_pid_stat(5): times are in hundredths of a second, memory in pages of 4096 bytes.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or_default()).collect();
        Self { cpu: Duration::from_millis((fields[11] + fields[12]) * 10), resident: fields[21] * 4096 }
    }
}

fn megabytes(usage: Usage) -> f64 {
    usage.resident as f64 / 1024.0 / 1024.0
}

fn name(number: usize) -> String {
    format!("pipeline-{number}")
}

/// A run that is in Build until it is told to go on.
fn start_run(case: &Case, number: usize) -> RunId {
    let name = name(number);
    case.service.service(|service, now| {
        let mut pipeline = PipelineDefinition::with_approval(&name, "Prod", "Approve").unwrap();
        let mut compile = ActionDefinition::new("Compile", Category::Build).unwrap();
        compile.takes = Some(Takes::UntilTold);
        pipeline.stages.insert(1, StageDefinition::new("Build", vec![compile]).unwrap());
        service.put_pipeline(now, pipeline).unwrap();
        service.start_execution(now, &name, &[]).unwrap()
    })
}

/// One for the run of each pipeline, and the others for commits that have no run yet.
async fn create_decisions(case: &Case, runs: &[RunId]) {
    let decisions = runs.iter().enumerate().flat_map(|(number, run)| {
        (0..DECISIONS_EACH).map(move |each| {
            let commit = SourceRevision { revision_id: format!("{number:020}{each:020}"), action_name: None };
            let spec = ApprovalDecisionSpec {
                pipeline_name: name(number),
                stage_name: "Prod".to_owned(),
                action_name: "Approve".to_owned(),
                token: None,
                pipeline_execution_id: (each == 0).then(|| PipelineExecutionId(run.to_string())),
                source_revision: (each > 0).then_some(commit),
                result: ApprovalResult { status: ApprovalStatus::Approved, summary: "measured".to_owned() },
                not_after: None,
                suspend: false,
            };
            ApprovalDecision::new(&format!("{}-{each}", name(number)), spec)
        })
    });
    let created = stream::iter(decisions).map(async |decision| {
        case.decisions.create(&PostParams::default(), &decision).await.unwrap();
    });
    created.buffer_unordered(32).collect::<()>().await;
}

/// How often each operation was asked for.
fn reads(case: &Case) -> BTreeMap<&'static str, u64> {
    let operations = [
        ("GetPipelineState", Operation::GetPipelineState),
        ("ListPipelineExecutions", Operation::ListPipelineExecutions),
        ("ListActionExecutions", Operation::ListActionExecutions),
    ];
    operations.map(|(name, operation)| (name, case.service.requests(operation))).into()
}

/// Every decision's resourceVersion.
async fn versions(case: &Case) -> Vec<Option<String>> {
    let decisions = case.decisions.list_metadata(&ListParams::default()).await.unwrap();
    decisions.items.into_iter().map(|decision| decision.metadata.resource_version).collect()
}

/// Has a pipeline come to its approval, and says how long that went unanswered.
async fn until_answered(case: &Case, number: usize, run: RunId) -> Duration {
    let name = name(number);
    let appeared = case.service.service(|service, now| {
        service.complete_action(now, &name, run, ("Build", "Compile"), true).unwrap();
        now
    });
    let accepted = |entry: &&LedgerEntry| entry.pipeline_name == name && entry.is_accepted();
    case.service.wait_for(|service, _| service.ledger().iter().any(|entry| accepted(&entry))).await;
    let ledger = case.service.ledger();
    let answer = ledger.iter().find(accepted).unwrap();
    Duration::try_from(answer.at.duration_since(appeared)).unwrap()
}
