//! Credentials that are fetched while the client is loaded, to ask STS who the operator is. The first request uses them too: fetching
//! them again from an STS endpoint or a program would take seconds.

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Provided,
};
use std::sync::Mutex;

/// A provider that returns the prefetched credentials once, and then those of its source.
#[derive(Debug)]
pub struct PrefetchedCredentials {
    prefetched: Mutex<Option<Credentials>>,
    source: SharedCredentialsProvider,
}

impl PrefetchedCredentials {
    /// A provider that returns these credentials first.
    pub fn new(prefetched: Credentials, source: SharedCredentialsProvider) -> Self {
        Self { prefetched: Mutex::new(Some(prefetched)), source }
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
