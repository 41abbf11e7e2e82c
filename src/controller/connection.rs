//! The connection to one target, or to the operator's own account and region: its client, poller and reconcile slots. Connections share
//! nothing that one of them could exhaust, so a target that hangs or throttles slows no other.

use super::reconcile_slots::ReconcileSlots;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalTargetSpec};
use crate::codepipeline::{
    AssumedRole, CallMetrics, Client, ClientSettings, Destination, PipelinePoller, RateLimiter, TargetDestination,
};
use kube::runtime::reflector::ObjectRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How the operator reaches one account and region. Clones share it.
#[derive(Clone)]
pub struct Connection {
    /// Calls AWS.
    pub client: Client,
    /// The polls that decisions share.
    pub poller: PipelinePoller<ObjectRef<ApprovalDecision>>,
    /// Limits concurrent reconciles.
    pub slots: ReconcileSlots,
}

/// What all connections have in common.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// How clients reach AWS.
    pub client: ClientSettings,
    /// `--aws-requests-per-second`
    pub requests_per_second: f64,
    /// `--poll-interval`
    pub poll_interval: Duration,
    /// `--concurrency`
    pub concurrency: u16,
    /// Counts and times calls.
    pub calls: CallMetrics,
}

impl ConnectionSettings {
    /// A connection with the operator's own identity and region. It calls nothing before it is used.
    #[must_use]
    pub fn connect_own(&self) -> Connection {
        // Nothing reports what is polled without a target.
        self.connect(Destination::Ambient, self.calls.clone(), Arc::default())
    }

    /// A connection to a target, which notifies when the counts of its poller change. A target that has moved keeps the metrics of
    /// its former connection, so that a call in flight there records nothing after the target is deleted.
    pub(super) fn connect_target(
        &self,
        name: &str,
        destination: Destination,
        former: Option<&Connection>,
        counts_changed: Arc<Notify>,
    ) -> Connection {
        let kept = former.map(|former| former.client.metrics().clone());
        self.connect(destination, kept.unwrap_or_else(|| self.calls.for_target(name)), counts_changed)
    }

    fn connect(&self, destination: Destination, calls: CallMetrics, counts_changed: Arc<Notify>) -> Connection {
        let client = Client::new(self.client.clone(), destination, RateLimiter::new(self.requests_per_second), calls);
        Connection {
            poller: PipelinePoller::new(client.clone(), self.poll_interval, counts_changed),
            client,
            slots: ReconcileSlots::new(self.concurrency),
        }
    }
}

/// Where the pipelines of a target are, and which identity the operator uses there.
pub(super) fn destination(spec: &ApprovalTargetSpec) -> Destination {
    let ApprovalTargetSpec { role_arn, external_id, .. } = spec;
    let role = role_arn.clone().map(|arn| AssumedRole { arn, external_id: external_id.clone() });
    Destination::Target(TargetDestination { location: spec.location(), role })
}
