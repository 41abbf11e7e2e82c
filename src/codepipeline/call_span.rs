//! The span of a call to CodePipeline, for traces.

use super::call_metrics::outcome;
use super::error::CallError;
use super::operation::Operation;
use crate::telemetry::SPAN_TARGET;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// The span of a call, with the attribute names of the OpenTelemetry semantic conventions.
pub(super) fn call_span(operation: Operation) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "call",
        otel.name = %format_args!("CodePipeline/{}", operation.as_str()),
        otel.kind = "client",
        rpc.system = "aws-api",
        rpc.service = "CodePipeline",
        rpc.method = operation.as_str(),
        outcome = Empty,
        aws.request_id = Empty,
        otel.status_code = Empty,
    )
}

pub(super) fn end_call(span: &Span, error: Option<&CallError>, request_id: Option<&str>) {
    span.record("outcome", outcome(error));
    if let Some(id) = request_id {
        span.record("aws.request_id", id);
    }
    if error.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}
