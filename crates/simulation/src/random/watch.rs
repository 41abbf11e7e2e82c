//! The watch of each replica: it delivers the decisions as they change, or later, and keeps the product's index of rejections.

use super::{Replica, World};
use approval_operator::api::v1alpha1::ApprovalDecision;
use approval_operator::controller::RejectionIndex;
use approval_operator::decision::{reconcile_key, trim_if_delivered};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;

/// What the watch of one replica has delivered.
pub struct Watch {
    /// Each decision as it was delivered last.
    cache: BTreeMap<usize, ApprovalDecision>,
    pub rejections: RejectionIndex,
    has_listed: bool,
    is_delayed: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { cache: BTreeMap::new(), rejections: RejectionIndex::new(1), has_listed: false, is_delayed: false }
    }
}

impl Watch {
    /// A decision as the replica knows it, reduced as in the product's cache.
    pub fn cached(&self, number: usize) -> Option<ApprovalDecision> {
        let mut decision = self.cache.get(&number)?.clone();
        trim_if_delivered(&mut decision);
        Some(decision)
    }

    /// A decision as it was delivered.
    pub fn delivered(&self, number: usize) -> Option<&ApprovalDecision> {
        self.cache.get(&number)
    }
}

fn numbers(woken: Vec<ObjectRef<ApprovalDecision>>) -> impl Iterator<Item = usize> {
    woken.into_iter().filter_map(|key| key.name.strip_prefix("decision-")?.parse().ok())
}

impl World {
    /// A change of a decision reaches the watches that are not delayed. `is_external` is whether no replica wrote it.
    pub(super) fn deliver_to_all(&mut self, number: usize, is_external: bool) {
        for replica in [Replica::A, Replica::B] {
            if !self.operator(replica).watch.is_delayed {
                self.deliver(replica, number, is_external);
            }
        }
    }

    fn deliver(&mut self, replica: Replica, number: usize, is_external: bool) {
        let live = self.decisions[number].live().cloned();
        let operator = self.operator(replica);
        let watch = &mut operator.watch;
        let cached = watch.cache.get(&number);
        let (woken, needs_reconcile) = match live {
            Some(live) => {
                let needs_reconcile =
                    is_external || cached.is_none_or(|cached| reconcile_key(cached) != reconcile_key(&live));
                let woken = watch.rejections.update(&live);
                watch.cache.insert(number, live);
                (woken, needs_reconcile)
            }
            None => {
                let Some(gone) = watch.cache.remove(&number) else { return };
                let woken = watch.rejections.remove(&ObjectRef::from_obj(&gone));
                operator.forget(number);
                (woken, false)
            }
        };
        numbers(woken).chain(needs_reconcile.then_some(number)).for_each(|number| operator.wake(number));
    }

    pub(super) fn delay_watch(&mut self, replica: Replica) {
        self.note(format_args!("the watch of {replica:?} is delayed"));
        self.operator(replica).watch.is_delayed = true;
    }

    pub(super) fn resume_watch(&mut self, replica: Replica) {
        if !std::mem::take(&mut self.operator(replica).watch.is_delayed) {
            return;
        }
        self.note(format_args!("the watch of {replica:?} resumes"));
        for number in 0..self.decisions.len() {
            let version = |decision: &ApprovalDecision| (decision.uid(), decision.resource_version());
            let known = self.operator(replica).watch.cache.get(&number).map(version);
            // The watch delivers the deletion before the decision that replaced the deleted one.
            let is_replaced =
                known.clone().zip(self.decisions[number].live()).is_some_and(|(known, live)| known.0 != live.uid());
            if is_replaced {
                let was_deleted = std::mem::replace(&mut self.decisions[number].deleted, true);
                self.deliver(replica, number, true);
                self.decisions[number].deleted = was_deleted;
            }
            if known != self.decisions[number].live().map(version) {
                self.deliver(replica, number, true);
            }
        }
    }

    /// A replica loses everything, and starts to list the decisions.
    pub(super) fn crash(&mut self, replica: Replica) {
        self.note(format_args!("{replica:?} crashes"));
        *self.operator(replica) = super::Operator::default();
        for number in 0..self.decisions.len() {
            self.deliver(replica, number, true);
        }
    }

    /// The list of a replica is complete.
    pub(super) fn complete_list(&mut self, replica: Replica) {
        let operator = self.operator(replica);
        if !std::mem::replace(&mut operator.watch.has_listed, true) {
            numbers(operator.watch.rejections.watch_listed()).for_each(|number| operator.wake(number));
        }
    }
}
