//! What happens to pipelines other than answers to approvals: they are created, edited and deleted, their runs are
//! started, stopped and retried, their actions end. The live service has operations for most of these; here they come
//! from tests, a seed file or the control routes.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Category, Exception, ExceptionKind, ExecutionMode, Name, PipelineDefinition, PipelineExecutionId, Service,
    SourceRevision,
    pipeline::Pipeline,
    run::{How, Place, Run, RunEnd},
};

/// Which actions of a stage a retry repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryMode {
    /// Those that did not succeed.
    #[default]
    FailedActions,
    /// All of them.
    AllActions,
}

/// What becomes of actions under way when their run is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopMode {
    /// They come to their end first; an approval waits for its answer.
    #[default]
    Wait,
    /// They are abandoned.
    Abandon,
}

impl Service {
    /// Creates the pipeline, or edits the one of that name. An edit cancels pending approvals even if nothing changes.
    pub fn put_pipeline(&mut self, now: Timestamp, definition: PipelineDefinition) -> Result<(), Exception> {
        definition.check()?;
        match self.pipelines.get_mut(&definition.name) {
            None => {
                self.pipelines.insert(definition.name.clone(), Pipeline::new(definition, now));
            }
            Some(pipeline) => {
                pipeline.settle(now, self.behaviour.tokens, &mut self.ids);
                pipeline.edit(definition, now);
                pipeline.settle(now, self.behaviour.tokens, &mut self.ids);
            }
        }
        Ok(())
    }

    /// Saves the pipeline as it is, which counts as an edit.
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

    /// Starts a run. Source actions without a revision come upon a made-up one.
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
        found.runs.push(Run {
            id,
            mode: found.definition.execution_mode,
            version: found.version,
            definition: Arc::clone(&found.definition),
            revisions,
            started: now,
            updated: now,
            place: Place::Waiting(0),
            stop_reason: None,
            actions: Vec::new(),
        });
        self.pipeline(pipeline, now)?;
        Ok(id)
    }

    /// Ends an action of a run that is no approval and has not ended.
    pub fn complete_action(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution: PipelineExecutionId,
        (stage, action): (&str, &str),
        succeeded: bool,
    ) -> Result<(), Exception> {
        self.change_run(now, pipeline, execution, |_, run| {
            let found = run.running().find(|attempt| attempt.is_of(stage, action) && attempt.token.is_none());
            let Some(attempt) = found else {
                let message = format!("Action '{action}' in stage '{stage}' is not running in {execution}");
                return Err(Exception::new(ExceptionKind::ActionNotFound, message));
            };
            attempt.finish(now, if succeeded { How::Succeeded } else { How::Failed });
            Ok(())
        })
    }

    /// Stops a run.
    pub fn stop_execution(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution: PipelineExecutionId,
        mode: StopMode,
        reason: &str,
    ) -> Result<(), Exception> {
        self.change_run(now, pipeline, execution, |_, run| {
            if run.is_over() {
                let message = format!("Pipeline execution {execution} is not running");
                return Err(Exception::new(ExceptionKind::PipelineExecutionNotStoppable, message));
            }
            run.stop_reason = Some(reason.to_owned());
            run.updated = now;
            match (run.place, mode) {
                (Place::Waiting(stage), _) => run.enter(Place::Ended(stage, RunEnd::Stopped), now),
                (Place::In(stage), StopMode::Abandon) => {
                    run.running().for_each(|attempt| attempt.finish(now, How::Abandoned));
                    run.enter(Place::Ended(stage, RunEnd::Stopped), now);
                }
                (Place::In(_), StopMode::Wait) | (Place::Ended(..), _) => {}
            }
            Ok(())
        })
    }

    /// Repeats the stage in which a run failed or was stopped. The run keeps its id; its actions get new ones.
    pub fn retry_stage(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        stage: &str,
        execution: PipelineExecutionId,
        mode: RetryMode,
    ) -> Result<(), Exception> {
        self.change_run(now, pipeline, execution, |others, run| {
            let refuse = |kind, why: &str| Err(Exception::new(kind, format!("Stage '{stage}' of {execution}: {why}")));
            if run.definition.stage_named(stage).is_none() {
                return refuse(ExceptionKind::StageNotFound, "the pipeline has no such stage");
            }
            let Place::Ended(index, RunEnd::Failed | RunEnd::Stopped) = run.place else {
                return refuse(ExceptionKind::StageNotRetryable, "the run has not failed and was not stopped");
            };
            let ended_here = run.definition.stages.get(index).is_some_and(|ended| &ended.name == stage);
            if !ended_here || !run.has_entered(stage) {
                return refuse(ExceptionKind::StageNotRetryable, "the run did not end in this stage");
            }
            if others.version != run.version {
                return refuse(ExceptionKind::StageNotRetryable, "the pipeline was edited since");
            }
            if run.mode != ExecutionMode::Parallel && others.overtaken {
                return refuse(ExceptionKind::NotLatestPipelineExecution, "a newer run has entered it");
            }
            for attempt in run.actions.iter_mut().filter(|attempt| &attempt.stage == stage) {
                let succeeded = attempt.end.as_ref().is_some_and(|end| end.how == How::Succeeded);
                attempt.retried |= mode == RetryMode::AllActions || !succeeded;
            }
            run.stop_reason = None;
            run.enter(Place::In(index), now);
            Ok(())
        })
    }

    /// Changes one run and lets the pipeline follow.
    fn change_run(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        execution: PipelineExecutionId,
        change: impl FnOnce(&Others, &mut Run) -> Result<(), Exception>,
    ) -> Result<(), Exception> {
        let found = self.pipeline(pipeline, now)?;
        let version = found.version;
        let position = found.runs.iter().position(|run| run.id == execution);
        let from_there_on = position.and_then(|position| found.runs.get_mut(position..));
        let Some((run, newer)) = from_there_on.and_then(<[Run]>::split_first_mut) else {
            return Err(no_such_run(&found.definition.name, execution));
        };
        let stage = match run.place {
            Place::Waiting(stage) | Place::In(stage) | Place::Ended(stage, _) => run.definition.stages.get(stage),
        };
        let overtaken = stage.is_some_and(|stage| newer.iter().any(|other| other.has_entered(&stage.name)));
        change(&Others { version, overtaken }, run)?;
        self.pipeline(pipeline, now).map(drop)
    }
}

/// What a change of one run may depend on beside the run.
struct Others {
    version: u32,
    /// A newer run has been in the stage where this one is.
    overtaken: bool,
}

pub(super) fn no_such_run(pipeline: &Name, execution: PipelineExecutionId) -> Exception {
    let message = format!("The pipeline '{pipeline}' has no execution with the id '{execution}'");
    Exception::new(ExceptionKind::PipelineExecutionNotFound, message)
}
