//! The operator's own credentials, which may change while it runs: an association of EKS Pod Identity or a Secret can name another
//! account at any time.

use crate::codepipeline::identity::VerifyError;
use crate::codepipeline::sts::Sts;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future::ProvideCredentials as Provided,
};
use std::sync::{Mutex, PoisonError};

/// A provider that returns the credentials of its source only if they belong to the account of the client.
#[derive(Debug)]
pub struct OwnCredentials {
    account_id: String,
    source: SharedCredentialsProvider,
    sts: Sts,
    /// The ID of the last access key that STS confirmed. An access key belongs to one account, so STS is asked about each one once, and
    /// an outage of STS does not stop a client whose key stays the same.
    verified_key: Mutex<String>,
}

impl OwnCredentials {
    /// A provider for the account to which STS said that these credentials of the source belong.
    pub fn new(account_id: String, verified: &Credentials, source: SharedCredentialsProvider, sts: Sts) -> Self {
        Self { account_id, source, sts, verified_key: Mutex::new(verified.access_key_id().to_owned()) }
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let credentials = self.source.provide_credentials().await?;
        if !self.is_verified(&credentials) {
            self.verify(&credentials).await.map_err(CredentialsError::provider_error)?;
        }
        Ok(credentials)
    }

    fn is_verified(&self, credentials: &Credentials) -> bool {
        *self.verified_key.lock().unwrap_or_else(PoisonError::into_inner) == credentials.access_key_id()
    }

    /// Asks STS who these credentials belong to.
    async fn verify(&self, credentials: &Credentials) -> Result<(), VerifyError> {
        let found = self.sts.caller(credentials.clone(), self.sts.deadline()).await?.account_id;
        let expected = &self.account_id;
        if found != *expected {
            return Err(VerifyError::WrongAccount(format!(
                "the operator's own credentials now belong to the account {found}, and the expected account is {expected}"
            )));
        }
        credentials.access_key_id().clone_into(&mut self.verified_key.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

impl ProvideCredentials for OwnCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.load())
    }
}
