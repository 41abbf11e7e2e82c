//! Who calls: a user or a session of a role. The access key decides; a session must also show its token.

use super::RoleArn;
use crate::model::{Account, is_account_id};

/// What a request says about its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) access_key: String,
    /// The region that the request is signed for.
    pub(crate) region: String,
    pub(crate) session_token: Option<String>,
}

/// Why a credential has no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialError {
    /// AWS does not know the access key, or the session token is not that of the access key.
    Unknown,
    /// The session has expired.
    Expired,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    account_id: String,
    arn: String,
    user_id: String,
    identity: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    User,
    Session { role: RoleArn, name: String, permissions: Permissions },
}

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permissions {
    All,
    /// A policy denies everything.
    Denied,
}

impl Caller {
    /// The user whose name equals the access key. An access key `NAME@ACCOUNT` is the user NAME of that account.
    pub(super) fn user(access_key: &str, default_account: &Account) -> Self {
        let elsewhere = access_key.rsplit_once('@').filter(|(_, id)| is_account_id(id));
        let (account_id, arn) = match elsewhere {
            Some((name, id)) => (id.to_owned(), format!("arn:aws:iam::{id}:user/{name}")),
            None => (default_account.id.clone(), default_account.user(access_key)),
        };
        Self { account_id, arn, user_id: access_key.to_owned(), identity: Identity::User }
    }

    pub(super) fn session(role: &RoleArn, name: &str, role_id: &str, permissions: Permissions) -> Self {
        Self {
            account_id: role.account_id().to_owned(),
            arn: role.session(name),
            user_id: format!("{role_id}:{name}"),
            identity: Identity::Session { role: role.clone(), name: name.to_owned(), permissions },
        }
    }

    pub(crate) fn account_id(&self) -> &str {
        &self.account_id
    }

    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    pub(crate) fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The role of the session.
    pub(crate) fn role(&self) -> Option<&RoleArn> {
        match &self.identity {
            Identity::User => None,
            Identity::Session { role, .. } => Some(role),
        }
    }

    /// The name of the session.
    pub(crate) fn session_name(&self) -> Option<&str> {
        match &self.identity {
            Identity::User => None,
            Identity::Session { name, .. } => Some(name),
        }
    }

    /// Whether a policy denies everything to the session.
    pub(crate) fn is_denied(&self) -> bool {
        match &self.identity {
            Identity::User | Identity::Session { permissions: Permissions::All, .. } => false,
            Identity::Session { permissions: Permissions::Denied, .. } => true,
        }
    }
}
