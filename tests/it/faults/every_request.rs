//! A crash and a disconnect at every request. An operator repeats a scenario, and each time a fault is injected at another one of
//! its requests, to either server, in one of six ways. A request is identified by its kind and by how many of that kind came
//! before. So a fault meets each of two concurrent requests, whatever their order. A request that occurs only in some trials is
//! covered too, because each trial adds the requests that it made to those that are still to be tested. Periodic requests are an
//! exception, because a busy machine makes more and more of them: only those of the trials without a fault are tested.

mod inject;
mod scenario;

use futures::future::join;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use inject::{FaultKind, Injection, Injector, Stage};
use scenario::{Behaviour, Binding, DECISION, Scenario};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use test_support::proxy::{Proxy, RequestName};
use test_support::{TestEnv, scale};

/// How many trials of each scenario have no fault.
const TRIALS_WITHOUT_FAULT: usize = 3;

/// Renewals of the Lease, and polls of a pipeline.
const PERIODIC: [&str; 5] =
    ["GET leases", "PUT leases", "GetPipelineState", "ListPipelineExecutions", "ListActionExecutions"];

/// The result of one trial.
struct Trial {
    requests: BTreeSet<RequestName>,
    /// Whether the request occurred at which the fault was to be injected.
    was_injected: bool,
    elapsed: Duration,
    check: Result<(), String>,
}

async fn run_trial(scenario: Scenario, injection: Option<Injection>) -> Trial {
    let started_at = Instant::now();
    let env = TestEnv::new().await;
    let mut running = scenario.start(&env).await;
    let injector = Injector::new(injection);
    let (_api_server, kubeconfig) = Proxy::to_api_server(&env.kubeconfig, injector.handler()).await;
    let codepipeline = Proxy::to_codepipeline(&env.codepipeline.url(), injector.handler()).await;
    let command =
        env.operator_via(kubeconfig.path()).env("AWS_ENDPOINT_URL", codepipeline.url()).replica("only", &env.namespace);
    let mut operator = command.start();
    injector.start(operator.pid());
    let mut settled = Box::pin(running.run_until_settled(&env));
    let mut is_settled = false;
    // A fault can also be injected after the decision is settled: when the operator writes the Event, or renews the Lease.
    loop {
        tokio::select! {
            biased;
            () = injector.wait_for(Stage::Killed) => {
                operator.kill();
                injector.stop();
                operator = command.start();
            }
            () = &mut settled, if !is_settled => is_settled = true,
            () = operator.wait_until_idle(), if is_settled => {
                if injector.stage() != Stage::Killing {
                    break;
                }
            }
        }
    }
    drop(settled);
    let decision = env.decisions.get(DECISION).await.unwrap();
    let counts = injector.counts();
    let check = running.check(&env, &decision, &counts).map_err(|error| {
        format!("{error}\n{:#?}\n{:#?}\n{}", decision.status, env.codepipeline.ledger(), operator.log())
    });
    let was_injected = injector.stage() == Stage::Over;
    injector.stop();
    Trial { requests: counts.requests, was_injected, elapsed: started_at.elapsed(), check }
}

/// The trials of a scenario.
#[derive(Default)]
struct Tally {
    requests: BTreeSet<RequestName>,
    kills: usize,
    disconnects: usize,
    /// Trials without a fault, because the request did not occur in them.
    not_injected: usize,
    slowest: Duration,
}

/// The results of all trials.
#[derive(Default)]
struct Results {
    tallies: BTreeMap<Scenario, Tally>,
    failures: Vec<String>,
}

impl Results {
    /// Injects faults of these kinds at every request that is known, or becomes known meanwhile.
    async fn inject_at_all_requests(self, kinds: &[FaultKind], concurrency: usize) -> Self {
        let requests =
            self.tallies.iter().flat_map(|(scenario, tally)| tally.requests.iter().map(|name| (*scenario, name)));
        let queue = requests.flat_map(|(scenario, name)| injections(scenario, name, kinds)).collect();
        self.run_trials(queue, kinds, concurrency).await
    }

