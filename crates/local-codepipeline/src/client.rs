//! A client of the endpoint for the command line and for tests. It opens one connection for each request and does not
//! sign requests: it sends a placeholder signature, because the endpoint does not verify signatures.

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

use crate::model::Account;

/// A client of one endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    authority: String,
}

/// A response of the endpoint.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Who signs a request, and for which region. A user name is the user in the default account.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The access key.
    pub access_key: String,
    /// The region of the signature.
    pub region: String,
    /// The token of a session.
    pub session_token: Option<String>,
}

impl From<&str> for Signer {
    fn from(user: &str) -> Self {
        Self { access_key: user.to_owned(), region: "us-east-1".to_owned(), session_token: None }
    }
}

impl Signer {
    /// Adds the signature to a request to this AWS service.
    #[must_use]
    pub fn sign(&self, request: axum::http::request::Builder, service: &str) -> axum::http::request::Builder {
        let Self { access_key, region, session_token } = self;
        let credential = format!("{access_key}/20150709/{region}/{service}/aws4_request");
        let signature = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none");
        let request = request.header(AUTHORIZATION, signature);
        match session_token {
            Some(token) => request.header("x-amz-security-token", token),
            None => request,
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ClientError {
    #[error("`{0}` is not the URL of an endpoint: write http://HOST:PORT, as `local-codepipeline serve` prints it")]
    InvalidEndpoint(String),
    #[error("cannot connect to {endpoint} ({source}): start an endpoint with `local-codepipeline serve`")]
    Unreachable { endpoint: String, source: std::io::Error },
    #[error("{endpoint} did not respond: {source}")]
    NoResponse { endpoint: String, source: hyper::Error },
    #[error("{kind}: {message}")]
    Refused { kind: String, message: String },
    #[error("unexpected response from {endpoint}; check that it is a local-codepipeline endpoint: {details}")]
    UnexpectedResponse { endpoint: String, details: String },
}

impl Client {
    /// A client of the endpoint at this URL.
    pub fn new(endpoint: &str) -> Result<Self, ClientError> {
        let authority = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority {
            Some(authority) if authority.contains(':') && !authority.contains('/') => {
                Ok(Self { endpoint: endpoint.to_owned(), authority: authority.to_owned() })
            }
            _ => Err(ClientError::InvalidEndpoint(endpoint.to_owned())),
        }
    }

    /// A client of the endpoint at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { endpoint: format!("http://{address}"), authority: address.to_string() }
    }

    /// Calls an operation.
    pub async fn operation(
        &self,
        signer: impl Into<Signer>,
        operation: impl std::fmt::Display,
        input: &impl Serialize,
    ) -> Result<Value, ClientError> {
        let request = signer
            .into()
            .sign(Request::post("/"), "codepipeline")
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("CodePipeline_20150709.{operation}"));
        self.decode(self.send(request, Some(&self.encode(input)?)).await?)
    }

    /// Sends a command to the control routes, for the default account.
    pub async fn command(&self, command: &impl Serialize) -> Result<Value, ClientError> {
        self.post("/local/commands", command).await
    }

    /// Sends a command to the control routes, for this account and region.
    pub async fn command_in(&self, account: &Account, command: &impl Serialize) -> Result<Value, ClientError> {
        self.post(&format!("/local/accounts/{}/{}/commands", account.id, account.region), command).await
    }

    /// Sends a POST request to a control route.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.decode(self.send(request, Some(&self.encode(body)?)).await?)
    }

    /// Sends a GET request to a control route.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.decode(self.send(Request::builder().method(Method::GET).uri(path), None).await?)
    }

    /// Sends a request unchanged.
    pub async fn send(
        &self,
        request: axum::http::request::Builder,
        body: Option<&[u8]>,
    ) -> Result<Response, ClientError> {
        let endpoint = || self.endpoint.clone();
        let no_response = |source| ClientError::NoResponse { endpoint: endpoint(), source };
        let unreachable = |source| ClientError::Unreachable { endpoint: endpoint(), source };
        let stream = TcpStream::connect(&self.authority).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_response)?;
        tokio::spawn(connection);
        let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
        let request = request.header(HOST, &self.authority).body(body).map_err(|error| self.unexpected(error))?;
        let response = sender.send_request(request).await.map_err(no_response)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(no_response)?.to_bytes();
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn encode(&self, body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(body).map_err(|error| self.unexpected(error))
    }

    fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        if (200..300).contains(&response.status) {
            return serde_json::from_slice(&response.body).map_err(|error| self.unexpected(error));
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let member = |name| body.get(name).and_then(Value::as_str).map(str::to_owned);
        match (member("__type"), member("message")) {
            (Some(kind), Some(message)) => Err(ClientError::Refused { kind, message }),
            _ => Err(self.unexpected(format!("{} {}", response.status, String::from_utf8_lossy(&response.body)))),
        }
    }

    fn unexpected(&self, details: impl ToString) -> ClientError {
        ClientError::UnexpectedResponse { endpoint: self.endpoint.clone(), details: details.to_string() }
    }
}
