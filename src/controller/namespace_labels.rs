//! The labels of namespaces, by which targets select who may use them. Labels that cannot be read admit nothing.

use super::watch_events::{WatchErrorLog, observed_client, watch_config, watch_events};
use super::watch_health::{BrokenWatch, Change, WatchHealth, WatchState};
use crate::backoff::{ConstantBackoff, FAILED_WATCH};
use crate::error_chain::api_status;
use crate::metrics::Metrics;
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
    /// Counts errors.
    pub metrics: Metrics,
}

/// What the watch learned of the labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LabelChange<'a> {
    /// They are known now, or the operator is not allowed to read them. Nothing is reconciled before.
    Known,
    /// Those of any namespace may have changed.
    Any,
    /// Those of this namespace changed.
    In(&'a str),
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

    /// Whether the watch has failed for too long. An operator that is not allowed to watch namespaces serves the targets that name them.
    pub(super) fn watch_is_broken(&self) -> bool {
        self.health.broken() == Some(BrokenWatch::Unavailable)
    }

    /// Whether the namespaces are listed, or the operator is not allowed to.
    pub(super) fn are_known(&self) -> bool {
        *self.list.borrow() != WatchState::NotListed
    }
}

impl NamespaceWatch {
    /// Starts to watch. The future keeps the labels up to date, and reports what changed.
    pub fn run(
        self,
        on_change: impl Fn(LabelChange<'_>) + Clone + Send + 'static,
    ) -> (impl Future<Output = ()>, NamespaceLabels) {
        let health = WatchHealth::new(self.broken_after);
        let (namespaces, store) = store();
        let (sender, list) = watch::channel(WatchState::NotListed);
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(observed_client(self.kubernetes, {
            let (health, on_change) = (health.clone(), on_change.clone());
            move || {
                if health.on_request() == Change::Recovered {
                    on_change(LabelChange::Any);
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
            log: WatchErrorLog::new("namespaces".to_owned(), "the cluster".to_owned(), self.api_server, self.metrics),
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

impl<F: Fn(LabelChange<'_>)> EventHandler<F> {
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
                    (self.on_change)(LabelChange::Known);
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
        let is_complete = matches!(event, Event::InitDone);
        let is_first = is_complete && self.list.send_replace(WatchState::Listed) == WatchState::NotListed;
        if is_first {
            (self.on_change)(LabelChange::Known);
        } else if is_complete || has_recovered {
            (self.on_change)(LabelChange::Any);
        } else if let Some(changed) = changed {
            (self.on_change)(LabelChange::In(&changed));
        }
    }
}

/// Only the name and the labels are used.
fn trim(namespace: PartialObjectMeta<Namespace>) -> PartialObjectMeta<Namespace> {
    let ObjectMeta { name, labels, resource_version, .. } = namespace.metadata;
    PartialObjectMeta { metadata: ObjectMeta { name, labels, resource_version, ..ObjectMeta::default() }, ..namespace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codepipeline::CallMetrics;
    use kube::core::Status;
    use std::sync::{Arc, Mutex};

    fn team(label: &str) -> PartialObjectMeta<Namespace> {
        let labels = [("team".to_owned(), label.to_owned())].into();
        let metadata = ObjectMeta { name: Some("team".to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    /// What a watch reports of these events.
    fn changes(events: impl IntoIterator<Item = watcher::Result<Event<PartialObjectMeta<Namespace>>>>) -> Vec<String> {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let (namespaces, store) = store();
        let log =
            WatchErrorLog::new(String::new(), String::new(), String::new(), Metrics::new(&CallMetrics::default()));
        let list = watch::channel(WatchState::NotListed).0;
        let health = WatchHealth::new(Duration::from_secs(60));
        let on_change = |change: LabelChange<'_>| reported.lock().unwrap().push(format!("{change:?}"));
        let mut handler = EventHandler { namespaces, store, list, health, on_change, log };
        events.into_iter().for_each(|event| handler.handle(event));
        reported.lock().unwrap().clone()
    }

    fn list(label: &str) -> [watcher::Result<Event<PartialObjectMeta<Namespace>>>; 3] {
        [Ok(Event::Init), Ok(Event::InitApply(team(label))), Ok(Event::InitDone)]
    }

    #[test]
    fn only_the_first_list_or_a_refusal_makes_the_labels_known() {
        let refusal = || {
            let status = Status { code: 403, ..Status::failure("", "Forbidden") };
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))
        };
        assert_eq!(changes(list("a").into_iter().chain(list("b"))), ["Known", "Any"]);
        assert_eq!(changes([refusal(), refusal()].into_iter().chain(list("a"))), ["Known", "Any"]);
    }

    #[test]
    fn a_namespace_is_reported_when_its_labels_changed() {
        let edits = ["a", "b"].map(|label| Ok(Event::Apply(team(label))));
        assert_eq!(changes(list("a").into_iter().chain(edits)), ["Known", "In(\"team\")"]);
    }
}
