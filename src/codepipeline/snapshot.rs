//! The snapshot of a pipeline that one poll reads: the state view, and the executions and history that its subscribers need. A snapshot
//! builds on the previous one, so that a poll reads only what may have changed. Only the state view and the first page of executions
//! fail a poll: what another call would have shown counts as unread.

mod executions;
mod hints;
mod history;
mod optional_calls;
mod pending;
mod pipeline_snapshot;

use super::error::CallError;
use super::pipeline::ExecutionMode;
use super::query::Query;
use super::reader::PipelineReader;
use executions::ExecutionReader;
use jiff::Timestamp;
use optional_calls::OptionalCalls;
use std::collections::HashSet;

pub use hints::SimilarRevision;
pub use pipeline_snapshot::{HISTORY_LAG, PipelineSnapshot, UnknownExecution};

/// Reads a snapshot, building on the previous one.
///
/// # Errors
/// When the state view or the first page of executions cannot be read, a missing pipeline included.
pub async fn read_snapshot(
    reader: &impl PipelineReader,
    started_at: Timestamp,
    queries: HashSet<Query>,
    previous: Option<&PipelineSnapshot>,
) -> Result<PipelineSnapshot, CallError> {
    let state = reader.pipeline_state().await?;
    let first = reader.pipeline_executions(None).await?;
    let mode = first.items.first().map(|execution| execution.mode);
    if state.stages.is_empty() && mode != Some(ExecutionMode::Parallel) {
        // Every pipeline has at least two, so this response does not come from CodePipeline. In PARALLEL mode, it can be empty.
        return Err(CallError::Indeterminate { detail: "GetPipelineState returned no stages".to_owned() });
    }
    let pending = pending::in_state(&state, mode);
    let mut snapshot = PipelineSnapshot::new(started_at, queries, state, mode, previous);
    let (mut list, mut calls) = (ExecutionReader::new(reader, first), OptionalCalls::default());
    snapshot.read_executions(&mut list, previous, &mut calls).await;
    snapshot.prune_history();
    snapshot.read_history(reader, &mut calls).await;
    snapshot.add_executions_of_requests(&mut list, &mut calls).await;
    snapshot.prune_state();
    snapshot.pending_requests = pending.unwrap_or_else(|| pending::in_history(&snapshot));
    let assigned: HashSet<&String> = snapshot.actions.iter().map(|entry| &entry.action_execution_id).collect();
    snapshot.missing_from_history = snapshot
        .visible_executions()
        .filter(|id| !assigned.contains(id))
        .map(|id| (id.clone(), snapshot.missing_from_history.get(id).copied().unwrap_or(started_at)))
        .collect();
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
