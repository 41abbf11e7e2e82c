//! A trial: one contender and one workload, from an empty cluster to the metrics.

use crate::ceiling::DONE;
use crate::contender::{Contender, Running};
use crate::decision_watcher::{DecisionWatcher, Times};
use crate::environment::Environment;
use crate::request_counts::RequestCounts;
use crate::resource_usage::ResourceUsage;
use crate::workload::{self, Binding, Workload};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use local_codepipeline::api::Operation;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until};

/// Trials with more decisions than this use several namespaces.
const MAX_DECISIONS_OF_ONE_NAMESPACE: usize = 5_000;
const NAMESPACES: usize = 10;

const TRIAL_TIMEOUT: Duration = Duration::from_secs(300);

/// How often to check that the contender has not exited.
const EXIT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// All Events are written when their number does not change for this long.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

pub const DECISIONS_PER_SECOND: &str = "decisions per second";
pub const CPU: &str = "CPU s per 1,000 decisions";
pub const PEAK_MEMORY: &str = "peak memory (MiB)";
pub const MEMORY_AT_THE_END: &str = "memory at the end (MiB)";
pub const START_TO_SUBMISSION: &str = "start to first submission (s)";
pub const APPLY_TO_READY_P50: &str = "apply to Ready, p50 (ms)";

/// Values by name.
pub type Metrics = BTreeMap<&'static str, f64>;

pub async fn measure(contender: &Contender, workload: Workload) -> Metrics {
    match workload {
        Workload::Waiting { decisions, delay_ms } => {
            measure_waiting(contender, decisions, Duration::from_millis(delay_ms)).await
        }
        Workload::Arriving { decisions, per_second, binding } => {
            measure_arriving(contender, decisions, per_second, binding).await
        }
    }
}

/// What the servers, this process and the contender have used before the measured part of a trial.
struct UsageBefore {
    requests: RequestCounts,
    api_server: ResourceUsage,
    etcd: ResourceUsage,
    benchmark: ResourceUsage,
    contender_cpu: Duration,
}

impl UsageBefore {
    async fn read(environment: &Environment, contender_cpu: Duration) -> Self {
        Self {
            requests: RequestCounts::read(&environment.client).await,
            api_server: ResourceUsage::of_program("kube-apiserver"),
            etcd: ResourceUsage::of_program("etcd"),
            benchmark: ResourceUsage::of_this_process(),
            contender_cpu,
        }
    }

    /// What each decision has cost since then.
    async fn costs_since(&self, environment: &Environment, running: &Running, decisions: usize) -> Metrics {
        let requests = RequestCounts::read(&environment.client).await.since(&self.requests);
        let each = |count: f64| count / decisions as f64;
        let per_thousand = |now: ResourceUsage, before: Duration| each((now.cpu - before).as_secs_f64() * 1000.0);
        let calls = |operation| environment.codepipeline.request_count(operation) as f64;
        let reads = [Operation::GetPipelineState, Operation::ListActionExecutions, Operation::ListPipelineExecutions];
        let api_server = ResourceUsage::of_program("kube-apiserver");
        let etcd = ResourceUsage::of_program("etcd");
        Metrics::from([
            (CPU, per_thousand(running.usage(), self.contender_cpu)),
            ("API server CPU s per 1,000 decisions", per_thousand(api_server, self.api_server.cpu)),
            ("etcd CPU s per 1,000 decisions", per_thousand(etcd, self.etcd.cpu)),
            ("benchmark CPU s per 1,000 decisions", per_thousand(ResourceUsage::of_this_process(), self.benchmark.cpu)),
            ("status writes per decision", each(requests.status_writes())),
            ("Event writes per decision", each(requests.event_writes())),
            ("other API requests per decision", each(requests.other_requests())),
            ("PutApprovalResult calls per decision", each(calls(Operation::PutApprovalResult))),
            ("CodePipeline reads per decision", each(reads.into_iter().map(calls).sum())),
        ])
    }
}

async fn measure_waiting(contender: &Contender, decisions: usize, delay: Duration) -> Metrics {
    let namespaces = if decisions > MAX_DECISIONS_OF_ONE_NAMESPACE { NAMESPACES } else { 1 };
    let environment = Environment::start(namespaces, delay).await;
    workload::create_all(&environment, 0..decisions).await;
    let mut watcher = DecisionWatcher::start(&environment.client).await;
    let before = UsageBefore::read(&environment, Duration::ZERO).await;
    let mut running = contender.start(&environment);
    if !contender.makes_ready() {
        let seconds = until_ceiling_is_done(&mut running).await;
        let mut metrics = before.costs_since(&environment, &running, decisions).await;
        metrics.insert("requests per second", decisions as f64 / seconds);
        return metrics;
    }
    wait_until_ready(&mut watcher, &mut running, decisions).await;
    let last_event = until_events_are_written(&environment).await;

    let times = watcher.times();
    let first_status = times.values().filter_map(|times| times.first_status).min().unwrap();
    let last_ready = times.values().filter_map(|times| times.ready).max().unwrap();
    let mut metrics = Metrics::from([
        (DECISIONS_PER_SECOND, decisions as f64 / (last_ready - first_status).as_secs_f64()),
        ("start to all Ready (s)", (last_ready - running.started).as_secs_f64()),
        ("last Ready to last Event (s)", last_event.saturating_duration_since(last_ready).as_secs_f64()),
        (MEMORY_AT_THE_END, running.usage().mebibytes()),
        (PEAK_MEMORY, running.peak_mebibytes()),
    ]);
    metrics.extend(before.costs_since(&environment, &running, decisions).await);
    if contender.submits() {
        workload::assert_delivered(&environment, decisions).await;
        metrics.insert(START_TO_SUBMISSION, seconds_to_submission(&environment, &running, 0));
        running.stop();
        metrics.extend(measure_restart(contender, &environment, &mut watcher, decisions).await);
    } else {
        workload::assert_all_ready(&environment, decisions).await;
    }
    metrics
}

