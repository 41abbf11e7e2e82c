//! Leader election: the replica that holds a Lease reconciles. It keeps replicas from competing with each other. Exactly-once
//! submission does not depend on it, but on the precondition of each intent, because a replica that was paused past the end of
//! its Lease does not know that yet.

use crate::cli;
use crate::error_chain::display_chain;
use crate::telemetry::LogLimiter;
use axum::http::{Method, Request, Response, StatusCode};
use k8s_controller::LeaderElection;
use kube::client::Body;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::service_fn;

/// How long after the last renewal another replica can acquire a Lease that was not released. Shorter than usual, because losing
/// the Lease does not restart this operator.
const LEASE_DURATION: Duration = Duration::from_secs(6);

/// How long after its last renewal the leader stops reconciling: before another replica can acquire the Lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(4);

/// The interval between renewals. A standby tries to acquire the Lease at this interval plus up to half of it.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// The longest time that one API call about the Lease may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of this replica in the election.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaderState {
    /// It reconciles decisions.
    Leader,
    /// It watches decisions and waits for the Lease.
    Standby,
    /// It shuts down: it starts nothing new and finishes what is in flight.
    Stopping,
}

/// Publishes the state of this replica until `stop` resolves, and then releases the Lease. It does not wait for submissions in
/// flight: their intents fence them, so the next leader need not wait either.
///
/// A replica without an election is always the leader. With one, it joins only after `synced`, so that a replica that cannot watch
/// never becomes the leader.
pub async fn run_election(
    election: Option<LeaderElection>,
    synced: impl Future<Output = ()>,
    state: watch::Sender<LeaderState>,
    stop: impl Future<Output = ()> + Clone,
) {
    if election.is_some() {
        tokio::select! {
            biased;
            () = stop.clone() => {}
            () = synced => {}
        }
    }
    loop {
        let lead = async {
            state.send_replace(LeaderState::Leader);
            tracing::info!("became leader, starting to reconcile");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = stop.clone() => break,
            () = lead_until_lost(election.as_ref(), lead) => {}
        }
        state.send_replace(LeaderState::Standby);
        tracing::warn!("this replica is no longer the leader");
    }
    state.send_replace(LeaderState::Stopping);
    if let Some(election) = election
        && timeout(CALL_TIMEOUT, release(&election)).await.is_err()
    {
        tracing::warn!(
            "could not release the Lease in time; another replica can acquire it {LEASE_DURATION:?} after its last renewal"
        );
    }
}

/// A renewal in flight may land between the read and the write of the first release, which then fails.
async fn release(election: &LeaderElection) {
    election.release().await;
    election.release().await;
}

/// Acquires the Lease, and returns when it is lost.
async fn lead_until_lost(election: Option<&LeaderElection>, lead: impl Future<Output = ()>) {
    match election {
        Some(election) => {
            election.with_lease(lead).await;
        }
        None => lead.await,
    }
}

/// The election that the settings describe. `namespace` is the default namespace of the Lease.
///
/// The client must time out after [`CALL_TIMEOUT`], because a standby waits for each call.
#[must_use]
pub fn election(client: kube::Client, settings: &cli::LeaderElection, namespace: &str) -> LeaderElection {
    let namespace = settings.namespace.as_deref().unwrap_or(namespace);
    let identity = settings.identity.clone().unwrap_or_else(unique_identity);
    LeaderElection::new(logging_failures(client, namespace), namespace, &settings.lease, &identity)
        .with_lease_duration(LEASE_DURATION)
        .with_renew_deadline(RENEW_DEADLINE)
        .with_retry_period(RETRY_PERIOD)
}

/// A name for this operator: the same for all replicas with the same Lease, and another for each process without leader election.
/// `namespace` is the default namespace of the Lease.
#[must_use]
pub fn operator_name(settings: &cli::LeaderElection, namespace: &str) -> String {
    if settings.enabled {
        format!("{}/{}", settings.namespace.as_deref().unwrap_or(namespace), settings.lease)
    } else {
        unique_identity()
    }
}

/// A client that logs failed requests once a minute. The election itself logs each one, every second, so the log omits its lines.
fn logging_failures(client: kube::Client, namespace: &str) -> kube::Client {
    let (limiter, in_namespace) = (LogLimiter::default(), namespace.to_owned());
    let service = service_fn(move |request: Request<Body>| {
        let (client, limiter, namespace) = (client.clone(), limiter.clone(), in_namespace.clone());
        async move {
            let verb = verb(request.method());
            let response = client.send(request).await;
            if let Some(failure) = describe_failure(&response, verb, &namespace)
                && limiter.is_due()
            {
                tracing::warn!("{failure}");
            }
            response
        }
    });
    kube::Client::new(service, namespace)
}

/// The name of a request in a Role.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "create",
        _ => "update",
    }
}

/// What a failed request means; none if it is part of an election that a Lease does not exist, or that another replica has just written it.
fn describe_failure(response: &Result<Response<Body>, kube::Error>, verb: &str, namespace: &str) -> Option<String> {
    let status = match response {
        Ok(response) => response.status(),
        Err(error) => {
            return Some(format!("could not {verb} the Lease of the leader election: {}", display_chain(error)));
        }
    };
    match status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(format!(
            "the operator cannot {verb} resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"{namespace}\" \
             (HTTP status {}); it needs the permissions to get, create and update the Lease, and reconciles nothing without them",
            status.as_u16()
        )),
        status if status.is_success() => None,
        status => Some(format!("could not {verb} the Lease of the leader election: HTTP status {}", status.as_u16())),
    }
}

fn unique_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    // The keys of a RandomState are random, so no two processes get the same hash.
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}
