//! The times that decisions go by: when an attempt is over, when the next may begin, and when it is too late.

use super::outcome::Expiry;
use crate::api::time::{earlier, later};
use crate::api::v1alpha1::{ApprovalDecision, Submission};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::hash::{DefaultHasher, Hash, Hasher};

pub use crate::codepipeline::RECORD_LAG;

/// How far the clocks of operators and of the service may differ.
pub const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// How long writing an intent may take. It adds to [`MARGIN`]: a request that leaves late must not be looked for too early.
const LATENESS: SignedDuration = SignedDuration::from_secs(5);

/// The longest that a call to the service may be given.
pub const LONGEST_AWS_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// How long a record that contradicts an exception of the service is read again, before the exception is what counts.
pub const RECORD_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The shortest pause between two attempts.
pub(super) const LEAST_BACK_OFF: SignedDuration = SignedDuration::from_secs(1);

/// The longest, in seconds.
pub(super) const MAX_BACK_OFF: i64 = 300;

/// The operator's settings that decisions depend on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The longest time that a call to the service takes.
    pub aws_timeout: SignedDuration,
    /// How long after its creation a decision may be answered.
    pub waiting_limit: SignedDuration,
    /// How long to wait between two looks at the service's record.
    pub poll_interval: SignedDuration,
}

/// When an attempt that begins now is over: its request can no longer reach the service, by anybody's clock.
pub(super) fn deadline(settings: &Settings, now: Timestamp) -> Timestamp {
    later(later(later(now, LATENESS), settings.aws_timeout), MARGIN)
}

/// Before when the request of an attempt has to have left, so that it cannot reach the service after the deadline.
pub(super) fn latest_start(settings: &Settings, submission: &Submission) -> Timestamp {
    earlier(earlier(submission.deadline, settings.aws_timeout), MARGIN)
}

/// An attempt as it can have been. A time that no attempt has yet is somebody's forgery, and would keep the decision waiting
/// and its spec locked until then: it counts as long passed, as an instant does that is none.
pub(super) fn believable(attempt: Submission, now: Timestamp) -> Submission {
    let latest = later(later(later(now, LATENESS), LONGEST_AWS_TIMEOUT), MARGIN * 2);
    let past = |time| if time <= latest { time } else { Timestamp::UNIX_EPOCH };
    Submission { start_time: past(attempt.start_time), deadline: past(attempt.deadline), ..attempt }
}

pub(super) fn created(decision: &ApprovalDecision, now: Timestamp) -> Timestamp {
    decision.creation_timestamp().map_or(now, |time| time.0)
}

/// Which limit comes first.
///
/// # Errors
/// When `spec.notAfter` is no time, with the field and what was found.
pub fn expiry(decision: &ApprovalDecision, settings: &Settings, now: Timestamp) -> Result<Expiry, String> {
    let limit = Expiry::WaitingLimit(later(created(decision, now), settings.waiting_limit));
    let Some(not_after) = &decision.spec.not_after else {
        return Ok(limit);
    };
    match not_after.0.parse() {
        Ok(at) if at < limit.at() => Ok(Expiry::NotAfter(at)),
        Ok(_) => Ok(limit),
        Err(_) => Err(format!(
            "spec.notAfter is {:?}, which is no time: write one in RFC 3339, such as 2026-01-31T17:00:00Z",
            not_after.0
        )),
    }
}

/// Exponential back-off with full jitter, from 1 s to 5 min. The jitter is drawn from the object and the attempt, so that
/// a restart, or a look in between, comes to the same time.
pub(super) fn next_attempt(decision: &ApprovalDecision, last: &Submission) -> Timestamp {
    let mut hasher = DefaultHasher::new();
    (decision.uid(), last.attempts).hash(&mut hasher);
    let ceiling = MAX_BACK_OFF.min(1 << last.attempts.clamp(0, 16)) * 1000;
    let drawn = i64::try_from(hasher.finish() >> 32).unwrap_or_default() % ceiling;
    later(last.start_time, SignedDuration::from_millis(drawn).max(LEAST_BACK_OFF))
}
