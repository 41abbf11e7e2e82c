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

    /// Whether it submits a result, rather than reading something.
    #[must_use]
    pub const fn is_submission(self) -> bool {
        match self {
            Self::PutApprovalResult => true,
            Self::GetPipelineState
            | Self::ListPipelineExecutions
            | Self::GetPipelineExecution
            | Self::ListActionExecutions => false,
        }
    }

    /// The name that CodePipeline uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
