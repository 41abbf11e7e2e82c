//! What a failed call means, classified by what resolves it: an edit of the decision, a retry once an external cause is gone,
//! or a read of CodePipeline's history, because the request may have been applied.

use super::clock_skew::ClockSkewExceeded;
use super::connection_failure;
use super::identity::VerifyError;
use super::response::describe_unreadable;
use crate::api::v1alpha1::{Exception, Reason};
use crate::error_chain::{caused_by, display_chain};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;
use std::error::Error as StdError;
use strum::VariantArray;

/// Why a call has no result.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CallError {
    /// CodePipeline refused the request. Only a different request can succeed.
    Refused {
        /// Why CodePipeline refused it.
        refusal: Refusal,
        /// The exception that CodePipeline returned.
        exception: Exception,
    },
    /// The request was certainly not applied, and the decision is not the cause. The same request can be sent again.
    NotApplied {
        /// What must change first.
        cause: RetryCause,
        /// The exception that CodePipeline returned, if any.
        exception: Option<Exception>,
        /// What happened, for users.
        detail: String,
    },
    /// The request may have been applied: no response arrived, or the response does not say.
    Indeterminate {
        /// What happened, for users.
        detail: String,
    },
}

/// Why CodePipeline refused a request. Only an edit of the decision fixes it. The variants are the exceptions that
/// PutApprovalResult declares.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// `InvalidApprovalTokenException`
    InvalidApprovalToken,
    /// `ApprovalAlreadyCompletedException`
    ApprovalAlreadyCompleted,
    /// `PipelineNotFoundException`
    PipelineNotFound,
    /// `StageNotFoundException`
    StageNotFound,
    /// `ActionNotFoundException`
    ActionNotFound,
    /// `ValidationException`
    ValidationFailed,
}

impl Refusal {
    /// The refusal that an exception is, if it is one.
    #[must_use]
    pub fn of(exception: &Exception) -> Option<Self> {
        match meaning(&exception.r#type) {
            Meaning::Refused(refusal) => Some(refusal),
            Meaning::NotApplied(_) | Meaning::Indeterminate => None,
        }
    }
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

/// Why a request was not applied, and so what must change before a retry can succeed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, VariantArray)]
pub enum RetryCause {
    /// There were too many requests. Time fixes this.
    Throttled,
    /// The IAM policy does not allow the request. An administrator fixes this.
    AccessDenied,
    /// The region or the credentials are missing or invalid. An administrator or a renewal fixes this.
    CredentialsUnavailable,
    /// The network or CodePipeline failed.
    ServiceUnavailable,
    /// The operator's clock differs too much from AWS's. A correct clock fixes this.
    ClockSkew,
}

impl RetryCause {
    /// Every cause.
    pub const ALL: &[Self] = Self::VARIANTS;
}

impl From<RetryCause> for Reason {
    fn from(cause: RetryCause) -> Self {
        match cause {
            RetryCause::Throttled => Self::Throttled,
            RetryCause::AccessDenied => Self::AccessDenied,
            RetryCause::CredentialsUnavailable => Self::CredentialsUnavailable,
            RetryCause::ServiceUnavailable => Self::ServiceUnavailable,
            RetryCause::ClockSkew => Self::ClockSkew,
        }
    }
}

/// What the name of an exception means. CodePipeline's API model declares the refusals. The other exceptions are common to AWS
/// services, and no model declares them.
pub(super) enum Meaning {
    Refused(Refusal),
    NotApplied(RetryCause),
    /// The exception does not say whether the request was applied.
    Indeterminate,
}

pub(super) fn meaning(name: &str) -> Meaning {
    match name {
        "InvalidApprovalTokenException" => Meaning::Refused(Refusal::InvalidApprovalToken),
        "ApprovalAlreadyCompletedException" => Meaning::Refused(Refusal::ApprovalAlreadyCompleted),
        "PipelineNotFoundException" => Meaning::Refused(Refusal::PipelineNotFound),
        "StageNotFoundException" => Meaning::Refused(Refusal::StageNotFound),
        "ActionNotFoundException" => Meaning::Refused(Refusal::ActionNotFound),
        "ValidationException" | "SerializationException" => Meaning::Refused(Refusal::ValidationFailed),
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
        | "ProvisionedThroughputExceededException" => Meaning::NotApplied(RetryCause::Throttled),
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" | "OptInRequired" => {
            Meaning::NotApplied(RetryCause::AccessDenied)
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
        | "InvalidToken" => Meaning::NotApplied(RetryCause::CredentialsUnavailable),
        "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "InternalServiceError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Meaning::Indeterminate,
        _ => Meaning::NotApplied(RetryCause::ServiceUnavailable),
    }
}

/// The maximum length of an exception's name. The schema of a decision's status does not allow a longer one.
const MAX_EXCEPTION_NAME: usize = 256;

/// Whether the connection had received the request when the call failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transmission {
    /// The request was not sent, so nothing was applied.
    NotStarted,
    /// The request may have been sent.
    Started,
}

