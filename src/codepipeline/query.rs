//! What a decision needs to know of a pipeline: its action, and the executions or the request that it names.

use super::pipeline::{ExecutionIds, PipelineExecution};
use crate::api::v1alpha1::{ExecutionBinding, PipelineExecutionId, SourceRevision, Token};
use std::collections::HashSet;

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

/// The executions that a query is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionSelector {
    /// The one with this id.
    PipelineExecution(PipelineExecutionId),
    /// Those whose source revisions meet all of these entries.
    SourceRevisions(Vec<SourceRevision>),
    /// The one of the request with this token.
    Request {
        /// The token.
        token: Token,
        /// What else is known of the request.
        ids: ExecutionIds,
    },
}

impl From<ExecutionBinding<'_>> for ExecutionSelector {
    fn from(execution: ExecutionBinding<'_>) -> Self {
        match execution {
            ExecutionBinding::PipelineExecution(id) => Self::PipelineExecution(id.clone()),
            ExecutionBinding::SourceRevisions(entries) => Self::SourceRevisions(entries.to_vec()),
        }
    }
}

/// The executions that some queries are about, as far as their selectors say. Only the state view and history show the execution
/// of a request.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The ids that they name.
    pub ids: HashSet<String>,
    revisions: HashSet<Vec<SourceRevision>>,
}

impl Selection {
    /// The selection of these queries.
    pub fn of<'a>(queries: impl IntoIterator<Item = &'a Query>) -> Self {
        let mut selection = Self::default();
        for query in queries {
            match &query.executions {
                ExecutionSelector::PipelineExecution(id) => {
                    selection.ids.insert(id.0.clone());
                }
                ExecutionSelector::SourceRevisions(entries) => {
                    selection.revisions.insert(entries.clone());
                }
                ExecutionSelector::Request { .. } => {}
            }
        }
        selection
    }

    /// Whether an execution is among them. One with further source revisions is: a decision has to say that these are not covered.
    pub fn selects(&self, execution: &PipelineExecution) -> bool {
        self.ids.contains(&execution.id) || self.revisions.iter().any(|entries| execution.meets(entries))
    }
}
