//! Where kube ends: the watch on decisions, their cache, and the reconciles. [`Watch::run`] connects them. Errors of the watch are
//! logged here, once a minute.

mod accepted_index;
mod context;
mod predicate;
mod reconcile;
mod reconcile_slots;
mod rejection_index;
mod status_writer;
mod store;
mod watch_health;

pub use accepted_index::AcceptedIndex;
pub use context::{Context, Watches};
pub use reconcile::{Error, error_policy, reconcile};
pub use reconcile_slots::ReconcileSlots;
pub use rejection_index::RejectionIndex;
pub use status_writer::StatusWriter;
pub use store::{DecisionStore, Readiness, WatchState};
pub use watch_health::{BrokenWatch, WatchHealth};

use crate::api::GROUP;
use crate::api::v1alpha1::{ApprovalDecision, WireDecision};
use crate::backoff::{ConstantBackoff, FAILED_WATCH};
use crate::error_chain::{api_status, display_chain};
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use crate::telemetry::REPEAT_LOG_AFTER;
use futures::future::ready;
use futures::stream::{poll_fn, unfold};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::reflector::{ObjectRef, Store, store as new_store};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::StoreWriter;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tower::service_fn;
use watch_health::Change;

/// How long one watch request lasts, in seconds, before the next one resumes it. A connection that was lost silently is noticed
/// no sooner: until then, the operator does not see new decisions.
pub const WATCH_SECONDS: u32 = 30;

/// How long a watch may fail before it counts as broken. A restart of the API server takes less.
pub const WATCH_BROKEN_AFTER: Duration = Duration::from_secs(120);

/// The watch on the decisions of one namespace, or of all.
pub struct Watch {
    /// The API of that scope.
    pub api: Api<WireDecision>,
    /// The only namespace, if there is one.
    pub namespace: Option<String>,
    /// The API server's URL, for the log.
    pub api_server: String,
    /// How long the watch may fail before it counts as broken: [`WATCH_BROKEN_AFTER`].
    pub broken_after: Duration,
}

impl Watch {
    /// Starts to watch. The future runs the reconciles until `stop`.
    pub fn run(
        self,
        context: impl FnOnce(Store<ApprovalDecision>, UnboundedSender<ObjectRef<ApprovalDecision>>) -> Context,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> (impl Future<Output = ()>, DecisionStore) {
        let (decisions, writer) = new_store();
        let (state_sender, state) = watch::channel(WatchState::NotListed);
        let (wake, mut woken) = unbounded_channel();
        let context = context(decisions.clone(), wake);
        let health = WatchHealth::new(self.broken_after);
        context.watches.add(self.namespace.clone(), context.wake.clone(), health.clone());
        let config = watcher::Config { timeout: Some(WATCH_SECONDS), ..watcher::Config::default() };
        let api = self.observed_api(health.clone(), context.clone());
        let events = watch_events(api, config).backoff(ConstantBackoff(FAILED_WATCH));
        let mut writer =
            StoreWriter::new(writer, context.clone(), self.namespace.clone(), state_sender, health.clone());
        let errors = events.filter_map(move |event| {
            ready(match event {
                Ok(event) => {
                    writer.handle(event);
                    None
                }
                Err(error) => {
                    writer.on_error(&error);
                    Some(Err(error))
                }
            })
        });
        let results = Controller::for_stream(errors, decisions.clone())
            // The watch has its own back-off, and its errors must not delay decisions that were woken.
            .trigger_backoff(ConstantBackoff(Duration::ZERO))
            .reconcile_on(poll_fn(move |task| woken.poll_recv(task)))
            .reconcile_all_on(unfold(context.leader.clone(), became_leader))
            .graceful_shutdown_on(stop)
            .run(reconcile, error_policy, Arc::new(context.clone()));
        (self.log_errors(results, context.metrics), DecisionStore { decisions, state, health })
    }

    /// The API with a client that reports each request.
    fn observed_api(&self, health: WatchHealth, context: Context) -> Api<WireDecision> {
        let client = self.api.clone().into_client();
        let default_namespace = client.default_namespace().to_owned();
        let observed = service_fn(move |request| {
            if health.on_request() == Change::Recovered {
                context.on_watch_recovered();
            }
            let client = client.clone();
            async move { client.send(request).await }
        });
        let client = kube::Client::new(observed, default_namespace);
        match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    /// Logs the errors of the watch, which the stream of reconciles carries too. [`error_policy`] reports failed reconciles.
    async fn log_errors<T, Q>(self, results: impl Stream<Item = Result<T, ControllerError<Error, Q>>>, metrics: Metrics)
    where
        Q: std::error::Error + 'static,
    {
        let mut logged: Option<(Option<u16>, Instant)> = None;
        let mut results = std::pin::pin!(results);
        while let Some(result) = results.next().await {
            let Err(ControllerError::QueueError(error)) = result else {
                continue;
            };
            metrics.watch_failed();
            // The words differ between attempts to list and to watch.
            let status = api_status(&error);
            let is_repeated = logged.is_some_and(|(last, at)| last == status && at.elapsed() < REPEAT_LOG_AFTER);
            if !is_repeated {
                tracing::warn!("{}", self.describe(&error));
                logged = Some((status, Instant::now()));
            }
        }
    }

    fn describe(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let scope = self.namespace.as_ref().map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
        let plural = ApprovalDecision::plural(&());
        match api_status(error) {
            Some(404) => format!(
                "the CustomResourceDefinition {plural}.{GROUP} is not installed; waiting for it. Install it with: \
                 approval-operator crd | kubectl apply --server-side -f -"
            ),
            Some(403) => format!(
                "the operator is not allowed to list and watch {plural}.{GROUP} in {scope}; waiting for the permission ({})",
                display_chain(error)
            ),
            Some(401) => {
                format!("the API server at {} does not accept the operator's credentials; retrying", self.api_server)
            }
            _ => format!("waiting for the API server at {} ({})", self.api_server, display_chain(error)),
        }
    }
}

/// The events of a watch. If the API server refuses to resume the watch because it is too old, it starts again with a list. A watcher
/// does that itself only if an event in the stream says so; if the request is refused, it would repeat the request forever.
fn watch_events(
    api: Api<WireDecision>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<WireDecision>>> {
    unfold(None, move |current| {
        let mut events = current.unwrap_or_else(|| watcher(api.clone(), config.clone()).boxed());
        async move {
            let event = events.next().await?;
            let is_too_old = matches!(
                &event,
                Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410
            );
            Some((event, (!is_too_old).then_some(events)))
        }
    })
}

/// Waits until this replica becomes the leader.
async fn became_leader(mut leader: watch::Receiver<LeaderState>) -> Option<((), watch::Receiver<LeaderState>)> {
    loop {
        leader.changed().await.ok()?;
        if *leader.borrow_and_update() == LeaderState::Leader {
            return Some(((), leader));
        }
    }
}
