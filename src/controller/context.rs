//! What all reconciles share: the clients, the poller, the decisions, and whether this replica is the leader.

use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::{Client, PipelinePoller};
use crate::decision::Settings;
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use kube::runtime::reflector::{ObjectRef, Store};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

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
    /// Receives the names of decisions to reconcile.
    pub wake: UnboundedSender<ObjectRef<ApprovalDecision>>,
    /// What decisions depend on.
    pub settings: Settings,
    /// Counts reconciles and changes of reason.
    pub metrics: Metrics,
    /// Records Events.
    pub events: EventRecorder,
    /// Limits concurrent reconciles, in all watched namespaces together.
    pub concurrency: Arc<Semaphore>,
    /// Whether this replica is the leader. A new leader reconciles every decision.
    pub leader: watch::Receiver<LeaderState>,
}

impl Context {
    pub(super) fn is_leading(&self) -> bool {
        *self.leader.borrow() == LeaderState::Leader
    }

    pub(super) fn wake(&self, decision: ObjectRef<ApprovalDecision>) {
        // There is no receiver during shutdown.
        let _ = self.wake.send(decision);
    }
}
