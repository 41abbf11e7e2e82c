//! What the operator reads of the model, page by page and call by call: time passes and things happen in between, and calls
//! fail.

use super::aws::{Aws, PIPELINE, revisions_of};
use super::{Deed, Fault, Glance};
use crate::api::v1alpha1::{Exception, Token};
use crate::codepipeline::{
    ActionExecution, ActionProgress, ActionState, CallError, Cause, EndStatus, Ending, ExecutionEnd, ExecutionMode,
    ExecutionStatus, LatestExecution, Page, PipelineExecution, PipelineState, Reads, Record, Refusal, StageExecution,
    StageState,
};
use crate::decision::fixtures;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{self, ActionExecutionStatus};
use local_codepipeline::model::{self, ExceptionKind, Service};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The calls of one look, or of one reading of the record.
pub struct Calls<'a> {
    pub aws: &'a Mutex<Aws>,
    pub glance: Glance,
    pub page: i64,
    made: Mutex<usize>,
}

impl<'a> Calls<'a> {
    pub fn new(aws: &'a Mutex<Aws>, page: i64, glance: Glance) -> Self {
        Self { aws, glance, page, made: Mutex::new(0) }
    }

    /// The calls of reading the record, of which the first may fail.
    pub fn under(aws: &'a Mutex<Aws>, page: i64, fault: Fault) -> Self {
        let fails = (!matches!(fault, Fault::None)).then_some(0);
        Self::new(aws, page, Glance { pace: 100, fails, meanwhile: None, late: false })
    }

    /// Makes a call: it is known at the service when it arrives there.
    fn call(&self) -> Result<MutexGuard<'_, Aws>, CallError> {
        let mut aws = self.aws.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        aws.pass(SignedDuration::from_millis(self.glance.pace));
        if let Some((_, deed)) = self.glance.meanwhile.as_ref().filter(|(call, _)| *call == *made) {
            let deed: &Deed = deed;
            aws.note("meanwhile:");
            aws.perform(deed);
        }
        *made += 1;
        match self.glance.fails {
            Some(call) if call + 1 == *made && call % 2 == 0 => Err(fixtures::not_taken(Cause::Throttled)),
            Some(call) if call + 1 == *made => Err(fixtures::lost()),
            Some(_) | None => Ok(aws),
        }
    }
}

/// What the client makes of an exception.
pub fn call_error(exception: &model::Exception) -> CallError {
    let refusal = match exception.kind {
        ExceptionKind::InvalidApprovalToken => Some(Refusal::InvalidApprovalToken),
        ExceptionKind::ApprovalAlreadyCompleted => Some(Refusal::ApprovalAlreadyCompleted),
        ExceptionKind::PipelineNotFound => Some(Refusal::PipelineNotFound),
        ExceptionKind::StageNotFound => Some(Refusal::StageNotFound),
        ExceptionKind::ActionNotFound => Some(Refusal::ActionNotFound),
        ExceptionKind::Validation => Some(Refusal::ValidationFailed),
        _ => None,
    };
    let detail = exception.to_string();
    let exception = Exception { r#type: exception.kind.name().to_owned(), message: exception.message.clone() };
    match refusal {
        Some(refusal) => CallError::Refused { refusal, exception },
        None => CallError::NotTaken { cause: Cause::ServiceUnavailable, exception: Some(exception), detail },
    }
}

impl Reads for Calls<'_> {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        pipeline_state(&mut aws.service, now)
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        pipeline_executions(&mut aws.service, now, self.page, page)
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        pipeline_execution(&mut aws.service, now, id)
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        action_executions(&mut aws.service, now, self.page, (execution, page))
    }
}

pub fn pipeline_state(service: &mut Service, now: Timestamp) -> Result<PipelineState, CallError> {
    let input = api::GetPipelineStateInput { name: Some(PIPELINE.to_owned()) };
    let output = service.get_pipeline_state(now, &input).map_err(|exception| call_error(&exception))?;
    Ok(PipelineState { stages: output.stage_states.into_iter().map(stage).collect() })
}

pub fn pipeline_executions(
    service: &mut Service,
    now: Timestamp,
    size: i64,
    page: Option<String>,
) -> Result<Page<PipelineExecution>, CallError> {
    let (pipeline_name, max_results) = (Some(PIPELINE.to_owned()), Some(size));
    let input = api::ListPipelineExecutionsInput { pipeline_name, max_results, next_token: page };
    let output = service.list_pipeline_executions(now, &input).map_err(|exception| call_error(&exception))?;
    Ok(Page { items: output.pipeline_execution_summaries.into_iter().map(run).collect(), next: output.next_token })
}

pub fn pipeline_execution(service: &mut Service, now: Timestamp, id: &str) -> Result<PipelineExecution, CallError> {
    let (pipeline_name, pipeline_execution_id) = (Some(PIPELINE.to_owned()), Some(id.to_owned()));
    let input = api::GetPipelineExecutionInput { pipeline_name, pipeline_execution_id };
    let output = service.get_pipeline_execution(now, &input).map_err(|exception| call_error(&exception))?;
    Ok(PipelineExecution {
        id: id.to_owned(),
        status: status(output.pipeline_execution.status),
        started: None,
        updated: None,
        source_revisions: Vec::new(),
        mode: match output.pipeline_execution.execution_mode {
            model::ExecutionMode::Parallel => ExecutionMode::Parallel,
            model::ExecutionMode::Queued | model::ExecutionMode::Superseded => ExecutionMode::Serial,
        },
    })
}

