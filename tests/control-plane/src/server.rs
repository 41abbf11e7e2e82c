//! One server, etcd or kube-apiserver, under a small shell that ends it when its owner ends. A destructor alone
//! can't: nothing of a process that is killed gets to run, but the system closes its pipes, and that is what the
//! shell waits for (`supervise.sh`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SUPERVISE: &str = include_str!("supervise.sh");

/// A killed server and its folder are gone within milliseconds; a destructor must not hang on a machine where they
/// aren't.
const LONGEST_END: Duration = Duration::from_secs(10);

/// A running server. Dropped, it is killed, and the folder it was started in is removed.
#[derive(Debug)]
pub(crate) struct Server {
    shell: Child,
    log: PathBuf,
}

impl Server {
    /// Runs `program` in `folder`, which has its log too.
    pub(crate) fn start<A: AsRef<OsStr>>(folder: &Path, program: &Path, args: &[A]) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default();
        let log = folder.join(name).with_extension("log");
        let output = File::create(&log)?;
        let shell = Command::new("/bin/sh")
            .args(["-c", SUPERVISE, "control-plane"])
            .arg(folder)
            .arg(program)
            .args(args)
            .current_dir(folder)
            // etcd takes every variable that starts with ETCD_ for an option, and both take Go's.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            // The terminal's Ctrl-C is for the owner. The shell outlives it for as long as it takes to clear up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { shell, log })
    }

    /// Kills the server and leaves the folder.
    pub(crate) fn stop(mut self) {
        if let Some(pipe) = &mut self.shell.stdin {
            // Refused where the server has ended by itself: then there is nothing to stop.
            let _ = pipe.write_all(b"stop\n");
        }
        self.wait();
    }

    /// Whether the server has ended, for whatever reason.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(Some(_)))
    }

    /// What the server has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + LONGEST_END;
        while !self.has_ended() && Instant::now() < deadline {
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
    fn a_dropped_server_takes_its_folder_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let server = sleeper(folder.path());
        drop(server);
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_stopped_server_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let server = sleeper(folder.path());
        server.stop();
        assert!(folder.path().exists());
    }

    #[test]
    fn a_server_that_ends_by_itself_ends_its_shell_and_leaves_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path(), Path::new("/bin/sh"), &["-c", "echo the disk is full"]).unwrap();
        server.wait();
        assert!(server.has_ended());
        assert_eq!(server.log(), "the disk is full\n");
    }

    #[test]
    fn a_server_does_not_see_its_owners_environment() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path(), Path::new("/usr/bin/env"), &[] as &[&str]).unwrap();
        server.wait();
        assert!(!server.log().contains("CARGO"), "{}", server.log());
    }

    #[test]
    fn two_servers_of_one_folder_remove_it_together() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let (mut one, mut two) = (sleeper(folder.path()), sleeper(folder.path()));
            // At the same time, as when the owner is killed.
            drop((one.shell.stdin.take(), two.shell.stdin.take()));
            drop((one, two));
            assert!(!folder.path().exists());
        }
    }
}
