//! The names of role sessions. A session for a decision is named after it, so `CloudTrail`, the console and `lastUpdatedBy` show whose
//! result CodePipeline accepted. Pure, without I/O.

use sha2::{Digest, Sha256};
use std::fmt::{self, Display, Formatter, Write};

/// The maximum length of a session name.
const MAX_LENGTH: usize = 64;

/// The longest part of a namespace. It does not depend on the other parts, so that a trust policy can allow the session names of a
/// namespace with a prefix.
const MAX_NAMESPACE: usize = 40;

/// The number of bytes of the hash. Each becomes two characters.
const HASH_BYTES: usize = 5;

/// The longest namespace and name together: what the two dots and the hash leave.
const MAX_NAMES: usize = MAX_LENGTH - 2 - 2 * HASH_BYTES;

/// The session name of reads. No decision has it, because those of decisions contain dots.
const READS: &str = "approval-operator";

/// The name of a role session.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SessionName(String);

impl SessionName {
    /// The session name of a decision: `NAMESPACE.NAME.HASH`. The hash is that of the UID, so it differs between two decisions whose
    /// names are cut to the same text, and after a decision was deleted and created again.
    #[must_use]
    pub fn of(namespace: &str, name: &str, uid: &str) -> Self {
        let namespace: String = namespace.chars().take(MAX_NAMESPACE).map(allowed).collect();
        let name: String = name.chars().take(MAX_NAMES - namespace.len()).map(allowed).collect();
        let hash = Sha256::digest(uid).iter().take(HASH_BYTES).fold(String::new(), |mut hash, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        });
        Self(format!("{namespace}.{name}.{hash}"))
    }

    /// The session name of reads.
    pub(super) fn for_reads() -> Self {
        Self(READS.to_owned())
    }

    /// The session name in the ARN of a role session, such as CodePipeline's `lastUpdatedBy`; none if the ARN is that of another
    /// kind of caller.
    #[must_use]
    pub fn of_arn(arn: &str) -> Option<&str> {
        account_and_session(arn).map(|(_, session)| session)
    }

    /// The name as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for SessionName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The character, if STS allows it in a session name. Kubernetes allows no others in names.
const fn allowed(letter: char) -> char {
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '+' | '=' | ',' | '.' | '@' | '-' => letter,
        _ => '_',
    }
}

/// The account and the session name in `arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
pub(super) fn account_and_session(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let (prefix, _partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    let mut resource = resource.split('/');
    let (kind, role, session) = (resource.next()?, resource.next()?, resource.next()?);
    let is_role_session = prefix == "arn" && service == "sts" && region.is_empty() && kind == "assumed-role";
    let is_complete = !role.is_empty() && !session.is_empty() && resource.next().is_none();
    (is_role_session && is_complete).then_some((account, session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "3f2c1a90-7b1e-4d7a-9a55-0b7d8f0c1e22";

    #[test]
    fn a_name_that_fits_is_complete_and_the_name_is_cut_before_the_namespace() {
        let of = |namespace: usize, name: usize| {
            let session = SessionName::of(&"n".repeat(namespace), &"d".repeat(name), UID);
            let parts: Vec<_> = session.as_str().split('.').map(str::len).collect();
            (session.as_str().len(), parts)
        };
        assert_eq!(SessionName::of("team-a", "web-1.2", UID).as_str(), "team-a.web-1.2.f0ad569091");
        assert_eq!(of(6, 46), (64, vec![6, 46, 10]));
        assert_eq!(of(6, 253), (64, vec![6, 46, 10]));
        assert_eq!(of(40, 253), (64, vec![40, 12, 10]));
        assert_eq!(of(63, 253), (64, vec![40, 12, 10]));
        assert_eq!(of(63, 1), (53, vec![40, 1, 10]));
    }

    #[test]
    fn decisions_whose_cut_names_are_equal_have_different_session_names() {
        let name = "d".repeat(253);
        let [one, other, again] = ["uid-1", "uid-2", "uid-1"].map(|uid| SessionName::of("team", &name, uid));
        assert_ne!(one, other);
        assert_eq!(one, again);
        assert_ne!(one, SessionName::for_reads());
    }

    #[test]
    fn the_session_name_is_found_in_the_arn_of_a_role_session_only() {
        let session = SessionName::of("team-a", "web", UID);
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let arn = format!("arn:{partition}:sts::123456789012:assumed-role/Approver/{session}");
            assert_eq!(SessionName::of_arn(&arn), Some(session.as_str()));
            assert_eq!(account_and_session(&arn), Some(("123456789012", session.as_str())));
        }
        for other in [
            "",
            "arn:aws:iam::123456789012:user/team-a.web.1",
            "arn:aws:iam::123456789012:assumed-role/Approver/team-a.web.1",
            "arn:aws:sts::123456789012:federated-user/team-a.web.1",
            "arn:aws:sts::123456789012:assumed-role/Approver",
            "arn:aws:sts::123456789012:assumed-role/Approver/",
            "arn:aws:sts::123456789012:assumed-role//team-a.web.1",
            "arn:aws:sts::123456789012:assumed-role/path/Approver/team-a.web.1",
            "assumed-role/Approver/team-a.web.1",
        ] {
            assert_eq!(SessionName::of_arn(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_valid_session_name(namespace: String, name: String, uid: String) {
            let session = SessionName::of(&namespace, &name, &uid);
            let text = session.as_str();
            prop_assert!((2..=MAX_LENGTH).contains(&text.len()), "{}", text);
            prop_assert!(text.chars().all(|letter| letter == allowed(letter)), "{}", text);
            prop_assert!(text.chars().filter(|letter| *letter == '.').count() >= 2, "{}", text);
        }
    }
}
