//! Credentials from the files of a mounted Secret, those of a target, and credentials that are fetched while the client is loaded, to ask
//! STS who the operator is. The first request to CodePipeline uses them too: fetching them again from an STS endpoint or a program
//! would take seconds.

use super::destination::{AssumedRole, TargetDestination};
use super::session_name::SessionName;
use super::sts::{PROVIDER_NAME, READ_SESSION, Sts, check_account};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future::ProvideCredentials as Provided,
};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

/// Reads an access key from files with the names of the variables. Only a client that is loaded later reads them again, so that no
/// credentials are used before STS has said whose they are.
pub(super) fn read_credentials(directory: &Path) -> Result<Credentials, String> {
    let read = |name: &str| match std::fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {name} in {}: {error}", directory.display())),
    };
    let required = |name: &str| {
        read(name)?
            .ok_or_else(|| format!("{name} is missing or empty in {}; add it to the Secret", directory.display()))
    };
    let (id, secret) = (required("AWS_ACCESS_KEY_ID")?, required("AWS_SECRET_ACCESS_KEY")?);
    Ok(Credentials::new(id, secret, read("AWS_SESSION_TOKEN")?, None, PROVIDER_NAME))
}

/// A provider that returns the prefetched credentials once, and then those of its source.
#[derive(Debug)]
pub(super) struct PrefetchedCredentials {
    prefetched: Mutex<Option<Credentials>>,
    source: SharedCredentialsProvider,
}

impl PrefetchedCredentials {
    /// A provider that returns these credentials first.
    pub(super) fn new(prefetched: Credentials, source: SharedCredentialsProvider) -> Self {
        Self { prefetched: Mutex::new(Some(prefetched)), source }
    }
}

/// A provider of credentials that were verified to belong to the account of a target: with its role, a session for reads; without, the
/// operator's own.
#[derive(Debug)]
pub(super) struct TargetCredentials {
    pub(super) target: TargetDestination,
    pub(super) own: SharedCredentialsProvider,
    pub(super) sts: Sts,
}

impl TargetCredentials {
    async fn load(&self) -> Result<Credentials, CredentialsError> {
        match &self.target.role {
            Some(role) => self.assume(role).await,
            None => self.verify_own().await,
        }
    }

    async fn assume(&self, role: &AssumedRole) -> Result<Credentials, CredentialsError> {
        let (name, deadline) = (SessionName::for_reads(), self.sts.deadline());
        let session = self.sts.assume_role(&self.target, role, &name, READ_SESSION, deadline).await;
        session.map(|session| session.credentials).map_err(CredentialsError::provider_error)
    }

    async fn verify_own(&self) -> Result<Credentials, CredentialsError> {
        let credentials = self.own.provide_credentials().await?;
        let caller = self.sts.caller(credentials.clone(), self.sts.deadline()).await;
        let checked = caller.and_then(|caller| check_account(&caller.account_id, &self.target));
        checked.map(|()| credentials).map_err(CredentialsError::provider_error)
    }
}

impl ProvideCredentials for TargetCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.load())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_secret_are_read_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = || read_credentials(folder.path());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(read().unwrap_err().starts_with("AWS_ACCESS_KEY_ID is missing"));
        write("AWS_ACCESS_KEY_ID", "KEY\n");
        write("AWS_SECRET_ACCESS_KEY", " \n");
        assert!(read().unwrap_err().starts_with("AWS_SECRET_ACCESS_KEY is missing or empty"));
        write("AWS_SECRET_ACCESS_KEY", "secret\n");
        write("AWS_SESSION_TOKEN", "");
        let user = read().unwrap();
        assert_eq!((user.access_key_id(), user.secret_access_key(), user.session_token()), ("KEY", "secret", None));
        write("AWS_SESSION_TOKEN", "session");
        assert_eq!(read().unwrap().session_token(), Some("session"));
    }
}
