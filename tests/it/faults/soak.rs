//! One operator under a mixed load, for long: decisions of every binding come and go, and both of its neighbours fail at random.
//! Its memory and file descriptors have to stay what they were, and each decision to tell the truth. `make soak` takes an
//! hour of it; the short form is in the tests.

use crate::support::wire::{Answer, Passing, Script, Wire, status};
use crate::support::{Case, Dice, Operator, for_revision, for_run, is_settled, reason, scale, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use futures::StreamExt;
use futures::future::BoxFuture;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use local_codepipeline::api::{ApprovalStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::PipelineExecutionId as RunId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// A decision is made so often.
const PACE: Duration = Duration::from_millis(250);

/// How long the last answers may be in doubt: a call, its margins, and the minute that history may lag.
const PATIENCE: Duration = Duration::from_secs(150);

/// A connection that is idle for 90 s is closed by whichever of the two clients, or its server.
const IDLE: Duration = Duration::from_secs(150);

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Resident memory in kB.
    memory: usize,
    descriptors: usize,
}

impl Sample {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
        Self { memory, descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() }
    }
}

/// The API server on a bad day.
fn bad_day(dice: Arc<Mutex<Dice>>) -> impl Script {
    move |passing: Passing| -> BoxFuture<'static, Option<Answer>> {
        let chance = dice.lock().unwrap().below(1000);
        Box::pin(async move {
            match chance {
                0..10 => None,
                10..20 => {
                    passing.forward().await;
                    None
                }
                20..30 => {
                    passing.forward().await?;
                    Some(status(504, "Timeout", "the request may have been carried out"))
                }
                30..40 => Some(status(500, "InternalError", "etcdserver: leader changed")),
                40..50 => {
                    let mut answer = status(429, "TooManyRequests", "too many requests");
                    answer.headers_mut().insert("retry-after", "1".parse().unwrap());
                    Some(answer)
                }
                50..60 => Some(status(409, "Conflict", "the object has been modified")),
                60..70 => {
                    sleep(Duration::from_millis(700)).await;
                    passing.forward().await
                }
                _ => passing.forward().await,
            }
        })
    }
}

/// A decision that is not settled.
struct Open {
    run: RunId,
    /// Until then its run is being built.
    built_at: Option<Instant>,
}

struct Soak {
    case: Case,
    dice: Dice,
    made: usize,
    open: HashMap<String, Open>,
    ends: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Soak {
    /// One more decision, on a pipeline of its own, where Bob may be quicker and something may go wrong.
    async fn make(&mut self) {
        let name = format!("p{}", self.made);
        self.made += 1;
        self.case.put(with_build(&name));
        let run = self.case.start(&name, &name);
        let built_at = self.dice.once_in(2).then(|| {
            let seconds = self.dice.below(5);
            Instant::now() + Duration::from_secs(seconds as u64)
        });
        if built_at.is_none() {
            self.case.built(&name, run, true);
        }
        let pending = self.case.pending(&name);
        let decision = match (self.dice.below(3), pending.first()) {
            (0, Some(approval)) => spec(&name, approval),
            (1, _) => for_run(&name, run),
            _ => for_revision(&name, &name),
        };
        if let Some(approval) = pending.first()
            && self.dice.once_in(12)
        {
            let answers = [ApprovalStatus::Approved, ApprovalStatus::Rejected];
            self.case.bob(&name, approval, answers[self.dice.below(2)]);
        }
        if self.dice.once_in(5) {
            let faults = [
                Fault::cut_after_applying(),
                Fault::cut_before_applying(),
                Fault::internal_failure_after_applying(),
                Fault::not_json_before_applying(),
                Fault::hang_after_applying(),
                Fault::throttled(),
                Fault::access_denied(),
                Fault::late().delay_after(Duration::from_millis(900)),
            ];
            let fault = self.dice.one_of(&faults).unwrap().pipeline(&name);
            let fault = if self.dice.once_in(2) { fault.on(Operation::PutApprovalResult) } else { fault };
            self.case.service.fault(fault);
        }
        self.case.create(&name, decision).await;
        self.open.insert(name, Open { run, built_at });
    }

    fn build(&mut self) {
        for (name, open) in &mut self.open {
            if open.built_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.case.built(name, open.run, true);
            }
        }
    }

