//! Injects a fault at one request of the operator's first process: kills the operator, or closes the connection, before the server
//! gets the request, after the server got it, or after the operator got the response.

use crate::faults::request_log::intent_token;
use futures::StreamExt;
use futures::stream::once;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, SizeHint};
use std::collections::BTreeSet;
use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use test_support::proxy::{Body, Handler, ProxiedRequest, RequestName, Response};
use tokio::sync::{Notify, watch};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FaultKind {
    Kill,
    Disconnect,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Point {
    BeforeForwarding,
    AfterForwarding,
    AfterResponse,
}

/// A fault, and the request at which it is injected.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Injection {
    pub request: RequestName,
    pub kind: FaultKind,
    pub point: Point,
}

impl Injection {
    /// All faults at a request.
    pub fn all(request: &RequestName) -> impl Iterator<Item = Self> {
        let points = [Point::BeforeForwarding, Point::AfterForwarding, Point::AfterResponse];
        let faults = [FaultKind::Kill, FaultKind::Disconnect];
        let faults = faults.into_iter().flat_map(move |kind| points.map(|point| (kind, point)));
        faults.map(|(kind, point)| Self { request: request.clone(), kind, point })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} of {}", self.kind, self.point, self.request)
    }
}

/// Handles the requests of an operator to both servers, and injects the fault.
pub struct Injector {
    injection: Option<Injection>,
    /// Of the operator's first process, once it has started.
    pid: watch::Sender<Option<u32>>,
    stage: watch::Sender<Stage>,
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// No fault was injected yet.
    Before,
    /// The operator is being killed. Requests that it still sends are not forwarded.
    Killing,
    /// The operator was killed.
    Killed,
    /// No further fault is injected.
    Over,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The requests of the first process.
    pub requests: BTreeSet<RequestName>,
    /// Intents that were forwarded to the API server.
    pub intents: usize,
    /// Submissions that were forwarded to CodePipeline.
    pub submissions: usize,
}

impl Injector {
    pub fn new(injection: Option<Injection>) -> Arc<Self> {
        Arc::new(Self {
            injection,
            pid: watch::Sender::new(None),
            stage: watch::Sender::new(Stage::Before),
            counts: Mutex::default(),
        })
    }

    pub fn handler(self: &Arc<Self>) -> impl Handler {
        let injector = self.clone();
        move |request| {
            let injector = injector.clone();
            Box::pin(async move { injector.handle(request).await })
        }
    }

    /// The operator has started.
    pub fn start(&self, pid: u32) {
        self.pid.send_replace(Some(pid));
    }

    pub async fn wait_for(&self, stage: Stage) {
        self.stage.subscribe().wait_for(|now| *now == stage).await.unwrap();
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Forwards all requests from now on.
    pub fn stop(&self) {
        self.stage.send_replace(Stage::Over);
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    async fn handle(self: Arc<Self>, request: ProxiedRequest) -> Option<Response> {
        match self.stage() {
            Stage::Before => {}
            Stage::Killing | Stage::Killed => pending().await,
            Stage::Over => return self.forward(request).await,
        }
        self.counts.lock().unwrap().requests.insert(request.name.clone());
        let injection = self.injection.as_ref().filter(|injection| injection.request == request.name);
        let Some(Injection { kind, point, .. }) = injection.cloned() else { return self.forward(request).await };
        match point {
            Point::BeforeForwarding => {}
            Point::AfterForwarding => drop(self.forward(request).await),
            Point::AfterResponse => {
                let (is_watch, close_connection) = (request.is_watch(), request.close_connection.clone());
                let response = self.forward(request).await?;
                return Some(self.inject_after(response, kind, is_watch, close_connection).await);
            }
        }
        self.inject(kind).await;
        None
    }

    /// Returns the response, and injects the fault after it. The response to a watch does not end, so the fault follows its first
    /// chunk.
    async fn inject_after(
        self: Arc<Self>,
        response: Response,
        kind: FaultKind,
        is_watch: bool,
        close_connection: Arc<Notify>,
    ) -> Response {
        let (head, body) = response.into_parts();
        let body = if is_watch {
            let end = once(async move {
                self.inject(kind).await;
                Err("injected disconnect".into())
            });
            let chunks = body.into_data_stream().take(1).chain(end);
            StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
        } else {
            let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            if kind == FaultKind::Kill {
                // The operator sends any further request after it got the response.
                self.stage.send_replace(Stage::Killing);
            }
            let inject = InjectOnDrop(Some((self, kind, close_connection)));
            Body::new(WholeBody { bytes: Some(bytes), _inject: inject })
        };
        Response::from_parts(head, body)
    }

    async fn inject(self: Arc<Self>, kind: FaultKind) {
        if self.stage() == Stage::Over {
            return;
        }
        match kind {
            FaultKind::Kill => {
                self.stage.send_replace(Stage::Killing);
                let pid = self.pid.subscribe().wait_for(Option::is_some).await.unwrap().unwrap_or_default();
                // In a task of its own, because that of the connection ends with the operator.
                tokio::task::spawn_blocking(move || {
                    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
                    self.stage.send_replace(Stage::Killed);
                });
            }
            FaultKind::Disconnect => self.stop(),
        }
    }

    async fn forward(&self, request: ProxiedRequest) -> Option<Response> {
        match request.name.kind.as_str() {
            "PutApprovalResult" => self.counts.lock().unwrap().submissions += 1,
            "PUT approvaldecisions/status" if intent_token(&request.body).is_some() => {
                self.counts.lock().unwrap().intents += 1;
            }
            _ => {}
        }
        request.forward().await
    }
}

/// A complete body. The fault is injected when the connection drops it.
struct WholeBody {
    bytes: Option<Bytes>,
    _inject: InjectOnDrop,
}

impl hyper::body::Body for WholeBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.as_ref().map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes.len() as u64))
    }
}

struct InjectOnDrop(Option<(Arc<Injector>, FaultKind, Arc<Notify>)>);

impl Drop for InjectOnDrop {
    fn drop(&mut self) {
        let Some((injector, kind, close_connection)) = self.0.take() else { return };
        close_connection.notify_one();
        tokio::spawn(async move { injector.inject(kind).await });
    }
}
