//! Whether STS confirmed that the operator can access the account of a target, and why not.

use crate::api::v1alpha1::TargetReason;
use crate::codepipeline::{Verified, VerifyError};

/// Whether STS confirmed that the operator can access the account of a target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Verification {
    /// It did.
    Verified,
    /// It did not.
    Unverified(Unverified),
}

/// Why a target is not verified.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Unverified {
    /// The operator has not asked yet.
    Pending,
    /// The verification failed.
    Failed(VerifyFailure),
}

/// A verification that failed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct VerifyFailure {
    /// Why it failed.
    pub cause: FailureCause,
    /// What happened, for people.
    pub message: String,
}

/// Why a verification failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FailureCause {
    /// The credentials belong to another account.
    WrongAccount,
    /// STS refused to let the operator assume the role.
    AssumeRoleDenied,
    /// The operator has no valid credentials.
    CredentialsUnavailable,
    /// STS cannot be reached, or fails.
    Unreachable,
    /// The operator's clock is wrong.
    ClockSkew,
    /// This version of the operator does not know all of the target.
    Unsupported,
}

impl FailureCause {
    /// The reason of the target's Ready condition.
    #[must_use]
    pub const fn reason(self) -> TargetReason {
        match self {
            Self::WrongAccount => TargetReason::WrongAccount,
            Self::AssumeRoleDenied => TargetReason::AssumeRoleDenied,
            Self::CredentialsUnavailable => TargetReason::CredentialsUnavailable,
            Self::Unreachable => TargetReason::Unreachable,
            Self::ClockSkew => TargetReason::ClockSkew,
            Self::Unsupported => TargetReason::ValidationFailed,
        }
    }
}

impl From<&Result<Verified, VerifyFailure>> for Verification {
    fn from(found: &Result<Verified, VerifyFailure>) -> Self {
        match found {
            Ok(_) => Self::Verified,
            Err(failure) => Self::Unverified(Unverified::Failed(failure.clone())),
        }
    }
}

impl From<VerifyError> for VerifyFailure {
    fn from(error: VerifyError) -> Self {
        let (cause, message) = match error {
            VerifyError::WrongAccount(message) => (FailureCause::WrongAccount, message),
            VerifyError::AssumeRoleDenied(message) => (FailureCause::AssumeRoleDenied, message),
            VerifyError::CredentialsUnavailable(message) => (FailureCause::CredentialsUnavailable, message),
            VerifyError::Unreachable(message) => (FailureCause::Unreachable, message),
            VerifyError::ClockSkew(message) => (FailureCause::ClockSkew, message),
        };
        Self { cause, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::ConditionStatus;

    #[test]
    fn each_cause_has_a_reason_and_a_remedy_of_its_own() {
        let text = || "what happened".to_owned();
        for (error, reason) in [
            (VerifyError::WrongAccount(text()), TargetReason::WrongAccount),
            (VerifyError::AssumeRoleDenied(text()), TargetReason::AssumeRoleDenied),
            (VerifyError::CredentialsUnavailable(text()), TargetReason::CredentialsUnavailable),
            (VerifyError::Unreachable(text()), TargetReason::Unreachable),
            (VerifyError::ClockSkew(text()), TargetReason::ClockSkew),
        ] {
            let failure = VerifyFailure::from(error);
            assert_eq!((failure.cause.reason(), failure.message), (reason, text()));
            assert_eq!(reason.ready(), ConditionStatus::False, "{reason:?}");
        }
        assert_eq!(FailureCause::Unsupported.reason(), TargetReason::ValidationFailed);
        assert!(TargetReason::ClockSkew.remedy().starts_with("Synchronize the clock"));
    }
}
