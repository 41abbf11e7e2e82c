//! A local server that replies to a request with any given bytes, and a real client that uses it as CodePipeline and as STS.

use super::super::{Client, ClientSettings, load};
use super::raw_response::RawResponse;
use crate::codepipeline::{CallMetrics, Operation, RateLimiter};
use crate::proxy::ProxySettings;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
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

/// The key of the replies to STS.
const STS: &str = "STS";

pub(super) struct Endpoint {
    url: String,
    server: Arc<Server>,
}

#[derive(Default)]
struct Server {
    replies: Mutex<HashMap<&'static str, Reply>>,
    written: AtomicUsize,
    /// When the requests to CodePipeline were signed, according to their signatures.
    signed: Mutex<Vec<Timestamp>>,
}

/// A `Date` header that is ahead of the clock of this machine.
pub(super) fn date(ahead: SignedDuration) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead)).unwrap()
}

/// The response of STS to GetCallerIdentity.
pub(super) fn identity() -> RawResponse {
    let result = "<UserId>ID</UserId><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/OPERATOR</Arn>";
    let body = format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult>{result}</GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    RawResponse::plain(200, body.as_bytes())
}

/// Settings with this timeout.
pub(super) fn settings(timeout: Duration) -> ClientSettings {
    ClientSettings { credentials_dir: None, timeout, sts_region: None, proxies: ProxySettings::from_env().unwrap() }
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

    /// Sets the reply to STS. By default, it is the identity with the time of this machine.
    pub(super) fn set_identity(&self, reply: Reply) {
        self.server.replies.lock().unwrap().insert(STS, reply);
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
        self.server.signed.lock().unwrap().clone()
    }

    /// A client without a connection: a kept one would be useless after a reply that closes it.
    pub(super) async fn client(&self, timeout: Duration) -> Client {
        self.client_with(Credentials::new("OPERATOR", "secret", None, None, "a test"), timeout).await
    }

    /// A client with credentials of this provider.
    pub(super) async fn client_with(
        &self,
        credentials: impl ProvideCredentials + 'static,
        timeout: Duration,
    ) -> Client {
        self.load(credentials, timeout).await.unwrap()
    }

    /// The same, or why it cannot be loaded.
    pub(super) async fn load(
        &self,
        credentials: impl ProvideCredentials + 'static,
        timeout: Duration,
    ) -> Result<Client, String> {
        let credentials = SharedCredentialsProvider::new(credentials);
        let chain = || {
            aws_config::defaults(BehaviorVersion::latest())
                .endpoint_url(&self.url)
                .region(Region::new("eu-west-1"))
                .credentials_provider(credentials.clone())
        };
        let settings = settings(timeout);
        let loaded = load(chain, &settings).await?;
        let client = Client::new(settings, RateLimiter::new(1e6), CallMetrics::default());
        let cached = client.cache_entry(&Ok(loaded));
        *client.shared.cached.lock().await = cached;
        Ok(client)
    }
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
            server.signed.lock().unwrap().push(signed.to_zoned(TimeZone::UTC).unwrap().timestamp());
            let replies = server.replies.lock().unwrap();
            let mut replies = replies.iter();
            replies
                .find(|(operation, _)| target.ends_with(&format!(".{}", operation.to_lowercase())))
                .map(|(_, reply)| reply.clone())
        }
        None => {
            let reply = server.replies.lock().unwrap().get(STS).cloned();
            Some(reply.unwrap_or_else(|| Reply::Bytes(identity().with("Date", date(SignedDuration::ZERO)).bytes())))
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
