//! Puts the parts together: the watches, the election, the HTTP port, and the way down.

use crate::api::v1alpha1::ApprovalDecision;
use crate::cli::Run;
use crate::codepipeline::{Client, Pace, Views};
use crate::decision::{Context, Settings};
use crate::events::Events;
use crate::http::{Health, router};
use crate::kubernetes;
use crate::leadership::{CALL_TIMEOUT, Role, campaign, election};
use crate::metrics::Metrics;
use crate::watch::{Cache, WATCH_SECONDS, Watch};
use futures::future::{FutureExt, join_all};
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use rustls::crypto::aws_lc_rs;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant as Clock, timeout_at};

/// The longest that opening a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long beyond answers under way the last Events may take.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime or the signal handlers.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
    /// Whom to trust, which the connection to AWS cannot do without.
    #[error("no certificates of authorities were found{0}; SSL_CERT_FILE names a file with them")]
    Authorities(String),
    /// The port.
    #[error("--http-address {address} cannot be served: {source}")]
    HttpAddress {
        /// What was asked for.
        address: SocketAddr,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The cluster.
    #[error("no Kubernetes cluster is configured: {0}. Set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Kubeconfig(#[source] Box<kube::config::InferConfigError>),
    /// The client for it.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start. What fails later is tried again.
pub fn run(settings: Run) -> Result<(), Error> {
    gather_entropy();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Run) -> Result<(), Error> {
    let begun = Instant::now();
    let stop = stop_signal()?.shared();
    let http_error = |source| Error::HttpAddress { address: settings.http_address, source };
    find_authorities()?;
    let listener = tokio::net::TcpListener::bind(settings.http_address).await.map_err(http_error)?;
    // Port 0 asks for any that is free.
    let http_address = listener.local_addr()?;

    let mut cluster = kube::Config::infer().await.map_err(|error| Error::Kubeconfig(Box::new(error)))?;
    cluster.connect_timeout = Some(CONNECT_TIMEOUT);
    // Longer than a watch may have nothing to say.
    cluster.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS)) + CONNECT_TIMEOUT);
    let api_server = cluster.cluster_url.to_string();
    let kubernetes = kubernetes::client(cluster.clone())?;
    let (sender, role) = watch::channel(Role::Standby);
    let election = if settings.leader_election.enabled {
        let namespace = cluster.default_namespace.clone();
        let timeout = Some(CALL_TIMEOUT);
        let mut impatient = cluster;
        (impatient.connect_timeout, impatient.read_timeout, impatient.write_timeout) = (timeout, timeout, timeout);
        Some(election(kubernetes::client(impatient)?, &settings.leader_election, &namespace))
    } else {
        None
    };
    let metrics = Metrics::default();
    let aws_timeout = settings.aws_timeout.unsigned_abs();
    let pace = Pace::new(settings.aws_requests_per_second);
    let codepipeline = Client::new(aws_timeout, pace, metrics.clone(), begun);
    // The first decision need not wait for what can be found meanwhile, nor the start for what cannot be found.
    let warm_up = codepipeline.clone();
    tokio::spawn(async move {
        if let Err(error) = warm_up.ready().await {
            tracing::warn!("{}; it is tried again when a decision is to be answered", error.detail());
        }
    });

    let (end_events, events_end) = oneshot::channel();
    let (events, writing) = Events::new(kubernetes.clone(), events_end);
    let writing = tokio::spawn(writing);
    let views = Views::new(codepipeline.clone(), settings.poll_interval.unsigned_abs());
    let concurrency = Arc::new(Semaphore::new(settings.concurrency.into()));
    let decision_settings = Settings {
        aws_timeout: settings.aws_timeout,
        waiting_limit: settings.waiting_limit,
        poll_interval: settings.poll_interval,
    };
    let context = |decisions, wake| Context {
        kubernetes: kubernetes.clone(),
        codepipeline: codepipeline.clone(),
        views: views.clone(),
        decisions,
        wake,
        settings: decision_settings,
        metrics: metrics.clone(),
        events: events.clone(),
        concurrency: concurrency.clone(),
        role: role.clone(),
    };
    let namespaces: BTreeSet<&String> = settings.namespaces.iter().collect();
    let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let (controllers, caches): (Vec<_>, Vec<_>) = scopes
        .into_iter()
        .map(|namespace| {
            let api = match namespace {
                Some(namespace) => Api::namespaced(kubernetes.clone(), namespace),
                None => Api::all(kubernetes.clone()),
            };
            let watch = Watch {
                api,
                namespace: namespace.cloned(),
                label_selector: settings.watch_label_selector.clone(),
                api_server: api_server.clone(),
            };
            watch.control(context, stop.clone())
        })
        .unzip();

    let filled = join_all(caches.iter().cloned().map(Cache::filled)).map(drop);
    let campaign = tokio::spawn(campaign(election, filled, sender, stop.clone()));
    tokio::spawn(look_away_from_the_service(role.clone(), views.clone()));
    let health = Health { caches, role: role.clone(), settings: decision_settings, metrics: metrics.clone() };
    tokio::spawn(axum::serve(listener, router(health)).into_future());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        api_server,
        namespaces = if settings.namespaces.is_empty() { "all".to_owned() } else { settings.namespaces.join(",") },
        %http_address,
        "started"
    );

    let mut controllers = Box::pin(join_all(controllers));
    let limit = tokio::select! {
        biased;
        () = stop => {
            tracing::info!("stopping: no new work is taken, answers under way are finished");
            concurrency.close();
            let limit = Clock::now() + aws_timeout;
            if timeout_at(limit, controllers).await.is_err() {
                tracing::warn!("stopped with answers under way; the next start reads what became of them");
            }
            limit
        }
        _ = &mut controllers => Clock::now(),
    };
    let _ = end_events.send(());
    if timeout_at(limit + EVENTS_TIMEOUT, writing).await.is_err() {
        tracing::warn!("stopped with {} Events unwritten; the decisions' statuses tell the same", events.waiting());
    }
    // An error would be that of a task that did not end well: it has no Lease to release.
    let _ = campaign.await;
    tracing::info!("stopped");
    Ok(())
}

/// The first random number of a process takes the TLS library some 30 ms, in which it gathers entropy from the jitter of the processor.
/// The first connection would wait for it: it is done beside all else that a start does. Where it cannot be, that connection does it.
fn gather_entropy() {
    let _ = std::thread::Builder::new().spawn(|| aws_lc_rs::default_provider().secure_random.fill(&mut [0]));
}

/// The AWS SDK looks for them as this does, and panics where there are none.
fn find_authorities() -> Result<(), Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Error::Authorities(found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default()));
    }
    Ok(())
}

/// Looks at pipelines are the leader's.
async fn look_away_from_the_service(mut role: watch::Receiver<Role>, views: Views<ObjectRef<ApprovalDecision>>) {
    while role.changed().await.is_ok() {
        if *role.borrow_and_update() != Role::Leader {
            views.retain(|_| false);
        }
    }
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + Sync + 'static, Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
