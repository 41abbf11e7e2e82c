//! Composes the operator: the watches, leader election, the HTTP server, and the shutdown.

use crate::cli::RunArgs;
use crate::codepipeline::{CallMetrics, Client, ClientSettings};
use crate::controller::{
    AcceptedIndex, ConnectionSettings, Context, DecisionStore, DecisionWatch, DecisionWatches, LabelChange,
    NamespaceLabels, NamespaceWatch, RejectionIndex, StatusWriter, TargetWatch, Targets, WATCH_BROKEN_AFTER,
    WATCH_SECONDS,
};
use crate::decision::{AmbientCredentials, Settings};
use crate::event_recorder::EventRecorder;
use crate::http::{self, Health, router};
use crate::kube_client;
use crate::leader_election::{CALL_TIMEOUT, LeaderState, election, operator_name, run_election};
use crate::metrics::Metrics;
use crate::proxy::{InvalidProxy, ProxySettings};
use crate::telemetry::LogLimiter;
use futures::future::{FutureExt, join_all};
use kube::api::Api;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// The longest time that opening a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the shutdown waits for the last Events after the submissions in flight.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime or the signal handlers.
    #[error("operating system error: {0}")]
    System(#[from] std::io::Error),
    /// The CA certificates, which the connection to AWS needs.
    #[error("no CA certificates found{0}; set SSL_CERT_FILE to a CA bundle")]
    RootCertificates(String),
    /// The address of the HTTP server.
    #[error("cannot listen on --http-address {0}")]
    HttpAddress(#[from] http::ListenError),
    /// A proxy in the environment.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// The configuration of the Kubernetes client.
    #[error("no Kubernetes cluster is configured: {0}. Set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Kubeconfig(#[source] Box<kube::config::InferConfigError>),
    /// The Kubernetes client.
    #[error(transparent)]
    Kubernetes(#[from] kube_client::Error),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When the operator cannot start. It retries what fails later.
pub fn run(args: RunArgs) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: RunArgs) -> Result<(), Error> {
    let stop = stop_signal()?.shared();
    check_root_certificates()?;
    let listener = http::listen(args.http_address)?;
    // Port 0 means any free port.
    let http_address = listener.local_addr()?;

    let proxies = ProxySettings::from_env()?;
    let mut cluster = kube_client::config(&proxies).await.map_err(|error| Error::Kubeconfig(Box::new(error)))?;
    cluster.connect_timeout = Some(CONNECT_TIMEOUT);
    // Longer than a watch may be silent.
    cluster.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS)) + CONNECT_TIMEOUT);
    let api_server = cluster.cluster_url.to_string();
    let kubernetes = kube_client::client(cluster.clone())?;
    let writer = StatusWriter::new(&operator_name(&args.leader_election, &cluster.default_namespace));
    let election = if args.leader_election.enabled {
        let namespace = cluster.default_namespace.clone();
        let timeout = Some(CALL_TIMEOUT);
        (cluster.connect_timeout, cluster.read_timeout, cluster.write_timeout) = (timeout, timeout, timeout);
        Some(election(kube_client::client(cluster)?, &args.leader_election, &namespace))
    } else {
        None
    };

    let calls = CallMetrics::default();
    let metrics = Metrics::new(&calls);
    let connections = connection_settings(&args, &proxies, calls);
    let watches = DecisionWatches::default();
    let (verify, due) = unbounded_channel();
    let ambient = if args.ambient_credentials { AmbientCredentials::Enabled } else { AmbientCredentials::Disabled };
    let namespaces = args
        .approval_targets
        .then(|| spawn_namespace_watch(kubernetes.clone(), api_server.clone(), watches.clone(), metrics.clone()));
    let targets = Targets::new(connections, ambient, namespaces, verify);
    if args.ambient_credentials {
        tokio::spawn(warm_up(targets.own().client.clone()));
    }
    let (stop_events, events_stop) = oneshot::channel();
    let (events, write_events) = EventRecorder::new(kubernetes.clone(), events_stop);
    let write_events = tokio::spawn(write_events);
    let (state, leader) = watch::channel(LeaderState::Standby);
    let settings = Settings {
        aws_timeout: args.aws_timeout,
        waiting_limit: args.waiting_limit,
        poll_interval: args.poll_interval,
    };
    let watched: BTreeSet<&String> = args.namespaces.iter().collect();
    let scopes = if watched.is_empty() { vec![None] } else { watched.into_iter().map(Some).collect() };
    let (rejections, accepted) = (RejectionIndex::new(scopes.len()), AcceptedIndex::default());
    let refusals = LogLimiter::default();
    let context = |decisions, wake| Context {
        kubernetes: kubernetes.clone(),
        targets: targets.clone(),
        decisions,
        rejections: rejections.clone(),
        accepted: accepted.clone(),
        watches: watches.clone(),
        wake,
        settings,
        metrics: metrics.clone(),
        writer: writer.clone(),
        events: events.clone(),
        refusals: refusals.clone(),
        leader: leader.clone(),
    };
    let (controllers, stores): (Vec<_>, Vec<_>) = scopes
        .into_iter()
        .map(|namespace| {
            let api = match namespace {
                Some(namespace) => Api::namespaced(kubernetes.clone(), namespace),
                None => Api::all(kubernetes.clone()),
            };
            let (namespace, api_server) = (namespace.cloned(), api_server.clone());
            let watch = DecisionWatch { api, namespace, api_server, broken_after: WATCH_BROKEN_AFTER };
            watch.run(context, stop.clone())
        })
        .unzip();

    if args.approval_targets {
        let (kubernetes, api_server) = (kubernetes.clone(), api_server.clone());
        let watch =
            TargetWatch { kubernetes, api_server, broken_after: WATCH_BROKEN_AFTER, due, metrics: metrics.clone() };
        let (writer, events) = (writer.clone(), events.clone());
        tokio::spawn(watch.run(targets.clone(), watches.clone(), writer, events, leader.clone(), stop.clone()));
    }

    let synced = DecisionStore::wait_until_synced(stores.clone());
    let election = tokio::spawn(run_election(election, synced, state, stop.clone()));
    tokio::spawn(stop_polling_when_not_leading(leader.clone(), targets.clone()));
    let health =
        Health { stores, targets: targets.clone(), leader: leader.clone(), settings, metrics: metrics.clone() };
    tokio::spawn(axum::serve(listener, router(health)).into_future());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        api_server,
        namespaces = if args.namespaces.is_empty() { "all".to_owned() } else { args.namespaces.join(",") },
        %http_address,
        "started"
    );

    let deadline = run_until_stopped(controllers, stop, &targets, args.aws_timeout.unsigned_abs()).await;
    let _ = stop_events.send(());
    if timeout_at(deadline + EVENTS_TIMEOUT, write_events).await.is_err() {
        tracing::warn!(
            "stopped before {} Events were written; the statuses of the decisions show the same",
            events.queued()
        );
    }
    // An error means that the task panicked, and then there is nothing to release.
    let _ = election.await;
    tracing::info!("stopped");
    Ok(())
}

