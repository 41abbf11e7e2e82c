//! The client for the Kubernetes API: how it connects, and how it asks again.

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

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

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A proxy. Its URL may have a password in it.
    #[error(
        "a proxy is configured ({0}), and the Kubernetes API is not asked through one: take proxy-url out of the kubeconfig, or \
         HTTPS_PROXY out of the environment"
    )]
    Proxy(String),
    /// Certificates, credentials and the like.
    #[error("the Kubernetes configuration cannot be used: {0}")]
    Configuration(#[source] Box<kube::Error>),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Configuration(Box::new(error))
    }
}

/// A client that asks again when the API server is busy or away.
///
/// It is put together here since kube's own leaves Nagle's algorithm on: the first request of each connection then waits 40 ms, until the
/// server acknowledges the end of the handshake (<https://github.com/kube-rs/kube/issues/2056>).
///
/// # Errors
/// When the configuration cannot be used.
pub fn client(config: Config) -> Result<Client, Error> {
    if let Some(proxy) = config.proxy_url {
        return Err(Error::Proxy(proxy.host().unwrap_or_default().to_owned()));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let retries = RetryPolicy::new(FIRST_PAUSE, LONGEST_PAUSE, RETRIES, true);
    let service = ServiceBuilder::new()
        .retry(retries.map_err(|error| kube::Error::Service(error.into()))?)
        .buffer(WAITING)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}
