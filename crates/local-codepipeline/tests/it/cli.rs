//! The command line.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use local_codepipeline::model::{LedgerEntry, OpenApproval};

const BINARY: &str = env!("CARGO_BIN_EXE_local-codepipeline");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/example-seed.yaml");

struct Endpoint {
    process: Child,
    url: String,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(arguments: &[&str]) -> Endpoint {
    let mut process = Command::new(BINARY)
        .args(["serve", "--address", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    Endpoint { process, url: url.trim_end().to_owned() }
}

fn run(endpoint: &str, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env("AWS_ENDPOINT_URL", endpoint).output().unwrap()
}

fn stdout(endpoint: &Endpoint, arguments: &[&str]) -> String {
    let output = run(&endpoint.url, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn stderr(endpoint: &str, arguments: &[&str]) -> String {
    let output = run(endpoint, arguments);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_approval_is_opened_rejected_and_listed_in_the_ledger() {
    let endpoint = serve(&["--seed", EXAMPLE, "--lags", "none"]);
    let token = stdout(&endpoint, &["open-approval", "web", "Prod", "Approve"]);
    assert_eq!(token.len(), 36);
    stdout(&endpoint, &["respond", "web", "Prod", "Approve", "--status", "Rejected", "--summary", "no", "--as", "bob"]);
    let again = ["respond", "web", "Prod", "Approve", "--status", "Approved", "--token", &token];
    assert!(stderr(&endpoint.url, &again).contains("ApprovalAlreadyCompletedException"));
    let ledger: Vec<LedgerEntry> = serde_json::from_str(&stdout(&endpoint, &["ledger", "--json"])).unwrap();
    assert_eq!(ledger.iter().map(LedgerEntry::is_accepted).collect::<Vec<_>>(), [true, false]);
    let table = stdout(&endpoint, &["ledger"]);
    let row = table.lines().nth(1).unwrap();
    for cell in ["web/Prod/Approve", "Rejected", "bob", "accepted"] {
        assert!(row.contains(cell), "{table}");
    }
}

#[test]
fn an_approval_of_another_account_is_opened_and_rejected_there() {
    let endpoint = serve(&["--seed", EXAMPLE, "--lags", "none"]);
    let there = ["--account", "210987654321", "--region", "us-east-1"];
    let respond = ["respond", "payments", "Prod", "Approve", "--status", "Rejected"];
    stdout(&endpoint, &[&respond[..], &there[..]].concat());
    assert!(stderr(&endpoint.url, &respond).contains("does not include a pipeline with the name 'payments'"));
    stdout(&endpoint, &[&["open-approval", "payments", "Prod", "Approve"], &there[..]].concat());
    let start = ["start-execution", "orders", "Prod", "Approve", "--build-duration", "0s"];
    stdout(&endpoint, &[&start[..], &["--account", "210987654321", "--region", "eu-west-1"]].concat());
    let table = stdout(&endpoint, &[&["ledger"], &there[..]].concat());
    let row = table.lines().nth(1).unwrap();
    for cell in ["210987654321", "payments/Prod/Approve", "Rejected", "another-user", "accepted"] {
        assert!(row.contains(cell), "{table}");
    }
    let elsewhere = ["ledger", "--account", "210987654321", "--region", "eu-west-1"];
    assert_eq!(stdout(&endpoint, &elsewhere).lines().count(), 1);
    assert!(stderr(&endpoint.url, &["ledger", "--account", "210987654321"]).contains("--region <REGION>"));
    let invalid = ["ledger", "--account", "2109", "--region", "eu-west-1"];
    assert!(stderr(&endpoint.url, &invalid).contains("`2109` is not an account id: write twelve digits"));
}

#[test]
fn the_same_id_seed_generates_the_same_identifiers() {
    let open = ["open-approval", "web", "Prod", "Approve", "--revision", "Source=4f2e", "--json"];
    let [first, second] = [(); 2].map(|()| {
        let endpoint = serve(&["--id-seed", "7"]);
        serde_json::from_str::<OpenApproval>(&stdout(&endpoint, &open)).unwrap()
    });
    assert_eq!(first, second);
}

#[test]
fn a_started_execution_builds_before_it_reaches_its_approval() {
    let endpoint = serve(&["--lags", "none"]);
    let start = ["start-execution", "web", "Prod", "Approve", "--revision", "Source=4f2e"];
    let execution = stdout(&endpoint, &[&start[..], &["--build-duration", "1h"]].concat());
    let approve = ["respond", "web", "Prod", "Approve", "--status", "Approved"];
    assert!(stderr(&endpoint.url, &approve).contains("is not pending"));
    // The pipeline exists now and stays unchanged.
    assert_ne!(stdout(&endpoint, &start), execution);
    stdout(&endpoint, &["start-execution", "other", "Prod", "Approve", "--build-duration", "0s"]);
    stdout(&endpoint, &["respond", "other", "Prod", "Approve", "--status", "Approved"]);
    let refused = stderr(&endpoint.url, &["start-execution", "third", "Prod", "Approve", "--build-duration", "soon"]);
    assert!(refused.contains("write `30s`, `2m 30s` or `untilCompleted`"), "{refused}");
}

#[test]
fn an_error_says_what_to_do() {
    let unreachable = "http://127.0.0.1:1";
    assert!(stderr(unreachable, &["ledger"]).contains("start an endpoint with `local-codepipeline serve`"));
    assert!(stderr("127.0.0.1:1", &["ledger"]).contains("write http://HOST:PORT"));
    let endpoint = serve(&["--seed", EXAMPLE]);
    let ambiguous = ["respond", "previews", "Publish", "Approve", "--status", "Approved"];
    assert!(
        stderr(&endpoint.url, &ambiguous)
            .contains("approval previews/Publish/Approve has 2 pending requests: select one with --token")
    );
    let used = endpoint.url.trim_start_matches("http://");
    assert!(stderr(unreachable, &["serve", "--address", used]).contains("set another address with --address"));
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), "pipelines:\n  - nom: checkout\n").unwrap();
    let refused = stderr(unreachable, &["serve", "--seed", seed.path().to_str().unwrap()]);
    assert!(refused.contains(":2:5: unknown field `nom`, expected one of name, executionMode, stages"), "{refused}");
}
