//! Faults of the API server: watch events that are late, repeated or dropped, expired watches and lists, an API server that lags
//! behind another one, an outage, and writes that are refused, throttled, or applied without a response. Whatever the API server
//! reports to the operator, each decision ends as the ledger says.

mod broken_watch;
mod fault_proxy;
mod lagging;
mod outage;
mod write_errors;

use super::load::run_load;
use super::request_log::RequestLog;
use fault_proxy::{ApiFault, FaultProxy};
use futures::StreamExt;
use futures::future::{BoxFuture, select};
use futures::stream::iter;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::proxy::{Handler, ProxiedRequest, Response};
use test_support::{TestEnv, scale};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The longest time in which all decisions must settle, whatever the API server reports.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Which operators there are. The first one gets the faults.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operators {
    One,
    /// One that is killed during the load, and started again.
    Restarted,
    /// The same, and a slow one that gets no faults.
    OneOfTwo,
}

/// How many faults were injected, and what is wrong at the end.
async fn run_with_faults(
    setup: Operators,
    seed: u64,
    faults: &[ApiFault],
    count: usize,
) -> (BTreeMap<ApiFault, usize>, Vec<String>) {
    let started_at = Instant::now();
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let proxy = FaultProxy::new(seed, faults, &log);
    let faulty = log.proxied_operator(&env, proxy.handler()).await;
    let faultless = log.proxied_operator(&env, slow_writes(&log)).await;
    let mut operators = vec![faulty.command.start()];
    if setup == Operators::OneOfTwo {
        operators.push(faultless.command.start());
    }
    let (are_settled, are_stopped) = (Notify::new(), Notify::new());
    let restart_and_stop = async {
        let submitted = env.codepipeline.wait_for(|service, _| service.ledger().len() >= count / 4);
        select(pin!(submitted), pin!(are_settled.notified())).await;
        if setup != Operators::One {
            operators.swap_remove(0).kill();
            operators.push(faulty.command.start());
        }
        are_settled.notified().await;
        for operator in &mut operators {
            operator.signal("TERM");
            operator.wait_for_exit().await;
        }
        are_stopped.notify_one();
        operators.iter().map(|operator| operator.log()).collect::<Vec<_>>()
    };
    let stop = async {
        are_settled.notify_one();
        are_settled.notify_one();
        are_stopped.notified().await;
    };
    let (mut violations, logs) = tokio::join!(run_load(&env, count, SETTLED_WITHIN, stop), restart_and_stop);
    violations.extend(log.violations());
    let injected = proxy.injected();
    println!("seed {seed}, {setup:?}: {count} decisions in {:?}, injected {injected:?}", started_at.elapsed());
    if !violations.is_empty() {
        violations.push(format!("seed {seed}, {setup:?}\n{}", logs.join("\n")));
    }
    (injected, violations)
}

/// Forwards every request, but delays writes so that the operator with the faults submits some of the results.
fn slow_writes(log: &Arc<RequestLog>) -> impl Handler + use<> {
    let log = log.clone();
    move |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        let log = log.clone();
        Box::pin(async move {
            if request.name.kind == "PUT approvaldecisions/status" {
                sleep(Duration::from_millis(500)).await;
            }
            log.forward(request).await
        })
    }
}

/// The same with one operator. The first of the faults must occur.
async fn run_one_with_faults(seed: u64, faults: &[ApiFault]) {
    let (injected, violations) = run_with_faults(Operators::One, seed, faults, scale(10, 60)).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(injected.contains_key(&faults[0]), "seed {seed}: {:?} was not injected", faults[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_and_reordered_events_change_no_outcome() {
    run_one_with_faults(1, &[ApiFault::Delayed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_older_events_change_no_outcome() {
    run_one_with_faults(2, &[ApiFault::Repeated]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_dropped_until_the_watch_restarts_change_no_outcome() {
    run_one_with_faults(3, &[ApiFault::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_refused_as_too_old_changes_no_outcome() {
    run_one_with_faults(4, &[ApiFault::ExpiredWatch, ApiFault::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_between_two_pages_changes_no_outcome() {
    run_one_with_faults(5, &[ApiFault::ExpiredPage, ApiFault::Dropped]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_change_no_outcome_for_restarted_or_competing_operators() {
    let (seeds, concurrency, count) = scale((10..12, 2, 10), (100..116, 4, 30));
    let results = iter(seeds).map(|seed| async move {
        let setup = if seed % 2 == 0 { Operators::Restarted } else { Operators::OneOfTwo };
        run_with_faults(setup, seed, &ApiFault::ALL, count).await
    });
    let results: Vec<_> = results.buffer_unordered(concurrency).collect().await;
    let mut injected: BTreeMap<ApiFault, usize> = BTreeMap::new();
    let mut violations = Vec::new();
    for (faults, more) in results {
        faults.into_iter().for_each(|(fault, times)| *injected.entry(fault).or_default() += times);
        violations.extend(more);
    }
    println!("FIGURE faults injected in total: {injected:?}");
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    // At the small scale there are too few events for all kinds of faults.
    assert!(injected.len() >= scale(5, ApiFault::ALL.len()), "{injected:?}");
}
