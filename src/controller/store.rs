//! The cache of decisions. The writer applies each event of the watch, starts a reconcile where one is needed, and ends the
//! subscriptions of deleted decisions.

use super::context::Context;
use super::predicate::needs_reconcile;
use super::watch_health::{BrokenWatch, Change, Readiness, WatchHealth, WatchState};
use crate::api::v1alpha1::{ApprovalDecision, WireDecision};
use crate::decision::trim_if_delivered;
use crate::error_chain::api_status;
use futures::future::select_all;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

/// The decisions of one watch.
#[derive(Clone)]
pub struct DecisionStore {
    /// The cache.
    pub decisions: Store<ApprovalDecision>,
    /// Whether it was listed. The store's own signal reaches only the last of those who wait for it.
    pub(super) state: watch::Receiver<WatchState>,
    pub(super) health: WatchHealth,
}

impl DecisionStore {
    /// Whether the initial list is complete, or why not.
    #[must_use]
    pub fn state(&self) -> WatchState {
        *self.state.borrow()
    }

    /// Waits until each of these watches has listed its decisions or is refused, and one of them has listed its own. A namespace that
    /// the operator may not list must not keep it from the others.
    pub async fn wait_until_synced(stores: Vec<Self>) {
        let mut any = false;
        for mut store in stores.clone() {
            let state = store.state.wait_for(|state| *state != WatchState::NotListed).await;
            any |= state.is_ok_and(|state| *state == WatchState::Listed);
        }
        if !any {
            let listed = stores.into_iter().map(|mut store| {
                Box::pin(async move {
                    let _ = store.state.wait_for(|state| *state == WatchState::Listed).await;
                })
            });
            select_all(listed).await;
        }
    }

    /// Whether the operator can reconcile the decisions of these watches: see [`Self::wait_until_synced`]. A namespace that it may
    /// no longer watch must not stop the others either.
    #[must_use]
    pub fn readiness(stores: &[Self]) -> Readiness {
        let listed = || stores.iter().filter(|store| store.state() == WatchState::Listed);
        let broken = || listed().map(|store| store.health.broken());
        if stores.iter().any(|store| store.state() == WatchState::NotListed) || listed().next().is_none() {
            Readiness::NotSynced
        } else if broken().any(|broken| broken == Some(BrokenWatch::Unavailable))
            || broken().all(|broken| broken.is_some())
        {
            Readiness::WatchBroken
        } else {
            Readiness::Ready
        }
    }
}