pub fn action_executions(
    service: &mut Service,
    now: Timestamp,
    size: i64,
    (execution, page): (Option<&str>, Option<String>),
) -> Result<Page<ActionExecution>, CallError> {
    let filter = execution.map(|id| api::ActionExecutionFilter {
        pipeline_execution_id: Some(id.to_owned()),
        latest_in_pipeline_execution: None,
    });
    let (pipeline_name, max_results) = (Some(PIPELINE.to_owned()), Some(size));
    let input = api::ListActionExecutionsInput { pipeline_name, filter, max_results, next_token: page };
    let output = service.list_action_executions(now, &input).map_err(|exception| call_error(&exception))?;
    Ok(Page { items: output.action_execution_details.into_iter().map(entry).collect(), next: output.next_token })
}

fn stage(stage: api::StageState) -> StageState {
    StageState {
        name: stage.stage_name.to_string(),
        latest_execution: stage.latest_execution.map(|execution| StageExecution {
            pipeline_execution_id: execution.pipeline_execution_id.to_string(),
            status: format!("{:?}", execution.status),
        }),
        inbound_executions: stage
            .inbound_executions
            .into_iter()
            .map(|execution| execution.pipeline_execution_id.to_string())
            .collect(),
        actions: stage.action_states.into_iter().map(action).collect(),
    }
}

fn action(action: api::ActionState) -> ActionState {
    let latest_execution = action.latest_execution.map(|execution| LatestExecution {
        progress: progress(
            execution.status,
            execution.summary,
            execution.last_status_change.map(|time| time.0),
            execution.last_updated_by,
        ),
        action_execution_id: Some(execution.action_execution_id.to_string()),
        external_execution_id: None,
        token: execution.token.map(|token| Token(token.to_string())),
    });
    ActionState { name: action.action_name.to_string(), latest_execution }
}

fn run(run: api::PipelineExecutionSummary) -> PipelineExecution {
    PipelineExecution {
        id: run.pipeline_execution_id.to_string(),
        status: status(run.status),
        started: Some(run.start_time.0),
        updated: Some(run.last_update_time.0),
        source_revisions: revisions_of(run.source_revisions),
        mode: match run.execution_mode {
            model::ExecutionMode::Parallel => ExecutionMode::Parallel,
            model::ExecutionMode::Queued | model::ExecutionMode::Superseded => ExecutionMode::Serial,
        },
    }
}

pub fn status(status: api::ExecutionStatus) -> ExecutionStatus {
    match status {
        api::ExecutionStatus::InProgress => ExecutionStatus::InProgress,
        api::ExecutionStatus::Stopping => ExecutionStatus::Stopping,
        api::ExecutionStatus::Stopped => ExecutionStatus::Over(ExecutionEnd::Stopped),
        api::ExecutionStatus::Succeeded => ExecutionStatus::Over(ExecutionEnd::Succeeded),
        api::ExecutionStatus::Superseded => ExecutionStatus::Over(ExecutionEnd::Superseded),
        api::ExecutionStatus::Failed => ExecutionStatus::Over(ExecutionEnd::Failed),
    }
}

fn entry(entry: api::ActionExecutionDetail) -> ActionExecution {
    let result = entry.output.execution_result;
    let (summary, at) = (result.external_execution_summary, entry.last_update_time.0);
    ActionExecution {
        pipeline_execution_id: entry.pipeline_execution_id.to_string(),
        action_execution_id: entry.action_execution_id.to_string(),
        stage_name: entry.stage_name.to_string(),
        action_name: entry.action_name.to_string(),
        category: format!("{:?}", entry.input.action_type_id.category),
        external_execution_id: result.external_execution_id,
        started: Some(entry.start_time.0),
        progress: progress(entry.status, summary, Some(at), entry.updated_by),
    }
}

fn progress(
    status: ActionExecutionStatus,
    summary: Option<String>,
    at: Option<Timestamp>,
    by: Option<String>,
) -> ActionProgress {
    let status = match status {
        ActionExecutionStatus::InProgress => return ActionProgress::InProgress,
        ActionExecutionStatus::Succeeded => EndStatus::Succeeded,
        ActionExecutionStatus::Failed => EndStatus::Failed,
        ActionExecutionStatus::Abandoned => EndStatus::Abandoned,
    };
    ActionProgress::Over(Ending { status, summary, at, by })
}

/// What a reading of the record came to, for a diary.
pub fn in_short(record: &Result<Record, CallError>) -> String {
    match record {
        Ok(Record::Finished(finished)) => format!("finished, {:?} by {:?}", finished.result, finished.by),
        Ok(Record::Pending(_)) => "pending".to_owned(),
        Ok(Record::Lagging(_)) => "pending, says history".to_owned(),
        Ok(Record::Unseen) => "nothing".to_owned(),
        Ok(Record::PipelineNotFound(_)) => "no pipeline".to_owned(),
        Err(error) => format!("unreadable, {}", error.detail()),
    }
}
