//! What the watch on targets, their verification and the report of their counts share. Each writes only its own fields of a status.

use super::decision_watches::DecisionWatches;
use super::status_writer::StatusWriter;
use super::targets::{Affected, Targets};
use crate::api::v1alpha1::{ApprovalTarget, WireTarget};
use crate::event_recorder::EventRecorder;
use crate::leader_election::LeaderState;
use kube::ResourceExt;
use kube::api::{Api, Patch};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What all work on targets shares.
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
    /// Records Events.
    pub(super) events: EventRecorder,
    /// Whether this replica is the leader, which alone verifies targets and writes their status.
    pub(super) leader: watch::Receiver<LeaderState>,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StatusWrite {
    Written,
    /// The target was deleted, and may have been created again.
    Gone,
}

impl TargetContext {
    /// Writes these fields of the status and no others; null removes one.
    pub(super) async fn write_status(
        &self,
        target: &ApprovalTarget,
        fields: &Value,
    ) -> Result<StatusWrite, kube::Error> {
        // The UID is a precondition: nothing of this is known of a target that was created again.
        let patch = json!({ "metadata": { "uid": target.uid() }, "status": fields });
        let parameters = self.writer.patch_parameters();
        match self.api.patch_status(&target.name_any(), &parameters, &Patch::Merge(patch)).await {
            Ok(WireTarget(written)) => {
                self.targets.set_status(written);
                Ok(StatusWrite::Written)
            }
            Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => Ok(StatusWrite::Gone),
            Err(error) => Err(error),
        }
    }

    pub(super) fn wake(&self, name: &str, affected: Affected) {
        match affected {
            Affected::None => {}
            Affected::ItsDecisions => self.watches.wake_decisions_of(Some(name)),
            Affected::All => self.watches.wake_all_that_depend_on_targets(),
        }
    }
}
