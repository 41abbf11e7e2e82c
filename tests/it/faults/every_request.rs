//! A crash and a cut at every request. An operator lives through a scenario again and again, and each time another one of its
//! requests, to either side, is struck in one of six ways. Requests are told apart by what they ask for and how many
//! of the kind came before, so that two which are under way at once are both struck whatever their order; and one that shows only
//! in some runs is struck too, for each run adds what it saw to what is still to be struck. Only of those that come by the
//! clock, as many are struck as there are where nothing is: a machine that is busy makes more of them without end.

mod scenario;
mod strike;

use crate::support::wire::{Name, Wire};
use crate::support::{Case, scale};
use futures::future::join;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use scenario::{Binding, DECISION, Scenario, Service};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use strike::{Blow, Stage, Strike, Striker};

/// How often a scenario is lived through with nothing struck.
const UNDISTURBED: usize = 3;

/// Renewals of the Lease, and looks at a pipeline.
const BY_THE_CLOCK: [&str; 5] =
    ["GET leases", "PUT leases", "GetPipelineState", "ListPipelineExecutions", "ListActionExecutions"];

/// What came of one run.
struct Run {
    seen: BTreeSet<Name>,
    /// Whether the request that was to be struck came.
    was_struck: bool,
    took: Duration,
    verdict: Result<(), String>,
}

async fn run(scenario: Scenario, strike: Option<Strike>) -> Run {
    let begun = Instant::now();
    let case = Case::new().await;
    let mut play = scenario.begin(&case).await;
    let striker = Striker::new(strike);
    let (_to_api_server, linked) = Wire::to_api_server(&case.kubeconfig, striker.script()).await;
    let to_service = Wire::to_service(&case.service.url(), striker.script()).await;
    let settings = case
        .operator_by(linked.kubeconfig())
        .set("AWS_ENDPOINT_URL", to_service.url())
        .replica("only", &case.namespace);
    let mut operator = settings.start();
    striker.begin(operator.pid());
    let mut played = Box::pin(play.through(&case));
    let mut is_over = false;
    // What comes after the end may be struck as well: the Event, and the Lease.
    loop {
        tokio::select! {
            biased;
            () = striker.until(Stage::Killed) => {
                operator.kill();
                striker.end();
                operator = settings.start();
            }
            () = &mut played, if !is_over => is_over = true,
            () = operator.until_at_rest(), if is_over => {
                if striker.stage() != Stage::Dying {
                    break;
                }
            }
        }
    }
    drop(played);
    let decision = case.decisions.get(DECISION).await.unwrap();
    let counts = striker.counts();
    let verdict = play
        .verdict(&case, &decision, &counts)
        .map_err(|wrong| format!("{wrong}\n{:#?}\n{:#?}\n{}", decision.status, case.service.ledger(), operator.log()));
    let was_struck = striker.stage() == Stage::Past;
    striker.end();
    Run { seen: counts.seen, was_struck, took: begun.elapsed(), verdict }
}

/// What is known of a scenario.
#[derive(Default)]
struct Tally {
    requests: BTreeSet<Name>,
    killed: usize,
    cut: usize,
    /// How many requests that other runs saw did not come in the run in which they were to be struck.
    did_not_come: usize,
    slowest: Duration,
}

/// What came of all runs.
#[derive(Default)]
struct Struck {
    tallies: BTreeMap<Scenario, Tally>,
    wrong: Vec<String>,
}

impl Struck {
    /// Strikes every request that is known, and that comes to be known by it, in these ways.
    async fn strike_all(self, blows: &[Blow], at_once: usize) -> Self {
        let known =
            self.tallies.iter().flat_map(|(scenario, tally)| tally.requests.iter().map(|name| (*scenario, name)));
        let strikes = known.flat_map(|(scenario, name)| strikes(scenario, name, blows)).collect();
        self.live_through(strikes, blows, at_once).await
    }

