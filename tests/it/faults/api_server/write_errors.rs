//! Writes that the API server refuses although nobody else wrote, or because someone else writes all the time; writes that it
//! throttles; and writes that it applies but reports as timed out.

use super::fault_proxy::{conflict, throttled, timed_out};
use crate::faults::request_log::{ProxiedOperator, RequestLog, intent_token};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use futures::future::{BoxFuture, join_all, select};
use serde_json::json;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_support::proxy::{Handler, ProxiedRequest};
use test_support::{TestEnv, is_settled, reason, scale};
use tokio::time::interval;

/// By how much a throttled request may be early, because clocks are not exact.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Write {
    Intent,
    Outcome,
}

#[derive(Clone, Copy, Debug)]
enum WriteError {
    /// As if someone else had written.
    Conflict,
    /// With Retry-After, in seconds.
    Throttled(u32),
    /// The write is applied.
    TimedOut,
}

/// For how long the writes of a decision fail.
#[derive(Clone, Copy, Debug)]
enum Lasts {
    Times(usize),
    /// Since the first write.
    For(Duration),
}

/// How the writes of the decision with this name fail.
#[derive(Clone, Copy, Debug)]
struct WriteFault {
    decision: &'static str,
    write: Write,
    error: WriteError,
    lasts: Lasts,
}

/// When the status of each decision was written.
type Writes = HashMap<(String, Write), Vec<Instant>>;

/// Injects write faults, and logs the times of all writes.
#[derive(Clone)]
struct FaultyWrites {
    faults: &'static [WriteFault],
    log: Arc<RequestLog>,
    writes: Arc<Mutex<Writes>>,
}

impl FaultyWrites {
    fn new(faults: &'static [WriteFault]) -> Self {
        Self { faults, log: RequestLog::new(), writes: Arc::default() }
    }

    fn handler(&self) -> impl Handler {
        let faulty = self.clone();
        move |request| {
            let faulty = faulty.clone();
            Box::pin(async move {
                match faulty.error(&request) {
                    None => faulty.log.forward(request).await,
                    Some(WriteError::Conflict) => Some(conflict()),
                    Some(WriteError::Throttled(seconds)) => Some(throttled(seconds)),
                    Some(WriteError::TimedOut) => {
                        let response = faulty.log.forward(request).await?;
                        Some(if response.status().is_success() { timed_out() } else { response })
                    }
                }
            })
        }
    }

    fn error(&self, request: &ProxiedRequest) -> Option<WriteError> {
        if request.name.kind != "PUT approvaldecisions/status" {
            return None;
        }
        let decision = request.path().rsplit('/').nth(1)?;
        let write = if intent_token(&request.body).is_some() { Write::Intent } else { Write::Outcome };
        let mut writes = self.writes.lock().unwrap();
        let writes = writes.entry((decision.to_owned(), write)).or_default();
        writes.push(Instant::now());
        let fault = self.faults.iter().find(|fault| fault.decision == decision && fault.write == write)?;
        let is_active = match fault.lasts {
            Lasts::Times(times) => writes.len() <= times,
            Lasts::For(time) => writes[0].elapsed() < time,
        };
        is_active.then_some(fault.error)
    }

    fn writes(&self, decision: &str, write: Write) -> Vec<Instant> {
        self.writes.lock().unwrap().get(&(decision.to_owned(), write)).cloned().unwrap_or_default()
    }

