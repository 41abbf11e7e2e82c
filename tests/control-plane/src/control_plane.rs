//! The control plane itself: how the two servers are set up, when they are ready, and what tests ask of them. How
//! they are kept from outliving their owner is in `server`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Error, last_lines};
use crate::programs::Programs;
use crate::server::Server;
use crate::user::{Tokens, User, random};

mod second;
pub use second::SecondApiServer;

const LONGEST_START: Duration = Duration::from_secs(60);

/// Ports that are tried before it is an error that all of them are taken.
const PORTS: usize = 10;

/// etcd and kube-apiserver, and a folder with a kubeconfig file for each [`User`]. All of it is gone when it is
/// dropped, and when the process that has it dies.
#[derive(Debug)]
pub struct ControlPlane {
    programs: Programs,
    tokens: Tokens,
    port: u16,
    api_server: Option<Server>,
    etcd: Server,
    /// After the servers, which write into it.
    folder: TempDir,
}

impl ControlPlane {
    /// Starts the servers and returns when the API server is ready, which takes a few seconds.
    ///
    /// # Errors
    ///
    /// Where the programs are missing, a server ends, or the API server isn't ready within a minute.
    pub fn start() -> Result<Self, Error> {
        Self::start_on(Programs::find()?, free_port)
    }

    fn start_on(programs: Programs, mut next_port: impl FnMut() -> io::Result<u16>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir();
        let folder = folder.map_err(Error::doing("making a temporary folder"))?;
        let tokens = Tokens::new().map_err(Error::doing("reading /dev/urandom"))?;
        fs::write(folder.path().join("tokens.csv"), tokens.csv()).map_err(Error::doing("writing tokens.csv"))?;
        let etcd = Server::start(folder.path(), &programs.etcd, &etcd_args(folder.path()));
        let etcd = etcd.map_err(Error::doing("starting etcd under /bin/sh"))?;
        let mut control_plane = Self { programs, tokens, port: 0, api_server: None, etcd, folder };

        let mut ports = 1;
        loop {
            control_plane.port = next_port().map_err(Error::doing("looking for a free port of 127.0.0.1"))?;
            match control_plane.start_api_server() {
                // Another process has taken it since: tests start several control planes at a time.
                Err(Error::PortTaken { .. }) if ports < PORTS => ports += 1,
                started => return started.map(|()| control_plane),
            }
        }
    }

    /// Where the API server listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The kubeconfig file of a user.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    /// kubectl, of the API server's version, as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.command(User::Admin, &self.programs.kubectl)
    }

    /// Any program, in an environment in which it and all that it starts use this control plane as `user`:
    /// `KUBECONFIG` is the user's, `KUBECONFIG_ADMIN`, `KUBECONFIG_OPERATOR` and `KUBECONFIG_DEVELOPER` are at hand,
    /// and kubectl is the first one in `PATH`.
    #[must_use]
    pub fn command(&self, user: User, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for user in User::ALL {
            command.env(format!("KUBECONFIG_{}", user.name().to_uppercase()), self.kubeconfig(user));
        }
        command
            .env("KUBECONFIG", self.kubeconfig(user))
            .env("PATH", path_with(&self.programs.folder))
            // Nothing of this control plane stays in the home folder, and no preferences in it change what kubectl
            // does.
            .env("KUBECACHEDIR", self.folder.path().join("kubectl-cache"))
            .env("KUBERC", "off");
        command
    }

    /// Ends the API server, at once and without a farewell to its clients. What it has stored stays.
    pub fn stop_api_server(&mut self) {
        if let Some(server) = self.api_server.take() {
            server.stop();
        }
    }

    /// Starts the API server again after [`ControlPlane::stop_api_server`], at the same URL with the same data and
    /// the same users, and returns when it is ready.
    ///
    /// # Errors
    ///
    /// Where it ends, isn't ready within a minute, or another process has its port by now.
    pub fn start_api_server(&mut self) -> Result<(), Error> {
        if let Some(server) = &mut self.api_server
            && !server.has_ended()
        {
            return Ok(());
        }
        let folder = self.folder.path();
        let server = Server::start(folder, &self.programs.kube_apiserver, &api_server_args(folder, self.port));
        let mut server = server.map_err(Error::doing("starting kube-apiserver under /bin/sh"))?;
        match self.wait_until_ready(&mut server) {
            Ok(()) => {
                self.api_server = Some(server);
                Ok(())
            }
            Err(error) => {
                // Not dropped: another port may be tried in the same folder.
                server.stop();
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self, server: &mut Server) -> Result<(), Error> {
        let deadline = Instant::now() + LONGEST_START;
        loop {
            if server.has_ended() {
                let log = server.log();
                return Err(if log.contains("address already in use") {
                    Error::PortTaken { port: self.port }
                } else {
                    Error::Ended { server: "kube-apiserver", lines: last_lines(&log) }
                });
            }
            if self.etcd.has_ended() {
                return Err(Error::Ended { server: "etcd", lines: last_lines(&self.etcd.log()) });
            }
            if self.is_ready()? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let lines = last_lines(&server.log());
                return Err(Error::NotReady { seconds: LONGEST_START.as_secs(), lines });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> Result<bool, Error> {
        // A kubectl costs a tenth of a second of a core, which the servers need now: first see whether anyone listens.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            return Ok(false);
        }
        // The API server made its certificate before it listened. If there is none, the listener is someone else.
        let Ok(certificates) = fs::read_to_string(self.folder.path().join("certificates/apiserver.crt")) else {
            return Ok(false);
        };
        for (user, text) in self.tokens.kubeconfigs(&self.url(), authority(&certificates)) {
            fs::write(self.kubeconfig(user), text).map_err(Error::doing("writing a kubeconfig file"))?;
        }
        // Namespaces are made after the start too, and readiness does not wait for them.
        Ok(self.answers("/readyz")? && self.answers("/api/v1/namespaces/default")?)
    }

    fn answers(&self, path: &str) -> Result<bool, Error> {
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "--request-timeout=5s", "--raw", path]);
        let status = kubectl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(status.map_err(Error::doing("running kubectl"))?.success())
    }
}

