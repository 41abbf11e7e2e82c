//! Which of several replicas acts: the one that holds a Lease. Holding it keeps replicas out of each other's way; that
//! no two of them answer one approval does not rest on it, but on the precondition of each intent, since a replica that was
//! paused past its Lease does not know it yet.

use crate::cli;
use k8s_controller::LeaderElection;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long after its last renewal a Lease is taken from a replica that does not give it back. Shorter than is usual, for
/// to lose it costs no restart here.
const LEASE: Duration = Duration::from_secs(6);

/// How long after its last renewal a replica stops acting: before anybody else may begin.
const RENEW_WITHIN: Duration = Duration::from_secs(4);

/// The pause between two renewals. That between two looks of a standby is up to half as long again.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest that one call about the Lease may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What this replica does now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It takes up decisions.
    Leader,
    /// It watches them, and waits for its turn.
    Standby,
    /// It finishes what is under way.
    Stopping,
}

/// Changes a replica's role until it is told to stop, and gives the Lease back then, before what is under way is finished:
/// that is fenced by its intents, and whoever comes next need not wait for it. Without an election it always leads; with one it
/// stands once its caches are filled, lest a replica that can watch nothing takes the Lease from one that can.
pub async fn campaign(
    election: Option<LeaderElection>,
    filled: impl Future<Output = ()>,
    role: watch::Sender<Role>,
    stop: impl Future<Output = ()> + Clone,
) {
    if election.is_some() {
        tokio::select! {
            biased;
            () = stop.clone() => {}
            () = filled => {}
        }
    }
    loop {
        let lead = async {
            role.send_replace(Role::Leader);
            tracing::info!("leading: decisions are taken up");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = stop.clone() => break,
            () = lead_or_wait(election.as_ref(), lead) => {}
        }
        role.send_replace(Role::Standby);
        tracing::warn!("no longer leading: decisions are left to whoever holds the Lease");
    }
    role.send_replace(Role::Stopping);
    if let Some(election) = election
        && timeout(CALL_TIMEOUT, release(&election)).await.is_err()
    {
        tracing::warn!("the Lease could not be released in time: it can be taken {LEASE:?} after its last renewal");
    }
}

/// A renewal that was under way may land in the middle, and then the first release is refused.
async fn release(election: &LeaderElection) {
    election.release().await;
    election.release().await;
}

/// Returns when the Lease is lost.
async fn lead_or_wait(election: Option<&LeaderElection>, lead: impl Future<Output = ()>) {
    match election {
        Some(election) => {
            election.with_lease(lead).await;
        }
        None => lead.await,
    }
}

/// The election that the settings describe. `namespace` is where the Lease is if they do not say.
///
/// The client is to give up on a call after [`CALL_TIMEOUT`]: a standby waits for each of its looks.
#[must_use]
pub fn election(client: kube::Client, settings: &cli::LeaderElection, namespace: &str) -> LeaderElection {
    let namespace = settings.namespace.as_deref().unwrap_or(namespace);
    let identity = settings.identity.clone().unwrap_or_else(unique_identity);
    LeaderElection::new(client, namespace, &settings.lease, &identity)
        .with_lease_duration(LEASE)
        .with_renew_deadline(RENEW_WITHIN)
        .with_retry_period(PAUSE)
}

fn unique_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    // Its keys are random: no two processes make the same.
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}
