//! What a decision needs to know of a pipeline: its action, and the executions that it names.

use super::pipeline::PipelineExecution;
use crate::api::v1alpha1::{ApprovalDecisionSpec, Binding, ExecutionBinding, PipelineExecutionId, SourceRevision};

/// What a subscriber needs of a snapshot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Query {
    /// stageName
    pub stage: String,
    /// actionName
    pub action: String,
    /// The executions.
    pub executions: ExecutionSelector,
}

impl Query {
    /// The query of a decision, if it names an execution.
    #[must_use]
    pub fn of(spec: &ApprovalDecisionSpec) -> Option<Self> {
        match spec.binding() {
            Ok(Binding::Execution(execution)) => Some(Self {
                stage: spec.stage_name.clone(),
                action: spec.action_name.clone(),
                executions: execution.into(),
            }),
            Ok(Binding::Token(_)) | Err(_) => None,
        }
    }
}

/// The executions that a query is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionSelector {
    /// The one with this id.
    PipelineExecution(PipelineExecutionId),
    /// Those with this source revision.
    SourceRevision(SourceRevision),
}

impl From<ExecutionBinding<'_>> for ExecutionSelector {
    fn from(execution: ExecutionBinding<'_>) -> Self {
        match execution {
            ExecutionBinding::PipelineExecution(id) => Self::PipelineExecution(id.clone()),
            ExecutionBinding::SourceRevision(revision) => Self::SourceRevision(revision.clone()),
        }
    }
}

impl ExecutionSelector {
    pub(super) fn selects(&self, execution: &PipelineExecution) -> bool {
        match self {
            Self::PipelineExecution(id) => execution.id == id.0,
            Self::SourceRevision(revision) => execution.has(revision),
        }
    }
}
