//! The pace of reads: a token bucket over an account and region. Throttling by the service halves it, and each read that
//! succeeds brings it nearer to what is allowed again. Answers to approvals are not held back by it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Answers that were under way together are throttled together: they count once.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// How long somebody who waits for a turn sleeps at most, for the pace may quicken meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What throttling leaves of the pace at least.
const LEAST_SHARE: f64 = 1.0 / 16.0;

/// What a read that succeeds gives back of it.
const REGAINED_SHARE: f64 = 1.0 / 32.0;

/// The pace of reads.
#[derive(Debug)]
pub struct Pace {
    /// Whoever holds it has the next turn.
    line: tokio::sync::Mutex<()>,
    turns: Mutex<Turns>,
}

#[derive(Debug)]
struct Turns {
    /// Requests a second, at most.
    limit: f64,
    /// Requests a second, now.
    rate: f64,
    /// Turns that were saved up, of a second at most.
    saved: f64,
    /// When that was so.
    at: Instant,
    slowed_down: Option<Instant>,
}

impl Pace {
    /// So many requests a second.
    #[must_use]
    pub fn new(requests_per_second: f64) -> Self {
        Self { line: tokio::sync::Mutex::new(()), turns: Mutex::new(Turns::new(requests_per_second, Instant::now())) }
    }

    /// Waits for a turn. Turns are taken in the order of asking.
    pub async fn turn(&self) {
        let _first = self.line.lock().await;
        loop {
            let now = Instant::now();
            let wait = self.turns().take(now);
            match wait {
                None => return,
                Some(wait) => sleep_until(now + wait.min(LONGEST_SLEEP)).await,
            }
        }
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
    fn new(limit: f64, now: Instant) -> Self {
        Self { limit, rate: limit, saved: limit.max(1.0), at: now, slowed_down: None }
    }

    /// Takes a turn, or tells how long it is to the next at this pace.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.saved = (self.saved + passed * self.rate).min(self.rate.max(1.0));
        self.at = now;
        if self.saved < 1.0 {
            // A nanosecond more, for what is lost in rounding.
            let wait = Duration::from_secs_f64((1.0 - self.saved) / self.rate);
            return Some(wait + Duration::from_nanos(1));
        }
        self.saved -= 1.0;
        None
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

    /// When turns are taken, in milliseconds, by somebody who always wants one.
    fn taken(limit: f64, count: usize) -> Vec<u128> {
        let begun = Instant::now();
        let (mut turns, mut now) = (Turns::new(limit, begun), begun);
        let mut next = || {
            while let Some(wait) = turns.take(now) {
                now += wait;
            }
            now.duration_since(begun).as_millis()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_second_may_have_as_many_turns_as_are_allowed_and_the_next_ones_keep_the_pace() {
        assert_eq!(taken(5.0, 8), [0, 0, 0, 0, 0, 200, 400, 600]);
    }

    #[test]
    fn less_than_one_a_second_is_a_pace_too() {
        assert_eq!(taken(0.5, 3), [0, 2000, 4000]);
    }

    #[test]
    fn throttling_halves_the_pace_once_a_second_and_success_brings_it_back() {
        let begun = Instant::now();
        let mut turns = Turns::new(8.0, begun);
        assert_eq!(turns.slow_down(begun), Some(4.0));
        assert_eq!(turns.slow_down(begun + LEAST_PAUSE / 2), None, "these were under way together");
        assert_eq!(turns.slow_down(begun + LEAST_PAUSE), Some(2.0));
        let least = (2..100).filter_map(|second| turns.slow_down(begun + LEAST_PAUSE * second)).last();
        assert_eq!(least, Some(8.0 / 16.0), "it never stops");
        let successes = (1..100).find(|_| {
            turns.speed_up();
            turns.rate >= 8.0
        });
        assert_eq!(successes, Some(30));
    }
}
