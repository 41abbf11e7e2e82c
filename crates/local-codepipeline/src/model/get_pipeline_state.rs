//! GetPipelineState: the current state of a pipeline. It shows the newest attempt at each action without its pipeline
//! execution. So while the newest execution of a stage has not reached an action, the action shows an older execution.

use jiff::Timestamp;

use super::{
    Category, Exception, ExecutionMode, Lags, Name, Service,
    execution::{ActionAttempt, ActionOutcome, Execution, ExecutionOutcome, Position},
    pipeline::Pipeline,
};
use crate::api::{
    ActionExecution, ActionExecutionStatus, ActionRevision, ActionState, ExecutionStatus, GetPipelineStateInput,
    GetPipelineStateOutput, StageExecution, StageState, TransitionState,
};

pub(super) const CANCELLED: &str = "The approval action has been canceled.";

impl Service {
    /// Returns the state of a pipeline's stages and actions, as far as the lags allow.
    pub fn get_pipeline_state(
        &mut self,
        now: Timestamp,
        input: &GetPipelineStateInput,
    ) -> Result<GetPipelineStateOutput, Exception> {
        let name = input.validate()?;
        let lags = self.behaviour.lags.clone();
        let pipeline = self.pipeline(name, now)?;
        let stages = pipeline.definition.stages.iter().enumerate();
        Ok(GetPipelineStateOutput {
            pipeline_name: pipeline.definition.name.clone(),
            pipeline_version: pipeline.version,
            stage_states: stages
                .map(|(index, stage)| {
                    let inbound = pipeline.inbound(index);
                    let disabled_reason = pipeline.disabled_transitions.get(&stage.name).cloned();
                    StageState {
                        stage_name: stage.name.clone(),
                        inbound_execution: inbound.last().cloned(),
                        inbound_executions: inbound,
                        inbound_transition_state: TransitionState {
                            enabled: disabled_reason.is_none(),
                            disabled_reason,
                        },
                        latest_execution: pipeline.latest_execution_in(&stage.name).map(|execution| StageExecution {
                            pipeline_execution_id: execution.id,
                            status: status_in_stage(execution, &stage.name),
                        }),
                        action_states: stage
                            .actions
                            .iter()
                            .map(|action| pipeline.action_state(&stage.name, &action.name, now, &lags))
                            .collect(),
                    }
                })
                .collect(),
            created: pipeline.created.into(),
            updated: pipeline.updated.into(),
        })
    }
}

impl Pipeline {
    fn inbound(&self, index: usize) -> Vec<StageExecution> {
        let waiting = self.executions.iter().filter(|execution| execution.position == Position::Waiting(index));
        waiting
            .map(|execution| StageExecution {
                pipeline_execution_id: execution.id,
                status: ExecutionStatus::InProgress,
            })
            .collect()
    }

    fn action_state(&self, stage: &str, action: &Name, now: Timestamp, lags: &Lags) -> ActionState {
        let newest = self
            .executions
            .iter()
            .rev()
            .find_map(|execution| execution.latest_attempt(stage, action).map(|attempt| (execution, attempt)));
        ActionState {
            action_name: action.clone(),
            latest_execution: newest.and_then(|(execution, attempt)| latest_execution(execution, attempt, now, lags)),
            current_revision: newest.and_then(|(execution, attempt)| {
                let is_source = attempt.definition.category == Category::Source;
                let revision =
                    execution.revisions.iter().find(|revision| is_source && revision.action_name == *action)?;
                let end = attempt.end.as_ref()?;
                Some(ActionRevision {
                    revision_id: revision.revision_id.clone(),
                    revision_change_id: revision.revision_id.clone(),
                    created: end.at.into(),
                })
            }),
        }
    }
}

/// The status of an execution in a stage that it has entered.
fn status_in_stage(execution: &Execution, stage: &Name) -> ExecutionStatus {
    let (index, status) = match execution.position {
        Position::In(index) if execution.stop_reason.is_some() => (index, ExecutionStatus::Stopping),
        Position::In(index) => (index, ExecutionStatus::InProgress),
        Position::Ended(index, ExecutionOutcome::Failed) => (index, ExecutionStatus::Failed),
        Position::Ended(index, ExecutionOutcome::Stopped) => (index, ExecutionStatus::Stopped),
        Position::Waiting(_) | Position::Ended(_, ExecutionOutcome::Succeeded | ExecutionOutcome::Superseded) => {
            return ExecutionStatus::Succeeded;
        }
    };
    match execution.definition.stages.get(index) {
        Some(current) if current.name == *stage => status,
        _ => ExecutionStatus::Succeeded,
    }
}

fn latest_execution(
    execution: &Execution,
    attempt: &ActionAttempt,
    now: Timestamp,
    lags: &Lags,
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
            Some(_) if now.duration_since(attempt.started) < lags.token => return None,
            // In PARALLEL mode only the history has the token.
            Some(token) => shown.token = Some(token).filter(|_| execution.mode != ExecutionMode::Parallel),
        }
        return Some(shown);
    };
    shown.status = status_of(end.outcome);
    shown.summary = match end.outcome {
        ActionOutcome::Cancelled => Some(CANCELLED.to_owned()),
        ActionOutcome::Succeeded | ActionOutcome::Failed | ActionOutcome::TimedOut | ActionOutcome::Abandoned => {
            end.summary.clone()
        }
    };
    shown.last_status_change = Some(end.at.into());
    shown.last_updated_by.clone_from(&end.updated_by);
    Some(shown)
}

pub(super) fn status_of(outcome: ActionOutcome) -> ActionExecutionStatus {
    match outcome {
        ActionOutcome::Succeeded => ActionExecutionStatus::Succeeded,
        ActionOutcome::Failed | ActionOutcome::TimedOut | ActionOutcome::Cancelled => ActionExecutionStatus::Failed,
        ActionOutcome::Abandoned => ActionExecutionStatus::Abandoned,
    }
}