/// Starts the contender again, with one new decision among all that are delivered.
async fn measure_restart(
    contender: &Contender,
    environment: &Environment,
    watcher: &mut DecisionWatcher,
    delivered: usize,
) -> Metrics {
    workload::create_all(environment, delivered..delivered + 1).await;
    let mut running = contender.start(environment);
    wait_until_ready(watcher, &mut running, delivered + 1).await;
    let seconds = seconds_to_submission(environment, &running, delivered);
    let cpu = running.usage().cpu.as_secs_f64();
    sleep(QUIET_PERIOD).await;
    let memory = running.usage().mebibytes();
    workload::assert_delivered(environment, delivered + 1).await;
    running.stop();
    Metrics::from([
        ("restart to first submission (s)", seconds),
        ("CPU s of the restart", cpu),
        ("memory after the restart (MiB)", memory),
    ])
}

async fn measure_arriving(contender: &Contender, decisions: usize, per_second: u32, binding: Binding) -> Metrics {
    let environment = Environment::start(1, Duration::ZERO).await;
    let mut watcher = DecisionWatcher::start(&environment.client).await;
    let mut running = contender.start(&environment);
    // One decision that is not measured shows that the contender is up.
    workload::create_all(&environment, decisions..decisions + 1).await;
    wait_until_ready(&mut watcher, &mut running, 1).await;
    sleep(QUIET_PERIOD).await;
    let idle = running.usage();
    let before = UsageBefore::read(&environment, idle.cpu).await;

    let prepared: Vec<_> = (0..decisions).map(|number| workload::prepare(&environment, number, binding)).collect();
    let started_at = Instant::now();
    let applied = prepared.iter().enumerate().map(async |(number, decision)| {
        sleep_until((started_at + Duration::from_secs(1) * number as u32 / per_second).into()).await;
        let applied_at = Instant::now();
        workload::create(&environment, decision).await;
        applied_at
    });
    let applied = futures::future::join_all(applied).await;
    wait_until_ready(&mut watcher, &mut running, decisions + 1).await;
    until_events_are_written(&environment).await;

    let times = watcher.times();
    let ready_at = |number: usize| times.get(&number).and_then(|times: &Times| times.ready).unwrap();
    let latency = |(number, applied_at): (usize, &Instant)| (ready_at(number) - *applied_at).as_secs_f64() * 1000.0;
    let mut latencies: Vec<f64> = applied.iter().enumerate().map(latency).collect();
    latencies.sort_by(f64::total_cmp);
    let percentile = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
    let mut metrics = Metrics::from([
        (APPLY_TO_READY_P50, percentile(50)),
        ("apply to Ready, p95 (ms)", percentile(95)),
        ("apply to Ready, p99 (ms)", percentile(99)),
        ("memory when idle (MiB)", idle.mebibytes()),
        (MEMORY_AT_THE_END, running.usage().mebibytes()),
        (PEAK_MEMORY, running.peak_mebibytes()),
    ]);
    metrics.extend(before.costs_since(&environment, &running, decisions).await);
    workload::assert_delivered(&environment, decisions + 1).await;
    running.stop();
    metrics
}

/// Waits until `count` decisions are Ready.
async fn wait_until_ready(watcher: &mut DecisionWatcher, running: &mut Running, count: usize) {
    let started_at = Instant::now();
    while !watcher.wait_until_ready(count, EXIT_CHECK_INTERVAL).await {
        assert!(!running.has_exited(), "the contender exited: {}", last_lines(running));
        let is_in_time = started_at.elapsed() < TRIAL_TIMEOUT;
        assert!(is_in_time, "the contender did not finish within {TRIAL_TIMEOUT:?}: {}", last_lines(running));
    }
}

/// Waits until the ceiling reports that it is done, and returns the seconds that it reports.
async fn until_ceiling_is_done(running: &mut Running) -> f64 {
    let started_at = Instant::now();
    loop {
        let log = running.log();
        let seconds = log.lines().find_map(|line| line.strip_prefix(DONE)?.parse().ok());
        if let Some(seconds) = seconds {
            return seconds;
        }
        let may_finish = !running.has_exited() && started_at.elapsed() < TRIAL_TIMEOUT;
        assert!(may_finish, "the ceiling did not finish: {}", last_lines(running));
        sleep(QUIET_PERIOD / 20).await;
    }
}

/// The seconds from the start of the process to its first submission, which follows `previous` ones of an earlier process.
fn seconds_to_submission(environment: &Environment, running: &Running, previous: usize) -> f64 {
    let submitted_at = environment.codepipeline.ledger().get(previous).unwrap().at;
    submitted_at.duration_since(running.start_time).as_secs_f64()
}

/// Waits until no new Events appear, because contenders write them asynchronously. Returns when the last one appeared.
async fn until_events_are_written(environment: &Environment) -> Instant {
    let (mut count, mut changed_at) = (count_events(environment).await, Instant::now());
    while changed_at.elapsed() < QUIET_PERIOD {
        sleep(QUIET_PERIOD / 20).await;
        let current = count_events(environment).await;
        if current > count {
            (count, changed_at) = (current, Instant::now());
        }
    }
    changed_at
}

/// Reads one Event only, because the response says how many remain.
async fn count_events(environment: &Environment) -> i64 {
    let api: Api<Event> = Api::all(environment.client.clone());
    let page = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    page.items.len() as i64 + page.metadata.remaining_item_count.unwrap_or_default()
}

fn last_lines(running: &Running) -> String {
    let log = running.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
