//! What the operator reads of the model, page by page and call by call. Time passes and the pipeline changes between calls, and
//! calls fail.

use super::PollPlan;
use super::aws::{Aws, PIPELINE};
use crate::fixtures;
use approval_operator::api::v1alpha1::{Exception, Token};
use approval_operator::codepipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ActionState, CallError, CompletionStatus, DisabledTransition,
    ExecutionEnd, ExecutionMode, ExecutionRevision, ExecutionStatus, ExecutionType, LatestExecution, Page,
    PipelineExecution, PipelineReader, PipelineState, Refusal, RetryCause, StageExecution, StageState,
};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{self, ActionExecutionStatus};
use local_codepipeline::model::{self, ExceptionKind, Service};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a poll sees an execution. A mutant sees some of them wrongly.
pub type ShownExecution = fn(PipelineExecution) -> PipelineExecution;

/// The calls of one poll.
pub struct Calls<'a> {
    aws: &'a Mutex<Aws>,
    plan: PollPlan,
    page_size: i64,
    /// Whether it is a pipeline that exists.
    pub exists: bool,
    /// The execution whose history cannot be read.
    pub unreadable: Option<String>,
    pub shown: ShownExecution,
    made: Mutex<usize>,
}

impl<'a> Calls<'a> {
    pub fn new(aws: &'a Mutex<Aws>, page_size: i64, plan: PollPlan) -> Self {
        Self { aws, plan, page_size, exists: true, unreadable: None, shown: |execution| execution, made: Mutex::new(0) }
    }

    /// Makes a call, and returns CodePipeline as it is when the call arrives there.
    fn call(&self) -> Result<MutexGuard<'_, Aws>, CallError> {
        let mut aws = self.aws.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        aws.advance(SignedDuration::from_millis(self.plan.call_milliseconds));
        if let Some((_, change)) = self.plan.change.as_ref().filter(|(call, _)| *call == *made) {
            aws.note("during the poll:");
            aws.apply(change);
        }
        *made += 1;
        match self.plan.failing_call {
            Some(call) if call + 1 == *made && call % 2 == 0 => Err(fixtures::not_applied(RetryCause::Throttled)),
            Some(call) if call + 1 == *made => Err(fixtures::indeterminate()),
            Some(_) | None if !self.exists => Err(no_pipeline()),
            Some(_) | None => Ok(aws),
        }
    }
}

/// The error that the client returns for an exception.
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
        None => CallError::NotApplied { cause: RetryCause::ServiceUnavailable, exception: Some(exception), detail },
    }
}

/// The error for a pipeline that does not exist.
pub fn no_pipeline() -> CallError {
    call_error(&model::Exception::new(ExceptionKind::PipelineNotFound, "no such pipeline"))
}

impl PipelineReader for Calls<'_> {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        pipeline_state(&mut aws.service, now)
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        let mut page = pipeline_executions(&mut aws.service, now, self.page_size, page)?;
        page.items = page.items.into_iter().map(self.shown).collect();
        Ok(page)
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        pipeline_execution(&mut aws.service, now, id).map(self.shown)
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let mut aws = self.call()?;
        let now = aws.now;
        if self.unreadable.is_some() && execution == self.unreadable.as_deref() {
            return Err(fixtures::indeterminate());
        }
        action_executions(&mut aws.service, now, self.page_size, (execution, page))
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
    Ok(Page {
        items: output.pipeline_execution_summaries.into_iter().map(self::execution).collect(),
        next: output.next_token,
    })
}

pub fn pipeline_execution(service: &mut Service, now: Timestamp, id: &str) -> Result<PipelineExecution, CallError> {
    let (pipeline_name, pipeline_execution_id) = (Some(PIPELINE.to_owned()), Some(id.to_owned()));
    let input = api::GetPipelineExecutionInput { pipeline_name, pipeline_execution_id };
    let output = service.get_pipeline_execution(now, &input).map_err(|exception| call_error(&exception))?;
    Ok(PipelineExecution {
        id: id.to_owned(),
        status: status(output.pipeline_execution.status),
        started_at: None,
        updated_at: None,
        source_revisions: Vec::new(),
        execution_type: execution_type(output.pipeline_execution.execution_type),
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
        disabled_transition: (!stage.inbound_transition_state.enabled)
            .then_some(DisabledTransition { reason: stage.inbound_transition_state.disabled_reason }),
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

fn execution(execution: api::PipelineExecutionSummary) -> PipelineExecution {
    PipelineExecution {
        id: execution.pipeline_execution_id.to_string(),
        status: status(execution.status),
        started_at: Some(execution.start_time.0),
        updated_at: Some(execution.last_update_time.0),
        source_revisions: execution
            .source_revisions
            .into_iter()
            .map(|found| ExecutionRevision {
                action_name: found.action_name.to_string(),
                revision_id: found.revision_id,
            })
            .collect(),
        execution_type: execution_type(execution.execution_type),
        mode: match execution.execution_mode {
            model::ExecutionMode::Parallel => ExecutionMode::Parallel,
            model::ExecutionMode::Queued | model::ExecutionMode::Superseded => ExecutionMode::Serial,
        },
    }
}

const fn execution_type(found: api::ExecutionType) -> ExecutionType {
    match found {
        api::ExecutionType::Standard => ExecutionType::Standard,
        api::ExecutionType::Rollback => ExecutionType::Rollback,
    }
}

pub const fn status(status: api::ExecutionStatus) -> ExecutionStatus {
    match status {
        api::ExecutionStatus::InProgress => ExecutionStatus::InProgress,
        api::ExecutionStatus::Stopping => ExecutionStatus::Stopping,
        api::ExecutionStatus::Stopped => ExecutionStatus::Ended(ExecutionEnd::Stopped),
        api::ExecutionStatus::Succeeded => ExecutionStatus::Ended(ExecutionEnd::Succeeded),
        api::ExecutionStatus::Superseded => ExecutionStatus::Ended(ExecutionEnd::Superseded),
        api::ExecutionStatus::Failed => ExecutionStatus::Ended(ExecutionEnd::Failed),
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
        started_at: Some(entry.start_time.0),
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
        ActionExecutionStatus::Succeeded => CompletionStatus::Succeeded,
        ActionExecutionStatus::Failed => CompletionStatus::Failed,
        ActionExecutionStatus::Abandoned => CompletionStatus::Abandoned,
    };
    ActionProgress::Completed(ActionCompletion { status, summary, at, by })
}
