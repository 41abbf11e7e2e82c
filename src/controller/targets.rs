//! What the operator knows of targets: their specs, whether STS confirmed them, the labels of namespaces, and the connections. The
//! watches write it; reconciles read it without waiting.

use super::connection::{Connection, ConnectionSettings, destination};
use super::namespace_labels::NamespaceLabels;
use super::reconcile_slots::Slot;
use super::target_listing::Listing;
use super::watch_health::{Readiness, WatchHealth};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalTarget, Location, WireTarget};
use crate::backoff;
use crate::codepipeline::{Destination, PipelinePoller, Subscriber, Verified};
use crate::decision::{
    AmbientCredentials, FailureCause, TargetObservation, Unverified, Urgency, Verification, VerifyFailure,
};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

type Key = ObjectRef<ApprovalDecision>;

/// The targets. Clones share them.
#[derive(Clone)]
pub struct Targets {
    shared: Arc<Shared>,
}

struct Shared {
    own: Connection,
    ambient: AmbientCredentials,
    settings: ConnectionSettings,
    namespaces: Option<NamespaceLabels>,
    /// Receives the names of targets to verify.
    due: UnboundedSender<ObjectRef<WireTarget>>,
    /// Notified when the status of a target may have to show other counts.
    counts_changed: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    listing: Listing,
    targets: BTreeMap<String, KnownTarget>,
    /// Where the targets are. Every observation has it, so it is shared.
    locations: Arc<BTreeMap<String, Location>>,
}

/// A target, and what is known of it.
#[derive(Clone)]
pub(super) struct KnownTarget {
    pub(super) target: Arc<ApprovalTarget>,
    pub(super) destination: Destination,
    pub(super) connection: Connection,
    pub(super) verification: Verification,
    last_verification_at: Option<Instant>,
    /// Why the last verification failed, if it did. A target that is verified may have one: see [`FailureCause::is_transient`].
    pub(super) last_failure: Option<FailureCause>,
}

/// Whom a change of targets concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Affected {
    None,
    /// The decisions that name the target.
    ItsDecisions,
    /// Every decision that targets matter to.
    All,
}

impl Targets {
    /// No target is known yet. Without the labels of namespaces, no target is used: `--approval-targets=false`.
    #[must_use]
    pub fn new(
        settings: ConnectionSettings,
        ambient: AmbientCredentials,
        namespaces: Option<NamespaceLabels>,
        due: UnboundedSender<ObjectRef<WireTarget>>,
    ) -> Self {
        let own = settings.connect_own();
        let listing = if namespaces.is_some() { Listing::NotListed } else { Listing::Disabled };
        let state = Mutex::new(State { listing, targets: BTreeMap::new(), locations: Arc::default() });
        let counts_changed = Arc::default();
        Self { shared: Arc::new(Shared { own, ambient, settings, namespaces, due, counts_changed, state }) }
    }

    /// The connection with the operator's own identity and region.
    #[must_use]
    pub fn own(&self) -> &Connection {
        &self.shared.own
    }

    /// The connection to a target, or with the operator's own identity; none if there is no such target.
    pub(super) fn connection(&self, target: Option<&str>) -> Option<Connection> {
        match target {
            None => Some(self.shared.own.clone()),
            Some(name) => self.lock().targets.get(name).map(|known| known.connection.clone()),
        }
    }

    /// What is known of the target that a decision of this namespace names.
    pub(super) fn observe(&self, namespace: &str, target: Option<&str>) -> TargetObservation {
        let state = self.lock();
        if let Some(why) = state.listing.unavailable(target) {
            return TargetObservation::Unavailable(why);
        }
        let Some(name) = target else {
            return TargetObservation::Own {
                ambient: self.shared.ambient,
                location: self.shared.own.client.location(),
                targets: state.locations.clone(),
            };
        };
        match state.targets.get(name) {
            None => TargetObservation::NotFound,
            Some(known) => TargetObservation::Found {
                target: known.target.clone(),
                namespace_labels: self.shared.namespaces.as_ref().and_then(|namespaces| namespaces.of(namespace)),
                verification: known.verification.clone(),
            },
        }
    }

    /// Whether the operator has to know its own account to tell whether a decision needs a target.
    pub(super) fn needs_own_location(&self) -> bool {
        !self.lock().locations.is_empty() && self.shared.own.client.location().is_none()
    }

