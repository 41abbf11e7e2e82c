//! How a client reaches AWS: the configuration of the SDK, with its region, credentials, time limits and retries.

use super::credentials::PrefetchedCredentials;
use crate::error_chain::display_chain;
use crate::proxy::ProxySettings;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_codepipeline as sdk;
use aws_sdk_codepipeline::config::IdentityCache;
use aws_sdk_codepipeline::config::retry::RetryConfig;
use std::path::PathBuf;
use std::time::Duration;

/// The maximum time to open a connection, including the DNS lookup. It is the SDK's default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// How a client reaches AWS.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The timeout of each call.
    pub timeout: Duration,
    /// Where the credentials are, in place of the standard chain.
    pub credentials_dir: Option<PathBuf>,
    /// The region of STS, if it is not that of the pipelines.
    pub sts_region: Option<String>,
    /// The proxies.
    pub proxies: ProxySettings,
}

/// What loading a client finds.
pub(super) struct Found {
    /// The configuration for CodePipeline.
    pub config: SdkConfig,
    /// The configuration for STS. It differs in the region at most.
    pub sts: SdkConfig,
    pub region: Region,
    pub credentials: Credentials,
    pub provider: PrefetchedCredentials,
}

/// Finds a region and credentials.
pub(super) async fn find_credentials(
    chain: impl Fn() -> ConfigLoader,
    settings: &ClientSettings,
) -> Result<Found, String> {
    // The credential chain and the client of STS keep the SDK's retries. Their three attempts to connect, and the two delays between
    // them, fit into the default timeout, so that the error says what cannot be reached.
    let connect_timeout = CONNECT_TIMEOUT.min(settings.timeout / 5);
    let timeouts = TimeoutConfig::builder().connect_timeout(connect_timeout).build();
    let config = chain().timeout_config(timeouts.clone()).load().await;
    let Some(region) = config.region().cloned() else {
        return Err("no AWS region found in AWS_REGION, the shared configuration or the instance metadata".to_owned());
    };
    // The SDK has no setting for the region of STS. An endpoint alone is not enough, because the region is a part of the signature.
    let sts = match &settings.sts_region {
        Some(region) => chain().timeout_config(timeouts).region(Region::new(region.clone())).load().await,
        None => config.clone(),
    };
    let Some(provider) = sts.credentials_provider() else {
        return Err("no AWS credentials provider is configured".to_owned());
    };
    let (credentials, provider) =
        PrefetchedCredentials::fetch(provider).await.map_err(|error| display_chain(&error))?;
    Ok(Found { config, sts, region, credentials, provider })
}

/// The configuration of the client for CodePipeline.
pub(super) fn client_config(
    config: &SdkConfig,
    provider: PrefetchedCredentials,
    operation_timeout: Duration,
) -> sdk::Config {
    // A connection attempt must fail before the call does: only then is it certain that the request was not sent.
    let connect_timeout = CONNECT_TIMEOUT.min(operation_timeout / 2);
    let timeouts =
        TimeoutConfig::builder().operation_timeout(operation_timeout).connect_timeout(connect_timeout).build();
    // The SDK derives this limit from the retries of the client, and so would end those of the credential chain. The timeout of
    // the call is the limit instead.
    let identity_cache = IdentityCache::lazy().load_timeout(operation_timeout * 2).build();
    sdk::config::Builder::from(config)
        .timeout_config(timeouts)
        // A second POST could hide the outcome of the first, and the SDK's retries of reads would bypass the rate limiter.
        .retry_config(RetryConfig::disabled())
        // It would hide a wrong clock from AWS, but the operator's deadlines depend on that clock.
        .disable_clock_skew_correction(true)
        .identity_cache(identity_cache)
        .credentials_provider(provider)
        .build()
}
