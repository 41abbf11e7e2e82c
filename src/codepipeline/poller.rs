//! The poller: decisions of one pipeline share its polls. While anyone subscribes to a pipeline, one task polls it as its
//! [`schedule`] says. A subscriber is woken when a poll shows something new, and costs nothing until then.

mod counts;
pub mod schedule;
mod slow_polls;

use super::client::Client;
use super::error::CallError;
use super::query::Query;
use super::reader::AwsPipelineReader;
use super::snapshot::read_snapshot;
use jiff::Timestamp;
use schedule::{Moment, PipelineObservation, Poll, PollSchedule, WakeCondition};
use slow_polls::{SlowPoll, SlowPolls};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, info_span};

pub use counts::PollCounts;

/// The poller of one account and region. `K` names a subscriber.
#[derive(Clone)]
pub struct PipelinePoller<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    client: Client,
    interval: Duration,
    /// The zero of the schedules' monotonic clock.
    epoch: Instant,
    pipelines: Mutex<Pipelines<K>>,
    slow_polls: Mutex<SlowPolls>,
}

struct Pipelines<K> {
    polled: HashMap<Arc<str>, PolledPipeline<K>>,
    /// Which pipeline each subscribes to, and how to wake it.
    subscribers: HashMap<K, (Arc<str>, UnboundedSender<K>)>,
    counts: PollCounts,
    /// Notified when the counts change.
    counts_changed: Arc<Notify>,
}

struct PolledPipeline<K> {
    schedule: PollSchedule<K>,
    /// Notified when the next poll may be due sooner.
    rescheduled: Arc<Notify>,
}

/// A subscriber, and how to wake it.
#[derive(Clone, Debug)]
pub struct Subscriber<K> {
    /// Its name.
    pub key: K,
    /// Receives the name when there is a poll for it.
    pub wake: UnboundedSender<K>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> PipelinePoller<K> {
    /// Polls at this interval, and notifies when the counts change.
    #[must_use]
    pub fn new(client: Client, interval: Duration, counts_changed: Arc<Notify>) -> Self {
        let (polled, subscribers, counts) = (HashMap::new(), HashMap::new(), PollCounts::default());
        let pipelines = Mutex::new(Pipelines { polled, subscribers, counts, counts_changed });
        let slow_polls = Mutex::default();
        Self { shared: Arc::new(Shared { client, interval, epoch: Instant::now(), pipelines, slow_polls }) }
    }

    /// What is polled and pending now.
    #[must_use]
    pub fn counts(&self) -> PollCounts {
        self.pipelines().counts
    }

    /// Subscribes to a pipeline until [`Self::unsubscribe`], and returns the newest poll if it meets the condition.
    pub fn subscribe(
        &self,
        subscriber: &Subscriber<K>,
        generation: u64,
        pipeline: &str,
        query: Query,
        condition: WakeCondition,
    ) -> Option<PipelineObservation> {
        let now = self.now();
        // A subscriber that only waits for news changes nothing about when the next poll is due.
        let is_regular = matches!(condition, WakeCondition::NewerThan { recheck_at: None, .. });
        let mut pipelines = self.pipelines();
        let key = &subscriber.key;
        if pipelines.subscribers.get(key).is_some_and(|(subscribed, _)| **subscribed != *pipeline) {
            pipelines.unsubscribe(key);
        }
        let name = pipelines.polled.get_key_value(pipeline).map(|(name, _)| name.clone()).unwrap_or_else(|| {
            let name: Arc<str> = pipeline.into();
            tokio::spawn(self.clone().poll_loop(name.clone()));
            name
        });
        pipelines.subscribers.insert(key.clone(), (name.clone(), subscriber.wake.clone()));
        pipelines.polled.entry(name.clone()).or_insert_with(PolledPipeline::new);
        let newest = pipelines.change(&name, |polled| {
            let has_moved = polled.schedule.forget_elsewhere(self.shared.client.location().as_ref());
            let newest = polled.schedule.subscribe(key.clone(), generation, query, condition, now);
            if newest.is_none() && (has_moved || !is_regular) {
                polled.rescheduled.notify_one();
            }
            newest
        });
        newest.flatten()
    }

    /// Whether both are the same poller.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, key: &K) {
        self.pipelines().unsubscribe(key);
    }

    /// Ends the subscriptions that the closure rejects.
    pub fn retain(&self, mut is_kept: impl FnMut(&K) -> bool) {
        let mut pipelines = self.pipelines();
        let gone: Vec<K> = pipelines.subscribers.keys().filter(|key| !is_kept(key)).cloned().collect();
        gone.iter().for_each(|key| pipelines.unsubscribe(key));
    }

    /// A result was submitted to an action: earlier polls of the pipeline are out of date for its subscribers.
    pub fn invalidate(&self, pipeline: &str, stage: &str, action: &str) {
        let now = self.now();
        if let Some(polled) = self.pipelines().polled.get_mut(pipeline) {
            polled.schedule.invalidate(stage, action, now);
            polled.rescheduled.notify_one();
        }
    }

    /// Polls a pipeline for as long as anyone subscribes to it.
    async fn poll_loop(self, pipeline: Arc<str>) {
        while let Some((due, rescheduled)) = self.next_poll(&pipeline) {
            tokio::select! {
                () = rescheduled.notified() => {}
                () = sleep_until(due) => self.poll_once(&pipeline).await,
            }
        }
    }

