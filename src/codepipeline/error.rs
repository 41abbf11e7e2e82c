//! What a failed call means, classed by what mends it: an edit of the decision, time or an administrator, or a look at the
//! service's record because the request may have been applied.

use crate::api::v1alpha1::{Exception, Reason};
use crate::causes::with_causes;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;
use std::error::Error as StdError;

/// Why a call has no result.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CallError {
    /// The service refused what was asked: only another request mends that.
    Refused {
        /// Which refusal.
        refusal: Refusal,
        /// In the service's words.
        exception: Exception,
    },
    /// The request was certainly not applied, for a cause outside the decision: the same request can be sent again.
    NotTaken {
        /// What has to change first.
        cause: Cause,
        /// In the service's words, where it said anything.
        exception: Option<Exception>,
        /// What was seen, for people.
        detail: String,
    },
    /// The request may have been applied: no answer came, or one that cannot be read.
    Lost {
        /// What was seen, for people.
        detail: String,
    },
}

/// A refusal that only an edit of the decision mends. The first six are all that PutApprovalResult declares.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// InvalidApprovalTokenException
    InvalidApprovalToken,
    /// ApprovalAlreadyCompletedException
    ApprovalAlreadyCompleted,
    /// PipelineNotFoundException
    PipelineNotFound,
    /// StageNotFoundException
    StageNotFound,
    /// ActionNotFoundException
    ActionNotFound,
    /// ValidationException
    ValidationFailed,
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidApprovalToken => Self::InvalidApprovalToken,
            Refusal::ApprovalAlreadyCompleted => Self::ApprovalAlreadyCompleted,
            Refusal::PipelineNotFound => Self::PipelineNotFound,
            Refusal::StageNotFound => Self::StageNotFound,
            Refusal::ActionNotFound => Self::ActionNotFound,
            Refusal::ValidationFailed => Self::ValidationFailed,
        }
    }
}

/// What has to change before a request that was not taken can succeed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Fewer requests: time mends it.
    Throttled,
    /// The IAM policy: an administrator mends it.
    AccessDenied,
    /// The region or credentials that the operator has: an administrator mends it, or their renewal.
    CredentialsUnavailable,
    /// The network or the service.
    ServiceUnavailable,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 4] =
        [Self::Throttled, Self::AccessDenied, Self::CredentialsUnavailable, Self::ServiceUnavailable];
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Throttled => Self::Throttled,
            Cause::AccessDenied => Self::AccessDenied,
            Cause::CredentialsUnavailable => Self::CredentialsUnavailable,
            Cause::ServiceUnavailable => Self::ServiceUnavailable,
        }
    }
}

/// What an exception's name means. CodePipeline's model declares the refusals; the rest is common to AWS services and arrives
/// undeclared.
enum Meaning {
    Refusal(Refusal),
    Cause(Cause),
    /// The service does not say whether the request was applied.
    Unclear,
}

fn meaning(name: &str) -> Meaning {
    match name {
        "InvalidApprovalTokenException" => Meaning::Refusal(Refusal::InvalidApprovalToken),
        "ApprovalAlreadyCompletedException" => Meaning::Refusal(Refusal::ApprovalAlreadyCompleted),
        "PipelineNotFoundException" => Meaning::Refusal(Refusal::PipelineNotFound),
        "StageNotFoundException" => Meaning::Refusal(Refusal::StageNotFound),
        "ActionNotFoundException" => Meaning::Refusal(Refusal::ActionNotFound),
        "ValidationException" | "SerializationException" => Meaning::Refusal(Refusal::ValidationFailed),
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "ProvisionedThroughputExceededException" => Meaning::Cause(Cause::Throttled),
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" | "OptInRequired" => {
            Meaning::Cause(Cause::AccessDenied)
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "InvalidToken" => Meaning::Cause(Cause::CredentialsUnavailable),
        "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "InternalServiceError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Meaning::Unclear,
        _ => Meaning::Cause(Cause::ServiceUnavailable),
    }
}

/// The longest name of an exception, which is what a status can hold.
const LONGEST_NAME: usize = 256;

/// Whether the request had been handed to the connection when the call failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transmission {
    /// It never left: whatever went wrong, nothing was applied.
    NotBegun,
    /// It may have left.
    Begun,
}

/// A request that was ready to leave after the time until which it may.
#[derive(Debug, thiserror::Error)]
#[error("the request was not ready to leave before {0}")]
pub(super) struct TooLate(pub Timestamp);

