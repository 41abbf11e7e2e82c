//! A caller of an endpoint, for the binary's commands and for tests: just enough HTTP for one request a connection. It
//! signs in name only, as the endpoint asks for no more.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::TcpStream;

/// Where to send requests.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    authority: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why nothing useful came back.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ClientError {
    #[error("`{0}` is not an endpoint: write http://HOST:PORT, as `local-codepipeline serve` prints it")]
    NotAnEndpoint(String),
    #[error("nothing answers at {endpoint} ({source}): start an endpoint with `local-codepipeline serve`")]
    Unreachable { endpoint: String, source: std::io::Error },
    #[error("{endpoint} did not answer: {source}")]
    NoAnswer { endpoint: String, source: hyper::Error },
    #[error("{kind}: {message}")]
    Refused { kind: String, message: String },
    #[error("{endpoint} answered something else than this program expects, is it a local-codepipeline? {what}")]
    NotUnderstood { endpoint: String, what: String },
}

impl Client {
    /// A caller of the endpoint at this URL.
    pub fn new(endpoint: &str) -> Result<Self, ClientError> {
        let authority = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority {
            Some(authority) if authority.contains(':') && !authority.contains('/') => {
                Ok(Self { endpoint: endpoint.to_owned(), authority: authority.to_owned() })
            }
            _ => Err(ClientError::NotAnEndpoint(endpoint.to_owned())),
        }
    }

    /// A caller of an endpoint in this process.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { endpoint: format!("http://{address}"), authority: address.to_string() }
    }

    /// An operation of the service, on behalf of the user with this access key.
    pub async fn operation(
        &self,
        user: &str,
        operation: impl std::fmt::Display,
        input: &impl Serialize,
    ) -> Result<Value, ClientError> {
        let credential = format!("{user}/20150709/us-east-1/codepipeline/aws4_request");
        let signature = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none");
        let request = Request::post("/")
            .header(AUTHORIZATION, signature)
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("CodePipeline_20150709.{operation}"));
        self.read(self.send(request, Some(&self.write(input)?)).await?)
    }

    /// A command of the control routes.
    pub async fn command(&self, command: &impl Serialize) -> Result<Value, ClientError> {
        self.post("/local/commands", command).await
    }

    /// Posts to a control route.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.read(self.send(request, Some(&self.write(body)?)).await?)
    }

    /// Reads a control route.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.send(Request::builder().method(Method::GET).uri(path), None).await?)
    }

    /// Sends a request as it is.
    pub async fn send(
        &self,
        request: axum::http::request::Builder,
        body: Option<&[u8]>,
    ) -> Result<Answer, ClientError> {
        let endpoint = || self.endpoint.clone();
        let no_answer = |source| ClientError::NoAnswer { endpoint: endpoint(), source };
        let unreachable = |source| ClientError::Unreachable { endpoint: endpoint(), source };
        let stream = TcpStream::connect(&self.authority).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        tokio::spawn(connection);
        let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
        let request = request.header(HOST, &self.authority).body(body).map_err(|error| self.odd(error))?;
        let answer = sender.send_request(request).await.map_err(no_answer)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(no_answer)?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn write(&self, body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(body).map_err(|error| self.odd(error))
    }

    fn read<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, ClientError> {
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body).map_err(|error| self.odd(error));
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let member = |name| body.get(name).and_then(Value::as_str).map(str::to_owned);
        match (member("__type"), member("message")) {
            (Some(kind), Some(message)) => Err(ClientError::Refused { kind, message }),
            _ => Err(self.odd(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))),
        }
    }

    fn odd(&self, what: impl ToString) -> ClientError {
        ClientError::NotUnderstood { endpoint: self.endpoint.clone(), what: what.to_string() }
    }
}
