//! What CodePipeline's history says about one approval request. The state view comes first, because it shows a completion earlier. The
//! operator reads it where a response was lost, or where CodePipeline says that someone completed the request.

use super::error::{CallError, Refusal};
use super::pipeline::{ActionCompletion, ActionExecution, ActionProgress, LatestExecution, PipelineState};
use super::reader::PipelineReader;
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Exception, Token};
use jiff::Timestamp;

/// The most pages of history that are read to find a request, 100 entries each.
const MAX_PAGES: usize = 20;

/// The approval request to find.
#[derive(Clone, Copy, Debug)]
pub struct RecordQuery<'a> {
    /// Names the pipeline, stage and action.
    pub spec: &'a ApprovalDecisionSpec,
    /// The request's token.
    pub token: &'a Token,
    /// What else is known of it.
    pub ids: &'a ExecutionIds,
}

/// The pipeline execution and the action execution of a request, as far as they are known.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExecutionIds {
    /// pipelineExecutionId
    pub pipeline: Option<String>,
    /// actionExecutionId
    pub action: Option<String>,
}

/// What CodePipeline shows of a request.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ApprovalRecord {
    /// The pipeline does not exist.
    PipelineNotFound(Exception),
    /// The state view shows it as pending: CodePipeline has accepted no result so far.
    Pending(ExecutionIds),
    /// Only history shows it, as in progress. History lags by up to a minute, so this proves nothing yet.
    Lagging(ExecutionIds),
    /// It is completed.
    Completed(CompletedApproval),
    /// Neither view shows it.
    NotVisible,
    /// The part of history that the operator reads does not show it: a longer history proves nothing.
    BeyondHistory,
}

/// How a request was completed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CompletedApproval {
    /// The result; none if no one responded (a time-out, a cancellation).
    pub result: Option<ApprovalStatus>,
    /// The summary.
    pub summary: Option<String>,
    /// When it was completed.
    pub at: Option<Timestamp>,
    /// Who responded.
    pub by: Option<String>,
    /// Its executions.
    pub ids: ExecutionIds,
}

impl CompletedApproval {
    /// The completion of the request with these ids.
    #[must_use]
    pub fn new(completion: &ActionCompletion, ids: ExecutionIds) -> Self {
        let ActionCompletion { summary, at, by, .. } = completion.clone();
        Self { result: completion.result(), summary, at, by, ids }
    }
}

/// Reads what CodePipeline shows of a request.
///
/// # Errors
/// Those of its calls. A pipeline that does not exist is a finding, not an error.
pub async fn read_approval_record(
    reader: &impl PipelineReader,
    request: RecordQuery<'_>,
) -> Result<ApprovalRecord, CallError> {
    let state = match reader.pipeline_state().await {
        Ok(state) => state,
        Err(CallError::Refused { refusal: Refusal::PipelineNotFound, exception }) => {
            return Ok(ApprovalRecord::PipelineNotFound(exception));
        }
        Err(error) => return Err(error),
    };
    match in_state(request, &state) {
        Some(record) => Ok(record),
        None => in_history(reader, request).await,
    }
}

async fn in_history(reader: &impl PipelineReader, request: RecordQuery<'_>) -> Result<ApprovalRecord, CallError> {
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let page = match reader.action_executions(request.ids.pipeline.as_deref(), next).await {
            Ok(page) => page,
            // Another pipeline of the same name replaced it: a finding, not a failure.
            Err(error) if error.unknown_execution().is_some() => return Ok(ApprovalRecord::NotVisible),
            Err(error) => return Err(error),
        };
        if let Some(entry) = page.items.iter().find(|entry| is_entry_of(request, entry)) {
            return Ok(from_history(entry));
        }
        next = page.next;
        if next.is_none() {
            return Ok(ApprovalRecord::NotVisible);
        }
    }
    tracing::warn!(
        pipeline = request.spec.pipeline_name,
        pages = MAX_PAGES,
        "the approval request is not in the newest pages of the pipeline's history; older pages are not read"
    );
    Ok(ApprovalRecord::BeyondHistory)
}

/// The state view ties a token to an action execution only while the approval is pending. A completed entry has no token, but
/// CodePipeline was observed to use the id of the action execution as the token.
fn in_state(request: RecordQuery<'_>, state: &PipelineState) -> Option<ApprovalRecord> {
    let stage = state.stages.iter().find(|stage| stage.name == request.spec.stage_name)?;
    let action = stage.actions.iter().find(|action| action.name == request.spec.action_name)?;
    let execution = action.latest_execution.as_ref()?;
    if execution.token.as_ref() == Some(request.token) && execution.progress == ActionProgress::InProgress {
        // A pending approval locks its stage, so the execution in the stage is that of the approval.
        let latest = stage.latest_execution.as_ref().map(|execution| &execution.pipeline_execution_id);
        let pipeline = request.ids.pipeline.as_ref().or(latest).cloned();
        return Some(ApprovalRecord::Pending(ExecutionIds { pipeline, action: execution.action_execution_id.clone() }));
    }
    let ids = [&execution.action_execution_id, &execution.external_execution_id];
    ids.into_iter().flatten().any(|id| is_id_of(request, id)).then(|| from_state(request, execution))
}

fn from_state(request: RecordQuery<'_>, execution: &LatestExecution) -> ApprovalRecord {
    // Beside a completed entry, the execution in the stage may already be the next one, so it does not count.
    let ids = ExecutionIds { pipeline: request.ids.pipeline.clone(), action: execution.action_execution_id.clone() };
    from_progress(&execution.progress, ids)
}

fn is_entry_of(request: RecordQuery<'_>, entry: &ActionExecution) -> bool {
    entry.is_of(&request.spec.stage_name, &request.spec.action_name)
        && (is_id_of(request, &entry.action_execution_id)
            || entry.external_execution_id.as_ref().is_some_and(|id| is_id_of(request, id)))
}

fn is_id_of(request: RecordQuery<'_>, id: &str) -> bool {
    id == request.token.0 || request.ids.action.as_deref() == Some(id)
}

fn from_history(entry: &ActionExecution) -> ApprovalRecord {
    let ids = ExecutionIds {
        pipeline: Some(entry.pipeline_execution_id.clone()),
        action: Some(entry.action_execution_id.clone()),
    };
    from_progress(&entry.progress, ids)
}

fn from_progress(progress: &ActionProgress, ids: ExecutionIds) -> ApprovalRecord {
    match progress {
        ActionProgress::InProgress => ApprovalRecord::Lagging(ids),
        ActionProgress::Completed(completion) => ApprovalRecord::Completed(CompletedApproval::new(completion, ids)),
    }
}

#[cfg(test)]
mod tests;
