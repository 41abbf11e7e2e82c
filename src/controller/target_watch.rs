//! The watch on targets. It keeps [`Targets`] up to date, verifies each target with STS, and wakes the decisions that a change concerns.

use super::decision_watches::DecisionWatches;
use super::report_counts::report_counts;
use super::status_writer::StatusWriter;
use super::target_context::TargetContext;
use super::targets::Targets;
use super::verify_target::{error_policy, verify_target};
use super::watch_events::{WatchErrorLog, became_leader, observed_client, watch_config, watch_events};
use super::watch_health::{BrokenWatch, Change, WatchHealth};
use crate::api::GROUP;
use crate::api::v1alpha1::{ApprovalTarget, WireTarget};
use crate::backoff::{ConstantBackoff, FAILED_WATCH};
use crate::error_chain::{api_status, display_chain};
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use futures::StreamExt;
use futures::stream::{empty, poll_fn, unfold};
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

/// The watch on targets.
pub struct TargetWatch {
    /// The client of the API server.
    pub kubernetes: kube::Client,
    /// The API server's URL, for the log.
    pub api_server: String,
    /// How long the watch may fail before it counts as broken.
    pub broken_after: Duration,
    /// Counts errors.
    pub metrics: Metrics,
    /// The targets to verify.
    pub due: UnboundedReceiver<ObjectRef<WireTarget>>,
}

impl TargetWatch {
    /// Starts to watch. The future verifies targets and reports their counts until `stop`.
    pub fn run(
        self,
        targets: Targets,
        watches: DecisionWatches,
        writer: StatusWriter,
        events: EventRecorder,
        leader: watch::Receiver<LeaderState>,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> impl Future<Output = ()> {
        let health = WatchHealth::new(self.broken_after);
        let context = {
            let api = Api::all(self.kubernetes.clone());
            TargetContext { api, targets, watches, writer, events, leader: leader.clone() }
        };
        let api: Api<WireTarget> = Api::all(observed_client(self.kubernetes, {
            let (health, context) = (health.clone(), context.clone());
            move || {
                if health.on_request() == Change::Recovered {
                    context.watches.wake_all_that_depend_on_targets();
                }
            }
        }));
        let (targets, store_writer) = store();
        let resource = format!("{}.{GROUP}", ApprovalTarget::plural(&()));
        let mut events = EventHandler {
            store: store_writer,
            context: context.clone(),
            health: health.clone(),
            listed: Vec::new(),
            log: WatchErrorLog::new(resource, "the cluster".to_owned(), self.api_server, self.metrics),
        };
        let config = watch_config();
        let handled = watch_events(move || watcher(api.clone(), config.clone()).boxed())
            .backoff(ConstantBackoff(FAILED_WATCH))
            .for_each(move |event| {
                events.handle(event);
                std::future::ready(())
            });
        let counted = report_counts(context.clone());
        let mut due = self.due;
        let own_location = follow_own_location(context.clone());
        let verified = Controller::for_stream(empty(), targets)
            .reconcile_on(poll_fn(move |task| due.poll_recv(task)))
            .reconcile_all_on(unfold(leader, became_leader))
            .graceful_shutdown_on(stop)
            .run(verify_target, error_policy, Arc::new(context))
            .for_each(|_| std::future::ready(()));
        async move {
            tokio::select! {
                () = handled => {}
                () = verified => {}
                () = own_location => {}
                () = counted => {}
            }
        }
    }
}

/// Wakes the decisions without a target when the operator's own account and region become known or change: whether a target is there
/// decides whether they need one.
async fn follow_own_location(TargetContext { targets, watches, .. }: TargetContext) {
    let mut location = targets.own().client.location_changes();
    while location.changed().await.is_ok() {
        if location.borrow_and_update().is_some() && !targets.is_empty() {
            watches.wake_decisions_of(None);
        }
    }
}

/// Applies the events of the watch.
struct EventHandler {
    store: Writer<WireTarget>,
    context: TargetContext,
    health: WatchHealth,
    /// The names in the list that is being received.
    listed: Vec<String>,
    log: WatchErrorLog,
}

impl EventHandler {
    fn handle(&mut self, event: watcher::Result<Event<WireTarget>>) {
        match event {
            Ok(event) => {
                // The watcher reports the start of a list before it sends the request.
                let shows_success = !matches!(event, Event::Init);
                self.apply(event);
                if shows_success && self.health.on_event() == Change::Recovered {
                    self.context.watches.wake_all_that_depend_on_targets();
                }
            }
            Err(error) => self.on_error(&error),
        }
    }

    fn apply(&mut self, event: Event<WireTarget>) {
        let targets = &self.context.targets;
        match &event {
            Event::Init => self.listed.clear(),
            Event::InitApply(WireTarget(target)) => {
                self.listed.push(target.name_any());
                targets.set(target.clone());
            }
            Event::Apply(WireTarget(target)) => {
                let affected = targets.set(target.clone());
                self.context.wake(&target.name_any(), affected);
            }
            Event::Delete(WireTarget(target)) => {
                let affected = targets.remove(&target.name_any());
                self.context.wake(&target.name_any(), affected);
            }
            Event::InitDone => {}
        }
        let is_complete = matches!(event, Event::InitDone);
        // The store has a target before its reconcile looks for it there.
        self.store.apply_watcher_event(&event);
        if is_complete {
            self.set_listed();
        }
    }

    fn set_listed(&mut self) {
        let is_first = !self.context.targets.are_listed();
        self.context.targets.set_listed(&self.listed, self.health.clone());
        if is_first {
            self.context.watches.wake_all();
        } else {
            // Any target may have been changed or deleted since the last list. That concerns no decision that is final.
            self.context.watches.wake_all_that_depend_on_targets();
        }
    }

    fn on_error(&mut self, error: &watcher::Error) {
        let targets = &self.context.targets;
        match api_status(error) {
            // The kind is not installed, so there is no target. One that was deleted with the kind was reported before.
            Some(404) if targets.is_empty() => {
                if !targets.are_listed() {
                    self.listed.clear();
                    self.set_listed();
                }
                return;
            }
            Some(403) if !targets.are_listed() => {
                if targets.set_refused(display_chain(error)) {
                    self.context.watches.wake_all();
                }
            }
            Some(403 | 404) => self.health.on_error(BrokenWatch::Refused),
            _ => self.health.on_error(BrokenWatch::Unavailable),
        }
        self.log.log(error);
    }
}

#[cfg(test)]
mod tests;
