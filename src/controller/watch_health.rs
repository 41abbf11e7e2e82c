//! Whether a watch works. A watch that was refused and is accepted again reports no event until an object changes. So its requests count
//! too: a request that follows another without an error between them shows that the earlier one succeeded. The watcher sends one at
//! least every [`super::WATCH_SECONDS`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a watch may fail before it counts as broken. A restart of the API server takes less.
pub const WATCH_BROKEN_AFTER: Duration = Duration::from_secs(120);

/// Whether one watch works. Clones share it.
#[derive(Clone, Debug)]
pub struct WatchHealth {
    condition: Arc<Mutex<Condition>>,
    broken_after: Duration,
}

/// Whether a watch has listed its objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WatchState {
    /// Not yet.
    NotListed,
    /// It is not allowed to, or the kind is not installed.
    Refused,
    /// It has.
    Listed,
}

/// Why a watch is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BrokenWatch {
    /// The operator is not allowed to watch, or the kind is not installed.
    Refused,
    /// The API server cannot be reached, or fails.
    Unavailable,
}

/// Whether the operator can reconcile decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// The watches have not synced yet.
    NotSynced,
    /// A watch has failed for too long.
    WatchBroken,
}

/// Whether a change of the condition ended a break.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// The watch was broken, and works again.
    Recovered,
    Other,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Condition {
    Working,
    Failing(Failure),
    /// A request was sent after the last error.
    Retrying(Failure),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Failure {
    cause: BrokenWatch,
    /// The first error.
    since: Instant,
}

impl WatchHealth {
    /// A watch that works, and that is broken when it has failed for longer than this.
    pub(super) fn new(broken_after: Duration) -> Self {
        Self { condition: Arc::new(Mutex::new(Condition::Working)), broken_after }
    }

    /// Why the watch is broken, if it is.
    #[must_use]
    pub fn broken(&self) -> Option<BrokenWatch> {
        let condition = *self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        condition.broken(Instant::now(), self.broken_after)
    }

    pub(super) fn on_request(&self) -> Change {
        self.change(Condition::on_request)
    }

    /// The watch returned objects, or the end of a list.
    pub(super) fn on_event(&self) -> Change {
        self.change(|_| Condition::Working)
    }

    pub(super) fn on_error(&self, cause: BrokenWatch) {
        self.change(|condition| condition.on_error(cause, Instant::now()));
    }

    fn change(&self, change: impl FnOnce(Condition) -> Condition) -> Change {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        let was_broken = condition.broken(Instant::now(), self.broken_after).is_some();
        *condition = change(*condition);
        if was_broken && *condition == Condition::Working { Change::Recovered } else { Change::Other }
    }
}

impl Condition {
    fn on_request(self) -> Self {
        match self {
            Self::Working | Self::Retrying(_) => Self::Working,
            Self::Failing(failure) => Self::Retrying(failure),
        }
    }

    fn on_error(self, cause: BrokenWatch, now: Instant) -> Self {
        let since = match self {
            Self::Working => now,
            Self::Failing(failure) | Self::Retrying(failure) => failure.since,
        };
        Self::Failing(Failure { cause, since })
    }

    fn broken(self, now: Instant, broken_after: Duration) -> Option<BrokenWatch> {
        match self {
            Self::Working => None,
            Self::Failing(Failure { cause, since }) | Self::Retrying(Failure { cause, since }) => {
                (now.duration_since(since) > broken_after).then_some(cause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    fn at(start: Instant, second: u64) -> Instant {
        start + Duration::from_secs(second)
    }

    #[test]
    fn a_watch_is_broken_when_it_has_failed_for_longer_than_the_limit() {
        let start = Instant::now();
        let mut condition = Condition::Working;
        assert_eq!(condition.broken(at(start, 1_000_000), LIMIT), None, "no object changes for days");
        for second in 0..=200 {
            condition = condition.on_request().on_error(BrokenWatch::Unavailable, at(start, second));
            let expected = (second > 120).then_some(BrokenWatch::Unavailable);
            assert_eq!(condition.broken(at(start, second), LIMIT), expected, "{second}");
        }
        let refused = condition.on_request().on_error(BrokenWatch::Refused, at(start, 201));
        assert_eq!(refused.broken(at(start, 201), LIMIT), Some(BrokenWatch::Refused), "the last error counts");
    }

    #[test]
    fn a_broken_watch_works_again_once_a_request_succeeded() {
        let start = Instant::now();
        let failed = Condition::Working.on_error(BrokenWatch::Refused, start);
        let once = failed.on_request();
        assert_eq!(once.broken(at(start, 121), LIMIT), Some(BrokenWatch::Refused), "this request may fail too");
        assert_eq!(once.on_request(), Condition::Working);
    }

    #[test]
    fn an_error_after_a_recovery_starts_the_time_again() {
        let start = Instant::now();
        let recovered = Condition::Working.on_error(BrokenWatch::Unavailable, start).on_request().on_request();
        let failed = recovered.on_error(BrokenWatch::Unavailable, at(start, 100));
        assert_eq!(failed.broken(at(start, 220), LIMIT), None);
        assert_eq!(failed.broken(at(start, 221), LIMIT), Some(BrokenWatch::Unavailable));
    }

    #[test]
    fn only_the_end_of_a_break_is_a_recovery() {
        let health = WatchHealth::new(Duration::ZERO);
        assert_eq!(health.on_event(), Change::Other);
        health.on_error(BrokenWatch::Refused);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.broken(), Some(BrokenWatch::Refused));
        assert_eq!((health.on_request(), health.on_request()), (Change::Other, Change::Recovered));
        assert_eq!(health.broken(), None);
        let brief = WatchHealth::new(LIMIT);
        brief.on_error(BrokenWatch::Refused);
        assert_eq!((brief.broken(), brief.on_event()), (None, Change::Other));
    }
}
