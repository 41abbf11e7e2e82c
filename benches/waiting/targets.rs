//! What targets cost, and what one that is down costs the others: 50 targets with 20 pipelines each, and a decision that waits on every
//! pipeline. The limits are the defaults, which hold for each target.

use super::usage::{ResourceUsage, mebibytes};
use super::{INTERVALS, POLL_INTERVAL, READS};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalTarget, TargetRef};
use futures::future::join_all;
use futures::{StreamExt, stream};
use kube::Api;
use kube::api::PostParams;
use local_codepipeline::faults::Fault;
use local_codepipeline::iam::{Role, StsOperation};
use local_codepipeline::model::{LedgerEntry, PipelineExecutionId as ExecutionId};
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::{TestEnv, for_execution, pipeline_with_build};
use tokio::time::sleep;

const TARGETS: usize = 50;
const PIPELINES_PER_TARGET: usize = 20;
const REGION: &str = "eu-central-1";
/// The target that is down in the second window.
const DOWN: usize = 0;
/// How many tokens appear during one poll interval.
const TOKENS: usize = 20;

struct Site {
    env: TestEnv,
    /// The executions, by target and pipeline.
    executions: Vec<Vec<ExecutionId>>,
}

pub async fn measure() {
    println!("\n{TARGETS} targets with {PIPELINES_PER_TARGET} pipelines each, and a decision on every pipeline:");
    let env = TestEnv::new().await;
    let operator = env
        .operator()
        .env("APPROVAL_OPERATOR_POLL_INTERVAL", &format!("{}s", POLL_INTERVAL.as_secs()))
        .arg("--aws-requests-per-second=5")
        .arg("--aws-timeout=10s")
        .start();
    operator.wait_until_ready().await;
    let idle = ResourceUsage::of(operator.pid());
    let executions = (0..TARGETS).map(|target| start_executions(&env, target)).collect();
    let site = Site { env, executions };
    site.create_targets().await;
    for target in 0..TARGETS {
        let ready = format!("approval_operator_target_ready{{target=\"{}\"}}", target_name(target));
        while operator.metric(&ready).await < 1.0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
    let verified = ResourceUsage::of(operator.pid());
    site.create_decisions().await;
    let all = TARGETS * PIPELINES_PER_TARGET;
    while operator.metric("approval_operator_decisions{reason=\"Waiting\"}").await < all as f64 {
        sleep(Duration::from_millis(100)).await;
    }
    // For a minute after an execution changes, polls also read its history.
    sleep(POLL_INTERVAL * 5).await;
    let waiting = ResourceUsage::of(operator.pid());
    println!("{:>10.1} MiB  resident, {:.1} MiB before the first target", mebibytes(waiting), mebibytes(idle));
    let per = |from: ResourceUsage, to: ResourceUsage, count: usize| {
        (to.resident as f64 - from.resident as f64) / count as f64 / 1024.0
    };
    println!("{:>10.1} KiB  per target that is verified", per(idle, verified, TARGETS));
    println!("{:>10.1} KiB  per target with its pipelines and decisions", per(idle, waiting, TARGETS));

    println!("\nWhile all targets are up, over {INTERVALS} poll intervals of {} s:", POLL_INTERVAL.as_secs());
    site.measure_reads(operator.pid(), 0).await;
    site.measure_latencies(0).await;

    let down = site.env.codepipeline.in_account(&account(DOWN), REGION);
    down.inject(Fault::hang_before_applying().always());
    down.inject(Fault::hang_before_applying().on(StsOperation::AssumeRole).always());
    println!("\nWhile CodePipeline and STS of {} hang:", target_name(DOWN));
    site.measure_reads(operator.pid(), 1).await;
    site.measure_latencies(1).await;
}

fn target_name(target: usize) -> String {
    format!("target-{target}")
}

fn pipeline_name(pipeline: usize) -> String {
    format!("pipeline-{pipeline}")
}

fn account(target: usize) -> String {
    format!("{:012}", 200_000_000_000 + target)
}

fn role_arn(target: usize) -> String {
    format!("arn:aws:iam::{}:role/approvals", account(target))
}

/// Starts an execution of each pipeline of a target. It stays in the Build stage until the benchmark completes it.
fn start_executions(env: &TestEnv, target: usize) -> Vec<ExecutionId> {
    env.codepipeline.put_role(Role::new(&role_arn(target)).unwrap());
    let start = |pipeline| {
        let name = pipeline_name(pipeline);
        env.codepipeline.in_account(&account(target), REGION).with_service(|service, now| {
            service.put_pipeline(now, pipeline_with_build(&name)).unwrap();
            service.start_execution(now, &name, &[]).unwrap()
        })
    };
    (0..PIPELINES_PER_TARGET).map(start).collect()
}

impl Site {
    async fn create_targets(&self) {
        let targets: Api<ApprovalTarget> = Api::all(self.env.client.clone());
        for target in 0..TARGETS {
            let target = json!({
                "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalTarget",
                "metadata": { "name": target_name(target) },
                "spec": {
                    "accountId": account(target), "region": REGION, "roleArn": role_arn(target),
                    "access": [{ "namespaces": { "names": [self.env.namespace] }, "pipelines": ["*"] }],
                },
            });
            targets.create(&PostParams::default(), &serde_json::from_value(target).unwrap()).await.unwrap();
        }
    }

    async fn create_decisions(&self) {
        let decisions = self.executions.iter().enumerate().flat_map(|(target, executions)| {
            executions.iter().enumerate().map(move |(pipeline, execution)| {
                let name = target_name(target);
                let spec = for_execution(&pipeline_name(pipeline), *execution);
                let target_ref = Some(TargetRef { name: name.clone(), account_id: None, region: None });
                let spec = ApprovalDecisionSpec { target_ref, ..spec };
                ApprovalDecision::new(&format!("{name}-{}", pipeline_name(pipeline)), spec)
            })
        });
        let created = stream::iter(decisions).map(async |decision| {
            self.env.decisions.create(&PostParams::default(), &decision).await.unwrap();
        });
        created.buffer_unordered(32).collect::<()>().await;
    }

    /// The reads of each target so far.
    fn count_reads(&self) -> Vec<u64> {
        let reads = |target| {
            let account = account(target);
            let account = self.env.codepipeline.in_account(&account, REGION);
            READS.iter().map(|(_, operation)| account.request_count(*operation)).sum()
        };
        (0..TARGETS).map(reads).collect()
    }

    /// The reads for the targets but the one that is down in the second window, and the CPU time. Earlier windows have settled the
    /// decisions of this many pipelines, of the targets at which tokens appear.
    async fn measure_reads(&self, operator: u32, settled: usize) {
        let (before, usage_before, started_at) = (self.count_reads(), ResourceUsage::of(operator), Instant::now());
        sleep(POLL_INTERVAL * INTERVALS).await;
        let (after, usage, window) = (self.count_reads(), ResourceUsage::of(operator), started_at.elapsed());
        let intervals = window.as_secs_f64() / POLL_INTERVAL.as_secs_f64();
        let waiting = |target| PIPELINES_PER_TARGET - if (1..=TOKENS).contains(&target) { settled } else { 0 };
        let reads = |target| (after[target] - before[target]) as f64 / intervals / waiting(target) as f64;
        let mut others: Vec<f64> = (0..TARGETS).filter(|target| *target != DOWN).map(reads).collect();
        others.sort_by(f64::total_cmp);
        let mean = others.iter().sum::<f64>() / others.len() as f64;
        let (least, most) = (others[0], others[others.len() - 1]);
        println!(
            "{mean:>10.2}      reads per pipeline and interval (from {least:.2} to {most:.2}, by target), {} not counted",
            target_name(DOWN)
        );
        println!("{:>10.2}      reads per pipeline of {} and interval", reads(DOWN), target_name(DOWN));
        println!(
            "{:>10.2} %    of one core",
            (usage.cpu - usage_before.cpu).as_secs_f64() / window.as_secs_f64() * 100.0
        );
    }

    /// The time from the appearance of a token to its submission, at targets that are up. Each window uses pipelines of its own.
    async fn measure_latencies(&self, pipeline: usize) {
        let latencies = (1..=TOKENS).map(async |target| {
            sleep(POLL_INTERVAL * target as u32 / TOKENS as u32).await;
            self.time_to_submission(target, pipeline).await
        });
        let mut latencies = join_all(latencies).await;
        latencies.sort();
        println!(
            "{:>10.2} s    from the appearance of a token to its submission, median of {TOKENS}",
            latencies[TOKENS / 2].as_secs_f64()
        );
        println!("{:>10.2} s    longest", latencies[TOKENS - 1].as_secs_f64());
    }

    async fn time_to_submission(&self, target: usize, pipeline: usize) -> Duration {
        let (account, name) = (account(target), pipeline_name(pipeline));
        let account = self.env.codepipeline.in_account(&account, REGION);
        let execution = self.executions[target][pipeline];
        let appeared_at = account.with_service(|service, now| {
            service.complete_action(now, &name, execution, ("Build", "Compile"), true).unwrap();
            now
        });
        let is_accepted = |entry: &&LedgerEntry| entry.pipeline_name == name && entry.is_accepted();
        account.wait_for(|service, _| service.ledger().iter().any(|entry| is_accepted(&entry))).await;
        let ledger = account.ledger();
        let accepted = ledger.iter().find(is_accepted).unwrap();
        Duration::try_from(accepted.at.duration_since(appeared_at)).unwrap()
    }
}
