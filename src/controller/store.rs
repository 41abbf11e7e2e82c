//! The cache of decisions. The writer applies each event of the watch, starts a reconcile where one is needed, and ends the
//! subscriptions of deleted decisions.

use super::context::Context;
use super::predicate::needs_reconcile;
use crate::api::v1alpha1::{ApprovalDecision, WireDecision};
use crate::decision::trim_if_delivered;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::watch;

/// The decisions of one watch.
#[derive(Clone)]
pub struct DecisionStore {
    /// The cache.
    pub decisions: Store<ApprovalDecision>,
    /// Whether it was listed. The store's own signal reaches only the last of those who wait for it.
    pub(super) synced: watch::Receiver<bool>,
}

impl DecisionStore {
    /// Whether the initial list is complete.
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the initial list is complete, or the watch ends.
    pub async fn wait_until_synced(mut self) {
        let _ = self.synced.wait_for(|is_synced| *is_synced).await;
    }
}

/// Applies the events of one watch.
pub(super) struct StoreWriter {
    writer: Writer<ApprovalDecision>,
    context: Context,
    /// The only namespace of the watch, if it has one.
    namespace: Option<String>,
    synced: watch::Sender<bool>,
    initial: InitialList,
}

enum InitialList {
    NotStarted,
    InProgress,
    /// It is complete, or it failed: then the next one is like any other list.
    Done,
}

impl StoreWriter {
    pub(super) const fn new(
        writer: Writer<ApprovalDecision>,
        context: Context,
        namespace: Option<String>,
        synced: watch::Sender<bool>,
    ) -> Self {
        Self { writer, context, namespace, synced, initial: InitialList::NotStarted }
    }

    pub(super) fn handle(&mut self, event: Event<WireDecision>) {
        match (event, &self.initial) {
            // The store counts as complete from now on, so that decisions of the initial list are reconciled as its pages arrive: the first
            // submission does not wait for the last page.
            (Event::Init, InitialList::NotStarted) => {
                self.writer.apply_watcher_event(&Event::Init);
                self.writer.apply_watcher_event(&Event::InitDone);
                self.initial = InitialList::InProgress;
            }
            (Event::Init, InitialList::InProgress | InitialList::Done) => {
                self.writer.apply_watcher_event(&Event::Init);
                self.initial = InitialList::Done;
            }
            (Event::InitApply(decision), InitialList::InProgress) | (Event::Apply(decision), _) => self.apply(decision),
            (Event::InitApply(decision), InitialList::NotStarted | InitialList::Done) => {
                self.writer.apply_watcher_event(&Event::InitApply(trim(decision)));
            }
            (Event::InitDone, InitialList::InProgress) => {
                self.initial = InitialList::Done;
                self.synced.send_replace(true);
            }
            (Event::InitDone, InitialList::NotStarted | InitialList::Done) => self.end_list(),
            (Event::Delete(WireDecision(decision)), _) => {
                self.context.poller.unsubscribe(&ObjectRef::from_obj(&decision));
                self.writer.apply_watcher_event(&Event::Delete(decision));
            }
        }
    }

    /// The store has the decision before its reconcile looks for it there.
    fn apply(&mut self, decision: WireDecision) {
        let decision = trim(decision);
        let key = ObjectRef::from_obj(&decision);
        let cached = self.context.decisions.get(&key);
        let needs_reconcile = needs_reconcile(cached.as_deref(), &decision);
        self.writer.apply_watcher_event(&Event::Apply(decision));
        if needs_reconcile {
            self.context.wake(key);
        }
    }

    /// What happened while there was no watch is unknown: every decision is reconciled.
    fn end_list(&mut self) {
        self.writer.apply_watcher_event(&Event::InitDone);
        let Context { poller, decisions, .. } = &self.context;
        poller.retain(|decision| {
            self.namespace.as_ref().is_some_and(|name| decision.namespace.as_ref() != Some(name))
                || decisions.get(decision).is_some()
        });
        decisions.state().iter().for_each(|decision| self.context.wake(ObjectRef::from_obj(&**decision)));
        self.synced.send_replace(true);
    }
}

fn trim(WireDecision(mut decision): WireDecision) -> ApprovalDecision {
    trim_if_delivered(&mut decision);
    decision
}
