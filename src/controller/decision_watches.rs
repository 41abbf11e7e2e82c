//! The watches on decisions, seen from outside: they wake the decisions that a change of something else concerns, such as that of a target
//! or of a namespace's labels, and say whether one of them is broken. [`super::decision_watch`] is a single watch.

use super::watch_health::{BrokenWatch, WatchHealth};
use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::decision::{current_reason, depends_on_targets, target_of};
use kube::runtime::reflector::{ObjectRef, Store};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Receives the names of decisions to reconcile.
pub(super) type Wake = UnboundedSender<ObjectRef<ApprovalDecision>>;

/// How to wake the decisions of each watch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DecisionWatches {
    watches: Arc<Mutex<Vec<WokenWatch>>>,
}

#[derive(Debug)]
struct WokenWatch {
    /// Its namespace, if it has only one.
    namespace: Option<String>,
    decisions: Store<ApprovalDecision>,
    wake: Wake,
    health: WatchHealth,
}

impl WokenWatch {
    fn covers(&self, namespace: Option<&str>) -> bool {
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }
}

impl DecisionWatches {
    pub(super) fn add(
        &self,
        namespace: Option<String>,
        decisions: Store<ApprovalDecision>,
        wake: Wake,
        health: WatchHealth,
    ) {
        let watch = WokenWatch { namespace, decisions, wake, health };
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
    }

    /// Wakes the decisions that a change of a target or of a namespace's labels may concern, and that `is_concerned`.
    fn wake_dependents(&self, is_concerned: impl Fn(&ApprovalDecision) -> bool) {
        self.wake_those(|decision| depends_on_targets(decision) && is_concerned(decision));
    }

    fn wake_those(&self, is_woken: impl Fn(&ApprovalDecision) -> bool) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter() {
            for decision in watch.decisions.state() {
                if is_woken(&decision) {
                    // There is no receiver during shutdown.
                    let _ = watch.wake.send(ObjectRef::from_obj(&*decision));
                }
            }
        }
    }

    /// Wakes the decisions that name this target, or that name none.
    pub(super) fn wake_decisions_of(&self, target: Option<&str>) {
        self.wake_dependents(|decision| target_of(decision) == target);
    }

    /// Wakes the decisions in this namespace, and the approvals that a rejection there may have held back.
    pub fn wake_decisions_in(&self, namespace: &str) {
        let is_there = |decision: &ApprovalDecision| decision.metadata.namespace.as_deref() == Some(namespace);
        self.wake_dependents(|decision| is_there(decision) || is_held_back(decision));
    }

    /// Wakes every decision: none is reconciled before the targets and the labels of namespaces are known.
    pub fn wake_all(&self) {
        self.wake_those(|_| true);
    }

    /// Wakes every decision that targets matter to: where one of them is also decides whether a decision needs one, and whose rejection
    /// goes first.
    pub fn wake_all_that_depend_on_targets(&self) {
        self.wake_dependents(|_| true);
    }

    /// Wakes a decision in the watch that has it.
    pub(super) fn wake(&self, decision: &ObjectRef<ApprovalDecision>) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter().filter(|watch| watch.covers(decision.namespace.as_deref())) {
            // There is no receiver during shutdown.
            let _ = watch.wake.send(decision.clone());
        }
    }

    /// Whether rejections may exist that the operator does not see, because a watch is broken. A namespace that the operator may
    /// not watch hides its rejections only from its own decisions.
    pub(super) fn may_hide_rejections(&self, namespace: Option<&str>) -> bool {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.iter().any(|watch| match watch.health.broken() {
            None => false,
            Some(BrokenWatch::Unavailable) => true,
            Some(BrokenWatch::Refused) => watch.covers(namespace),
        })
    }
}

fn is_held_back(decision: &ApprovalDecision) -> bool {
    current_reason(decision) == Some(Reason::ConflictingDecision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector::store;
    use std::time::Duration;
    use tokio::sync::mpsc::unbounded_channel;

    fn watches(broken: [Option<BrokenWatch>; 2]) -> DecisionWatches {
        let watches = DecisionWatches::default();
        for (namespace, broken) in ["one", "two"].into_iter().zip(broken) {
            let health = WatchHealth::new(Duration::ZERO);
            if let Some(cause) = broken {
                health.on_error(cause);
                std::thread::sleep(Duration::from_millis(2));
            }
            watches.add(Some(namespace.to_owned()), store().0, unbounded_channel().0, health);
        }
        watches
    }

    #[test]
    fn a_broken_watch_hides_rejections_and_a_refused_one_only_those_of_its_namespace() {
        for (broken, expected) in [
            ([None, None], [false, false]),
            ([Some(BrokenWatch::Unavailable), None], [true, true]),
            ([Some(BrokenWatch::Refused), None], [true, false]),
            ([None, Some(BrokenWatch::Refused)], [false, true]),
        ] {
            let watches = watches(broken);
            let found = ["one", "two"].map(|namespace| watches.may_hide_rejections(Some(namespace)));
            assert_eq!(found, expected, "{broken:?}");
        }
    }
}
