//! The read operations of CodePipeline, converted to the types of [`super::pipeline`]. The client limits their rate to
//! `--aws-requests-per-second`; submissions are not limited.

use super::client::{Client, timestamp};
use super::error::CallError;
use super::operation::Operation;
use super::pipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ActionState, CompletionStatus, DisabledTransition, ExecutionEnd,
    ExecutionMode, ExecutionRevision, ExecutionStatus, ExecutionType, LatestExecution, Page, PipelineExecution,
    PipelineState, StageExecution, StageState,
};
use super::rate_limiter::WaitTime;
use crate::api::v1alpha1::Token;
use aws_sdk_codepipeline::types;
use jiff::Timestamp;
use std::time::Duration;
use types::{ActionExecutionStatus, PipelineExecutionStatus};

/// The largest page that CodePipeline returns.
const PAGE_SIZE: i32 = 100;

/// The read operations about one pipeline. The simulation implements them with a CodePipeline in memory.
pub trait PipelineReader: Send + Sync {
    /// The current state of each stage and action.
    fn pipeline_state(&self) -> impl Future<Output = Result<PipelineState, CallError>> + Send;

    /// A page of the pipeline's executions.
    fn pipeline_executions(
        &self,
        page: Option<String>,
    ) -> impl Future<Output = Result<Page<PipelineExecution>, CallError>> + Send;

    /// One execution, without its times and revisions.
    fn pipeline_execution(&self, id: &str) -> impl Future<Output = Result<PipelineExecution, CallError>> + Send;

    /// A page of the history of its actions, or of those of one execution.
    fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> impl Future<Output = Result<Page<ActionExecution>, CallError>> + Send;
}

/// The read operations about one pipeline, as calls to AWS.
#[derive(Debug)]
pub struct AwsPipelineReader<'a> {
    client: &'a Client,
    pipeline: &'a str,
    waited: WaitTime,
}

impl<'a> AwsPipelineReader<'a> {
    /// A reader of the pipeline with this name.
    #[must_use]
    pub fn new(client: &'a Client, pipeline: &'a str) -> Self {
        Self { client, pipeline, waited: WaitTime::default() }
    }

    /// How long its calls waited for the rate limiter.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited.total()
    }
}

impl PipelineReader for AwsPipelineReader<'_> {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let output = self
            .client
            .read(Operation::GetPipelineState, &self.waited, |client, guard| {
                client.get_pipeline_state().name(self.pipeline).customize().interceptor(guard).send()
            })
            .await?;
        Ok(PipelineState { stages: output.stage_states.unwrap_or_default().into_iter().filter_map(stage).collect() })
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        let output = self
            .client
            .read(Operation::ListPipelineExecutions, &self.waited, |client, guard| {
                client
                    .list_pipeline_executions()
                    .pipeline_name(self.pipeline)
                    .max_results(PAGE_SIZE)
                    .set_next_token(page)
                    .customize()
                    .interceptor(guard)
                    .send()
            })
            .await?;
        let executions = output.pipeline_execution_summaries.unwrap_or_default();
        Ok(Page { items: executions.into_iter().filter_map(execution).collect(), next: output.next_token })
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        let output = self
            .client
            .read(Operation::GetPipelineExecution, &self.waited, |client, guard| {
                let request = client.get_pipeline_execution().pipeline_name(self.pipeline).pipeline_execution_id(id);
                request.customize().interceptor(guard).send()
            })
            .await?;
        let found = output.pipeline_execution;
        Ok(PipelineExecution {
            id: id.to_owned(),
            status: execution_status(found.as_ref().and_then(|found| found.status.as_ref())),
            started_at: None,
            updated_at: None,
            source_revisions: Vec::new(),
            execution_type: execution_type(found.as_ref().and_then(|found| found.execution_type.as_ref())),
            mode: execution_mode(found.as_ref().and_then(|found| found.execution_mode.as_ref())),
        })
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let filter = execution.map(|id| types::ActionExecutionFilter::builder().pipeline_execution_id(id).build());
        let output = self
            .client
            .read(Operation::ListActionExecutions, &self.waited, |client, guard| {
                client
                    .list_action_executions()
                    .pipeline_name(self.pipeline)
                    .set_filter(filter)
                    .max_results(PAGE_SIZE)
                    .set_next_token(page)
                    .customize()
                    .interceptor(guard)
                    .send()
            })
            .await?;
        let executions = output.action_execution_details.unwrap_or_default();
        Ok(Page { items: executions.into_iter().filter_map(action_execution).collect(), next: output.next_token })
    }
}

fn stage(stage: types::StageState) -> Option<StageState> {
    let inbound = stage.inbound_executions.unwrap_or_default();
    let transition = stage.inbound_transition_state;
    Some(StageState {
        name: stage.stage_name?,
        latest_execution: stage.latest_execution.map(|execution| StageExecution {
            pipeline_execution_id: execution.pipeline_execution_id,
            status: execution.status.as_str().to_owned(),
        }),
        inbound_executions: inbound.into_iter().map(|execution| execution.pipeline_execution_id).collect(),
        disabled_transition: transition
            .filter(|transition| !transition.enabled)
            .map(|transition| DisabledTransition { reason: transition.disabled_reason }),
        actions: stage.action_states.unwrap_or_default().into_iter().filter_map(action).collect(),
    })
}

