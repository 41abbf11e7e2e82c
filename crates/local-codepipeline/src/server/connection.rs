//! The accept loop and the connections. It uses hyper directly instead of axum's server: an error of the hyper service
//! closes the connection without a response, as some faults require.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{body::Body, http::Method};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{DATE, HeaderValue},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{aws_protocol, control_routes, fault_effects::ResponseAction, shared_state::Shared, sts};

/// Accepts connections until it is aborted, which also closes them.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&shared), stopped.clone()));
            }
            // Most likely there are no free file descriptors: wait until other connections close.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Closes a connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("closed by an injected fault")]
struct Closed;

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>, stopped: watch::Receiver<()>) {
    // If this fails, responses are only some milliseconds slower.
    let _ = stream.set_nodelay(true);
    let control = TowerToHyperService::new(control_routes::routes(Arc::clone(&shared)));
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, stopped, control) = (Arc::clone(&shared), stopped.clone(), control.clone());
        async move {
            if request.method() != Method::POST || request.uri().path() != "/" {
                return Ok::<Response<Body>, Closed>(control.call(request).await?);
            }
            let action = if sts::is_addressed(request.headers()) {
                sts::handle(request, Arc::clone(&shared), stopped).await
            } else {
                aws_protocol::handle(request, Arc::clone(&shared), stopped).await
            };
            match action {
                ResponseAction::Respond(response) => Ok(with_date(response, &shared)),
                ResponseAction::Close => Err(Closed),
                // Hyper drops this future when the caller disconnects.
                ResponseAction::Hang => pending().await,
            }
        }
    });
    // A connection ends early because of its caller or because of an injected fault.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Sets the `Date` header. Otherwise hyper sets it from the clock of the machine.
fn with_date(mut response: Response<Body>, shared: &Shared) -> Response<Body> {
    let date = shared.lock().date_header();
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
    response
}
