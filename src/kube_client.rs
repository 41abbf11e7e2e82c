//! The client for the Kubernetes API.

use crate::backoff::{API_REQUEST, API_REQUEST_RETRIES};
use crate::proxy::ProxySettings;
use axum::http::Uri;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::config::{Cluster, InferConfigError, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

/// How many requests may wait until they are sent.
const QUEUE_CAPACITY: usize = 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scheme of the proxy. The URL itself may contain a password.
    #[error(
        "the proxy to the Kubernetes API has the scheme {0:?}, which is not supported; set proxy-url in the kubeconfig to an \
         http:// or https:// URL"
    )]
    ProxyScheme(String),
    /// Certificates, credentials and the like.
    #[error("invalid Kubernetes configuration: {0}")]
    Configuration(#[source] Box<kube::Error>),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::ProxyProtocolUnsupported { proxy_url }
            | kube::Error::ProxyProtocolDisabled { proxy_url, .. } => {
                Self::ProxyScheme(proxy_url.scheme_str().unwrap_or_default().to_owned())
            }
            other => Self::Configuration(Box::new(other)),
        }
    }
}

/// The cluster of the kubeconfig, or the one that this pod runs in, with the proxy to it. The client reads the CA certificates again
/// every minute, as it does the token, so that neither needs a restart when it is rotated.
///
/// # Errors
/// When there is neither a kubeconfig nor a ServiceAccount.
pub async fn config(proxies: &ProxySettings) -> Result<Config, InferConfigError> {
    let mut config = Config::infer().await?;
    let cluster = Kubeconfig::read().ok().and_then(current_cluster);
    let proxy_url = cluster.as_ref().and_then(kubeconfig_proxy);
    config.proxy_url = proxy_url.or_else(|| proxies.proxy_for(&config.cluster_url).cloned());
    // In a pod, kube sets it.
    if config.root_cert_file.is_none() {
        config.root_cert_file = cluster.and_then(certificate_authority);
    }
    Ok(config)
}

fn current_cluster(kubeconfig: Kubeconfig) -> Option<Cluster> {
    let current = kubeconfig.current_context?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == current)?.context?;
    kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster)?.cluster
}

/// The `proxy-url` of the cluster. It is for this cluster, so NO_PROXY does not apply to it.
fn kubeconfig_proxy(cluster: &Cluster) -> Option<Uri> {
    cluster.proxy_url.as_ref().filter(|url| !url.is_empty())?.parse().ok()
}

/// The file with the CA certificates of the cluster, if there is one.
fn certificate_authority(cluster: Cluster) -> Option<PathBuf> {
    match cluster {
        Cluster { certificate_authority_data: None, certificate_authority, .. } => {
            certificate_authority.map(PathBuf::from)
        }
        Cluster { certificate_authority_data: Some(_), .. } => None,
    }
}

/// A client that retries when the API server is overloaded or unavailable.
///
/// # Errors
/// When the configuration is invalid.
pub fn client(mut config: Config) -> Result<Client, Error> {
    // The built-in policy backs off for up to a quarter of an hour, so a standby that waits for its Lease, for example, would miss
    // the end of an outage by as much. It cannot be configured, only replaced.
    config.default_retry = false;
    let retry = RetryPolicy::new(API_REQUEST.initial, API_REQUEST.max, API_REQUEST_RETRIES, true)
        .map_err(|error| kube::Error::Service(error.into()))?;
    // A retry needs a service that can be cloned, which the buffer provides.
    let builder = ClientBuilder::try_from(config)?
        .with_layer(&BufferLayer::new(QUEUE_CAPACITY))
        .with_layer(&RetryLayer::new(retry));
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;

    fn client_for(cluster: &str, proxy: Option<&str>) -> Result<Client, Error> {
        let mut config = Config::new(cluster.parse().unwrap());
        config.proxy_url = proxy.map(|url| url.parse().unwrap());
        client(config)
    }

    async fn get_version(client: Client) -> Result<String, kube::Error> {
        client.request_text(Request::get("/version").body(Vec::new()).unwrap()).await
    }

    /// A server that sends each response over a connection of its own, and ends with the requests that it received.
    fn serve(statuses: &'static [&'static str]) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let respond = move |status: &&str| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}").unwrap();
            String::from_utf8(request).unwrap()
        };
        (address, std::thread::spawn(move || statuses.iter().map(respond).collect()))
    }

    #[tokio::test]
    async fn requests_that_the_api_server_cannot_accept_now_are_retried() {
        let (address, server) =
            serve(&["503 Service Unavailable", "429 Too Many Requests", "504 Gateway Timeout", "200 OK"]);
        let client = client_for(&format!("http://{address}"), None).unwrap();
        assert_eq!(get_version(client).await.unwrap(), "{}");
        assert_eq!(server.join().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn requests_go_through_the_proxy_and_its_password_is_not_shown() {
        let (address, proxy) = serve(&["403 Forbidden"]);
        let client = client_for("https://192.0.2.1", Some(&format!("http://me:secret@{address}"))).unwrap();
        let error = get_version(client).await.unwrap_err();
        let received = proxy.join().unwrap();
        let is_expected =
            |request: &String| request.starts_with("CONNECT 192.0.2.1:443 ") && request.contains("Basic bWU6c2VjcmV0");
        assert!(received.iter().all(is_expected), "{received:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    #[tokio::test]
    async fn an_unsupported_proxy_is_refused_without_its_password() {
        for proxy in ["socks5://me:secret@proxy.example:1080", "me:secret@proxy.example:3128"] {
            let error = client_for("https://192.0.2.1", Some(proxy)).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
