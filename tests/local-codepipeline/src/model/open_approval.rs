//! The short way to an approval that waits for an answer, for tests and demonstrations: a pipeline if there is none, a
//! run, and everything in front of the approval done. It also tells what is pending, as it is and not as a view shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActionExecutionId, Exception, ExceptionKind, Name, NameError, PipelineDefinition, PipelineExecutionId, Service,
    SourceRevision, Token,
    run::{How, Run},
};

/// An approval that has just begun to wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// What an answer has to name.
    pub token: Token,
    /// The run.
    pub pipeline_execution_id: PipelineExecutionId,
    /// The attempt at the action.
    pub action_execution_id: ActionExecutionId,
}

/// An approval that waits for an answer, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingApproval {
    /// Of which stage.
    pub stage_name: Name,
    /// Of which action.
    pub action_name: Name,
    /// What identifies it.
    #[serde(flatten)]
    pub approval: OpenApproval,
}

impl From<NameError> for Exception {
    fn from(error: NameError) -> Self {
        Self::new(ExceptionKind::InvalidStructure, error.to_string())
    }
}

impl Service {
    /// Starts a run that reaches this approval at once, creating the pipeline if there is none of that name. Actions in
    /// front of it succeed, earlier approvals too.
    pub fn open_approval(
        &mut self,
        now: Timestamp,
        (pipeline, stage, action): (&str, &str, &str),
        revisions: &[SourceRevision],
    ) -> Result<OpenApproval, Exception> {
        if !self.pipelines.contains_key(pipeline) {
            self.put_pipeline(now, PipelineDefinition::with_approval(pipeline, stage, action)?)?;
        }
        let definition = &self.pipeline(pipeline, now)?.definition;
        let declared = definition.stage_named(stage).and_then(|stage| stage.action_named(action));
        if !declared.is_some_and(super::ActionDefinition::is_approval) {
            let message = format!("Pipeline '{pipeline}' has no approval '{action}' in a stage '{stage}'");
            return Err(Exception::new(ExceptionKind::ActionNotFound, message));
        }
        let id = self.start_execution(now, pipeline, revisions)?;
        loop {
            let found = self.pipeline(pipeline, now)?;
            let Some(run) = found.runs.iter_mut().find(|run| run.id == id) else {
                return Err(super::commands::no_such_run(&found.definition.name, id));
            };
            if let Some(pending) = pending_in(run).find(|at| &*at.stage_name == stage && &*at.action_name == action) {
                return Ok(pending.approval);
            }
            let mut cleared = false;
            for attempt in run.running() {
                attempt.finish(now, How::Succeeded);
                cleared = true;
            }
            if !cleared {
                let message = format!(
                    "The new run {id} of pipeline '{pipeline}' does not get to approval '{action}' in stage '{stage}': \
                     another run holds a stage on its way. Answer that run's approval or let its actions end first."
                );
                return Err(Exception::new(ExceptionKind::Conflict, message));
            }
        }
    }

    /// Every approval of a pipeline that waits for an answer, the oldest run's first.
    pub fn pending_approvals(&mut self, now: Timestamp, pipeline: &str) -> Result<Vec<PendingApproval>, Exception> {
        Ok(self.pipeline(pipeline, now)?.runs.iter().flat_map(pending_in).collect())
    }
}

fn pending_in(run: &Run) -> impl Iterator<Item = PendingApproval> {
    run.actions.iter().filter(|attempt| attempt.end.is_none()).filter_map(|attempt| {
        let approval =
            OpenApproval { token: attempt.token?, pipeline_execution_id: run.id, action_execution_id: attempt.id };
        Some(PendingApproval {
            stage_name: attempt.stage.clone(),
            action_name: attempt.definition.name.clone(),
            approval,
        })
    })
}
