//! What the service's own record says about one approval request: the state view first, then the history. It is read where
//! an answer was lost, or where the service says that the request was completed by somebody.

use super::client::{Client, timestamp};
use super::error::{CallError, Refusal};
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Exception, Token};
use aws_sdk_codepipeline::types::{ActionExecution, ActionExecutionDetail, ActionExecutionStatus, StageState};
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExecutionIds {
    /// pipelineExecutionId
    pub pipeline: Option<String>,
    /// actionExecutionId
    pub action: Option<String>,
}

/// What the record says about a request.
#[derive(Clone, Debug, Eq, PartialEq)]
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
#[derive(Clone, Debug, Eq, PartialEq)]
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

impl Client {
    /// Reads what the service's record says about a request.
    ///
    /// # Errors
    /// As the calls that it makes, but for a pipeline that does not exist, which is a finding.
    pub async fn record(&self, request: Request<'_>) -> Result<Record, CallError> {
        let state = match self.get_pipeline_state(&request.spec.pipeline_name).await {
            Ok(state) => state,
            Err(CallError::Refused { refusal: Refusal::PipelineNotFound, exception }) => {
                return Ok(Record::PipelineNotFound(exception));
            }
            Err(error) => return Err(error),
        };
        match in_state(request, state.stage_states()) {
            Some(record) => Ok(record),
            None => self.in_history(request).await,
        }
    }

    async fn in_history(&self, request: Request<'_>) -> Result<Record, CallError> {
        let (spec, mut next) = (request.spec, None);
        for _ in 0..MAX_PAGES {
            let pipeline_execution = request.ids.pipeline.as_deref();
            let page = match self.list_action_executions(&spec.pipeline_name, pipeline_execution, next).await {
                Ok(page) => page,
                // The pipeline was replaced by another of its name: a finding, not a failure to read.
                Err(CallError::NotTaken { exception: Some(Exception { r#type, .. }), .. })
                    if r#type == "PipelineExecutionNotFoundException" =>
                {
                    return Ok(Record::Unseen);
                }
                Err(error) => return Err(error),
            };
            if let Some(entry) = page.action_execution_details().iter().find(|entry| is_entry_of(request, entry)) {
                return Ok(from_history(entry));
            }
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(Record::Unseen);
            }
        }
        tracing::warn!(
            pipeline = spec.pipeline_name,
            pages = MAX_PAGES,
            "the approval request is not among the newest entries of the pipeline's history; older ones are not read"
        );
        Ok(Record::Unseen)
    }
}

/// The state view ties a token to an action execution only while the approval is pending. An entry that is over has no
/// token, but on the live service the request's token was seen to be its action execution's id.
fn in_state(request: Request<'_>, stages: &[StageState]) -> Option<Record> {
    let stage = stages.iter().find(|stage| stage.stage_name() == Some(&request.spec.stage_name))?;
    let action = stage.action_states().iter().find(|action| action.action_name() == Some(&request.spec.action_name))?;
    let execution = action.latest_execution()?;
    if execution.token() == Some(&request.token.0) && execution.status() == Some(&ActionExecutionStatus::InProgress) {
        // A pending approval locks its stage, so the stage's execution is the approval's.
        let pipeline = stage.latest_execution().map(|execution| execution.pipeline_execution_id().to_owned());
        let action = execution.action_execution_id().map(str::to_owned);
        return Some(Record::Pending(ExecutionIds { pipeline, action }));
    }
    let ids = [execution.action_execution_id(), execution.external_execution_id()];
    ids.into_iter().flatten().any(|id| is_id_of(request, id)).then(|| from_state(request, execution))
}

fn from_state(request: Request<'_>, execution: &ActionExecution) -> Record {
    let by = execution.last_updated_by().map(str::to_owned);
    // Beside an entry that is over, the stage's execution may already be the next: it is taken from what was known before.
    let ids = ExecutionIds {
        pipeline: request.ids.pipeline.clone(),
        action: execution.action_execution_id().map(str::to_owned),
    };
    if is_under_way(execution.status()) {
        return Record::Lagging(ids);
    }
    Record::Finished(Finished {
        result: result(execution.status(), by.as_deref()),
        summary: execution.summary().map(str::to_owned),
        at: execution.last_status_change().and_then(timestamp),
        by,
        ids,
    })
}

fn is_entry_of(request: Request<'_>, entry: &ActionExecutionDetail) -> bool {
    let external = entry.output().and_then(|output| output.execution_result()).and_then(|r| r.external_execution_id());
    entry.stage_name() == Some(&request.spec.stage_name)
        && entry.action_name() == Some(&request.spec.action_name)
        && [entry.action_execution_id(), external].into_iter().flatten().any(|id| is_id_of(request, id))
}

fn is_id_of(request: Request<'_>, id: &str) -> bool {
    id == request.token.0 || request.ids.action.as_deref() == Some(id)
}

fn from_history(entry: &ActionExecutionDetail) -> Record {
    let by = entry.updated_by().map(str::to_owned);
    let ids = ExecutionIds {
        pipeline: entry.pipeline_execution_id().map(str::to_owned),
        action: entry.action_execution_id().map(str::to_owned),
    };
    if is_under_way(entry.status()) {
        return Record::Lagging(ids);
    }
    let execution_result = entry.output().and_then(|output| output.execution_result());
    Record::Finished(Finished {
        result: result(entry.status(), by.as_deref()),
        summary: execution_result.and_then(|result| result.external_execution_summary()).map(str::to_owned),
        at: entry.last_update_time().and_then(timestamp),
        by,
        ids,
    })
}

/// A status that this SDK does not know yet ends nothing.
fn is_under_way(status: Option<&ActionExecutionStatus>) -> bool {
    !matches!(
        status,
        Some(ActionExecutionStatus::Succeeded | ActionExecutionStatus::Failed | ActionExecutionStatus::Abandoned)
    )
}

/// A failed approval was rejected only if the record names who did it: time-outs and cancellations fail without.
fn result(status: Option<&ActionExecutionStatus>, by: Option<&str>) -> Option<ApprovalStatus> {
    match status {
        Some(ActionExecutionStatus::Succeeded) => Some(ApprovalStatus::Approved),
        Some(ActionExecutionStatus::Failed) if by.is_some() => Some(ApprovalStatus::Rejected),
        _ => None,
    }
}
