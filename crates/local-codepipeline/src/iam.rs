//! IAM and STS as a deterministic model, like `model`: roles, the sessions of those who assume them, and who a caller is.
//! It has the rules and the texts of AWS; the server adds the wire protocol.

mod assume_role;
mod caller;
mod calls;
mod error;
mod role;
mod session;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::model::Account;

pub(crate) use assume_role::AssumeRoleInput;
pub(crate) use caller::{Caller, Credential, CredentialError};
pub use calls::{StsCall, StsOperation, StsOutcome};
pub(crate) use error::StsError;
pub use role::{Principal, PrincipalError, Role, RoleArn, RoleArnError};
pub use session::Revocation;
pub(crate) use session::SessionCredentials;

use session::Session;

/// The roles of all accounts, their sessions, and the calls of STS.
#[derive(Clone, Debug)]
pub(crate) struct Iam {
    /// The account of the users whose access key does not name one.
    default_account: Account,
    namespace: Uuid,
    roles: BTreeMap<RoleArn, Role>,
    /// By access key id. They are never removed, so that an old one is expired and not unknown.
    sessions: BTreeMap<String, Session>,
    /// The access keys that AWS does not know, such as deleted ones.
    refused_access_keys: BTreeSet<String>,
    calls: Vec<StsCall>,
}

impl Iam {
    pub(crate) fn new(default_account: Account, namespace: Uuid) -> Self {
        Self {
            default_account,
            namespace,
            roles: BTreeMap::new(),
            sessions: BTreeMap::new(),
            refused_access_keys: BTreeSet::new(),
            calls: Vec::new(),
        }
    }

    /// Creates a role or replaces it. Its sessions stay valid.
    pub(crate) fn put_role(&mut self, role: Role) {
        self.roles.insert(role.arn().clone(), role);
    }

    /// Deletes a role. AWS no longer knows its sessions.
    pub(crate) fn delete_role(&mut self, arn: &RoleArn) {
        self.roles.remove(arn);
        self.revoke_sessions(arn, Revocation::Unknown);
    }

    /// Ends the sessions that a role has now, before their expiration.
    pub(crate) fn revoke_sessions(&mut self, arn: &RoleArn, revocation: Revocation) {
        for session in self.sessions.values_mut().filter(|session| session.role() == arn) {
            session.revoke(revocation);
        }
    }

    /// Refuses an access key from now on.
    pub(crate) fn refuse_access_key(&mut self, access_key: String) {
        self.refused_access_keys.insert(access_key);
    }

    /// Every call of STS, oldest first.
    pub(crate) fn calls(&self) -> &[StsCall] {
        &self.calls
    }

    pub(crate) fn record_call(&mut self, call: StsCall) {
        self.calls.push(call);
    }

    /// Who signs with this credential.
    pub(crate) fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Caller, CredentialError> {
        let key = &credential.access_key;
        if self.refused_access_keys.contains(key) {
            return Err(CredentialError::Unknown);
        }
        if session::is_session_key(key) {
            let session = self.sessions.get(key).ok_or(CredentialError::Unknown)?;
            return session.authenticate(credential.session_token.as_deref(), now, &self.role_id(session.role()));
        }
        Ok(Caller::user(key, &self.default_account))
    }

    /// Starts a session of a role, if the role trusts the caller.
    pub(crate) fn assume_role(
        &mut self,
        caller: &Caller,
        input: &AssumeRoleInput,
        now: Timestamp,
    ) -> Result<SessionCredentials, StsError> {
        let request = input.validate(caller)?;
        let refused = || StsError::not_authorized(caller.arn(), &request.role_arn);
        if caller.is_denied() {
            return Err(StsError::explicitly_denied(caller.arn(), &request.role_arn));
        }
        let role = request.role_arn.parse::<RoleArn>().ok().and_then(|arn| self.roles.get(&arn)).ok_or_else(refused)?;
        if !role.admits(caller, request.external_id.as_deref()) {
            return Err(refused());
        }
        if request.duration > role.max_session_duration() {
            let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(StsError::validation(message));
        }
        let duration: SignedDuration = role.forced_session_duration().unwrap_or(request.duration);
        let expires = now.saturating_add(duration).unwrap_or(Timestamp::MAX);
        let seed = Uuid::new_v5(&self.namespace, &self.sessions.len().to_be_bytes());
        let role_id = self.role_id(role.arn());
        let (session, credentials) = Session::new(role.arn().clone(), request.session_name, seed, expires, &role_id);
        self.sessions.insert(credentials.access_key_id.clone(), session);
        Ok(credentials)
    }

    /// The unique id of a role, as in `AssumedRoleId`.
    fn role_id(&self, arn: &RoleArn) -> String {
        let seed = Uuid::new_v5(&self.namespace, arn.to_string().as_bytes());
        format!("AROA{}", session::letters(seed, 17))
    }
}

#[cfg(test)]
mod tests;