    /// A target as it is now.
    pub(super) fn set(&self, target: ApprovalTarget) -> Affected {
        let (name, destination) = (target.name_any(), destination(&target.spec));
        let mut state = self.lock();
        let target = Arc::new(target);
        if let Some(known) = state.targets.get_mut(&name).filter(|known| known.destination == destination) {
            let identity = |target: &ApprovalTarget| (target.uid(), target.metadata.deletion_timestamp.clone());
            let is_changed = known.target.spec != target.spec || identity(&known.target) != identity(&target);
            known.target = target;
            drop(state);
            if !is_changed {
                return Affected::None;
            }
            // Its status describes the former generation.
            self.verify(&name);
            return Affected::All;
        }
        let Shared { settings, counts_changed, .. } = &*self.shared;
        let former = state.targets.get(&name).map(|known| &known.connection);
        let connection = settings.connect_target(&name, destination.clone(), former, counts_changed.clone());
        let verification = Verification::Unverified(Unverified::Pending);
        let known = KnownTarget {
            target,
            destination,
            connection,
            verification,
            last_verification_at: None,
            last_failure: None,
        };
        let replaced = state.targets.insert(name.clone(), known);
        state.list_locations();
        drop(state);
        self.verify(&name);
        // Its subscribers are reconciled, and subscribe to the new one.
        replaced.inspect(|replaced| replaced.connection.poller.retain(|_| false));
        Affected::All
    }

    /// A target was deleted.
    pub(super) fn remove(&self, name: &str) -> Affected {
        let mut state = self.lock();
        let Some(removed) = state.targets.remove(name) else { return Affected::None };
        state.list_locations();
        // Under the lock, so that a target that is created again creates its series after that.
        removed.connection.client.metrics().remove();
        drop(state);
        removed.connection.poller.retain(|_| false);
        Affected::All
    }

    /// The targets are complete: those that are not among these were deleted meanwhile.
    pub(super) fn set_listed(&self, names: &[String], health: WatchHealth) {
        let gone: Vec<String> = {
            let mut state = self.lock();
            state.listing = Listing::Listed(health);
            // The Controller had not seen those of the list when their verification was first asked for.
            let pending = state.targets.iter().filter(|(_, known)| known.is_pending());
            pending.for_each(|(name, _)| self.verify(name));
            state.targets.keys().filter(|name| !names.contains(name)).cloned().collect()
        };
        gone.iter().for_each(|name| {
            self.remove(name);
        });
    }

    /// The operator is not allowed to list targets, and has not listed any. Returns whether that is new.
    pub(super) fn set_refused(&self, error: String) -> bool {
        let mut state = self.lock();
        let is_new = matches!(state.listing, Listing::NotListed);
        if matches!(state.listing, Listing::NotListed | Listing::Refused(_)) {
            state.listing = Listing::Refused(error);
        }
        is_new
    }

    /// What the verification of a target found, if it still has the same destination. A transient failure does not undo an earlier
    /// confirmation.
    pub(super) fn set_verification(
        &self,
        name: &str,
        destination: &Destination,
        found: &Result<Verified, VerifyFailure>,
    ) -> Affected {
        let mut state = self.lock();
        let Some(known) = state.targets.get_mut(name) else { return Affected::None };
        if known.destination != *destination {
            return Affected::None;
        }
        known.last_verification_at = Some(Instant::now());
        known.last_failure = found.as_ref().err().map(|failure| failure.cause);
        let is_transient = known.last_failure.is_some_and(FailureCause::is_transient);
        let found = Verification::from(found);
        if known.verification == found || (is_transient && known.verification == Verification::Verified) {
            return Affected::None;
        }
        known.verification = found;
        self.shared.counts_changed.notify_one();
        Affected::ItsDecisions
    }

    /// A call through a target failed in a way that its verification may explain.
    pub(super) fn verify_after_failure(&self, name: &str) {
        let is_recent = |at: Instant| at.elapsed() < backoff::VERIFIED_RECENTLY;
        let is_known = self.lock().targets.get(name).map(|known| known.last_verification_at.is_some_and(is_recent));
        if is_known == Some(false) {
            self.verify(name);
        }
    }

    fn verify(&self, name: &str) {
        // There is no receiver during shutdown.
        let _ = self.shared.due.send(ObjectRef::new(name));
        self.shared.counts_changed.notify_one();
    }

    /// The status that the operator has written. The watch shows it only later.
    pub(super) fn set_status(&self, written: ApprovalTarget) {
        if let Some(known) = self.lock().targets.get_mut(&written.name_any())
            && known.target.uid() == written.uid()
        {
            Arc::make_mut(&mut known.target).status = written.status;
        }
    }

    /// A target, and what is known of it.
    pub(super) fn get(&self, name: &str) -> Option<KnownTarget> {
        self.lock().targets.get(name).cloned()
    }

