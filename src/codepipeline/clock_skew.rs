//! The difference between the operator's clock and AWS's. `notAfter`, deadlines and recovery compare the operator's time with
//! CodePipeline's, so nothing is submitted while the clocks differ by more than [`CLOCK_SKEW`]. The `Date` header of each response
//! measures the difference.

use crate::api::time::{later, to_second};
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The largest difference between the clocks of operators and of CodePipeline that the operator allows for.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(10);

/// A call that takes longer measures nothing, because the error of a measurement is up to half of the call's duration.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// A `Date` header has whole seconds: AWS's clock shows half a second more on average.
const HALF_SECOND: SignedDuration = SignedDuration::from_millis(500);

/// The operator's clock is wrong.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the operator's clock is {:.1} s {} AWS's, and at most {} s are allowed: it shows {}, and AWS's shows {}",
    .skew.as_secs_f64().abs(),
    if .skew.is_positive() { "behind" } else { "ahead of" },
    CLOCK_SKEW.as_secs(),
    to_second(*.local),
    to_second(later(*.local, *.skew))
)]
pub(super) struct ClockSkewExceeded {
    skew: SignedDuration,
    local: Timestamp,
}

/// AWS's time at a moment of the monotonic clock. So a correction of the operator's clock shows at once, and does not wait for the next
/// response.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwsTime {
    time: Timestamp,
    at: Instant,
}

impl AwsTime {
    /// How far AWS's clock is ahead of this local time, now.
    fn skew(self, local: Timestamp) -> SignedDuration {
        let elapsed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        later(self.time, elapsed).duration_since(local)
    }
}

/// AWS's clock, as the newest response shows it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct AwsClock(Arc<Mutex<AwsTime>>);

impl AwsClock {
    pub(super) fn new(time: AwsTime) -> Self {
        Self(Arc::new(Mutex::new(time)))
    }

    /// Takes the time of another response, unless a newer one is known.
    pub(super) fn update(&self, time: AwsTime) {
        let mut known = lock(&self.0);
        if time.at > known.at {
            *known = time;
        }
    }

    /// How far AWS's clock is ahead of the operator's.
    pub(super) fn skew(&self) -> SignedDuration {
        lock(&self.0).skew(Timestamp::now())
    }

    /// This time of the operator's clock; but AWS's time now, if the operator's clock is wrong and is ahead of that.
    pub(super) fn not_ahead(&self, time: Timestamp) -> Timestamp {
        match self.check() {
            Ok(()) => time,
            Err(ClockSkewExceeded { skew, local }) => time.min(later(local, skew)),
        }
    }

    /// Checks that the operator's clock is correct enough to submit a result.
    pub(super) fn check(&self) -> Result<(), ClockSkewExceeded> {
        let local = Timestamp::now();
        let skew = lock(&self.0).skew(local);
        if skew.abs() > CLOCK_SKEW { Err(ClockSkewExceeded { skew, local }) } else { Ok(()) }
    }
}

/// Measures AWS's time during one call. Clones share the measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockProbe(Arc<Mutex<Measurement>>);

#[derive(Clone, Copy, Debug, Default)]
enum Measurement {
    #[default]
    NotSent,
    Sent(Instant),
    Measured(AwsTime),
    /// The response does not show the time.
    Unknown,
}

impl ClockProbe {
    /// The connection receives the request.
    pub(super) fn sent(&self) {
        *lock(&self.0) = Measurement::Sent(Instant::now());
    }

    /// The headers of the response arrived.
    pub(super) fn received(&self, headers: &Headers) {
        let mut measurement = lock(&self.0);
        if let Measurement::Sent(sent_at) = *measurement {
            *measurement =
                measure(sent_at, sent_at.elapsed(), headers).map_or(Measurement::Unknown, Measurement::Measured);
        }
    }

    /// AWS's time, if there was a response that shows it.
    pub(super) fn aws_time(&self) -> Option<AwsTime> {
        match *lock(&self.0) {
            Measurement::Measured(time) => Some(time),
            Measurement::NotSent | Measurement::Sent(_) | Measurement::Unknown => None,
        }
    }
}

/// AWS sets `Date` during the call, most likely in the middle of it.
fn measure(sent_at: Instant, round_trip: Duration, headers: &Headers) -> Option<AwsTime> {
    // A response from a cache has an `Age` and an old `Date`.
    if round_trip > MAX_ROUND_TRIP || headers.contains_key("age") {
        return None;
    }
    let date = DateTime::from_str(headers.get("date")?, Format::HttpDate).ok()?;
    let date = Timestamp::from_second(date.secs()).ok()?;
    Some(AwsTime { time: later(date, HALF_SECOND), at: sent_at + round_trip / 2 })
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(round_trip: u64, name: &'static str, value: &'static str) -> Option<(Timestamp, Duration)> {
        let mut headers = Headers::new();
        headers.insert("date", "Wed, 04 Mar 2026 09:30:12 GMT");
        headers.insert(name, value);
        let sent_at = Instant::now();
        let time = measure(sent_at, Duration::from_secs(round_trip), &headers)?;
        Some((time.time, time.at - sent_at))
    }

    #[test]
    fn the_time_of_a_response_is_that_of_the_middle_of_its_call() {
        let half_past: Timestamp = "2026-03-04T09:30:12.5Z".parse().unwrap();
        for (round_trip, middle) in [(0, 0), (4, 2), (10, 5)] {
            let expected = Some((half_past, Duration::from_secs(middle)));
            assert_eq!(measured(round_trip, "x-amzn-requestid", "one"), expected, "{round_trip} s");
        }
        assert_eq!(measured(11, "x-amzn-requestid", "one"), None, "too slow to be precise");
        assert_eq!(measured(0, "age", "5"), None, "from a cache");
        for date in ["", "0", "Wed, 04 Mar 2026", "Wed, 99 Mar 2026 09:30:12 GMT", "Wed, 04 Mar 2026 09:30:12. GMT"] {
            assert_eq!(measured(0, "date", date), None, "{date:?}");
        }
    }

    #[test]
    fn a_correction_of_the_clock_shows_at_once() {
        let (local, at) = (Timestamp::now(), Instant::now());
        let time = AwsTime { time: later(local, SignedDuration::from_mins(1)), at };
        assert_eq!(time.skew(local).as_secs(), 60);
        assert_eq!(time.skew(later(local, SignedDuration::from_mins(1))).as_secs(), 0);
    }

    #[test]
    fn an_older_measurement_does_not_replace_a_newer_one() {
        let (local, older) = (Timestamp::now(), Instant::now());
        let newer = AwsTime { time: local, at: older + Duration::from_nanos(1) };
        let clock = AwsClock::new(newer);
        clock.update(AwsTime { time: later(local, SignedDuration::from_hours(1)), at: older });
        assert!(clock.check().is_ok());
    }

    #[test]
    fn the_error_shows_the_difference_and_both_times() {
        let local: Timestamp = "2026-03-04T09:30:12Z".parse().unwrap();
        let text = |seconds| ClockSkewExceeded { skew: SignedDuration::from_secs(seconds), local }.to_string();
        assert_eq!(
            text(11),
            "the operator's clock is 11.0 s behind AWS's, and at most 10 s are allowed: it shows 2026-03-04T09:30:12Z, and \
             AWS's shows 2026-03-04T09:30:23Z"
        );
        assert!(text(-11).starts_with("the operator's clock is 11.0 s ahead of AWS's"), "{}", text(-11));
    }
}
