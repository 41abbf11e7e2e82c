//! Where the credentials of a client come from, and the proof that they belong to its account: STS says so when the client is loaded, and
//! again whenever its credentials are refreshed. So nothing is sent to another account than the one that was checked.

mod own;
mod prefetched;
mod role;
mod secret_files;

pub(super) use own::OwnCredentials;
pub(super) use prefetched::PrefetchedCredentials;
pub(super) use role::RoleCredentials;
pub(super) use secret_files::read_credentials;