    /// Every target.
    pub(super) fn all(&self) -> Vec<KnownTarget> {
        self.lock().targets.values().cloned().collect()
    }

    /// Waits until the status of a target may have to show other counts. There is one waiter.
    pub(super) async fn counts_changed(&self) {
        self.shared.counts_changed.notified().await;
    }

    /// Whether the operator can tell which decisions may use which target.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let labels = self.shared.namespaces.as_ref();
        match &self.lock().listing {
            Listing::Disabled => Readiness::Ready,
            Listing::NotListed | Listing::Refused(_) => Readiness::NotSynced,
            Listing::Listed(health)
                if health.broken().is_some() || labels.is_some_and(NamespaceLabels::watch_is_broken) =>
            {
                Readiness::WatchBroken
            }
            Listing::Listed(_) if labels.is_some_and(|labels| !labels.are_known()) => Readiness::NotSynced,
            Listing::Listed(_) => Readiness::Ready,
        }
    }

    /// Whether a decision can be reconciled that names this target: what is not known yet is known soon, and wakes it. Reporting
    /// it would change the status of every decision whenever the operator starts.
    pub(super) fn can_reconcile(&self, target: Option<&str>) -> bool {
        let state = self.lock();
        let is_pending = |name| state.targets.get(name).is_some_and(KnownTarget::is_pending);
        !matches!(state.listing, Listing::NotListed)
            && self.shared.namespaces.as_ref().is_none_or(NamespaceLabels::are_known)
            && !target.is_some_and(is_pending)
    }

    /// Whether the targets are listed.
    pub(super) fn are_listed(&self) -> bool {
        matches!(self.lock().listing, Listing::Listed(_))
    }

    /// Whether no target is known.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().targets.is_empty()
    }

    /// Each target, and whether it is Ready, for the metrics.
    #[must_use]
    pub fn ready(&self) -> Vec<(String, bool)> {
        let state = self.lock();
        let ready = |known: &KnownTarget| known.verification == Verification::Verified;
        state.targets.iter().map(|(name, known)| (name.clone(), ready(known))).collect()
    }

    /// A slot to reconcile a decision, or none: then it is woken when it has one. It gives up its place at other targets, which it may
    /// have named before.
    pub(super) fn enter(&self, target: Option<&str>, subscriber: Subscriber<Key>, urgency: Urgency) -> Option<Slot> {
        let connection = self.connection(target).unwrap_or_else(|| self.own().clone());
        self.for_each_connection(|other| {
            if !other.slots.is_same(&connection.slots) {
                other.slots.forget(&subscriber.key);
            }
        });
        connection.slots.enter(subscriber, urgency)
    }

    /// Ends the wait for a slot of a decision that was deleted.
    pub(super) fn forget(&self, decision: &Key) {
        self.for_each_connection(|connection| connection.slots.forget(decision));
    }

    /// Ends the subscription of a decision.
    pub(super) fn unsubscribe(&self, decision: &Key) {
        self.for_each_connection(|connection| connection.poller.unsubscribe(decision));
    }

    /// Ends the subscription of a decision at any other poller: it may have named another target before.
    pub(super) fn unsubscribe_elsewhere(&self, decision: &Key, poller: &PipelinePoller<Key>) {
        self.for_each_connection(|other| {
            if !other.poller.is_same(poller) {
                other.poller.unsubscribe(decision);
            }
        });
    }

    /// Ends the waits and subscriptions of the decisions that are not kept.
    pub(super) fn retain(&self, is_kept: impl Fn(&Key) -> bool) {
        self.for_each_connection(|connection| {
            connection.poller.retain(&is_kept);
            connection.slots.retain(&is_kept);
        });
    }

    /// Stops all polls: this replica does not lead.
    pub fn stop_polling(&self) {
        self.for_each_connection(|connection| connection.poller.retain(|_| false));
    }

    /// Hands out no more slots: the operator stops.
    pub fn close_slots(&self) {
        self.for_each_connection(|connection| connection.slots.close());
    }

    /// Neither a poller nor the slots ask for a target, so they cannot wait for this lock.
    fn for_each_connection(&self, act: impl Fn(&Connection)) {
        act(&self.shared.own);
        self.lock().targets.values().for_each(|known| act(&known.connection));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownTarget {
    /// Whether the operator has not verified it yet.
    pub(super) fn is_pending(&self) -> bool {
        self.verification == Verification::Unverified(Unverified::Pending)
    }
}

impl State {
    fn list_locations(&mut self) {
        let location = |(name, known): (&String, &KnownTarget)| (name.clone(), known.target.spec.location());
        self.locations = Arc::new(self.targets.iter().map(location).collect());
    }
}
