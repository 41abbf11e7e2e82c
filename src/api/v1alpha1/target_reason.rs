//! The reasons of the `Ready` condition of an `ApprovalTarget`. `docs/reasons.md` is generated from here.

use crate::api::conditions::ConditionStatus;
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

/// Why a target is Ready or not. The order is that of the documentation.
#[derive(Clone, Copy, Debug, EnumMessage, EnumString, Eq, Hash, IntoStaticStr, PartialEq, VariantArray)]
pub enum TargetReason {
    /// STS confirmed that the operator's credentials for the target belong to `spec.accountId`.
    #[strum(message = "No action needed.")]
    Verified,
    /// The credentials belong to another account than `spec.accountId`. Nothing is read or sent there.
    #[strum(
        message = "Set spec.roleArn of the ApprovalTarget to a role in its account, or create another one with the right accountId."
    )]
    WrongAccount,
    /// STS does not allow the operator to assume `spec.roleArn`.
    #[strum(
        message = "Correct spec.roleArn or spec.externalId of the ApprovalTarget, or allow sts:AssumeRole in both the IAM policy of the \
                   operator's role and the trust policy of this role."
    )]
    AssumeRoleDenied,
    /// The operator has no valid AWS credentials with which it could access the account.
    #[strum(
        message = "Give the operator credentials (IRSA, EKS Pod Identity or AWS_* variables); the operator retries automatically."
    )]
    CredentialsUnavailable,
    /// STS cannot be reached, or fails.
    #[strum(message = "Check the network between the operator and STS; the operator retries automatically.")]
    Unreachable,
    /// The operator's clock, which deadlines and `spec.notAfter` of decisions depend on, differs from AWS's by more than 10 s.
    #[strum(message = "Synchronize the clock of the operator's node (NTP); the operator retries automatically.")]
    ClockSkew,
    /// The object has a field or a value that this version of the operator does not know. Such a target admits nothing.
    #[strum(message = "Upgrade the operator, or remove this from the ApprovalTarget.")]
    ValidationFailed,
}

impl TargetReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The word in the condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status of the Ready condition.
    #[must_use]
    pub const fn ready(self) -> ConditionStatus {
        match self {
            Self::Verified => ConditionStatus::True,
            Self::WrongAccount
            | Self::AssumeRoleDenied
            | Self::CredentialsUnavailable
            | Self::Unreachable
            | Self::ClockSkew
            | Self::ValidationFailed => ConditionStatus::False,
        }
    }

    /// What it means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.get_message().unwrap_or_default()
    }
}
