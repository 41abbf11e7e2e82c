//! Credentials from the files of a mounted Secret, and credentials that are fetched while the client is loaded, to ask STS who the
//! operator is. The first request to CodePipeline uses them too: fetching them again from an STS endpoint or a program would take
//! seconds.

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future::ProvideCredentials as Provided,
};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

/// The name of these credentials in the SDK's log.
const PROVIDER_NAME: &str = "approval-operator";

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
