//! An HTTP proxy with a user name and a password, as companies run them: it opens tunnels (CONNECT) and forwards plain requests.
//! The test maps the hosts that the operator names to servers of its own, so the operator can use the real names of AWS. Where the
//! operator expects TLS and the server has none, the proxy has a certificate for the host.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// The header of the user `me` with the password `secret`.
const AUTHORIZATION: &str = "proxy-authorization: basic bwu6c2vjcmv0\r\n";

/// Where the proxy connects to for a host.
#[derive(Clone, Copy, Debug)]
pub enum Upstream {
    /// A server that speaks what the operator speaks.
    Plain(SocketAddr),
    /// A server without TLS, for an operator that expects TLS.
    Tls(SocketAddr),
}

/// A proxy. Dropping it stops it.
pub struct ConnectProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    certificate: PathBuf,
    _folder: TempDir,
    accepting: AbortHandle,
}

struct Server {
    upstreams: BTreeMap<String, Upstream>,
    acceptor: TlsAcceptor,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// Starts a proxy that knows these hosts, each with its port. It refuses all others.
    pub async fn start<H: Into<String>>(upstreams: impl IntoIterator<Item = (H, Upstream)>) -> Self {
        let upstreams: BTreeMap<_, _> = upstreams.into_iter().map(|(host, to)| (host.into(), to)).collect();
        let names: Vec<_> = upstreams.keys().map(|host| host.rsplit_once(':').unwrap().0.to_owned()).collect();
        let generated = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("certificate.pem");
        std::fs::write(&certificate, generated.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(generated.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![generated.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = Arc::new(Server { upstreams, acceptor, requests: requests.clone() });
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = server.clone();
                // An error means that one of the two closed the connection.
                tokio::spawn(async move { drop(server.serve(client).await) });
            }
        });
        Self { address, requests, certificate, _folder: folder, accepting: accepting.abort_handle() }
    }

    /// The URL, with user name and password.
    pub fn url(&self) -> String {
        format!("http://me:secret@{}", self.address)
    }

    /// The file with the certificate of the hosts, for `SSL_CERT_FILE`.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The hosts that were asked for, each with its port.
    pub fn hosts(&self) -> BTreeSet<String> {
        self.requests.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_tunnel = method == "CONNECT";
        let host = if is_tunnel {
            target.to_owned()
        } else {
            let authority = target.strip_prefix("http://").unwrap_or_default();
            let authority = authority.split('/').next().unwrap_or_default();
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") }
        };
        self.requests.lock().unwrap().push(host.clone());
        if !text.to_lowercase().contains(AUTHORIZATION) {
            return client.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await;
        }
        let Some(upstream) = self.upstreams.get(&host) else {
            return client.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
        };
        let (Upstream::Plain(address) | Upstream::Tls(address)) = upstream;
        let mut server = TcpStream::connect(address).await?;
        if is_tunnel {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        } else {
            server.write_all(&head).await?;
        }
        match upstream {
            Upstream::Plain(_) => copy_bidirectional(&mut client, &mut server).await?,
            Upstream::Tls(_) => copy_bidirectional(&mut self.acceptor.accept(client).await?, &mut server).await?,
        };
        Ok(())
    }
}
