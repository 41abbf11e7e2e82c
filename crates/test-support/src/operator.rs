//! The operator's binary as a child process of a test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// The path of the operator's binary. Cargo builds it for integration tests and benchmarks, and sets this variable.
pub fn operator_binary() -> OsString {
    std::env::var_os("CARGO_BIN_EXE_approval-operator").expect("run this program with cargo test or cargo bench")
}

/// The command line and the environment of an operator.
pub struct OperatorCommand {
    arguments: Vec<String>,
    environment: BTreeMap<&'static str, String>,
}

/// A running operator. Dropping it kills the process.
pub struct Operator {
    process: Child,
    address: OnceLock<SocketAddr>,
    log: TempDir,
}

impl OperatorCommand {
    /// A command with this kubeconfig, and with credentials that local-codepipeline accepts.
    pub fn new(kubeconfig: &Path, endpoint: &str) -> Self {
        let environment = BTreeMap::from([
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "OPERATOR".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // The AWS configuration of a developer must not affect a test.
            ("HOME", "/nonexistent".to_owned()),
            // Variables rather than flags, so that a test can override them with a flag.
            ("APPROVAL_OPERATOR_POLL_INTERVAL", "500ms".to_owned()),
            ("APPROVAL_OPERATOR_AWS_TIMEOUT", "1s".to_owned()),
        ]);
        Self { arguments: Vec::new(), environment }
    }

    /// Restricts the operator to one namespace.
    pub fn namespace(self, namespace: &str) -> Self {
        self.arg(&format!("--namespace={namespace}"))
    }

    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    /// Enables leader election with this holder identity and a Lease in this namespace.
    pub fn replica(self, identity: &str, namespace: &str) -> Self {
        self.arg("--leader-elect")
            .arg(&format!("--leader-elect-identity={identity}"))
            .arg(&format!("--leader-elect-namespace={namespace}"))
    }

    pub fn remove_env(mut self, name: &'static str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Takes region and credentials from this shared configuration file alone.
    pub fn aws_config_file(self, config: &Path) -> Self {
        ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .into_iter()
            .fold(self, Self::remove_env)
            .env("AWS_CONFIG_FILE", &config.display().to_string())
            // The file may name a program in `credential_process`.
            .env("PATH", "/usr/bin:/bin")
    }

    pub fn start(&self) -> Operator {
        let log = tempfile::tempdir().unwrap();
        let process = Command::new(operator_binary())
            .arg("run")
            .arg("--http-address=127.0.0.1:0")
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Operator { process, address: OnceLock::new(), log }
    }
}

impl Operator {
    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path().join("log")).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Polls a condition until it holds; for conditions that cannot be watched.
    pub async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let polling = async {
            while !condition().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(Duration::from_secs(60), polling).await.is_ok(), "never: {what}\n{}", self.log());
    }

    /// Waits until the log contains this text.
    pub async fn wait_for_log(&self, text: &str) {
        self.eventually(&format!("the log contains {text:?}"), async || self.log().contains(text)).await;
    }

    /// The status and body of a path on the HTTP port; None if the operator does not respond.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        use http_body_util::{BodyExt, Empty};
        use hyper_util::{client::legacy::Client, rt::TokioExecutor};
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&'static [u8]>>();
        let response = client.get(format!("http://{}{path}", self.address()?).parse().unwrap()).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Waits until the watch has synced.
    pub async fn wait_until_ready(&self) {
        let is_ready = async || self.get("/readyz").await.is_some_and(|(status, _)| status == 200);
        self.eventually("it is ready", is_ready).await;
    }

    /// Waits until the operator has reconciled at least once and no reconcile is in progress. An operator that was killed
    /// does not respond, and never counts as idle.
    pub async fn wait_until_idle(&self) {
        self.wait_until_ready().await;
        let is_idle = async || {
            self.find_metric("approval_operator_reconcile_duration_seconds_count")
                .await
                .is_some_and(|count| count > 0.0)
                && self.find_metric("approval_operator_reconciles_in_progress").await.is_some_and(|count| count < 1.0)
        };
        self.eventually("it is idle", is_idle).await;
    }

    /// The value of a metric with exactly these labels, in Prometheus's notation; 0 if the metric does not exist.
    pub async fn metric(&self, name: &str) -> f64 {
        self.find_metric(name).await.unwrap()
    }

    /// The same; None if the operator does not respond.
    async fn find_metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        // A series without labels of a metric that can have labels has empty braces.
        let value = |rest: &str| rest.strip_prefix("{}").unwrap_or(rest).strip_prefix(' ').map(str::to_owned);
        let value = text.lines().find_map(|line| value(line.strip_prefix(name)?));
        Some(value.map_or(0.0, |value| value.parse().unwrap()))
    }

    /// The URL of the HTTP port, once the operator serves it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address().expect("the log has no http_address yet"))
    }

    /// The address of the HTTP port, from the log.
    fn address(&self) -> Option<SocketAddr> {
        if let Some(address) = self.address.get() {
            return Some(*address);
        }
        let log = self.log();
        let mut fields = log.split("http_address").skip(1).map(|rest| rest.trim_start_matches(['=', '"', ':']));
        let address = fields.find_map(|rest| rest.split([' ', '"', '\n']).next()?.parse().ok())?;
        Some(*self.address.get_or_init(|| address))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGKILL and waits until the process has exited.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let exited = async {
            loop {
                match self.process.try_wait().unwrap() {
                    Some(status) => return status,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let exited = timeout(Duration::from_secs(30), exited).await;
        exited.unwrap_or_else(|_| panic!("the operator did not exit:\n{}", self.log()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
