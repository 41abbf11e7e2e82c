//! A proxy to the API server that injects faults into its responses: wrong or outdated ones, as from a server that lags.

use crate::faults::request_log::RequestLog;
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_support::SeededRng;
use test_support::proxy::{Handler, ProxiedRequest, RequestName, Response, response, status_response};
use test_support::watch_stream::{DelayedItem, StreamItem, expired_event, rewrite};

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ApiFault {
    /// A watch event is late, after those of other objects.
    Delayed,
    /// A watch event is repeated, or older ones are, as from a server that lags.
    Repeated,
    /// A watch event and all that follow are dropped. Later the watch ends, or has expired.
    Dropped,
    /// A watch is refused because its resource version is too old, repeatedly, until there is a new list.
    ExpiredWatch,
    /// The list expires before its last page.
    ExpiredPage,
    /// A status is refused as if someone else had written, although nobody has.
    Conflict,
    /// A request is throttled.
    Throttled,
    /// A status is written, but the response is a timeout.
    TimedOut,
}

impl ApiFault {
    pub const ALL: [Self; 8] = [
        Self::Delayed,
        Self::Repeated,
        Self::Dropped,
        Self::ExpiredWatch,
        Self::ExpiredPage,
        Self::Conflict,
        Self::Throttled,
        Self::TimedOut,
    ];
}

/// Injects faults of some kinds at random.
pub struct FaultProxy {
    seed: u64,
    faults: BTreeSet<ApiFault>,
    log: Arc<RequestLog>,
    injected: Mutex<BTreeMap<ApiFault, usize>>,
    /// The last list is too old to start a watch from.
    is_list_too_old: AtomicBool,
}

impl FaultProxy {
    pub fn new(seed: u64, faults: &[ApiFault], log: &Arc<RequestLog>) -> Arc<Self> {
        Arc::new(Self {
            seed,
            faults: faults.iter().copied().collect(),
            log: log.clone(),
            injected: Mutex::default(),
            is_list_too_old: AtomicBool::new(false),
        })
    }

    pub fn handler(self: &Arc<Self>) -> impl Handler {
        let proxy = self.clone();
        move |request| {
            let proxy = proxy.clone();
            Box::pin(async move { proxy.handle(request).await })
        }
    }

    /// How many faults of each kind were injected.
    pub fn injected(&self) -> BTreeMap<ApiFault, usize> {
        self.injected.lock().unwrap().clone()
    }

    /// Whether to inject this fault now: at the first opportunity, and after that once in this many times on average.
    fn injects(&self, fault: ApiFault, rng: &mut SeededRng, one_in: usize) -> bool {
        let is_due = rng.one_in(one_in) || !self.injected().contains_key(&fault);
        let injects = is_due && self.faults.contains(&fault);
        if injects {
            self.count(fault);
        }
        injects
    }

    fn count(&self, fault: ApiFault) {
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
    }

    async fn handle(self: Arc<Self>, request: ProxiedRequest) -> Option<Response> {
        let name = request.name.clone();
        let mut rng = SeededRng::from_hash((self.seed, &name));
        if name.kind.ends_with("leases") {
            return self.log.forward(request).await;
        }
        if self.injects(ApiFault::Throttled, &mut rng, 5) {
            return Some(throttled(1));
        }
        if name.kind == "LIST approvaldecisions" {
            self.is_list_too_old.store(false, Relaxed);
        }
        match name.kind.as_str() {
            "WATCH approvaldecisions" => {
                if self.is_list_too_old.load(Relaxed) || self.injects(ApiFault::ExpiredWatch, &mut rng, 2) {
                    self.is_list_too_old.store(true, Relaxed);
                    let message = "The resourceVersion for the provided watch is too old.";
                    return Some(status_response(410, "Expired", message));
                }
                let response = self.log.forward(request).await?;
                if !response.status().is_success() {
                    return Some(response);
                }
                Some(rewrite(response, self.event_faults(name)))
            }
            "LIST approvaldecisions" if request.query().contains(&format!("continue={EXPIRED_TOKEN}")) => {
                let message = "The provided continue parameter is too old to display a consistent list result.";
                Some(status_response(410, "Expired", message))
            }
            "LIST approvaldecisions" if self.injects(ApiFault::ExpiredPage, &mut rng, 2) => {
                let response = self.log.forward(request).await?;
                Some(first_page(response).await)
            }
            "PUT approvaldecisions/status" => {
                if self.injects(ApiFault::Conflict, &mut rng, 8) {
                    return Some(conflict());
                }
                let times_out = self.injects(ApiFault::TimedOut, &mut rng, 10);
                let response = self.log.forward(request).await?;
                Some(if times_out { timed_out() } else { response })
            }
            _ => self.log.forward(request).await,
        }
    }

