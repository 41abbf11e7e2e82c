//! Loads the client again after AWS denied access: it denies a revoked session, and a user who lost a policy, as it denies a missing
//! permission, and newer credentials may be available. The reason is most often a missing permission of one pipeline, so the current
//! client stays in use until another one is loaded.

use super::{CachedClient, Client, SdkClient};
use crate::backoff;
use std::time::Instant;

impl Client {
    /// Starts to load another client in place of the one that was loaded at this time, unless that was recently.
    pub(super) fn reload(&self, loaded_at: Instant) {
        if loaded_at.elapsed() >= backoff::AWS_RELOAD {
            let client = self.clone();
            tokio::spawn(async move {
                if let Some(claimed_at) = client.claim(loaded_at).await {
                    client.replace(claimed_at, client.load_client().await).await;
                }
            });
        }
    }

    /// Marks the client that was loaded at this time as loaded now, so that it is reloaded once. None if another one is in use.
    pub(super) async fn claim(&self, loaded_at: Instant) -> Option<Instant> {
        match &mut *self.shared.cached.lock().await {
            CachedClient::Loaded(current) if current.loaded_at == loaded_at => {
                current.loaded_at = Instant::now();
                Some(current.loaded_at)
            }
            CachedClient::Loaded(_) | CachedClient::Failed { .. } | CachedClient::Empty => None,
        }
    }

    /// Replaces the claimed client, unless loading another one failed.
    pub(super) async fn replace(&self, claimed_at: Instant, loaded: Result<SdkClient, String>) {
        match loaded {
            Ok(loaded) => {
                let mut cached = self.shared.cached.lock().await;
                if matches!(&*cached, CachedClient::Loaded(current) if current.loaded_at == claimed_at) {
                    *cached = self.cache_entry(&Ok(loaded));
                }
            }
            Err(detail) => tracing::warn!("could not load AWS credentials again after AWS denied access: {detail}"),
        }
    }
}
