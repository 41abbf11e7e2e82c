//! Instants as the API carries them: RFC 3339 with milliseconds, in UTC.
//!
//! Reading never fails. The API server's idea of a `date-time` is wider than a calendar's (it admits 30 February, and even an
//! array), and one object that cannot be read would stop the watch for every other. Only the operator writes these fields, so
//! an instant that is none is somebody's forgery of a status: it reads as the Unix epoch, which makes every deadline a passed
//! one.

use jiff::{SignedDuration, Timestamp, Unit};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The schema of an instant in a status.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
}

/// Reads an instant; what is none is the Unix epoch.
///
/// # Errors
/// When there is no value at all.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Ok(lenient_option(deserializer)?.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Reads an optional instant; what is none is absent.
///
/// # Errors
/// When there is no value at all.
pub fn lenient_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().and_then(|text| text.parse().ok()))
}

/// To the millisecond, which is what the service's times carry: its `.123` arrives here as `.122999`.
#[must_use]
pub fn to_millisecond(instant: Timestamp) -> Timestamp {
    instant.round(Unit::Millisecond).unwrap_or(instant)
}

/// To the second, as Kubernetes writes `lastTransitionTime`.
#[must_use]
pub fn to_second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

/// A sum that ends at the edge of the calendar instead of failing.
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A difference that ends at the edge of the calendar instead of failing.
#[must_use]
pub fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
