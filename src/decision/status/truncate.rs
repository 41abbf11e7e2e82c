//! Strings of CodePipeline in the status. The schema limits every string, and CodePipeline's strings may be longer: a status that the API
//! server refuses would never be written.

use crate::api::v1alpha1::ApprovalDecisionStatus;
use crate::codepipeline::ExecutionIds;

/// Notes what is known of a request. What is not known stays.
pub(super) fn set_ids(status: &mut ApprovalDecisionStatus, ids: &ExecutionIds) {
    for (field, id) in
        [(&mut status.pipeline_execution_id, &ids.pipeline), (&mut status.action_execution_id, &ids.action)]
    {
        if let Some(id) = id {
            *field = Some(truncated(id, 100));
        }
    }
}

/// The start of a text.
pub(super) fn truncated(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
