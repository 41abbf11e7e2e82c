//! The client is loaded again after AWS denied access, and stays in use until that has succeeded.

use super::*;
use crate::codepipeline::rate_limiter::WaitTime;
use aws_credential_types::Credentials;
use std::time::Duration;

/// When the client in use was loaded.
async fn loaded_at(client: &Client) -> Option<Instant> {
    match &*client.shared.cached.lock().await {
        CachedClient::Loaded(loaded) => Some(loaded.loaded_at),
        CachedClient::Failed { .. } | CachedClient::Empty => None,
    }
}

/// Makes the client in use this old.
pub(super) async fn age(client: &Client, age: Duration) -> Instant {
    let before = Instant::now().checked_sub(age).unwrap();
    match &mut *client.shared.cached.lock().await {
        CachedClient::Loaded(loaded) => loaded.loaded_at = before,
        CachedClient::Failed { .. } | CachedClient::Empty => panic!("no client is loaded"),
    }
    before
}

async fn read(client: &Client) -> CallError {
    let waited = WaitTime::default();
    let read = client.read(Operation::GetPipelineState, &waited, |client, guard| async move {
        client.get_pipeline_state().name(PIPELINE).customize().interceptor(guard).send().await
    });
    read.await.unwrap_err()
}

#[tokio::test]
async fn denied_access_reloads_the_client_once_a_minute() {
    let endpoint = Endpoint::start().await;
    let denied = RawResponse::plain(400, b"{\"__type\":\"AccessDeniedException\"}");
    endpoint.set(Operation::GetPipelineState, Reply::Bytes(denied.bytes()));
    let client = endpoint.client(TIMEOUT).await;
    let young = age(&client, backoff::AWS_RELOAD / 2).await;
    assert_eq!(read(&client).await.cause(), RetryCause::AccessDenied);
    tokio::task::yield_now().await;
    assert_eq!(loaded_at(&client).await, Some(young), "it was loaded recently");
    let old = age(&client, backoff::AWS_RELOAD).await;
    assert_eq!(read(&client).await.cause(), RetryCause::AccessDenied);
    while loaded_at(&client).await == Some(old) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.claim(old).await, None, "it is reloaded once");
}

#[tokio::test]
async fn a_client_stays_in_use_until_another_one_is_loaded() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    let first = loaded_at(&client).await.unwrap();
    let claimed = client.claim(first).await.unwrap();
    let failed = Err(VerifyError::Unreachable("STS cannot be reached".to_owned()));
    client.replace(claimed, failed).await.unwrap_err();
    assert_eq!(loaded_at(&client).await, Some(claimed));
    assert!(client.location().is_some());
    let other = endpoint.client_with(Credentials::new("OTHER", "secret", None, None, "a test"), TIMEOUT).await;
    let loaded = other.sdk_client().await.unwrap();
    let loaded_later = loaded.loaded_at;
    client.replace(first, Ok(loaded.clone())).await.unwrap();
    assert_eq!(loaded_at(&client).await, Some(claimed), "another client was loaded since");
    client.replace(claimed, Ok(loaded)).await.unwrap();
    assert_eq!(loaded_at(&client).await, Some(loaded_later));
}
