//! An outage of the API server, during which a load balancer in front of it returns 503: how soon the operator continues after it.

use crate::faults::request_log::RequestLog;
use approval_operator::api::v1alpha1::Reason;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::proxy::{Handler, ProxiedRequest, status_response};
use test_support::{TestEnv, scale};
use tokio::sync::watch;
use tokio::time::sleep;

/// The longest time after the outage in which the operator must deliver a waiting decision. An intent may be written just before the
/// operator loses the Lease, which it regains: then it waits for the deadline, 26 s after the intent and 10 s after the outage. The
/// rest is for a busy machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(25);

fn unavailable_while(is_out: &watch::Sender<bool>, log: &Arc<RequestLog>) -> impl Handler + use<> {
    let (is_out, log) = (is_out.subscribe(), log.clone());
    move |request: ProxiedRequest| -> BoxFuture<'static, _> {
        let (is_out, log) = (*is_out.borrow(), log.clone());
        Box::pin(async move {
            if is_out {
                return Some(status_response(503, "ServiceUnavailable", "no backend is available"));
            }
            log.forward(request).await
        })
    }
}

/// How long after the outage the operator delivers a decision that was created during it.
async fn delivered_after(outage: Duration, is_leader: bool) -> Duration {
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let is_out = watch::Sender::new(!is_leader);
    let proxied = log.proxied_operator(&env, unavailable_while(&is_out, &log)).await;
    let operator = proxied.command.replica("only", &env.namespace).start();
    if is_leader {
        operator.wait_for_log("became leader, starting to reconcile").await;
        is_out.send_replace(true);
    } else {
        operator.wait_for_log("started").await;
    }
    env.open_and_approve("web").await;
    sleep(outage).await;
    let ended_at = Instant::now();
    is_out.send_replace(false);
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(env.check_status_matches_ledger(&decision), Ok(()));
    assert_eq!(log.violations(), [""; 0]);
    let delay = ended_at.elapsed();
    assert!(delay < RECOVERED_WITHIN, "{delay:?}\n{}", operator.log());
    delay
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_continues_soon_after_an_outage_of_the_api_server() {
    let outage = scale(Duration::from_secs(16), Duration::from_secs(60));
    let (at_start, as_leader) = tokio::join!(delivered_after(outage, false), delivered_after(outage, true));
    println!(
        "FIGURE delivered after an outage of {outage:?}: {at_start:?} if it was at the start, {as_leader:?} if later"
    );
}
