//! Which trials there are and in which order. Contenders take turns within a round, so that what the machine does meanwhile falls on
//! all of them; a round is compared with itself.

use crate::ceiling::{Question, Tuning, Write};
use crate::contender::{Contender, Manner};
use crate::results::{Results, Row};
use crate::trial::{Work, measure};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct Plan {
    /// Little of everything: whether it works, and no figures.
    #[arg(long)]
    quick: bool,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "sweep,alone,sizes,delays,arrivals")]
    parts: Vec<Part>,
    /// How many decisions wait.
    #[arg(long, value_delimiter = ',', default_value = "100,2000,10000")]
    sizes: Vec<usize>,
    /// How often ways to write, the ceiling, the operator and the tuned Go controller are measured; others once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// After how many milliseconds the endpoint answers, beside at once.
    #[arg(long, value_delimiter = ',', default_value = "20,100")]
    delays: Vec<u64>,
    /// Only these contenders, by their names.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Other builds of the operator than cargo's own, each as NAME=PATH.
    #[arg(long = "operator", value_parser = build)]
    operators: Vec<(String, PathBuf)>,
    /// Where run.json and the pictures go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    pub out: PathBuf,
    /// Measure nothing, and report once more what the run.json there says.
    #[arg(long)]
    again: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// How the ceiling is reached. What it finds is what later parts take.
    Sweep,
    /// What the servers cost without a decision's being answered.
    Alone,
    /// All contenders, by the number of decisions.
    Sizes,
    /// By the time that the service takes.
    Delays,
    /// Decisions that come in one by one.
    Arrivals,
}

