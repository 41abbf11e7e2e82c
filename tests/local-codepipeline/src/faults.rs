//! What can go wrong between a caller and the service, on demand. A fault has an effect, which says first whether the
//! request reaches the service and then what the caller gets, so that an answer that could never be cannot be written:
//! nobody is throttled after the fact, and no success is told of what never happened.

mod in_force;

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::api::Operation;
pub(crate) use in_force::Faults;

/// One thing that goes wrong, when, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Only for this operation.
    #[serde(default)]
    operation: Option<Operation>,
    /// Only for requests that name this pipeline.
    #[serde(default)]
    pipeline_name: Option<String>,
    /// How many requests it still hits.
    #[serde(default)]
    requests: Requests,
    /// How long the request takes to reach the service. It gets there even if the caller has left by then.
    #[serde(default)]
    delay_before: SignedDuration,
    /// How long the answer then takes.
    #[serde(default)]
    delay_after: SignedDuration,
    effect: Effect,
}

/// How many requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Requests {
    /// The next so many.
    Next(u32),
    /// All until it is cleared.
    All,
}

impl Default for Requests {
    fn default() -> Self {
        Self::Next(1)
    }
}

/// Whether the request reaches the service, and what the caller gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It does.
    Applied(AfterApplying),
    /// It does not.
    NotApplied(InsteadOfApplying),
}

/// What the caller gets of a request that the service took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AfterApplying {
    /// The answer: for faults that only delay it.
    Answer,
    /// The answer without `approvedAt`.
    AnswerWithoutApprovedAt,
    /// An error that says nothing about whether the request was taken.
    ServerError(ServerError),
    /// Status 200 and a web page.
    NotJson,
    /// Status 200 and JSON that is no answer.
    OtherJson,
    /// Status 200 and a blank.
    Blank,
    /// Status 200 and JSON that has no end, as fast as it is taken.
    Endless,
    /// Status 200 and blanks, one now and then, for ever.
    Trickle,
    /// Nothing: the connection closes.
    Close,
    /// Nothing: the connection stays open until the caller leaves.
    Hang,
}

/// What the caller gets of a request that never reached the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InsteadOfApplying {
    /// An error of any kind.
    Error(ErrorAnswer),
    /// Status 200 and a web page.
    NotJson,
    /// Nothing: the connection closes.
    Close,
    /// Nothing: the connection stays open until the caller leaves.
    Hang,
}

/// An error that a server raises about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerError {
    /// Status 500.
    InternalFailure,
    /// Status 503.
    ServiceUnavailable,
}

/// An error as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The exception's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its message.
    pub message: String,
}

impl ErrorAnswer {
    /// An error with these three.
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), message: message.into() }
    }
}

