//! The effect of a fault: whether the request is applied, and what its caller receives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the request is applied, and what the caller receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The request is applied.
    Applied(AfterApplying),
    /// The request is not applied.
    NotApplied(InsteadOfApplying),
}

/// What the caller of an applied request receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AfterApplying {
    /// The response, for faults that only delay it.
    Response,
    /// The response without `approvedAt`.
    ResponseWithoutApprovedAt,
    /// An error that does not say whether the request was applied.
    ServerError(ServerError),
    /// Status 200 and an HTML page.
    NotJson,
    /// Status 200 and unrelated JSON.
    OtherJson,
    /// Status 200 and a single space.
    Blank,
    /// Status 200 and JSON that never ends, as fast as the caller reads it.
    Endless,
    /// Status 200 and spaces that never end, one at a time.
    Trickle,
    /// No response: the connection closes.
    Close,
    /// No response: the connection stays open until the caller closes it.
    Hang,
}

/// What the caller of a request that was not applied receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InsteadOfApplying {
    /// Any error.
    Error(ErrorResponse),
    /// Status 200 and an HTML page.
    NotJson,
    /// No response: the connection closes.
    Close,
    /// No response: the connection stays open until the caller closes it.
    Hang,
}

/// A server error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerError {
    /// Status 500.
    InternalFailure,
    /// Status 503.
    ServiceUnavailable,
}

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The name of the exception.
    #[serde(rename = "type")]
    pub kind: String,
    /// The message.
    pub message: String,
}

impl ErrorResponse {
    /// An error response with these values.
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), message: message.into() }
    }
}

impl From<ServerError> for ErrorResponse {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::InternalFailure => Self::new(500, "InternalFailure", "The request failed: internal error."),
            ServerError::ServiceUnavailable => Self::new(503, "ServiceUnavailable", "The service is unavailable."),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(AfterApplying::Response) => f.write_str("applied, delayed response"),
            Self::Applied(AfterApplying::ResponseWithoutApprovedAt) => {
                f.write_str("applied, response without approvedAt")
            }
            Self::Applied(AfterApplying::ServerError(error)) => {
                write!(f, "applied, response {}", ErrorResponse::from(*error).kind)
            }
            Self::Applied(AfterApplying::NotJson) => f.write_str("applied, HTML response"),
            Self::Applied(AfterApplying::OtherJson) => f.write_str("applied, unrelated JSON response"),
            Self::Applied(AfterApplying::Blank) => f.write_str("applied, blank response"),
            Self::Applied(AfterApplying::Endless) => f.write_str("applied, endless response"),
            Self::Applied(AfterApplying::Trickle) => f.write_str("applied, trickling response"),
            Self::Applied(AfterApplying::Close) => f.write_str("applied, connection closed"),
            Self::Applied(AfterApplying::Hang) => f.write_str("applied, no response"),
            Self::NotApplied(InsteadOfApplying::Error(error)) => write!(f, "not applied, response {}", error.kind),
            Self::NotApplied(InsteadOfApplying::NotJson) => f.write_str("not applied, HTML response"),
            Self::NotApplied(InsteadOfApplying::Close) => f.write_str("not applied, connection closed"),
            Self::NotApplied(InsteadOfApplying::Hang) => f.write_str("not applied, no response"),
        }
    }
}
