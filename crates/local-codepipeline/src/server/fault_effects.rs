//! Applies a request with the effect of an injected fault. It is the same for both wire protocols.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures::stream::unfold;
use hyper::Response;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::shared_state::{Shared, State};
use crate::faults::{AfterApplying, Effect, ErrorResponse, Fault, InsteadOfApplying};

/// The size of the chunks of an endless response.
const CHUNK_BYTES: usize = 64 * 1024;
const TRICKLE_INTERVAL: Duration = Duration::from_millis(50);

/// What to do with the connection of a request.
pub(super) enum ResponseAction {
    Respond(Response<Body>),
    Close,
    Hang,
}

/// An authenticated request of one of the wire protocols, whose body has been read.
pub(super) trait Call: Send + 'static {
    const CONTENT_TYPE: &'static str;

    /// Applies the request. The ledger has the fault that affects it.
    fn apply(&self, state: &mut State, fault: Option<&Fault>) -> ResponseAction;

    /// Records that a fault dropped the request.
    fn record_not_applied(&self, state: &mut State, fault: &Fault);

    fn error_response(error: &ErrorResponse) -> ResponseAction;

    /// The response without its `approvedAt`, where it has one.
    fn without_approved_at(action: ResponseAction) -> ResponseAction;
}

/// Responds to a request in a separate task, so that it is applied even if its caller disconnects, and until the endpoint
/// stops.
pub(super) async fn respond<C: Call>(
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
    call: C,
    fault: Option<Fault>,
) -> ResponseAction {
    let task = tokio::spawn(async move {
        tokio::select! {
            action = process(shared, call, fault) => action,
            _ = stopped.changed() => ResponseAction::Close,
        }
    });
    task.await.unwrap_or(ResponseAction::Close)
}

async fn process<C: Call>(shared: Arc<Shared>, call: C, fault: Option<Fault>) -> ResponseAction {
    let Some(fault) = fault else {
        return call.apply(&mut shared.lock(), None);
    };
    let (delay_before, delay_after) = fault.delays();
    tokio::time::sleep(delay_before).await;
    let action = match fault.effect() {
        Effect::NotApplied(instead) => {
            call.record_not_applied(&mut shared.lock(), &fault);
            match instead {
                InsteadOfApplying::Error(error) => C::error_response(error),
                InsteadOfApplying::NotJson => html_response(),
                InsteadOfApplying::Close => ResponseAction::Close,
                InsteadOfApplying::Hang => ResponseAction::Hang,
            }
        }
        Effect::Applied(after) => {
            let action = call.apply(&mut shared.lock(), Some(&fault));
            after_applying::<C>(*after, action)
        }
    };
    tokio::time::sleep(delay_after).await;
    action
}

fn after_applying<C: Call>(after: AfterApplying, action: ResponseAction) -> ResponseAction {
    let endless = |pause, first, chunk: &str| endless_response(C::CONTENT_TYPE, pause, first, chunk);
    match after {
        AfterApplying::Response => action,
        AfterApplying::ResponseWithoutApprovedAt => C::without_approved_at(action),
        AfterApplying::ServerError(error) => C::error_response(&error.into()),
        AfterApplying::NotJson => html_response(),
        AfterApplying::OtherJson => {
            let body = json!({ "error": "blocked", "code": "captive-portal" });
            response(200, C::CONTENT_TYPE, body.to_string())
        }
        AfterApplying::Blank => response(200, C::CONTENT_TYPE, " "),
        AfterApplying::Endless => endless(Duration::ZERO, "{\"blocked\":\"", &"x".repeat(CHUNK_BYTES)),
        AfterApplying::Trickle => endless(TRICKLE_INTERVAL, "", " "),
        AfterApplying::Close => ResponseAction::Close,
        AfterApplying::Hang => ResponseAction::Hang,
    }
}

fn html_response() -> ResponseAction {
    response(200, "text/html", "<html><body>Please sign in to this network.</body></html>")
}

/// A response whose body starts with `first` and then repeats `chunk`, with a pause before each.
fn endless_response(content_type: &str, pause: Duration, first: &'static str, chunk: &str) -> ResponseAction {
    let start = (Bytes::from(first), Bytes::copy_from_slice(chunk.as_bytes()));
    let chunks = unfold(start, move |(current, next)| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, Infallible>(current), (next.clone(), next)))
    });
    response(200, content_type, Body::from_stream(chunks))
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