    async fn live_through(
        self,
        mut waiting: VecDeque<(Scenario, Option<Strike>)>,
        blows: &[Blow],
        at_once: usize,
    ) -> Self {
        let Self { mut tallies, mut wrong } = self;
        let mut running = FuturesUnordered::new();
        let begun = Instant::now();
        for runs in 1.. {
            while running.len() < at_once
                && let Some((scenario, strike)) = waiting.pop_front()
            {
                running.push(async move {
                    let run = AssertUnwindSafe(run(scenario, strike.clone())).catch_unwind().await;
                    (scenario, strike, run)
                });
            }
            let Some((scenario, strike, run)) = running.next().await else { break };
            let what = strike.as_ref().map_or_else(|| "nothing is struck".to_owned(), Strike::to_string);
            let run = match run {
                Ok(run) => run,
                // It has said why.
                Err(_) => {
                    wrong.push(format!("{scenario}: {what}: it came to no end"));
                    continue;
                }
            };
            let tally: &mut Tally = tallies.entry(scenario).or_default();
            for name in run.seen {
                let is_of_the_scenario = strike.is_none() || !BY_THE_CLOCK.contains(&name.kind.as_str());
                if is_of_the_scenario && tally.requests.insert(name.clone()) {
                    waiting.extend(strikes(scenario, &name, blows));
                }
            }
            match strike {
                None => {}
                Some(_) if !run.was_struck => tally.did_not_come += 1,
                Some(Strike { blow: Blow::Kill, .. }) => tally.killed += 1,
                Some(Strike { blow: Blow::Cut, .. }) => tally.cut += 1,
            }
            tally.slowest = tally.slowest.max(run.took);
            if let Err(why) = run.verdict {
                println!("WRONG: {scenario}: {what}: {why}");
                wrong.push(format!("{scenario}: {what}: {}", why.lines().next().unwrap_or_default()));
            }
            if runs % 100 == 0 {
                let (open, wrong) = (waiting.len() + running.len(), wrong.len());
                println!("{:>4.0} s  {runs} runs, {open} known to come, {wrong} wrong", begun.elapsed().as_secs_f64());
            }
        }
        Self { tallies, wrong }
    }

    /// Those of scenarios in which an answer is in doubt, and the others.
    fn by_doubt(self) -> (Self, Self) {
        let (patient, brisk) = self.tallies.into_iter().partition(|(scenario, _)| scenario.service.leaves_doubt());
        (Self { tallies: patient, wrong: self.wrong }, Self { tallies: brisk, wrong: Vec::new() })
    }

    fn and(mut self, other: Self) -> Self {
        self.tallies.extend(other.tallies);
        self.wrong.extend(other.wrong);
        self
    }

    fn report(&self) {
        println!(
            "{:<36} {:>8} {:>6} {:>6} {:>13} {:>8}",
            "scenario", "requests", "kills", "cuts", "did not come", "slowest"
        );
        for (scenario, Tally { requests, killed, cut, did_not_come, slowest }) in &self.tallies {
            let (scenario, requests, slowest) = (scenario.to_string(), requests.len(), slowest.as_secs_f64());
            println!("{scenario:<36} {requests:>8} {killed:>6} {cut:>6} {did_not_come:>13} {slowest:>6.1} s");
        }
        let sum = |of: fn(&Tally) -> usize| self.tallies.values().map(of).sum::<usize>();
        let (requests, kills, cuts) =
            (sum(|tally| tally.requests.len()), sum(|tally| tally.killed), sum(|tally| tally.cut));
        let (late, scenarios) = (sum(|tally| tally.did_not_come), self.tallies.len());
        println!(
            "FIGURE {requests} requests of {scenarios} scenarios: {kills} kills, {cuts} cuts; {late} did not come in their run"
        );
        assert!(self.wrong.is_empty(), "{} runs ended otherwise than they should: {:#?}", self.wrong.len(), self.wrong);
        assert!(kills > 0, "nothing was struck");
    }
}

fn strikes(scenario: Scenario, name: &Name, blows: &[Blow]) -> impl Iterator<Item = (Scenario, Option<Strike>)> {
    Strike::all(name).filter(|strike| blows.contains(&strike.blow)).map(move |strike| (scenario, Some(strike)))
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_operator_is_killed_or_cut_off_the_ledger_and_the_status_end_the_same() {
    let quick = vec![Scenario { binding: Binding::Token, service: Service::Delivers }];
    let mut scenarios: Vec<Scenario> = scale(quick, Scenario::all().collect());
    // To go after one that went wrong.
    let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
    scenarios.retain(|scenario| scenario.to_string().contains(&only));
    let blows = scale(&[Blow::Kill][..], &[Blow::Kill, Blow::Cut]);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // A busy machine makes more requests by the clock.
    let unstruck = scenarios.into_iter().flat_map(|scenario| (0..UNDISTURBED).map(move |_| (scenario, None)));
    let known = Struck::default().live_through(unstruck.collect(), &[], 4 * cores).await;
    // Where an answer is in doubt a run mostly waits for a deadline, so more of them run at a time.
    let (patient, brisk) = known.by_doubt();
    let (patient, brisk) = join(patient.strike_all(blows, 30 * cores), brisk.strike_all(blows, 7 * cores)).await;
    brisk.and(patient).report();
}