/// What a call's failure means.
pub fn classify<E>(error: SdkError<E, HttpResponse>, transmission: Transmission) -> CallError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(context) = &error {
        let status = context.raw().status().as_u16();
        let name = context.err().code().map(str::to_owned);
        let message = context.err().message().unwrap_or_default().to_owned();
        return answered(status, name, message);
    }
    let detail = with_causes(&error);
    if transmission == Transmission::NotBegun {
        // Credentials are what is fetched between building a request and sending it: what takes long there are they.
        let credentials = caused_by::<CredentialsError>(&error).is_some()
            || caused_by::<TooLate>(&error).is_some()
            || matches!(error, SdkError::TimeoutError(_));
        let cause = if credentials { Cause::CredentialsUnavailable } else { Cause::ServiceUnavailable };
        return CallError::NotTaken { cause, exception: None, detail };
    }
    let never_connected = matches!(error, SdkError::DispatchFailure(_))
        && (caused_by::<hyper_util::client::legacy::Error>(&error).is_some_and(|e| e.is_connect())
            || caused_by::<std::io::Error>(&error).is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused));
    if never_connected {
        return CallError::NotTaken { cause: Cause::ServiceUnavailable, exception: None, detail };
    }
    CallError::Lost { detail }
}

/// An error that the service, or something before it, put into words.
fn answered(status: u16, name: Option<String>, message: String) -> CallError {
    // A 5xx says nothing about whether the request was applied, whatever its body says. A 4xx that names no exception does
    // not come from the service, and what stands in between may have passed the request on. Nor does anything else that is
    // no success.
    let is_told = (400..500).contains(&status) && status != 408;
    let Some(name) = name.filter(|name| is_told && is_exception(name)) else {
        return CallError::Lost { detail: format!("HTTP status {status}: {message}") };
    };
    match meaning(&name) {
        Meaning::Unclear => CallError::Lost { detail: format!("{name}: {message}") },
        Meaning::Refusal(refusal) => CallError::Refused { refusal, exception: Exception { r#type: name, message } },
        Meaning::Cause(cause) => CallError::NotTaken {
            cause,
            detail: format!("{name}: {message}"),
            exception: Some(Exception { r#type: name, message }),
        },
    }
}

/// Whether a text can be the name of an exception. Proxies have codes of their own where an exception has its name.
fn is_exception(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= LONGEST_NAME
        && name.chars().all(|letter| letter.is_ascii_alphanumeric())
}

fn caused_by<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl CallError {
    /// What happened, for people: `AccessDeniedException: User … is not authorized`, say.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Refused { exception, .. } => format!("{}: {}", exception.r#type, exception.message),
            Self::NotTaken { detail, .. } | Self::Lost { detail } => detail.clone(),
        }
    }

    /// The exception, if what it says is that the service does not know a run of a pipeline.
    #[must_use]
    pub fn unknown_execution(&self) -> Option<&Exception> {
        self.exception().filter(|exception| exception.r#type == "PipelineExecutionNotFoundException")
    }

    /// What the service raised, where it said anything.
    #[must_use]
    pub const fn exception(&self) -> Option<&Exception> {
        match self {
            Self::Refused { exception, .. } => Some(exception),
            Self::NotTaken { exception, .. } => exception.as_ref(),
            Self::Lost { .. } => None,
        }
    }

    /// What has to change before a read that failed with this can succeed.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NotTaken { cause, .. } => *cause,
            Self::Refused { .. } | Self::Lost { .. } => Cause::ServiceUnavailable,
        }
    }

    /// The word for a metric's label.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { refusal, .. } => Some((*refusal).into()),
            Self::NotTaken { cause, .. } => Some((*cause).into()),
            Self::Lost { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_5xx_is_never_taken_for_a_refusal() {
        for name in [None, Some("ThrottlingException"), Some("InvalidApprovalTokenException")] {
            let error = answered(503, name.map(str::to_owned), String::new());
            assert!(matches!(error, CallError::Lost { .. }), "{name:?} became {error:?}");
        }
    }

    #[test]
    fn a_4xx_that_names_no_exception_is_not_taken_for_the_services_word() {
        assert!(matches!(answered(403, None, String::new()), CallError::Lost { .. }));
    }

    #[test]
    fn a_code_that_is_no_exceptions_name_is_not_taken_for_the_services_word() {
        let long = "E".repeat(LONGEST_NAME + 1);
        for name in ["", "403", "<html>", "access denied", &long] {
            let error = answered(403, Some(name.to_owned()), String::new());
            assert!(matches!(error, CallError::Lost { .. }), "{name} became {error:?}");
        }
    }

    #[test]
    fn an_exception_that_does_not_say_whether_the_request_was_applied_is_not_taken_for_a_no() {
        for (status, name) in [(400, "RequestTimeoutException"), (408, "ValidationException"), (400, "InternalFailure")]
        {
            let error = answered(status, Some(name.to_owned()), String::new());
            assert!(matches!(error, CallError::Lost { .. }), "{status} {name} became {error:?}");
        }
    }

    #[test]
    fn an_exception_that_nobody_declared_was_not_applied_and_is_sent_again() {
        let error = answered(400, Some("SomethingNewException".into()), "words".into());
        assert!(matches!(error, CallError::NotTaken { cause: Cause::ServiceUnavailable, exception: Some(_), .. }));
    }
}
