//! One contender at one piece of work, from an empty cluster to figures.

use crate::ceiling::DONE;
use crate::contender::{Contender, Running};
use crate::counts::Counts;
use crate::ground::Ground;
use crate::observer::{Observer, Seen};
use crate::usage::Usage;
use crate::work::{self, Binding};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use local_codepipeline::api::Operation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until};

/// Over this many, decisions are spread over [`MANY_NAMESPACES`].
const MANY: usize = 5_000;
const MANY_NAMESPACES: usize = 10;

/// The longest that a trial may take.
const LIMIT: Duration = Duration::from_secs(300);

/// How often it is looked whether the contender is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How long the count of Events has to stand still to be taken for the last.
const QUIET: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Work {
    /// So many decisions are there when the contender starts.
    Waiting { decisions: usize, delay_ms: u64 },
    /// So many come in while it runs.
    Arriving { decisions: usize, a_second: u32, bound: bool },
}

/// A figure's name and its value.
pub type Figures = BTreeMap<&'static str, f64>;

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { decisions, delay_ms: 0 } => write!(f, "{decisions} decisions waiting"),
            Self::Waiting { decisions, delay_ms } => {
                write!(f, "{decisions} decisions waiting, the endpoint answering after {delay_ms} ms")
            }
            Self::Arriving { decisions, a_second, bound } => {
                let bound = if *bound { " bound to runs" } else { "" };
                write!(f, "{decisions} decisions{bound} arriving at {a_second} a second")
            }
        }
    }
}

pub async fn measure(contender: &Contender, work: Work) -> Figures {
    match work {
        Work::Waiting { decisions, delay_ms } => waiting(contender, decisions, Duration::from_millis(delay_ms)).await,
        Work::Arriving { decisions, a_second, bound } => {
            let binding = if bound { Binding::Execution } else { Binding::Token };
            arriving(contender, decisions, a_second, binding).await
        }
    }
}

/// What the servers and this process had used, and what was asked, when it began.
struct Before {
    counts: Counts,
    api_server: Usage,
    etcd: Usage,
    own: Usage,
}

impl Before {
    async fn now(ground: &Ground) -> Self {
        Self {
            counts: Counts::of(&ground.client).await,
            api_server: Usage::of_program("kube-apiserver"),
            etcd: Usage::of_program("etcd"),
            own: Usage::own(),
        }
    }

    /// Adds what each decision has cost since.
    async fn add_costs(
        &self,
        figures: &mut Figures,
        ground: &Ground,
        running: &Running,
        cpu: Duration,
        decisions: usize,
    ) {
        let counts = Counts::of(&ground.client).await.since(&self.counts);
        let each = |count: f64| count / decisions as f64;
        let a_thousand = |now: Usage, then: Usage| each((now.cpu - then.cpu).as_secs_f64() * 1000.0);
        let answers = ground.service.requests(Operation::PutApprovalResult) as f64;
        let reads = [Operation::GetPipelineState, Operation::ListActionExecutions, Operation::ListPipelineExecutions];
        let reads: u64 = reads.into_iter().map(|operation| ground.service.requests(operation)).sum();
        figures.extend([
            ("CPU s per 1,000", each((running.usage().cpu - cpu).as_secs_f64() * 1000.0)),
            ("API server CPU s per 1,000", a_thousand(Usage::of_program("kube-apiserver"), self.api_server)),
            ("etcd CPU s per 1,000", a_thousand(Usage::of_program("etcd"), self.etcd)),
            ("watch and endpoint CPU s per 1,000", a_thousand(Usage::own(), self.own)),
            ("status writes each", each(counts.status_writes())),
            ("Events each", each(counts.events())),
            ("other requests to the API server each", each(counts.others())),
            ("calls each", each(answers)),
            ("reads of the service each", each(reads as f64)),
        ]);
    }
}

async fn waiting(contender: &Contender, decisions: usize, delay: Duration) -> Figures {
    let ground = Ground::new(if decisions > MANY { MANY_NAMESPACES } else { 1 }, delay).await;
    work::create(&ground, 0..decisions).await;
    let mut observer = Observer::start(&ground.client).await;
    let before = Before::now(&ground).await;
    let mut running = contender.start(&ground);
    if !contender.finishes() {
        let seconds = until_done(&mut running).await;
        let mut figures = Figures::from([("requests a second", decisions as f64 / seconds)]);
        before.add_costs(&mut figures, &ground, &running, Duration::ZERO, decisions).await;
        return figures;
    }
    until_ready(&mut observer, &mut running, decisions).await;
    let written_by = until_events_are_written(&ground).await;

    let seen = observer.seen();
    let first = seen.values().filter_map(|seen| seen.written).min().unwrap();
    let last = seen.values().filter_map(|seen| seen.ready).max().unwrap();
    let mut figures = Figures::from([
        ("decisions a second", decisions as f64 / (last - first).as_secs_f64()),
        ("s from start to all Ready", (last - running.started).as_secs_f64()),
        ("s from the last Ready to the last Event", written_by.saturating_duration_since(last).as_secs_f64()),
        ("MiB when done", running.usage().mebibytes()),
        ("MiB at most", running.peak()),
    ]);
    before.add_costs(&mut figures, &ground, &running, Duration::ZERO, decisions).await;
    if contender.answers() {
        work::check(&ground, decisions).await;
        figures.insert("s from start to first answer", first_answer(&ground, &running, 0));
        running.stop();
        start_anew(&mut figures, contender, &ground, &mut observer, decisions).await;
    } else {
        work::check_ready(&ground, decisions).await;
    }
    figures
}

