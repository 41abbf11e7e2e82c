//! What the service's own record says about one approval request: the state view first, then the history. It is read where
//! an answer was lost, or where the service says that the request was completed by somebody.

use super::error::{CallError, Refusal};
use super::pipeline::{ActionExecution, ActionProgress, Ending, LatestExecution, PipelineState};
use super::reads::Reads;
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Exception, Token};
use jiff::Timestamp;

/// How many pages of a hundred entries of history are read in search of a request.
const MAX_PAGES: usize = 20;

/// The approval request to look for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Names the pipeline, stage and action.
    pub spec: &'a ApprovalDecisionSpec,
    /// The request's token.
    pub token: &'a Token,
    /// What else is known of it.
    pub ids: &'a ExecutionIds,
}

/// The run of the action that a request is, and the run of the pipeline that it belongs to.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExecutionIds {
    /// pipelineExecutionId
    pub pipeline: Option<String>,
    /// actionExecutionId
    pub action: Option<String>,
}

/// What the record says about a request.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Record {
    /// There is no such pipeline.
    PipelineNotFound(Exception),
    /// The state view shows the request as pending: no answer was taken so far.
    Pending(ExecutionIds),
    /// Only the history has it, and calls it in progress. It may lag behind by a minute, so this tells nothing yet.
    Lagging(ExecutionIds),
    /// The request is over.
    Finished(Finished),
    /// Neither view shows it.
    Unseen,
}

/// How a request ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Finished {
    /// The answer; none where nobody gave one (a time-out, a cancellation).
    pub result: Option<ApprovalStatus>,
    /// What was said with the answer.
    pub summary: Option<String>,
    /// When it ended.
    pub at: Option<Timestamp>,
    /// Who answered.
    pub by: Option<String>,
    /// Which run it was.
    pub ids: ExecutionIds,
}

impl Finished {
    /// The ending of the request that has these ids.
    #[must_use]
    pub fn new(ending: &Ending, ids: ExecutionIds) -> Self {
        let Ending { summary, at, by, .. } = ending.clone();
        Self { result: ending.result(), summary, at, by, ids }
    }
}

/// Reads what the service's record says about a request.
///
/// # Errors
/// As the calls that it makes, but for a pipeline that does not exist, which is a finding.
pub async fn record(reads: &impl Reads, request: Request<'_>) -> Result<Record, CallError> {
    let state = match reads.pipeline_state().await {
        Ok(state) => state,
        Err(CallError::Refused { refusal: Refusal::PipelineNotFound, exception }) => {
            return Ok(Record::PipelineNotFound(exception));
        }
        Err(error) => return Err(error),
    };
    match in_state(request, &state) {
        Some(record) => Ok(record),
        None => in_history(reads, request).await,
    }
}

async fn in_history(reads: &impl Reads, request: Request<'_>) -> Result<Record, CallError> {
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let page = match reads.action_executions(request.ids.pipeline.as_deref(), next).await {
            Ok(page) => page,
            // The pipeline was replaced by another of its name: a finding, not a failure to read.
            Err(error) if error.unknown_execution().is_some() => return Ok(Record::Unseen),
            Err(error) => return Err(error),
        };
        if let Some(entry) = page.items.iter().find(|entry| is_entry_of(request, entry)) {
            return Ok(from_history(entry));
        }
        next = page.next;
        if next.is_none() {
            return Ok(Record::Unseen);
        }
    }
    tracing::warn!(
        pipeline = request.spec.pipeline_name,
        pages = MAX_PAGES,
        "the approval request is not among the newest entries of the pipeline's history; older ones are not read"
    );
    Ok(Record::Unseen)
}

/// The state view ties a token to an action execution only while the approval is pending. An entry that is over has no
/// token, but on the live service the request's token was seen to be its action execution's id.
fn in_state(request: Request<'_>, state: &PipelineState) -> Option<Record> {
    let stage = state.stages.iter().find(|stage| stage.name == request.spec.stage_name)?;
    let action = stage.actions.iter().find(|action| action.name == request.spec.action_name)?;
    let execution = action.latest_execution.as_ref()?;
    if execution.token.as_ref() == Some(request.token) && execution.progress == ActionProgress::InProgress {
        // A pending approval locks its stage, so the stage's execution is the approval's, where no more is known.
        let latest = stage.latest_execution.as_ref().map(|execution| &execution.pipeline_execution_id);
        let pipeline = request.ids.pipeline.as_ref().or(latest).cloned();
        return Some(Record::Pending(ExecutionIds { pipeline, action: execution.action_execution_id.clone() }));
    }
    let ids = [&execution.action_execution_id, &execution.external_execution_id];
    ids.into_iter().flatten().any(|id| is_id_of(request, id)).then(|| from_state(request, execution))
}

fn from_state(request: Request<'_>, execution: &LatestExecution) -> Record {
    // Beside an entry that is over, the stage's execution may already be the next: it is taken from what was known before.
    let ids = ExecutionIds { pipeline: request.ids.pipeline.clone(), action: execution.action_execution_id.clone() };
    from_progress(&execution.progress, ids)
}

fn is_entry_of(request: Request<'_>, entry: &ActionExecution) -> bool {
    entry.is_of(&request.spec.stage_name, &request.spec.action_name)
        && (is_id_of(request, &entry.action_execution_id)
            || entry.external_execution_id.as_ref().is_some_and(|id| is_id_of(request, id)))
}

fn is_id_of(request: Request<'_>, id: &str) -> bool {
    id == request.token.0 || request.ids.action.as_deref() == Some(id)
}

fn from_history(entry: &ActionExecution) -> Record {
    let ids = ExecutionIds {
        pipeline: Some(entry.pipeline_execution_id.clone()),
        action: Some(entry.action_execution_id.clone()),
    };
    from_progress(&entry.progress, ids)
}

fn from_progress(progress: &ActionProgress, ids: ExecutionIds) -> Record {
    match progress {
        ActionProgress::InProgress => Record::Lagging(ids),
        ActionProgress::Over(ending) => Record::Finished(Finished::new(ending, ids)),
    }
}
