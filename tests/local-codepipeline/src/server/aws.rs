//! The service's protocol, AWS JSON 1.1: `POST /`, the operation in `X-Amz-Target`, JSON both ways, an error as status
//! 400 with its name in `__type`. Faults come in here, between the request and the service.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures::stream::unfold;
use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    shared::{Shared, State},
    signature,
};
use crate::{
    api::{self, Answer, Operation, PutApprovalResultInput},
    faults::{AfterApplying, Effect, ErrorAnswer, Fault, InsteadOfApplying},
};

const TARGET_PREFIX: &str = "CodePipeline_20150709.";
const LARGEST_BODY: usize = 1024 * 1024;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Of an answer that has no end.
const PIECE: usize = 64 * 1024;
const BLANK_EACH: Duration = Duration::from_millis(50);

/// What the caller gets.
pub(super) enum Reply {
    Answer(Response<Body>),
    Close,
    Hang,
}

/// A request that has been read.
struct Call {
    operation: Operation,
    caller: String,
    body: Vec<u8>,
}

pub(super) async fn reply(request: Request<Incoming>, shared: Arc<Shared>, stopped: watch::Receiver<()>) -> Reply {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    let Ok(body) = body.map(|body| body.to_bytes().to_vec()) else {
        return error(&ErrorAnswer::new(
            413,
            "RequestEntityTooLargeException",
            "The request body is too large or cut.",
        ));
    };
    let (operation, access_key) = match (operation(&head.headers), signature::access_key(&head.headers)) {
        (Ok(operation), Ok(access_key)) => (operation, access_key),
        (Err(answer), _) | (_, Err(answer)) => return error(&answer),
    };
    let pipeline = pipeline_of(operation, &body);
    let (call, fault) = {
        let mut state = shared.lock();
        let fault = state.faults.hit(operation, pipeline.as_deref());
        state.requests.add(operation, pipeline);
        let caller = state.service.account().user(&access_key);
        (Call { operation, caller, body }, fault)
    };
    // A task of its own, since a request that is under way gets to the service even if its caller does not wait.
    let under_way = tokio::spawn(until_stopped(stopped, carry_out(shared, call, fault)));
    under_way.await.unwrap_or(Reply::Close)
}

fn operation(headers: &HeaderMap) -> Result<Operation, ErrorAnswer> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let name = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let message = format!("Unknown operation: {}", target.unwrap_or("no X-Amz-Target header"));
        ErrorAnswer::new(400, "UnknownOperationException", message)
    })
}

fn pipeline_of(operation: Operation, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.get(operation.pipeline_member()?)?.as_str()?.to_owned())
}

/// Waits for the work, but not beyond the end of the endpoint.
async fn until_stopped(mut stopped: watch::Receiver<()>, work: impl Future<Output = Reply>) -> Reply {
    tokio::select! {
        reply = work => reply,
        _ = stopped.changed() => Reply::Close,
    }
}

async fn carry_out(shared: Arc<Shared>, call: Call, fault: Option<Fault>) -> Reply {
    let Some(fault) = fault else {
        return apply(&mut shared.lock(), &call);
    };
    let (before, after) = fault.delays();
    tokio::time::sleep(before).await;
    let reply = match fault.effect() {
        Effect::NotApplied(instead) => {
            note_not_applied(&mut shared.lock(), &call, &fault);
            match instead {
                InsteadOfApplying::Error(answer) => error(answer),
                InsteadOfApplying::NotJson => web_page(),
                InsteadOfApplying::Close => Reply::Close,
                InsteadOfApplying::Hang => Reply::Hang,
            }
        }
        Effect::Applied(answer) => {
            let reply = {
                let mut state = shared.lock();
                let entries = state.service.ledger().len();
                let reply = apply(&mut state, &call);
                if state.service.ledger().len() > entries {
                    state.service.note_fault(&fault.to_string());
                }
                reply
            };
            match answer {
                AfterApplying::Answer => reply,
                AfterApplying::AnswerWithoutApprovedAt => without_approved_at(reply),
                AfterApplying::ServerError(server_error) => error(&(*server_error).into()),
                AfterApplying::NotJson => web_page(),
                AfterApplying::OtherJson => json_answer(200, &json!({ "error": "blocked", "code": "captive-portal" })),
                AfterApplying::Blank => respond(200, CONTENT_TYPE, " "),
                AfterApplying::Endless => endless(Duration::ZERO, "{\"blocked\":\"", &"x".repeat(PIECE)),
                AfterApplying::Trickle => endless(BLANK_EACH, "", " "),
                AfterApplying::Close => Reply::Close,
                AfterApplying::Hang => Reply::Hang,
            }
        }
    };
    tokio::time::sleep(after).await;
    reply
}

fn apply(state: &mut State, call: &Call) -> Reply {
    let now = state.now();
    match api::answer(&mut state.service, now, &call.caller, call.operation, &call.body) {
        Answer::Done(output) => json_answer(200, &output),
        Answer::Refused(exception) => error(&ErrorAnswer::new(400, exception.kind.name(), exception.message)),
        Answer::Unreadable(why) => error(&ErrorAnswer::new(400, "SerializationException", why)),
    }
}

fn note_not_applied(state: &mut State, call: &Call, fault: &Fault) {
    if call.operation != Operation::PutApprovalResult {
        return;
    }
    if let Ok(input) = serde_json::from_slice::<PutApprovalResultInput>(&call.body) {
        let now = state.now();
        state.service.record_not_applied(now, &call.caller, &input);
        state.service.note_fault(&fault.to_string());
    }
}

/// A success loses its `approvedAt`; what else there is to say stays as it is.
fn without_approved_at(reply: Reply) -> Reply {
    match reply {
        Reply::Answer(answer) if answer.status().is_success() => json_answer(200, &json!({})),
        other => other,
    }
}

fn error(answer: &ErrorAnswer) -> Reply {
    json_answer(answer.status, &json!({ "__type": answer.kind, "message": answer.message }))
}

fn json_answer(status: u16, body: &Value) -> Reply {
    respond(status, CONTENT_TYPE, body.to_string())
}

fn web_page() -> Reply {
    respond(200, "text/html", "<html><body>Please sign in to this network.</body></html>")
}

/// A first piece, and then another for ever, each time after a pause.
fn endless(pause: Duration, first: &'static str, piece: &str) -> Reply {
    let pieces =
        unfold((Bytes::from(first), Bytes::copy_from_slice(piece.as_bytes())), move |(piece, next)| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Some((Ok::<_, Infallible>(piece), (next.clone(), next)))
        });
    respond(200, CONTENT_TYPE, Body::from_stream(pieces))
}

fn respond(status: u16, content_type: &str, body: impl Into<Body>) -> Reply {
    let answer = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-requestid", Uuid::new_v4().to_string())
        .body(body.into());
    // A fault may have been given a status that HTTP does not have.
    answer.map_or(Reply::Close, Reply::Answer)
}
