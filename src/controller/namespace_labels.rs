//! The labels of namespaces, by which targets select who may use them. Labels that cannot be read admit nothing.

use super::watch_events::{WatchErrorLog, observed_client, watch_config, watch_events};
use super::watch_health::{BrokenWatch, Change, WatchHealth, WatchState};
use crate::backoff::{ConstantBackoff, FAILED_WATCH};
use crate::error_chain::api_status;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// The watch on namespaces.
pub struct NamespaceWatch {
    /// The client of the API server.
    pub kubernetes: kube::Client,
    /// The API server's URL, for the log.
    pub api_server: String,
    /// How long the watch may fail before it counts as broken.
    pub broken_after: Duration,
}

/// The labels of namespaces. Clones share them.
#[derive(Clone)]
pub struct NamespaceLabels {
    namespaces: Store<PartialObjectMeta<Namespace>>,
    list: watch::Receiver<WatchState>,
    health: WatchHealth,
}

impl NamespaceLabels {
    /// The labels of a namespace; none if they cannot be read.
    pub(super) fn of(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        if *self.list.borrow() != WatchState::Listed || self.health.broken().is_some() {
            return None;
        }
        let found = self.namespaces.get(&ObjectRef::new(namespace))?;
        Some(found.labels().clone())
    }

    /// Whether the namespaces are listed, or the operator is not allowed to.
    pub(super) fn are_known(&self) -> bool {
        *self.list.borrow() != WatchState::NotListed
    }
}

impl NamespaceWatch {
    /// Starts to watch. The future keeps the labels up to date, and reports the namespaces whose labels changed; none means any.
    pub fn run(
        self,
        on_change: impl Fn(Option<&str>) + Clone + Send + 'static,
    ) -> (impl Future<Output = ()>, NamespaceLabels) {
        let health = WatchHealth::new(self.broken_after);
        let (namespaces, store) = store();
        let (sender, list) = watch::channel(WatchState::NotListed);
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(observed_client(self.kubernetes, {
            let (health, on_change) = (health.clone(), on_change.clone());
            move || {
                if health.on_request() == Change::Recovered {
                    on_change(None);
                }
            }
        }));
        let config = watch_config();
        let mut handler = EventHandler {
            namespaces: namespaces.clone(),
            store,
            list: sender,
            health: health.clone(),
            on_change,
            log: WatchErrorLog::new("namespaces".to_owned(), "the cluster".to_owned(), self.api_server),
        };
        let run = watch_events(move || watcher(api.clone(), config.clone()).boxed())
            .backoff(ConstantBackoff(FAILED_WATCH))
            .for_each(move |event| {
                handler.handle(event);
                std::future::ready(())
            });
        (run, NamespaceLabels { namespaces, list, health })
    }
}

struct EventHandler<F> {
    namespaces: Store<PartialObjectMeta<Namespace>>,
    store: Writer<PartialObjectMeta<Namespace>>,
    list: watch::Sender<WatchState>,
    health: WatchHealth,
    on_change: F,
    log: WatchErrorLog,
}

impl<F: Fn(Option<&str>)> EventHandler<F> {
    fn handle(&mut self, event: watcher::Result<Event<PartialObjectMeta<Namespace>>>) {
        match event {
            Ok(event) => self.apply(event),
            Err(error) => {
                let cause = match api_status(&error) {
                    Some(403) => BrokenWatch::Refused,
                    _ => BrokenWatch::Unavailable,
                };
                self.health.on_error(cause);
                if cause == BrokenWatch::Refused && *self.list.borrow() == WatchState::NotListed {
                    self.list.send_replace(WatchState::Refused);
                    (self.on_change)(None);
                }
                self.log.log(&error);
            }
        }
    }

    fn apply(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        let (event, changed) = match event {
            Event::Init => {
                // The watcher reports the start of a list before it sends the request.
                self.store.apply_watcher_event(&Event::Init);
                return;
            }
            Event::InitApply(namespace) => (Event::InitApply(trim(namespace)), None),
            Event::Apply(namespace) => {
                let namespace = trim(namespace);
                let known = self.namespaces.get(&ObjectRef::from_obj(&namespace));
                let is_known = known.is_some_and(|known| known.labels() == namespace.labels());
                let changed = (!is_known).then(|| namespace.name_any());
                (Event::Apply(namespace), changed)
            }
            Event::Delete(namespace) => (Event::Delete(trim(namespace)), None),
            Event::InitDone => (Event::InitDone, None),
        };
        self.store.apply_watcher_event(&event);
        let has_recovered = self.health.on_event() == Change::Recovered;
        if matches!(event, Event::InitDone) {
            self.list.send_replace(WatchState::Listed);
        }
        if has_recovered || matches!(event, Event::InitDone) {
            (self.on_change)(None);
        } else if let Some(changed) = changed {
            (self.on_change)(Some(&changed));
        }
    }
}

/// Only the name and the labels are used.
fn trim(namespace: PartialObjectMeta<Namespace>) -> PartialObjectMeta<Namespace> {
    let ObjectMeta { name, labels, resource_version, .. } = namespace.metadata;
    PartialObjectMeta { metadata: ObjectMeta { name, labels, resource_version, ..ObjectMeta::default() }, ..namespace }
}
