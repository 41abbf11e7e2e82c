//! The looks at pipelines that decisions share. While anybody asks about a pipeline, one task looks at it each interval, and
//! sooner where somebody needs a newer look. Who waits is woken when there is something new to see, and costs nothing
//! until then. A look that fails is repeated with back-off, whoever waits for it.

use super::client::Client;
use super::error::{CallError, Refusal};
use super::reads::PipelineReads;
use super::view::{Ask, View, look};
use crate::api::v1alpha1::Reason;
use jiff::Timestamp;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, info_span};

/// The pause between two looks at a pipeline, however many ask for a newer one.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after looks that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Whoever was woken and has not come back after so many looks is gone.
const PATIENCE: u8 = 3;

/// What a look came to.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When it began.
    pub begun: Timestamp,
    /// What it found.
    pub result: Result<Arc<View>, CallError>,
    /// When the first of the failures began that there were since a look last succeeded.
    pub failing_since: Option<Timestamp>,
}

impl Reading {
    /// Whether the look failed. That there is no such pipeline is a finding.
    #[must_use]
    pub fn failure(&self) -> Option<&CallError> {
        match &self.result {
            Ok(_) | Err(CallError::Refused { refusal: Refusal::PipelineNotFound, .. }) => None,
            Err(error) => Some(error),
        }
    }

    /// Whether it can answer a question that was asked then.
    fn answers(&self, ask: &Ask, asked: Timestamp) -> bool {
        self.failure().is_some() || asked <= self.begun && self.result.as_ref().map_or(true, |view| view.answers(ask))
    }

