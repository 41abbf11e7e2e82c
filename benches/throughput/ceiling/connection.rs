//! A connection to the API server with as little overhead as possible: hyper over rustls.

use super::CeilingOptions;
use super::requests::VERSION;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use kube::config::Config;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A request with placeholders for the resourceVersion.
pub struct Template {
    method: &'static str,
    path: String,
    content_type: &'static str,
    /// The parts between the placeholders.
    body: Vec<String>,
}

/// Sends one request at a time.
pub struct Connection {
    sender: Sender,
    authorization: String,
    authority: String,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Template {
    pub fn new(method: &'static str, path: &str, content_type: &'static str, body: &str) -> Self {
        let body = body.split(VERSION).map(str::to_owned).collect();
        Self { method, path: path.to_owned(), content_type, body }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path, "application/json", "")
    }
}

impl Connection {
    /// Opens as many connections, or streams of one HTTP/2 connection, as there may be requests in flight.
    pub async fn open_all(config: &Config, options: &CeilingOptions) -> Vec<Self> {
        let authorization = authorization();
        let authority = config.cluster_url.authority().unwrap().to_string();
        let connection = |sender| Self { sender, authorization: authorization.clone(), authority: authority.clone() };
        if options.http2 {
            let tls = connect(config, &authority, b"h2").await;
            let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tokio::spawn(driver);
            return (0..options.concurrency).map(|_| connection(Sender::Http2(sender.clone()))).collect();
        }
        let mut connections = Vec::new();
        for _ in 0..options.concurrency {
            let tls = connect(config, &authority, b"http/1.1").await;
            let (sender, driver) = http1::handshake(TokioIo::new(tls)).await.unwrap();
            tokio::spawn(driver);
            connections.push(connection(Sender::Http1(sender)));
        }
        connections
    }

    /// Sends a request for an object that has this resourceVersion, and returns the new one.
    pub async fn send(&mut self, template: &Template, version: &str) -> String {
        let path = match &self.sender {
            Sender::Http1(_) => template.path.clone(),
            Sender::Http2(_) => format!("https://{}{}", self.authority, template.path),
        };
        let request = Request::builder()
            .method(template.method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, template.content_type)
            .body(Full::new(Bytes::from(template.body.join(version))))
            .unwrap();
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        read_version(response.unwrap()).await
    }
}

async fn connect(config: &Config, authority: &str, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut tls = config.rustls_client_config().unwrap();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(authority).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (host, _) = authority.rsplit_once(':').unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap()
}

async fn read_version(response: Response<Incoming>) -> String {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    // The first match is the object's own: no field before it can contain this text.
    let text = std::str::from_utf8(&body).unwrap();
    let (_, version) = text.split_once("\"resourceVersion\":\"").unwrap();
    version.split('"').next().unwrap_or_default().to_owned()
}

/// Reads the token from the kubeconfig file that the control plane wrote.
fn authorization() -> String {
    let text = std::fs::read_to_string(std::env::var_os("KUBECONFIG").unwrap()).unwrap();
    let (_, token) = text.split_once("token: \"").unwrap();
    format!("Bearer {}", token.split('"').next().unwrap_or_default())
}
