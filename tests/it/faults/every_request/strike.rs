//! One request of the operator's first life is struck: the operator is killed, or the connection cut, before the request gets
//! to the server, after it got there, or after the answer came back.

use crate::faults::books::intended;
use crate::support::wire::{Answer, Body, Name, Passing, Script};
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
use tokio::sync::{Notify, watch};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Blow {
    Kill,
    Cut,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Point {
    BeforeSending,
    AfterSending,
    AfterTheAnswer,
}

/// Which request is struck, and how.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Strike {
    pub request: Name,
    pub blow: Blow,
    pub point: Point,
}

impl Strike {
    /// All that can be done to a request.
    pub fn all(request: &Name) -> impl Iterator<Item = Self> {
        let points = [Point::BeforeSending, Point::AfterSending, Point::AfterTheAnswer];
        let ways = [Blow::Kill, Blow::Cut].into_iter().flat_map(move |blow| points.map(|point| (blow, point)));
        ways.map(|(blow, point)| Self { request: request.clone(), blow, point })
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} of {}", self.blow, self.point, self.request)
    }
}

/// What both wires of an operator share.
pub struct Striker {
    strike: Option<Strike>,
    /// Of the first life, once it has begun.
    pid: watch::Sender<Option<u32>>,
    stage: watch::Sender<Stage>,
    counts: Mutex<Counts>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The strike is still to come.
    Before,
    /// The operator is about to be killed, and nothing that it sends any more is let through.
    Dying,
    /// The operator was killed.
    Killed,
    /// Nothing more is going to happen.
    Past,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The requests before any second life.
    pub seen: BTreeSet<Name>,
    /// Intents that were let through to the API server.
    pub intents: usize,
    /// Answers that were let through to the service.
    pub answers: usize,
}

impl Striker {
    pub fn new(strike: Option<Strike>) -> Arc<Self> {
        Arc::new(Self {
            strike,
            pid: watch::Sender::new(None),
            stage: watch::Sender::new(Stage::Before),
            counts: Mutex::default(),
        })
    }

    pub fn script(self: &Arc<Self>) -> impl Script {
        let striker = self.clone();
        move |passing| {
            let striker = striker.clone();
            Box::pin(async move { striker.pass(passing).await })
        }
    }

    /// The operator lives.
    pub fn begin(&self, pid: u32) {
        self.pid.send_replace(Some(pid));
    }

    pub async fn until(&self, stage: Stage) {
        self.stage.subscribe().wait_for(|now| *now == stage).await.unwrap();
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// From now on everything is let through.
    pub fn end(&self) {
        self.stage.send_replace(Stage::Past);
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    async fn pass(self: Arc<Self>, passing: Passing) -> Option<Answer> {
        match self.stage() {
            Stage::Before => {}
            Stage::Dying | Stage::Killed => pending().await,
            Stage::Past => return self.forward(passing).await,
        }
        self.counts.lock().unwrap().seen.insert(passing.name.clone());
        let strike = self.strike.as_ref().filter(|strike| strike.request == passing.name);
        let Some(Strike { blow, point, .. }) = strike.cloned() else { return self.forward(passing).await };
        match point {
            Point::BeforeSending => {}
            Point::AfterSending => drop(self.forward(passing).await),
            Point::AfterTheAnswer => {
                let (is_watch, hang_up) = (passing.is_watch(), passing.hang_up.clone());
                let answer = self.forward(passing).await?;
                return Some(self.answered(blow, answer, is_watch, hang_up).await);
            }
        }
        self.fall(blow).await;
        None
    }

    /// The answer is let through, and then it happens. That of a watch never ends, so it is struck after its first word.
    async fn answered(self: Arc<Self>, blow: Blow, answer: Answer, is_watch: bool, hang_up: Arc<Notify>) -> Answer {
        let (head, body) = answer.into_parts();
        let body = if is_watch {
            let end = once(async move {
                self.fall(blow).await;
                Err("cut on purpose".into())
            });
            let words = body.into_data_stream().take(1).chain(end);
            StreamBody::new(words.map(|word| word.map(Frame::data))).boxed_unsync()
        } else {
            let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            if blow == Blow::Kill {
                // Whatever the operator sends from here on has come after the answer.
                self.stage.send_replace(Stage::Dying);
            }
            let end = AtEnd(Some((self, blow, hang_up)));
            Body::new(Whole { bytes: Some(bytes), _end: end })
        };
        Answer::from_parts(head, body)
    }

    async fn fall(self: Arc<Self>, blow: Blow) {
        if self.stage() == Stage::Past {
            return;
        }
        match blow {
            Blow::Kill => {
                self.stage.send_replace(Stage::Dying);
                let pid = self.pid.subscribe().wait_for(Option::is_some).await.unwrap().unwrap_or_default();
                // Not on the connection's time, which ends with the operator.
                tokio::task::spawn_blocking(move || {
                    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
                    self.stage.send_replace(Stage::Killed);
                });
            }
            Blow::Cut => self.end(),
        }
    }

    async fn forward(&self, passing: Passing) -> Option<Answer> {
        match passing.name.kind.as_str() {
            "PutApprovalResult" => self.counts.lock().unwrap().answers += 1,
            "PUT approvaldecisions/status" if intended(&passing.body).is_some() => {
                self.counts.lock().unwrap().intents += 1;
            }
            _ => {}
        }
        passing.forward().await
    }
}

/// A whole body, and what happens when the connection has taken it.
struct Whole {
    bytes: Option<Bytes>,
    _end: AtEnd,
}

impl hyper::body::Body for Whole {
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

struct AtEnd(Option<(Arc<Striker>, Blow, Arc<Notify>)>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        let Some((striker, blow, hang_up)) = self.0.take() else { return };
        hang_up.notify_one();
        tokio::spawn(async move { striker.fall(blow).await });
    }
}