    /// When the next poll is due. A pipeline without subscribers is dropped.
    fn next_poll(&self, pipeline: &str) -> Option<(Instant, Arc<Notify>)> {
        let mut pipelines = self.pipelines();
        let polled = pipelines.polled.get(pipeline)?;
        if polled.schedule.is_empty() {
            pipelines.polled.remove(pipeline);
            return None;
        }
        Some((self.shared.epoch + polled.schedule.next_poll_at(), polled.rescheduled.clone()))
    }

    async fn poll_once(&self, pipeline: &str) {
        let started = self.now();
        let (started_at, location) = match self.shared.client.sdk_client().await {
            // What history shows is compared with this time. A clock that is ahead would make it seem older than it is.
            Ok(loaded) => (loaded.clock.not_ahead(started.wall), Ok(loaded.verified.location)),
            Err(error) => (started.wall, Err(CallError::from(error))),
        };
        let (queries, previous) = match self.pipelines().polled.get(pipeline) {
            Some(polled) if !polled.schedule.is_empty() => polled.schedule.start_poll(location.as_ref().ok()),
            Some(_) | None => return,
        };
        let reader = AwsPipelineReader::new(&self.shared.client, pipeline);
        let span = info_span!("poll", pipeline);
        let result = match &location {
            Ok(_) => read_snapshot(&reader, started_at, queries, previous.as_deref()).instrument(span).await,
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &result {
            tracing::debug!(pipeline, "could not read the pipeline: {}", error.detail());
        }
        self.warn_if_slow(pipeline, started, reader.waited());
        let location_after = self.shared.client.location();
        let has_changed = location_after != location.ok();
        let result = result.and_then(|snapshot| {
            let detail = || "the operator's AWS account or region changed during the poll".to_owned();
            if has_changed { Err(CallError::Indeterminate { detail: detail() }) } else { Ok(snapshot) }
        });
        let poll = Poll::new(started_at, location_after, result);
        let interval = self.shared.interval;
        let mut pipelines = self.pipelines();
        let woken = pipelines.change(pipeline, |polled| {
            let interval = if polled.schedule.is_first_poll() { initial_jitter(pipeline, interval) } else { interval };
            polled.schedule.publish(started.elapsed, interval, poll)
        });
        for key in woken.into_iter().flatten() {
            if let Some((_, wake)) = pipelines.subscribers.get(&key) {
                // There is no receiver during shutdown.
                let _ = wake.send(key);
            }
        }
    }

    fn warn_if_slow(&self, pipeline: &str, started: Moment, waited: Duration) {
        let now = self.now().elapsed;
        let duration = now.saturating_sub(started.elapsed);
        if duration <= self.shared.interval {
            return;
        }
        let is_slowed_down = self.shared.client.is_slowed_down();
        let poll = SlowPoll { pipeline: pipeline.to_owned(), duration, waited, is_slowed_down };
        let due = self.shared.slow_polls.lock().unwrap_or_else(PoisonError::into_inner).record(poll, now);
        if let Some((slowest, polls)) = due {
            tracing::warn!(
                polls,
                slowest.pipeline,
                slowest.seconds = slowest.duration.as_secs_f64(),
                slowest.rate_limiter_seconds = slowest.waited.as_secs_f64(),
                "polls took longer than --poll-interval: {}",
                slowest.explanation()
            );
        }
    }

    fn now(&self) -> Moment {
        Moment { wall: Timestamp::now(), elapsed: self.shared.epoch.elapsed() }
    }

    fn pipelines(&self) -> MutexGuard<'_, Pipelines<K>> {
        self.shared.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Pipelines<K> {
    fn unsubscribe(&mut self, key: &K) {
        if let Some((pipeline, _)) = self.subscribers.remove(key) {
            self.change(&pipeline, |polled| polled.schedule.unsubscribe(key));
        }
    }

    /// Changes what is known of a pipeline that is polled, and keeps the counts up to date.
    fn change<T>(&mut self, pipeline: &str, change: impl FnOnce(&mut PolledPipeline<K>) -> T) -> Option<T> {
        let polled = self.polled.get_mut(pipeline)?;
        let before = polled.counts();
        let result = change(polled);
        let after = polled.counts();
        if before != after {
            self.counts = self.counts.replace(before, after);
            self.counts_changed.notify_one();
        }
        Some(result)
    }
}

impl<K> PolledPipeline<K> {
    fn new() -> Self {
        Self { schedule: PollSchedule::default(), rescheduled: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash> PolledPipeline<K> {
    /// Its part of the counts.
    fn counts(&self) -> PollCounts {
        if self.schedule.is_empty() {
            return PollCounts::default();
        }
        PollCounts {
            pipelines: 1,
            not_polled: u32::from(self.schedule.is_first_poll()),
            pending_requests: self.schedule.pending_requests(),
        }
    }
}

/// The interval after the first poll of a pipeline. All pipelines are first polled when the operator starts, and would be polled
/// together from then on.
fn initial_jitter(pipeline: &str, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    pipeline.hash(&mut hasher);
    interval.mul_f64(f64::from(u16::try_from(hasher.finish() >> 48).unwrap_or_default()) / f64::from(u16::MAX))
}
