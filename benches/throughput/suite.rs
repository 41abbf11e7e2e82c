//! Runs the trials of each part. Contenders take turns within a repetition, so that a change in the machine's speed affects all of
//! them, and ratios compare trials of the same repetition.

use crate::ceiling::{CeilingOptions, RequestKind, WriteMethod};
use crate::contender::{Configuration, Contender};
use crate::options::{Options, Part};
use crate::results::{Results, Row};
use crate::trial::{DECISIONS_PER_SECOND, measure};
use crate::workload::{Binding, Workload};
use std::time::Instant;

/// How the ceiling writes when the sweep did not run: a way that is known to be fast.
const CEILING: CeilingOptions = CeilingOptions {
    concurrency: 64,
    method: WriteMethod::PutStatus,
    requests: RequestKind::StatusWrites,
    http2: false,
    ignore_unknown_fields: false,
};

pub struct Suite<'a> {
    options: &'a Options,
    results: Results,
    started_at: Instant,
    fastest_ceiling: CeilingOptions,
}

impl<'a> Suite<'a> {
    pub async fn run(options: &'a Options) -> Results {
        let mut results = Results::on_this_machine();
        results.reference_build = options.reference_build();
        let mut suite = Self { options, results, started_at: Instant::now(), fastest_ceiling: CEILING };
        for part in &options.parts {
            match part {
                Part::Sweep => suite.sweep().await,
                Part::Requests => suite.requests().await,
                Part::Sizes => suite.sizes().await,
                Part::Delays => suite.delays().await,
                Part::Arrivals => suite.arrivals().await,
            }
        }
        suite.results
    }

    async fn sweep(&mut self) {
        let workload = Workload::Waiting { decisions: self.options.default_size(), delay_ms: 0 };
        let concurrencies = [8, 16, 32, 64].map(|concurrency| CeilingOptions { concurrency, ..CEILING });
        self.find_fastest(workload, &concurrencies).await;
        let fastest = self.fastest_ceiling.clone();
        let methods = [WriteMethod::Put, WriteMethod::MergePatch, WriteMethod::JsonPatch, WriteMethod::Apply];
        let mut candidates: Vec<_> =
            methods.into_iter().map(|method| CeilingOptions { method, ..fastest.clone() }).collect();
        candidates.push(CeilingOptions { http2: true, ..fastest.clone() });
        candidates.push(CeilingOptions { ignore_unknown_fields: true, ..fastest });
        self.find_fastest(workload, &candidates).await;
    }

    /// Measures the candidates, and keeps the fastest of them and of those measured before.
    async fn find_fastest(&mut self, workload: Workload, candidates: &[CeilingOptions]) {
        let contenders: Vec<_> = candidates.iter().cloned().map(Contender::Ceiling).collect();
        for repetition in 0..self.options.repetitions() {
            self.measure_all(repetition, "sweep", &contenders, workload).await;
        }
        let rate = |options: &CeilingOptions| {
            self.results.median("sweep", workload, &options.detail(), DECISIONS_PER_SECOND).unwrap_or_default()
        };
        let all = candidates.iter().chain([&self.fastest_ceiling]);
        let fastest = all.max_by(|a, b| f64::total_cmp(&rate(a), &rate(b)));
        self.fastest_ceiling = fastest.cloned().unwrap_or(CEILING);
    }

    async fn requests(&mut self) {
        let workload = Workload::Waiting { decisions: self.options.default_size(), delay_ms: 0 };
        let kinds =
            [RequestKind::Get, RequestKind::NoOpWrite, RequestKind::StatusWrites, RequestKind::StatusWritesAndEvent];
        self.measure_all(0, "requests", &self.ceilings(&kinds), workload).await;
    }

    async fn sizes(&mut self) {
        let kinds =
            [RequestKind::StatusWrites, RequestKind::StatusWritesAndEvent, RequestKind::WatchedStatusWritesAndEvent];
        let mut repeated = self.ceilings(&kinds);
        repeated.extend(self.operators_and_go());
        let once = [
            Contender::Go(Configuration::Defaults),
            Contender::Python(Configuration::Tuned),
            Contender::Python(Configuration::Defaults),
            Contender::Shell(Configuration::Tuned),
            Contender::Shell(Configuration::Defaults),
        ];
        for decisions in self.options.sizes() {
            let workload = Workload::Waiting { decisions, delay_ms: 0 };
            for repetition in 0..self.options.repetitions() {
                self.measure_all(repetition, "sizes", &repeated, workload).await;
            }
            self.measure_all(0, "sizes", &once, workload).await;
        }
    }

    async fn delays(&mut self) {
        let contenders = self.operators_and_go();
        for delay_ms in self.options.delays() {
            let workload = Workload::Waiting { decisions: self.options.default_size(), delay_ms: *delay_ms };
            self.measure_all(0, "delays", &contenders, workload).await;
        }
    }

    async fn arrivals(&mut self) {
        let (decisions, per_second) = self.options.or_quick((1_000, 50), (20, 20));
        let workload = Workload::Arriving { decisions, per_second, binding: Binding::Token };
        let contenders = self.operators_and_go();
        for repetition in 0..self.options.repetitions().min(2) {
            self.measure_all(repetition, "arrivals", &contenders, workload).await;
        }
        self.measure_all(0, "arrivals", &[Contender::Python(Configuration::Tuned)], workload).await;
        // So few because the operator reads from CodePipeline at most five times per second.
        let decisions = self.options.or_quick(60, 4);
        let workload = Workload::Arriving { decisions, per_second: 2, binding: Binding::Execution };
        self.measure_all(0, "arrivals", &self.options.operators(), workload).await;
    }

    fn ceilings(&self, kinds: &[RequestKind]) -> Vec<Contender> {
        let options = |requests: &RequestKind| CeilingOptions { requests: *requests, ..self.fastest_ceiling.clone() };
        kinds.iter().map(options).map(Contender::Ceiling).collect()
    }

    fn operators_and_go(&self) -> Vec<Contender> {
        let mut contenders = self.options.operators();
        contenders.push(Contender::Go(Configuration::Tuned));
        contenders
    }

    async fn measure_all(&mut self, repetition: usize, part: &str, contenders: &[Contender], workload: Workload) {
        for contender in contenders {
            self.measure(repetition, part, contender, workload).await;
        }
    }

    async fn measure(&mut self, repetition: usize, part: &str, contender: &Contender, workload: Workload) {
        let name = contender.name();
        let is_selected = self.options.only.is_empty() || self.options.only.contains(&name);
        if workload.decisions() > contender.max_decisions() || !is_selected {
            return;
        }
        let detail = contender.detail();
        let elapsed = self.started_at.elapsed().as_secs();
        eprintln!("{elapsed:>5} s  {part}, repetition {repetition}: {workload}: {name} {detail}");
        // In a task, so that the failure of one contender does not end the benchmark.
        let trial = tokio::spawn({
            let contender = contender.clone();
            async move { measure(&contender, workload).await }
        });
        match trial.await {
            Ok(metrics) => self.results.rows.push(Row::new(repetition, part, (name, detail), workload, metrics)),
            Err(error) => self.results.failures.push(format!("{name}, {workload}: {error}")),
        }
        // After each trial, so that an interrupted benchmark keeps what it has measured.
        self.results.save(&self.options.out);
    }
}
