//! The interceptor of every call: it enforces the send deadline, submits nothing while the clock is wrong, records whether sending
//! started, and rejects responses that do not come from CodePipeline.

use super::clock_skew::{AwsClock, AwsTime, ClockProbe};
use super::connection_failure::Host;
use super::error::{DeadlineExceeded, Transmission};
use super::operation::Operation;
use super::response::{limit_body, validate_response};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends a request before its deadline or not at all, and records when the connection receives it: a failure before that
/// point proves that nothing was applied. Clones share the record.
#[derive(Clone, Debug)]
pub(super) struct SendGuard {
    operation: Operation,
    send_deadline: Timestamp,
    clock: AwsClock,
    probe: ClockProbe,
    host: Host,
    started: Arc<AtomicBool>,
}

impl SendGuard {
    /// A guard for one call.
    pub(super) fn new(operation: Operation, send_deadline: Timestamp, clock: AwsClock) -> Self {
        let (probe, host) = (ClockProbe::default(), Host::default());
        Self { operation, send_deadline, clock, probe, host, started: Arc::default() }
    }

    /// AWS's time, if a response shows it.
    pub(super) fn aws_time(&self) -> Option<AwsTime> {
        self.probe.aws_time()
    }

    /// What is called, for users.
    pub(super) fn server(&self) -> String {
        self.host.server("CodePipeline")
    }

    /// Whether the connection received the request.
    pub(super) fn transmission(&self) -> Transmission {
        if self.started.load(Ordering::Acquire) { Transmission::Started } else { Transmission::NotStarted }
    }
}

#[dyn_dispatch_hint]
impl Intercept for SendGuard {
    fn name(&self) -> &'static str {
        "SendGuard"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if Timestamp::now() >= self.send_deadline {
            return Err(DeadlineExceeded(self.send_deadline).into());
        }
        if self.operation.is_submission() {
            self.clock.check()?;
        }
        self.host.note(context);
        self.probe.sent();
        self.started.store(true, Ordering::Release);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.probe.received(context.response().headers());
        let body = context.response_mut().body_mut();
        *body = limit_body(std::mem::replace(body, SdkBody::taken()), self.operation.max_response_bytes());
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        match response.body().bytes() {
            Some(body) if response.status().is_success() => Ok(validate_response(self.operation, body)?),
            Some(_) | None => Ok(()),
        }
    }
}
