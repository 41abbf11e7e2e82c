//! Every back-off policy of the operator, in one place: what is retried, after which delay, and why.

use kube::runtime::utils::Backoff;
use std::time::Duration;

/// A delay that doubles with each failure, up to a maximum.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialBackoff {
    /// The delay after the first failure.
    pub initial: Duration,
    /// The longest delay.
    pub max: Duration,
}

/// Between two attempts to submit a result, with full jitter.
pub const SUBMISSION: ExponentialBackoff =
    ExponentialBackoff { initial: Duration::from_secs(1), max: Duration::from_secs(300) };

/// Between two reads of the history of a submission in doubt that history may no longer lag behind, with full jitter. The first
/// delay is `--poll-interval`.
#[must_use]
pub fn history_read(poll_interval: Duration) -> ExponentialBackoff {
    ExponentialBackoff { initial: poll_interval, max: poll_interval.max(Duration::from_secs(300)) }
}

/// Between two polls of a pipeline that cannot be read. Subscribers notice within the maximum that the pipeline can be read
/// again, and a pipeline that cannot be read costs at most one call in that time.
pub const FAILED_POLL: ExponentialBackoff =
    ExponentialBackoff { initial: Duration::from_secs(1), max: Duration::from_secs(60) };

/// Between two writes of the outcome of a submission, which are repeated until one lands: no one else knows the outcome.
pub const OUTCOME_WRITE: ExponentialBackoff =
    ExponentialBackoff { initial: Duration::from_millis(100), max: Duration::from_secs(10) };

/// Between two sends of a request that the API server cannot accept now, unless it asks for a certain delay. The default of the
/// client grows to a quarter of an hour, which would add that much to an outage. With [`API_REQUEST_RETRIES`], some 20 s.
pub const API_REQUEST: ExponentialBackoff =
    ExponentialBackoff { initial: Duration::from_millis(5), max: Duration::from_secs(2) };

/// The number of retries before the error is reported.
pub const API_REQUEST_RETRIES: u32 = 15;

/// After a reconcile that failed because the API server could not be read or written.
pub const FAILED_RECONCILE: Duration = Duration::from_secs(5);

/// The longest time until a decision that waits is reconciled again. kube-runtime keeps the time of a decision that was deleted until it
/// is due, and a decision may wait for weeks.
pub const LONGEST_REQUEUE: Duration = Duration::from_secs(600);

/// After a failed watch. It is short so that a start, or a CRD that was just installed, is noticed soon.
pub const FAILED_WATCH: Duration = Duration::from_secs(1);

/// Between two searches for an AWS region and credentials. A search takes seconds where the instance metadata service does not
/// respond, and a call to AWS where it does.
pub const AWS_CONFIG: Duration = Duration::from_secs(1);

/// Between two loads of the AWS credentials after AWS denied access, which a load rarely fixes.
pub const AWS_RELOAD: Duration = Duration::from_secs(60);

/// Between two verifications of a target that STS confirmed.
pub const VERIFICATION: Duration = Duration::from_secs(600);

/// Between two verifications of a target that is not Ready.
pub const FAILED_VERIFICATION: Duration = Duration::from_secs(15);

/// After the verification of a target, how long a call through it that fails does not cause another one.
pub const VERIFIED_RECENTLY: Duration = Duration::from_secs(15);

/// From a change of the counts in the status of a target until they are written. So there is at most one such write for each target in
/// this time, and what comes and goes within it causes none. A person who watches the counts barely notices it: they come from polls, whose
/// default interval is longer.
pub const COUNTS_WRITE: Duration = Duration::from_secs(10);

/// After a replica became the leader, how long it leaves the counts that its predecessor wrote while it has not polled every pipeline of the
/// target. At the default `--aws-requests-per-second`, one pipeline takes about a second, so this is enough for some 60.
pub const FIRST_POLLS: Duration = Duration::from_secs(60);

impl ExponentialBackoff {
    /// The delay after this many consecutive failures, the first being 1.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }

    /// The number of consecutive failures after this time. A delay that follows from it survives a restart.
    #[must_use]
    pub fn failures_after(&self, elapsed: Duration) -> u32 {
        let initial_delays = elapsed.as_nanos() / self.initial.as_nanos().max(1);
        initial_delays.saturating_add(1).ilog2() + 1
    }

    /// A delay between the initial one and twice [`Self::delay`], drawn by `seed`: the same seed gives the same delay, so that a
    /// restart does not change it.
    #[must_use]
    pub fn jittered_delay(&self, failures: u32, seed: u32) -> Duration {
        let ceiling = self.delay(failures.saturating_add(1)).as_millis().max(1);
        let drawn = u128::from(seed) % ceiling;
        Duration::from_millis(u64::try_from(drawn).unwrap_or(u64::MAX)).max(self.initial)
    }
}

/// The same delay after each failure, in the form that kube's streams take.
#[derive(Clone, Copy, Debug)]
pub struct ConstantBackoff(pub Duration);

impl Iterator for ConstantBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for ConstantBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        let seconds = (1..9).map(|failures| FAILED_POLL.delay(failures).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(FAILED_POLL.delay(u32::MAX), FAILED_POLL.max);
    }

    #[test]
    fn the_number_of_failures_follows_from_the_time_that_they_took() {
        for failures in 1..8 {
            let elapsed = (1..failures).map(|number| FAILED_POLL.initial * 2_u32.pow(number - 1)).sum();
            assert_eq!(FAILED_POLL.failures_after(elapsed), failures, "{elapsed:?}");
            assert_eq!(FAILED_POLL.failures_after(elapsed + Duration::from_millis(999)), failures, "{elapsed:?}");
        }
        let never = ExponentialBackoff { initial: Duration::ZERO, ..FAILED_POLL };
        assert!(never.failures_after(Duration::MAX) > FAILED_POLL.failures_after(Duration::MAX));
    }

    #[test]
    fn jitter_stays_between_the_initial_delay_and_the_ceiling() {
        for seed in (0..u32::MAX).step_by(100_003) {
            assert!((SUBMISSION.initial..Duration::from_secs(2)).contains(&SUBMISSION.jittered_delay(1, seed)));
            assert!(SUBMISSION.jittered_delay(30, seed) < SUBMISSION.max);
        }
    }
}
