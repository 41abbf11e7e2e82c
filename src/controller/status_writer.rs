//! The name under which this operator writes statuses, and the search for another operator that writes them too. The API server keeps
//! the name and the time of the last writer of each field, so that two releases that act on the same decisions can be told apart.

use crate::api::time::to_second;
use crate::api::v1alpha1::WireDecision;
use crate::telemetry::LogLimiter;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{PatchParams, PostParams};
use kube::{Api, ResourceExt};
use std::time::Duration;
use tokio::time::timeout;

/// What the name of every operator starts with.
const PREFIX: &str = "approval-operator/";

/// The API server refuses longer names.
const MAX_NAME_LENGTH: usize = 128;

/// The longest time that a search may take.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

/// This operator as a writer of statuses. Clones share the limit of its searches.
#[derive(Clone, Debug)]
pub struct StatusWriter {
    name: String,
    started_at: Timestamp,
    warnings: LogLimiter,
}

impl StatusWriter {
    /// A writer with this name, which replicas of one operator share. The API server accepts only printable characters.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = format!("{PREFIX}{name}").chars().filter(char::is_ascii_graphic).take(MAX_NAME_LENGTH).collect();
        // The API server keeps the time of a write in whole seconds.
        Self { name, started_at: to_second(Timestamp::now()), warnings: LogLimiter::default() }
    }

    /// The parameters of a write.
    pub(super) fn parameters(&self) -> PostParams {
        PostParams { field_manager: Some(self.name.clone()), ..PostParams::default() }
    }

    /// The parameters of a patch.
    pub(super) fn patch_parameters(&self) -> PatchParams {
        PatchParams { field_manager: Some(self.name.clone()), ..PatchParams::default() }
    }

    /// Logs a warning if another operator has written the status of this decision since this one started. A conflict is the sign of it
    /// that costs nothing. The reconcile does not wait for the search, and an error ends it: there will be other conflicts.
    pub(super) fn search_for_another(&self, api: &Api<WireDecision>, namespace: Option<&str>, name: &str) {
        if !self.warnings.is_due() {
            return;
        }
        let (writer, api, namespace, name) = (self.clone(), api.clone(), namespace.map(str::to_owned), name.to_owned());
        tokio::spawn(async move {
            let Ok(Ok(Some(metadata))) = timeout(SEARCH_TIMEOUT, api.get_metadata_opt(&name)).await else { return };
            if let Some(other) = writer.find_another(metadata.managed_fields()) {
                tracing::warn!(
                    decision = format!("{}/{name}", namespace.unwrap_or_default()),
                    this = writer.name,
                    %other,
                    "another operator acts on the same decisions: each result is submitted once, but the operators compete. Let one \
                     release watch a namespace; kubectl get deployments -A -l app.kubernetes.io/part-of=approval-operator lists them"
                );
            }
        });
    }

    /// An operator that wrote before this one started may have been its predecessor.
    fn find_another(&self, writers: &[ManagedFieldsEntry]) -> Option<String> {
        let is_another = |entry: &&ManagedFieldsEntry| {
            entry.subresource.as_deref() == Some("status")
                && entry.manager.as_ref().is_some_and(|name| name.starts_with(PREFIX) && *name != self.name)
                && entry.time.as_ref().is_some_and(|time| time.0 >= self.started_at)
        };
        writers.iter().find(is_another).and_then(|entry| entry.manager.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn another_operator_is_one_that_has_written_a_status_since_this_one_started() {
        let writer = StatusWriter::new("approvals/approval-operator");
        let entry = |manager: &str, subresource: &str, minutes| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
            time: Some(Time(writer.started_at + SignedDuration::from_mins(minutes))),
            ..ManagedFieldsEntry::default()
        };
        let other = "approval-operator/team-a/approval-operator";
        for (found, is_another) in [
            (entry(other, "status", 1), true),
            (entry(other, "status", -1), false),
            (entry(other, "", 1), false),
            (entry(&writer.name, "status", 1), false),
            (entry("kubectl-edit", "status", 1), false),
            (ManagedFieldsEntry::default(), false),
        ] {
            let expected = is_another.then(|| other.to_owned());
            assert_eq!(writer.find_another(&[entry("kubectl", "", 1), found.clone()]), expected, "{found:?}");
        }
    }

    #[test]
    fn it_searches_once_a_minute_and_its_name_is_short_enough() {
        let writer = StatusWriter::new(&"ab\n".repeat(300));
        assert_eq!((writer.warnings.is_due(), writer.clone().warnings.is_due()), (true, false));
        assert_eq!((writer.name.len(), writer.name.contains('\n')), (MAX_NAME_LENGTH, false));
    }
}