    /// Replaces the events of one watch.
    fn event_faults(self: Arc<Self>, watch: RequestName) -> impl FnMut(Value) -> Vec<DelayedItem> {
        let mut past: HashMap<String, Vec<Value>> = HashMap::new();
        let mut number = 0;
        let mut drops_some = None;
        move |event| {
            if event["type"] == "BOOKMARK" && drops_some.is_none() {
                return vec![(Duration::ZERO, StreamItem::Event(event))];
            }
            number += 1;
            let mut rng = SeededRng::from_hash((self.seed, &watch, number));
            let mut up_to = |milliseconds| Duration::from_millis(rng.below(milliseconds) as u64);
            let (event_delay, older_delay, repeat_delay) = (up_to(3000), up_to(500), up_to(1500));
            if let Some(drops_some) = drops_some {
                if drops_some && rng.one_in(2) {
                    return vec![(Duration::ZERO, StreamItem::Event(event))];
                }
                self.count(ApiFault::Dropped);
                return Vec::new();
            }
            if self.injects(ApiFault::Dropped, &mut rng, 5) {
                // A watch that just ends is resumed after its last event, so it must drop all events from here on. One that
                // expires is replaced by a new list.
                let expires = rng.one_in(2);
                drops_some = Some(expires);
                let expired = expires.then(|| (repeat_delay, StreamItem::Event(expired_event())));
                return expired.into_iter().chain([(repeat_delay, StreamItem::End)]).collect();
            }
            let event_delay = if self.injects(ApiFault::Delayed, &mut rng, 2) { event_delay } else { Duration::ZERO };
            let mut items = vec![(event_delay, StreamItem::Event(event.clone()))];
            let past = past.entry(event["object"]["metadata"]["name"].to_string()).or_default();
            if self.injects(ApiFault::Repeated, &mut rng, 2) {
                let older = past.iter().rev().take(rng.below(3)).rev().cloned();
                items.extend(older.map(|older| (event_delay + older_delay, StreamItem::Event(older))));
                items.push((event_delay + older_delay + repeat_delay, StreamItem::Event(event.clone())));
            }
            past.push(event);
            items
        }
    }
}

/// The continue token of a page that is never served.
const EXPIRED_TOKEN: &str = "too-old";

/// The first half of a list, as if there were a second page.
async fn first_page(list: Response) -> Response {
    let body = list.into_body().collect().await.unwrap().to_bytes();
    let mut list: Value = serde_json::from_slice(&body).unwrap();
    if let Some(items) = list["items"].as_array_mut() {
        items.truncate(items.len() / 2);
    }
    list["metadata"]["continue"] = EXPIRED_TOKEN.into();
    response(200, "application/json", list.to_string())
}

pub fn conflict() -> Response {
    let message = "the object has been modified; please apply your changes to the latest version and try again";
    status_response(409, "Conflict", message)
}

/// Too many requests: retry after this many seconds.
pub fn throttled(seconds: u32) -> Response {
    let mut response = status_response(429, "TooManyRequests", "The server has received too many requests.");
    response.headers_mut().insert("retry-after", seconds.into());
    response
}

pub fn timed_out() -> Response {
    status_response(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
}
