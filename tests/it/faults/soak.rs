//! A soak test: one operator under a mixed load while both of its servers fail at random. Its memory and file descriptors must not
//! grow, and the status of every decision must be true. `make soak` runs it for an hour; `make test` runs a short version.

use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use futures::StreamExt;
use futures::future::BoxFuture;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use local_codepipeline::api::{ApprovalStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::PipelineExecutionId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_support::proxy::{Handler, ProxiedRequest, Proxy, Response, status_response};
use test_support::{
    Operator, SeededRng, TestEnv, for_execution, for_revision, is_settled, pipeline_with_build, reason, scale, spec,
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// The interval between new decisions.
const CREATE_INTERVAL: Duration = Duration::from_millis(250);

/// How long the last submissions can be in doubt: a call, its margins, and the minute that history may lag.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(150);

/// Either client, or its server, closes a connection that has been idle for 90 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

/// The resources that a process uses.
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

/// An API server that fails at random.
fn unreliable_api_server(rng: Arc<Mutex<SeededRng>>) -> impl Handler {
    move |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        let chance = rng.lock().unwrap().below(1000);
        Box::pin(async move {
            match chance {
                0..10 => None,
                10..20 => {
                    request.forward().await;
                    None
                }
                20..30 => {
                    request.forward().await?;
                    Some(status_response(504, "Timeout", "the request may have been carried out"))
                }
                30..40 => Some(status_response(500, "InternalError", "etcdserver: leader changed")),
                40..50 => {
                    let mut response = status_response(429, "TooManyRequests", "too many requests");
                    response.headers_mut().insert("retry-after", "1".parse().unwrap());
                    Some(response)
                }
                50..60 => Some(status_response(409, "Conflict", "the object has been modified")),
                60..70 => {
                    sleep(Duration::from_millis(700)).await;
                    request.forward().await
                }
                _ => request.forward().await,
            }
        })
    }
}

/// A decision that is not settled.
struct Open {
    execution: PipelineExecutionId,
    /// When the build of its execution completes, if it has not.
    build_completes_at: Option<Instant>,
}

struct Soak {
    env: TestEnv,
    rng: SeededRng,
    created: usize,
    open: HashMap<String, Open>,
    final_reasons: BTreeMap<&'static str, usize>,
    violations: Vec<String>,
}

impl Soak {
    /// Creates one more decision, for a pipeline of its own. Bob may respond first, and a fault may be injected.
    async fn create(&mut self) {
        let name = format!("p{}", self.created);
        self.created += 1;
        self.env.put_pipeline(pipeline_with_build(&name));
        let execution = self.env.start_execution(&name, &name);
        let build_completes_at = self.rng.one_in(2).then(|| {
            let seconds = self.rng.below(5);
            Instant::now() + Duration::from_secs(seconds as u64)
        });
        if build_completes_at.is_none() {
            self.env.complete_build(&name, execution, true);
        }
        let pending = self.env.pending_approvals(&name);
        let decision = match (self.rng.below(3), pending.first()) {
            (0, Some(approval)) => spec(&name, approval),
            (1, _) => for_execution(&name, execution),
            _ => for_revision(&name, &name),
        };
        if let Some(approval) = pending.first()
            && self.rng.one_in(12)
        {
            let responses = [ApprovalStatus::Approved, ApprovalStatus::Rejected];
            self.env.respond_as_bob(&name, approval, responses[self.rng.below(2)]);
        }
        if self.rng.one_in(5) {
            let faults = [
                Fault::disconnect_after_applying(),
                Fault::disconnect_before_applying(),
                Fault::internal_failure_after_applying(),
                Fault::not_json_before_applying(),
                Fault::hang_after_applying(),
                Fault::throttled(),
                Fault::access_denied(),
                Fault::delayed().delay_after(Duration::from_millis(900)),
            ];
            let fault = self.rng.choose(&faults).unwrap().pipeline(&name);
            let fault = if self.rng.one_in(2) { fault.on(Operation::PutApprovalResult) } else { fault };
            self.env.codepipeline.inject(fault);
        }
        self.env.create(&name, decision).await;
        self.open.insert(name, Open { execution, build_completes_at });
    }

    fn complete_builds(&mut self) {
        for (name, open) in &mut self.open {
            if open.build_completes_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.env.complete_build(name, open.execution, true);
            }
        }
    }

    /// Checks the status of a decision once it is settled, and then deletes the decision and its pipeline.
    async fn handle_change(&mut self, decision: &ApprovalDecision) {
        let name = decision.name_any();
        if !is_settled(decision) || self.open.remove(&name).is_none() {
            return;
        }
        if let Err(error) = self.env.check_status_matches_ledger(decision) {
            self.violations.push(format!("{name}: {error}: {:#?}", decision.status));
        }
        *self.final_reasons.entry(reason(decision).map_or("none", Reason::as_str)).or_default() += 1;
        self.env.delete(&name).await;
        self.env.codepipeline.clear_faults_for(&name);
        self.env.codepipeline.with_service(|service, now| service.delete_pipeline(now, &name)).unwrap();
    }
}

