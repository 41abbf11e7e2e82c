//! Instants as the API carries them: RFC 3339 with milliseconds, in UTC.
//!
//! Parsing never fails. The API server admits a `date-time` that is in no calendar (30 February, even an array), and one object
//! that cannot be parsed would stop the watch for all others. Only the operator writes these fields, so an invalid instant
//! means that someone forged the status. It parses as the Unix epoch, so that every deadline has passed.

use jiff::{SignedDuration, Timestamp, Unit};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The schema of an instant in a status.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
}

/// Parses an instant; an invalid one becomes the Unix epoch.
///
/// # Errors
/// When there is no value at all.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Ok(lenient_option(deserializer)?.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Parses an optional instant; an invalid one is absent.
///
/// # Errors
/// When there is no value at all.
pub fn lenient_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().and_then(|text| text.parse().ok()))
}

/// Rounds to the millisecond, the precision of CodePipeline's times: its `.123` arrives here as `.122999`.
#[must_use]
pub fn to_millisecond(instant: Timestamp) -> Timestamp {
    instant.round(Unit::Millisecond).unwrap_or(instant)
}

/// Truncates to the second, as Kubernetes writes `lastTransitionTime`.
#[must_use]
pub fn to_second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

/// A sum that saturates at the end of the calendar.
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A difference that saturates at the start of the calendar.
#[must_use]
pub fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
