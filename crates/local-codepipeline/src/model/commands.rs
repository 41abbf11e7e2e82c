//! The commands that change pipelines and executions: create, edit and delete a pipeline; start, stop and retry an
//! execution; complete an action. They come from tests, the seed file or the control routes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Category, Exception, ExceptionKind, ExecutionMode, Name, PipelineDefinition, PipelineExecutionId, Service,
    SourceRevision,
    execution::{ActionOutcome, Execution, ExecutionOutcome, Position},
    pipeline::Pipeline,
};

/// Which actions of a stage a retry repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryMode {
    /// The actions that did not succeed.
    #[default]
    FailedActions,
    /// All actions.
    AllActions,
}

/// What happens to running actions when their execution is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopMode {
    /// They complete first; an approval stays pending.
    #[default]
    Wait,
    /// They are abandoned.
    Abandon,
}

impl Service {
    /// Creates or edits a pipeline. An edit cancels pending approvals even if nothing changes.
    pub fn put_pipeline(&mut self, now: Timestamp, definition: PipelineDefinition) -> Result<(), Exception> {
        definition.check()?;
        match self.pipelines.get_mut(&definition.name) {
            None => {
                self.pipelines.insert(definition.name.clone(), Pipeline::new(definition, now));
            }
            Some(pipeline) => {
                pipeline.advance_to(now, self.behaviour.tokens, &mut self.ids);
                pipeline.edit(definition, now);
                pipeline.advance_to(now, self.behaviour.tokens, &mut self.ids);
            }
        }
        Ok(())
    }

    /// Saves the pipeline without changes, which counts as an edit.
    pub fn edit_pipeline(&mut self, now: Timestamp, pipeline: &str) -> Result<(), Exception> {
        let definition = PipelineDefinition::clone(&self.pipeline(pipeline, now)?.definition);
        self.put_pipeline(now, definition)
    }

    /// Deletes the pipeline with its history.
    pub fn delete_pipeline(&mut self, now: Timestamp, pipeline: &str) -> Result<(), Exception> {
        self.pipeline(pipeline, now)?;
        self.pipelines.remove(pipeline);
        Ok(())
    }

    /// Starts an execution. A source action without a given revision gets a generated one.
    pub fn start_execution(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        revisions: &[SourceRevision],
    ) -> Result<PipelineExecutionId, Exception> {
        let (found, ids) = self.pipeline_and_ids(pipeline, now)?;
        let stages = &found.definition.stages;
        let sources = || stages.iter().flat_map(|stage| &stage.actions).filter(|a| a.category == Category::Source);
        if let Some(stray) = revisions.iter().find(|given| sources().all(|source| source.name != given.action_name)) {
            let message = format!("Source action does not exist: {}", stray.action_name);
            return Err(Exception::new(ExceptionKind::Validation, message));
        }
        let id = ids.pipeline_execution();
        let revisions = sources()
            .map(|source| match revisions.iter().find(|given| given.action_name == source.name) {
                Some(given) => given.clone(),
                None => SourceRevision { action_name: source.name.clone(), revision_id: ids.revision() },
            })
            .collect();
        found.executions.push(Execution {
            id,
            mode: found.definition.execution_mode,
            version: found.version,
            definition: Arc::clone(&found.definition),
            revisions,
            started: now,
            updated: now,
            position: Position::Waiting(0),
            stop_reason: None,
            attempts: Vec::new(),
        });
        self.pipeline(pipeline, now)?;
        Ok(id)
    }

    /// Completes a running action that is not an approval.
    pub fn complete_action(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution_id: PipelineExecutionId,
        (stage, action): (&str, &str),
        succeeded: bool,
    ) -> Result<(), Exception> {
        self.change_execution(now, pipeline, execution_id, |_, execution| {
            let found =
                execution.running_attempts().find(|attempt| attempt.is_of(stage, action) && attempt.token.is_none());
            let Some(attempt) = found else {
                let message = format!("Action '{action}' in stage '{stage}' is not running in {execution_id}");
                return Err(Exception::new(ExceptionKind::ActionNotFound, message));
            };
            attempt.finish(now, if succeeded { ActionOutcome::Succeeded } else { ActionOutcome::Failed });
            Ok(())
        })
    }

    /// Stops an execution.
    pub fn stop_execution(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution_id: PipelineExecutionId,
        mode: StopMode,
        reason: &str,
    ) -> Result<(), Exception> {
        self.change_execution(now, pipeline, execution_id, |_, execution| {
            if execution.has_ended() {
                let message = format!("Pipeline execution_id {execution_id} is not running");
                return Err(Exception::new(ExceptionKind::PipelineExecutionNotStoppable, message));
            }
            execution.stop_reason = Some(reason.to_owned());
            execution.updated = now;
            match (execution.position, mode) {
                (Position::Waiting(stage), _) => {
                    execution.move_to(Position::Ended(stage, ExecutionOutcome::Stopped), now)
                }
                (Position::In(stage), StopMode::Abandon) => {
                    execution.running_attempts().for_each(|attempt| attempt.finish(now, ActionOutcome::Abandoned));
                    execution.move_to(Position::Ended(stage, ExecutionOutcome::Stopped), now);
                }
                (Position::In(_), StopMode::Wait) | (Position::Ended(..), _) => {}
            }
            Ok(())
        })
    }