/// What all connections to AWS have in common.
fn connection_settings(args: &RunArgs, proxies: &ProxySettings, calls: CallMetrics) -> ConnectionSettings {
    let timeout = args.aws_timeout.unsigned_abs();
    let (credentials_dir, sts_region) = (args.aws_credentials_dir.clone(), args.aws_sts_region.clone());
    ConnectionSettings {
        client: ClientSettings::new(timeout, credentials_dir, sts_region, proxies),
        requests_per_second: args.aws_requests_per_second,
        poll_interval: args.poll_interval.unsigned_abs(),
        concurrency: args.concurrency,
        calls,
    }
}

/// Starts the watch on namespaces, whose labels decide who may use a target.
fn spawn_namespace_watch(
    kubernetes: kube::Client,
    api_server: String,
    watches: DecisionWatches,
    metrics: Metrics,
) -> NamespaceLabels {
    let watch = NamespaceWatch { kubernetes, api_server, broken_after: WATCH_BROKEN_AFTER, metrics };
    let (run, labels) = watch.run(move |change| match change {
        LabelChange::Known => watches.wake_all(),
        LabelChange::Any => watches.wake_all_that_depend_on_targets(),
        LabelChange::In(namespace) => watches.wake_decisions_in(namespace),
    });
    tokio::spawn(run);
    labels
}

/// Runs the controllers until `stop`, and then waits for submissions in flight. Returns when that wait had to end.
async fn run_until_stopped(
    controllers: Vec<impl Future<Output = ()>>,
    stop: impl Future<Output = ()>,
    targets: &Targets,
    aws_timeout: Duration,
) -> Instant {
    let mut controllers = Box::pin(join_all(controllers));
    tokio::select! {
        biased;
        () = stop => {
            tracing::info!("stopping: waiting for submissions in flight");
            targets.close_slots();
            let deadline = Instant::now() + aws_timeout;
            if timeout_at(deadline, controllers).await.is_err() {
                tracing::warn!(
                    "stopped with submissions in flight; the next start reads their outcomes from CodePipeline's history"
                );
            }
            deadline
        }
        _ = &mut controllers => Instant::now(),
    }
}

/// Loads region and credentials during the start, so that the first decision need not wait for them. The start does not wait.
async fn warm_up(codepipeline: Client) {
    if let Err(error) = codepipeline.verify().await {
        tracing::warn!("{error}; the operator retries with its next call to CodePipeline");
    }
}

/// The AWS SDK looks for certificates in the same way, and panics if there are none.
fn check_root_certificates() -> Result<(), Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(Error::RootCertificates(cause));
    }
    Ok(())
}

/// Only the leader polls pipelines.
async fn stop_polling_when_not_leading(mut leader: watch::Receiver<LeaderState>, targets: Targets) {
    while leader.changed().await.is_ok() {
        if *leader.borrow_and_update() != LeaderState::Leader {
            targets.stop_polling();
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
