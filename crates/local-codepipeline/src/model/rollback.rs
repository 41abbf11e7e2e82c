//! Rollbacks: a stage runs once more with the source revisions of an earlier execution that succeeded in it. A rollback is an
//! execution of its own, with a new id, so its approvals are new requests. A command rolls back, or a failure of the stage.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    Exception, ExceptionKind, ExecutionMode, OnFailure, PipelineExecutionId, Service,
    commands::execution_not_found,
    execution::{Execution, ExecutionOutcome, Origin, Position, RollbackTrigger},
    ids::Ids,
    pipeline::Pipeline,
};

impl Service {
    /// Rolls back a stage to an execution that succeeded in it, and returns the id of the new execution.
    pub fn rollback_stage(
        &mut self,
        now: Timestamp,
        pipeline: &str,
        stage: &str,
        target: PipelineExecutionId,
    ) -> Result<PipelineExecutionId, Exception> {
        let (found, ids) = self.pipeline_and_ids(pipeline, now)?;
        let refuse =
            |kind, why: &str| Err(Exception::new(kind, format!("Cannot roll back stage '{stage}' to {target}: {why}")));
        let Some(index) = found.definition.stages.iter().position(|declared| &declared.name == stage) else {
            return refuse(ExceptionKind::StageNotFound, "the pipeline has no such stage");
        };
        let Some(target) = found.executions.iter().find(|execution| execution.id == target) else {
            return Err(execution_not_found(&found.definition.name, target));
        };
        // Assumed: one exception for every reason. AWS has PipelineExecutionOutdatedException too, and does not say when.
        let unable = |why| refuse(ExceptionKind::UnableToRollbackStage, why);
        if index == 0 {
            return unable("it is the source stage");
        }
        if found.definition.execution_mode == ExecutionMode::Parallel {
            return unable("the pipeline is in PARALLEL mode");
        }
        if !found.is_target(target, index) {
            return unable("use a STANDARD execution of the current pipeline version that succeeded in the stage");
        }
        if found.is_locked(index) {
            return unable("an execution is in the stage");
        }
        let rollback = found.rollback(now, ids, index, target, RollbackTrigger::Manual);
        let id = rollback.id;
        found.executions.push(rollback);
        self.pipeline(pipeline, now)?;
        Ok(id)
    }
}

impl Pipeline {
    /// Rolls back a stage that an execution has just failed in, if it is configured so.
    pub(super) fn roll_back_automatically(&mut self, at: Timestamp, ids: &mut Ids, failed: PipelineExecutionId) {
        let Some(failed) = self.executions.iter().find(|execution| execution.id == failed) else { return };
        let Position::Ended(index, ExecutionOutcome::Failed) = failed.position else { return };
        let is_configured = failed
            .definition
            .stages
            .get(index)
            .is_some_and(|stage| stage.on_failure == Some(OnFailure::Rollback) && failed.has_entered(&stage.name));
        // Assumed: a rollback that fails is not rolled back in turn, nor is an execution that was being stopped.
        if !is_configured || failed.origin != Origin::Start || failed.stop_reason.is_some() || !self.is_current(failed)
        {
            return;
        }
        // Without such an execution, the stage stays failed.
        let Some(target) = self.executions.iter().rev().find(|execution| self.is_target(execution, index)) else {
            return;
        };
        let rollback = self.rollback(at, ids, index, target, RollbackTrigger::Automatic);
        self.executions.push(rollback);
    }

    fn is_current(&self, execution: &Execution) -> bool {
        execution.version == self.version
    }

    /// Whether the stage can be rolled back to this execution.
    fn is_target(&self, execution: &Execution, stage: usize) -> bool {
        execution.origin == Origin::Start && self.is_current(execution) && execution.succeeded_in(stage)
    }

    /// Assumed: a rollback enters the stage at once, even if the transition into it is disabled or other executions wait.
    fn rollback(
        &self,
        at: Timestamp,
        ids: &mut Ids,
        stage: usize,
        target: &Execution,
        trigger: RollbackTrigger,
    ) -> Execution {
        Execution {
            id: ids.pipeline_execution(),
            mode: self.definition.execution_mode,
            version: self.version,
            definition: Arc::clone(&self.definition),
            origin: Origin::Rollback { target: target.id, trigger },
            revisions: target.revisions.clone(),
            started: at,
            updated: at,
            position: Position::In(stage),
            stop_reason: None,
            attempts: Vec::new(),
            retries: BTreeMap::new(),
            entries: BTreeMap::new(),
        }
    }
}

impl Execution {
    fn succeeded_in(&self, index: usize) -> bool {
        let has_passed = match self.position {
            Position::Waiting(current) | Position::In(current) => current > index,
            Position::Ended(last, ExecutionOutcome::Succeeded) => last >= index,
            Position::Ended(
                last,
                ExecutionOutcome::Failed | ExecutionOutcome::Stopped | ExecutionOutcome::Superseded,
            ) => last > index,
        };
        has_passed && self.definition.stages.get(index).is_some_and(|stage| self.has_entered(&stage.name))
    }
}
