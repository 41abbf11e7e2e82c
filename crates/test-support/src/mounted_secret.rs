//! A Secret with AWS credentials, as it is mounted into the operator's pod.

use std::fs;
use tempfile::TempDir;

/// The folder of the Secret. What is set replaces what it had, as after a rotation.
pub struct MountedSecret(TempDir);

impl MountedSecret {
    pub fn new(access_key: &str) -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        secret.set("AWS_ACCESS_KEY_ID", access_key);
        secret.set("AWS_SECRET_ACCESS_KEY", "secret\n");
        secret
    }

    pub fn set(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// The argument with which the operator reads it.
    pub fn argument(&self) -> String {
        format!("--aws-credentials-dir={}", self.0.path().display())
    }
}
