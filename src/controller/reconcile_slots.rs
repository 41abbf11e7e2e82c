//! Limits concurrent reconciles. Decisions get slots in the order in which they ask, and those that may be submitted before the
//! others. kube's own limit serves what waits in the order of a hash table, so that in a long burst a new decision may be the last.
//!
//! A reconcile that gets no slot ends at once, and its decision is woken when it has one.

use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::Subscriber;
use crate::decision::Urgency;
use kube::runtime::reflector::ObjectRef;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = ObjectRef<ApprovalDecision>;

/// The slots of all reconciles. Clones share them.
#[derive(Clone, Debug)]
pub struct ReconcileSlots {
    slots: Arc<Mutex<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    limit: usize,
    /// Urgent decisions that have a slot.
    submitting: HashSet<Key>,
    /// Other decisions that have a slot.
    reporting: HashSet<Key>,
    /// Of both, those that were woken and whose reconcile has not started.
    admitted: HashSet<Key>,
    urgent: Queue,
    others: Queue,
}

/// Decisions that wait for a slot. Who is in `names` is in `order` as well.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Subscriber<Key>>,
    names: HashSet<Key>,
}

/// A slot in use. Dropping it passes it on.
#[derive(Debug)]
pub struct Slot {
    slots: ReconcileSlots,
    key: Key,
}

impl ReconcileSlots {
    /// At most this many reconciles at a time.
    #[must_use]
    pub fn new(limit: u16) -> Self {
        Self { slots: Arc::new(Mutex::new(Slots { limit: limit.into(), ..Slots::default() })) }
    }

    /// Hands out no more slots: the operator stops.
    pub fn close(&self) {
        self.lock().limit = 0;
    }

    /// Whether both are the same slots.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots)
    }

    /// A slot, or none: then the decision is woken when it has one.
    pub(super) fn enter(&self, subscriber: Subscriber<Key>, urgency: Urgency) -> Option<Slot> {
        let mut slots = self.lock();
        let key = subscriber.key.clone();
        if !slots.admitted.remove(&key) {
            slots.enqueue(subscriber, urgency);
            slots.admit(Some(&key));
            if !slots.admitted.remove(&key) {
                return None;
            }
        }
        drop(slots);
        Some(Slot { slots: self.clone(), key })
    }

    /// Ends the wait of a decision that was deleted: no reconcile of it takes its slot.
    pub(super) fn forget(&self, key: &Key) {
        self.retain(|kept| kept != key);
    }

    /// Ends the wait of the decisions that are not kept.
    pub(super) fn retain(&self, is_kept: impl Fn(&Key) -> bool) {
        let mut slots = self.lock();
        slots.urgent.retain(&is_kept);
        slots.others.retain(&is_kept);
        let gone: Vec<Key> = slots.admitted.iter().filter(|key| !is_kept(key)).cloned().collect();
        gone.iter().for_each(|key| slots.release(key));
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// A decision keeps its place, unless it became urgent.
    fn enqueue(&mut self, subscriber: Subscriber<Key>, urgency: Urgency) {
        match urgency {
            Urgency::MaySubmit => {
                self.others.remove(&subscriber.key);
                self.urgent.push(subscriber);
            }
            Urgency::ReportsOnly if self.urgent.names.contains(&subscriber.key) => {}
            Urgency::ReportsOnly => self.others.push(subscriber),
        }
    }

    /// Hands out the free slots, and wakes those who get one; not the one whose reconcile runs already.
    fn admit(&mut self, running: Option<&Key>) {
        while let Some((subscriber, urgency)) = self.next() {
            let Subscriber { key, wake } = subscriber;
            match urgency {
                Urgency::MaySubmit => self.submitting.insert(key.clone()),
                Urgency::ReportsOnly => self.reporting.insert(key.clone()),
            };
            self.admitted.insert(key.clone());
            if running != Some(&key) {
                // There is no receiver during shutdown.
                let _ = wake.send(key);
            }
        }
    }

    fn next(&mut self) -> Option<(Subscriber<Key>, Urgency)> {
        if self.submitting.len() + self.reporting.len() >= self.limit {
            return None;
        }
        if let Some(subscriber) = self.urgent.pop() {
            return Some((subscriber, Urgency::MaySubmit));
        }
        // The others leave half of the slots free, so that an urgent decision need not wait for their writes.
        if self.reporting.len() >= self.limit.div_ceil(2) {
            return None;
        }
        Some((self.others.pop()?, Urgency::ReportsOnly))
    }

    fn release(&mut self, key: &Key) {
        for names in [&mut self.submitting, &mut self.reporting, &mut self.admitted] {
            names.remove(key);
        }
        self.admit(None);
    }
}

