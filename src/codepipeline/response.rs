//! What a response has to be to count as the service's word: of a length that it can have, and an answer to the operation
//! that was called. What stands in between may answer in its place, and not even that need come to an end.

use super::client::Operation;
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use futures::future::ready;
use futures::{TryStreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use serde::de::IgnoredAny;
use std::collections::HashMap;

/// What a response is that is none of the service's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The SDK takes an empty one, and one of blanks, for an answer that leaves everything out.
    #[error("the response is no JSON object")]
    NoObject,
    /// The SDK looks for the members that it knows, and is content if there are none.
    #[error("the response is no answer to {}", .0.as_str())]
    OfAnother(Operation),
}

impl Operation {
    /// The most bytes that an answer may have.
    const fn longest_answer(self) -> usize {
        match self {
            // A time, or an exception.
            Self::PutApprovalResult => 64 * 1024,
            // A page has a hundred entries, each with all that its action was configured with and came to.
            Self::GetPipelineState
            | Self::ListPipelineExecutions
            | Self::GetPipelineExecution
            | Self::ListActionExecutions => 8 * 1024 * 1024,
        }
    }

    /// What an answer is about, where it leaves out nothing.
    const fn answer_member(self) -> &'static str {
        match self {
            Self::PutApprovalResult => "approvedAt",
            Self::GetPipelineState => "stageStates",
            Self::ListPipelineExecutions => "pipelineExecutionSummaries",
            Self::GetPipelineExecution => "pipelineExecution",
            Self::ListActionExecutions => "actionExecutionDetails",
        }
    }
}

/// The body, which fails where it is longer than an answer can be. It comes in one piece: kept in many, each of a byte, it
/// would take more memory by far than it is long.
pub(super) fn bounded(body: SdkBody, operation: Operation) -> SdkBody {
    let parts = Limited::new(body, operation.longest_answer()).into_data_stream();
    let whole = parts.try_fold(Vec::new(), |mut whole, part| {
        whole.extend_from_slice(&part);
        ready(Ok(whole))
    });
    SdkBody::from_body_1_x(StreamBody::new(stream::once(whole).map_ok(|whole| Frame::data(Bytes::from(whole)))))
}

/// Sees to it that a success is an answer to the operation. Any member may be left out of one, but not in favour of others.
pub(super) fn ensure_answer(operation: Operation, body: &[u8]) -> Result<(), NoAnswer> {
    let text = std::str::from_utf8(body).map_err(|_| NoAnswer::NoObject)?;
    let members: HashMap<String, IgnoredAny> = serde_json::from_str(text).map_err(|_| NoAnswer::NoObject)?;
    if members.is_empty() || members.contains_key(operation.answer_member()) {
        Ok(())
    } else {
        Err(NoAnswer::OfAnother(operation))
    }
}
