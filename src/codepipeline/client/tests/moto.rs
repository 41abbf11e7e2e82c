//! The operator's client of STS against the STS of moto, which others wrote.

use super::endpoint::credentials;
use super::*;
use crate::codepipeline::sdk_config::Chain;
use crate::codepipeline::{AssumedRole, ClientSettings, RateLimiter, TargetDestination};
use aws_config::{BehaviorVersion, Region};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

/// The account of the role. It is not the one of the operator's own credentials, which is 123456789012.
const ACCOUNT: &str = "210987654321";

struct Moto {
    process: Child,
    url: String,
    /// Open for as long as the process writes to it.
    _log: BufReader<ChildStderr>,
}

impl Moto {
    fn start() -> Self {
        let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/moto/bin/bin/moto_server");
        let program = std::env::var_os("MOTO_SERVER").map_or_else(installed, PathBuf::from);
        let mut command = Command::new(&program);
        command.args(["--host", "127.0.0.1", "--port", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process =
            command.spawn().unwrap_or_else(|error| panic!("run `make moto`: {}: {error}", program.display()));
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = |line: String| Some(line.split_once("Running on ")?.1.trim().to_owned());
        let url = log.by_ref().lines().map_while(Result::ok).find_map(address);
        Self { process, url: url.expect("a line with the address"), _log: log }
    }

    fn client(&self, account_id: &str, role: &str) -> Client {
        let url = self.url.clone();
        let chain = move || {
            let chain = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(&url);
            chain.region(Region::new("eu-west-1")).credentials_provider(credentials())
        };
        let chain = Chain(Arc::new(chain));
        let settings =
            ClientSettings { timeout: Duration::from_secs(30), credentials_dir: None, sts_region: None, chain };
        let role = AssumedRole { arn: role.to_owned(), external_id: Some("shared secret".to_owned()) };
        let location = Location { account_id: account_id.to_owned(), region: "us-east-2".to_owned() };
        let destination = Destination::Target(TargetDestination { location, role: Some(role) });
        Client::new(settings, destination, RateLimiter::new(1.0), CallMetrics::default())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_sts_of_moto_gives_sessions_that_belong_to_the_role() {
    let moto = tokio::task::spawn_blocking(Moto::start).await.unwrap();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/Approver");
    let client = moto.client(ACCOUNT, &role);
    let verified = client.verify().await.unwrap();
    assert_eq!(verified.location.account_id, ACCOUNT);
    let arn = verified.caller_arn.unwrap();
    assert_eq!(arn, format!("arn:aws:sts::{ACCOUNT}:assumed-role/Approver/approval-operator"));
    assert_eq!(SessionName::of_arn(&arn), Some("approval-operator"));
    // The longest name that a session can have.
    let name = SessionName::of(&"n".repeat(63), &"d".repeat(253), "uid");
    assert_eq!(client.open_session(&name).await.unwrap().location(), &verified.location);
    let error = moto.client("123456789012", &role).verify().await.unwrap_err();
    assert!(matches!(error, VerifyError::WrongAccount(_)), "{error:?}");
}
