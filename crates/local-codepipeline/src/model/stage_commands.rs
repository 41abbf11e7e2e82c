//! The commands that change one stage: retry it, override its entry condition, and disable or enable the transition into it.
//! `commands` has the commands for pipelines, executions and actions, `rollback` those that roll back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Exception, ExceptionKind, ExecutionMode, Name, PipelineExecutionId, Service,
    execution::{EntryOutcome, ExecutionOutcome, Position, RetryTrigger},
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

impl Service {
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
            let ended_in = execution.definition.stages.get(index).map(|ended| ended.name.clone());
            let Some(name) = ended_in.filter(|name| name == stage && execution.has_reached(stage)) else {
                return refuse(ExceptionKind::StageNotRetryable, "the execution did not end in this stage");
            };
            if others.version != execution.version {
                return refuse(ExceptionKind::StageNotRetryable, "the pipeline was edited since");
            }
            if execution.mode != ExecutionMode::Parallel && others.newer_reached_stage {
                return refuse(ExceptionKind::NotLatestPipelineExecution, "a newer execution has reached it");
            }
            execution.retry(&name, mode, RetryTrigger::ManualStageRetry);
            execution.stop_reason = None;
            execution.move_to(Position::In(index), now);
            Ok(())
        })
    }

    /// Overrides the entry condition of a stage for one execution: it enters the stage that failed because of the condition,
    /// or will enter it. Assumed: a condition that skips a stage can be overridden only before the execution reaches it.
    pub fn override_stage_condition(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        stage: &str,
        execution_id: PipelineExecutionId,
    ) -> Result<(), Exception> {
        self.change_execution(now, pipeline, execution_id, |others, execution| {
            let refuse =
                |kind, why: &str| Err(Exception::new(kind, format!("Stage '{stage}' of {execution_id}: {why}")));
            let mut stages = execution.definition.stages.iter().enumerate();
            let Some((index, declared)) = stages.find(|(_, declared)| &declared.name == stage) else {
                return refuse(ExceptionKind::StageNotFound, "the pipeline has no such stage");
            };
            if declared.before_entry.is_none() {
                return refuse(ExceptionKind::ConditionNotOverridable, "the stage has no entry condition");
            }
            let name = declared.name.clone();
            let enters_now = match (execution.position, execution.entries.get(&name)) {
                (Position::Waiting(current), _) if current <= index => false,
                (Position::In(current), _) if current < index => false,
                (Position::Ended(last, ExecutionOutcome::Failed), Some(EntryOutcome::Failed)) if last == index => true,
                (Position::Waiting(_) | Position::In(_) | Position::Ended(..), _) => {
                    return refuse(
                        ExceptionKind::ConditionNotOverridable,
                        "no entry condition holds the execution there",
                    );
                }
            };
            if enters_now && others.version != execution.version {
                return refuse(ExceptionKind::ConditionNotOverridable, "the pipeline was edited since");
            }
            if enters_now && execution.mode != ExecutionMode::Parallel && others.newer_reached_stage {
                return refuse(ExceptionKind::NotLatestPipelineExecution, "a newer execution has reached it");
            }
            execution.entries.insert(name, EntryOutcome::Overridden);
            if enters_now {
                execution.stop_reason = None;
                execution.move_to(Position::In(index), now);
            }
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
