//! The client for the Kubernetes API, and how it asks again.

use kube::Config;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use std::time::Duration;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

/// The pause before a request is made again that the API server puts off or cannot take, doubled each time up to the longest. One
/// that the server asks for counts instead.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The policy that the client has by itself lets pauses grow as long as an outage lasted, and up to a quarter of an hour: it
/// would be over for as long again before anybody notices, a standby waiting for its Lease among them.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After so many times the error is told: some 20 s.
const RETRIES: u32 = 15;

/// How many requests may wait for a connection to be chosen.
const WAITING: usize = 1024;

/// A client that asks again when the API server is busy or away.
///
/// # Errors
/// When the configuration cannot be used.
pub fn client(mut config: Config) -> Result<kube::Client, kube::Error> {
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config)?.with_layer(&BufferLayer::new(WAITING));
    let retries = RetryPolicy::new(FIRST_PAUSE, LONGEST_PAUSE, RETRIES, true);
    let retries = retries.map_err(|error| kube::Error::Service(error.into()))?;
    Ok(builder.with_layer(&RetryLayer::new(retries)).build())
}
