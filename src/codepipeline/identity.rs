//! Who the operator is for AWS, and why it may not be who it should be. STS says so whenever a client loads credentials.

use super::clock_skew::ClockSkewExceeded;
use crate::api::v1alpha1::Location;

/// What STS says about the credentials of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The account of the credentials, and the region of the pipelines.
    pub location: Location,
    /// The ARN of the user or the role session, if STS named it.
    pub caller_arn: Option<String>,
}

/// Why a client has no credentials that it may use. Each variant contains what happened, for users.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// The credentials belong to another account than the target's, or than those before a refresh. Nothing is called with them.
    #[error("{0}")]
    WrongAccount(String),
    /// STS refused to let the operator assume the role.
    #[error("{0}")]
    AssumeRoleDenied(String),
    /// The region or the credentials are missing or invalid.
    #[error("{0}")]
    CredentialsUnavailable(String),
    /// STS cannot be reached, cannot respond now, or another server responded.
    #[error("{0}")]
    Unreachable(String),
    /// The operator's clock differs too much from AWS's.
    #[error("{0}")]
    ClockSkew(String),
}

impl VerifyError {
    /// Whether credentials that the client already has may no longer be used either.
    pub(crate) const fn revokes_current(&self) -> bool {
        match self {
            Self::WrongAccount(_) | Self::AssumeRoleDenied(_) => true,
            Self::CredentialsUnavailable(_) | Self::Unreachable(_) | Self::ClockSkew(_) => false,
        }
    }
}

impl From<ClockSkewExceeded> for VerifyError {
    fn from(skew: ClockSkewExceeded) -> Self {
        Self::ClockSkew(skew.to_string())
    }
}