/// etcd listens on sockets in its folder, so that it takes no ports and nobody else reaches it. Their URLs must look
/// like a host's: these name the files `client:1` and `peer:1` in the current folder, which is the servers'.
const ETCD: &str = "unix://client:1";
const ETCD_SOCKET: &str = "client:1";
const ETCD_PEERS: &str = "unix://peer:1";

fn etcd_args(folder: &Path) -> Vec<String> {
    vec![
        "--name=control-plane".into(),
        format!("--data-dir={}/etcd", folder.display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=control-plane={ETCD_PEERS}"),
        "--log-level=warn".into(),
        // Nobody wants the data after a crash of the machine.
        "--unsafe-no-fsync=true".into(),
    ]
}

fn api_server_args(folder: &Path, port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers={ETCD}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // It signs a certificate for itself there, once.
        format!("--cert-dir={folder}/certificates"),
        format!("--token-auth-file={folder}/tokens.csv"),
        "--authorization-mode=RBAC".into(),
        // All others of the default set are on. This one holds every pod back until a controller that isn't here has
        // made its namespace's service account.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--allow-privileged=true".into(),
        // The key of the certificate is good enough for the tokens of service accounts, and nobody has to make another.
        format!("--service-account-issuer=https://127.0.0.1:{port}/"),
        format!("--service-account-key-file={folder}/certificates/apiserver.key"),
        format!("--service-account-signing-key-file={folder}/certificates/apiserver.key"),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        // The endpoints of the service `kubernetes` may not be on loopback: it would complain every ten seconds.
        "--endpoint-reconciler-type=none".into(),
    ]
}

/// The last certificate of the file, which has signed the first.
fn authority(certificates: &str) -> &str {
    let start = certificates.rfind("-----BEGIN").unwrap_or_default();
    certificates.get(start..).unwrap_or_default()
}

/// A port that nobody listens on, below those that systems give to outgoing connections: while the API server is
/// stopped, no client gets its port.
fn free_port() -> io::Result<u16> {
    let mut ports = 0;
    loop {
        let port = 20_000 + u16::from_ne_bytes(random()?) % 10_000;
        ports += 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if ports == 100 => return Err(error),
            Err(_) => {}
        }
    }
}

fn path_with(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of programs that are shell scripts.
    fn scripts(etcd: &str, kube_apiserver: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [("etcd", etcd), ("kube-apiserver", kube_apiserver), ("kubectl", "exit 1")] {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    fn start_error(scripts: &TempDir) -> String {
        let programs = Programs::in_folder(scripts.path(), "").unwrap();
        ControlPlane::start_on(programs, free_port).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Programs::in_folder(folder.path(), "run `make control-plane`").unwrap_err().to_string();
        assert_eq!(error, format!("no etcd in {}: run `make control-plane`", folder.path().display()));
    }

    #[test]
    fn an_api_server_that_ends_is_quoted() {
        let error = start_error(&scripts("exec sleep 600", "echo unknown flag >&2; exit 1"));
        assert_eq!(error, "kube-apiserver ended instead of serving; its last lines:\nunknown flag");
    }

    #[test]
    fn an_etcd_that_ends_is_quoted() {
        let error = start_error(&scripts("echo no space left on device >&2; exit 1", "exec sleep 600"));
        assert_eq!(error, "etcd ended instead of serving; its last lines:\nno space left on device");
    }

    #[test]
    fn a_port_that_is_taken_in_between_is_left_for_another() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let mut first = Some(taken);
        let control_plane =
            ControlPlane::start_on(Programs::find().unwrap(), || first.take().map_or_else(free_port, Ok)).unwrap();
        assert_ne!(control_plane.port, taken);
        assert!(control_plane.kubectl().arg("version").stdout(Stdio::null()).status().unwrap().success());
    }
}
