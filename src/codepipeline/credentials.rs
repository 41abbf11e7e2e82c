//! Credentials that were fetched when the client was loaded, to see that there are any. They serve its first request, which
//! would otherwise fetch them a second time: from an STS endpoint or a program, that takes seconds.

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future::ProvideCredentials as Provided,
};
use std::sync::Mutex;

/// A provider that gives away what it fetched first, and from then on what its source has.
#[derive(Debug)]
pub(super) struct FetchedFirst {
    first: Mutex<Option<Credentials>>,
    source: SharedCredentialsProvider,
}

impl FetchedFirst {
    /// Fetches credentials from their source.
    pub(super) async fn fetch(source: SharedCredentialsProvider) -> Result<Self, CredentialsError> {
        let first = source.provide_credentials().await?;
        Ok(Self { first: Mutex::new(Some(first)), source })
    }
}

impl ProvideCredentials for FetchedFirst {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        match self.first.lock().ok().and_then(|mut first| first.take()) {
            Some(credentials) => Provided::ready(Ok(credentials)),
            None => self.source.provide_credentials(),
        }
    }
}
