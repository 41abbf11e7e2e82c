//! The operations that the endpoint implements.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

/// An operation, by its name on the wire.
#[derive(
    Clone, Copy, Debug, Deserialize, Display, EnumString, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, VariantArray,
)]
#[strum(parse_err_fn = UnknownOperation::new, parse_err_ty = UnknownOperation)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum Operation {
    PutApprovalResult,
    GetPipelineState,
    ListActionExecutions,
    ListPipelineExecutions,
    GetPipelineExecution,
    GetPipeline,
    ListPipelines,
}

impl Operation {
    /// All operations.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The member of the input that names the pipeline. ListPipelines has none.
    pub(crate) fn pipeline_member(self) -> Option<&'static str> {
        match self {
            Self::GetPipelineState | Self::GetPipeline => Some("name"),
            Self::PutApprovalResult
            | Self::ListActionExecutions
            | Self::ListPipelineExecutions
            | Self::GetPipelineExecution => Some("pipelineName"),
            Self::ListPipelines => None,
        }
    }
}

/// The name of an operation that the endpoint does not implement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this endpoint does not implement the operation `{0}`")]
pub struct UnknownOperation(String);

impl UnknownOperation {
    fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}
