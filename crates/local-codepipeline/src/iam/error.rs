//! The errors of STS, with their names and texts as AWS writes them.

use serde::Serialize;

/// An error that STS returns for a request that has a known caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StsError {
    pub(crate) kind: StsErrorKind,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum StsErrorKind {
    AccessDenied,
    ValidationError,
}

impl StsErrorKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDenied",
            Self::ValidationError => "ValidationError",
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::AccessDenied => 403,
            Self::ValidationError => 400,
        }
    }
}

impl StsError {
    /// AWS does not say whether the role exists, whom it trusts, or which external id it requires.
    pub(super) fn not_authorized(caller: &str, role: &str) -> Self {
        let message = format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}");
        Self { kind: StsErrorKind::AccessDenied, message }
    }

    pub(super) fn explicitly_denied(caller: &str, role: &str) -> Self {
        let Self { kind, message } = Self::not_authorized(caller, role);
        Self { kind, message: format!("{message} with an explicit deny in an identity-based policy") }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self { kind: StsErrorKind::ValidationError, message: message.into() }
    }

    /// `constraint` is what the member must do, as in AWS's text.
    pub(super) fn invalid(member: &str, value: &str, constraint: &str) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must \
             {constraint}"
        ))
    }
}
