//! GetPipelineState: the pipeline as it stands. Of each action it shows the newest execution without saying of which run,
//! so beside a stage whose newest run is still on its way to the action stands what the run before left there.

use jiff::Timestamp;

use super::{
    Category, Exception, ExecutionMode, Lags, Name, Service,
    pipeline::Pipeline,
    run::{ActionRun, How, Place, Run, RunEnd},
};
use crate::api::{
    ActionExecution, ActionExecutionStatus, ActionRevision, ActionState, ExecutionStatus, GetPipelineStateInput,
    GetPipelineStateOutput, StageExecution, StageState, TransitionState,
};

pub(super) const CANCELLED: &str = "The approval action has been canceled.";

impl Service {
    /// The pipeline's stages and actions as they stand, as far as the lags let it be seen.
    pub fn get_pipeline_state(
        &mut self,
        now: Timestamp,
        input: &GetPipelineStateInput,
    ) -> Result<GetPipelineStateOutput, Exception> {
        let name = input.read()?;
        let lags = self.behaviour.lags.clone();
        let pipeline = self.pipeline(name, now)?;
        let stages = pipeline.definition.stages.iter().enumerate();
        Ok(GetPipelineStateOutput {
            pipeline_name: pipeline.definition.name.clone(),
            pipeline_version: pipeline.version,
            stage_states: stages
                .map(|(index, stage)| {
                    let inbound = pipeline.inbound(index);
                    StageState {
                        stage_name: stage.name.clone(),
                        inbound_execution: inbound.last().cloned(),
                        inbound_executions: inbound,
                        inbound_transition_state: TransitionState { enabled: true },
                        latest_execution: pipeline.latest_in(&stage.name).map(|run| StageExecution {
                            pipeline_execution_id: run.id,
                            status: status_in_stage(run, &stage.name),
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
        let waiting = self.runs.iter().filter(|run| run.place == Place::Waiting(index));
        waiting
            .map(|run| StageExecution { pipeline_execution_id: run.id, status: ExecutionStatus::InProgress })
            .collect()
    }

    fn action_state(&self, stage: &str, action: &Name, now: Timestamp, lags: &Lags) -> ActionState {
        let holder = self.runs.iter().rev().find_map(|run| run.latest(stage, action).map(|attempt| (run, attempt)));
        ActionState {
            action_name: action.clone(),
            latest_execution: holder.and_then(|(run, attempt)| view(run, attempt, now, lags)),
            current_revision: holder.and_then(|(run, attempt)| {
                let is_source = attempt.definition.category == Category::Source;
                let revision = run.revisions.iter().find(|revision| is_source && revision.action_name == *action)?;
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

/// How a run that has been in the stage stands there.
fn status_in_stage(run: &Run, stage: &Name) -> ExecutionStatus {
    let (index, status) = match run.place {
        Place::In(index) if run.stop_reason.is_some() => (index, ExecutionStatus::Stopping),
        Place::In(index) => (index, ExecutionStatus::InProgress),
        Place::Ended(index, RunEnd::Failed) => (index, ExecutionStatus::Failed),
        Place::Ended(index, RunEnd::Stopped) => (index, ExecutionStatus::Stopped),
        Place::Waiting(_) | Place::Ended(_, RunEnd::Succeeded | RunEnd::Superseded) => {
            return ExecutionStatus::Succeeded;
        }
    };
    match run.definition.stages.get(index) {
        Some(current) if current.name == *stage => status,
        _ => ExecutionStatus::Succeeded,
    }
}

fn view(run: &Run, attempt: &ActionRun, now: Timestamp, lags: &Lags) -> Option<ActionExecution> {
    let mut view = ActionExecution {
        action_execution_id: attempt.id,
        status: ActionExecutionStatus::InProgress,
        summary: None,
        last_status_change: None,
        token: None,
        last_updated_by: None,
    };
    let Some(end) = &attempt.end else {
        match attempt.token {
            None => view.last_status_change = Some(attempt.started.into()),
            Some(_) if now.duration_since(attempt.started) < lags.token => return None,
            // The token of a run that meets no other is to be had from the history alone.
            Some(token) => view.token = Some(token).filter(|_| run.mode != ExecutionMode::Parallel),
        }
        return Some(view);
    };
    view.status = status_of(end.how);
    view.summary = match end.how {
        How::Cancelled => Some(CANCELLED.to_owned()),
        How::Succeeded | How::Failed | How::TimedOut | How::Abandoned => end.summary.clone(),
    };
    view.last_status_change = Some(end.at.into());
    view.last_updated_by.clone_from(&end.by);
    Some(view)
}

pub(super) fn status_of(how: How) -> ActionExecutionStatus {
    match how {
        How::Succeeded => ActionExecutionStatus::Succeeded,
        How::Failed | How::TimedOut | How::Cancelled => ActionExecutionStatus::Failed,
        How::Abandoned => ActionExecutionStatus::Abandoned,
    }
}
