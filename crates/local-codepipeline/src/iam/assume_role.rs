//! The input of AssumeRole and its limits. They are checked before anything else, as in AWS.

use jiff::SignedDuration;

use super::{caller::Caller, error::StsError, role::is_name_character};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 900;
const MAX_SECONDS: i64 = 43_200;
/// The limit for a session that assumes another role.
const MAX_CHAINED_SECONDS: i64 = 3600;

/// The members of the form. An absent member is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AssumeRoleInput {
    pub(crate) role_arn: Option<String>,
    pub(crate) role_session_name: Option<String>,
    pub(crate) duration_seconds: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// A valid input.
#[derive(Debug)]
pub(super) struct AssumeRoleRequest {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) duration: SignedDuration,
    pub(super) external_id: Option<String>,
}

impl AssumeRoleInput {
    pub(super) fn validate(&self, caller: &Caller) -> Result<AssumeRoleRequest, StsError> {
        let role_arn = required("roleArn", self.role_arn.as_deref())?;
        check_length("roleArn", role_arn, 20, 2048)?;
        if !role_arn.starts_with("arn:") {
            return Err(StsError::validation(format!("{role_arn} is invalid")));
        }
        let session_name = required("roleSessionName", self.role_session_name.as_deref())?;
        check_length("roleSessionName", session_name, 2, 64)?;
        check_characters("roleSessionName", session_name, "[\\w+=,.@-]*", is_name_character)?;
        if let Some(external_id) = &self.external_id {
            check_length("externalId", external_id, 2, 1224)?;
            let is_allowed = |c| is_name_character(c) || matches!(c, ':' | '/');
            check_characters("externalId", external_id, "[\\w+=,.@:\\/-]*", is_allowed)?;
        }
        let seconds = self.duration_seconds.as_deref().map_or(Ok(DEFAULT_SECONDS), parse_duration)?;
        if caller.role().is_some() && seconds > MAX_CHAINED_SECONDS {
            let message =
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
            return Err(StsError::validation(message));
        }
        Ok(AssumeRoleRequest {
            role_arn: role_arn.to_owned(),
            session_name: session_name.to_owned(),
            duration: SignedDuration::from_secs(seconds),
            external_id: self.external_id.clone(),
        })
    }
}

fn required<'a>(member: &str, value: Option<&'a str>) -> Result<&'a str, StsError> {
    value.ok_or_else(|| {
        StsError::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn check_length(member: &str, value: &str, min: usize, max: usize) -> Result<(), StsError> {
    let length = value.chars().count();
    let bound = if length < min {
        format!("have length greater than or equal to {min}")
    } else if length > max {
        format!("have length less than or equal to {max}")
    } else {
        return Ok(());
    };
    Err(StsError::invalid(member, value, &bound))
}

fn check_characters(
    member: &str,
    value: &str,
    pattern: &str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), StsError> {
    if value.chars().all(is_allowed) {
        return Ok(());
    }
    Err(StsError::invalid(member, value, &format!("satisfy regular expression pattern: {pattern}")))
}

fn parse_duration(text: &str) -> Result<i64, StsError> {
    let invalid = |bound: &str| Err(StsError::invalid("durationSeconds", text, bound));
    match text.parse::<i64>() {
        Ok(seconds @ MIN_SECONDS..=MAX_SECONDS) => Ok(seconds),
        Ok(..MIN_SECONDS) => invalid(&format!("have value greater than or equal to {MIN_SECONDS}")),
        Ok(_) => invalid(&format!("have value less than or equal to {MAX_SECONDS}")),
        // Assumed.
        Err(_) => invalid("be an integer"),
    }
}