impl Queue {
    fn push(&mut self, subscriber: Subscriber<Key>) {
        if self.names.insert(subscriber.key.clone()) {
            self.order.push_back(subscriber);
        }
    }

    fn pop(&mut self) -> Option<Subscriber<Key>> {
        let subscriber = self.order.pop_front()?;
        self.names.remove(&subscriber.key);
        Some(subscriber)
    }

    fn remove(&mut self, key: &Key) {
        if self.names.contains(key) {
            self.retain(|kept| kept != key);
        }
    }

    fn retain(&mut self, is_kept: impl Fn(&Key) -> bool) {
        self.names.retain(|key| is_kept(key));
        self.order.retain(|subscriber| is_kept(&subscriber.key));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().release(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    struct Fixture {
        slots: ReconcileSlots,
        wake: UnboundedSender<Key>,
        woken: UnboundedReceiver<Key>,
    }

    fn key(name: &str) -> Key {
        ObjectRef::new(name).within("team-a")
    }

    impl Fixture {
        fn new(limit: u16) -> Self {
            let (wake, woken) = unbounded_channel();
            Self { slots: ReconcileSlots::new(limit), wake, woken }
        }

        fn enter(&self, name: &str, urgency: Urgency) -> Option<Slot> {
            self.slots.enter(Subscriber { key: key(name), wake: self.wake.clone() }, urgency)
        }

        fn woken(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.woken.try_recv().ok()).map(|key| key.name).collect()
        }
    }

    #[test]
    fn slots_are_passed_on_in_the_order_of_asking_and_first_to_what_may_be_submitted() {
        let mut fixture = Fixture::new(1);
        let first = fixture.enter("first", Urgency::ReportsOnly);
        for name in ["a", "b", "a"] {
            assert!(fixture.enter(name, Urgency::ReportsOnly).is_none());
        }
        for name in ["x", "y", "b"] {
            assert!(fixture.enter(name, Urgency::MaySubmit).is_none());
        }
        assert!(fixture.woken().is_empty(), "there is no free slot");
        drop(first);
        for name in ["x", "y", "b", "a"] {
            assert_eq!(fixture.woken(), [name]);
            assert!(fixture.enter("late", Urgency::ReportsOnly).is_none(), "the slot is {name}'s");
            drop(fixture.enter(name, Urgency::ReportsOnly).expect(name));
        }
        assert_eq!(fixture.woken(), ["late"]);
    }

    #[test]
    fn nothing_starts_after_the_end() {
        let mut fixture = Fixture::new(1);
        let last = fixture.enter("last", Urgency::MaySubmit);
        assert!(fixture.enter("waits", Urgency::MaySubmit).is_none());
        fixture.slots.close();
        drop(last);
        assert!(fixture.woken().is_empty() && fixture.enter("new", Urgency::MaySubmit).is_none());
    }

    #[test]
    fn half_of_the_slots_are_free_for_what_may_be_submitted() {
        let mut fixture = Fixture::new(4);
        let reporting: Vec<_> = (0..9).filter_map(|n| fixture.enter(&format!("r{n}"), Urgency::ReportsOnly)).collect();
        assert_eq!(reporting.len(), 2);
        let submitting: Vec<_> = (0..9).filter_map(|n| fixture.enter(&format!("s{n}"), Urgency::MaySubmit)).collect();
        assert_eq!(submitting.len(), 2);
        drop(reporting);
        assert_eq!(fixture.woken(), ["s2", "s3"]);
    }

    #[test]
    fn a_deleted_decision_keeps_no_slot_and_no_place() {
        let mut fixture = Fixture::new(1);
        let first = fixture.enter("first", Urgency::MaySubmit);
        for name in ["waits", "admitted", "next"] {
            assert!(fixture.enter(name, Urgency::MaySubmit).is_none());
        }
        fixture.slots.forget(&key("waits"));
        drop(first);
        assert_eq!(fixture.woken(), ["admitted"]);
        fixture.slots.retain(|kept| *kept != key("admitted"));
        assert_eq!(fixture.woken(), ["next"]);
        assert!(fixture.enter("next", Urgency::MaySubmit).is_some());
    }
}
