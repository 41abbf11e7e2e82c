//! The exceptions that the service raises, by the names of its published model. The first ten are those of the
//! operations that this endpoint offers; the others answer commands that come by the control routes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Exception {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: ExceptionKind,
    /// What the service says about it.
    pub message: String,
}

impl Exception {
    /// An exception with its message.
    pub fn new(kind: ExceptionKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

macro_rules! exception_kinds {
    ($($kind:ident = $name:literal),+ $(,)?) => {
        /// Which exception it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the service's own words, without their ending")]
        pub enum ExceptionKind {
            $(#[serde(rename = $name)] $kind,)+
        }

        impl ExceptionKind {
            /// The name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

exception_kinds! {
    ActionNotFound = "ActionNotFoundException",
    ApprovalAlreadyCompleted = "ApprovalAlreadyCompletedException",
    InvalidApprovalToken = "InvalidApprovalTokenException",
    InvalidNextToken = "InvalidNextTokenException",
    PipelineExecutionNotFound = "PipelineExecutionNotFoundException",
    PipelineNotFound = "PipelineNotFoundException",
    PipelineVersionNotFound = "PipelineVersionNotFoundException",
    StageNotFound = "StageNotFoundException",
    Validation = "ValidationException",
    Conflict = "ConflictException",
    InvalidStructure = "InvalidStructureException",
    NotLatestPipelineExecution = "NotLatestPipelineExecutionException",
    PipelineExecutionNotStoppable = "PipelineExecutionNotStoppableException",
    StageNotRetryable = "StageNotRetryableException",
}

impl fmt::Display for ExceptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
