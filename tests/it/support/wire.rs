//! A wire between the operator and one of its neighbours that a test holds in its hands: each request has a name and a number,
//! and what becomes of it is the test's to say. It may be passed on, kept back, answered by somebody else, or come to
//! nothing at any point.

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

/// How long a connection may be without a request. The API server allows 90 s, which no test has to wait for.
const IDLE: Duration = Duration::from_secs(30);

pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
pub type Answer = hyper::Response<Body>;

/// One of the requests that the operator makes: what it asks for, and how many of the kind came before.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name {
    pub kind: String,
    pub number: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind, self.number)
    }
}

/// A request on its way.
pub struct Passing {
    pub name: Name,
    pub body: Bytes,
    head: hyper::http::request::Parts,
    server: Arc<Server>,
    /// Ends the connection that it came by, once what is under way on it is over.
    pub hang_up: Arc<Notify>,
}

impl Passing {
    /// Lets the server have it; nothing where that cannot be reached.
    pub async fn forward(self) -> Option<Answer> {
        let mut request = hyper::Request::from_parts(self.head, Full::new(self.body));
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = format!("{}{path}", self.server.url).parse().unwrap();
        // It names the wire, and the signature of a request to AWS is over what the operator called the server.
        let answer = self.server.client.request(request).await.ok()?;
        Some(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    pub fn is_watch(&self) -> bool {
        self.name.kind.starts_with("WATCH")
    }
}

/// An answer of the test's own.
pub fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    hyper::Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

/// The API server's way to say no.
pub fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    answer(code, "application/json", body.to_string())
}

/// What becomes of each request; nothing cuts the connection.
pub trait Script: Fn(Passing) -> BoxFuture<'static, Option<Answer>> + Send + Sync + 'static {}

impl<F: Fn(Passing) -> BoxFuture<'static, Option<Answer>> + Send + Sync + 'static> Script for F {}

struct Server {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A wire to one server. It is gone when this is dropped.
pub struct Wire {
    url: String,
    accepting: AbortHandle,
}

impl Wire {
    /// One to the API server of a kubeconfig file, and a kubeconfig file by way of it.
    pub async fn to_api_server(kubeconfig: &Path, script: impl Script) -> (Self, Linked) {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(read, &Default::default()).await.unwrap();
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector().unwrap());
        let wire = Self::to(Server { url: url.clone(), client }, script).await;
        let folder = tempfile::tempdir().unwrap();
        let linked = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        std::fs::write(&linked, text.replace(&url, &wire.url)).unwrap();
        (wire, Linked { kubeconfig: linked, _folder: folder })
    }

    /// One to an endpoint that plays the service.
    pub async fn to_service(url: &str, script: impl Script) -> Self {
        let config = kube::Config::new(url.parse().unwrap());
        let client = Client::builder(TokioExecutor::new()).build(config.rustls_https_connector().unwrap());
        Self::to(Server { url: url.trim_end_matches('/').to_owned(), client }, script).await
    }

    async fn to(server: Server, script: impl Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server, script) = (Arc::new(server), Arc::new(script));
        let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, server.clone(), script.clone(), counts.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, accepting: accepting.abort_handle() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A kubeconfig file by way of a wire.
pub struct Linked {
    kubeconfig: PathBuf,
    _folder: TempDir,
}

impl Linked {
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
struct Cut;

async fn connection(
    stream: TcpStream,
    server: Arc<Server>,
    script: Arc<impl Script>,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
) {
    let hang_up = Arc::new(Notify::new());
    let service = {
        let hang_up = hang_up.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let (server, script, counts, hang_up) = (server.clone(), script.clone(), counts.clone(), hang_up.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
                let kind = kind(&head);
                let number = {
                    let mut counts = counts.lock().unwrap();
                    let count = counts.entry(kind.clone()).or_default();
                    *count += 1;
                    *count
                };
                script(Passing { name: Name { kind, number }, body, head, server, hang_up }).await.ok_or(Cut)
            }
        })
    };
    // Like a real server it closes what is idle.
    let server = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(server);
    // What ends a connection early is the operator's end, or what the test wants.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = hang_up.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// `PUT approvaldecisions/status`, say, or the service's name for what it is asked.
fn kind(head: &hyper::http::request::Parts) -> String {
    if let Some(target) = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
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
