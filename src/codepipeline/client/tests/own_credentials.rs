//! The operator's own credentials are refreshed, and may belong to another account than before.

use super::endpoint::new_client;
use super::reload::age;
use super::sts::{ACCOUNT, error};
use super::targets::{endpoint, read, target};
use super::*;
use crate::codepipeline::Destination;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

const OTHER: &str = "210987654321";

/// Credentials that each call refreshes, because they expire soon. Clones share the access key.
#[derive(Clone, Debug)]
struct ShortLived(Arc<Mutex<String>>);

impl ShortLived {
    fn new(access_key: &str) -> Self {
        Self(Arc::new(Mutex::new(access_key.to_owned())))
    }

    fn rotate(&self, access_key: &str) {
        access_key.clone_into(&mut self.0.lock().unwrap());
    }
}

impl ProvideCredentials for ShortLived {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let (key, expiry) = (self.0.lock().unwrap().clone(), SystemTime::now() + Duration::from_secs(20));
        future::ProvideCredentials::ready(Ok(Credentials::new(key, "secret", None, Some(expiry), "a test")))
    }
}

/// An endpoint, and a client with credentials that were loaded as `FIRST`.
async fn loaded(destination: Destination) -> (Endpoint, ShortLived, Client) {
    let (endpoint, own) = (endpoint().await, ShortLived::new("FIRST"));
    let client = new_client(endpoint.settings(own.clone(), TIMEOUT), destination);
    client.verify().await.unwrap();
    (endpoint, own, client)
}

/// The access keys about which STS was asked.
fn verified(endpoint: &Endpoint) -> Vec<String> {
    endpoint.sts().calls("GetCallerIdentity").into_iter().map(|call| call.access_key).collect()
}

/// The access keys that signed the requests to CodePipeline.
fn signers(endpoint: &Endpoint) -> Vec<String> {
    endpoint.signers().into_iter().map(|[key, _]| key).collect()
}

async fn put(client: &Client, session: &Session) -> Result<(), CallError> {
    client.put_approval_result(session, &submission(), Timestamp::MAX).await.result.map(drop)
}

#[tokio::test]
async fn sts_is_asked_once_about_each_access_key() {
    for destination in [Destination::Ambient, target(ACCOUNT, None)] {
        let (endpoint, own, client) = loaded(destination).await;
        for key in ["FIRST", "SECOND"] {
            own.rotate(key);
            for _ in 0..3 {
                read(&client).await.unwrap();
            }
        }
        assert_eq!(verified(&endpoint), ["FIRST", "SECOND"]);
        assert_eq!(signers(&endpoint), ["FIRST", "FIRST", "FIRST", "SECOND", "SECOND", "SECOND"]);

        // Without STS, the client still uses the key that STS confirmed, and no other one.
        endpoint.sts().set("GetCallerIdentity", Some(error(403, "InvalidClientTokenId")));
        read(&client).await.unwrap();
        own.rotate("THIRD");
        assert_eq!(read(&client).await.unwrap_err().cause(), RetryCause::CredentialsUnavailable);
        assert_eq!((verified(&endpoint).len(), endpoint.requests()), (3, 7));
    }
}

#[tokio::test]
async fn refreshed_credentials_of_another_account_are_not_used_under_the_former_identity() {
    for destination in [Destination::Ambient, target(ACCOUNT, None)] {
        let (endpoint, own, client) = loaded(destination.clone()).await;
        age(&client, backoff::AWS_CONFIG).await;
        let mut changes = client.location_changes();
        let session = client.open_session(&session_name()).await.unwrap();
        put(&client, &session).await.unwrap();
        own.rotate(&format!("SECOND@{OTHER}"));
        for refused in [put(&client, &session).await.unwrap_err(), put(&client, &session).await.unwrap_err()] {
            assert_eq!(refused.cause(), RetryCause::CredentialsUnavailable);
            let accounts = format!("now belong to the account {OTHER}, and the expected account is {ACCOUNT}");
            assert!(refused.detail().ends_with(&accounts), "{refused:?}");
        }
        assert_eq!((session.location().account_id.as_str(), signers(&endpoint)), (ACCOUNT, vec!["FIRST".to_owned()]));

        // The next call loads another client.
        let next = client.open_session(&session_name()).await;
        assert!(changes.has_changed().unwrap());
        let location = changes.borrow_and_update().clone();
        assert_eq!(location, client.location());
        match destination {
            Destination::Ambient => {
                assert_eq!(location.unwrap().account_id, OTHER);
                put(&client, &next.unwrap()).await.unwrap();
                assert_eq!(signers(&endpoint), ["FIRST".to_owned(), format!("SECOND@{OTHER}")]);
            }
            Destination::Target(_) => {
                assert_eq!((location, endpoint.requests()), (None, 1));
                assert_eq!(next.unwrap_err().cause(), RetryCause::CredentialsUnavailable);
            }
        }
    }
}
