//! The commands that change pipelines and executions: create, edit and delete a pipeline; start and stop an execution;
//! complete an action. They come from tests, the seed file or the control routes.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Category, Exception, ExceptionKind, Name, PipelineDefinition, PipelineExecutionId, Service, SourceRevision,
    execution::{ActionOutcome, Execution, ExecutionOutcome, Origin, Position},
    pipeline::Pipeline,
};

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

    /// Starts an execution. If revisions are given for some source actions, the others keep their newest known revision;
    /// otherwise every source has changed, and the new revisions are generated.
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
        // Assumed: the newest known revision is that of the execution that started last, rollbacks aside.
        let known: Vec<&SourceRevision> = match revisions {
            [] => Vec::new(),
            given => {
                let earlier = found.executions.iter().rev().filter(|earlier| earlier.origin == Origin::Start);
                given.iter().chain(earlier.flat_map(|earlier| &earlier.revisions)).collect()
            }
        };
        let revisions = sources()
            .map(|source| match known.iter().find(|known| known.action_name == source.name) {
                Some(known) => SourceRevision::clone(known),
                None => SourceRevision { action_name: source.name.clone(), revision_id: Some(ids.revision()) },
            })
            .collect();
        found.executions.push(Execution {
            id,
            mode: found.definition.execution_mode,
            version: found.version,
            definition: Arc::clone(&found.definition),
            origin: Origin::Start,
            revisions,
            started: now,
            updated: now,
            position: Position::Waiting(0),
            stop_reason: None,
            attempts: Vec::new(),
            retries: BTreeMap::new(),
            entries: BTreeMap::new(),
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
                let message = format!("Pipeline execution {execution_id} is not running");
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

    /// Changes one execution, and then advances the pipeline.
    pub(super) fn change_execution(
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
        let newer_reached_stage = stage.is_some_and(|stage| newer.iter().any(|other| other.has_reached(&stage.name)));
        change(&OtherExecutions { version, newer_reached_stage }, execution)?;
        self.pipeline(pipeline, now).map(drop)
    }
}

/// What a change of one execution depends on outside the execution.
pub(super) struct OtherExecutions {
    pub(super) version: u32,
    /// A newer execution has reached the stage of this one.
    pub(super) newer_reached_stage: bool,
}

pub(super) fn execution_not_found(pipeline: &Name, execution_id: PipelineExecutionId) -> Exception {
    let message = format!("The pipeline '{pipeline}' has no execution with the id '{execution_id}'");
    Exception::new(ExceptionKind::PipelineExecutionNotFound, message)
}
