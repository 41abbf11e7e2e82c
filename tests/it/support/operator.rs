//! The operator's binary as a process of a test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How to start an operator.
pub struct Settings {
    arguments: Vec<String>,
    environment: BTreeMap<&'static str, String>,
}

/// A running operator; it is killed when this is dropped.
pub struct Operator {
    process: Child,
    address: OnceLock<SocketAddr>,
    log: TempDir,
}

impl Settings {
    /// With the operator's own rights in the cluster, and credentials that the local endpoint takes.
    pub fn new(kubeconfig: &Path, endpoint: &str) -> Self {
        let environment = BTreeMap::from([
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "OPERATOR".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // What lies in somebody's home has no part in a test.
            ("HOME", "/nonexistent".to_owned()),
            // By the environment, so that a test can say otherwise by a flag.
            ("APPROVAL_OPERATOR_POLL_INTERVAL", "500ms".to_owned()),
            ("APPROVAL_OPERATOR_AWS_TIMEOUT", "1s".to_owned()),
        ]);
        Self { arguments: Vec::new(), environment }
    }

    /// The same in one namespace only.
    pub fn namespace(self, namespace: &str) -> Self {
        self.argument(&format!("--namespace={namespace}"))
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    /// One of several replicas, of which one at a time acts. The Lease is in this namespace.
    pub fn replica(self, identity: &str, namespace: &str) -> Self {
        self.argument("--leader-elect")
            .argument(&format!("--leader-elect-identity={identity}"))
            .argument(&format!("--leader-elect-namespace={namespace}"))
    }

    fn unset(mut self, name: &'static str) -> Self {
        self.environment.remove(name);
        self
    }

    /// With region and credentials from this shared configuration file alone.
    pub fn configured_by(self, config: &Path) -> Self {
        ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .into_iter()
            .fold(self, Self::unset)
            .set("AWS_CONFIG_FILE", &config.display().to_string())
            // For programs that are named in it.
            .set("PATH", "/usr/bin:/bin")
    }

    pub fn start(&self) -> Operator {
        let log = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_approval-operator"))
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

    /// Waits until something is so that cannot be waited for otherwise.
    pub async fn eventually(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !is_so().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(Duration::from_secs(60), waiting).await.is_ok(), "never: {what}\n{}", self.log());
    }

    /// Waits until the log contains a text.
    pub async fn until_log(&self, text: &str) {
        self.eventually(&format!("the log says {text:?}"), async || self.log().contains(text)).await;
    }

    /// Status and body of a page of the HTTP port.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        use http_body_util::{BodyExt, Empty};
        use hyper_util::{client::legacy::Client, rt::TokioExecutor};
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&'static [u8]>>();
        let answer = client.get(format!("http://{}{path}", self.address()?).parse().unwrap()).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Waits until the watch has synced.
    pub async fn until_ready(&self) {
        let is_ready = async || self.get("/readyz").await.is_some_and(|(status, _)| status == 200);
        self.eventually("it is ready", is_ready).await;
    }

    /// Waits until it has looked at something, and has nothing in hand. One that is killed meanwhile cannot be asked, and is not
    /// at rest.
    pub async fn until_at_rest(&self) {
        self.until_ready().await;
        let is_at_rest = async || {
            self.asked_for("approval_operator_reconcile_duration_seconds_count").await.is_some_and(|count| count > 0.0)
                && self.asked_for("approval_operator_reconciles_in_progress").await.is_some_and(|count| count < 1.0)
        };
        self.eventually("it is at rest", is_at_rest).await;
    }

    /// The value of a metric with exactly these labels, written as Prometheus does; 0 where it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        self.asked_for(name).await.unwrap()
    }

    /// The same, or nothing where the operator does not answer.
    async fn asked_for(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Some(value.map_or(0.0, |value| value.parse().unwrap()))
    }

    /// Where the HTTP port is, once the operator has begun to serve it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address().expect("it serves"))
    }

    /// As the log says.
    fn address(&self) -> Option<SocketAddr> {
        if let Some(address) = self.address.get() {
            return Some(*address);
        }
        let log = self.log();
        let mut said = log.split("http_address").skip(1).map(|rest| rest.trim_start_matches(['=', '"', ':']));
        let address = said.find_map(|rest| rest.split([' ', '"', '\n']).next()?.parse().ok())?;
        Some(*self.address.get_or_init(|| address))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                match self.process.try_wait().unwrap() {
                    Some(status) => return status,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ended = timeout(Duration::from_secs(30), ended).await;
        ended.unwrap_or_else(|_| panic!("the operator did not end:\n{}", self.log()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
