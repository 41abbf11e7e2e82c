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
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, info_span};

/// The pause between two looks at a pipeline, however many ask for a newer one.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after looks that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

    /// Whether the look was asked this.
    pub(crate) fn knows(&self, ask: &Ask) -> bool {
        self.result.as_ref().map_or(true, |view| view.answers(ask))
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
    /// Whether it is what somebody has to be woken for.
    pub(crate) fn is_met_by(&self, reading: &Reading) -> bool {
        match self {
            Self::Any => true,
            Self::NewTo(known, late) => {
                let is_later = !std::ptr::eq(Arc::as_ptr(known), reading) && reading.failure().is_none();
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
    newest: Option<Newest>,
    /// The newest look that succeeded.
    view: Option<Arc<View>>,
    /// A look that began before is out of date.
    outdated: Option<Instant>,
    /// Looks that failed since one last succeeded.
    failures: u32,
    /// Told when somebody may want a look sooner.
    hurry: Arc<Notify>,
}

/// The newest look.
struct Newest {
    reading: Arc<Reading>,
    /// When it began, by a clock that nobody sets.
    begun: Instant,
    /// How long after that the next is due, if nobody wants one sooner.
    pause: Duration,
}

impl Newest {
    /// Whether it is what somebody asked for. A look that failed is news to everybody, and nothing is concluded from it.
    fn is_for<K>(&self, outdated: Option<Instant>, asker: &Asker<K>) -> bool {
        let is_current = outdated.is_none_or(|outdated| outdated <= self.begun) && asker.asked_at <= self.begun;
        self.reading.failure().is_some() || is_current && self.reading.knows(&asker.ask)
    }
}

struct Asker<K> {
    /// What tells this question from another of the same asker.
    question: u64,
    asked: Timestamp,
    ask: Ask,
    /// The same by a clock that nobody sets.
    asked_at: Instant,
    /// None while it is awake.
    want: Option<Want>,
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
        let new = || Asker {
            question,
            asked: Timestamp::now(),
            ask,
            asked_at: Instant::now(),
            want: None,
            wake: caller.wake.clone(),
        };
        let asker = match about.askers.entry(caller.key.clone()) {
            Entry::Occupied(known) if known.get().question == question => known.into_mut(),
            Entry::Occupied(mut other) => {
                other.insert(new());
                other.into_mut()
            }
            Entry::Vacant(nobody) => nobody.insert(new()),
        };
        let newest = about.newest.as_ref().filter(|newest| newest.is_for(about.outdated, asker));
        let reading = newest.map(|newest| newest.reading.clone()).filter(|reading| want.is_met_by(reading));
        let is_routine = matches!(want, Want::NewTo(_, None));
        asker.want = reading.is_none().then_some(want);
        if reading.is_none() && !is_routine {
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
            about.outdated = Some(Instant::now());
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
        Some((about.next_look(), about.hurry.clone()))
    }

    async fn look_now(&self, pipeline: &str) {
        let (at, begun, asks, before) = {
            let registry = self.registry();
            let Some(about) = registry.pipelines.get(pipeline) else { return };
            let asks: HashSet<Ask> = about.askers.values().map(|asker| asker.ask.clone()).collect();
            if asks.is_empty() {
                return;
            }
            (Instant::now(), Timestamp::now(), asks, about.view.clone())
        };
        let reads = PipelineReads { client: &self.shared.client, pipeline };
        let result = look(&reads, begun, asks, before.as_deref()).instrument(info_span!("look", pipeline)).await;
        let reading = Reading { begun, result: result.map(Arc::new), failing_since: None };
        if at.elapsed() > self.shared.interval {
            tracing::warn!(
                pipeline,
                seconds = at.elapsed().as_secs(),
                "a look at the pipeline took longer than --poll-interval: --aws-requests-per-second is too low for so many pipelines"
            );
        }
        if let Some(about) = self.registry().pipelines.get_mut(pipeline) {
            let pause = match about.newest {
                None => spread(pipeline, self.shared.interval),
                Some(_) => self.shared.interval,
            };
            about.publish(at, pause, reading);
        }
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
        let (askers, hurry) = (HashMap::new(), Arc::default());
        Self { askers, newest: None, view: None, outdated: None, failures: 0, hurry }
    }

    fn next_look(&self) -> Instant {
        let Some(newest) = &self.newest else {
            return Instant::now();
        };
        let begun = newest.begun;
        if self.failures > 0 {
            let pause = LEAST_PAUSE * 2_u32.saturating_pow((self.failures - 1).min(16));
            return begun + pause.min(LONGEST_PAUSE);
        }
        let routine = begun + newest.pause;
        let soonest = routine.min(begun + LEAST_PAUSE);
        if self.outdated.is_some_and(|outdated| begun < outdated)
            || self.askers.values().any(|asker| asker.want.is_some() && !newest.is_for(self.outdated, asker))
        {
            return soonest;
        }
        let late = self.askers.values().filter_map(|asker| match asker.want.as_ref()? {
            Want::Any => None,
            Want::NewTo(_, late) => late.filter(|late| newest.reading.begun < *late),
        });
        let pause = late.min().map(|late| late.duration_since(newest.reading.begun));
        match pause.and_then(|pause| begun.checked_add(Duration::try_from(pause).ok()?)) {
            Some(late) => routine.min(late.max(soonest)),
            None => routine,
        }
    }

    fn publish(&mut self, begun: Instant, pause: Duration, mut reading: Reading) {
        match (reading.failure(), &reading.result) {
            (Some(error), _) => {
                tracing::debug!("a pipeline cannot be read: {}", error.detail());
                self.failures = self.failures.saturating_add(1);
                let before = self.newest.as_ref().and_then(|newest| newest.reading.failing_since);
                reading.failing_since = before.or(Some(reading.begun));
            }
            (None, result) => {
                self.failures = 0;
                self.view = result.as_ref().ok().cloned();
            }
        }
        let newest = self.newest.insert(Newest { reading: Arc::new(reading), begun, pause });
        for (key, asker) in &mut self.askers {
            if !newest.is_for(self.outdated, asker) {
                continue;
            }
            match &mut asker.want {
                None => {}
                Some(want) if want.is_met_by(&newest.reading) => {
                    asker.want = None;
                    // Nobody listens any more where the operator is on its way down.
                    let _ = asker.wake.send(key.clone());
                }
                // It says the same, and the old one need not be kept.
                Some(Want::NewTo(known, _)) => *known = newest.reading.clone(),
                Some(Want::Any) => {}
            }
        }
    }
}

/// The pause after the first look at a pipeline. All pipelines are looked at first when the operator starts, and would be
/// looked at together ever after.
fn spread(pipeline: &str, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    pipeline.hash(&mut hasher);
    interval.mul_f64(f64::from(u16::try_from(hasher.finish() >> 48).unwrap_or_default()) / f64::from(u16::MAX))
}
