//! ListActionExecutions, ListPipelineExecutions and GetPipelineExecution: the history, newest first. Unlike
//! GetPipelineState, it names the pipeline execution of each action execution, and it shows results with a longer lag.

use jiff::{SignedDuration, Timestamp};

use super::{
    Behaviour, Exception, ExecutionMode, Lags, PipelineExecutionId, Service,
    commands::execution_not_found,
    execution::{
        ActionAttempt, ActionEnd, ActionOutcome, Execution, ExecutionOutcome, Origin, Position, RollbackTrigger,
    },
    get_pipeline::action_type_id,
    get_pipeline_state::{status_of, summary_of},
    pagination::{Page, page},
    pipeline::Pipeline,
};
use crate::api::{
    ActionExecutionDetail, ActionExecutionInput, ActionExecutionOutput, ActionExecutionQuery, ActionExecutionResult,
    ActionExecutionStatus, ArtifactRevision, ExecutionStatus, ExecutionTrigger, ExecutionType,
    GetPipelineExecutionInput, GetPipelineExecutionOutput, ListActionExecutionsInput, ListActionExecutionsOutput,
    ListPipelineExecutionsInput, ListPipelineExecutionsOutput, PipelineExecution, PipelineExecutionSummary,
    PipelineRollbackMetadata, SourceRevisionOutput, StopExecutionTrigger, TriggerType,
};

impl Service {
    /// Lists the action executions of a pipeline or of one execution.
    pub fn list_action_executions(
        &mut self,
        now: Timestamp,
        input: &ListActionExecutionsInput,
    ) -> Result<ListActionExecutionsOutput, Exception> {
        let ActionExecutionQuery { pipeline, execution_id, newest_only, page: request } = input.validate()?;
        let behaviour = self.behaviour.clone();
        let lags = &behaviour.lags;
        let pipeline = self.pipeline(pipeline, now)?;
        let executions: Vec<&Execution> = match execution_id {
            Some(id) => vec![pipeline.visible_execution(id, now, lags)?],
            None => pipeline.executions.iter().collect(),
        };
        let mut attempts: Vec<(&Execution, &ActionAttempt)> = executions
            .into_iter()
            .flat_map(|execution| execution.attempts.iter().map(move |attempt| (execution, attempt)))
            .filter(|(_, attempt)| is_visible(attempt.started, lags.start, now))
            .filter(|(execution, attempt)| {
                let newest =
                    || execution.latest_attempt(&attempt.stage, &attempt.definition.name).map(|newest| newest.id);
                !newest_only || newest() == Some(attempt.id)
            })
            .collect();
        // The sort is stable: of attempts with the same start time, the later one comes first.
        attempts.reverse();
        attempts.sort_by_key(|(_, attempt)| std::cmp::Reverse(attempt.started));
        let query = format!("actions of {} {execution_id:?} {newest_only}", pipeline.definition.name);
        let key = |(_, attempt): &(&Execution, &ActionAttempt)| attempt.id.to_string();
        let Page { items, next_token } = page(attempts, &query, key, request)?;
        Ok(ListActionExecutionsOutput {
            action_execution_details: items
                .into_iter()
                .map(|(execution, attempt)| detail(execution, attempt, now, &behaviour))
                .collect(),
            next_token,
        })
    }

    /// Lists the executions of a pipeline.
    pub fn list_pipeline_executions(
        &mut self,
        now: Timestamp,
        input: &ListPipelineExecutionsInput,
    ) -> Result<ListPipelineExecutionsOutput, Exception> {
        let (name, request) = input.validate()?;
        let start_lag = self.behaviour.lags.start;
        let pipeline = self.pipeline(name, now)?;
        let executions: Vec<&Execution> = pipeline
            .executions
            .iter()
            .rev()
            .filter(|execution| is_visible(execution.started, start_lag, now))
            .collect();
        let query = format!("executions of {}", pipeline.definition.name);
        let Page { items, next_token } = page(executions, &query, |execution| execution.id.to_string(), request)?;
        Ok(ListPipelineExecutionsOutput {
            pipeline_execution_summaries: items.into_iter().map(summary).collect(),
            next_token,
        })
    }

    /// Describes one execution of a pipeline.
    pub fn get_pipeline_execution(
        &mut self,
        now: Timestamp,
        input: &GetPipelineExecutionInput,
    ) -> Result<GetPipelineExecutionOutput, Exception> {
        let (pipeline, execution_id) = input.validate()?;
        let lags = self.behaviour.lags.clone();
        let pipeline = self.pipeline(pipeline, now)?;
        let execution = pipeline.visible_execution(execution_id, now, &lags)?;
        let revisions = execution
            .visible_revisions()
            .map(|revision| ArtifactRevision { name: revision.action_name, revision_id: revision.revision_id });
        Ok(GetPipelineExecutionOutput {
            pipeline_execution: PipelineExecution {
                pipeline_name: pipeline.definition.name.clone(),
                pipeline_version: execution.version,
                pipeline_execution_id: execution.id,
                status: execution.status(),
                artifact_revisions: revisions.collect(),
                trigger: execution.trigger(),
                execution_mode: execution.mode,
                execution_type: execution.execution_type(),
                rollback_metadata: execution.rollback_metadata(),
            },
        })
    }
}

fn is_visible(event: Timestamp, lag: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(event) >= lag
}