/// It starts once more, with nothing to do but for one decision among all that are finished.
async fn start_anew(
    figures: &mut Figures,
    contender: &Contender,
    ground: &Ground,
    observer: &mut Observer,
    decisions: usize,
) {
    work::create(ground, decisions..decisions + 1).await;
    let mut running = contender.start(ground);
    until_ready(observer, &mut running, decisions + 1).await;
    figures.insert("s from start to answer among finished", first_answer(ground, &running, decisions));
    figures.insert("CPU s to start among finished", running.usage().cpu.as_secs_f64());
    sleep(QUIET).await;
    figures.insert("MiB among finished", running.usage().mebibytes());
    work::check(ground, decisions + 1).await;
    running.stop();
}

async fn arriving(contender: &Contender, decisions: usize, a_second: u32, binding: Binding) -> Figures {
    let ground = Ground::new(1, Duration::ZERO).await;
    let mut observer = Observer::start(&ground.client).await;
    let mut running = contender.start(&ground);
    // The first one is not measured: whoever has answered it is up.
    work::create(&ground, decisions..decisions + 1).await;
    until_ready(&mut observer, &mut running, 1).await;
    sleep(QUIET).await;
    let (idle, before) = (running.usage(), Before::now(&ground).await);

    let prepared: Vec<_> = (0..decisions).map(|number| work::decision(&ground, number, binding)).collect();
    let begun = Instant::now();
    let applied = prepared.iter().enumerate().map(async |(number, decision)| {
        sleep_until((begun + Duration::from_secs(1) * number as u32 / a_second).into()).await;
        let at = Instant::now();
        work::apply(&ground, decision).await;
        at
    });
    let applied = futures::future::join_all(applied).await;
    until_ready(&mut observer, &mut running, decisions + 1).await;
    until_events_are_written(&ground).await;

    let seen = observer.seen();
    let ready = |number: usize| seen.get(&number).and_then(|seen: &Seen| seen.ready).unwrap();
    let mut took: Vec<f64> =
        applied.iter().enumerate().map(|(n, at)| (ready(n) - *at).as_secs_f64() * 1000.0).collect();
    took.sort_by(f64::total_cmp);
    let percentile = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    let mut figures = Figures::from([
        ("ms from apply to Ready, p50", percentile(50)),
        ("ms from apply to Ready, p95", percentile(95)),
        ("ms from apply to Ready, p99", percentile(99)),
        ("MiB idle", idle.mebibytes()),
        ("MiB when done", running.usage().mebibytes()),
        ("MiB at most", running.peak()),
    ]);
    before.add_costs(&mut figures, &ground, &running, idle.cpu, decisions).await;
    work::check(&ground, decisions + 1).await;
    running.stop();
    figures
}

/// Waits until so many decisions are Ready.
async fn until_ready(observer: &mut Observer, running: &mut Running, count: usize) {
    let begun = Instant::now();
    while !observer.until_ready(count, LOOK).await {
        assert!(!running.has_ended(), "it ended: {}", last_lines(running));
        assert!(begun.elapsed() < LIMIT, "it was not done within {LIMIT:?}: {}", last_lines(running));
    }
}

/// Waits until it says that it is done, and in how many seconds.
async fn until_done(running: &mut Running) -> f64 {
    let begun = Instant::now();
    loop {
        let log = running.log();
        let seconds = log.lines().find_map(|line| line.strip_prefix(DONE)?.parse().ok());
        if let Some(seconds) = seconds {
            return seconds;
        }
        assert!(!running.has_ended() && begun.elapsed() < LIMIT, "it was never done: {}", last_lines(running));
        sleep(QUIET / 20).await;
    }
}

fn first_answer(ground: &Ground, running: &Running, answers_before: usize) -> f64 {
    let first = ground.service.ledger().get(answers_before).unwrap().at;
    first.duration_since(running.started_at).as_secs_f64()
}

/// Contenders write Events in their own time: waits until none has come for a while, and says when the last was seen.
async fn until_events_are_written(ground: &Ground) -> Instant {
    let (mut count, mut since) = (events(ground).await, Instant::now());
    while since.elapsed() < QUIET {
        sleep(QUIET / 20).await;
        let now = events(ground).await;
        if now > count {
            (count, since) = (now, Instant::now());
        }
    }
    since
}

/// How many there are. Asked for one of them, the server says how many are left.
async fn events(ground: &Ground) -> i64 {
    let api: Api<Event> = Api::all(ground.client.clone());
    let page = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    page.items.len() as i64 + page.metadata.remaining_item_count.unwrap_or_default()
}

fn last_lines(running: &Running) -> String {
    let log = running.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
