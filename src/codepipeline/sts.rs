//! The calls to STS: who credentials belong to, and sessions of a role. Each response also shows AWS's time, so every client knows how
//! wrong the operator's clock is before it submits anything.

use super::clock_skew::{AwsTime, ClockProbe};
use super::connection_failure::{self, Host};
use super::destination::{AssumedRole, TargetDestination};
use super::error::{Meaning, RetryCause, meaning};
use super::identity::VerifyError;
use super::response::limit_body;
use super::session_name::{SessionName, account_and_session};
use crate::error_chain::{caused_by, display_chain};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_sdk_sts as sts;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;
use std::fmt::Display;
use std::time::{Duration, SystemTime};
use sts::config::IdentityCache;
use tokio::time::{Instant, timeout_at};

/// The name of the operator's credentials in the SDK's log.
pub(super) const PROVIDER_NAME: &str = "approval-operator";

/// The maximum size of a response.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// What failed, for users.
const NOT_VERIFIED: &str = "the AWS identity could not be verified with STS";

/// What to do if STS did not respond, for users.
const UNREACHABLE_HINT: &str = "the operator must reach STS in its own region, or in that of --aws-sts-region, at port 443, and a VPC \
                                without internet access needs a VPC endpoint for STS";

/// How long a session for reads lasts. It is the longest one of a role that is assumed with credentials of another role.
pub(super) const READ_SESSION: Duration = Duration::from_secs(3600);

/// How long the session of a decision lasts. It is the shortest time that STS allows.
pub(super) const DECISION_SESSION: Duration = Duration::from_secs(900);

/// What STS says about credentials.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) account_id: String,
    /// The ARN of the user or the role session, for the log and a target's `status.callerArn`.
    pub(super) arn: Option<String>,
    pub(super) aws_time: AwsTime,
}

/// The credentials of a role session.
#[derive(Debug)]
pub(super) struct RoleSession {
    pub(super) credentials: Credentials,
    pub(super) expires_at: SystemTime,
    pub(super) aws_time: AwsTime,
}

/// A client of STS that calls it as the operator.
#[derive(Clone, Debug)]
pub(super) struct Sts {
    client: sts::Client,
    /// The timeout of each call.
    timeout: Duration,
}

impl Sts {
    /// A client in the region of this configuration, with the operator's own credentials. It keeps them until they expire.
    pub(super) fn new(config: &SdkConfig, own: impl ProvideCredentials + 'static, timeout: Duration) -> Self {
        let config = sts::config::Builder::from(config)
            .credentials_provider(own)
            // The SDK derives this limit from the retries. The timeout of the call is the limit instead.
            .identity_cache(IdentityCache::lazy().load_timeout(timeout * 2).build())
            // STS refuses a signature that is minutes old or early. Its response must show that the clock is the cause.
            .disable_clock_skew_correction(false);
        Self { client: sts::Client::from_conf(config.build()), timeout }
    }

    /// Asks STS who these credentials belong to. The call ends at the deadline.
    pub(super) async fn caller(&self, credentials: Credentials, deadline: Instant) -> Result<Caller, VerifyError> {
        let config = self.client.config().to_builder().credentials_provider(credentials);
        let client = sts::Client::from_conf(config.identity_cache(IdentityCache::no_cache()).build());
        let guard = StsGuard::default();
        let call = client.get_caller_identity().customize().interceptor(guard.clone()).send();
        let output = match timeout_at(deadline, call).await {
            Ok(result) => result.map_err(|error| match classify(&error, &guard) {
                Failure::Denied(problem) | Failure::Refused(problem) => {
                    VerifyError::CredentialsUnavailable(format!("{NOT_VERIFIED}: {problem}"))
                }
                Failure::Busy(problem) => VerifyError::Unreachable(format!("{NOT_VERIFIED}: {problem}")),
                Failure::Unreachable(problem) => unreachable(NOT_VERIFIED, &problem),
            })?,
            Err(_) => return Err(unreachable(NOT_VERIFIED, &self.late(&guard))),
        };
        let account_id = output.account.filter(|account| is_account_id(account));
        let account_id = account_id.ok_or_else(|| unreachable(NOT_VERIFIED, &"the response names no account"))?;
        let aws_time = aws_time(&guard, NOT_VERIFIED)?;
        Ok(Caller { account_id, arn: output.arn, aws_time })
    }

