//! What makes a response valid: its size is limited, and it belongs to the operation that was called. A proxy between the
//! operator and CodePipeline can respond too, and such a response may not even end.

use super::operation::Operation;
use crate::error_chain::{caused_by, display_chain};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use axum::body::Bytes;
use futures::future::ready;
use futures::{TryStreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::error::Error;

/// Why a successful response does not come from CodePipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidResponse {
    /// The SDK accepts an empty or blank body as a response without members.
    #[error("the response is not a JSON object")]
    NotAnObject,
    /// The SDK reads the members that it knows, and accepts a response that has none of them.
    #[error("the response is not a {} response", .0.as_str())]
    WrongOperation(Operation),
}

impl Operation {
    /// The maximum size of a response.
    pub(super) const fn max_response_bytes(self) -> usize {
        match self {
            // A time, or an exception.
            Self::PutApprovalResult => 64 * 1024,
            // A page has a hundred entries, each with the configuration and the output of its action.
            Self::GetPipelineState
            | Self::ListPipelineExecutions
            | Self::GetPipelineExecution
            | Self::ListActionExecutions => 8 * 1024 * 1024,
        }
    }

    /// The member that a complete response has.
    const fn response_member(self) -> &'static str {
        match self {
            Self::PutApprovalResult => "approvedAt",
            Self::GetPipelineState => "stageStates",
            Self::ListPipelineExecutions => "pipelineExecutionSummaries",
            Self::GetPipelineExecution => "pipelineExecution",
            Self::ListActionExecutions => "actionExecutionDetails",
        }
    }
}

/// A body that fails once it exceeds the maximum size. It is delivered in one piece: a body of many one-byte pieces would take
/// far more memory than its length.
pub(super) fn limit_body(body: SdkBody, max_bytes: usize) -> SdkBody {
    let parts = Limited::new(body, max_bytes).into_data_stream();
    let whole = parts.try_fold(Vec::new(), |mut whole, part| {
        whole.extend_from_slice(&part);
        ready(Ok(whole))
    });
    SdkBody::from_body_1_x(StreamBody::new(stream::once(whole).map_ok(|whole| Frame::data(Bytes::from(whole)))))
}

/// Checks that a successful response belongs to the operation. CodePipeline may omit any member, but a response that has
/// other members only does not come from it.
pub(super) fn validate_response(operation: Operation, body: &[u8]) -> Result<(), InvalidResponse> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidResponse::NotAnObject)?;
    let members: HashMap<String, IgnoredAny> = serde_json::from_str(text).map_err(|_| InvalidResponse::NotAnObject)?;
    if members.is_empty() || members.contains_key(operation.response_member()) {
        Ok(())
    } else {
        Err(InvalidResponse::WrongOperation(operation))
    }
}

/// What is wrong with a response that the SDK could not read, for users. The SDK's own words hide the HTTP status, and take a
/// page of a proxy for malformed JSON of CodePipeline.
pub(super) fn describe_unreadable(response: &HttpResponse, error: &(dyn Error + 'static)) -> String {
    let status = response.status().as_u16();
    let unreadable = || format!("HTTP status {status}, and the response could not be read: {}", display_chain(error));
    let Some(body) = response.body().bytes() else { return unreadable() };
    let problem = if body.trim_ascii().is_empty() {
        "the response is empty".to_owned()
    } else if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        "the response is not JSON".to_owned()
    } else if let Some(invalid) = caused_by::<InvalidResponse>(error) {
        invalid.to_string()
    } else if let Some(metadata) = caused_by::<ErrorMetadata>(error) {
        // CodePipeline always names the exception.
        format!("the response names no exception ({})", metadata.message().unwrap_or("without a message"))
    } else {
        return unreadable();
    };
    format!("HTTP status {status}, and {problem}; a proxy or load balancer may have sent it")
}