fn action(action: types::ActionState) -> Option<ActionState> {
    let latest_execution = action.latest_execution.map(|execution| LatestExecution {
        progress: progress(
            execution.status.as_ref(),
            execution.summary,
            execution.last_status_change.as_ref().and_then(timestamp),
            execution.last_updated_by,
        ),
        action_execution_id: execution.action_execution_id,
        external_execution_id: execution.external_execution_id,
        token: execution.token.and_then(Token::new),
    });
    Some(ActionState { name: action.action_name?, latest_execution })
}

fn execution(execution: types::PipelineExecutionSummary) -> Option<PipelineExecution> {
    let revisions = execution.source_revisions.unwrap_or_default().into_iter();
    Some(PipelineExecution {
        id: execution.pipeline_execution_id?,
        status: execution_status(execution.status.as_ref()),
        started_at: execution.start_time.as_ref().and_then(timestamp),
        updated_at: execution.last_update_time.as_ref().and_then(timestamp),
        source_revisions: revisions
            .map(|found| ExecutionRevision { action_name: found.action_name, revision_id: found.revision_id })
            .collect(),
        execution_type: execution_type(execution.execution_type.as_ref()),
        mode: execution_mode(execution.execution_mode.as_ref()),
    })
}

fn execution_status(status: Option<&PipelineExecutionStatus>) -> ExecutionStatus {
    match status {
        Some(PipelineExecutionStatus::Succeeded) => ExecutionStatus::Ended(ExecutionEnd::Succeeded),
        Some(PipelineExecutionStatus::Failed) => ExecutionStatus::Ended(ExecutionEnd::Failed),
        Some(PipelineExecutionStatus::Stopped) => ExecutionStatus::Ended(ExecutionEnd::Stopped),
        Some(PipelineExecutionStatus::Superseded) => ExecutionStatus::Ended(ExecutionEnd::Superseded),
        Some(PipelineExecutionStatus::Cancelled) => ExecutionStatus::Ended(ExecutionEnd::Cancelled),
        Some(PipelineExecutionStatus::Stopping) => ExecutionStatus::Stopping,
        Some(_) | None => ExecutionStatus::InProgress,
    }
}

fn execution_type(kind: Option<&types::ExecutionType>) -> ExecutionType {
    match kind {
        Some(types::ExecutionType::Standard) | None => ExecutionType::Standard,
        Some(_) => ExecutionType::Rollback,
    }
}

fn execution_mode(mode: Option<&types::ExecutionMode>) -> ExecutionMode {
    match mode {
        Some(types::ExecutionMode::Parallel) => ExecutionMode::Parallel,
        Some(_) | None => ExecutionMode::Serial,
    }
}

fn action_execution(execution: types::ActionExecutionDetail) -> Option<ActionExecution> {
    let result = execution.output.and_then(|output| output.execution_result);
    let (external_execution_id, summary) =
        result.map(|result| (result.external_execution_id, result.external_execution_summary)).unwrap_or_default();
    let kind = execution.input.and_then(|input| input.action_type_id);
    Some(ActionExecution {
        pipeline_execution_id: execution.pipeline_execution_id?,
        action_execution_id: execution.action_execution_id?,
        stage_name: execution.stage_name?,
        action_name: execution.action_name?,
        category: kind.map(|kind| kind.category.as_str().to_owned()).unwrap_or_default(),
        external_execution_id,
        started_at: execution.start_time.as_ref().and_then(timestamp),
        progress: progress(
            execution.status.as_ref(),
            summary,
            execution.last_update_time.as_ref().and_then(timestamp),
            execution.updated_by,
        ),
    })
}

fn progress(
    status: Option<&ActionExecutionStatus>,
    summary: Option<String>,
    at: Option<Timestamp>,
    by: Option<String>,
) -> ActionProgress {
    let status = match status {
        Some(ActionExecutionStatus::Succeeded) => CompletionStatus::Succeeded,
        Some(ActionExecutionStatus::Failed) => CompletionStatus::Failed,
        Some(ActionExecutionStatus::Abandoned) => CompletionStatus::Abandoned,
        Some(_) | None => return ActionProgress::InProgress,
    };
    ActionProgress::Completed(ActionCompletion { status, summary, at, by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_every_source_revision_with_or_without_an_id_and_its_type() {
        let source = |action: &str, id: Option<&str>| {
            let revision = types::SourceRevision::builder().action_name(action).set_revision_id(id.map(str::to_owned));
            revision.build().expect("a revision")
        };
        let revisions = [source("App", Some("a")), source("Config", None)];
        let found = |kind: Option<&str>| {
            let summary = types::PipelineExecutionSummary::builder().pipeline_execution_id("execution");
            let summary = summary.set_execution_type(kind.map(types::ExecutionType::from));
            execution(summary.set_source_revisions(Some(revisions.to_vec())).build()).expect("an execution")
        };
        let expected = [("App", Some("a")), ("Config", None)].map(|(action, id)| ExecutionRevision {
            action_name: action.to_owned(),
            revision_id: id.map(str::to_owned),
        });
        for (kind, execution_type) in [
            (None, ExecutionType::Standard),
            (Some("STANDARD"), ExecutionType::Standard),
            (Some("ROLLBACK"), ExecutionType::Rollback),
            (Some("REPLAY"), ExecutionType::Rollback),
        ] {
            let execution = found(kind);
            assert_eq!((execution.source_revisions, execution.execution_type), (expected.to_vec(), execution_type));
        }
    }
}