    /// Creates the decisions, and waits until each was delivered, with exactly one submission.
    async fn deliver_all(&self, env: &TestEnv) -> HashMap<&'static str, ApprovalDecision> {
        let ProxiedOperator { command, .. } = &self.log.proxied_operator(env, self.handler()).await;
        let operator = command.start();
        operator.wait_until_ready().await;
        let started_at = Instant::now();
        let decisions = join_all(self.faults.iter().map(|fault| async move {
            let name = fault.decision;
            env.open_and_approve(name).await;
            let decision = env.wait_for_reason(name, Reason::Delivered).await;
            (name, (decision, started_at.elapsed()))
        }));
        let decisions = decisions.await.into_iter();
        // However many writes it takes, the reason changes once.
        join_all(self.faults.iter().map(|fault| env.wait_for_events(fault.decision, &["Delivered"]))).await;
        let check = |(name, (decision, elapsed)): (&'static str, (ApprovalDecision, Duration))| {
            let (intents, outcomes) = (self.writes(name, Write::Intent).len(), self.writes(name, Write::Outcome).len());
            println!("{name}: {elapsed:?}, {intents} writes of intents, {outcomes} of outcomes");
            assert_eq!(env.check_status_matches_ledger(&decision), Ok(()), "{name}\n{}", operator.log());
            assert_eq!(env.codepipeline.ledger_for(name).len(), 1, "{name}\n{}", operator.log());
            (name, decision)
        };
        let decisions = decisions.map(check).collect();
        assert_eq!(self.log.violations(), [""; 0]);
        decisions
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_write_refused_without_a_reason_is_retried_with_pauses() {
    const LASTS: Duration = Duration::from_secs(8);
    const FAULTS: &[WriteFault] = &[
        refused("intent-once", Write::Intent, Lasts::Times(1)),
        refused("intent-twice", Write::Intent, Lasts::Times(2)),
        refused("intent-long", Write::Intent, Lasts::For(LASTS)),
        refused("outcome-once", Write::Outcome, Lasts::Times(1)),
        refused("outcome-often", Write::Outcome, Lasts::Times(5)),
        refused("outcome-long", Write::Outcome, Lasts::For(LASTS)),
    ];
    const fn refused(decision: &'static str, write: Write, lasts: Lasts) -> WriteFault {
        WriteFault { decision, write, error: WriteError::Conflict, lasts }
    }
    let (env, faulty) = (TestEnv::new().await, FaultyWrites::new(FAULTS));
    faulty.deliver_all(&env).await;
    for (name, write) in [("intent-long", Write::Intent), ("outcome-long", Write::Outcome)] {
        let writes = faulty.writes(name, write);
        assert!(writes.len() <= 10, "{name}: {} writes in {LASTS:?}", writes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_intent_is_written_in_time_or_again_and_a_throttled_outcome_is_written_in_the_end() {
    const QUICK: &[WriteFault] = &[
        throttled("intent-briefly", Write::Intent, 1, 2),
        throttled("intent-too-long", Write::Intent, 3, 3),
        throttled("outcome-briefly", Write::Outcome, 2, 2),
    ];
    const ALL: &[WriteFault] = &[
        QUICK[0],
        QUICK[1],
        QUICK[2],
        throttled("intent-very-long", Write::Intent, 5, 10),
        throttled("outcome-very-long", Write::Outcome, 5, 10),
    ];
    const fn throttled(decision: &'static str, write: Write, seconds: u32, times: usize) -> WriteFault {
        WriteFault { decision, write, error: WriteError::Throttled(seconds), lasts: Lasts::Times(times) }
    }
    let (env, faulty) = (TestEnv::new().await, FaultyWrites::new(scale(QUICK, ALL)));
    let decisions = faulty.deliver_all(&env).await;
    for WriteFault { decision, write, error, lasts } in faulty.faults {
        let (WriteError::Throttled(seconds), Lasts::Times(times)) = (error, lasts) else {
            unreachable!("all faults are like this")
        };
        let writes = faulty.writes(decision, *write);
        let pauses: Vec<Duration> = writes.windows(2).take(*times).map(|pair| pair[1] - pair[0]).collect();
        let retry_after = Duration::from_secs(u64::from(*seconds)) - CLOCK_TOLERANCE;
        // The operator abandons a write after some time, and starts over with a new one.
        let early = pauses.iter().filter(|pause| **pause < retry_after).count();
        assert!(early <= times * usize::try_from(*seconds).unwrap() / 30, "{decision}: {pauses:?}");
        let submission = decisions[decision].status.as_ref().unwrap().submission.clone().unwrap();
        let at = env.codepipeline.ledger_for(decision)[0].at;
        assert!(submission.start_time <= at && at < submission.deadline, "{decision}: {at}, but {submission:?}");
        assert_eq!(submission.attempts, 1, "{decision}: nothing was sent before");
    }
    assert!(faulty.writes("intent-too-long", Write::Intent).len() > 4, "the intent was not written again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_write_that_was_applied_but_timed_out_is_recognized() {
    const QUICK: &[WriteFault] = &[
        timed_out("intent-once", Write::Intent, Lasts::Times(1)),
        timed_out("outcome-once", Write::Outcome, Lasts::Times(1)),
        // The first write is applied, so the retry gets a conflict.
        timed_out("outcome-three-times", Write::Outcome, Lasts::Times(3)),
    ];
    const ALL: &[WriteFault] = &[
        QUICK[0],
        QUICK[1],
        QUICK[2],
        timed_out("intent-twice", Write::Intent, Lasts::For(Duration::from_secs(14))),
        timed_out("intent-often", Write::Intent, Lasts::For(Duration::from_secs(40))),
    ];
    const fn timed_out(decision: &'static str, write: Write, lasts: Lasts) -> WriteFault {
        WriteFault { decision, write, error: WriteError::TimedOut, lasts }
    }
    let (env, faulty) = (TestEnv::new().await, FaultyWrites::new(scale(QUICK, ALL)));
    faulty.deliver_all(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_that_others_write_to_all_the_time_are_delivered() {
    let (env, faulty) = (TestEnv::new().await, FaultyWrites::new(&[]));
    let proxied = faulty.log.proxied_operator(&env, faulty.handler()).await;
    let operator = proxied.command.start();
    operator.wait_until_ready().await;
    let started_at = Instant::now();
    let others = &AtomicUsize::new(0);
    let decisions = (0..scale(3, 20)).map(|number| {
        let (env, operator) = (&env, &operator);
        async move {
            let name = format!("p{number}");
            env.open_and_approve(&name).await;
            let write = async {
                let mut ticks = interval(Duration::from_millis(100));
                for count in 0.. {
                    ticks.tick().await;
                    others.fetch_add(1, Relaxed);
                    let patch = json!({ "metadata": { "labels": { "count": format!("{count}") } } });
                    env.patch(&name, patch).await.unwrap();
                }
            };
            let settled = env.wait_until(&name, "settled", is_settled);
            select(pin!(write), pin!(settled)).await;
            let decision = env.decisions.get(&name).await.unwrap();
            assert_eq!(reason(&decision), Some(Reason::Delivered), "{}", operator.log());
            assert_eq!(env.check_status_matches_ledger(&decision), Ok(()), "{name}");
            assert_eq!(env.codepipeline.ledger_for(&name).len(), 1, "{name}");
        }
    });
    let decisions = join_all(decisions).await;
    let writes = faulty.log.requests("PUT approvaldecisions/status");
    let (count, others) = (decisions.len(), others.load(Relaxed));
    println!("{count} decisions in {:?}, {writes} writes of the operator, {others} of others", started_at.elapsed());
    assert!(writes > 2 * count, "no write met one of the others");
    // Two writes for each decision, and one more for each write of someone else at most.
    assert!(writes <= 2 * count + others, "{writes} writes, {others} of others");
    assert_eq!(faulty.log.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_throttled_request_is_retried_no_earlier_than_the_server_asks() {
    const TIMES: usize = 2;
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let arrivals: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let handler = {
        let (log, arrivals) = (log.clone(), arrivals.clone());
        move |request: ProxiedRequest| -> BoxFuture<'static, _> {
            arrivals.lock().unwrap().entry(request.name.kind.clone()).or_default().push(Instant::now());
            let log = log.clone();
            Box::pin(async move {
                if request.name.number <= TIMES { Some(throttled(1)) } else { log.forward(request).await }
            })
        }
    };
    let proxied = log.proxied_operator(&env, handler).await;
    let operator = proxied.command.replica("only", &env.namespace).start();
    env.open_and_approve("web").await;
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(env.check_status_matches_ledger(&decision), Ok(()));
    env.wait_for_events("web", &["Delivered"]).await;
    let arrivals = arrivals.lock().unwrap().clone();
    for kind in [
        "LIST approvaldecisions",
        "WATCH approvaldecisions",
        "PUT approvaldecisions/status",
        "POST events",
        "GET leases",
        "POST leases",
        "PUT leases",
    ] {
        let of_kind = arrivals.get(kind).unwrap_or_else(|| panic!("no {kind}: {:?}", arrivals.keys()));
        let pauses: Vec<Duration> = of_kind.windows(2).take(TIMES).map(|pair| pair[1] - pair[0]).collect();
        println!("{kind} was retried after {pauses:?}");
        let are_long_enough = pauses.iter().all(|pause| *pause >= Duration::from_secs(1) - CLOCK_TOLERANCE);
        assert!(pauses.len() == TIMES && are_long_enough, "{kind}: {pauses:?}\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_always_throttled_do_not_delay_submissions() {
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let handler = {
        let log = log.clone();
        move |request: ProxiedRequest| -> BoxFuture<'static, _> {
            let log = log.clone();
            Box::pin(async move {
                // Like an API server that limits the rate of Events.
                if request.name.kind == "POST events" { Some(throttled(1)) } else { log.forward(request).await }
            })
        }
    };
    let proxied = log.proxied_operator(&env, handler).await;
    let _operator = proxied.command.arg("--concurrency=1").start();
    let started_at = Instant::now();
    let decisions = (0..4).map(|number| format!("p{number}"));
    join_all(decisions.map(async |name: String| {
        env.open_and_approve(&name).await;
        env.wait_for_reason(&name, Reason::Delivered).await;
    }))
    .await;
    println!("4 decisions, one after another, with throttled Events: {:?}", started_at.elapsed());
    assert!(started_at.elapsed() < Duration::from_secs(15), "{:?}", started_at.elapsed());
}