    /// A decision that is settled has to tell the truth, and goes with its pipeline.
    async fn see(&mut self, decision: &ApprovalDecision) {
        let name = decision.name_any();
        if !is_settled(decision) || self.open.remove(&name).is_none() {
            return;
        }
        if let Err(why) = self.case.tells_the_truth(decision) {
            self.wrong.push(format!("{name}: {why}: {:#?}", decision.status));
        }
        *self.ends.entry(reason(decision).map_or("none", Reason::as_str)).or_default() += 1;
        self.case.delete(&name).await;
        self.case.service.clear_faults_of(&name);
        self.case.service.service(|service, now| service.delete_pipeline(now, &name)).unwrap();
    }
}

/// The operator's descriptors, once connections that nobody uses are closed: a pool holds as many as were ever needed at a
/// time, which a leak looks like, but it lets them go.
async fn left_when_idle(operator: &Operator, bound: usize) -> usize {
    let begun = Instant::now();
    loop {
        let Sample { descriptors, .. } = Sample::of(operator.pid());
        if descriptors <= bound {
            return descriptors;
        }
        assert!(begun.elapsed() < IDLE, "descriptors leak: {descriptors} of an idle operator, {bound} are allowed");
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_long_load_with_random_faults_memory_is_flat_and_every_decision_tells_the_truth() {
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|minutes| minutes.parse::<f64>().unwrap());
    let lasts = Duration::from_secs_f64(60.0 * minutes.unwrap_or(scale(0.4, 1.5)));
    let case = Case::new().await;
    let dice = Arc::new(Mutex::new(Dice(1)));
    let (_wire, linked) = Wire::to_api_server(&case.kubeconfig, bad_day(dice)).await;
    let operator = case.operator_by(linked.kubeconfig()).start();
    operator.until_ready().await;
    let mut changes =
        watcher(case.decisions.clone(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    let (open, ends, wrong) = (HashMap::new(), BTreeMap::new(), Vec::new());
    let mut soak = Soak { case, dice: Dice(2), made: 0, open, ends, wrong };
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let (mut pace, mut second) = (interval(PACE), interval(Duration::from_secs(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < lasts {
        tokio::select! {
            Some(change) = changes.next() => soak.see(&change.unwrap()).await,
            _ = pace.tick() => {
                soak.make().await;
                soak.build();
            }
            _ = second.tick() => {
                let sample = Sample::of(operator.pid());
                if samples.len() % 60 == 59 {
                    println!("{:>5} s  {} made, {} open, {sample:?}", samples.len(), soak.made, soak.open.len());
                }
                samples.push(sample);
            }
        }
    }
    let rest = async {
        while !soak.open.is_empty() {
            tokio::select! {
                Some(change) = changes.next() => soak.see(&change.unwrap()).await,
                _ = pace.tick() => soak.build(),
            }
        }
    };
    if timeout(PATIENCE, rest).await.is_err() {
        let open: Vec<&String> = soak.open.keys().collect();
        panic!("never settled: {open:?}\n{}", operator.log());
    }
    println!("FIGURE {} decisions in {:.0} s: {:?}", soak.made, begun.elapsed().as_secs_f64(), soak.ends);
    assert!(soak.wrong.is_empty(), "{:#?}", soak.wrong);
    assert!(!operator.log().contains("panicked"), "{}", operator.log());
    // The first third is for the caches and pools to fill.
    let third = samples.len() / 3;
    let memory = [&samples[third..2 * third], &samples[2 * third..]]
        .map(|part| part.iter().map(|sample| sample.memory).max().unwrap_or_default());
    println!("FIGURE resident {} kB and then {} kB", memory[0], memory[1]);
    assert!(memory[1] <= memory[0] + memory[0] / 10, "memory grew: {samples:?}");
    let most = samples.iter().map(|sample| sample.descriptors).max().unwrap_or_default();
    let left = left_when_idle(&operator, samples[0].descriptors + 4).await;
    println!("FIGURE {} descriptors at first, {most} at most, {left} when idle", samples[0].descriptors);
    assert!(soak.ends.get("Delivered").is_some_and(|delivered| *delivered > soak.made / 2), "{:?}", soak.ends);
}
