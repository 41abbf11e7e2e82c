//! Credentials that are fetched while the client is loaded, to ask STS who the operator is. The first request to CodePipeline uses
//! them too: fetching them again from an STS endpoint or a program would take seconds.

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future::ProvideCredentials as Provided,
};
use std::sync::Mutex;

/// A provider that returns the prefetched credentials once, and then those of its source.
#[derive(Debug)]
pub(super) struct PrefetchedCredentials {
    prefetched: Mutex<Option<Credentials>>,
    source: SharedCredentialsProvider,
}

impl PrefetchedCredentials {
    /// Fetches credentials from their source. Returns them beside the provider.
    pub(super) async fn fetch(source: SharedCredentialsProvider) -> Result<(Credentials, Self), CredentialsError> {
        let credentials = source.provide_credentials().await?;
        Ok((credentials.clone(), Self { prefetched: Mutex::new(Some(credentials)), source }))
    }
}

impl ProvideCredentials for PrefetchedCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        match self.prefetched.lock().ok().and_then(|mut prefetched| prefetched.take()) {
            Some(credentials) => Provided::ready(Ok(credentials)),
            None => self.source.provide_credentials(),
        }
    }
}
