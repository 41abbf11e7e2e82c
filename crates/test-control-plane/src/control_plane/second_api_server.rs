//! A second API server with the same etcd. Its connection to etcd can be paused: then it serves stale data, like an API
//! server that lags behind the other.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{ControlPlane, ETCD_SOCKET, START_TIMEOUT, api_server_args, ca_certificate, free_port};
use crate::error::{Error, last_lines};
use crate::server::Server;
use crate::user::User;

/// The second API server, with the same users. Dropping it stops and removes it.
#[derive(Debug)]
pub struct SecondApiServer {
    server: Server,
    proxy: EtcdProxy,
    /// Dropped after the server, which writes into it.
    folder: TempDir,
}

impl ControlPlane {
    /// Starts a second API server and returns when it is ready.
    ///
    /// # Errors
    ///
    /// If it exits, or is not ready within a minute.
    pub fn start_second_api_server(&self) -> Result<SecondApiServer, Error> {
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir();
        let folder = folder.map_err(Error::io("cannot create a temporary folder"))?;
        let prepared = self.prepare(folder.path()).and_then(|()| free_port());
        let port = prepared.map_err(Error::io("cannot prepare a second API server"))?;
        // The API server connects to this socket in its folder instead of etcd's.
        let proxy = EtcdProxy::start(&folder.path().join(ETCD_SOCKET), self.folder.path().join(ETCD_SOCKET));
        let proxy = proxy.map_err(Error::io("cannot listen on the socket of the etcd proxy"))?;
        let server = Server::start(folder.path(), &self.binaries.kube_apiserver, &api_server_args(folder.path(), port));
        let server = server.map_err(Error::io("cannot start kube-apiserver under /bin/sh"))?;
        let mut second = SecondApiServer { server, proxy, folder };
        let certificates = second.folder.path().join("certificates/apiserver.crt");
        let certificates = fs::read_to_string(certificates)
            .map_err(Error::io("cannot read the certificates of the second API server"))?;
        for (user, text) in self.tokens.kubeconfigs(&format!("https://127.0.0.1:{port}"), ca_certificate(&certificates))
        {
            fs::write(second.kubeconfig(user), text).map_err(Error::io("cannot write a kubeconfig file"))?;
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.is_ready_at(&second.kubeconfig(User::Admin))? {
            let lines = last_lines(&second.server.log());
            if second.server.has_exited() {
                return Err(Error::Ended { server: "kube-apiserver", lines });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady { seconds: START_TIMEOUT.as_secs(), lines });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(second)
    }

    /// Copies the users and certificates of the first API server.
    fn prepare(&self, folder: &Path) -> io::Result<()> {
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates)?;
        for file in ["tokens.csv", "certificates/apiserver.crt", "certificates/apiserver.key"] {
            fs::copy(self.folder.path().join(file), folder.join(file))?;
        }
        Ok(())
    }

    fn is_ready_at(&self, kubeconfig: &Path) -> Result<bool, Error> {
        let mut kubectl = self.kubectl();
        kubectl.env("KUBECONFIG", kubeconfig).args(["get", "--request-timeout=5s", "--raw", "/readyz"]);
        let status = kubectl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.map_err(Error::io("cannot run kubectl"))?.success())
    }
}

impl SecondApiServer {
    /// The kubeconfig file of a user for this API server.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    /// Pauses or resumes the data from etcd.
    pub fn set_etcd_paused(&self, paused: bool) {
        self.proxy.gate.set_paused(paused);
    }
}

/// Forwards the traffic between the API server and etcd.
#[derive(Debug)]
struct EtcdProxy {
    gate: Arc<Gate>,
    socket: PathBuf,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Gate {
    paused: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set_paused(&self, paused: bool) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
        self.changed.notify_all();
    }

    fn wait_while_paused(&self) {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(paused, |paused| *paused));
    }
}

impl EtcdProxy {
    fn start(socket: &Path, etcd: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let proxy = Self { gate: Arc::default(), socket: socket.to_owned(), stopped: Arc::default() };
        let (gate, stopped) = (proxy.gate.clone(), proxy.stopped.clone());
        thread::spawn(move || {
            for server in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // If etcd does not accept the connection, closing the API server's connection reports it.
                let Ok((server, etcd)) = server.and_then(|server| Ok((server, UnixStream::connect(&etcd)?))) else {
                    continue;
                };
                let Ok((to_server, from_server)) = server.try_clone().and_then(|to| Ok((to, etcd.try_clone()?))) else {
                    continue;
                };
                let gate = gate.clone();
                thread::spawn(move || forward(etcd, to_server, || gate.wait_while_paused()));
                thread::spawn(move || forward(server, from_server, || {}));
            }
        });
        Ok(proxy)
    }
}

impl Drop for EtcdProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.gate.set_paused(false);
        // Wakes the thread that waits for the next connection.
        let _ = UnixStream::connect(&self.socket);
    }
}

fn forward(mut from: UnixStream, mut to: UnixStream, before_each_write: impl Fn()) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        before_each_write();
        if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
