//! What all reconciles share: the clients, the poller, the decisions, and whether this replica is the leader.

use super::accepted_index::AcceptedIndex;
use super::rejection_index::RejectionIndex;
use super::status_writer::StatusWriter;
use super::targets::Targets;
use super::watch_health::{BrokenWatch, WatchHealth};
use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::codepipeline::Subscriber;
use crate::decision::{Place, Rejections, Settings, current_reason, depends_on_targets, place, target_of};
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use crate::telemetry::LogLimiter;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

/// Receives the names of decisions to reconcile.
type Wake = UnboundedSender<ObjectRef<ApprovalDecision>>;

/// What all reconciles share.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub kubernetes: kube::Client,
    /// The targets, and the connections to CodePipeline.
    pub targets: Targets,
    /// The cache of decisions.
    pub decisions: Store<ApprovalDecision>,
    /// The decisions that reject, of all watches.
    pub rejections: RejectionIndex,
    /// The decisions whose results CodePipeline accepted, of all watches.
    pub accepted: AcceptedIndex,
    /// Wakes decisions of other watches, which a rejection of this one may hold back.
    pub watches: Watches,
    /// Receives the names of decisions to reconcile.
    pub wake: Wake,
    /// What decisions depend on.
    pub settings: Settings,
    /// Counts reconciles and changes of reason.
    pub metrics: Metrics,
    /// As whom the operator writes statuses.
    pub writer: StatusWriter,
    /// Records Events.
    pub events: EventRecorder,
    /// Limits how often the log says that a permission for decisions is missing.
    pub refusals: LogLimiter,
    /// Whether this replica is the leader. A new leader reconciles every decision.
    pub leader: watch::Receiver<LeaderState>,
}

/// How to wake the decisions of each watch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watches {
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

impl Watches {
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
        self.wake_dependents(|decision| target_of(decision).as_deref() == target);
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
    pub(super) fn wake_all_that_depend_on_targets(&self) {
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
    fn may_hide_rejections(&self, namespace: Option<&str>) -> bool {
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

impl Context {
    pub(super) fn is_leading(&self) -> bool {
        *self.leader.borrow() == LeaderState::Leader
    }

    /// How to wake a decision of this watch.
    pub(super) fn subscriber(&self, decision: &ApprovalDecision) -> Subscriber<ObjectRef<ApprovalDecision>> {
        Subscriber { key: ObjectRef::from_obj(decision), wake: self.wake.clone() }
    }

    /// The rejections of the action that a decision approves. While a watch is broken, the decision waits until it has recovered.
    pub(super) fn rejections_for(&self, decision: &ApprovalDecision) -> Rejections {
        let namespace = decision.namespace();
        let are_hidden = || self.watches.may_hide_rejections(namespace.as_deref());
        if are_hidden() {
            self.rejections.hold(decision);
            // If the watch has recovered since, nothing else would wake the decision.
            if are_hidden() {
                return Rejections::NotListed;
            }
        }
        self.rejections.rejections_for(decision, |rejection| self.place(rejection))
    }

    /// Where the request of a decision is that rejects.
    fn place(&self, decision: &ApprovalDecision) -> Place {
        let target = decision.spec.target_ref.as_ref().map(|target| target.name.as_str());
        place(decision, &self.targets.observe(&decision.namespace().unwrap_or_default(), target))
    }

    /// Wakes the approvals that waited for a broken watch.
    pub(super) fn on_watch_recovered(&self) {
        self.rejections.watch_recovered().iter().for_each(|decision| self.watches.wake(decision));
    }

    pub(super) fn wake(&self, decision: ObjectRef<ApprovalDecision>) {
        // There is no receiver during shutdown.
        let _ = self.wake.send(decision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector::store;
    use std::time::Duration;
    use tokio::sync::mpsc::unbounded_channel;

    fn watches(broken: [Option<BrokenWatch>; 2]) -> Watches {
        let watches = Watches::default();
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
