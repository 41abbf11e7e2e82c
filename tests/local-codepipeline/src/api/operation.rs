//! The operations that the endpoint knows, by their names on the wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One of the seven operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
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
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PutApprovalResult,
        Self::GetPipelineState,
        Self::ListActionExecutions,
        Self::ListPipelineExecutions,
        Self::GetPipelineExecution,
        Self::GetPipeline,
        Self::ListPipelines,
    ];

    /// The member of the request that names the pipeline. ListPipelines has none.
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

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A name that is none of the seven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation that this endpoint knows")]
pub struct UnknownOperation(String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.to_string() == text)
            .ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}
