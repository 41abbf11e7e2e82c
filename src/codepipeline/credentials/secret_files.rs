//! Credentials from the files of a mounted Secret.

use crate::codepipeline::sts::PROVIDER_NAME;
use aws_credential_types::Credentials;
use std::io::ErrorKind;
use std::path::Path;

/// Reads an access key from files with the names of the variables. Only a client that is loaded later reads them again, so that no
/// credentials are used before STS has said whose they are.
pub fn read_credentials(directory: &Path) -> Result<Credentials, String> {
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
