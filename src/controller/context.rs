//! What all reconciles share: the clients, the poller, the decisions, and whether this replica is the leader.

use super::reconcile_slots::ReconcileSlots;
use super::rejection_index::RejectionIndex;
use super::status_writer::StatusWriter;
use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::{Client, PipelinePoller, Subscriber};
use crate::decision::Settings;
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
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
    /// CodePipeline.
    pub codepipeline: Client,
    /// The polls that decisions share.
    pub poller: PipelinePoller<ObjectRef<ApprovalDecision>>,
    /// The cache of decisions.
    pub decisions: Store<ApprovalDecision>,
    /// The decisions that reject, of all watches.
    pub rejections: RejectionIndex,
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
    /// Limits concurrent reconciles, in all watched namespaces together.
    pub slots: ReconcileSlots,
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
    wake: Wake,
}

impl Watches {
    pub(super) fn add(&self, namespace: Option<String>, wake: Wake) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push(WokenWatch { namespace, wake });
    }

    /// Wakes a decision in the watch that has it.
    pub(super) fn wake(&self, decision: &ObjectRef<ApprovalDecision>) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let has_it = |watch: &&WokenWatch| watch.namespace.is_none() || watch.namespace == decision.namespace;
        for watch in watches.iter().filter(has_it) {
            // There is no receiver during shutdown.
            let _ = watch.wake.send(decision.clone());
        }
    }
}

impl Context {
    pub(super) fn is_leading(&self) -> bool {
        *self.leader.borrow() == LeaderState::Leader
    }

    /// How to wake a decision of this watch.
    pub(super) fn subscriber(&self, decision: &ApprovalDecision) -> Subscriber<ObjectRef<ApprovalDecision>> {
        Subscriber { key: ObjectRef::from_obj(decision), wake: self.wake.clone() }
    }

    pub(super) fn wake(&self, decision: ObjectRef<ApprovalDecision>) {
        // There is no receiver during shutdown.
        let _ = self.wake.send(decision);
    }
}
