//! The times that govern a decision: how long an attempt can be in flight, when the next one may start, and when it is too late.

use super::phase::status_is_current;
use crate::api::time::{earlier, later};
use crate::api::v1alpha1::{ApprovalDecision, Submission};
use crate::backoff;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

pub use crate::codepipeline::{CLOCK_SKEW, HISTORY_LAG};

/// The largest difference between the clocks of two operators, each of which may differ from that of AWS by [`CLOCK_SKEW`]: one operator
/// recovers the submissions of another.
const RELATIVE_SKEW: SignedDuration = SignedDuration::from_secs(2 * CLOCK_SKEW.as_secs());

/// The longest time that writing an intent may take. It adds to [`RELATIVE_SKEW`] so that recovery never reads history before a
/// request that left late can be in it.
const INTENT_WRITE_TIMEOUT: SignedDuration = SignedDuration::from_secs(5);

/// The longest `--aws-timeout`.
pub const MAX_AWS_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// How long the operator reads a history that contradicts an exception again, before the exception counts.
pub const RECORD_RETRY_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// How long something new may be missing from CodePipeline's lists: a retried execution, or an execution of an action. Measured: 1 s.
pub const LIST_LAG: SignedDuration = SignedDuration::from_secs(2);

/// How long a pipeline may be unreadable before its decisions say so in their reason.
pub const UNREADABLE_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// How long an execution that CodePipeline does not know may be too new to be visible.
pub const UNKNOWN_EXECUTION_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// The operator's settings that decisions depend on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The longest time that one call to AWS takes.
    pub aws_timeout: SignedDuration,
    /// How long a decision without `notAfter` may wait.
    pub waiting_limit: SignedDuration,
    /// The interval between polls of a pipeline, and between reads of an approval's history.
    pub poll_interval: SignedDuration,
}

/// The limit that ends a decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Expiry {
    /// The decision's own `notAfter`.
    NotAfter(Timestamp),
    /// The operator's `--waiting-limit`, counted from [`waiting_since`].
    WaitingLimit(Timestamp),
}

impl Expiry {
    /// When it passes.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::NotAfter(at) | Self::WaitingLimit(at) => *at,
        }
    }
}

/// The limit of a decision that is not suspended: its own `notAfter`, which replaces the operator's limit.
#[must_use]
pub fn expiry(
    decision: &ApprovalDecision,
    not_after: Option<Timestamp>,
    settings: &Settings,
    now: Timestamp,
) -> Expiry {
    let limit = || Expiry::WaitingLimit(later(waiting_since(decision, now), settings.waiting_limit));
    not_after.map_or_else(limit, Expiry::NotAfter)
}

/// What the waiting limit counts from: creation, the last edit, a new value of the annotation, or release from `suspend`. An edit has
/// no time of its own, so it counts from when the operator saw it.
#[must_use]
pub fn waiting_since(decision: &ApprovalDecision, now: Timestamp) -> Timestamp {
    let status = decision.status.as_ref();
    let is_new = status.and_then(|status| status.observed_generation).is_none_or(|generation| generation < 0);
    if is_new || status_is_current(decision) {
        let written = status.and_then(|status| status.waiting_since);
        written.map_or_else(|| created_at(decision, now), |written| written.min(now))
    } else {
        now
    }
}

/// The times of an attempt that starts now. After its deadline, its request cannot reach CodePipeline, by any clock.
#[must_use]
pub fn start_attempt(settings: &Settings, now: Timestamp) -> AttemptTimes {
    AttemptTimes {
        start_time: now,
        deadline: later(later(later(now, INTENT_WRITE_TIMEOUT), settings.aws_timeout), RELATIVE_SKEW),
    }
}

/// The times of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptTimes {
    /// When it starts.
    pub start_time: Timestamp,
    /// When its request can no longer reach CodePipeline.
    pub deadline: Timestamp,
}

/// When the request of an attempt must have left, so that it cannot reach CodePipeline after the deadline.
pub(super) fn send_deadline(settings: &Settings, submission: &Submission) -> Timestamp {
    earlier(earlier(submission.deadline, settings.aws_timeout), RELATIVE_SKEW)
}

/// The submission as it can have been written. Someone forged a time that no attempt can have yet; it would keep the decision waiting
/// until then. It counts as long past, as an invalid instant does.
pub(super) fn ignore_forged_times(submission: &Submission, now: Timestamp) -> Submission {
    let latest = later(later(later(now, INTENT_WRITE_TIMEOUT), MAX_AWS_TIMEOUT), RELATIVE_SKEW * 2);
    let possible = |time| if time <= latest { time } else { Timestamp::UNIX_EPOCH };
    let (start_time, deadline) = (possible(submission.start_time), possible(submission.deadline));
    Submission { start_time, deadline, ..submission.clone() }
}

pub(super) fn created_at(decision: &ApprovalDecision, now: Timestamp) -> Timestamp {
    decision.creation_timestamp().map_or(now, |time| time.0)
}

/// When the attempt after `last` may start. The jitter is drawn from the object and the attempt, so that a restart does not
/// change it.
pub(super) fn next_attempt(decision: &ApprovalDecision, last: &Submission) -> Timestamp {
    let failures = u32::try_from(last.attempts.max(0)).unwrap_or(u32::MAX);
    after(last.start_time, backoff::SUBMISSION.jittered_delay(failures, seed(decision, last.attempts)))
}

/// When the attempt after `last` may start, if an attempt is in doubt. `startTime` is that of the first attempt then, so the start of
/// the last one follows from its deadline.
pub(super) fn next_attempt_in_doubt(decision: &ApprovalDecision, settings: &Settings, last: &Submission) -> Timestamp {
    let start_time =
        earlier(earlier(earlier(last.deadline, RELATIVE_SKEW), settings.aws_timeout), INTENT_WRITE_TIMEOUT);
    next_attempt(decision, &Submission { start_time, ..last.clone() })
}

/// The first moment at which another attempt may follow one that has just failed.
pub(super) fn soonest_retry(now: Timestamp) -> Timestamp {
    after(now, backoff::SUBMISSION.initial)
}

/// When to read the history of a submission in doubt again: at the poll interval while history may lag, then with a back-off. The
/// delay follows from the time since then, so that a restart does not shorten it.
pub(super) fn next_history_read(
    decision: &ApprovalDecision,
    settings: &Settings,
    now: Timestamp,
    submission: &Submission,
) -> Timestamp {
    let reliable_after = later(submission.deadline, HISTORY_LAG);
    if now < reliable_after {
        return later(now, settings.poll_interval);
    }
    let elapsed = Duration::try_from(now.duration_since(reliable_after)).unwrap_or_default();
    let policy = backoff::history_read(Duration::try_from(settings.poll_interval).unwrap_or_default());
    after(now, policy.jittered_delay(policy.failures_after(elapsed), seed(decision, now)))
}

fn after(time: Timestamp, delay: Duration) -> Timestamp {
    later(time, SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX))
}

/// The seed of a jitter.
fn seed(decision: &ApprovalDecision, event: impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    (decision.uid(), event).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}
