//! What an API server, or what stands before it, may say that is not so, or not so any more.

use crate::faults::books::Books;
use crate::support::Dice;
use crate::support::watch_lines::{Telling, Told, expired, retell};
use crate::support::wire::{Answer, Name, Passing, Script, answer, status};
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Lie {
    /// An event of a watch comes late, after those of other objects.
    Delayed,
    /// It comes twice, or older ones come again, as from a server that lags.
    Repeated,
    /// It never comes. The watch ends some time later, or has expired.
    Dropped,
    /// A watch is refused since it begins too long ago, again and again until there is a new list.
    ExpiredWatch,
    /// The list cannot be read to its end.
    ExpiredPage,
    /// A status is refused as if somebody else had written, which nobody has.
    Conflict,
    /// A request is put off.
    Throttled,
    /// A status is written, and whoever wrote it is told that the time is over.
    TimedOut,
}

impl Lie {
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

/// Put off by a second.
pub fn throttled() -> Answer {
    let mut answer = status(429, "TooManyRequests", "The server has received too many requests.");
    answer.headers_mut().insert("retry-after", 1.into());
    answer
}

/// Tells lies of some kinds, at random.
pub struct Liar {
    seed: u64,
    lies: BTreeSet<Lie>,
    books: Arc<Books>,
    told: Mutex<BTreeMap<Lie, usize>>,
    /// What was listed last is too old to watch from.
    is_list_too_old: AtomicBool,
}

impl Liar {
    pub fn new(seed: u64, lies: &[Lie], books: &Arc<Books>) -> Arc<Self> {
        Arc::new(Self {
            seed,
            lies: lies.iter().copied().collect(),
            books: books.clone(),
            told: Mutex::default(),
            is_list_too_old: AtomicBool::new(false),
        })
    }

    pub fn script(self: &Arc<Self>) -> impl Script {
        let liar = self.clone();
        move |passing| {
            let liar = liar.clone();
            Box::pin(async move { liar.pass(passing).await })
        }
    }

    /// How many lies of each kind were told.
    pub fn told(&self) -> BTreeMap<Lie, usize> {
        self.told.lock().unwrap().clone()
    }

    /// Whether it is to lie now, which it does at the first occasion, and once in so many times from then on.
    fn lies(&self, lie: Lie, dice: &mut Dice, once_in: usize) -> bool {
        let is_time = dice.once_in(once_in) || !self.told().contains_key(&lie);
        let lies = is_time && self.lies.contains(&lie);
        if lies {
            self.tell(lie);
        }
        lies
    }

    fn tell(&self, lie: Lie) {
        *self.told.lock().unwrap().entry(lie).or_default() += 1;
    }

    async fn pass(self: Arc<Self>, passing: Passing) -> Option<Answer> {
        let name = passing.name.clone();
        let mut dice = Dice::of((self.seed, &name));
        if name.kind.ends_with("leases") {
            return self.books.pass(passing).await;
        }
        if self.lies(Lie::Throttled, &mut dice, 5) {
            return Some(throttled());
        }
        if name.kind == "LIST approvaldecisions" {
            self.is_list_too_old.store(false, Relaxed);
        }
        match name.kind.as_str() {
            "WATCH approvaldecisions" => {
                if self.is_list_too_old.load(Relaxed) || self.lies(Lie::ExpiredWatch, &mut dice, 2) {
                    self.is_list_too_old.store(true, Relaxed);
                    return Some(status(410, "Expired", "The resourceVersion for the provided watch is too old."));
                }
                let answer = self.books.pass(passing).await?;
                if !answer.status().is_success() {
                    return Some(answer);
                }
                Some(retell(answer, self.teller(name)))
            }
            "LIST approvaldecisions" if passing.query().contains(&format!("continue={TOO_OLD}")) => {
                let message = "The provided continue parameter is too old to display a consistent list result.";
                Some(status(410, "Expired", message))
            }
            "LIST approvaldecisions" if self.lies(Lie::ExpiredPage, &mut dice, 2) => {
                let answer = self.books.pass(passing).await?;
                Some(cut_short(answer).await)
            }
            "PUT approvaldecisions/status" => {
                if self.lies(Lie::Conflict, &mut dice, 8) {
                    return Some(conflict());
                }
                let is_late = self.lies(Lie::TimedOut, &mut dice, 10);
                let answer = self.books.pass(passing).await?;
                Some(if is_late { timed_out() } else { answer })
            }
            _ => self.books.pass(passing).await,
        }
    }

    /// The events of one watch as it has them.
    fn teller(self: Arc<Self>, watch: Name) -> impl FnMut(Value) -> Vec<Told> {
        let mut past: HashMap<String, Vec<Value>> = HashMap::new();
        let mut number = 0;
        let mut is_leaky = None;
        move |event| {
            if event["type"] == "BOOKMARK" && is_leaky.is_none() {
                return vec![(Duration::ZERO, Telling::Event(event))];
            }
            number += 1;
            let mut dice = Dice::of((self.seed, &watch, number));
            let mut up_to = |milliseconds| Duration::from_millis(dice.below(milliseconds) as u64);
            let (late, later, latest) = (up_to(3000), up_to(500), up_to(1500));
            if let Some(is_leaky) = is_leaky {
                if is_leaky && dice.once_in(2) {
                    return vec![(Duration::ZERO, Telling::Event(event))];
                }
                self.tell(Lie::Dropped);
                return Vec::new();
            }
            if self.lies(Lie::Dropped, &mut dice, 5) {
                // One that was just cut off is resumed, so what is left out must be all that comes from here on.
                let expires = dice.once_in(2);
                is_leaky = Some(expires);
                let expired = expires.then(|| (latest, Telling::Event(expired())));
                return expired.into_iter().chain([(latest, Telling::End)]).collect();
            }
            let late = if self.lies(Lie::Delayed, &mut dice, 2) { late } else { Duration::ZERO };
            let mut told = vec![(late, Telling::Event(event.clone()))];
            let past = past.entry(event["object"]["metadata"]["name"].to_string()).or_default();
            if self.lies(Lie::Repeated, &mut dice, 2) {
                let older = past.iter().rev().take(dice.below(3)).rev().cloned();
                told.extend(older.map(|older| (late + later, Telling::Event(older))));
                told.push((late + later + latest, Telling::Event(event.clone())));
            }
            past.push(event);
            told
        }
    }
}

/// A page that another one should follow.
const TOO_OLD: &str = "too-old";

/// The first half of a list.
async fn cut_short(whole: Answer) -> Answer {
    let body = whole.into_body().collect().await.unwrap().to_bytes();
    let mut list: Value = serde_json::from_slice(&body).unwrap();
    if let Some(items) = list["items"].as_array_mut() {
        items.truncate(items.len() / 2);
    }
    list["metadata"]["continue"] = TOO_OLD.into();
    answer(200, "application/json", list.to_string())
}

pub fn conflict() -> Answer {
    let message = "the object has been modified; please apply your changes to the latest version and try again";
    status(409, "Conflict", message)
}

pub fn timed_out() -> Answer {
    status(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
}
