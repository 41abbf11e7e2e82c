//! The people and programs that the API server knows, each by a random token, and the kubeconfig file with which one
//! of them comes to it. What they may do is for the tests to say: only the administrator has rights from the start.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

/// Someone whom the API server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// A member of `system:masters`, who may do everything.
    Admin,
    /// Whom the operator is; has the rights of any authenticated user until a role is bound to the user `operator`.
    Operator,
    /// Whoever applies manifests; has the rights of any authenticated user until a role is bound to the user
    /// `developer`.
    Developer,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Developer];

    /// The name that role bindings and admission policies see.
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
            .ok_or_else(|| format!("there is no user {name}: it is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Every user with a token of one control plane.
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

    /// As `--token-auth-file` wants them.
    pub(crate) fn csv(&self) -> String {
        self.0.iter().map(|(user, token)| format!("{token},{user},{user},\"{}\"\n", user.groups())).collect()
    }

    /// A kubeconfig file for every user, which carries all it needs: the API server's authority too.
    pub(crate) fn kubeconfigs(&self, url: &str, authority: &str) -> impl Iterator<Item = (User, String)> {
        let authority = BASE64_STANDARD.encode(authority);
        self.0.iter().map(move |(user, token)| {
            let text = format!(
                "apiVersion: v1\n\
                 kind: Config\n\
                 clusters:\n\
                 - name: control-plane\n\
                 \x20 cluster: {{server: \"{url}\", certificate-authority-data: {authority}}}\n\
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

/// Without the tokens: what prints a control plane need not print its keys.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(user, _)| user)).finish()
    }
}

/// Bytes from the system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
