//! GetPipelineState: the current state of a pipeline. It shows the newest attempt at each action without its pipeline
//! execution. So while the newest execution of a stage has not reached an action, the action shows an older execution.

use jiff::Timestamp;

use super::{
    Behaviour, Category, Exception, ExecutionMode, Name, ParallelState, Service, StageDefinition,
    execution::{
        ActionAttempt, ActionEnd, ActionOutcome, EntryOutcome, Execution, ExecutionOutcome, Position, StageRetries,
    },
    pipeline::Pipeline,
};
use crate::api::{
    ActionExecution, ActionExecutionStatus, ActionRevision, ActionState, ConditionExecutionStatus,
    GetPipelineStateInput, GetPipelineStateOutput, RetryStageMetadata, StageConditionState, StageConditionsExecution,
    StageExecution, StageExecutionStatus, StageState, TransitionState,
};

const CANCELLED: &str = "The approval action has been canceled.";

impl Service {
    /// Returns the state of a pipeline's stages and actions, as far as the lags allow.
    pub fn get_pipeline_state(
        &mut self,
        now: Timestamp,
        input: &GetPipelineStateInput,
    ) -> Result<GetPipelineStateOutput, Exception> {
        let name = input.validate()?;
        let behaviour = self.behaviour.clone();
        let pipeline = self.pipeline(name, now)?;
        match (pipeline.definition.execution_mode, behaviour.parallel_state) {
            (ExecutionMode::Parallel, ParallelState::Stale) => Ok(pipeline.outdated().state(now, &behaviour)),
            (ExecutionMode::Parallel, ParallelState::Empty) => {
                Ok(GetPipelineStateOutput { stage_states: Vec::new(), ..pipeline.state(now, &behaviour) })
            }
            (ExecutionMode::Parallel, ParallelState::WithoutTokens)
            | (ExecutionMode::Superseded | ExecutionMode::Queued, _) => Ok(pipeline.state(now, &behaviour)),
        }
    }
}

impl Pipeline {
    fn state(&self, now: Timestamp, behaviour: &Behaviour) -> GetPipelineStateOutput {
        let stages = self.definition.stages.iter().enumerate();
        GetPipelineStateOutput {
            pipeline_name: self.definition.name.clone(),
            pipeline_version: self.version,
            stage_states: stages.map(|(index, stage)| self.stage_state(index, stage, now, behaviour)).collect(),
            created: self.created.into(),
            updated: self.updated.into(),
        }
    }

    fn stage_state(&self, index: usize, stage: &StageDefinition, now: Timestamp, behaviour: &Behaviour) -> StageState {
        let inbound = self.inbound(index);
        let latest = self.latest_execution_in(&stage.name);
        let disabled_reason = self.disabled_transitions.get(&stage.name).cloned();
        let actions = stage.actions.iter();
        StageState {
            stage_name: stage.name.clone(),
            inbound_execution: inbound.last().cloned(),
            inbound_executions: inbound,
            inbound_transition_state: TransitionState { enabled: disabled_reason.is_none(), disabled_reason },
            latest_execution: latest.map(|execution| StageExecution {
                pipeline_execution_id: execution.id,
                status: status_in_stage(execution, &stage.name),
                r#type: execution.execution_type(),
            }),
            action_states: actions.map(|action| self.action_state(&stage.name, &action.name, now, behaviour)).collect(),
            before_entry_condition_state: latest
                .and_then(|execution| execution.entries.get(&stage.name))
                .map(|outcome| entry_condition_state(*outcome)),
            retry_stage_metadata: latest
                .and_then(|execution| execution.retries.get(&stage.name))
                .map(retry_stage_metadata),
        }
    }

    fn inbound(&self, index: usize) -> Vec<StageExecution> {
        let waiting = self.executions.iter().filter(|execution| execution.position == Position::Waiting(index));
        waiting
            .map(|execution| StageExecution {
                pipeline_execution_id: execution.id,
                status: StageExecutionStatus::InProgress,
                r#type: execution.execution_type(),
            })
            .collect()
    }

