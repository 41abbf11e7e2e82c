//! The poll schedule of one pipeline, without I/O, tasks or clocks: who subscribes, when the next poll is due, and whom a poll wakes.
//! The poller and the simulation drive this code.

use crate::api::v1alpha1::{Location, Reason};
use crate::backoff::FAILED_POLL;
use crate::codepipeline::error::{CallError, Refusal};
use crate::codepipeline::query::Query;
use crate::codepipeline::snapshot::PipelineSnapshot;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// The shortest time between two polls of a pipeline, however many subscribers want a newer one.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Moment {
    /// By the wall clock, which can be set.
    pub wall: Timestamp,
    /// By a monotonic clock, since some fixed moment. The schedule orders events by this one.
    pub elapsed: Duration,
}

/// The result of one poll.
#[derive(Clone, Debug)]
pub struct Poll {
    /// When it started. It may miss what CodePipeline did after that.
    pub started_at: Timestamp,
    /// The account and region that it read.
    pub location: Option<Location>,
    /// What it found.
    pub result: Result<Arc<PipelineSnapshot>, CallError>,
    /// When the first of the consecutive failures started, if this poll failed.
    pub failing_since: Option<Timestamp>,
}

impl Poll {
    /// A poll that has just completed.
    #[must_use]
    pub fn new(started_at: Timestamp, location: Option<Location>, result: Result<PipelineSnapshot, CallError>) -> Self {
        Self { started_at, location, result: result.map(Arc::new), failing_since: None }
    }

    /// Why the poll failed, if it did. A missing pipeline is a finding, not a failure.
    #[must_use]
    pub fn failure(&self) -> Option<&CallError> {
        match &self.result {
            Ok(_) | Err(CallError::Refused { refusal: Refusal::PipelineNotFound, .. }) => None,
            Err(error) => Some(error),
        }
    }

    fn covers(&self, query: &Query) -> bool {
        self.result.as_ref().map_or(true, |snapshot| snapshot.covers(query))
    }

    /// Whether a subscriber that knows the other poll learns nothing new from this one.
    fn is_equivalent(&self, other: &Self) -> bool {
        let class = |error: &CallError| error.reason().unwrap_or(Reason::ServiceUnavailable);
        if self.location != other.location {
            return false;
        }
        match (&self.result, &other.result) {
            (Ok(snapshot), Ok(other)) => snapshot.is_equivalent(other),
            (Err(error), Err(other)) => class(error) == class(other),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}

/// What a subscriber observes.
#[derive(Clone, Debug)]
pub struct PipelineObservation {
    /// When this generation of the subscriber subscribed. Nothing final follows from a poll that started before.
    pub subscribed_at: Timestamp,
    /// The newest poll.
    pub poll: Arc<Poll>,
}

/// Which poll wakes a subscriber.
#[derive(Clone, Debug)]
pub enum WakeCondition {
    /// Any that covers the query.
    Any,
    /// One that shows something else than this one, or that starts at `recheck_at` or later.
    NewerThan {
        /// The poll that the subscriber knows.
        known: Arc<Poll>,
        /// When the subscriber needs another poll, even if it shows the same.
        recheck_at: Option<Timestamp>,
    },
}

impl WakeCondition {
    fn is_met_by(&self, poll: &Arc<Poll>) -> bool {
        match self {
            Self::Any => true,
            Self::NewerThan { known, recheck_at } => {
                let is_newer = !Arc::ptr_eq(known, poll) && poll.failure().is_none();
                is_newer && recheck_at.is_some_and(|recheck_at| recheck_at <= poll.started_at)
                    || !poll.is_equivalent(known)
            }
        }
    }
}

/// The schedule. `K` names a subscriber.
#[derive(Debug)]
pub struct PollSchedule<K> {
    subscriptions: HashMap<K, Subscription>,
    newest: Option<NewestPoll>,
    /// The newest poll that did not fail. The next one builds on its snapshot.
    succeeded: Option<Arc<Poll>>,
    /// Consecutive polls that failed.
    failures: u32,
}

#[derive(Debug)]
struct NewestPoll {
    poll: Arc<Poll>,
    /// When it started, by the monotonic clock.
    started: Duration,
    /// The time until the next regular poll.
    interval: Duration,
}

#[derive(Debug)]
struct Subscription {
    /// Tells this query from another one of the same subscriber.
    generation: u64,
    query: Query,
    subscribed_at: Timestamp,
    /// Polls that started before this, by the monotonic clock, are out of date: the subscription was made then, or the last submission
    /// to the action of the query.
    not_before: Duration,
    /// None while the subscriber is awake.
    wake: Option<WakeCondition>,
}

impl NewestPoll {
    /// Whether it is for this subscriber. A failed poll is for all, also if it started before the subscription or an
    /// invalidation: nothing is concluded from it but that the pipeline cannot be read, and no submission makes that out of date.
    fn is_for(&self, subscription: &Subscription) -> bool {
        let is_current = subscription.not_before <= self.started;
        self.poll.failure().is_some() || is_current && self.poll.covers(&subscription.query)
    }
}

impl<K> Default for PollSchedule<K> {
    fn default() -> Self {
        Self { subscriptions: HashMap::new(), newest: None, succeeded: None, failures: 0 }
    }
}

impl<K: Clone + Eq + Hash> PollSchedule<K> {
    /// Subscribes until [`Self::unsubscribe`], and returns the newest poll if it meets the condition. Otherwise a poll that does will
    /// wake the subscriber. Another `generation` of the same subscriber starts a new subscription.
    pub fn subscribe(
        &mut self,
        key: K,
        generation: u64,
        query: Query,
        wake: WakeCondition,
        now: Moment,
    ) -> Option<PipelineObservation> {
        if self.subscriptions.get(&key).is_some_and(|known| known.generation != generation) {
            self.subscriptions.remove(&key);
        }
        let new = || Subscription { generation, query, subscribed_at: now.wall, not_before: now.elapsed, wake: None };
        let subscription = self.subscriptions.entry(key).or_insert_with(new);
        let newest = self.newest.as_ref().filter(|newest| newest.is_for(subscription));
        let newest = newest.map(|newest| newest.poll.clone()).filter(|poll| wake.is_met_by(poll));
        subscription.wake = newest.is_none().then_some(wake);
        newest.map(|poll| PipelineObservation { subscribed_at: subscription.subscribed_at, poll })
    }

    /// Forgets the newest poll if it read another account or region than this one, which the operator has now, and returns whether it did.
    /// The next poll is due at once.
    pub fn forget_elsewhere(&mut self, here: Option<&Location>) -> bool {
        let is_elsewhere = |newest: &NewestPoll| {
            here.zip(newest.poll.location.as_ref()).is_some_and(|(here, location)| here != location)
        };
        self.newest.take_if(|newest| is_elsewhere(newest)).is_some()
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, key: &K) {
        self.subscriptions.remove(key);
    }

    /// Marks all polls that started before now as out of date for the subscribers to an action, because a result was submitted to
    /// it. Other actions of the pipeline must not wait for it: anyone can submit results that CodePipeline refuses, again and again.
    pub fn invalidate(&mut self, stage: &str, action: &str, now: Moment) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.query.stage == stage && subscription.query.action == action {
                subscription.not_before = now.elapsed;
            }
        }
    }

