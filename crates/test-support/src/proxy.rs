//! A proxy between the operator and the API server or CodePipeline, controlled by the test. Each request has a name. The
//! test's handler forwards it, delays it, responds to it or closes the connection.

use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::ConfigExt;
use kube::config::Kubeconfig;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How long a connection may be idle. The API server allows 90 s, which is too long for a test.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
pub type Response = hyper::Response<Body>;

/// The name of a request: its kind, and its number among the requests of that kind, starting at 1.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestName {
    pub kind: String,
    pub number: usize,
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind, self.number)
    }
}

/// A request that the proxy has received.
pub struct ProxiedRequest {
    pub name: RequestName,
    pub body: Bytes,
    head: hyper::http::request::Parts,
    server: Arc<Server>,
    /// Closes the connection of the request after the requests in flight on it.
    pub close_connection: Arc<Notify>,
}

impl ProxiedRequest {
    /// Forwards the request to the server. None if the server cannot be reached.
    pub async fn forward(self) -> Option<Response> {
        let mut request = hyper::Request::from_parts(self.head, Full::new(self.body));
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = format!("{}{path}", self.server.url).parse().unwrap();
        // The Host header still names the proxy: the signature of an AWS request covers it.
        let response = self.server.client.request(request).await.ok()?;
        Some(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Whether this AWS access key signed the request.
    pub fn is_signed_by(&self, access_key: &str) -> bool {
        let authorization = self.head.headers.get("authorization").and_then(|value| value.to_str().ok());
        authorization.is_some_and(|value| value.contains(&format!("Credential={access_key}/")))
    }

    pub fn is_watch(&self) -> bool {
        self.name.kind.starts_with("WATCH")
    }
}

/// A response with this body.
pub fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    hyper::Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

/// An error response of the API server: a Status object.
pub fn status_response(code: u16, reason: &str, message: &str) -> Response {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    response(code, "application/json", body.to_string())
}

/// Responds to each request. None closes the connection without a response.
pub trait Handler: Fn(ProxiedRequest) -> BoxFuture<'static, Option<Response>> + Send + Sync + 'static {}

impl<F: Fn(ProxiedRequest) -> BoxFuture<'static, Option<Response>> + Send + Sync + 'static> Handler for F {}

struct Server {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A proxy to one server. Dropping it stops it.
pub struct Proxy {
    url: String,
    accepting: AbortHandle,
}

impl Proxy {
    /// Starts a proxy to the API server of a kubeconfig file, and returns a kubeconfig file that connects through it.
    pub async fn to_api_server(kubeconfig: &Path, handler: impl Handler) -> (Self, ProxiedKubeconfig) {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(read, &Default::default()).await.unwrap();
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector().unwrap());
        let proxy = Self::to(Server { url: url.clone(), client }, handler).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        std::fs::write(&path, text.replace(&url, &proxy.url)).unwrap();
        (proxy, ProxiedKubeconfig { path, _folder: folder })
    }

    /// Starts a proxy to a CodePipeline endpoint.
    pub async fn to_codepipeline(url: &str, handler: impl Handler) -> Self {
        let config = kube::Config::new(url.parse().unwrap());
        let client = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector().unwrap());
        Self::to(Server { url: url.trim_end_matches('/').to_owned(), client }, handler).await
    }

    async fn to(server: Server, handler: impl Handler) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server, handler) = (Arc::new(server), Arc::new(handler));
        let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, server.clone(), handler.clone(), counts.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, accepting: accepting.abort_handle() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A kubeconfig file that connects through a proxy.
pub struct ProxiedKubeconfig {
    path: PathBuf,
    _folder: TempDir,
}

impl ProxiedKubeconfig {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the test closes the connection")]
struct Closed;

async fn connection(
    stream: TcpStream,
    server: Arc<Server>,
    handler: Arc<impl Handler>,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
) {
    let close_connection = Arc::new(Notify::new());
    let service = {
        let close_connection = close_connection.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let (server, handler, counts, close_connection) =
                (server.clone(), handler.clone(), counts.clone(), close_connection.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
                let kind = kind(&head);
                let number = {
                    let mut counts = counts.lock().unwrap();
                    let count = counts.entry(kind.clone()).or_default();
                    *count += 1;
                    *count
                };
                handler(ProxiedRequest { name: RequestName { kind, number }, body, head, server, close_connection })
                    .await
                    .ok_or(Closed)
            }
        })
    };
    // A real server closes idle connections too.
    let server = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(server);
    // A connection ends early when the operator exits or the test closes it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = close_connection.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Verb and resource, such as `PUT approvaldecisions/status`, or the name of the operation of CodePipeline or STS.
fn kind(head: &hyper::http::request::Parts) -> String {
    if let Some(target) = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    if path == "/" && head.method == "POST" {
        return "GetCallerIdentity".to_owned();
    }
    // /apis/GROUP/VERSION[/namespaces/NAMESPACE]/RESOURCE[/NAME[/SUBRESOURCE]]
    let mut parts = path.split('/').skip(4).peekable();
    if parts.next_if_eq(&"namespaces").is_some() {
        parts.next();
    }
    let (resource, name, subresource) = (parts.next().unwrap_or(path), parts.next(), parts.next());
    let verb = match (head.method.as_str(), name) {
        ("GET", None) if query.contains("watch=true") => "WATCH",
        ("GET", None) => "LIST",
        (method, _) => method,
    };
    subresource.map_or_else(|| format!("{verb} {resource}"), |part| format!("{verb} {resource}/{part}"))
}
