//! A session of a role: the temporary credentials that AssumeRole returns. Every identifier follows from a seed, as the
//! identifiers of executions do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    RoleArn,
    caller::{Caller, CredentialError, Permissions},
};

/// How AWS refuses the requests of a revoked session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Revocation {
    /// The session has expired before the time that AssumeRole returned.
    #[default]
    Expired,
    /// AWS does not know the session, as after the role was deleted.
    Unknown,
    /// A policy denies everything, as "Revoke active sessions" of the IAM console does. GetCallerIdentity still works.
    Denied,
}

/// A session as AWS knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    role: RoleArn,
    name: String,
    token: String,
    expires: Timestamp,
    revoked: Option<Revocation>,
}

/// What AssumeRole returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionCredentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expiration: Timestamp,
    pub(crate) assumed_role_arn: String,
    pub(crate) assumed_role_id: String,
}

impl Session {
    /// A session with credentials that follow from the seed.
    pub(super) fn new(
        role: RoleArn,
        name: String,
        seed: Uuid,
        expires: Timestamp,
        role_id: &str,
    ) -> (Self, SessionCredentials) {
        let part = |purpose: &str| Uuid::new_v5(&seed, purpose.as_bytes());
        let long = |purpose: &str| format!("{}{}", part(purpose).simple(), part(&format!("{purpose} 2")).simple());
        let credentials = SessionCredentials {
            access_key_id: format!("{SESSION_KEY_PREFIX}{}", letters(part("access key"), 16)),
            secret_access_key: long("secret").chars().take(40).collect(),
            session_token: format!("FwoGZXIvYXdzE{}", long("token")),
            expiration: expires,
            assumed_role_arn: role.session(&name),
            assumed_role_id: format!("{role_id}:{name}"),
        };
        let token = credentials.session_token.clone();
        (Self { role, name, token, expires, revoked: None }, credentials)
    }

    pub(super) fn role(&self) -> &RoleArn {
        &self.role
    }

    pub(super) fn revoke(&mut self, revocation: Revocation) {
        self.revoked = Some(revocation);
    }

    /// The session as a caller. Its access key is worth nothing without its own token.
    pub(super) fn authenticate(
        &self,
        token: Option<&str>,
        now: Timestamp,
        role_id: &str,
    ) -> Result<Caller, CredentialError> {
        if token != Some(self.token.as_str()) {
            return Err(CredentialError::Unknown);
        }
        let permissions = match self.revoked {
            Some(Revocation::Unknown) => return Err(CredentialError::Unknown),
            Some(Revocation::Expired) => return Err(CredentialError::Expired),
            Some(Revocation::Denied) => Permissions::Denied,
            None => Permissions::All,
        };
        if now >= self.expires {
            return Err(CredentialError::Expired);
        }
        Ok(Caller::session(&self.role, &self.name, role_id, permissions))
    }
}

/// The access keys of sessions start with this.
const SESSION_KEY_PREFIX: &str = "ASIA";

/// Whether an access key belongs to a session.
pub(super) fn is_session_key(access_key: &str) -> bool {
    access_key.starts_with(SESSION_KEY_PREFIX)
}

/// Letters and digits of the alphabet of AWS's unique ids.
pub(super) fn letters(seed: Uuid, count: usize) -> String {
    let second = Uuid::new_v5(&seed, b"more letters");
    let letter = |byte: &u8| match byte % 32 {
        letter @ 0..26 => char::from(b'A' + letter),
        digit => char::from(b'2' + digit - 26),
    };
    seed.as_bytes().iter().chain(second.as_bytes()).take(count).map(letter).collect()
}