    fn action_state(&self, stage: &str, action: &Name, now: Timestamp, behaviour: &Behaviour) -> ActionState {
        let newest = self
            .executions
            .iter()
            .rev()
            .find_map(|execution| execution.latest_attempt(stage, action).map(|attempt| (execution, attempt)));
        ActionState {
            action_name: action.clone(),
            latest_execution: newest
                .and_then(|(execution, attempt)| latest_execution(execution, attempt, now, behaviour)),
            current_revision: newest.and_then(|(execution, attempt)| {
                let is_source = attempt.definition.category == Category::Source;
                let revision =
                    execution.revisions.iter().find(|revision| is_source && revision.action_name == *action)?;
                let end = attempt.end.as_ref()?;
                let revision_id = revision.revision_id.clone()?;
                Some(ActionRevision { revision_change_id: revision_id.clone(), revision_id, created: end.at.into() })
            }),
        }
    }
}

/// Assumed: the counts are those of the newest execution in the stage, and absent where it was never retried.
fn retry_stage_metadata(retries: &StageRetries) -> RetryStageMetadata {
    // AWS's API model has no count of 0.
    let shown = |count: u32| Some(count).filter(|count| *count > 0);
    RetryStageMetadata {
        auto_stage_retry_attempt: shown(retries.automatic),
        manual_stage_retry_attempt: shown(retries.manual),
        latest_retry_trigger: retries.latest,
    }
}

fn entry_condition_state(outcome: EntryOutcome) -> StageConditionState {
    let status = match outcome {
        EntryOutcome::Skipped | EntryOutcome::Failed => ConditionExecutionStatus::Failed,
        EntryOutcome::Overridden => ConditionExecutionStatus::Overridden,
    };
    StageConditionState { latest_execution: StageConditionsExecution { status } }
}

/// The status of an execution in a stage that it has reached.
fn status_in_stage(execution: &Execution, stage: &Name) -> StageExecutionStatus {
    if execution.entries.get(stage) == Some(&EntryOutcome::Skipped) {
        return StageExecutionStatus::Skipped;
    }
    let (index, status) = match execution.position {
        Position::In(index) if execution.stop_reason.is_some() => (index, StageExecutionStatus::Stopping),
        Position::In(index) => (index, StageExecutionStatus::InProgress),
        Position::Ended(index, ExecutionOutcome::Failed) => (index, StageExecutionStatus::Failed),
        Position::Ended(index, ExecutionOutcome::Stopped) => (index, StageExecutionStatus::Stopped),
        Position::Waiting(_) | Position::Ended(_, ExecutionOutcome::Succeeded | ExecutionOutcome::Superseded) => {
            return StageExecutionStatus::Succeeded;
        }
    };
    match execution.definition.stages.get(index) {
        Some(current) if current.name == *stage => status,
        _ => StageExecutionStatus::Succeeded,
    }
}

fn latest_execution(
    execution: &Execution,
    attempt: &ActionAttempt,
    now: Timestamp,
    behaviour: &Behaviour,
) -> Option<ActionExecution> {
    let mut shown = ActionExecution {
        action_execution_id: attempt.id,
        status: ActionExecutionStatus::InProgress,
        summary: None,
        last_status_change: None,
        token: None,
        last_updated_by: None,
    };
    let Some(end) = &attempt.end else {
        match attempt.token {
            None => shown.last_status_change = Some(attempt.started.into()),
            Some(_) if now.duration_since(attempt.started) < behaviour.lags.token => return None,
            // In PARALLEL mode only the history has the token.
            Some(token) => shown.token = Some(token).filter(|_| execution.mode != ExecutionMode::Parallel),
        }
        return Some(shown);
    };
    shown.status = status_of(end.outcome);
    shown.summary = summary_of(end, behaviour);
    shown.last_status_change = Some(end.at.into());
    shown.last_updated_by.clone_from(&end.updated_by);
    Some(shown)
}

/// The summary of an action that has ended.
pub(super) fn summary_of(end: &ActionEnd, behaviour: &Behaviour) -> Option<String> {
    match end.outcome {
        ActionOutcome::Cancelled => Some(CANCELLED.to_owned()),
        ActionOutcome::TimedOut => behaviour.timeout_summary.clone(),
        ActionOutcome::Succeeded | ActionOutcome::Failed | ActionOutcome::Abandoned => end.summary.clone(),
    }
}

pub(super) fn status_of(outcome: ActionOutcome) -> ActionExecutionStatus {
    match outcome {
        ActionOutcome::Succeeded => ActionExecutionStatus::Succeeded,
        ActionOutcome::Failed | ActionOutcome::TimedOut | ActionOutcome::Cancelled => ActionExecutionStatus::Failed,
        ActionOutcome::Abandoned => ActionExecutionStatus::Abandoned,
    }
}
