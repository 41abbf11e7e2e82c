//! The answer to a watch, told event by event: a test may keep an event back, tell it twice, leave it out, or end the watch.
//! Whatever it does, the events of one object come in their order, and a bookmark comes after all that it stands for: no API
//! server breaks that.

use super::wire::Answer;
use futures::StreamExt;
use futures::stream::poll_fn;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// What is told in place of an event, or after it.
pub enum Telling {
    Event(Value),
    /// The watch ends, once all that is kept back was told.
    End,
}

/// A telling, and how long it is kept back.
pub type Told = (Duration, Telling);

/// An API server's word that the watch has missed too much.
pub fn expired() -> Value {
    let message = "The resourceVersion for the provided watch is too old.";
    serde_json::json!({
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Expired", "code": 410,
        },
    })
}

/// The same answer with each of its events told as the teller has it.
pub fn retell(answer: Answer, mut teller: impl FnMut(Value) -> Vec<Told> + Send + 'static) -> Answer {
    let (head, body) = answer.into_parts();
    let (sender, mut receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut heard = BodyStream::new(body);
        let mut rest = Vec::new();
        let mut kept = Kept::default();
        loop {
            let due = kept.next_due();
            tokio::select! {
                biased;
                () = sender.closed() => return,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if !kept.tell(Instant::now(), &sender) {
                        return;
                    }
                }
                frame = heard.next() => {
                    let Some(Ok(frame)) = frame else { break };
                    rest.extend_from_slice(&frame.into_data().unwrap_or_default());
                    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = rest.drain(..=end).collect();
                        let event = serde_json::from_slice(&line).unwrap();
                        teller(event).into_iter().for_each(|told| kept.keep(told));
                    }
                }
            }
        }
        // Whoever resumes this watch does so after the newest event that was told, so none may be left out.
        kept.tell_all(&sender);
    });
    let lines = poll_fn(move |task| receiver.poll_recv(task));
    let body = StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync();
    Answer::from_parts(head, body)
}

/// What was heard and not told yet, in the order in which it is going to be.
#[derive(Default)]
struct Kept {
    tellings: BTreeMap<(Instant, u64), Telling>,
    count: u64,
    /// Before when nothing more of an object may be told.
    until: HashMap<String, Instant>,
}

impl Kept {
    fn keep(&mut self, (delay, telling): Told) {
        let mut at = Instant::now() + delay;
        match &telling {
            Telling::Event(event) if event["type"] != "BOOKMARK" && event["type"] != "ERROR" => {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let until = self.until.entry(name).or_insert(at);
                at = at.max(*until);
                *until = at;
            }
            Telling::Event(_) | Telling::End => {
                at = self.tellings.last_key_value().map_or(at, |((last, _), _)| at.max(*last));
            }
        }
        self.count += 1;
        self.tellings.insert((at, self.count), telling);
    }

    fn next_due(&self) -> Option<Instant> {
        self.tellings.first_key_value().map(|((at, _), _)| *at)
    }

    /// Tells what is due; whether the watch goes on.
    fn tell(&mut self, now: Instant, to: &UnboundedSender<Bytes>) -> bool {
        while self.next_due().is_some_and(|due| due <= now) {
            match self.tellings.pop_first() {
                Some((_, Telling::Event(event))) => {
                    let _ = to.send(format!("{event}\n").into());
                }
                Some((_, Telling::End)) => return false,
                None => {}
            }
        }
        true
    }

    fn tell_all(mut self, to: &UnboundedSender<Bytes>) {
        if let Some(((last, _), _)) = self.tellings.last_key_value() {
            let last = *last;
            self.tell(last, to);
        }
    }
}
