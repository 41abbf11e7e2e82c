//! The number of approval requests that are pending in a pipeline, for people: no decision depends on it. The state view shows those of all
//! actions. In PARALLEL mode it proves nothing, and a poll reads only the history that its queries need.

use super::pipeline_snapshot::PipelineSnapshot;
use crate::api::v1alpha1::Token;
use crate::codepipeline::pipeline::{ActionExecution, ActionProgress, ExecutionMode, PipelineState};

/// The category of approvals in history.
const APPROVAL: &str = "Approval";

/// The pending requests of all actions; none in PARALLEL mode.
pub(super) fn in_state(state: &PipelineState, mode: Option<ExecutionMode>) -> Option<u32> {
    if mode == Some(ExecutionMode::Parallel) {
        return None;
    }
    let actions = state.stages.iter().flat_map(|stage| &stage.actions);
    let latest = actions.filter_map(|action| action.latest_execution.as_ref());
    Some(count(latest.filter(|latest| latest.token.is_some() && latest.progress == ActionProgress::InProgress)))
}

/// The pending requests of the queried actions in the queried executions.
pub(super) fn in_history(snapshot: &PipelineSnapshot) -> u32 {
    // History lags behind the end of an execution.
    let has_ended = |entry: &ActionExecution| {
        let execution = snapshot.executions.iter().find(|execution| execution.id == entry.pipeline_execution_id);
        execution.is_some_and(|execution| execution.end().is_some())
    };
    let has_token = |entry: &ActionExecution| entry.external_execution_id.clone().and_then(Token::new).is_some();
    count(snapshot.actions.iter().filter(|entry| {
        entry.category == APPROVAL
            && entry.progress == ActionProgress::InProgress
            && has_token(entry)
            && !has_ended(entry)
    }))
}

fn count(requests: impl Iterator) -> u32 {
    u32::try_from(requests.count()).unwrap_or(u32::MAX)
}