fn build(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("it is NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

/// What is known to be good where no sweep was made.
const TUNING: Tuning =
    Tuning { at_a_time: 64, write: Write::PutStatus, ask: Question::Writes, http2: false, lax: false };

impl Plan {
    pub async fn carry_out(&self) -> Results {
        let file = self.out.join("run.json");
        if self.again {
            return serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        }
        let mut run = Run { plan: self, results: Results::on_this_machine(), begun: Instant::now(), best: TUNING };
        for part in &self.parts {
            match part {
                Part::Sweep => run.sweep().await,
                Part::Alone => run.alone().await,
                Part::Sizes => run.sizes().await,
                Part::Delays => run.delays().await,
                Part::Arrivals => run.arrivals().await,
            }
        }
        run.results
    }

    fn sizes(&self) -> Vec<usize> {
        if self.quick { vec![20] } else { self.sizes.clone() }
    }

    fn middle(&self) -> usize {
        if self.quick { 20 } else { 2_000 }
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    /// Builds that are compared are told the same.
    fn operators(&self) -> Vec<Contender> {
        let operator = |(name, program): &(String, PathBuf), manner| Contender::Operator {
            name: name.clone(),
            program: program.clone(),
            manner,
        };
        let own = ("operator".to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_approval-operator")));
        if self.operators.is_empty() {
            return [Manner::Tuned, Manner::AsItComes].map(|manner| operator(&own, manner)).into();
        }
        self.operators.iter().map(|build| operator(build, Manner::Tuned)).collect()
    }
}

struct Run<'a> {
    plan: &'a Plan,
    results: Results,
    begun: Instant,
    best: Tuning,
}

impl Run<'_> {
    async fn sweep(&mut self) {
        let work = Work::Waiting { decisions: self.plan.middle(), delay_ms: 0 };
        let at_a_time = [8, 16, 32, 64].map(|at_a_time| Tuning { at_a_time, ..TUNING });
        self.choose(work, &at_a_time).await;
        let best = self.best.clone();
        let writes = [Write::Put, Write::MergePatch, Write::JsonPatch, Write::Apply];
        let writes = writes.map(|write| Tuning { write, ..best.clone() });
        let ways = [Tuning { http2: true, ..best.clone() }, Tuning { lax: true, ..best }];
        self.choose(work, &[writes.as_slice(), ways.as_slice()].concat()).await;
    }

    /// Keeps the best of them, and of those before.
    async fn choose(&mut self, work: Work, tunings: &[Tuning]) {
        let contenders: Vec<_> = tunings.iter().cloned().map(Contender::Ceiling).collect();
        for round in 0..self.plan.rounds() {
            self.round(round, "sweep", &contenders, work).await;
        }
        let rate = |tuning: &Tuning| {
            self.results.median("sweep", work, &tuning.detail(), "decisions a second").unwrap_or_default()
        };
        let best = tunings.iter().chain([&self.best]).max_by(|a, b| f64::total_cmp(&rate(a), &rate(b)));
        self.best = best.cloned().unwrap_or(TUNING);
    }

    async fn alone(&mut self) {
        let work = Work::Waiting { decisions: self.plan.middle(), delay_ms: 0 };
        for ask in [Question::Get, Question::Same, Question::Writes, Question::WritesAndEvent] {
            let contender = Contender::Ceiling(Tuning { ask, ..self.best.clone() });
            self.trial(0, "alone", &contender, work).await;
        }
    }

    async fn sizes(&mut self) {
        let ceilings = [Question::Writes, Question::WritesAndEvent, Question::WatchedWritesAndEvent];
        let ceilings = ceilings.map(|ask| Tuning { ask, ..self.best.clone() });
        let mut often: Vec<_> = ceilings.map(Contender::Ceiling).into();
        often.extend(self.plan.operators());
        often.push(Contender::Go(Manner::Tuned));
        let once = [
            Contender::Go(Manner::AsItComes),
            Contender::Python(Manner::Tuned),
            Contender::Python(Manner::AsItComes),
            Contender::Shell(Manner::Tuned),
            Contender::Shell(Manner::AsItComes),
        ];
        for decisions in self.plan.sizes() {
            let work = Work::Waiting { decisions, delay_ms: 0 };
            for round in 0..self.plan.rounds() {
                self.round(round, "sizes", &often, work).await;
            }
            self.round(0, "sizes", &once, work).await;
        }
    }

    async fn delays(&mut self) {
        let contenders = self.operators_and_go();
        let delays = if self.plan.quick { &[20] } else { self.plan.delays.as_slice() };
        for delay_ms in delays {
            let work = Work::Waiting { decisions: self.plan.middle(), delay_ms: *delay_ms };
            self.round(0, "delays", &contenders, work).await;
        }
    }

    async fn arrivals(&mut self) {
        let mut contenders = self.operators_and_go();
        let (decisions, a_second) = if self.plan.quick { (20, 20) } else { (1_000, 50) };
        for round in 0..self.plan.rounds().min(2) {
            let work = Work::Arriving { decisions, a_second, bound: false };
            self.round(round, "arrivals", &contenders, work).await;
        }
        contenders = vec![Contender::Python(Manner::Tuned)];
        self.round(0, "arrivals", &contenders, Work::Arriving { decisions, a_second, bound: false }).await;
        // Reads of the service keep a pace of their own, five a second.
        let work = Work::Arriving { decisions: if self.plan.quick { 4 } else { 60 }, a_second: 2, bound: true };
        self.round(0, "arrivals", &self.plan.operators(), work).await;
    }

    fn operators_and_go(&self) -> Vec<Contender> {
        let mut contenders = self.plan.operators();
        contenders.push(Contender::Go(Manner::Tuned));
        contenders
    }

    async fn round(&mut self, round: usize, part: &str, contenders: &[Contender], work: Work) {
        for contender in contenders {
            self.trial(round, part, contender, work).await;
        }
    }

    async fn trial(&mut self, round: usize, part: &str, contender: &Contender, work: Work) {
        let (Work::Waiting { decisions, .. } | Work::Arriving { decisions, .. }) = work;
        let name = contender.name();
        let is_asked_for = self.plan.only.is_empty() || self.plan.only.contains(&name);
        if decisions > contender.most() || !is_asked_for {
            return;
        }
        let detail = match contender {
            Contender::Ceiling(tuning) => tuning.detail(),
            Contender::Operator { .. } | Contender::Go(_) | Contender::Python(_) | Contender::Shell(_) => String::new(),
        };
        eprintln!("{:>5} s  {part}, round {round}: {work}: {name} {detail}", self.begun.elapsed().as_secs());
        // A task of its own, so that one contender's failure is told and does not end the run.
        let measured = tokio::spawn({
            let contender = contender.clone();
            async move { measure(&contender, work).await }
        });
        match measured.await {
            Ok(figures) => self.results.rows.push(Row::new(round, part, (name, detail), work, figures)),
            Err(error) => self.results.failures.push(format!("{name}, {work}: {error}")),
        }
        save(&self.results, &self.plan.out);
    }
}

/// What has been measured so far is not lost with the run.
fn save(results: &Results, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("run.json"), serde_json::to_string_pretty(results).unwrap()).unwrap();
}