impl Pipeline {
    fn visible_execution(&self, id: PipelineExecutionId, now: Timestamp, lags: &Lags) -> Result<&Execution, Exception> {
        let found = self.executions.iter().find(|execution| execution.id == id);
        let visible = found.filter(|execution| is_visible(execution.started, lags.start, now));
        visible.ok_or_else(|| execution_not_found(&self.definition.name, id))
    }
}

impl Execution {
    fn status(&self) -> ExecutionStatus {
        match self.position {
            Position::Ended(_, ExecutionOutcome::Succeeded) => ExecutionStatus::Succeeded,
            Position::Ended(_, ExecutionOutcome::Failed) => ExecutionStatus::Failed,
            Position::Ended(_, ExecutionOutcome::Stopped) => ExecutionStatus::Stopped,
            Position::Ended(_, ExecutionOutcome::Superseded) => ExecutionStatus::Superseded,
            Position::Waiting(_) | Position::In(_) if self.stop_reason.is_some() => ExecutionStatus::Stopping,
            Position::Waiting(_) | Position::In(_) => ExecutionStatus::InProgress,
        }
    }

    fn trigger(&self) -> ExecutionTrigger {
        let trigger_type = match self.origin {
            Origin::Start => TriggerType::StartPipelineExecution,
            Origin::Rollback { trigger: RollbackTrigger::Manual, .. } => TriggerType::ManualRollback,
            Origin::Rollback { trigger: RollbackTrigger::Automatic, .. } => TriggerType::AutomatedRollback,
        };
        ExecutionTrigger { trigger_type }
    }

    pub(super) fn execution_type(&self) -> ExecutionType {
        match self.origin {
            Origin::Start => ExecutionType::Standard,
            Origin::Rollback { .. } => ExecutionType::Rollback,
        }
    }

    fn rollback_metadata(&self) -> Option<PipelineRollbackMetadata> {
        match self.origin {
            Origin::Start => None,
            Origin::Rollback { target, .. } => {
                Some(PipelineRollbackMetadata { rollback_target_pipeline_execution_id: target })
            }
        }
    }

    /// A revision is visible once its source action has succeeded. A rollback has no source actions.
    fn visible_revisions(&self) -> impl Iterator<Item = SourceRevisionOutput> {
        let is_rollback = matches!(self.origin, Origin::Rollback { .. });
        let visible = self.revisions.iter().filter(move |revision| {
            let attempts = self.attempts.iter().filter(|attempt| attempt.definition.name == revision.action_name);
            attempts.filter_map(|attempt| attempt.end.as_ref()).any(|end| end.outcome == ActionOutcome::Succeeded)
                || is_rollback
        });
        visible.map(|revision| SourceRevisionOutput {
            action_name: revision.action_name.clone(),
            revision_id: revision.revision_id.clone(),
        })
    }
}

fn summary(execution: &Execution) -> PipelineExecutionSummary {
    PipelineExecutionSummary {
        pipeline_execution_id: execution.id,
        status: execution.status(),
        start_time: execution.started.into(),
        last_update_time: execution.updated.into(),
        source_revisions: execution.visible_revisions().collect(),
        trigger: execution.trigger(),
        stop_trigger: execution.stop_reason.clone().map(|reason| StopExecutionTrigger { reason }),
        execution_mode: execution.mode,
        execution_type: execution.execution_type(),
        rollback_metadata: execution.rollback_metadata(),
    }
}

fn detail(
    execution: &Execution,
    attempt: &ActionAttempt,
    now: Timestamp,
    behaviour: &Behaviour,
) -> ActionExecutionDetail {
    let lags = &behaviour.lags;
    let lag = |end: &ActionEnd| match (attempt.token, end.outcome) {
        (None, _) => SignedDuration::ZERO,
        (Some(_), ActionOutcome::Cancelled) => lags.cancellation,
        (
            Some(_),
            ActionOutcome::Succeeded | ActionOutcome::Failed | ActionOutcome::TimedOut | ActionOutcome::Abandoned,
        ) => lags.decision,
    };
    let end = attempt.end.as_ref().filter(|end| is_visible(end.at, lag(end), now));
    let pending_in_parallel = execution.mode == ExecutionMode::Parallel && is_visible(attempt.started, lags.token, now);
    let token = attempt.token.filter(|_| end.is_some() || pending_in_parallel);
    let summary = end.and_then(|end| summary_of(end, behaviour));
    ActionExecutionDetail {
        pipeline_execution_id: execution.id,
        action_execution_id: attempt.id,
        pipeline_version: execution.version,
        stage_name: attempt.stage.clone(),
        action_name: attempt.definition.name.clone(),
        start_time: attempt.started.into(),
        last_update_time: end.map_or(attempt.started, |end| end.at).into(),
        updated_by: end.and_then(|end| end.updated_by.clone()),
        status: end.map_or(ActionExecutionStatus::InProgress, |end| status_of(end.outcome)),
        input: ActionExecutionInput {
            action_type_id: action_type_id(attempt.definition.category),
            configuration: attempt.definition.configuration.clone(),
        },
        output: ActionExecutionOutput {
            execution_result: ActionExecutionResult {
                external_execution_id: token.map(|token| token.to_string()),
                external_execution_summary: summary,
            },
        },
    }
}