    /// Retries the stage in which an execution failed or was stopped. The execution keeps its id; its actions get new
    /// ids.
    pub fn retry_stage(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        stage: &str,
        execution_id: PipelineExecutionId,
        mode: RetryMode,
    ) -> Result<(), Exception> {
        self.change_execution(now, pipeline, execution_id, |others, execution| {
            let refuse =
                |kind, why: &str| Err(Exception::new(kind, format!("Stage '{stage}' of {execution_id}: {why}")));
            if execution.definition.stage_named(stage).is_none() {
                return refuse(ExceptionKind::StageNotFound, "the pipeline has no such stage");
            }
            let Position::Ended(index, ExecutionOutcome::Failed | ExecutionOutcome::Stopped) = execution.position
            else {
                return refuse(ExceptionKind::StageNotRetryable, "the execution has not failed and was not stopped");
            };
            let ended_here = execution.definition.stages.get(index).is_some_and(|ended| &ended.name == stage);
            if !ended_here || !execution.has_entered(stage) {
                return refuse(ExceptionKind::StageNotRetryable, "the execution did not end in this stage");
            }
            if others.version != execution.version {
                return refuse(ExceptionKind::StageNotRetryable, "the pipeline was edited since");
            }
            if execution.mode != ExecutionMode::Parallel && others.newer_entered_stage {
                return refuse(ExceptionKind::NotLatestPipelineExecution, "a newer execution has entered it");
            }
            for attempt in execution.attempts.iter_mut().filter(|attempt| &attempt.stage == stage) {
                let succeeded = attempt.end.as_ref().is_some_and(|end| end.outcome == ActionOutcome::Succeeded);
                attempt.retried |= mode == RetryMode::AllActions || !succeeded;
            }
            execution.stop_reason = None;
            execution.move_to(Position::In(index), now);
            Ok(())
        })
    }

    /// Disables the transition into a stage: executions wait in front of it.
    pub fn disable_stage_transition(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        stage: &str,
        reason: &str,
    ) -> Result<(), Exception> {
        let found = self.pipeline(pipeline, now)?;
        let name = found.stage_with_transition(stage)?;
        found.disabled_transitions.insert(name, reason.to_owned());
        Ok(())
    }

    /// Enables the transition into a stage.
    pub fn enable_stage_transition(&mut self, now: Timestamp, pipeline: &str, stage: &str) -> Result<(), Exception> {
        let found = self.pipeline(pipeline, now)?;
        let name = found.stage_with_transition(stage)?;
        found.disabled_transitions.remove(&name);
        self.pipeline(pipeline, now).map(drop)
    }

    /// Changes one execution, and then advances the pipeline.
    fn change_execution(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution_id: PipelineExecutionId,
        change: impl FnOnce(&OtherExecutions, &mut Execution) -> Result<(), Exception>,
    ) -> Result<(), Exception> {
        let found = self.pipeline(pipeline, now)?;
        let version = found.version;
        let position = found.executions.iter().position(|execution| execution.id == execution_id);
        let from_there_on = position.and_then(|position| found.executions.get_mut(position..));
        let Some((execution, newer)) = from_there_on.and_then(<[Execution]>::split_first_mut) else {
            return Err(execution_not_found(&found.definition.name, execution_id));
        };
        let stage = match execution.position {
            Position::Waiting(stage) | Position::In(stage) | Position::Ended(stage, _) => {
                execution.definition.stages.get(stage)
            }
        };
        let newer_entered_stage = stage.is_some_and(|stage| newer.iter().any(|other| other.has_entered(&stage.name)));
        change(&OtherExecutions { version, newer_entered_stage }, execution)?;
        self.pipeline(pipeline, now).map(drop)
    }
}

impl Pipeline {
    /// A stage that another one precedes.
    fn stage_with_transition(&self, stage: &str) -> Result<Name, Exception> {
        let found = self.definition.stages.iter().skip(1).find(|found| &found.name == stage);
        found.map(|found| found.name.clone()).ok_or_else(|| {
            let message = format!("The pipeline '{}' has no transition into a stage '{stage}'", self.definition.name);
            Exception::new(ExceptionKind::StageNotFound, message)
        })
    }
}

/// What a change of one execution depends on outside the execution.
struct OtherExecutions {
    version: u32,
    /// A newer execution has entered the stage of this one.
    newer_entered_stage: bool,
}

pub(super) fn execution_not_found(pipeline: &Name, execution_id: PipelineExecutionId) -> Exception {
    let message = format!("The pipeline '{pipeline}' has no execution_id with the id '{execution_id}'");
    Exception::new(ExceptionKind::PipelineExecutionNotFound, message)
}