    /// Assumes the role of a target under this session name, and checks whose session STS returns. The call ends at the deadline.
    pub(super) async fn assume_role(
        &self,
        target: &TargetDestination,
        role: &AssumedRole,
        name: &SessionName,
        duration: Duration,
        deadline: Instant,
    ) -> Result<RoleSession, VerifyError> {
        let what = format!("the role {} could not be assumed", role.arn);
        let guard = StsGuard::default();
        let call = self
            .client
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(name.as_str())
            .set_external_id(role.external_id.clone())
            .duration_seconds(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .interceptor(guard.clone())
            .send();
        let output = match timeout_at(deadline, call).await {
            Ok(result) => result.map_err(|error| match classify(&error, &guard) {
                Failure::Denied(problem) => VerifyError::AssumeRoleDenied(format!("{what}: {problem}")),
                Failure::Refused(problem) => VerifyError::CredentialsUnavailable(format!("{what}: {problem}")),
                Failure::Busy(problem) => VerifyError::Unreachable(format!("{what}: {problem}")),
                Failure::Unreachable(problem) => unreachable(&what, &problem),
            })?,
            Err(_) => return Err(unreachable(&what, &self.late(&guard))),
        };
        let aws_time = aws_time(&guard, &what)?;
        let (Some(user), Some(found)) = (output.assumed_role_user, output.credentials) else {
            return Err(unreachable(&what, &"the response contains no session"));
        };
        let Some((account, session)) = account_and_session(&user.arn) else {
            return Err(unreachable(&what, &"the response names no role session"));
        };
        check_account(account, target)?;
        if session != name.as_str() {
            let problem = format!("STS returned the session {session}, and the operator asked for {name}");
            return Err(unreachable(&what, &problem));
        }
        let expires_at = SystemTime::try_from(found.expiration)
            .map_err(|_| unreachable(&what, &"the response has no usable time of expiration"))?;
        let credentials = Credentials::new(
            found.access_key_id,
            found.secret_access_key,
            Some(found.session_token),
            Some(expires_at),
            PROVIDER_NAME,
        );
        Ok(RoleSession { credentials, expires_at, aws_time })
    }

    /// When a call that starts now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn late(&self, guard: &StsGuard) -> String {
        format!("no valid response from {} within {:?}", guard.server(), self.timeout)
    }
}

/// Checks that credentials belong to the account of the target.
pub(super) fn check_account(account: &str, target: &TargetDestination) -> Result<(), VerifyError> {
    if account == target.location.account_id {
        return Ok(());
    }
    let whose = match &target.role {
        Some(role) => format!("the session of the role {} belongs", role.arn),
        None => "the operator's own credentials belong".to_owned(),
    };
    let expected = &target.location.account_id;
    Err(VerifyError::WrongAccount(format!("{whose} to account {account}, not to account {expected}")))
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn unreachable(what: &str, problem: &impl Display) -> VerifyError {
    VerifyError::Unreachable(format!("{what}: {problem}; {UNREACHABLE_HINT}"))
}

fn aws_time(guard: &StsGuard, what: &str) -> Result<AwsTime, VerifyError> {
    guard.probe.aws_time().ok_or_else(|| {
        let problem = "the response has no usable Date header, with which the operator checks its clock";
        unreachable(what, &format!("{problem}; a proxy may have removed it"))
    })
}

/// Why a call to STS failed. Each variant contains what happened, for users.
enum Failure {
    /// A policy does not allow the call.
    Denied(String),
    /// STS refused the credentials or the request, or there are no credentials.
    Refused(String),
    /// STS cannot respond now.
    Busy(String),
    /// STS cannot be reached, or another server responded.
    Unreachable(String),
}

fn classify<E>(error: &SdkError<E, HttpResponse>, guard: &StsGuard) -> Failure
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let raw = match error {
        SdkError::ServiceError(context) => {
            if let Some(code) = context.err().code() {
                let problem = format!("{code}: {}", context.err().message().unwrap_or_default());
                return classify_code(context.raw().status().as_u16(), code, problem);
            }
            context.raw()
        }
        SdkError::ResponseError(context) => context.raw(),
        _ => {
            return match caused_by::<CredentialsError>(error) {
                Some(credentials) => Failure::Refused(display_chain(credentials)),
                None => Failure::Unreachable(connection_failure::describe(error, &guard.server())),
            };
        }
    };
    let status = raw.status().as_u16();
    let problem = format!("HTTP status {status}, and the response does not come from STS");
    Failure::Unreachable(format!("{problem}; a proxy or load balancer may have sent it"))
}

fn classify_code(status: u16, code: &str, problem: String) -> Failure {
    match meaning(code) {
        _ if status >= 500 => Failure::Busy(problem),
        Meaning::Indeterminate | Meaning::NotApplied(RetryCause::Throttled) => Failure::Busy(problem),
        Meaning::NotApplied(RetryCause::AccessDenied) => Failure::Denied(problem),
        Meaning::Refused(_)
        | Meaning::NotApplied(
            RetryCause::CredentialsUnavailable | RetryCause::ServiceUnavailable | RetryCause::ClockSkew,
        ) => Failure::Refused(problem),
    }
}

/// The interceptor of each call: it measures AWS's time, limits the size of the response, and notes the server. Clones share what it finds.
#[derive(Clone, Debug, Default)]
struct StsGuard {
    probe: ClockProbe,
    host: Host,
}

impl StsGuard {
    /// What is called, for users.
    fn server(&self) -> String {
        self.host.server("STS")
    }
}

#[dyn_dispatch_hint]
impl Intercept for StsGuard {
    fn name(&self) -> &'static str {
        "StsGuard"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.host.note(context);
        self.probe.sent();
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.probe.received(context.response().headers());
        let body = context.response_mut().body_mut();
        *body = limit_body(std::mem::replace(body, SdkBody::taken()), MAX_RESPONSE_BYTES);
        Ok(())
    }
}
