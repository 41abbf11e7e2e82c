//! The CodePipeline operations that the operator calls.

use strum::{IntoStaticStr, VariantArray};

/// A CodePipeline operation.
#[derive(Clone, Copy, Debug, Eq, Hash, IntoStaticStr, PartialEq, VariantArray)]
pub enum Operation {
    /// Submits the result of an approval.
    PutApprovalResult,
    /// Returns the current state of each stage and action.
    GetPipelineState,
    /// Lists the executions of a pipeline, newest first.
    ListPipelineExecutions,
    /// Returns one execution.
    GetPipelineExecution,
    /// Lists the history of actions, newest first.
    ListActionExecutions,
}

impl Operation {
    /// Every operation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name that CodePipeline uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
