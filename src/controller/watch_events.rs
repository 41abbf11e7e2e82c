//! The events of a watch, and the log of its errors.

use crate::error_chain::{api_status, display_chain};
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use crate::telemetry::REPEAT_LOG_AFTER;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use std::time::Instant;
use tokio::sync::watch;
use tower::service_fn;

/// How long one watch request lasts, in seconds, before the next one resumes it. A connection that was lost silently is noticed
/// no sooner: until then, the operator does not see new decisions.
pub const WATCH_SECONDS: u32 = 30;

/// The configuration of every watch.
pub(super) fn watch_config() -> watcher::Config {
    watcher::Config { timeout: Some(WATCH_SECONDS), ..watcher::Config::default() }
}

/// The events of a watch. If the API server refuses to resume the watch because it is too old, it starts again with a list. A watcher
/// does that itself only if an event in the stream says so; if the request is refused, it would repeat the request forever.
pub(super) fn watch_events<K: Send + 'static>(
    watcher: impl Fn() -> BoxStream<'static, watcher::Result<Event<K>>>,
) -> impl Stream<Item = watcher::Result<Event<K>>> {
    unfold((None, watcher), |(current, watcher)| async move {
        let mut events = current.unwrap_or_else(&watcher);
        let event = events.next().await?;
        let is_too_old = matches!(
            &event,
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410
        );
        Some((event, ((!is_too_old).then_some(events), watcher)))
    })
}

/// A client that reports each request.
pub(super) fn observed_client(client: kube::Client, on_request: impl Fn() + Send + 'static) -> kube::Client {
    let default_namespace = client.default_namespace().to_owned();
    let observed = service_fn(move |request| {
        on_request();
        let client = client.clone();
        async move { client.send(request).await }
    });
    kube::Client::new(observed, default_namespace)
}

/// Waits until this replica becomes the leader.
pub(super) async fn became_leader(
    mut leader: watch::Receiver<LeaderState>,
) -> Option<((), watch::Receiver<LeaderState>)> {
    loop {
        leader.changed().await.ok()?;
        if *leader.borrow_and_update() == LeaderState::Leader {
            return Some(((), leader));
        }
    }
}

/// The log of a watch's errors: one line a minute for the same error. The metrics count each.
pub(super) struct WatchErrorLog {
    /// The resource with its group, if it has one.
    resource: String,
    /// What is watched of it.
    scope: String,
    /// The API server's URL.
    api_server: String,
    metrics: Metrics,
    /// The status of the last error that was logged, if it had one, and the time.
    logged: Option<(Option<u16>, Instant)>,
}

impl WatchErrorLog {
    pub(super) const fn new(resource: String, scope: String, api_server: String, metrics: Metrics) -> Self {
        Self { resource, scope, api_server, metrics, logged: None }
    }

    pub(super) fn log(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.metrics.watch_failed();
        // The words differ between attempts to list and to watch.
        let status = api_status(error);
        let is_repeated = self.logged.is_some_and(|(last, at)| last == status && at.elapsed() < REPEAT_LOG_AFTER);
        if !is_repeated {
            tracing::warn!("{}", self.describe(error));
            self.logged = Some((status, Instant::now()));
        }
    }

    fn describe(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let Self { resource, scope, api_server, .. } = self;
        match api_status(error) {
            Some(404) => format!(
                "the CustomResourceDefinition {resource} is not installed; waiting for it. Install it with: \
                 approval-operator crd | kubectl apply --server-side -f -"
            ),
            Some(403) => format!(
                "the operator is not allowed to list and watch {resource} in {scope}; waiting for the permission ({})",
                display_chain(error)
            ),
            Some(401) => format!("the API server at {api_server} does not accept the operator's credentials; retrying"),
            _ => format!("waiting for the API server at {api_server} ({})", display_chain(error)),
        }
    }
}
