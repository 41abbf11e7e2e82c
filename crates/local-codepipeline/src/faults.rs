//! Faults that tests and users inject between a caller and CodePipeline or STS. The effect of a fault says whether the request
//! is applied and what the caller receives. The types rule out impossible combinations: a throttled request that was
//! applied, or a success for a request that was not.

mod active;
mod effect;
mod selector;

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{iam::RoleArn, model::Account};
pub(crate) use active::ActiveFaults;
pub use effect::{AfterApplying, Effect, ErrorResponse, InsteadOfApplying, ServerError};
pub(crate) use selector::FaultSubject;
pub use selector::SelectedOperation;

/// An injected fault: which requests it affects, how often, and its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Affects only this operation. A fault without it affects every operation of CodePipeline, and none of STS.
    #[serde(default)]
    operation: Option<SelectedOperation>,
    /// Affects only requests that name this pipeline.
    #[serde(default)]
    pipeline_name: Option<String>,
    /// Affects only this account: that of the caller, or for AssumeRole that of the role.
    #[serde(default)]
    account_id: Option<String>,
    /// Affects only requests that are signed for this region.
    #[serde(default)]
    region: Option<String>,
    /// Affects only sessions of this role, and AssumeRole for it.
    #[serde(default)]
    role_arn: Option<RoleArn>,
    /// Affects only sessions with this name, and AssumeRole for them. A `*` at the end stands for any text.
    #[serde(default)]
    session_name: Option<String>,
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

impl From<Effect> for Fault {
    fn from(effect: Effect) -> Self {
        Self {
            operation: None,
            pipeline_name: None,
            account_id: None,
            region: None,
            role_arn: None,
            session_name: None,
            requests: Requests::default(),
            delay_before: SignedDuration::ZERO,
            delay_after: SignedDuration::ZERO,
            effect,
        }
    }
}

/// By default a fault affects the next request to CodePipeline, of any operation, pipeline and account.
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

    /// Affects only this operation, of CodePipeline or of STS.
    #[must_use]
    pub fn on(mut self, operation: impl Into<SelectedOperation>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// Affects only this account: that of the caller, or for AssumeRole that of the role.
    #[must_use]
    pub fn account(mut self, id: impl Into<String>) -> Self {
        self.account_id = Some(id.into());
        self
    }

    /// Affects only requests that are signed for this region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Affects only sessions of this role, and AssumeRole for it.
    #[must_use]
    pub fn role(mut self, arn: &RoleArn) -> Self {
        self.role_arn = Some(arn.clone());
        self
    }

    /// Affects only sessions with this name, and AssumeRole for them. A `*` at the end stands for any text.
    #[must_use]
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session_name = Some(name.into());
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

    /// Whether the fault names this account, and no other region of it.
    fn is_for(&self, account: &Account) -> bool {
        self.account_id.as_ref() == Some(&account.id)
            && self.region.as_ref().is_none_or(|region| *region == account.region)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.effect.fmt(f)
    }
}
