//! The exceptions, by their names in AWS's API model. The operations raise the first nine; only commands raise the
//! others.

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// An error that CodePipeline raises.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Exception {
    /// The kind of exception.
    #[serde(rename = "type")]
    pub kind: ExceptionKind,
    /// The message.
    pub message: String,
}

impl Exception {
    /// An exception with this message.
    pub fn new(kind: ExceptionKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// The kind of an exception.
#[derive(Clone, Copy, Debug, Deserialize, Display, Eq, Hash, IntoStaticStr, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API, without the suffix")]
#[strum(suffix = "Exception")]
pub enum ExceptionKind {
    #[serde(rename = "ActionNotFoundException")]
    ActionNotFound,
    #[serde(rename = "ApprovalAlreadyCompletedException")]
    ApprovalAlreadyCompleted,
    #[serde(rename = "InvalidApprovalTokenException")]
    InvalidApprovalToken,
    #[serde(rename = "InvalidNextTokenException")]
    InvalidNextToken,
    #[serde(rename = "PipelineExecutionNotFoundException")]
    PipelineExecutionNotFound,
    #[serde(rename = "PipelineNotFoundException")]
    PipelineNotFound,
    #[serde(rename = "PipelineVersionNotFoundException")]
    PipelineVersionNotFound,
    #[serde(rename = "StageNotFoundException")]
    StageNotFound,
    #[serde(rename = "ValidationException")]
    Validation,
    #[serde(rename = "ConditionNotOverridableException")]
    ConditionNotOverridable,
    #[serde(rename = "ConflictException")]
    Conflict,
    #[serde(rename = "InvalidStructureException")]
    InvalidStructure,
    #[serde(rename = "NotLatestPipelineExecutionException")]
    NotLatestPipelineExecution,
    #[serde(rename = "PipelineExecutionNotStoppableException")]
    PipelineExecutionNotStoppable,
    #[serde(rename = "StageNotRetryableException")]
    StageNotRetryable,
    #[serde(rename = "UnableToRollbackStageException")]
    UnableToRollbackStage,
}

impl ExceptionKind {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
