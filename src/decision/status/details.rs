//! What the status shows besides an outcome: for which commit, and until when. It is for people: nothing is decided from it, and it
//! costs no call, because it comes from a poll that was read anyway. The account and the region are the exception: they pin the decision.

use super::truncate::{set_ids, truncated};
use crate::api::time::to_second;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, Binding, Location, ObservedSourceRevision, ReadyClass,
};
use crate::codepipeline::{ApprovalRecord, ExecutionIds, PipelineSnapshot};
use crate::decision::outcome::{Caveat, Outcome, Wait};
use crate::decision::phase::{known_ids, status_is_current};
use crate::decision::subject::record;
use crate::decision::timing::{Settings, expiry};
use jiff::Timestamp;

/// The most source revisions that the status has.
const MAX_REVISIONS: usize = 10;

/// Where details come from.
#[derive(Clone, Debug)]
pub struct Details<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The snapshot that the outcome follows from, if it needed one.
    pub snapshot: Option<&'a PipelineSnapshot>,
    /// The account and region that it is from, or those of the target.
    pub location: Option<Location>,
}

impl Details<'_> {
    /// The status with its details. They are a function of the outcome, the snapshot and the status before, so that a decision that
    /// waits writes nothing while nothing changes.
    #[must_use]
    pub fn added_to(
        &self,
        mut status: ApprovalDecisionStatus,
        decision: &ApprovalDecision,
        outcome: &Outcome,
        now: Timestamp,
    ) -> ApprovalDecisionStatus {
        if status.pipeline_execution_id.is_none() {
            set_ids(&mut status, &self.ids(decision, outcome));
        }
        if status.account_id.is_none()
            && let Some(location) = self.location_to_pin(outcome)
        {
            status.set_location(Some(location));
        }
        status.source_revisions = self.source_revisions(&status, decision);
        status.expires_at = self.expires_at(decision, outcome, now);
        status
    }

    /// Where the operator looks for the request from now on.
    fn location_to_pin(&self, outcome: &Outcome) -> Option<Location> {
        match outcome {
            Outcome::Submitting(intent) => Some(intent.submission.location()),
            // The decision may not look there, or the outcome is about a submission, which says where it was sent.
            Outcome::TargetProblem { .. } | Outcome::Invalid(_) | Outcome::Unconfirmed { .. } => None,
            Outcome::Delivered { .. }
            | Outcome::AlreadyDecided { .. }
            | Outcome::Refused { .. }
            | Outcome::Missing { .. }
            | Outcome::ExecutionEnded { .. }
            | Outcome::PipelineExecutionNotFound { .. }
            | Outcome::AmbiguousRevision(_)
            | Outcome::Expired { .. }
            | Outcome::Suspended { .. }
            | Outcome::Waiting { .. }
            | Outcome::Conflicting { .. }
            | Outcome::Unreadable { .. }
            | Outcome::Retrying { .. } => self.location.clone(),
        }
    }

    /// What is known of the request, if the outcome does not say it. What was known before stays: not every reconcile needs a snapshot,
    /// and a status that changed with that would be written again and again.
    fn ids(&self, decision: &ApprovalDecision, outcome: &Outcome) -> ExecutionIds {
        let before = || {
            let before = decision.status.as_ref().filter(|_| status_is_current(decision));
            ExecutionIds {
                pipeline: before.and_then(|before| before.pipeline_execution_id.clone()),
                action: before.and_then(|before| before.action_execution_id.clone()),
            }
        };
        match (decision.spec.binding(), outcome) {
            // The request of a token is always the same.
            (Some(Binding::Token(token)), _) => {
                let record =
                    self.snapshot.map(|snapshot| record(decision, token, &known_ids(decision, token), snapshot));
                let found = match record {
                    Some(ApprovalRecord::Pending(ids) | ApprovalRecord::Lagging(ids)) => Some(ids),
                    Some(ApprovalRecord::Completed(completed)) => Some(completed.ids),
                    Some(
                        ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory | ApprovalRecord::Unreadable(_),
                    )
                    | None => None,
                };
                found.filter(|ids| ids.pipeline.is_some()).unwrap_or_else(before)
            }
            // That the pipeline cannot be read now changes nothing about the request.
            (
                Some(Binding::Execution(_)),
                Outcome::Unreadable { .. }
                | Outcome::TargetProblem { .. }
                | Outcome::Expired { caveat: Some(Caveat::PipelineUnreadable(_)), .. },
            ) => before(),
            (Some(Binding::Execution(_)) | None, _) => ExecutionIds::default(),
        }
    }

    /// The source revisions of the execution. Not every call that shows an execution shows them.
    fn source_revisions(
        &self,
        status: &ApprovalDecisionStatus,
        decision: &ApprovalDecision,
    ) -> Vec<ObservedSourceRevision> {
        let Some(id) = &status.pipeline_execution_id else { return Vec::new() };
        let executions = self.snapshot.map(|snapshot| snapshot.executions.iter());
        let execution = executions.into_iter().flatten().find(|execution| execution.id == *id);
        match execution.map(|execution| execution.source_revisions.as_slice()) {
            Some(revisions @ [_, ..]) => revisions
                .iter()
                .take(MAX_REVISIONS)
                .map(|revision| ObservedSourceRevision {
                    action_name: truncated(&revision.action_name, 100),
                    revision_id: revision.revision_id.as_deref().map(|id| truncated(id, 1500)),
                })
                .collect(),
            Some([]) | None => {
                let before =
                    decision.status.as_ref().filter(|before| before.pipeline_execution_id.as_ref() == Some(id));
                before.map(|before| before.source_revisions.clone()).unwrap_or_default()
            }
        }
    }

    fn expires_at(&self, decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> Option<Timestamp> {
        let not_after = decision.spec.validate(now).ok()?.not_after;
        match (outcome, outcome.ready_class()) {
            // The spec is acted on next: it may have another limit.
            (Outcome::Waiting { wait: Wait::CurrentSpec, .. }, _)
            | (_, ReadyClass::Settled | ReadyClass::Stalled | ReadyClass::InFlight | ReadyClass::Pending) => None,
            (_, ReadyClass::Suspended) => not_after,
            (_, ReadyClass::Retrying | ReadyClass::Waiting) => {
                // A column shows it, and an edit or a restart counts from an instant with nanoseconds.
                Some(to_second(expiry(decision, not_after, self.settings, now).at()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
