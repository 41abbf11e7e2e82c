//! A second API server on the same etcd, whose link to it can be held: then it goes on telling what it knew before, as one does
//! that lags behind the other.

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

use super::{ControlPlane, ETCD_SOCKET, LONGEST_START, api_server_args, authority, free_port};
use crate::error::{Error, last_lines};
use crate::server::Server;
use crate::user::User;

/// The second API server, which knows the same users. It is gone when it is dropped.
#[derive(Debug)]
pub struct SecondApiServer {
    server: Server,
    link: Link,
    /// After the server, which writes into it.
    folder: TempDir,
}

impl ControlPlane {
    /// Starts a second API server and returns when it is ready.
    ///
    /// # Errors
    ///
    /// Where it ends, or isn't ready within a minute.
    pub fn start_second_api_server(&self) -> Result<SecondApiServer, Error> {
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir();
        let folder = folder.map_err(Error::doing("making a temporary folder"))?;
        let prepared = self.prepare(folder.path()).and_then(|()| free_port());
        let port = prepared.map_err(Error::doing("preparing a second API server"))?;
        // Where it looks for etcd is what this listens on.
        let link = Link::between(&folder.path().join(ETCD_SOCKET), self.folder.path().join(ETCD_SOCKET));
        let link = link.map_err(Error::doing("listening instead of etcd"))?;
        let server = Server::start(folder.path(), &self.programs.kube_apiserver, &api_server_args(folder.path(), port));
        let server = server.map_err(Error::doing("starting kube-apiserver under /bin/sh"))?;
        let mut second = SecondApiServer { server, link, folder };
        let certificates = second.folder.path().join("certificates/apiserver.crt");
        let certificates = fs::read_to_string(certificates).map_err(Error::doing("reading its certificates"))?;
        for (user, text) in self.tokens.kubeconfigs(&format!("https://127.0.0.1:{port}"), authority(&certificates)) {
            fs::write(second.kubeconfig(user), text).map_err(Error::doing("writing a kubeconfig file"))?;
        }
        let deadline = Instant::now() + LONGEST_START;
        while !self.answers_by(&second.kubeconfig(User::Admin))? {
            let lines = last_lines(&second.server.log());
            if second.server.has_ended() {
                return Err(Error::Ended { server: "kube-apiserver", lines });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady { seconds: LONGEST_START.as_secs(), lines });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(second)
    }

    /// The same users and certificates as the first has.
    fn prepare(&self, folder: &Path) -> io::Result<()> {
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates)?;
        for file in ["tokens.csv", "certificates/apiserver.crt", "certificates/apiserver.key"] {
            fs::copy(self.folder.path().join(file), folder.join(file))?;
        }
        Ok(())
    }

    fn answers_by(&self, kubeconfig: &Path) -> Result<bool, Error> {
        let mut kubectl = self.kubectl();
        kubectl.env("KUBECONFIG", kubeconfig).args(["get", "--request-timeout=5s", "--raw", "/readyz"]);
        let status = kubectl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.map_err(Error::doing("running kubectl"))?.success())
    }
}

impl SecondApiServer {
    /// The kubeconfig file of a user who comes to it.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    /// Whether it hears nothing more of etcd, from now on.
    pub fn hold(&self, is_held: bool) {
        self.link.gate.hold(is_held);
    }
}

/// Passes on what the server and etcd tell each other.
#[derive(Debug)]
struct Link {
    gate: Arc<Gate>,
    near: PathBuf,
    is_over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Gate {
    is_held: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn hold(&self, is_held: bool) {
        *self.is_held.lock().unwrap_or_else(PoisonError::into_inner) = is_held;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let is_held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_held, |is_held| *is_held));
    }
}

impl Link {
    fn between(near: &Path, etcd: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(near)?;
        let link = Self { gate: Arc::default(), near: near.to_owned(), is_over: Arc::default() };
        let (gate, is_over) = (link.gate.clone(), link.is_over.clone());
        thread::spawn(move || {
            for server in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Where etcd has gone, the server is told by a connection that closes.
                let Ok((server, etcd)) = server.and_then(|server| Ok((server, UnixStream::connect(&etcd)?))) else {
                    continue;
                };
                let Ok((to_server, from_server)) = server.try_clone().and_then(|to| Ok((to, etcd.try_clone()?))) else {
                    continue;
                };
                let gate = gate.clone();
                thread::spawn(move || copy(etcd, to_server, || gate.pass()));
                thread::spawn(move || copy(server, from_server, || {}));
            }
        });
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.gate.hold(false);
        // Wakes whoever waits for the next connection.
        let _ = UnixStream::connect(&self.near);
    }
}

fn copy(mut from: UnixStream, mut to: UnixStream, before_each: impl Fn()) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        before_each();
        if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
