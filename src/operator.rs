//! Puts the parts together: the watches and their controllers, the HTTP port, and the way down.

use crate::api::GROUP;
use crate::api::v1alpha1::{ApprovalDecision, REQUESTED_AT};
use crate::causes::with_causes;
use crate::cli::Run;
use crate::codepipeline::{Client, Pace, Views};
use crate::decision::{Context, Error as ReconcileError, Settings, name, reconcile};
use crate::http::{Health, router};
use crate::leadership::{CALL_TIMEOUT, Role, campaign, election};
use crate::metrics::Metrics;
use futures::future::{FutureExt, join_all};
use futures::stream::{poll_fn, unfold};
use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::Api;
use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::predicates;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::Backoff;
use kube::runtime::{Controller, Predicate, WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

/// The pause before a failed watch is tried again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The pause before a failed round is begun again.
const ROUND_PAUSE: Duration = Duration::from_secs(5);

/// How long a complaint that does not change is kept to oneself before it is repeated.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime or the signal handlers.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
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
    #[error("the Kubernetes configuration cannot be used: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start. What fails later is tried again.
pub fn run(settings: Run) -> Result<(), Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Run) -> Result<(), Error> {
    let begun = Instant::now();
    let stop = stop_signal()?.shared();
    let http_error = |source| Error::HttpAddress { address: settings.http_address, source };
    let listener = tokio::net::TcpListener::bind(settings.http_address).await.map_err(http_error)?;

    let cluster = kube::Config::infer().await.map_err(|error| Error::Kubeconfig(Box::new(error)))?;
    let api_server = cluster.cluster_url.to_string();
    let client = |config| kube::Client::try_from(config).map_err(|error| Error::Kubernetes(Box::new(error)));
    let kubernetes = client(cluster.clone())?;
    let (sender, role) = watch::channel(Role::Standby);
    let election = if settings.leader_election.enabled {
        let namespace = cluster.default_namespace.clone();
        let timeout = Some(CALL_TIMEOUT);
        let mut impatient = cluster;
        (impatient.connect_timeout, impatient.read_timeout, impatient.write_timeout) = (timeout, timeout, timeout);
        Some(election(client(impatient)?, &settings.leader_election, &namespace))
    } else {
        None
    };
    let campaign = tokio::spawn(campaign(election, sender, stop.clone()));
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

    let reporter = Reporter { controller: "approval-operator".into(), instance: None };
    let recorder = Recorder::new(kubernetes.clone(), reporter);
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
        recorder: recorder.clone(),
        concurrency: concurrency.clone(),
        role: role.clone(),
    };
    let namespaces: BTreeSet<&String> = settings.namespaces.iter().collect();
    let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let (controllers, stores): (Vec<_>, Vec<_>) = scopes
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

    let health = Health { stores, role: role.clone(), settings: decision_settings, metrics: metrics.clone() };
    tokio::spawn(axum::serve(listener, router(health)).into_future());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        api_server,
        namespaces = if settings.namespaces.is_empty() { "all".to_owned() } else { settings.namespaces.join(",") },
        http_address = %settings.http_address,
        "started"
    );

    let mut controllers = Box::pin(join_all(controllers));
    tokio::select! {
        biased;
        () = stop => {
            tracing::info!("stopping: no new work is taken, answers under way are finished");
            concurrency.close();
            if timeout(aws_timeout, controllers).await.is_err() {
                tracing::warn!("stopped with answers under way; the next start reads what became of them");
            }
        }
        _ = &mut controllers => {}
    }
    // An error would be that of a task that did not end well: it has no Lease to release.
    let _ = campaign.await;
    tracing::info!("stopped");
    Ok(())
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

/// The watch on the decisions of one namespace, or of all.
struct Watch {
    api: Api<ApprovalDecision>,
    namespace: Option<String>,
    label_selector: Option<String>,
    api_server: String,
}

