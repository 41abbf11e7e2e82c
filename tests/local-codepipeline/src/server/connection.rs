//! The accept loop and what is on a connection. Hyper is driven directly rather than through axum's own server: an error
//! of the service then closes the connection with nothing written to it, which is what a fault needs.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{body::Body, http::Method};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    aws::{self, Reply},
    control,
    shared::Shared,
};

/// Takes connections until it is aborted, which takes them along.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&shared), stopped.clone()));
            }
            // No file descriptors left, most likely: those who are connected will let go of some.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stopped: watch::Receiver<()>) {
    // A refusal to do so costs some milliseconds and nothing else.
    let _ = stream.set_nodelay(true);
    let control = TowerToHyperService::new(control::routes(Arc::clone(&shared)));
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, stopped, control) = (Arc::clone(&shared), stopped.clone(), control.clone());
        async move {
            if request.method() != Method::POST || request.uri().path() != "/" {
                return Ok::<Response<Body>, Closed>(control.call(request).await?);
            }
            match aws::reply(request, shared, stopped).await {
                Reply::Answer(answer) => Ok(answer),
                Reply::Close => Err(Closed),
                // Hyper drops this when the caller leaves.
                Reply::Hang => pending().await,
            }
        }
    });
    // What ends a connection early is either the caller's business or a fault that was asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
