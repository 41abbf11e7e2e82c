//! The control plane: how the two servers are configured, when they are ready, and the API for tests.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::error::{Error, last_lines};
use crate::server::Server;
use crate::user::{Tokens, User, random};

mod second_api_server;
pub use second_api_server::SecondApiServer;

/// A server of Kubernetes 1.30 took 70 s on two cores that forty processes shared.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How many ports are tried before a used port is an error.
const MAX_PORT_ATTEMPTS: usize = 10;

/// etcd, kube-apiserver, and a folder with a kubeconfig file for each [`User`]. They are removed when this is dropped
/// or when its process ends.
#[derive(Debug)]
pub struct ControlPlane {
    binaries: Binaries,
    tokens: Tokens,
    port: u16,
    api_server: Option<Server>,
    etcd: Server,
    /// Dropped after the servers, which write into it.
    folder: TempDir,
}

impl ControlPlane {
    /// Starts the servers and returns when the API server is ready, after a few seconds.
    ///
    /// # Errors
    ///
    /// If a binary is missing, a server exits, or the API server is not ready within a minute.
    pub fn start() -> Result<Self, Error> {
        Self::start_on(Binaries::find()?, free_port)
    }

    fn start_on(binaries: Binaries, mut next_port: impl FnMut() -> io::Result<u16>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir();
        let folder = folder.map_err(Error::io("cannot create a temporary folder"))?;
        let tokens = Tokens::new().map_err(Error::io("cannot read /dev/urandom"))?;
        fs::write(folder.path().join("tokens.csv"), tokens.csv()).map_err(Error::io("cannot write tokens.csv"))?;
        let etcd = Server::start(folder.path(), &binaries.etcd, &etcd_args(folder.path()));
        let etcd = etcd.map_err(Error::io("cannot start etcd under /bin/sh"))?;
        let mut control_plane = Self { binaries, tokens, port: 0, api_server: None, etcd, folder };

        let mut attempts = 1;
        loop {
            control_plane.port = next_port().map_err(Error::io("cannot find a free port on 127.0.0.1"))?;
            match control_plane.start_api_server() {
                // Another process has taken the port since: tests start several control planes at a time.
                Err(Error::PortTaken { .. }) if attempts < MAX_PORT_ATTEMPTS => attempts += 1,
                started => return started.map(|()| control_plane),
            }
        }
    }

    /// The URL of the API server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The kubeconfig file of a user.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    /// kubectl of the API server's version, as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.command(User::Admin, &self.binaries.kubectl)
    }

    /// A program whose environment points to this control plane: `KUBECONFIG` of the user, `KUBECONFIG_ADMIN`,
    /// `KUBECONFIG_OPERATOR` and `KUBECONFIG_DEVELOPER`, and a matching kubectl first in `PATH`.
    #[must_use]
    pub fn command(&self, user: User, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for user in User::ALL {
            command.env(format!("KUBECONFIG_{}", user.name().to_uppercase()), self.kubeconfig(user));
        }
        command
            .env("KUBECONFIG", self.kubeconfig(user))
            .env("PATH", path_with_first(&self.binaries.folder))
            // kubectl must not write a cache to the home folder or read preferences from it.
            .env("KUBECACHEDIR", self.folder.path().join("kubectl-cache"))
            .env("KUBERC", "off");
        command
    }

    /// Kills the API server without a graceful shutdown. etcd keeps the data.
    pub fn stop_api_server(&mut self) {
        if let Some(server) = self.api_server.take() {
            server.stop();
        }
    }

    /// Restarts the API server after [`ControlPlane::stop_api_server`] with the same URL, data and users, and returns
    /// when it is ready.
    ///
    /// # Errors
    ///
    /// If it exits, is not ready within a minute, or another process uses its port.
    pub fn start_api_server(&mut self) -> Result<(), Error> {
        if let Some(server) = &mut self.api_server
            && !server.has_exited()
        {
            return Ok(());
        }
        let folder = self.folder.path();
        let server = Server::start(folder, &self.binaries.kube_apiserver, &api_server_args(folder, self.port));
        let mut server = server.map_err(Error::io("cannot start kube-apiserver under /bin/sh"))?;
        match self.wait_until_ready(&mut server) {
            Ok(()) => {
                self.api_server = Some(server);
                Ok(())
            }
            Err(error) => {
                // Dropping it would remove the folder, which the attempt with the next port needs.
                server.stop();
                Err(error)
            }
        }
    }

    /// Restarts the API server with another CA and certificate, and returns when it is ready. The kubeconfig files are written
    /// again. The tokens of ServiceAccounts become invalid, because the key of the certificate signs them.
    ///
    /// # Errors
    ///
    /// The same as those of [`ControlPlane::start_api_server`].
    pub fn rotate_certificates(&mut self) -> Result<(), Error> {
        self.stop_api_server();
        let removed = fs::remove_dir_all(self.folder.path().join("certificates"));
        removed.map_err(Error::io("cannot remove the certificates of the API server"))?;
        self.start_api_server()
    }

    /// The CA certificate of the API server, in PEM format.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn ca_certificate(&self) -> io::Result<String> {
        let certificates = fs::read_to_string(self.folder.path().join("certificates/apiserver.crt"))?;
        Ok(ca_certificate(&certificates).to_owned())
    }

    fn wait_until_ready(&mut self, server: &mut Server) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if server.has_exited() {
                let log = server.log();
                return Err(if log.contains("address already in use") {
                    Error::PortTaken { port: self.port }
                } else {
                    Error::Ended { server: "kube-apiserver", lines: last_lines(&log) }
                });
            }
            if self.etcd.has_exited() {
                return Err(Error::Ended { server: "etcd", lines: last_lines(&self.etcd.log()) });
            }
            if self.is_ready()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let lines = last_lines(&server.log());
                return Err(Error::NotReady { seconds: START_TIMEOUT.as_secs(), lines });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> Result<bool, Error> {
        // kubectl uses 0.1 s of CPU time, which the servers need during their start: first check whether the port is
        // open.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            return Ok(false);
        }
        // The API server creates its certificate before it listens. Without one, another process listens on the port.
        let Ok(certificates) = fs::read_to_string(self.folder.path().join("certificates/apiserver.crt")) else {
            return Ok(false);
        };
        for (user, text) in self.tokens.kubeconfigs(&self.url(), ca_certificate(&certificates)) {
            fs::write(self.kubeconfig(user), text).map_err(Error::io("cannot write a kubeconfig file"))?;
        }
        // The API server creates namespaces after its start, and `/readyz` does not wait for them.
        Ok(self.responds("/readyz")? && self.responds("/api/v1/namespaces/default")?)
    }

    fn responds(&self, path: &str) -> Result<bool, Error> {
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "--request-timeout=5s", "--raw", path]);
        let status = kubectl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.map_err(Error::io("cannot run kubectl"))?.success())
    }
}

