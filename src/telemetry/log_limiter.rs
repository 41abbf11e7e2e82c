//! Limits how often the log repeats the same failure: a missing permission fails every attempt of every decision.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a failure that lasts is not logged again.
pub const REPEAT_LOG_AFTER: Duration = Duration::from_secs(60);

/// When a failure was last logged. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LogLimiter {
    logged: Arc<Mutex<Option<Instant>>>,
}

impl LogLimiter {
    /// Whether to log the failure now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|last| now.duration_since(last) >= REPEAT_LOG_AFTER);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_lasts_is_logged_once_a_minute() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        let clone = limiter.clone();
        let logged = (0..150).filter(|seconds| clone.is_due_at(start + Duration::from_secs(*seconds)));
        assert_eq!(logged.collect::<Vec<_>>(), [0, 60, 120]);
        assert!(!limiter.is_due_at(start + Duration::from_secs(170)), "clones share it");
    }
}