impl From<ServerError> for ErrorAnswer {
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

/// Each hits the next request of any kind, until narrowed or widened.
impl Fault {
    /// An error of any kind instead of the service's answer.
    #[must_use]
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ErrorAnswer::new(status, kind, message))).into()
    }

    /// Too many requests.
    #[must_use]
    pub fn throttled() -> Self {
        Self::error(400, "ThrottlingException", "Rate exceeded")
    }

    /// The caller may not do this.
    #[must_use]
    pub fn access_denied() -> Self {
        Self::error(400, "AccessDeniedException", "User is not authorized to perform this operation")
    }

    /// The caller's credentials are too old.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::error(400, "ExpiredTokenException", "The security token included in the request is expired")
    }

    /// Status 500, and nothing was done.
    #[must_use]
    pub fn internal_failure() -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ServerError::InternalFailure.into())).into()
    }

    /// Status 503, and nothing was done.
    #[must_use]
    pub fn unavailable() -> Self {
        Effect::NotApplied(InsteadOfApplying::Error(ServerError::ServiceUnavailable.into())).into()
    }

    /// Status 500, and the request was taken.
    #[must_use]
    pub fn internal_failure_after_applying() -> Self {
        Effect::Applied(AfterApplying::ServerError(ServerError::InternalFailure)).into()
    }

    /// The connection closes before the request reaches the service.
    #[must_use]
    pub fn cut_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::Close).into()
    }

    /// The connection closes before the answer is sent.
    #[must_use]
    pub fn cut_after_applying() -> Self {
        Effect::Applied(AfterApplying::Close).into()
    }

    /// Nothing comes, and nothing was done.
    #[must_use]
    pub fn hang_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::Hang).into()
    }

    /// Nothing comes, and the request was taken.
    #[must_use]
    pub fn hang_after_applying() -> Self {
        Effect::Applied(AfterApplying::Hang).into()
    }

    /// A web page instead of an answer, and nothing was done.
    #[must_use]
    pub fn not_json_before_applying() -> Self {
        Effect::NotApplied(InsteadOfApplying::NotJson).into()
    }

    /// A web page instead of an answer, and the request was taken.
    #[must_use]
    pub fn not_json_after_applying() -> Self {
        Effect::Applied(AfterApplying::NotJson).into()
    }

    /// Somebody else's JSON instead of an answer, and the request was taken.
    #[must_use]
    pub fn other_json_after_applying() -> Self {
        Effect::Applied(AfterApplying::OtherJson).into()
    }

    /// A blank instead of an answer, and the request was taken.
    #[must_use]
    pub fn blank_after_applying() -> Self {
        Effect::Applied(AfterApplying::Blank).into()
    }

    /// An answer that does not end, and the request was taken.
    #[must_use]
    pub fn endless_after_applying() -> Self {
        Effect::Applied(AfterApplying::Endless).into()
    }

    /// An answer that does not end and hardly begins, and the request was taken.
    #[must_use]
    pub fn trickle_after_applying() -> Self {
        Effect::Applied(AfterApplying::Trickle).into()
    }

    /// A success that does not say when.
    #[must_use]
    pub fn without_approved_at() -> Self {
        Effect::Applied(AfterApplying::AnswerWithoutApprovedAt).into()
    }

    /// An answer that takes its time; say how long with `delay_before` and `delay_after`.
    #[must_use]
    pub fn late() -> Self {
        Effect::Applied(AfterApplying::Answer).into()
    }

    /// Only for this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only for requests that name this pipeline.
    #[must_use]
    pub fn pipeline(mut self, name: impl Into<String>) -> Self {
        self.pipeline_name = Some(name.into());
        self
    }

    /// For the next so many requests.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.requests = Requests::Next(requests);
        self
    }

    /// For every request until it is cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.requests = Requests::All;
        self
    }

    /// The request takes so long to reach the service.
    #[must_use]
    pub fn delay_before(mut self, delay: Duration) -> Self {
        self.delay_before = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        self
    }

    /// The answer takes so long after that.
    #[must_use]
    pub fn delay_after(mut self, delay: Duration) -> Self {
        self.delay_after = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        self
    }

    pub(crate) fn effect(&self) -> &Effect {
        &self.effect
    }

    /// The two delays, before and after.
    pub(crate) fn delays(&self) -> (Duration, Duration) {
        (self.delay_before.unsigned_abs(), self.delay_after.unsigned_abs())
    }

    fn hits(&self, operation: Operation, pipeline: Option<&str>) -> bool {
        self.operation.is_none_or(|only| only == operation)
            && self.pipeline_name.as_deref().is_none_or(|only| Some(only) == pipeline)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Applied(AfterApplying::Answer) => f.write_str("applied, answered late"),
            Effect::Applied(AfterApplying::AnswerWithoutApprovedAt) => {
                f.write_str("applied, answered without approvedAt")
            }
            Effect::Applied(AfterApplying::ServerError(error)) => {
                write!(f, "applied, answered {}", ErrorAnswer::from(*error).kind)
            }
            Effect::Applied(AfterApplying::NotJson) => f.write_str("applied, answered with a web page"),
            Effect::Applied(AfterApplying::OtherJson) => f.write_str("applied, answered with other JSON"),
            Effect::Applied(AfterApplying::Blank) => f.write_str("applied, answered with a blank"),
            Effect::Applied(AfterApplying::Endless) => f.write_str("applied, answered without an end"),
            Effect::Applied(AfterApplying::Trickle) => f.write_str("applied, answered a blank now and then"),
            Effect::Applied(AfterApplying::Close) => f.write_str("applied, connection closed"),
            Effect::Applied(AfterApplying::Hang) => f.write_str("applied, never answered"),
            Effect::NotApplied(InsteadOfApplying::Error(error)) => write!(f, "not applied, answered {}", error.kind),
            Effect::NotApplied(InsteadOfApplying::NotJson) => f.write_str("not applied, answered with a web page"),
            Effect::NotApplied(InsteadOfApplying::Close) => f.write_str("not applied, connection closed"),
            Effect::NotApplied(InsteadOfApplying::Hang) => f.write_str("not applied, never answered"),
        }
    }
}
