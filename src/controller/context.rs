//! What all reconciles of decisions share: the API server, the targets with their connections, what is known of the decisions of all
//! watches, and whether this replica is the leader. The watch on targets and their verification share [`super::target_context`].

use super::accepted_index::AcceptedIndex;
use super::decision_watches::{DecisionWatches, Wake};
use super::rejection_index::RejectionIndex;
use super::status_writer::StatusWriter;
use super::targets::Targets;
use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::Subscriber;
use crate::decision::{RejectionLocation, Rejections, Settings, rejection_location};
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use crate::telemetry::LogLimiter;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;

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
    pub watches: DecisionWatches,
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
        self.rejections.rejections_for(decision, |rejection| self.rejection_location(rejection))
    }

    /// Where the request of a decision that rejects is.
    fn rejection_location(&self, decision: &ApprovalDecision) -> RejectionLocation {
        let target = decision.spec.target_ref.as_ref().map(|target| target.name.as_str());
        rejection_location(decision, &self.targets.observe(&decision.namespace().unwrap_or_default(), target))
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
