//! A connection to the API server with as little around it as there can be: hyper over rustls, and the bytes that go through.

use super::Tuning;
use super::bodies::VERSION;
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

/// A request but for the resourceVersion in it.
pub struct Template {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<String>,
}

/// Where requests go, one at a time.
pub struct Connection {
    sender: Sender,
    authorization: String,
    authority: String,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Opens them.
pub struct Connections;

impl Template {
    pub fn new(method: &'static str, path: &str, content_type: &'static str, body: &str) -> Self {
        let body = body.split(VERSION).map(str::to_owned).collect();
        Self { method, path: path.to_owned(), content_type, body }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path, "application/json", "")
    }
}

impl Connections {
    pub async fn open(config: &Config, tuning: &Tuning) -> Vec<Connection> {
        let authorization = authorization();
        let authority = config.cluster_url.authority().unwrap().to_string();
        let connection =
            |sender| Connection { sender, authorization: authorization.clone(), authority: authority.clone() };
        if tuning.http2 {
            let tls = connect(config, &authority, b"h2").await;
            let (sender, running) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tokio::spawn(running);
            return (0..tuning.at_a_time).map(|_| connection(Sender::Http2(sender.clone()))).collect();
        }
        let mut connections = Vec::new();
        for _ in 0..tuning.at_a_time {
            let tls = connect(config, &authority, b"http/1.1").await;
            let (sender, running) = http1::handshake(TokioIo::new(tls)).await.unwrap();
            tokio::spawn(running);
            connections.push(connection(Sender::Http1(sender)));
        }
        connections
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

impl Connection {
    /// Sends a request about an object of this version, and says which version it has then.
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
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        read(answer.unwrap()).await
    }
}

async fn read(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    // The first one is the object's: nothing before it in the answer has a string of this name.
    let text = std::str::from_utf8(&body).unwrap();
    let (_, version) = text.split_once("\"resourceVersion\":\"").unwrap();
    version.split('"').next().unwrap_or_default().to_owned()
}

/// The token stands in the kubeconfig file, which the control plane has written.
fn authorization() -> String {
    let text = std::fs::read_to_string(std::env::var_os("KUBECONFIG").unwrap()).unwrap();
    let (_, token) = text.split_once("token: \"").unwrap();
    format!("Bearer {}", token.split('"').next().unwrap_or_default())
}
