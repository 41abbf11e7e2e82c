//! How a client reaches AWS: the configuration of the SDK, with its regions, credentials, time limits and retries.

use super::credentials::read_credentials;
use super::destination::Destination;
use super::http_client::http_client;
use super::identity::VerifyError;
use crate::error_chain::display_chain;
use crate::proxy::ProxySettings;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_codepipeline as sdk;
use aws_sdk_codepipeline::config::IdentityCache;
use aws_sdk_codepipeline::config::retry::RetryConfig;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The maximum time to open a connection, including the DNS lookup. It is the SDK's default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// How long before they expire credentials are loaded again. The operator's clock may be 10 s wrong, and the SDK uses up to half of this
/// time to spread the loads.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// How clients reach AWS. Clones share the HTTP client: its root certificates take 100 KiB, and the rest of a client 55 KiB (measured).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The timeout of each call.
    pub(super) timeout: Duration,
    /// Where the credentials are, in place of the standard chain.
    pub(super) credentials_dir: Option<PathBuf>,
    /// The region of STS, if it is not the operator's own.
    pub(super) sts_region: Option<String>,
    pub(super) chain: Chain,
}

/// Starts a configuration of the SDK, which then finds region and credentials through the standard chain.
#[derive(Clone)]
pub(super) struct Chain(pub(super) Arc<dyn Fn() -> ConfigLoader + Send + Sync>);

impl Debug for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

impl ClientSettings {
    /// Settings with this timeout of each call, directory of credentials in place of the standard chain, region of STS in place of the
    /// operator's own, and proxies.
    #[must_use]
    pub fn new(
        timeout: Duration,
        credentials_dir: Option<PathBuf>,
        sts_region: Option<String>,
        proxies: &ProxySettings,
    ) -> Self {
        let http_client = http_client(proxies);
        let chain = move || aws_config::defaults(BehaviorVersion::latest()).http_client(http_client.clone());
        Self { timeout, credentials_dir, sts_region, chain: Chain(Arc::new(chain)) }
    }

    /// Reads the files of the credentials directory, if there is one, and returns how to start a configuration with them.
    fn chain(&self) -> Result<impl Fn() -> ConfigLoader, VerifyError> {
        let credentials = self.credentials_dir.as_deref().map(read_credentials).transpose();
        let credentials = credentials.map_err(VerifyError::CredentialsUnavailable)?;
        Ok(move || match &credentials {
            Some(credentials) => (self.chain.0)().credentials_provider(credentials.clone()),
            None => (self.chain.0)(),
        })
    }
}

/// What the environment says about AWS: the regions, and the operator's own credentials.
pub(super) struct AwsEnvironment {
    /// The configuration for CodePipeline, but for its region and credentials.
    pub config: SdkConfig,
    /// The configuration for STS.
    pub sts: SdkConfig,
    /// The region of CodePipeline.
    pub region: Region,
    /// The operator's own credentials.
    pub credentials: Credentials,
    /// Where they come from.
    pub provider: SharedCredentialsProvider,
}

/// Finds the regions and the operator's own credentials.
pub(super) async fn find_credentials(
    settings: &ClientSettings,
    destination: &Destination,
) -> Result<AwsEnvironment, VerifyError> {
    let chain = settings.chain()?;
    // The credential chain and the client of STS keep the SDK's retries. Their three attempts to connect, and the two delays between
    // them, fit into the default timeout, so that the error says what cannot be reached.
    let connect_timeout = CONNECT_TIMEOUT.min(settings.timeout / 5);
    let timeouts = TimeoutConfig::builder().connect_timeout(connect_timeout).build();
    let config = chain().timeout_config(timeouts.clone()).load().await;
    let own_region = config.region().cloned();
    let target_region = destination.target().map(|target| Region::new(target.location.region.clone()));
    let Some(region) = target_region.or_else(|| own_region.clone()) else {
        let problem = "no AWS region found in AWS_REGION, the shared configuration or the instance metadata";
        return Err(VerifyError::CredentialsUnavailable(problem.to_owned()));
    };
    let sts_region = settings.sts_region.clone().map(Region::new).or_else(|| own_region.clone());
    let sts_region = sts_region.unwrap_or_else(|| region.clone());
    // The SDK has no setting for the region of STS. An endpoint alone is not enough, because the region is a part of the signature.
    let sts = if own_region.as_ref() == Some(&sts_region) {
        config.clone()
    } else {
        chain().timeout_config(timeouts).region(sts_region).load().await
    };
    let Some(provider) = sts.credentials_provider() else {
        let problem = "no AWS credentials provider is configured";
        return Err(VerifyError::CredentialsUnavailable(problem.to_owned()));
    };
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| VerifyError::CredentialsUnavailable(display_chain(&error)))?;
    Ok(AwsEnvironment { config, sts, region, credentials, provider })
}

/// The configuration of the client for CodePipeline.
pub(super) fn client_config(
    config: &SdkConfig,
    region: Region,
    provider: impl ProvideCredentials + 'static,
    operation_timeout: Duration,
) -> sdk::Config {
    // A connection attempt must fail before the call does: only then is it certain that the request was not sent.
    let connect_timeout = CONNECT_TIMEOUT.min(operation_timeout / 2);
    let timeouts =
        TimeoutConfig::builder().operation_timeout(operation_timeout).connect_timeout(connect_timeout).build();
    // The SDK derives this limit from the retries of the client, and so would end those of the credential chain. The timeout of
    // the call is the limit instead.
    let identity_cache = IdentityCache::lazy().load_timeout(operation_timeout * 2);
    sdk::config::Builder::from(config)
        .region(region)
        .timeout_config(timeouts)
        // A second POST could hide the outcome of the first, and the SDK's retries of reads would bypass the rate limiter.
        .retry_config(RetryConfig::disabled())
        // It would hide a wrong clock from AWS, but the operator's deadlines depend on that clock.
        .disable_clock_skew_correction(true)
        .identity_cache(identity_cache.buffer_time(REFRESH_BEFORE_EXPIRY).build())
        .credentials_provider(provider)
        .build()
}

/// The same configuration for the session of a decision.
pub(super) fn session_config(config: &sdk::Config, credentials: Credentials) -> sdk::Config {
    // The cache would keep the credentials of every session.
    config.to_builder().identity_cache(IdentityCache::no_cache()).credentials_provider(credentials).build()
}
