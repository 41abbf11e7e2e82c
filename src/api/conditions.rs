//! Status conditions by the kstatus convention: `Ready` always, `Reconciling` or `Stalled` only while they are True.
//!
//! The shape is that of `metav1.Condition`. The type is our own because its schema has limits: without them, the API server cannot
//! bound the cost of a CEL rule that reads conditions.

use super::time;
use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The longest message that the schema admits, in characters.
pub const MAX_MESSAGE: usize = 4096;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nothing is known about it.
    Unknown,
}

/// One aspect of the state of a resource.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect: Ready, Reconciling or Stalled.
    #[schemars(length(min = 1, max = 316))]
    pub r#type: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The metadata.generation that the condition describes.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the condition's status last changed.
    #[serde(deserialize_with = "time::lenient")]
    #[schemars(schema_with = "time::schema")]
    pub last_transition_time: Timestamp,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// What happened and what to do about it, for people.
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// Parses an integer that may be written as `1.0`, which the API server's schema accepts.
///
/// # Errors
/// When the value is not a number, which the schema rules out.
#[allow(clippy::cast_possible_truncation, reason = "a cast from float to integer saturates")]
pub fn integral<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(f64::deserialize(deserializer)? as i64)
}

/// As [`integral`], where the value may be absent.
///
/// # Errors
/// When the value is neither a number nor null, which the schema rules out.
#[allow(clippy::cast_possible_truncation, reason = "a cast from float to integer saturates")]
pub fn integral_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|number| number as i64))
}