/// A request was ready to send only after its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the request was not ready to send before its deadline, {0}")]
pub(super) struct DeadlineExceeded(pub Timestamp);

impl From<ClockSkewExceeded> for CallError {
    fn from(skew: ClockSkewExceeded) -> Self {
        Self::NotApplied { cause: RetryCause::ClockSkew, exception: None, detail: skew.to_string() }
    }
}

impl From<VerifyError> for CallError {
    fn from(error: VerifyError) -> Self {
        let cause = match &error {
            VerifyError::AssumeRoleDenied(_) => RetryCause::AccessDenied,
            VerifyError::WrongAccount(_) | VerifyError::CredentialsUnavailable(_) | VerifyError::Unreachable(_) => {
                RetryCause::CredentialsUnavailable
            }
            VerifyError::ClockSkew(_) => RetryCause::ClockSkew,
        };
        Self::NotApplied { cause, exception: None, detail: error.to_string() }
    }
}

/// Classifies the failure of a call. `server` names what was called, for users.
pub fn classify<E>(error: SdkError<E, HttpResponse>, transmission: Transmission, server: &str) -> CallError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(context) = &error {
        let status = context.raw().status().as_u16();
        let name = context.err().code().map(str::to_owned);
        let message = context.err().message().unwrap_or_default().to_owned();
        return classify_response(status, name, message);
    }
    let detail = match (&error, transmission) {
        (SdkError::ResponseError(context), _) => describe_unreadable(context.raw(), &error),
        (SdkError::DispatchFailure(_), Transmission::Started) => connection_failure::describe(&error, server),
        (SdkError::TimeoutError(_), Transmission::Started) => {
            format!("no valid response from {server} within --aws-timeout")
        }
        // The SDK wraps the cause in "dispatch failure" and a kind such as "other".
        (SdkError::DispatchFailure(_), Transmission::NotStarted) => {
            display_chain(error.source().and_then(StdError::source).unwrap_or(&error))
        }
        _ => display_chain(&error),
    };
    if transmission == Transmission::NotStarted {
        if let Some(skew) = caused_by::<ClockSkewExceeded>(&error) {
            return (*skew).into();
        }
        if let Some(refresh) = caused_by::<VerifyError>(&error) {
            return refresh.clone().into();
        }
        // Between building a request and sending it, the SDK fetches credentials. A timeout there points to the credentials.
        let credentials = caused_by::<CredentialsError>(&error).is_some()
            || caused_by::<DeadlineExceeded>(&error).is_some()
            || matches!(error, SdkError::TimeoutError(_));
        let cause = if credentials { RetryCause::CredentialsUnavailable } else { RetryCause::ServiceUnavailable };
        return CallError::NotApplied { cause, exception: None, detail };
    }
    let never_connected = matches!(error, SdkError::DispatchFailure(_))
        && (caused_by::<hyper_util::client::legacy::Error>(&error).is_some_and(|e| e.is_connect())
            || caused_by::<std::io::Error>(&error).is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused));
    if never_connected {
        return CallError::NotApplied { cause: RetryCause::ServiceUnavailable, exception: None, detail };
    }
    CallError::Indeterminate { detail }
}

