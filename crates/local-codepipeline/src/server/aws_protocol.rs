//! The wire protocol, AWS JSON 1.1: `POST /`, the operation in `X-Amz-Target`, JSON in both directions, an error as
//! status 400 with its name in `__type`. Injected faults apply here.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures::stream::unfold;
use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    shared_state::{Shared, State},
    signature::{self, AwsService},
};
use crate::{
    api::{self, DispatchError, Operation, PutApprovalResultInput},
    faults::{AfterApplying, Effect, ErrorResponse, Fault, InsteadOfApplying},
};

const TARGET_PREFIX: &str = "CodePipeline_20150709.";
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// The size of the chunks of an endless response.
const CHUNK_BYTES: usize = 64 * 1024;
const TRICKLE_INTERVAL: Duration = Duration::from_millis(50);

/// What to do with the connection of a request.
pub(super) enum ResponseAction {
    Respond(Response<Body>),
    Close,
    Hang,
}

/// A request whose body has been read.
struct Call {
    operation: Operation,
    caller: String,
    body: Vec<u8>,
}

pub(super) async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
) -> ResponseAction {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let Ok(body) = body.map(|body| body.to_bytes().to_vec()) else {
        return error_response(&ErrorResponse::new(
            413,
            "RequestEntityTooLargeException",
            "The request body is too large or incomplete.",
        ));
    };
    let (operation, access_key) =
        match (operation(&head.headers), signature::access_key(&head.headers, AwsService::CodePipeline)) {
            (Ok(operation), Ok(access_key)) => (operation, access_key),
            (Err(error), _) | (_, Err(error)) => return error_response(&error),
        };
    let pipeline = pipeline_of(operation, &body);
    let (call, fault) = {
        let mut state = shared.lock();
        if state.refused_access_keys.contains(&access_key) {
            return error_response(&signature::unknown_access_key());
        }
        let fault = state.faults.take(operation, pipeline.as_deref());
        state.requests.add(operation, pipeline);
        let caller = state.service.account().user(&access_key);
        (Call { operation, caller, body }, fault)
    };
    // A separate task, so that a request is applied even if its caller disconnects.
    let task = tokio::spawn(until_stopped(stopped, process(shared, call, fault)));
    task.await.unwrap_or(ResponseAction::Close)
}

fn operation(headers: &HeaderMap) -> Result<Operation, ErrorResponse> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let name = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let message = format!("Unknown operation: {}", target.unwrap_or("no X-Amz-Target header"));
        ErrorResponse::new(400, "UnknownOperationException", message)
    })
}

fn pipeline_of(operation: Operation, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.get(operation.pipeline_member()?)?.as_str()?.to_owned())
}

/// Waits for the future, but at most until the endpoint stops.
async fn until_stopped(
    mut stopped: watch::Receiver<()>,
    future: impl Future<Output = ResponseAction>,
) -> ResponseAction {
    tokio::select! {
        action = future => action,
        _ = stopped.changed() => ResponseAction::Close,
    }
}

async fn process(shared: Arc<Shared>, call: Call, fault: Option<Fault>) -> ResponseAction {
    let Some(fault) = fault else {
        return apply(&mut shared.lock(), &call);
    };
    let (delay_before, delay_after) = fault.delays();
    tokio::time::sleep(delay_before).await;
    let action = match fault.effect() {
        Effect::NotApplied(instead) => {
            record_not_applied(&mut shared.lock(), &call, &fault);
            match instead {
                InsteadOfApplying::Error(error) => error_response(error),
                InsteadOfApplying::NotJson => html_response(),
                InsteadOfApplying::Close => ResponseAction::Close,
                InsteadOfApplying::Hang => ResponseAction::Hang,
            }
        }
        Effect::Applied(after) => {
            let action = {
                let mut state = shared.lock();
                let entries = state.service.ledger().len();
                let action = apply(&mut state, &call);
                if state.service.ledger().len() > entries {
                    state.service.record_fault(&fault.to_string());
                }
                action
            };
            match after {
                AfterApplying::Response => action,
                AfterApplying::ResponseWithoutApprovedAt => without_approved_at(action),
                AfterApplying::ServerError(error) => error_response(&(*error).into()),
                AfterApplying::NotJson => html_response(),
                AfterApplying::OtherJson => {
                    json_response(200, &json!({ "error": "blocked", "code": "captive-portal" }))
                }
                AfterApplying::Blank => response(200, CONTENT_TYPE, " "),
                AfterApplying::Endless => endless_response(Duration::ZERO, "{\"blocked\":\"", &"x".repeat(CHUNK_BYTES)),
                AfterApplying::Trickle => endless_response(TRICKLE_INTERVAL, "", " "),
                AfterApplying::Close => ResponseAction::Close,
                AfterApplying::Hang => ResponseAction::Hang,
            }
        }
    };
    tokio::time::sleep(delay_after).await;
    action
}

fn apply(state: &mut State, call: &Call) -> ResponseAction {
    let now = state.now();
    match api::dispatch(&mut state.service, now, &call.caller, call.operation, &call.body) {
        Ok(output) => json_response(200, &output),
        Err(DispatchError::Exception(exception)) => {
            error_response(&ErrorResponse::new(400, exception.kind.name(), exception.message))
        }
        Err(DispatchError::Malformed(message)) => {
            error_response(&ErrorResponse::new(400, "SerializationException", message))
        }
    }
}

fn record_not_applied(state: &mut State, call: &Call, fault: &Fault) {
    if call.operation != Operation::PutApprovalResult {
        return;
    }
    if let Ok(input) = serde_json::from_slice::<PutApprovalResultInput>(&call.body) {
        let now = state.now();
        state.service.record_not_applied(now, &call.caller, &input);
        state.service.record_fault(&fault.to_string());
    }
}

/// Removes `approvedAt` from a success. Other responses stay unchanged.
fn without_approved_at(action: ResponseAction) -> ResponseAction {
    match action {
        ResponseAction::Respond(response) if response.status().is_success() => json_response(200, &json!({})),
        other => other,
    }
}

fn error_response(error: &ErrorResponse) -> ResponseAction {
    json_response(error.status, &json!({ "__type": error.kind, "message": error.message }))
}

fn json_response(status: u16, body: &Value) -> ResponseAction {
    response(status, CONTENT_TYPE, body.to_string())
}

fn html_response() -> ResponseAction {
    response(200, "text/html", "<html><body>Please sign in to this network.</body></html>")
}

/// A response whose body starts with `first` and then repeats `chunk`, with a pause before each.
fn endless_response(pause: Duration, first: &'static str, chunk: &str) -> ResponseAction {
    let start = (Bytes::from(first), Bytes::copy_from_slice(chunk.as_bytes()));
    let chunks = unfold(start, move |(current, next)| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, Infallible>(current), (next.clone(), next)))
    });
    response(200, CONTENT_TYPE, Body::from_stream(chunks))
}

pub(super) fn response(status: u16, content_type: &str, body: impl Into<Body>) -> ResponseAction {
    let response = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-requestid", Uuid::new_v4().to_string())
        .body(body.into());
    // A fault can have a status that is invalid in HTTP.
    response.map_or(ResponseAction::Close, ResponseAction::Respond)
}
