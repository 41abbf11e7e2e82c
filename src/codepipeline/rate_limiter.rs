//! The rate limiter of reads: a token bucket for one account and region. When CodePipeline throttles a read, the limiter
//! halves its rate; each read that succeeds restores part of it. Submissions are not rate limited.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Requests that were in flight together are throttled together. Within this time they count once.
const THROTTLE_WINDOW: Duration = Duration::from_secs(1);

/// The longest sleep before the bucket is checked again, because the rate can rise in the meantime.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The lowest rate after throttling, as a share of the limit.
const MIN_RATE_SHARE: f64 = 1.0 / 16.0;

/// What a successful read adds to the rate, as a share of the limit.
const RECOVERY_SHARE: f64 = 1.0 / 32.0;

/// How long the reads of one caller waited for the rate limiter.
#[derive(Debug, Default)]
pub(super) struct WaitTime(Mutex<Duration>);

impl WaitTime {
    pub(super) fn add(&self, wait: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += wait;
    }

    /// The sum.
    pub(super) fn total(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limits the rate of reads.
#[derive(Debug)]
pub struct RateLimiter {
    /// The caller that holds the lock is first in the queue.
    queue: tokio::sync::Mutex<()>,
    bucket: Mutex<TokenBucket>,
}

#[derive(Debug)]
struct TokenBucket {
    /// The maximum rate, in requests per second.
    limit: f64,
    /// The current rate, in requests per second.
    rate: f64,
    /// The tokens in the bucket at `updated_at`; at most those of one second.
    available: f64,
    updated_at: Instant,
    throttled_at: Option<Instant>,
}

impl RateLimiter {
    /// A limiter with this maximum rate.
    #[must_use]
    pub fn new(requests_per_second: f64) -> Self {
        let bucket = TokenBucket::new(requests_per_second, Instant::now());
        Self { queue: tokio::sync::Mutex::new(()), bucket: Mutex::new(bucket) }
    }

    /// Waits until the caller may send one request, and returns how long that took. Callers are served in order.
    pub async fn acquire(&self) -> Duration {
        let started_at = Instant::now();
        let _first = self.queue.lock().await;
        loop {
            let now = Instant::now();
            let wait = self.bucket().acquire(now);
            match wait {
                None => return now.duration_since(started_at),
                Some(wait) => sleep_until(now + wait.min(MAX_SLEEP)).await,
            }
        }
    }

    /// Whether the rate is below the maximum because CodePipeline throttled requests.
    #[must_use]
    pub fn is_slowed_down(&self) -> bool {
        self.bucket().is_slowed_down()
    }

    /// Lowers the rate after CodePipeline throttled a request.
    pub fn on_throttled(&self) {
        let lowered = self.bucket().on_throttled(Instant::now());
        if let Some(rate) = lowered {
            tracing::warn!(requests_per_second = rate, "CodePipeline throttles requests; slowing down reads");
        }
    }

    /// Raises the rate after a read succeeded.
    pub fn on_success(&self) {
        self.bucket().on_success();
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenBucket {
    fn new(limit: f64, now: Instant) -> Self {
        Self { limit, rate: limit, available: limit.max(1.0), updated_at: now, throttled_at: None }
    }

    /// Takes a token, or returns the time until the next one at the current rate.
    fn acquire(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.duration_since(self.updated_at).as_secs_f64();
        self.available = (self.available + elapsed * self.rate).min(self.rate.max(1.0));
        self.updated_at = now;
        if self.available < 1.0 {
            // One more nanosecond makes up for rounding.
            let wait = Duration::from_secs_f64((1.0 - self.available) / self.rate);
            return Some(wait + Duration::from_nanos(1));
        }
        self.available -= 1.0;
        None
    }

    /// Returns the new rate if it changed.
    fn on_throttled(&mut self, now: Instant) -> Option<f64> {
        if self.throttled_at.is_some_and(|at| now.duration_since(at) < THROTTLE_WINDOW) {
            return None;
        }
        self.throttled_at = Some(now);
        self.rate = (self.rate / 2.0).max(self.limit * MIN_RATE_SHARE);
        Some(self.rate)
    }

    fn is_slowed_down(&self) -> bool {
        self.rate < self.limit
    }

    fn on_success(&mut self) {
        self.rate = (self.rate + self.limit * RECOVERY_SHARE).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a caller that always waits for a token receives each one, in milliseconds.
    fn acquired_at(limit: f64, count: usize) -> Vec<u128> {
        let started_at = Instant::now();
        let (mut bucket, mut now) = (TokenBucket::new(limit, started_at), started_at);
        let mut next = || {
            while let Some(wait) = bucket.acquire(now) {
                now += wait;
            }
            now.duration_since(started_at).as_millis()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_burst_of_one_second_passes_and_later_requests_are_spaced() {
        assert_eq!(acquired_at(5.0, 8), [0, 0, 0, 0, 0, 200, 400, 600]);
    }

    #[test]
    fn a_rate_below_one_per_second_works() {
        assert_eq!(acquired_at(0.5, 3), [0, 2000, 4000]);
    }

    #[test]
    fn throttling_halves_the_rate_once_per_window_and_successes_restore_it() {
        let started_at = Instant::now();
        let mut bucket = TokenBucket::new(8.0, started_at);
        assert_eq!(bucket.on_throttled(started_at), Some(4.0));
        assert_eq!(bucket.on_throttled(started_at + THROTTLE_WINDOW / 2), None, "these were in flight together");
        assert_eq!(bucket.on_throttled(started_at + THROTTLE_WINDOW), Some(2.0));
        let lowest = (2..100).filter_map(|second| bucket.on_throttled(started_at + THROTTLE_WINDOW * second)).last();
        assert_eq!(lowest, Some(8.0 / 16.0), "the rate never drops to zero");
        assert!(bucket.is_slowed_down());
        let successes = (1..100).find(|_| {
            bucket.on_success();
            bucket.rate >= 8.0
        });
        assert_eq!(successes, Some(30));
        assert!(!bucket.is_slowed_down());
    }

    #[tokio::test]
    async fn the_time_in_the_queue_counts_as_waiting() {
        let limiter = RateLimiter::new(1.0);
        let (first, second, third) = futures::join!(limiter.acquire(), limiter.acquire(), limiter.acquire());
        let bounds = [Duration::ZERO, Duration::from_millis(900), Duration::from_millis(1900)];
        assert!([first, second, third].iter().zip(bounds).all(|(waited, least)| *waited >= least));
        assert!(first < Duration::from_millis(900), "{first:?}");
    }
}
