//! The watch on the decisions of one namespace, or of all: it connects the events, the cache and the reconciles. Its errors are logged
//! here, once a minute.

use super::context::Context;
use super::reconcile::{Error, error_policy, reconcile};
use super::store::{DecisionStore, StoreWriter};
use super::watch_events::{WatchErrorLog, became_leader, observed_client, watch_config, watch_events};
use super::watch_health::{Change, WatchHealth, WatchState};
use crate::api::GROUP;
use crate::api::v1alpha1::{ApprovalDecision, WireDecision};
use crate::backoff::{ConstantBackoff, FAILED_WATCH};
use crate::metrics::Metrics;
use futures::future::ready;
use futures::stream::{poll_fn, unfold};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::reflector::{ObjectRef, Store, store as new_store};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// The watch on the decisions of one namespace, or of all.
pub struct DecisionWatch {
    /// The API of that scope.
    pub api: Api<WireDecision>,
    /// The only namespace, if there is one.
    pub namespace: Option<String>,
    /// The API server's URL, for the log.
    pub api_server: String,
    /// How long the watch may fail before it counts as broken: [`super::WATCH_BROKEN_AFTER`].
    pub broken_after: Duration,
}

impl DecisionWatch {
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
        context.watches.add(self.namespace.clone(), decisions.clone(), context.wake.clone(), health.clone());
        let api = self.observed_api(health.clone(), context.clone());
        let events =
            watch_events(move || watcher(api.clone(), watch_config()).boxed()).backoff(ConstantBackoff(FAILED_WATCH));
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
        let client = observed_client(self.api.clone().into_client(), move || {
            if health.on_request() == Change::Recovered {
                context.on_watch_recovered();
            }
        });
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
        let scope = self.namespace.map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
        let resource = format!("{}.{GROUP}", ApprovalDecision::plural(&()));
        let mut log = WatchErrorLog::new(resource, scope, self.api_server, metrics);
        let mut results = std::pin::pin!(results);
        while let Some(result) = results.next().await {
            let Err(ControllerError::QueueError(error)) = result else {
                continue;
            };
            log.log(&error);
        }
    }
}
