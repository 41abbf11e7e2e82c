//! A local server that replies to a request with any given bytes, and a real client that uses it as CodePipeline.

use super::super::{CachedClient, Client, SdkClient, load};
use crate::codepipeline::{CallMetrics, Operation, RateLimiter};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
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
    replies: Arc<Mutex<HashMap<&'static str, Reply>>>,
    written: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Endpoint {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (replies, written, connections) = (Arc::default(), Arc::default(), Arc::default());
        let endpoint = Self {
            url,
            replies: Arc::clone(&replies),
            written: Arc::clone(&written),
            connections: Arc::clone(&connections),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (replies, written) = (Arc::clone(&replies), Arc::clone(&written));
                // An error means that the caller closed the connection.
                tokio::spawn(async move { drop(serve(stream, &replies, &written).await) });
            }
        });
        endpoint
    }

    pub(super) fn set(&self, operation: Operation, reply: Reply) {
        self.replies.lock().unwrap().insert(operation.as_str(), reply);
    }

    /// The number of bytes of endless replies that were written.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// The number of requests: a reply of bytes closes its connection.
    pub(super) fn requests(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
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
        let chain = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new("eu-west-1"))
            .credentials_provider(credentials);
        let loaded = SdkClient { client: load(chain, timeout).await.unwrap(), loaded_at: Instant::now() };
        let client = Client::new(timeout, RateLimiter::new(1e6), CallMetrics::default());
        *client.shared.cached.lock().await = CachedClient::Loaded(loaded);
        client
    }
}

async fn serve(
    mut stream: TcpStream,
    replies: &Mutex<HashMap<&'static str, Reply>>,
    written: &AtomicUsize,
) -> std::io::Result<()> {
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
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
    let length: usize = header("content-length").parse().unwrap();
    let target = header("x-amz-target");
    while request.len() < head + length {
        stream.read_buf(&mut request).await?;
    }
    let reply = replies.lock().unwrap().iter().find_map(|(operation, reply)| {
        target.ends_with(&format!(".{}", operation.to_lowercase())).then(|| reply.clone())
    });
    match reply {
        None => {}
        Some(Reply::Bytes(bytes)) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
        }
        Some(Reply::Endless(first, rest, pause)) => {
            stream.write_all(&first).await?;
            loop {
                written.fetch_add(stream.write(&rest).await?, Ordering::Relaxed);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
        }
    }
    Ok(())
}