    /// Whether somebody who knows the other reading learns nothing new from this one.
    fn tells_the_same(&self, other: &Self) -> bool {
        let class = |error: &CallError| error.reason().unwrap_or(Reason::ServiceUnavailable);
        match (&self.result, &other.result) {
            (Ok(view), Ok(other)) => view.shows_the_same(other),
            (Err(error), Err(other)) => class(error) == class(other),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}

/// What somebody knows of a pipeline who asked.
#[derive(Clone, Debug)]
pub struct Looked {
    /// When the question was first asked. Nothing final follows from a look that began before.
    pub asked: Timestamp,
    /// The newest look, if it is what was wanted. Otherwise whoever asked is woken when there is one.
    pub reading: Option<Arc<Reading>>,
}

/// What somebody has to be woken for, besides a look that failed where the last did not.
#[derive(Clone, Debug)]
pub enum Want {
    /// Any look that answers the question.
    Any,
    /// One that tells something else than this, or that began so late.
    NewTo(Arc<Reading>, Option<Timestamp>),
}

impl Want {
    fn is_met_by(&self, reading: &Reading) -> bool {
        match self {
            Self::Any => true,
            Self::NewTo(known, late) => {
                let is_later = known.begun < reading.begun && reading.failure().is_none();
                is_later && late.is_some_and(|late| late <= reading.begun) || !reading.tells_the_same(known)
            }
        }
    }
}

/// The shared looks of one account and region. `K` names who asks.
#[derive(Clone)]
pub struct Views<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    client: Client,
    interval: Duration,
    registry: Mutex<Registry<K>>,
}

struct Registry<K> {
    pipelines: HashMap<Arc<str>, Pipeline<K>>,
    /// Which pipeline each asks about.
    askers: HashMap<K, Arc<str>>,
}

struct Pipeline<K> {
    askers: HashMap<K, Asker<K>>,
    /// The newest look, and when it was begun by a clock that nobody sets.
    newest: Option<(Arc<Reading>, Instant)>,
    /// The newest look that succeeded.
    view: Option<Arc<View>>,
    /// A look that began before is out of date.
    outdated: Timestamp,
    /// Looks that failed since one last succeeded.
    failures: u32,
    /// Told when somebody may want a look sooner.
    hurry: Arc<Notify>,
}

struct Asker<K> {
    /// What tells this question from another of the same asker.
    question: u64,
    asked: Timestamp,
    ask: Ask,
    /// None while it is awake.
    want: Option<Want>,
    /// Looks since it was woken.
    awake: u8,
    wake: UnboundedSender<K>,
}

/// Who asks, and how to wake them.
#[derive(Clone, Debug)]
pub struct Caller<K> {
    /// The name.
    pub key: K,
    /// Told the name when there is something to see.
    pub wake: UnboundedSender<K>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Views<K> {
    /// Looks at pipelines once an interval.
    #[must_use]
    pub fn new(client: Client, interval: Duration) -> Self {
        let registry = Mutex::new(Registry { pipelines: HashMap::new(), askers: HashMap::new() });
        Self { shared: Arc::new(Shared { client, interval, registry }) }
    }

    /// Asks about a pipeline, until [`Self::forget`]. The newest look is returned if it is as wanted; otherwise the caller is
    /// woken when one is. A `question` that differs from the caller's last is asked anew.
    pub fn look(&self, caller: &Caller<K>, question: u64, pipeline: &str, ask: Ask, want: Want) -> Looked {
        let mut registry = self.registry();
        if registry.askers.get(&caller.key).is_some_and(|asked| **asked != *pipeline) {
            registry.forget(&caller.key);
        }
        let Registry { pipelines, askers } = &mut *registry;
        let name = pipelines.get_key_value(pipeline).map(|(name, _)| name.clone()).unwrap_or_else(|| {
            let name: Arc<str> = pipeline.into();
            tokio::spawn(self.clone().keep_looking(name.clone()));
            name
        });
        let about = pipelines.entry(name.clone()).or_insert_with(Pipeline::new);
        askers.entry(caller.key.clone()).or_insert(name);
        let new = || Asker { question, asked: Timestamp::now(), ask, want: None, awake: 0, wake: caller.wake.clone() };
        let asker = match about.askers.entry(caller.key.clone()) {
            Entry::Occupied(known) if known.get().question == question => known.into_mut(),
            Entry::Occupied(mut other) => {
                other.insert(new());
                other.into_mut()
            }
            Entry::Vacant(nobody) => nobody.insert(new()),
        };
        let newest = about.newest.as_ref().map(|(reading, _)| reading);
        let is_as_wanted = |reading: &&Arc<Reading>| {
            about.outdated <= reading.begun && reading.answers(&asker.ask, asker.asked) && want.is_met_by(reading)
        };
        let reading = newest.filter(is_as_wanted).cloned();
        asker.want = reading.is_none().then_some(want);
        asker.awake = 0;
        if reading.is_none() {
            about.hurry.notify_one();
        }
        Looked { asked: asker.asked, reading }
    }

    /// Whoever asked asks no more.
    pub fn forget(&self, key: &K) {
        self.registry().forget(key);
    }

    /// Forgets whom the closure does not know.
    pub fn retain(&self, mut is_there: impl FnMut(&K) -> bool) {
        let mut registry = self.registry();
        let gone: Vec<K> = registry.askers.keys().filter(|key| !is_there(key)).cloned().collect();
        gone.iter().for_each(|key| registry.forget(key));
    }

    /// An answer was sent: what was seen of the pipeline before is out of date.
    pub fn outdate(&self, pipeline: &str) {
        if let Some(about) = self.registry().pipelines.get_mut(pipeline) {
            about.outdated = Timestamp::now();
            about.hurry.notify_one();
        }
    }

    /// Looks at a pipeline for as long as anybody asks about it.
    async fn keep_looking(self, pipeline: Arc<str>) {
        while let Some((due, hurry)) = self.next_look(&pipeline) {
            tokio::select! {
                () = hurry.notified() => {}
                () = sleep_until(due) => self.look_now(&pipeline).await,
            }
        }
    }

    /// When the next look is due. Where nobody asks any more, what is known of the pipeline is forgotten.
    fn next_look(&self, pipeline: &str) -> Option<(Instant, Arc<Notify>)> {
        let mut registry = self.registry();
        let about = registry.pipelines.get(pipeline)?;
        if about.askers.is_empty() {
            registry.pipelines.remove(pipeline);
            return None;
        }
        Some((about.next_look(self.shared.interval), about.hurry.clone()))
    }

    async fn look_now(&self, pipeline: &str) {
        let (at, begun, asks, before) = {
            let registry = self.registry();
            let Some(about) = registry.pipelines.get(pipeline) else { return };
            let asks: HashSet<Ask> = about.askers.values().map(|asker| asker.ask.clone()).collect();
            (Instant::now(), Timestamp::now(), asks, about.view.clone())
        };
        let reads = PipelineReads { client: &self.shared.client, pipeline };
        let result = look(&reads, begun, asks, before.as_deref()).instrument(info_span!("look", pipeline)).await;
        let reading = Reading { begun, result: result.map(Arc::new), failing_since: None };
        let mut registry = self.registry();
        let gone = registry.pipelines.get_mut(pipeline).map(|about| about.publish(at, reading)).unwrap_or_default();
        gone.iter().for_each(|key| registry.forget(key));
    }

    fn registry(&self) -> MutexGuard<'_, Registry<K>> {
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Registry<K> {
    fn forget(&mut self, key: &K) {
        if let Some(about) = self.askers.remove(key).and_then(|pipeline| self.pipelines.get_mut(&pipeline)) {
            about.askers.remove(key);
        }
    }
}

impl<K: Clone> Pipeline<K> {
    fn new() -> Self {
        let (newest, view, hurry) = (None, None, Arc::default());
        Self { askers: HashMap::new(), newest, view, outdated: Timestamp::MIN, failures: 0, hurry }
    }

    fn next_look(&self, interval: Duration) -> Instant {
        let Some((newest, begun)) = &self.newest else {
            return Instant::now();
        };
        if self.failures > 0 {
            let pause = LEAST_PAUSE * 2_u32.saturating_pow((self.failures - 1).min(16));
            return *begun + pause.min(LONGEST_PAUSE);
        }
        let routine = *begun + interval;
        let soonest = routine.min(*begun + LEAST_PAUSE);
        if newest.begun < self.outdated {
            return soonest;
        }
        let wanted = self.askers.values().filter_map(|asker| match asker.want.as_ref()? {
            _ if !newest.answers(&asker.ask, asker.asked) => Some(newest.begun),
            Want::Any => None,
            Want::NewTo(_, late) => late.filter(|late| newest.begun < *late),
        });
        let pause = wanted.min().map(|time| Duration::try_from(time.duration_since(newest.begun)).unwrap_or_default());
        match pause.and_then(|pause| begun.checked_add(pause)) {
            Some(wanted) => routine.min(wanted.max(soonest)),
            None => routine,
        }
    }

    /// Wakes those who wanted this, and tells who is gone.
    fn publish(&mut self, at: Instant, mut reading: Reading) -> Vec<K> {
        match (reading.failure(), &reading.result) {
            (Some(error), _) => {
                tracing::debug!("a pipeline cannot be read: {}", error.detail());
                self.failures = self.failures.saturating_add(1);
                let before = self.newest.as_ref().and_then(|(newest, _)| newest.failing_since);
                reading.failing_since = before.or(Some(reading.begun));
            }
            (None, result) => {
                self.failures = 0;
                self.view = result.as_ref().ok().cloned();
            }
        }
        let reading = Arc::new(reading);
        self.newest = Some((reading.clone(), at));
        let mut gone = Vec::new();
        if reading.begun < self.outdated {
            return gone;
        }
        for (key, asker) in &mut self.askers {
            if asker.want.is_none() {
                asker.awake = asker.awake.saturating_add(1);
                if asker.awake > PATIENCE {
                    gone.push(key.clone());
                }
                continue;
            }
            let is_as_wanted = |want: &mut Want| reading.answers(&asker.ask, asker.asked) && want.is_met_by(&reading);
            if asker.want.take_if(is_as_wanted).is_some() {
                // Nobody listens any more where the operator is on its way down.
                let _ = asker.wake.send(key.clone());
            }
        }
        gone
    }
}
