//! Who is measured: each a process of its own with the same rights, the same credentials and the same two neighbours. The ceiling is
//! this program again, so that what it uses is read in the same way.

use crate::ceiling::Tuning;
use crate::ground::Ground;
use crate::usage::Usage;
use serde::Serialize;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often memory is looked at for its peak.
const SAMPLE: Duration = Duration::from_millis(50);

/// How many decisions are worked on at a time by whoever can be told. Between 8 and 64, none was seen to be faster for certain: so
/// many, that nobody waits for a limit of its own.
const AT_A_TIME: &str = "--concurrency=64";

/// The longest that a contender may take to end.
const FAREWELL: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contender {
    /// The two status writes and nothing else, or what a part of them costs.
    Ceiling(Tuning),
    /// The operator, by the name of its build.
    Operator { name: String, program: PathBuf, manner: Manner },
    /// controller-runtime with the AWS SDK for Go.
    Go(Manner),
    /// kopf with boto3.
    Python(Manner),
    /// A loop of kubectl and the AWS CLI.
    Shell(Manner),
}

/// How a contender is set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Manner {
    /// With what limits it lifted.
    Tuned,
    /// As its libraries come.
    AsItComes,
}

impl Contender {
    pub fn name(&self) -> String {
        let suffixed = |name: &str, manner: &Manner| match manner {
            Manner::Tuned => name.to_owned(),
            Manner::AsItComes => format!("{name} as it comes"),
        };
        match self {
            Self::Ceiling(tuning) => tuning.name(),
            Self::Operator { name, manner, .. } => suffixed(name, manner),
            Self::Go(manner) => suffixed("Go", manner),
            Self::Python(manner) => suffixed("Python", manner),
            Self::Shell(manner) => suffixed("shell", manner),
        }
    }

    /// The most decisions that it answers in a time that one waits for.
    pub fn most(&self) -> usize {
        match self {
            Self::Ceiling(_) | Self::Operator { .. } | Self::Go(Manner::Tuned) => usize::MAX,
            Self::Go(Manner::AsItComes) | Self::Python(_) => 2_000,
            Self::Shell(_) => 100,
        }
    }

    /// Whether it calls the service too.
    pub fn answers(&self) -> bool {
        !matches!(self, Self::Ceiling(_))
    }

    /// Whether decisions become Ready by it.
    pub fn finishes(&self) -> bool {
        match self {
            Self::Ceiling(tuning) => tuning.finishes(),
            Self::Operator { .. } | Self::Go(_) | Self::Python(_) | Self::Shell(_) => true,
        }
    }

    fn command(&self, ground: &Ground) -> Command {
        let peers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers"));
        let mut path = ground.path();
        let command = match self {
            Self::Ceiling(tuning) => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg("ceiling").args(tuning.arguments());
                command
            }
            Self::Operator { program, manner, .. } => {
                let mut command = Command::new(program);
                command.args(["run", "--http-address=127.0.0.1:0"]);
                if *manner == Manner::Tuned {
                    command.arg(AT_A_TIME);
                }
                command
            }
            Self::Go(manner) => {
                let mut command = Command::new(peers.join("go/bin/controller"));
                if *manner == Manner::Tuned {
                    command.args([AT_A_TIME, "--strip-managed-fields"]);
                }
                command
            }
            Self::Python(manner) => {
                let mut command = Command::new(peers.join("python/bin/bin/kopf"));
                command.args(["run", "--all-namespaces", "--standalone"]).arg(peers.join("python/handlers.py"));
                command
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("TUNED", if *manner == Manner::Tuned { "1" } else { "0" });
                command
            }
            Self::Shell(manner) => {
                path = format!("{}:{path}", peers.join("python/bin/bin").display());
                let mut command = Command::new(peers.join("shell/loop.sh"));
                command.env("CONCURRENCY", if *manner == Manner::Tuned { "4" } else { "1" });
                command
            }
        };
        with_environment(command, ground, &path)
    }

    /// Starts it.
    pub fn start(&self, ground: &Ground) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = self.command(ground);
        command.env("HOME", folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = Instant::now();
        let started_at = jiff::Timestamp::now();
        let process = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        let (peak, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let sampler = thread::spawn({
            let (peak, is_over, pid) = (peak.clone(), is_over.clone(), process.id());
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    peak.fetch_max(Usage::of(pid).resident, Ordering::Relaxed);
                    thread::sleep(SAMPLE);
                }
            }
        });
        Running { process, started, started_at, folder, peak, is_over, sampler: Some(sampler) }
    }
}

fn with_environment(mut command: Command, ground: &Ground, path: &str) -> Command {
    let own: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command.env_clear();
    for (name, value) in own {
        command.env(name, value.unwrap_or_default());
    }
    command.envs([
        ("PATH", path),
        ("AWS_ENDPOINT_URL", &ground.service.url()),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "CONTENDER"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    command.env("KUBECONFIG", ground.kubeconfig());
    command
}

/// A contender at work. It is killed, with all that it started, when this is dropped.
pub struct Running {
    process: Child,
    pub started: Instant,
    pub started_at: jiff::Timestamp,
    folder: TempDir,
    peak: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    sampler: Option<JoinHandle<()>>,
}

impl Running {
    pub fn usage(&self) -> Usage {
        Usage::of(self.process.id())
    }

    /// The most memory that it had, in MiB.
    pub fn peak(&self) -> f64 {
        self.peak.load(Ordering::Relaxed) as f64 / 1024.0 / 1024.0
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        self.signal("TERM");
        let asked = Instant::now();
        while asked.elapsed() < FAREWELL && self.process.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.process.id());
        let quietly = Command::new("kill").args([&format!("-{signal}"), "--", &group]).stderr(Stdio::null()).status();
        assert!(quietly.is_ok());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
        // It may have ended by itself.
        let _ = self.process.wait();
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            let _ = sampler.join();
        }
    }
}
