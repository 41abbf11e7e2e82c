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

    /// Whether it leaves a target Ready that STS confirmed before: each call reports such a failure itself.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::CredentialsUnavailable | Self::Unreachable | Self::ClockSkew => true,
            Self::WrongAccount | Self::AssumeRoleDenied | Self::Unsupported => false,
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
    fn each_cause_has_a_reason_and_those_that_may_pass_leave_a_target_ready() {
        let text = || "what happened".to_owned();
        for (error, reason, is_transient) in [
            (VerifyError::WrongAccount(text()), TargetReason::WrongAccount, false),
            (VerifyError::AssumeRoleDenied(text()), TargetReason::AssumeRoleDenied, false),
            (VerifyError::CredentialsUnavailable(text()), TargetReason::CredentialsUnavailable, true),
            (VerifyError::Unreachable(text()), TargetReason::Unreachable, true),
            (VerifyError::ClockSkew(text()), TargetReason::ClockSkew, true),
        ] {
            // Otherwise a target stays Ready without the credentials that made it so.
            assert_eq!(error.revokes_current(), !is_transient, "{reason:?}");
            let failure = VerifyFailure::from(error);
            assert_eq!(failure.cause.is_transient(), is_transient, "{reason:?}");
            assert_eq!((failure.cause.reason(), failure.message), (reason, text()));
            assert_eq!(reason.ready(), ConditionStatus::False, "{reason:?}");
        }
        assert_eq!(FailureCause::Unsupported.reason(), TargetReason::ValidationFailed);
        assert!(TargetReason::ClockSkew.remedy().starts_with("Synchronize the clock"));
    }
}
