//! Rewrites the response to a watch event by event: a test can delay, repeat or drop an event, or end the watch. The
//! events of one object stay in order, and a bookmark comes after all events that it covers: no API server breaks that.

use super::proxy::Response;
use futures::StreamExt;
use futures::stream::poll_fn;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// What the operator receives in place of an event, or after it.
pub enum StreamItem {
    Event(Value),
    /// The watch ends after all delayed events.
    End,
}

/// An item, and its delay.
pub type DelayedItem = (Duration, StreamItem);

/// The event by which an API server ends a watch whose resource version is too old.
pub fn expired_event() -> Value {
    let message = "The resourceVersion for the provided watch is too old.";
    serde_json::json!({
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Expired", "code": 410,
        },
    })
}

/// The same response, with each event replaced by what the function returns for it.
pub fn rewrite(response: Response, mut replace: impl FnMut(Value) -> Vec<DelayedItem> + Send + 'static) -> Response {
    let (head, body) = response.into_parts();
    let (sender, mut receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut frames = BodyStream::new(body);
        let mut buffer = Vec::new();
        let mut queue = DelayQueue::default();
        loop {
            let due = queue.next_due();
            tokio::select! {
                biased;
                () = sender.closed() => return,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if !queue.send_due(Instant::now(), &sender) {
                        return;
                    }
                }
                frame = frames.next() => {
                    let Some(Ok(frame)) = frame else { break };
                    buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                    while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = buffer.drain(..=end).collect();
                        let event = serde_json::from_slice(&line).unwrap();
                        replace(event).into_iter().for_each(|item| queue.push(item));
                    }
                }
            }
        }
        // A client resumes the watch after the newest event that it received, so it must receive all of them.
        queue.send_all(&sender);
    });
    let lines = poll_fn(move |task| receiver.poll_recv(task));
    let body = StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync();
    Response::from_parts(head, body)
}

/// The delayed items, in the order in which they are sent.
#[derive(Default)]
struct DelayQueue {
    items: BTreeMap<(Instant, u64), StreamItem>,
    count: u64,
    /// For each object, the time before which no further event of it may be sent.
    not_before: HashMap<String, Instant>,
}

impl DelayQueue {
    fn push(&mut self, (delay, item): DelayedItem) {
        let mut at = Instant::now() + delay;
        match &item {
            StreamItem::Event(event) if event["type"] != "BOOKMARK" && event["type"] != "ERROR" => {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let not_before = self.not_before.entry(name).or_insert(at);
                at = at.max(*not_before);
                *not_before = at;
            }
            StreamItem::Event(_) | StreamItem::End => {
                at = self.items.last_key_value().map_or(at, |((last, _), _)| at.max(*last));
            }
        }
        self.count += 1;
        self.items.insert((at, self.count), item);
    }

    fn next_due(&self) -> Option<Instant> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    /// Sends the items that are due. False when the watch has ended.
    fn send_due(&mut self, now: Instant, to: &UnboundedSender<Bytes>) -> bool {
        while self.next_due().is_some_and(|due| due <= now) {
            match self.items.pop_first() {
                Some((_, StreamItem::Event(event))) => {
                    let _ = to.send(format!("{event}\n").into());
                }
                Some((_, StreamItem::End)) => return false,
                None => {}
            }
        }
        true
    }

    fn send_all(mut self, to: &UnboundedSender<Bytes>) {
        if let Some(((last, _), _)) = self.items.last_key_value() {
            let last = *last;
            self.send_due(last, to);
        }
    }
}