    async fn run_trials(
        self,
        mut queue: VecDeque<(Scenario, Option<Injection>)>,
        kinds: &[FaultKind],
        concurrency: usize,
    ) -> Self {
        let Self { mut tallies, mut failures } = self;
        let mut running = FuturesUnordered::new();
        let started_at = Instant::now();
        for trials in 1.. {
            while running.len() < concurrency
                && let Some((scenario, injection)) = queue.pop_front()
            {
                running.push(async move {
                    let trial = AssertUnwindSafe(run_trial(scenario, injection.clone())).catch_unwind().await;
                    (scenario, injection, trial)
                });
            }
            let Some((scenario, injection, trial)) = running.next().await else { break };
            let fault = injection.as_ref().map_or_else(|| "no fault".to_owned(), Injection::to_string);
            let trial = match trial {
                Ok(trial) => trial,
                // The panic has printed the cause.
                Err(_) => {
                    failures.push(format!("{scenario}: {fault}: the trial did not complete"));
                    continue;
                }
            };
            let tally: &mut Tally = tallies.entry(scenario).or_default();
            for name in trial.requests {
                let counts = injection.is_none() || !PERIODIC.contains(&name.kind.as_str());
                if counts && tally.requests.insert(name.clone()) {
                    queue.extend(injections(scenario, &name, kinds));
                }
            }
            match injection {
                None => {}
                Some(_) if !trial.was_injected => tally.not_injected += 1,
                Some(Injection { kind: FaultKind::Kill, .. }) => tally.kills += 1,
                Some(Injection { kind: FaultKind::Disconnect, .. }) => tally.disconnects += 1,
            }
            tally.slowest = tally.slowest.max(trial.elapsed);
            if let Err(error) = trial.check {
                println!("FAILED: {scenario}: {fault}: {error}");
                failures.push(format!("{scenario}: {fault}: {}", error.lines().next().unwrap_or_default()));
            }
            if trials % 100 == 0 {
                let (left, failed) = (queue.len() + running.len(), failures.len());
                let seconds = started_at.elapsed().as_secs_f64();
                println!("{seconds:>4.0} s  {trials} trials, {left} left, {failed} failed");
            }
        }
        Self { tallies, failures }
    }

    /// Those of scenarios with a submission in doubt, and the others.
    fn split_by_doubt(self) -> (Self, Self) {
        let (slow, fast) = self.tallies.into_iter().partition(|(scenario, _)| scenario.behaviour.leaves_doubt());
        (Self { tallies: slow, failures: self.failures }, Self { tallies: fast, failures: Vec::new() })
    }

    fn merge(mut self, other: Self) -> Self {
        self.tallies.extend(other.tallies);
        self.failures.extend(other.failures);
        self
    }

    fn report(&self) {
        println!(
            "{:<48} {:>8} {:>6} {:>11} {:>12} {:>8}",
            "scenario", "requests", "kills", "disconnects", "not injected", "slowest"
        );
        for (scenario, Tally { requests, kills, disconnects, not_injected, slowest }) in &self.tallies {
            let (scenario, requests, slowest) = (scenario.to_string(), requests.len(), slowest.as_secs_f64());
            println!("{scenario:<48} {requests:>8} {kills:>6} {disconnects:>11} {not_injected:>12} {slowest:>6.1} s");
        }
        let sum = |of: fn(&Tally) -> usize| self.tallies.values().map(of).sum::<usize>();
        let (requests, kills, disconnects) =
            (sum(|tally| tally.requests.len()), sum(|tally| tally.kills), sum(|tally| tally.disconnects));
        let (not_injected, scenarios) = (sum(|tally| tally.not_injected), self.tallies.len());
        println!(
            "FIGURE {requests} requests of {scenarios} scenarios: {kills} kills, {disconnects} disconnects; {not_injected} \
             not injected, because the request did not occur"
        );
        assert!(self.failures.is_empty(), "{} trials failed: {:#?}", self.failures.len(), self.failures);
        assert!(kills > 0, "no fault was injected");
    }
}

fn injections(
    scenario: Scenario,
    name: &RequestName,
    kinds: &[FaultKind],
) -> impl Iterator<Item = (Scenario, Option<Injection>)> {
    let injections = Injection::all(name).filter(|injection| kinds.contains(&injection.kind));
    injections.map(move |injection| (scenario, Some(injection)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_or_a_disconnect_at_any_request_changes_neither_the_ledger_nor_the_status() {
    let quick = vec![Scenario { binding: Binding::Token, behaviour: Behaviour::Accepts }];
    let mut scenarios: Vec<Scenario> = scale(quick, Scenario::all().collect());
    // For debugging one scenario.
    let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
    scenarios.retain(|scenario| scenario.to_string().contains(&only));
    let kinds = scale(&[FaultKind::Kill][..], &[FaultKind::Kill, FaultKind::Disconnect]);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // A busy machine makes more periodic requests.
    let without_fault =
        scenarios.into_iter().flat_map(|scenario| (0..TRIALS_WITHOUT_FAULT).map(move |_| (scenario, None)));
    let results = Results::default().run_trials(without_fault.collect(), &[], 4 * cores).await;
    // With a submission in doubt, a trial mostly waits for a deadline, so more of them run at the same time.
    let (slow, fast) = results.split_by_doubt();
    let (slow, fast) =
        join(slow.inject_at_all_requests(kinds, 30 * cores), fast.inject_at_all_requests(kinds, 7 * cores)).await;
    fast.merge(slow).report();
}
