//! What the watch on targets and their verification share, as [`super::context`] is what the reconciles of decisions share.

use super::decision_watches::DecisionWatches;
use super::status_writer::StatusWriter;
use super::targets::{Affected, Targets};
use crate::api::v1alpha1::WireTarget;
use crate::leader_election::LeaderState;
use kube::api::Api;
use tokio::sync::watch;

/// What the watch on targets and their verification share.
#[derive(Clone)]
pub struct TargetContext {
    /// The API.
    pub(super) api: Api<WireTarget>,
    /// The targets.
    pub(super) targets: Targets,
    /// Wakes decisions.
    pub(super) watches: DecisionWatches,
    /// As whom the operator writes statuses.
    pub(super) writer: StatusWriter,
    /// Whether this replica is the leader, which alone verifies targets.
    pub(super) leader: watch::Receiver<LeaderState>,
}

impl TargetContext {
    pub(super) fn wake(&self, name: &str, affected: Affected) {
        match affected {
            Affected::Nobody => {}
            Affected::ItsDecisions => self.watches.wake_decisions_of(Some(name)),
            Affected::All => self.watches.wake_all_that_depend_on_targets(),
        }
    }
}