impl Watch {
    fn control(
        self,
        context: impl FnOnce(Store<ApprovalDecision>, UnboundedSender<ObjectRef<ApprovalDecision>>) -> Context,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> (impl Future<Output = ()>, Store<ApprovalDecision>) {
        let (reader, writer) = store();
        let (wake, mut woken) = unbounded_channel();
        let context = context(reader.clone(), wake);
        let config = watcher::Config { label_selector: self.label_selector.clone(), ..watcher::Config::default() };
        let (views, known, namespace) = (context.views.clone(), reader.clone(), self.namespace.clone());
        let decisions = watcher(self.api.clone(), config)
            .backoff(Every(WATCH_PAUSE))
            .modify(forget_what_is_not_read)
            .reflect(writer)
            // Nobody waits any more for the run of a decision that is gone.
            .inspect_ok(move |event| match event {
                watcher::Event::Delete(decision) => views.forget(&ObjectRef::from_obj(decision)),
                watcher::Event::InitDone => views.retain(|decision| {
                    namespace.as_ref().is_some_and(|name| decision.namespace.as_ref() != Some(name))
                        || known.get(decision).is_some()
                }),
                watcher::Event::Apply(_) | watcher::Event::Init | watcher::Event::InitApply(_) => {}
            })
            .applied_objects()
            // The operator's own status writes change neither.
            .predicate_filter(predicates::generation.combine(requested_at), kube::runtime::PredicateConfig::default());
        let rounds = Controller::for_stream(decisions, reader.clone())
            // The watch has its own pauses, and its errors must not hold back those who are woken.
            .trigger_backoff(Every(Duration::ZERO))
            .reconcile_on(poll_fn(move |task| woken.poll_recv(task)))
            .reconcile_all_on(unfold(context.role.clone(), turn))
            .graceful_shutdown_on(stop)
            .run(reconcile, failed_round, Arc::new(context.clone()));
        (self.report(rounds, context.metrics), reader)
    }

    /// The stream of rounds carries the watch's errors too: they are all that is to be told here.
    async fn report<T, Q>(
        self,
        rounds: impl Stream<Item = Result<T, ControllerError<ReconcileError, Q>>>,
        metrics: Metrics,
    ) where
        Q: std::error::Error + 'static,
    {
        let mut said: Option<(String, Instant)> = None;
        let mut rounds = std::pin::pin!(rounds);
        while let Some(round) = rounds.next().await {
            let Err(ControllerError::QueueError(error)) = round else {
                continue;
            };
            metrics.watch_error();
            let complaint = self.complaint(&error);
            let repeated = said.as_ref().is_some_and(|(text, at)| *text == complaint && at.elapsed() < COMPLAINT_PAUSE);
            if !repeated {
                tracing::warn!("{complaint}");
                said = Some((complaint, Instant::now()));
            }
        }
    }

    fn complaint(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let scope = self.namespace.as_ref().map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
        let plural = ApprovalDecision::plural(&());
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        let code = causes.find_map(|error| match error.downcast_ref() {
            Some(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        });
        match code {
            Some(404) => format!(
                "the CustomResourceDefinition {plural}.{GROUP} is not installed; waiting for it. Install it with: \
                 approval-operator crd | kubectl apply --server-side -f -"
            ),
            Some(400) if self.label_selector.is_some() => format!(
                "--watch-label-selector is not a label selector ({}); write one such as shard=a or team in (web,data)",
                with_causes(error)
            ),
            Some(403) => format!(
                "not allowed to list and watch {plural}.{GROUP} in {scope}; waiting for the right ({})",
                with_causes(error)
            ),
            Some(401) => format!(
                "the API server at {} does not accept the operator's credentials; trying again",
                self.api_server
            ),
            _ => format!("waiting for the API server at {} ({})", self.api_server, with_causes(error)),
        }
    }
}

/// Waits until this replica begins to act.
async fn turn(mut role: watch::Receiver<Role>) -> Option<((), watch::Receiver<Role>)> {
    loop {
        role.changed().await.ok()?;
        if *role.borrow_and_update() == Role::Leader {
            return Some(((), role));
        }
    }
}

fn forget_what_is_not_read(decision: &mut ApprovalDecision) {
    decision.metadata.managed_fields = None;
    decision.annotations_mut().retain(|name, _| name == REQUESTED_AT);
    decision.labels_mut().clear();
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a predicate")]
fn requested_at(decision: &ApprovalDecision) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    decision.annotations().get(REQUESTED_AT).hash(&mut hasher);
    Some(hasher.finish())
}

fn failed_round(decision: Arc<ApprovalDecision>, error: &ReconcileError, context: Arc<Context>) -> Action {
    if !matches!(error, ReconcileError::NotLeading) {
        context.metrics.reconcile_error();
        tracing::warn!(decision = %name(&decision), "{}; trying again in {ROUND_PAUSE:?}", with_causes(error));
    }
    Action::requeue(ROUND_PAUSE)
}

/// The same pause each time: the start, and a CRD that was just installed, are not to be waited for.
struct Every(Duration);

impl Iterator for Every {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Every {
    fn reset(&mut self) {}
}