/// Applies the events of one watch.
pub(super) struct StoreWriter {
    writer: Writer<ApprovalDecision>,
    context: Context,
    /// The only namespace of the watch, if it has one.
    namespace: Option<String>,
    state: watch::Sender<WatchState>,
    health: WatchHealth,
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
        state: watch::Sender<WatchState>,
        health: WatchHealth,
    ) -> Self {
        Self { writer, context, namespace, state, health, initial: InitialList::NotStarted }
    }

    /// The watch failed.
    pub(super) fn on_error(&mut self, error: &watcher::Error) {
        let cause = match api_status(error) {
            Some(403 | 404) => BrokenWatch::Refused,
            _ => BrokenWatch::Unavailable,
        };
        self.health.on_error(cause);
        if cause == BrokenWatch::Refused && *self.state.borrow() == WatchState::NotListed {
            self.set_state(WatchState::Refused);
        }
    }

    fn set_state(&mut self, state: WatchState) {
        let before = self.state.send_replace(state);
        if before == WatchState::NotListed && state != WatchState::NotListed {
            self.wake(self.context.rejections.watch_listed());
        }
        match (before, state) {
            (WatchState::NotListed, WatchState::Refused) => self.context.metrics.namespace_refused(),
            (WatchState::Refused, WatchState::Listed) => self.context.metrics.namespace_listed(),
            (WatchState::NotListed | WatchState::Refused | WatchState::Listed, _) => {}
        }
    }

    fn wake(&self, decisions: Vec<ObjectRef<ApprovalDecision>>) {
        decisions.iter().for_each(|decision| self.context.watches.wake(decision));
    }

    pub(super) fn handle(&mut self, event: Event<WireDecision>) {
        // The watcher reports the start of a list before it sends the request.
        let shows_success = !matches!(event, Event::Init);
        self.apply_event(event);
        if shows_success && self.health.on_event() == Change::Recovered {
            self.context.on_watch_recovered();
        }
    }

    fn apply_event(&mut self, event: Event<WireDecision>) {
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
                self.index(&decision.0);
                self.writer.apply_watcher_event(&Event::InitApply(trim(decision)));
            }
            (Event::InitDone, InitialList::InProgress) => {
                self.initial = InitialList::Done;
                self.set_state(WatchState::Listed);
            }
            (Event::InitDone, InitialList::NotStarted | InitialList::Done) => self.end_list(),
            (Event::Delete(WireDecision(decision)), _) => {
                let key = ObjectRef::from_obj(&decision);
                self.context.targets.unsubscribe(&key);
                self.wake(self.context.rejections.remove(&key));
                self.context.accepted.remove(&decision);
                self.writer.apply_watcher_event(&Event::Delete(decision));
                self.context.targets.forget(&key);
            }
        }
    }

    fn index(&self, decision: &ApprovalDecision) {
        self.wake(self.context.rejections.update(decision));
        self.context.accepted.update(decision);
    }

    /// The store has the decision before its reconcile looks for it there.
    fn apply(&mut self, decision: WireDecision) {
        self.index(&decision.0);
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
        let Context { targets, decisions, rejections, accepted, .. } = &self.context;
        let is_kept = |decision: &ObjectRef<ApprovalDecision>| {
            self.namespace.as_ref().is_some_and(|name| decision.namespace.as_ref() != Some(name))
                || decisions.get(decision).is_some()
        };
        targets.retain(is_kept);
        self.wake(rejections.retain(is_kept));
        accepted.retain(is_kept);
        decisions.state().iter().for_each(|decision| self.context.wake(ObjectRef::from_obj(&**decision)));
        self.set_state(WatchState::Listed);
    }
}

fn trim(WireDecision(mut decision): WireDecision) -> ApprovalDecision {
    trim_if_delivered(&mut decision);
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector::store;
    use std::time::Duration;

    /// A watch in this state that is broken, if it is.
    fn watch_in(state: WatchState, broken: Option<BrokenWatch>) -> DecisionStore {
        let health = WatchHealth::new(Duration::ZERO);
        if let Some(cause) = broken {
            health.on_error(cause);
            std::thread::sleep(Duration::from_millis(2));
        }
        DecisionStore { decisions: store().0, state: watch::channel(state).1, health }
    }

    #[test]
    fn a_namespace_that_the_operator_may_not_watch_does_not_make_the_others_unready() {
        use BrokenWatch::{Refused, Unavailable};
        use WatchState::{Listed, NotListed};
        let never_listed = (WatchState::Refused, Some(Refused));
        for (watches, expected) in [
            (vec![(Listed, None)], Readiness::Ready),
            (vec![(NotListed, None)], Readiness::NotSynced),
            (vec![(NotListed, Some(Unavailable))], Readiness::NotSynced),
            (vec![never_listed], Readiness::NotSynced),
            (vec![never_listed, (Listed, None)], Readiness::Ready),
            (vec![(Listed, None), (NotListed, None)], Readiness::NotSynced),
            (vec![(Listed, Some(Refused))], Readiness::WatchBroken),
            (vec![(Listed, Some(Unavailable))], Readiness::WatchBroken),
            (vec![(Listed, Some(Refused)), (Listed, None)], Readiness::Ready),
            (vec![(Listed, Some(Unavailable)), (Listed, None)], Readiness::WatchBroken),
            (vec![(Listed, Some(Refused)), never_listed], Readiness::WatchBroken),
            (vec![], Readiness::NotSynced),
        ] {
            let stores: Vec<_> = watches.iter().map(|(state, broken)| watch_in(*state, *broken)).collect();
            assert_eq!(DecisionStore::readiness(&stores), expected, "{watches:?}");
        }
    }
}
