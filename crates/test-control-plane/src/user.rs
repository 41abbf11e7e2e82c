//! The users of the API server, their random tokens and their kubeconfig files. Only the administrator has permissions;
//! tests grant permissions to the other users.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

/// A user of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// A member of `system:masters`, with all permissions.
    Admin,
    /// The operator. It has the permissions of any authenticated user, unless a role is bound to the user `operator`.
    Operator,
    /// A person who applies manifests, with the permissions of any authenticated user, unless a role is bound to the
    /// user `developer`.
    Developer,
}

impl User {
    /// All users.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Developer];

    /// The username in role bindings and admission policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Developer => "developer",
        }
    }

    const fn groups(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Operator | Self::Developer => "",
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|user| user.name() == name)
            .ok_or_else(|| format!("unknown user {name}: use one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The tokens of all users of one control plane.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<(User, String)>);

impl Tokens {
    pub(crate) fn new() -> io::Result<Self> {
        User::ALL
            .into_iter()
            .map(|user| Ok((user, BASE64_URL_SAFE_NO_PAD.encode(random::<24>()?))))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The format of `--token-auth-file`.
    pub(crate) fn csv(&self) -> String {
        self.0.iter().map(|(user, token)| format!("{token},{user},{user},\"{}\"\n", user.groups())).collect()
    }

    /// A self-contained kubeconfig file for every user, with the CA certificate of the API server.
    pub(crate) fn kubeconfigs(&self, url: &str, ca_certificate: &str) -> impl Iterator<Item = (User, String)> {
        let ca_certificate = BASE64_STANDARD.encode(ca_certificate);
        self.0.iter().map(move |(user, token)| {
            let text = format!(
                "apiVersion: v1\n\
                 kind: Config\n\
                 clusters:\n\
                 - name: control-plane\n\
                 \x20 cluster: {{server: \"{url}\", certificate-authority-data: {ca_certificate}}}\n\
                 users:\n\
                 - name: {user}\n\
                 \x20 user: {{token: \"{token}\"}}\n\
                 contexts:\n\
                 - name: {user}\n\
                 \x20 context: {{cluster: control-plane, user: {user}}}\n\
                 current-context: {user}\n"
            );
            (*user, text)
        })
    }
}

/// Omits the tokens, so that debug output of a control plane has no secrets.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(user, _)| user)).finish()
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
