//! A local server that replies to a request with any given bytes, and a real client that uses it as CodePipeline and as STS.

use super::super::{Client, ClientSettings};
use super::sts::{StandIn, signer};
use crate::codepipeline::sdk_config::Chain;
use crate::codepipeline::{CallMetrics, Destination, Operation, RateLimiter, VerifyError};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// What the server sends.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// These bytes, and then it closes the connection.
    Bytes(Vec<u8>),
    /// The first bytes, and then the others endlessly, with a pause after each time.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

pub(super) struct Endpoint {
    url: String,
    server: Arc<Server>,
}

#[derive(Default)]
struct Server {
    replies: Mutex<HashMap<&'static str, Reply>>,
    sts: StandIn,
    written: AtomicUsize,
    /// When the requests to CodePipeline were signed, according to their signatures, and with which access keys and regions.
    signed: Mutex<Vec<(Timestamp, [String; 2])>>,
}

/// The operator's own credentials.
pub(super) fn credentials() -> Credentials {
    Credentials::new("OPERATOR", "secret", None, None, "a test")
}

impl Endpoint {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::<Server>::default();
        let endpoint = Self { url, server: Arc::clone(&server) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                // An error means that the caller closed the connection.
                tokio::spawn(async move { drop(serve(stream, &server).await) });
            }
        });
        endpoint
    }

    pub(super) fn set(&self, operation: Operation, reply: Reply) {
        self.server.replies.lock().unwrap().insert(operation.as_str(), reply);
    }

    /// Sets the reply of STS to GetCallerIdentity. By default, it is the identity with the time of this machine.
    pub(super) fn set_identity(&self, reply: Reply) {
        self.sts().set("GetCallerIdentity", Some(reply));
    }

    /// The STS of this server.
    pub(super) fn sts(&self) -> &StandIn {
        &self.server.sts
    }

    /// The number of bytes of endless replies that were written.
    pub(super) fn written(&self) -> usize {
        self.server.written.load(Ordering::Relaxed)
    }

    /// The number of requests to CodePipeline.
    pub(super) fn requests(&self) -> usize {
        self.signed().len()
    }

    /// When the requests to CodePipeline were signed.
    pub(super) fn signed(&self) -> Vec<Timestamp> {
        self.server.signed.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    /// The access keys and the regions with which the requests to CodePipeline were signed.
    pub(super) fn signers(&self) -> Vec<[String; 2]> {
        self.server.signed.lock().unwrap().iter().map(|(_, signer)| signer.clone()).collect()
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Settings of clients that use this server with credentials of this provider.
    pub(super) fn settings(&self, credentials: impl ProvideCredentials + 'static, timeout: Duration) -> ClientSettings {
        settings_at(&self.url, credentials, timeout)
    }

    /// A client without a connection: a kept one would be useless after a reply that closes it.
    pub(super) async fn client(&self, timeout: Duration) -> Client {
        self.client_with(credentials(), timeout).await
    }

    /// A client with credentials of this provider.
    pub(super) async fn client_with(
        &self,
        credentials: impl ProvideCredentials + 'static,
        timeout: Duration,
    ) -> Client {
        let client = new_client(self.settings(credentials, timeout), Destination::Ambient);
        client.sdk_client().await.unwrap();
        client
    }

    /// Why no client can be loaded.
    pub(super) async fn load_error(&self, timeout: Duration) -> VerifyError {
        let client = new_client(self.settings(credentials(), timeout), Destination::Ambient);
        client.sdk_client().await.unwrap_err()
    }
}

/// Settings of clients that use the server at this URL with credentials of this provider.
pub(super) fn settings_at(
    url: &str,
    credentials: impl ProvideCredentials + 'static,
    timeout: Duration,
) -> ClientSettings {
    let (url, credentials) = (url.to_owned(), SharedCredentialsProvider::new(credentials));
    let chain = move || {
        aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&url)
            .region(Region::new("eu-west-1"))
            .credentials_provider(credentials.clone())
    };
    ClientSettings { timeout, credentials_dir: None, sts_region: None, chain: Chain(Arc::new(chain)) }
}

/// A client that has not loaded anything yet, and whose reads are not limited.
pub(super) fn new_client(settings: ClientSettings, destination: Destination) -> Client {
    Client::new(settings, destination, RateLimiter::new(1e6), CallMetrics::default())
}

async fn serve(mut stream: TcpStream, server: &Server) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = header("content-length").unwrap().parse().unwrap();
    let target = header("x-amz-target");
    while request.len() < head + length {
        stream.read_buf(&mut request).await?;
    }
    let reply = match target {
        Some(target) => {
            let signed = DateTime::strptime("%Y%m%dt%H%M%Sz", header("x-amz-date").unwrap()).unwrap();
            let signer = signer(header("authorization").unwrap());
            server.signed.lock().unwrap().push((signed.to_zoned(TimeZone::UTC).unwrap().timestamp(), signer));
            let replies = server.replies.lock().unwrap();
            let mut replies = replies.iter();
            replies
                .find(|(operation, _)| target.ends_with(&format!(".{}", operation.to_lowercase())))
                .map(|(_, reply)| reply.clone())
        }
        None => {
            let body = String::from_utf8_lossy(&request[head..head + length]).into_owned();
            Some(server.sts.respond(header("authorization").unwrap(), &body))
        }
    };
    match reply {
        None => {}
        Some(Reply::Bytes(bytes)) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
        }
        Some(Reply::Endless(first, rest, pause)) => {
            stream.write_all(&first).await?;
            loop {
                server.written.fetch_add(stream.write(&rest).await?, Ordering::Relaxed);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
        }
    }
    Ok(())
}