    /// Whether nobody subscribes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// What the next poll, which starts in this account and region, has to cover, and the snapshot that it builds on. A pipeline of the
    /// same name in another account or region has another history.
    #[must_use]
    pub fn start_poll(&self, here: Option<&Location>) -> (HashSet<Query>, Option<Arc<PipelineSnapshot>>) {
        let queries = self.subscriptions.values().map(|subscription| subscription.query.clone()).collect();
        let previous = self.succeeded.as_ref().filter(|poll| poll.location.as_ref() == here);
        (queries, previous.and_then(|poll| poll.result.clone().ok()))
    }

    /// When the next poll is due, by the monotonic clock. Zero is at once.
    #[must_use]
    pub fn next_poll_at(&self) -> Duration {
        let Some(newest) = &self.newest else {
            return Duration::ZERO;
        };
        if self.failures > 0 {
            return newest.started + FAILED_POLL.delay(self.failures);
        }
        let regular = newest.started + newest.interval;
        let soonest = regular.min(newest.started + MIN_POLL_INTERVAL);
        let waiting = || self.subscriptions.values().filter(|subscription| subscription.wake.is_some());
        if waiting().any(|subscription| !newest.is_for(subscription)) {
            return soonest;
        }
        let started_at = newest.poll.started_at;
        let recheck_at = waiting().filter_map(|subscription| match subscription.wake.as_ref()? {
            WakeCondition::Any => None,
            WakeCondition::NewerThan { recheck_at, .. } => recheck_at.filter(|recheck_at| started_at < *recheck_at),
        });
        let delay = recheck_at.min().map(|recheck_at| recheck_at.duration_since(started_at));
        match delay.and_then(|delay| newest.started.checked_add(Duration::try_from(delay).ok()?)) {
            Some(recheck) => regular.min(recheck.max(soonest)),
            None => regular,
        }
    }

    /// How many requests were pending at the last poll that succeeded.
    #[must_use]
    pub fn pending_requests(&self) -> u32 {
        let snapshot = self.succeeded.as_ref().and_then(|poll| poll.result.as_ref().ok());
        snapshot.map_or(0, |snapshot| snapshot.pending_requests())
    }

    /// Whether this is the first poll, after which all pipelines would be polled together.
    #[must_use]
    pub const fn is_first_poll(&self) -> bool {
        self.newest.is_none()
    }

    /// Publishes a poll that started then, and returns whom it wakes. The next regular poll is due an `interval` later.
    pub fn publish(&mut self, started: Duration, interval: Duration, mut poll: Poll) -> Vec<K> {
        if poll.failure().is_some() {
            self.failures = self.failures.saturating_add(1);
            let since = self.newest.as_ref().and_then(|newest| newest.poll.failing_since);
            poll.failing_since = since.or(Some(poll.started_at));
        } else {
            self.failures = 0;
        }
        let poll = Arc::new(poll);
        if self.failures == 0 {
            self.succeeded = Some(poll.clone());
        }
        let newest = self.newest.insert(NewestPoll { poll, started, interval });
        let mut woken = Vec::new();
        for (key, subscription) in &mut self.subscriptions {
            if !newest.is_for(subscription) {
                continue;
            }
            match &mut subscription.wake {
                None => {}
                Some(wake) if wake.is_met_by(&newest.poll) => {
                    subscription.wake = None;
                    woken.push(key.clone());
                }
                // This poll shows the same, so the older one can be dropped.
                Some(WakeCondition::NewerThan { known, .. }) => *known = newest.poll.clone(),
                Some(WakeCondition::Any) => {}
            }
        }
        woken
    }
}

#[cfg(test)]
mod tests;
