//! A role and its trust policy: who may assume it, and with which external id. The seed file and the control routes
//! declare roles by their ARNs, so a role needs no other statement of its account.

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Caller;
use crate::model::is_account_id;

/// The default of AWS.
const MAX_SESSION_DURATION: SignedDuration = SignedDuration::from_hours(1);

/// A role that callers can assume. By default it trusts everyone and requires no external id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    arn: RoleArn,
    /// The external id that AssumeRole must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// Who may assume the role; nobody if empty, everyone if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusts: Option<Vec<Principal>>,
    /// How long sessions last, whatever AssumeRole requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_duration: Option<SignedDuration>,
    /// The longest duration that AssumeRole may request.
    #[serde(default = "max_session_duration")]
    max_session_duration: SignedDuration,
}

fn max_session_duration() -> SignedDuration {
    MAX_SESSION_DURATION
}

impl Role {
    /// A role that everyone may assume.
    pub fn new(arn: &str) -> Result<Self, RoleArnError> {
        Ok(Self {
            arn: arn.parse()?,
            external_id: None,
            trusts: None,
            session_duration: None,
            max_session_duration: MAX_SESSION_DURATION,
        })
    }

    /// Requires this external id.
    #[must_use]
    pub fn external_id(mut self, external_id: impl Into<String>) -> Self {
        self.external_id = Some(external_id.into());
        self
    }

    /// Trusts only these account ids and ARNs. An empty list refuses everyone.
    pub fn trusts<'a>(mut self, principals: impl IntoIterator<Item = &'a str>) -> Result<Self, PrincipalError> {
        self.trusts = Some(principals.into_iter().map(str::parse).collect::<Result<_, _>>()?);
        Ok(self)
    }

    /// Ends sessions after this time, whatever AssumeRole requests. It may be shorter than AWS allows.
    #[must_use]
    pub fn session_duration(mut self, duration: SignedDuration) -> Self {
        self.session_duration = Some(duration);
        self
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> &RoleArn {
        &self.arn
    }

    pub(super) fn forced_session_duration(&self) -> Option<SignedDuration> {
        self.session_duration
    }

    pub(super) fn max_session_duration(&self) -> SignedDuration {
        self.max_session_duration
    }

    /// Whether the trust policy admits the caller with this external id. An external id that the role does not require
    /// is ignored, as in AWS.
    pub(super) fn admits(&self, caller: &Caller, external_id: Option<&str>) -> bool {
        let is_trusted =
            self.trusts.as_ref().is_none_or(|trusted| trusted.iter().any(|principal| principal.includes(caller)));
        is_trusted && self.external_id.as_deref().is_none_or(|required| Some(required) == external_id)
    }
}

/// The ARN of a role: `arn:PARTITION:iam::ACCOUNT:role/NAME`, with an optional path before the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleArn {
    partition: String,
    account_id: String,
    /// The path with its slashes; empty without one.
    path: String,
    name: String,
}

/// A text that is not the ARN of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the ARN of a role: write arn:aws:iam::ACCOUNT:role/NAME with an account id of twelve digits")]
pub struct RoleArnError(String);

impl RoleArn {
    /// The account of the role.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The ARN of a session of the role. It has no path.
    pub(super) fn session(&self, name: &str) -> String {
        format!("arn:{}:sts::{}:assumed-role/{}/{name}", self.partition, self.account_id, self.name)
    }
}

impl FromStr for RoleArn {
    type Err = RoleArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || RoleArnError(text.to_owned());
        let parts: Vec<_> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account_id, resource] = *parts else { return Err(invalid()) };
        let resource = resource.strip_prefix("role/").ok_or_else(invalid)?;
        let (path, name) = resource.rsplit_once('/').map_or(("", resource), |(path, name)| (path, name));
        let is_valid_name = (1..=64).contains(&name.len()) && name.chars().all(is_name_character);
        if !partition.starts_with("aws") || !is_account_id(account_id) || !is_valid_name {
            return Err(invalid());
        }
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        let (partition, account_id, name) = (partition.to_owned(), account_id.to_owned(), name.to_owned());
        Ok(Self { partition, account_id, path, name })
    }
}

/// Whether IAM allows the character in the names of roles, and STS in those of sessions: `[\w+=,.@-]`.
pub(super) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

impl TryFrom<String> for RoleArn {
    type Error = RoleArnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RoleArn> for String {
    fn from(arn: RoleArn) -> Self {
        arn.to_string()
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, account_id, path, name } = self;
        write!(f, "arn:{partition}:iam::{account_id}:role/{path}{name}")
    }
}

/// A principal of a trust policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// Everyone in an account.
    Account(String),
    /// A user, a role with all its sessions, or one session.
    Arn(String),
}

/// A text that is not a principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a principal: write an account id of twelve digits, or the ARN of a user, a role or a session")]
pub struct PrincipalError(String);

impl Principal {
    fn includes(&self, caller: &Caller) -> bool {
        match self {
            Self::Account(id) => id == caller.account_id(),
            Self::Arn(arn) => arn == caller.arn() || caller.role().is_some_and(|role| role.to_string() == *arn),
        }
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            [id] if is_account_id(id) => Ok(Self::Account(text.to_owned())),
            ["arn", _, "iam", "", id, "root"] if is_account_id(id) => Ok(Self::Account((*id).to_owned())),
            ["arn", _, "iam" | "sts", "", id, resource] if is_account_id(id) && resource.contains('/') => {
                Ok(Self::Arn(text.to_owned()))
            }
            _ => Err(PrincipalError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = PrincipalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Account(text) | Principal::Arn(text) => text,
        }
    }
}
