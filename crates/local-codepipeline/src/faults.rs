//! Faults that tests and users inject between a caller and CodePipeline. The effect of a fault says whether the request
//! is applied and what the caller receives. The types rule out impossible combinations: a throttled request that was
//! applied, or a success for a request that was not.

mod active;

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::api::Operation;
pub(crate) use active::ActiveFaults;

/// An injected fault: which requests it affects, how often, and its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Affects only this operation.
    #[serde(default)]
    operation: Option<Operation>,
    /// Affects only requests that name this pipeline.
    #[serde(default)]
    pipeline_name: Option<String>,
    /// How many more requests it affects.
    #[serde(default)]
    requests: Requests,
    /// The delay before the request is applied. It is applied even if the caller has disconnected by then.
    #[serde(default)]
    delay_before: SignedDuration,
    /// The delay between applying the request and sending the response.
    #[serde(default)]
    delay_after: SignedDuration,
    effect: Effect,
}

/// How many requests a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Requests {
    /// This number of requests.
    Next(u32),
    /// All requests until the fault is cleared.
    All,
}

impl Default for Requests {
    fn default() -> Self {
        Self::Next(1)
    }
}

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

impl From<Effect> for Fault {
    fn from(effect: Effect) -> Self {
        Self {
            operation: None,
            pipeline_name: None,
            requests: Requests::default(),
            delay_before: SignedDuration::ZERO,
            delay_after: SignedDuration::ZERO,
            effect,
        }
    }
}

/// By default a fault affects the next request, of any operation and pipeline.
impl Fault {
    /// Returns this error; the request is not applied.
    #[must_use]
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ErrorResponse::new(status, kind, message))).into()
    }

    /// Returns ThrottlingException; the request is not applied.
    #[must_use]
    pub fn throttled() -> Self {
        Self::error(400, "ThrottlingException", "Rate exceeded")
    }

    /// Returns AccessDeniedException; the request is not applied.
    #[must_use]
    pub fn access_denied() -> Self {
        Self::error(400, "AccessDeniedException", "User is not authorized to perform this operation")
    }

    /// Returns ExpiredTokenException; the request is not applied.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::error(400, "ExpiredTokenException", "The security token included in the request is expired")
    }

    /// Returns status 500; the request is not applied.
    #[must_use]
    pub fn internal_failure() -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ServerError::InternalFailure.into())).into()
    }

    /// Returns status 503; the request is not applied.
    #[must_use]
    pub fn service_unavailable() -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ServerError::ServiceUnavailable.into())).into()
    }

    /// Returns status 500; the request is applied.
    #[must_use]
    pub fn internal_failure_after_applying() -> Self {
        Effect::Applied(AfterApplying::ServerError(ServerError::InternalFailure)).into()
    }

    /// Closes the connection; the request is not applied.
    #[must_use]
    pub fn disconnect_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::Close).into()
    }

    /// Closes the connection; the request is applied.
    #[must_use]
    pub fn disconnect_after_applying() -> Self {
        Effect::Applied(AfterApplying::Close).into()
    }

    /// Never responds; the request is not applied.
    #[must_use]
    pub fn hang_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::Hang).into()
    }

    /// Never responds; the request is applied.
    #[must_use]
    pub fn hang_after_applying() -> Self {
        Effect::Applied(AfterApplying::Hang).into()
    }

    /// Returns an HTML page; the request is not applied.
    #[must_use]
    pub fn not_json_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::NotJson).into()
    }

    /// Returns an HTML page; the request is applied.
    #[must_use]
    pub fn not_json_after_applying() -> Self {
        Effect::Applied(AfterApplying::NotJson).into()
    }

    /// Returns unrelated JSON; the request is applied.
    #[must_use]
    pub fn other_json_after_applying() -> Self {
        Effect::Applied(AfterApplying::OtherJson).into()
    }

    /// Returns a single space; the request is applied.
    #[must_use]
    pub fn blank_after_applying() -> Self {
        Effect::Applied(AfterApplying::Blank).into()
    }

    /// Returns a response that never ends; the request is applied.
    #[must_use]
    pub fn endless_after_applying() -> Self {
        Effect::Applied(AfterApplying::Endless).into()
    }

    /// Returns a response that never ends, one space at a time; the request is applied.
    #[must_use]
    pub fn trickle_after_applying() -> Self {
        Effect::Applied(AfterApplying::Trickle).into()
    }

    /// Returns a success without `approvedAt`; the request is applied.
    #[must_use]
    pub fn without_approved_at() -> Self {
        Effect::Applied(AfterApplying::ResponseWithoutApprovedAt).into()
    }

    /// Delays the response; set the delays with `delay_before` and `delay_after`.
    #[must_use]
    pub fn delayed() -> Self {
        Effect::Applied(AfterApplying::Response).into()
    }

    /// Affects only this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Affects only requests that name this pipeline.
    #[must_use]
    pub fn pipeline(mut self, name: impl Into<String>) -> Self {
        self.pipeline_name = Some(name.into());
        self
    }

    /// Affects this number of requests.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.requests = Requests::Next(requests);
        self
    }

    /// Affects every request until the fault is cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.requests = Requests::All;
        self
    }

    /// Delays the request before it is applied.
    #[must_use]
    pub fn delay_before(mut self, delay: Duration) -> Self {
        self.delay_before = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        self
    }

    /// Delays the response after the request is applied.
    #[must_use]
    pub fn delay_after(mut self, delay: Duration) -> Self {
        self.delay_after = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        self
    }

    pub(crate) fn effect(&self) -> &Effect {
        &self.effect
    }

    /// The delays before and after applying the request.
    pub(crate) fn delays(&self) -> (Duration, Duration) {
        (self.delay_before.unsigned_abs(), self.delay_after.unsigned_abs())
    }

    fn matches(&self, operation: Operation, pipeline: Option<&str>) -> bool {
        self.operation.is_none_or(|only| only == operation)
            && self.pipeline_name.as_deref().is_none_or(|only| Some(only) == pipeline)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Applied(AfterApplying::Response) => f.write_str("applied, delayed response"),
            Effect::Applied(AfterApplying::ResponseWithoutApprovedAt) => {
                f.write_str("applied, response without approvedAt")
            }
            Effect::Applied(AfterApplying::ServerError(error)) => {
                write!(f, "applied, response {}", ErrorResponse::from(*error).kind)
            }
            Effect::Applied(AfterApplying::NotJson) => f.write_str("applied, HTML response"),
            Effect::Applied(AfterApplying::OtherJson) => f.write_str("applied, unrelated JSON response"),
            Effect::Applied(AfterApplying::Blank) => f.write_str("applied, blank response"),
            Effect::Applied(AfterApplying::Endless) => f.write_str("applied, endless response"),
            Effect::Applied(AfterApplying::Trickle) => f.write_str("applied, trickling response"),
            Effect::Applied(AfterApplying::Close) => f.write_str("applied, connection closed"),
            Effect::Applied(AfterApplying::Hang) => f.write_str("applied, no response"),
            Effect::NotApplied(InsteadOfApplying::Error(error)) => write!(f, "not applied, response {}", error.kind),
            Effect::NotApplied(InsteadOfApplying::NotJson) => f.write_str("not applied, HTML response"),
            Effect::NotApplied(InsteadOfApplying::Close) => f.write_str("not applied, connection closed"),
            Effect::NotApplied(InsteadOfApplying::Hang) => f.write_str("not applied, no response"),
        }
    }
}
