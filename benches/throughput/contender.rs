//! The contenders: the operator, other implementations and the ceiling. Each is a process of its own with the same rights, credentials
//! and servers. The ceiling is this program, started again, so that its resource usage is read in the same way.

use crate::ceiling::CeilingOptions;
use crate::environment::Environment;
use crate::resource_usage::ResourceUsage;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MEMORY_SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// The concurrency of the tuned operator and Go controller. No value between 8 and 64 was measurably faster than the others; with the
/// highest, no contender waits for its own limit.
const CONCURRENCY: &str = "--concurrency=64";

const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contender {
    /// Only the requests to the API server.
    Ceiling(CeilingOptions),
    /// A build of the operator.
    Operator { name: String, program: PathBuf, configuration: Configuration },
    /// controller-runtime with the AWS SDK for Go.
    Go(Configuration),
    /// kopf with boto3.
    Python(Configuration),
    /// A loop of kubectl and the AWS CLI.
    Shell(Configuration),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Configuration {
    /// With higher limits where the defaults are a bottleneck.
    Tuned,
    /// With the defaults of the program and its libraries.
    Defaults,
}

impl Contender {
    pub fn name(&self) -> String {
        let with_suffix = |name: &str, configuration: &Configuration| match configuration {
            Configuration::Tuned => name.to_owned(),
            Configuration::Defaults => format!("{name} (defaults)"),
        };
        match self {
            Self::Ceiling(options) => options.name(),
            Self::Operator { name, configuration, .. } => with_suffix(name, configuration),
            Self::Go(configuration) => with_suffix("Go", configuration),
            Self::Python(configuration) => with_suffix("Python", configuration),
            Self::Shell(configuration) => with_suffix("shell", configuration),
        }
    }

    /// What distinguishes it from contenders with the same name.
    pub fn detail(&self) -> String {
        match self {
            Self::Ceiling(options) => options.detail(),
            Self::Operator { .. } | Self::Go(_) | Self::Python(_) | Self::Shell(_) => String::new(),
        }
    }

    /// The most decisions that it can deliver in a reasonable time.
    pub fn max_decisions(&self) -> usize {
        match self {
            Self::Ceiling(_) | Self::Operator { .. } | Self::Go(Configuration::Tuned) => usize::MAX,
            Self::Go(Configuration::Defaults) | Self::Python(_) => 2_000,
            Self::Shell(_) => 100,
        }
    }

    /// Whether it submits results to CodePipeline.
    pub fn submits(&self) -> bool {
        !matches!(self, Self::Ceiling(_))
    }

    /// Whether it makes decisions Ready.
    pub fn makes_ready(&self) -> bool {
        match self {
            Self::Ceiling(options) => options.makes_ready(),
            Self::Operator { .. } | Self::Go(_) | Self::Python(_) | Self::Shell(_) => true,
        }
    }

    fn command(&self, environment: &Environment) -> Command {
        let peers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers"));
        let mut path = environment.path();
        let command = match self {
            Self::Ceiling(options) => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg("ceiling").args(options.arguments());
                command
            }
            Self::Operator { program, configuration, .. } => {
                let mut command = Command::new(program);
                command.args(["run", "--http-address=127.0.0.1:0"]);
                if *configuration == Configuration::Tuned {
                    command.arg(CONCURRENCY);
                }
                command
            }
            Self::Go(configuration) => {
                let mut command = Command::new(peers.join("go/bin/controller"));
                if *configuration == Configuration::Tuned {
                    command.args([CONCURRENCY, "--strip-managed-fields"]);
                }
                command
            }
            Self::Python(configuration) => {
                let mut command = Command::new(peers.join("python/bin/bin/kopf"));
                command.args(["run", "--all-namespaces", "--standalone"]).arg(peers.join("python/handlers.py"));
                command
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("TUNED", if *configuration == Configuration::Tuned { "1" } else { "0" });
                command
            }
            Self::Shell(configuration) => {
                path = format!("{}:{path}", peers.join("python/bin/bin").display());
                let mut command = Command::new(peers.join("shell/loop.sh"));
                command.env("CONCURRENCY", if *configuration == Configuration::Tuned { "4" } else { "1" });
                command
            }
        };
        with_environment_variables(command, environment, &path)
    }

    pub fn start(&self, environment: &Environment) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = self.command(environment);
        command.env("HOME", folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = Instant::now();
        let start_time = jiff::Timestamp::now();
        let process = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        let (peak_memory, has_stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let sampler = thread::spawn({
            let (peak_memory, has_stopped, pid) = (peak_memory.clone(), has_stopped.clone(), process.id());
            move || {
                while !has_stopped.load(Ordering::Relaxed) {
                    peak_memory.fetch_max(ResourceUsage::of(pid).resident, Ordering::Relaxed);
                    thread::sleep(MEMORY_SAMPLE_INTERVAL);
                }
            }
        });
        Running { process, started, start_time, folder, peak_memory, has_stopped, sampler: Some(sampler) }
    }
}

/// Replaces the inherited environment variables, so that every contender gets the same.
fn with_environment_variables(mut command: Command, environment: &Environment, path: &str) -> Command {
    let own: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command.env_clear();
    for (name, value) in own {
        command.env(name, value.unwrap_or_default());
    }
    command.envs([
        ("PATH", path),
        ("AWS_ENDPOINT_URL", &environment.codepipeline.url()),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "CONTENDER"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    command.env("KUBECONFIG", environment.kubeconfig());
    command
}

/// A running contender. Dropping it kills the process and everything that the process started.
pub struct Running {
    process: Child,
    pub started: Instant,
    pub start_time: jiff::Timestamp,
    folder: TempDir,
    peak_memory: Arc<AtomicU64>,
    has_stopped: Arc<AtomicBool>,
    sampler: Option<JoinHandle<()>>,
}

impl Running {
    pub fn usage(&self) -> ResourceUsage {
        ResourceUsage::of(self.process.id())
    }

    pub fn peak_mebibytes(&self) -> f64 {
        self.peak_memory.load(Ordering::Relaxed) as f64 / 1024.0 / 1024.0
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn has_exited(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Sends SIGTERM and waits for the exit.
    pub fn stop(mut self) {
        self.signal("TERM");
        let signalled_at = Instant::now();
        while signalled_at.elapsed() < SHUTDOWN_TIMEOUT && !self.has_exited() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.process.id());
        let status = Command::new("kill").args([&format!("-{signal}"), "--", &group]).stderr(Stdio::null()).status();
        assert!(status.is_ok());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
        // Fails if the process has exited already.
        let _ = self.process.wait();
        self.has_stopped.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            let _ = sampler.join();
        }
    }
}
