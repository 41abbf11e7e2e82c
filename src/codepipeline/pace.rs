//! The pace of reads: a token bucket over an account and region. Throttling by the service halves it, and each read that
//! succeeds brings it nearer to what is allowed again. Answers to approvals are not held back by it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long reads may save up turns that they did not take, so that some can go at once.
const BURST: Duration = Duration::from_secs(1);

/// Answers that were under way together are throttled together: they count once.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// What throttling leaves of the pace at least.
const LEAST_SHARE: f64 = 1.0 / 64.0;

/// What a read that succeeds gives back of it.
const REGAINED_SHARE: f64 = 1.0 / 32.0;

/// The pace of reads.
#[derive(Debug)]
pub struct Pace {
    turns: Mutex<Turns>,
}

#[derive(Debug)]
struct Turns {
    /// Requests a second, at most.
    limit: f64,
    /// Requests a second, now.
    rate: f64,
    /// When the next turn would be if none had been saved up.
    next: Instant,
    slowed_down: Option<Instant>,
}

impl Pace {
    /// So many requests a second.
    #[must_use]
    pub fn new(requests_per_second: f64) -> Self {
        let turns =
            Turns { limit: requests_per_second, rate: requests_per_second, next: Instant::now(), slowed_down: None };
        Self { turns: Mutex::new(turns) }
    }

    /// Waits for a turn. Turns are taken in the order of asking.
    pub async fn turn(&self) {
        let at = self.turns().take(Instant::now());
        sleep_until(at).await;
    }

    /// The service said that there were too many requests.
    pub fn slow_down(&self) {
        let slowed = self.turns().slow_down(Instant::now());
        if let Some(rate) = slowed {
            tracing::warn!(requests_per_second = rate, "CodePipeline throttles requests: reads are slowed down");
        }
    }

    /// A read succeeded.
    pub fn speed_up(&self) {
        self.turns().speed_up();
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn take(&mut self, now: Instant) -> Instant {
        let interval = Duration::from_secs_f64(1.0 / self.rate);
        let saved = self.next.checked_sub(BURST.saturating_sub(interval)).unwrap_or(now);
        self.next = self.next.max(now) + interval;
        saved.max(now)
    }

    fn slow_down(&mut self, now: Instant) -> Option<f64> {
        if self.slowed_down.is_some_and(|at| now.duration_since(at) < LEAST_PAUSE) {
            return None;
        }
        self.slowed_down = Some(now);
        self.rate = (self.rate / 2.0).max(self.limit * LEAST_SHARE);
        Some(self.rate)
    }

    fn speed_up(&mut self) {
        self.rate = (self.rate + self.limit * REGAINED_SHARE).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(limit: f64, now: Instant) -> Turns {
        Turns { limit, rate: limit, next: now, slowed_down: None }
    }

    #[test]
    fn a_second_may_have_as_many_turns_as_are_allowed_and_the_next_ones_keep_the_pace() {
        let begun = Instant::now();
        let mut turns = turns(5.0, begun);
        let waits: Vec<u128> = (0..8).map(|_| turns.take(begun).duration_since(begun).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 600]);
    }

    #[test]
    fn less_than_one_a_second_is_a_pace_too() {
        let begun = Instant::now();
        let mut turns = turns(0.5, begun);
        let waits: Vec<u128> = (0..3).map(|_| turns.take(begun).duration_since(begun).as_millis()).collect();
        assert_eq!(waits, [0, 2000, 4000]);
    }

    #[test]
    fn throttling_halves_the_pace_once_a_second_and_success_brings_it_back() {
        let begun = Instant::now();
        let mut turns = turns(8.0, begun);
        assert_eq!(turns.slow_down(begun), Some(4.0));
        assert_eq!(turns.slow_down(begun + LEAST_PAUSE / 2), None, "these were under way together");
        assert_eq!(turns.slow_down(begun + LEAST_PAUSE), Some(2.0));
        let least = (2..100).filter_map(|second| turns.slow_down(begun + LEAST_PAUSE * second)).last();
        assert_eq!(least, Some(8.0 / 64.0), "it never stops");
        let successes = (1..100).find(|_| {
            turns.speed_up();
            turns.rate >= 8.0
        });
        assert_eq!(successes, Some(32));
    }
}