/// etcd listens on sockets in its folder, so that it needs no ports and no other process connects to it. The URLs need
/// the form HOST:PORT: these are the files `client:1` and `peer:1` in the working directory of the servers.
const ETCD_URL: &str = "unix://client:1";
const ETCD_SOCKET: &str = "client:1";
const ETCD_PEER_URL: &str = "unix://peer:1";

fn etcd_args(folder: &Path) -> Vec<String> {
    vec![
        "--name=control-plane".into(),
        format!("--data-dir={}/etcd", folder.display()),
        format!("--listen-client-urls={ETCD_URL}"),
        format!("--advertise-client-urls={ETCD_URL}"),
        format!("--listen-peer-urls={ETCD_PEER_URL}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER_URL}"),
        format!("--initial-cluster=control-plane={ETCD_PEER_URL}"),
        "--log-level=warn".into(),
        // The data is not needed after a crash of the machine.
        "--unsafe-no-fsync=true".into(),
    ]
}

fn api_server_args(folder: &Path, port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers={ETCD_URL}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // It creates a self-signed certificate there once.
        format!("--cert-dir={folder}/certificates"),
        format!("--token-auth-file={folder}/tokens.csv"),
        "--authorization-mode=RBAC".into(),
        // The other default plugins are on. This one rejects pods until a controller, which does not exist here, has
        // created the service account of the namespace.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--allow-privileged=true".into(),
        // The key of the certificate also signs the tokens of service accounts, which avoids generating another key.
        format!("--service-account-issuer=https://127.0.0.1:{port}/"),
        format!("--service-account-key-file={folder}/certificates/apiserver.key"),
        format!("--service-account-signing-key-file={folder}/certificates/apiserver.key"),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        // The endpoints of the service `kubernetes` must not be on loopback: the server would log an error every 10 s.
        "--endpoint-reconciler-type=none".into(),
    ]
}

/// The last certificate of the file, which is the CA of the first.
fn ca_certificate(certificates: &str) -> &str {
    let start = certificates.rfind("-----BEGIN").unwrap_or_default();
    certificates.get(start..).unwrap_or_default()
}

/// A free port below the ephemeral range, so that no outgoing connection takes the port while the API server is
/// stopped.
fn free_port() -> io::Result<u16> {
    let mut attempts = 0;
    loop {
        let port = 20_000 + u16::from_ne_bytes(random()?) % 10_000;
        attempts += 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if attempts == 100 => return Err(error),
            Err(_) => {}
        }
    }
}

fn path_with_first(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::write_script;

    /// A folder with shell scripts as binaries.
    fn scripts(etcd: &str, kube_apiserver: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [("etcd", etcd), ("kube-apiserver", kube_apiserver), ("kubectl", "exit 1")] {
            write_script(&folder.path().join(name), &format!("#!/bin/sh\n{script}\n")).unwrap();
        }
        folder
    }

    fn start_error(scripts: &TempDir) -> String {
        let binaries = Binaries::in_folder(scripts.path(), "").unwrap();
        ControlPlane::start_on(binaries, free_port).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_missing_binary_and_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let error = Binaries::in_folder(folder.path(), "run `make control-plane`").unwrap_err().to_string();
        assert_eq!(error, format!("no etcd in {}: run `make control-plane`", folder.path().display()));
    }

    #[test]
    fn an_error_quotes_an_api_server_that_exits() {
        let error = start_error(&scripts("exec sleep 600", "echo unknown flag >&2; exit 1"));
        assert_eq!(error, "kube-apiserver exited during its start; the end of its log:\nunknown flag");
    }

    #[test]
    fn an_error_quotes_an_etcd_that_exits() {
        let error = start_error(&scripts("echo no space left on device >&2; exit 1", "exec sleep 600"));
        assert_eq!(error, "etcd exited during its start; the end of its log:\nno space left on device");
    }

    #[test]
    fn a_used_port_is_replaced_by_another() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let mut first = Some(taken);
        let control_plane =
            ControlPlane::start_on(Binaries::find().unwrap(), || first.take().map_or_else(free_port, Ok)).unwrap();
        assert_ne!(control_plane.port, taken);
        assert!(control_plane.kubectl().arg("version").stdout(Stdio::null()).status().unwrap().success());
    }
}
