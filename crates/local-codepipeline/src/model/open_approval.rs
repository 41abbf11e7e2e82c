//! Shortcuts for tests and demonstrations: start an execution that reaches an approval immediately, and list pending
//! approvals without any lag.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActionExecutionId, Exception, ExceptionKind, Name, NameError, PipelineDefinition, PipelineExecutionId, Service,
    SourceRevision, Token,
    execution::{ActionOutcome, Execution},
};

/// A new pending approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// The token for PutApprovalResult.
    pub token: Token,
    /// The pipeline execution.
    pub pipeline_execution_id: PipelineExecutionId,
    /// The action execution.
    pub action_execution_id: ActionExecutionId,
}

/// A pending approval and its action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingApproval {
    /// The stage.
    pub stage_name: Name,
    /// The action.
    pub action_name: Name,
    /// The token and the ids.
    #[serde(flatten)]
    pub approval: OpenApproval,
}

impl From<NameError> for Exception {
    fn from(error: NameError) -> Self {
        Self::new(ExceptionKind::InvalidStructure, error.to_string())
    }
}

impl Service {
    /// Starts an execution that reaches this approval immediately. Creates the pipeline if it does not exist. All
    /// actions before the approval succeed, including earlier approvals.
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
            let Some(execution) = found.executions.iter_mut().find(|execution| execution.id == id) else {
                return Err(super::commands::execution_not_found(&found.definition.name, id));
            };
            if let Some(pending) =
                pending_in(execution).find(|at| &*at.stage_name == stage && &*at.action_name == action)
            {
                return Ok(pending.approval);
            }
            let mut completed = false;
            for attempt in execution.running_attempts() {
                attempt.finish(now, ActionOutcome::Succeeded);
                completed = true;
            }
            if !completed {
                let message = format!(
                    "The new execution {id} of pipeline '{pipeline}' does not reach approval '{action}' in stage \
                     '{stage}': another execution locks a stage before it, a transition is disabled, or an entry condition \
                     does not let it in. Respond to the approval of that execution, complete its actions, enable the \
                     transition, or override the condition."
                );
                return Err(Exception::new(ExceptionKind::Conflict, message));
            }
        }
    }

    /// The pending approvals of a pipeline, those of the oldest execution first.
    pub fn pending_approvals(&mut self, now: Timestamp, pipeline: &str) -> Result<Vec<PendingApproval>, Exception> {
        Ok(self.pipeline(pipeline, now)?.executions.iter().flat_map(pending_in).collect())
    }
}

fn pending_in(execution: &Execution) -> impl Iterator<Item = PendingApproval> {
    execution.attempts.iter().filter(|attempt| attempt.end.is_none()).filter_map(|attempt| {
        let approval = OpenApproval {
            token: attempt.token?,
            pipeline_execution_id: execution.id,
            action_execution_id: attempt.id,
        };
        Some(PendingApproval {
            stage_name: attempt.stage.clone(),
            action_name: attempt.definition.name.clone(),
            approval,
        })
    })
}