/// The file descriptors of the operator once its idle connections are closed. A connection pool holds as many as were ever needed at
/// the same time, which looks like a leak until it closes them.
async fn descriptors_when_idle(operator: &Operator, bound: usize) -> usize {
    let started_at = Instant::now();
    loop {
        let Sample { descriptors, .. } = Sample::of(operator.pid());
        if descriptors <= bound {
            return descriptors;
        }
        let elapsed = started_at.elapsed();
        assert!(elapsed < IDLE_TIMEOUT, "descriptors leak: an idle operator has {descriptors}, more than {bound}");
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_long_load_with_random_faults_memory_is_flat_and_every_status_is_true() {
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|minutes| minutes.parse::<f64>().unwrap());
    let duration = Duration::from_secs_f64(60.0 * minutes.unwrap_or(scale(0.4, 1.5)));
    let env = TestEnv::new().await;
    let rng = Arc::new(Mutex::new(SeededRng::new(1)));
    let (_proxy, kubeconfig) = Proxy::to_api_server(&env.kubeconfig, unreliable_api_server(rng)).await;
    let operator = env.operator_via(kubeconfig.path()).start();
    operator.wait_until_ready().await;
    let mut changes =
        watcher(env.decisions.clone(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    let (open, final_reasons, violations) = (HashMap::new(), BTreeMap::new(), Vec::new());
    let mut soak = Soak { env, rng: SeededRng::new(2), created: 0, open, final_reasons, violations };
    let (started_at, mut samples) = (Instant::now(), Vec::new());
    let (mut create, mut second) = (interval(CREATE_INTERVAL), interval(Duration::from_secs(1)));
    create.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while started_at.elapsed() < duration {
        tokio::select! {
            Some(change) = changes.next() => soak.handle_change(&change.unwrap()).await,
            _ = create.tick() => {
                soak.create().await;
                soak.complete_builds();
            }
            _ = second.tick() => {
                let sample = Sample::of(operator.pid());
                if samples.len() % 60 == 59 {
                    println!("{:>5} s  {} created, {} open, {sample:?}", samples.len(), soak.created, soak.open.len());
                }
                samples.push(sample);
            }
        }
    }
    let settle = async {
        while !soak.open.is_empty() {
            tokio::select! {
                Some(change) = changes.next() => soak.handle_change(&change.unwrap()).await,
                _ = create.tick() => soak.complete_builds(),
            }
        }
    };
    if timeout(SETTLE_TIMEOUT, settle).await.is_err() {
        let open: Vec<&String> = soak.open.keys().collect();
        panic!("never settled: {open:?}\n{}", operator.log());
    }
    let seconds = started_at.elapsed().as_secs_f64();
    println!("FIGURE {} decisions in {seconds:.0} s: {:?}", soak.created, soak.final_reasons);
    assert!(soak.violations.is_empty(), "{:#?}", soak.violations);
    assert!(!operator.log().contains("panicked"), "{}", operator.log());
    // Caches and pools fill during the first third.
    let third = samples.len() / 3;
    let memory = [&samples[third..2 * third], &samples[2 * third..]]
        .map(|part| part.iter().map(|sample| sample.memory).max().unwrap_or_default());
    println!("FIGURE {} kB resident in the second third, {} kB in the last", memory[0], memory[1]);
    assert!(memory[1] <= memory[0] + memory[0] / 10, "memory grew: {samples:?}");
    let max = samples.iter().map(|sample| sample.descriptors).max().unwrap_or_default();
    let idle = descriptors_when_idle(&operator, samples[0].descriptors + 4).await;
    println!("FIGURE {} descriptors at the start, at most {max}, {idle} when idle", samples[0].descriptors);
    let delivered = soak.final_reasons.get("Delivered");
    assert!(delivered.is_some_and(|delivered| *delivered > soak.created / 2), "{:?}", soak.final_reasons);
}
