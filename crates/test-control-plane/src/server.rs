//! One server, such as etcd or kube-apiserver, under a shell that kills it when its owner ends (`supervise.sh`). A destructor
//! is not enough, because it does not run in a killed process. But the system closes the pipes of the process, and the
//! shell waits for that.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SUPERVISE: &str = include_str!("supervise.sh");

/// A killed server and its folder are normally gone within milliseconds. The limit keeps a destructor from hanging.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server. Dropping it kills the server and removes its folder.
#[derive(Debug)]
pub struct Server {
    shell: Child,
    log: PathBuf,
}

impl Server {
    /// Runs `program` in `folder`, which also gets its log. The program gets only `PATH` of the environment.
    ///
    /// # Errors
    ///
    /// If the log cannot be created, or the shell cannot be started.
    pub fn start<A: AsRef<OsStr>>(folder: &Path, program: &Path, args: &[A]) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default();
        let log = folder.join(name).with_extension("log");
        let output = File::create(&log)?;
        let shell = Command::new("/bin/sh")
            .args(["-c", SUPERVISE, "control-plane"])
            .arg(folder)
            .arg(program)
            .args(args)
            .current_dir(folder)
            // etcd reads its options from ETCD_ variables, and both servers read the variables of the Go runtime.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            // Ctrl-C in the terminal must reach only the owner: the shell cleans up after the owner has ended.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { shell, log })
    }

    /// Kills the server and keeps the folder.
    pub(crate) fn stop(mut self) {
        if let Some(pipe) = &mut self.shell.stdin {
            // This fails if the server has already exited.
            let _ = pipe.write_all(b"stop\n");
        }
        self.wait();
    }

    /// Whether the server has exited.
    pub fn has_exited(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(Some(_)))
    }

    /// The log of the server so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.has_exited() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Server {
        Server::start(folder, Path::new("/bin/sleep"), &["600"]).unwrap()
    }

    #[test]
    fn dropping_a_server_removes_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let server = sleeper(folder.path());
        drop(server);
        assert!(!folder.path().exists());
    }

    #[test]
    fn stopping_a_server_keeps_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let server = sleeper(folder.path());
        server.stop();
        assert!(folder.path().exists());
    }

    #[test]
    fn a_server_that_exits_ends_its_shell_and_keeps_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path(), Path::new("/bin/sh"), &["-c", "echo the disk is full"]).unwrap();
        server.wait();
        assert!(server.has_exited());
        assert_eq!(server.log(), "the disk is full\n");
    }

    #[test]
    fn a_server_does_not_inherit_the_environment_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path(), Path::new("/usr/bin/env"), &[] as &[&str]).unwrap();
        server.wait();
        assert!(!server.log().contains("CARGO"), "{}", server.log());
    }

    #[test]
    fn two_servers_in_one_folder_both_remove_it() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let (mut one, mut two) = (sleeper(folder.path()), sleeper(folder.path()));
            // At the same time, as if the owner were killed.
            drop((one.shell.stdin.take(), two.shell.stdin.take()));
            drop((one, two));
            assert!(!folder.path().exists());
        }
    }
}
