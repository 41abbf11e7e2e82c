//! Who the operator is for AWS. The client asks STS whenever it loads credentials. The response also shows AWS's time, so every client
//! knows how wrong the operator's clock is before it submits anything.

use super::clock_skew::{AwsTime, ClockProbe};
use super::response::limit_body;
use crate::error_chain::display_chain;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
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
use std::time::Duration;
use sts::operation::get_caller_identity::GetCallerIdentityError;

/// The maximum size of the response.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The account and the region in which the operator finds pipelines.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CallerIdentity {
    /// The account ID: twelve digits.
    pub account_id: String,
    /// The region, such as `eu-west-1`.
    pub region: String,
}

/// What STS says about credentials.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) identity: CallerIdentity,
    /// The ARN of the user or the role session, for the log.
    pub(super) caller_arn: Option<String>,
    pub(super) aws_time: AwsTime,
}

/// Why the identity is unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    /// STS returned an error.
    #[error("the AWS identity could not be verified with STS: {0}")]
    Refused(String),
    /// STS cannot be reached, or another server responded.
    #[error(
        "the AWS identity could not be verified with STS: {0}; the operator must reach STS in the region of the pipelines, or in that \
         of --aws-sts-region, at port 443, and a VPC without internet access needs a VPC endpoint for STS"
    )]
    Unreachable(String),
}

impl IdentityError {
    /// STS did not respond in time.
    pub(super) fn timeout(limit: Duration) -> Self {
        Self::Unreachable(format!("no valid response within {limit:?}"))
    }
}

/// Asks STS who these credentials belong to, with the region and the endpoint of this configuration. CodePipeline may be in another
/// region.
pub(super) async fn identify(
    config: &SdkConfig,
    credentials: Credentials,
    region: &Region,
) -> Result<Identified, IdentityError> {
    let client = sts::config::Builder::from(config)
        .credentials_provider(credentials)
        // STS refuses a signature that is minutes old or early. Its response must show that the clock is the cause.
        .disable_clock_skew_correction(false);
    let client = sts::Client::from_conf(client.build());
    let probe = ClockProbe::default();
    let call = client.get_caller_identity().customize().interceptor(StsGuard(probe.clone())).send();
    let output = call.await.map_err(|error| describe(&error))?;
    let account_id = output.account.filter(|account| is_account_id(account));
    let account_id =
        account_id.ok_or_else(|| IdentityError::Unreachable("the response names no account".to_owned()))?;
    let aws_time = probe.aws_time().ok_or_else(|| {
        let problem = "the response has no usable Date header, with which the operator checks its clock";
        IdentityError::Unreachable(format!("{problem}; a proxy may have removed it"))
    })?;
    let identity = CallerIdentity { account_id, region: region.to_string() };
    Ok(Identified { identity, caller_arn: output.arn, aws_time })
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn describe(error: &SdkError<GetCallerIdentityError, HttpResponse>) -> IdentityError {
    let raw = match error {
        SdkError::ServiceError(context) => {
            if let Some(code) = context.err().code() {
                return IdentityError::Refused(format!("{code}: {}", context.err().message().unwrap_or_default()));
            }
            context.raw()
        }
        SdkError::ResponseError(context) => context.raw(),
        _ => return IdentityError::Unreachable(display_chain(error)),
    };
    let status = raw.status().as_u16();
    let problem = format!("HTTP status {status}, and the response does not come from STS");
    IdentityError::Unreachable(format!("{problem}; a proxy or load balancer may have sent it"))
}

/// The interceptor of the call: it measures AWS's time, and limits the size of the response.
#[derive(Debug)]
struct StsGuard(ClockProbe);

#[dyn_dispatch_hint]
impl Intercept for StsGuard {
    fn name(&self) -> &'static str {
        "StsGuard"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.sent();
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.received(context.response().headers());
        let body = context.response_mut().body_mut();
        *body = limit_body(std::mem::replace(body, SdkBody::taken()), MAX_RESPONSE_BYTES);
        Ok(())
    }
}
