//! Polls that took longer than the interval: why they did, and when to warn about them. Pure, without I/O.

use std::time::Duration;

/// The time between two warnings. Where one poll is slow, most are.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A poll that took longer than the interval.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SlowPoll {
    /// The pipeline's name.
    pub pipeline: String,
    /// How long the poll took.
    pub duration: Duration,
    /// How long its reads waited for the rate limiter.
    pub waited: Duration,
    /// Whether the rate limiter is below its maximum rate, because CodePipeline throttled reads.
    pub is_slowed_down: bool,
}

impl SlowPoll {
    /// What took most of the time, and what to do about it.
    pub(super) const fn explanation(&self) -> &'static str {
        if self.waited.as_nanos() * 2 < self.duration.as_nanos() {
            "AWS took long to respond; check the network to AWS, or raise --poll-interval"
        } else if self.is_slowed_down {
            "reads are slowed down because CodePipeline throttles them; raise --poll-interval, or request a higher quota"
        } else {
            "their reads waited for the rate limiter; raise --aws-requests-per-second or --poll-interval"
        }
    }
}

/// The slow polls since the last warning.
#[derive(Debug, Default)]
pub(super) struct SlowPolls {
    count: u64,
    slowest: Option<SlowPoll>,
    warned_at: Option<Duration>,
}

impl SlowPolls {
    /// Adds a poll. Returns the slowest poll and the number of polls if it is time to warn about them.
    pub(super) fn record(&mut self, poll: SlowPoll, now: Duration) -> Option<(SlowPoll, u64)> {
        self.count += 1;
        let slowest = match self.slowest.take() {
            Some(slowest) if slowest.duration >= poll.duration => slowest,
            Some(_) | None => poll,
        };
        if self.warned_at.is_some_and(|warned_at| now < warned_at + WARNING_INTERVAL) {
            self.slowest = Some(slowest);
            return None;
        }
        self.warned_at = Some(now);
        Some((slowest, std::mem::take(&mut self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(seconds: u64, waited: u64, is_slowed_down: bool) -> SlowPoll {
        let [duration, waited] = [seconds, waited].map(Duration::from_secs);
        SlowPoll { pipeline: "web".to_owned(), duration, waited, is_slowed_down }
    }

    #[test]
    fn a_flag_is_blamed_only_if_the_rate_limiter_took_most_of_the_time() {
        let flag = "--aws-requests-per-second";
        assert!(poll(20, 19, false).explanation().contains(flag));
        for other in [poll(20, 9, false), poll(20, 9, true), poll(20, 0, false), poll(20, 19, true)] {
            assert!(!other.explanation().contains(flag), "{other:?}");
        }
        assert!(poll(20, 9, true).explanation().contains("AWS took long"));
        assert!(poll(20, 19, true).explanation().contains("throttles"));
    }

    #[test]
    fn there_is_one_warning_a_minute_with_the_slowest_poll_and_the_number_of_polls() {
        let mut polls = SlowPolls::default();
        let warnings: Vec<_> = (0..=120)
            .filter_map(|second| polls.record(poll(20 + second % 50, 0, false), Duration::from_secs(second)))
            .map(|(slowest, count)| (slowest.duration.as_secs(), count))
            .collect();
        assert_eq!(warnings, [(20, 1), (69, 60), (69, 60)]);
    }
}