/// Classifies an error response, which CodePipeline or a proxy in front of it returned.
fn classify_response(status: u16, name: Option<String>, message: String) -> CallError {
    // A 5xx does not say whether the request was applied, whatever its body says. A 4xx without an exception does not come from
    // CodePipeline, and the proxy that returned it may have forwarded the request. The same holds for every other status that is
    // not a success.
    let proves_not_applied = (400..500).contains(&status) && status != 408;
    let Some(name) = name.filter(|name| proves_not_applied && is_exception_name(name)) else {
        return CallError::Indeterminate { detail: format!("HTTP status {status}: {message}") };
    };
    match meaning(&name) {
        Meaning::Indeterminate => CallError::Indeterminate { detail: format!("{name}: {message}") },
        Meaning::Refused(refusal) => CallError::Refused { refusal, exception: Exception { r#type: name, message } },
        Meaning::NotApplied(cause) => CallError::NotApplied {
            cause,
            detail: format!("{name}: {message}"),
            exception: Some(Exception { r#type: name, message }),
        },
    }
}

/// Whether a text can be the name of an exception. Proxies return codes of their own in its place.
fn is_exception_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_EXCEPTION_NAME
        && name.chars().all(|letter| letter.is_ascii_alphanumeric())
}

impl CallError {
    /// What happened, for users. Example: `AccessDeniedException: User … is not authorized`.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Refused { exception, .. } => format!("{}: {}", exception.r#type, exception.message),
            Self::NotApplied { detail, .. } | Self::Indeterminate { detail } => detail.clone(),
        }
    }

    /// The exception, if CodePipeline does not know the pipeline execution.
    #[must_use]
    pub fn unknown_execution(&self) -> Option<&Exception> {
        self.exception().filter(|exception| exception.r#type == "PipelineExecutionNotFoundException")
    }

    /// The exception that CodePipeline returned, if any.
    #[must_use]
    pub const fn exception(&self) -> Option<&Exception> {
        match self {
            Self::Refused { exception, .. } => Some(exception),
            Self::NotApplied { exception, .. } => exception.as_ref(),
            Self::Indeterminate { .. } => None,
        }
    }

    /// What must change before a read that failed with this error can succeed.
    #[must_use]
    pub const fn cause(&self) -> RetryCause {
        match self {
            Self::NotApplied { cause, .. } => *cause,
            Self::Refused { .. } | Self::Indeterminate { .. } => RetryCause::ServiceUnavailable,
        }
    }

    /// The matching reason of a decision; none if the request may have been applied.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { refusal, .. } => Some((*refusal).into()),
            Self::NotApplied { cause, .. } => Some((*cause).into()),
            Self::Indeterminate { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_5xx_is_never_a_refusal() {
        for name in [None, Some("ThrottlingException"), Some("InvalidApprovalTokenException")] {
            let error = classify_response(503, name.map(str::to_owned), String::new());
            assert!(matches!(error, CallError::Indeterminate { .. }), "{name:?} became {error:?}");
        }
    }

    #[test]
    fn a_4xx_without_an_exception_is_indeterminate() {
        assert!(matches!(classify_response(403, None, String::new()), CallError::Indeterminate { .. }));
    }

    #[test]
    fn a_code_that_cannot_be_the_name_of_an_exception_is_indeterminate() {
        let long = "E".repeat(MAX_EXCEPTION_NAME + 1);
        for name in ["", "403", "<html>", "access denied", &long] {
            let error = classify_response(403, Some(name.to_owned()), String::new());
            assert!(matches!(error, CallError::Indeterminate { .. }), "{name} became {error:?}");
        }
    }

    #[test]
    fn an_exception_that_does_not_say_whether_the_request_was_applied_is_indeterminate() {
        for (status, name) in [(400, "RequestTimeoutException"), (408, "ValidationException"), (400, "InternalFailure")]
        {
            let error = classify_response(status, Some(name.to_owned()), String::new());
            assert!(matches!(error, CallError::Indeterminate { .. }), "{status} {name} became {error:?}");
        }
    }

    #[test]
    fn an_unknown_exception_counts_as_not_applied_and_is_retried() {
        let error = classify_response(400, Some("SomethingNewException".into()), "words".into());
        assert!(matches!(
            error,
            CallError::NotApplied { cause: RetryCause::ServiceUnavailable, exception: Some(_), .. }
        ));
    }
}
