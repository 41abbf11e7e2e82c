//! Starting where something is missing or wrong: the operator says what, and goes on by itself where it can.

use crate::support::{Case, Cluster, install_crds, reason, spec};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use serde_json::json;
use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
    let output = command.args(arguments).env_clear().env("HOME", "/nonexistent").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_right_ends_with_one_clear_line() {
    for (arguments, expected) in [
        (vec!["run", "--poll-interval=0s"], "write a duration of at least 100ms, such as 15s, 2m or 7d"),
        (vec!["run", "--aws-timeout=soon"], "such as 15s, 2m or 7d"),
        (vec!["run", "--aws-timeout=6m"], "it is at most 5m"),
        (vec!["run", "--poll-interval=2h"], "it is at most 1h"),
        (vec!["run", "--waiting-limit=1000000000d"], "such as 15s, 2m or 7d"),
        (vec!["run", "--concurrency=0"], "0 is not in 1..=65535"),
        (vec!["run", "--namespace=Team_A"], "a namespace is 1 to 63 of a-z, 0-9 and -"),
        (vec!["run", "--http-address=nowhere"], "invalid socket address"),
        (vec!["run", "--http-address=192.0.2.1:80"], "--http-address 192.0.2.1:80 cannot be served"),
        (vec!["run", "--http-address=127.0.0.1:0"], "no Kubernetes cluster is configured"),
        (vec!["run", "--leader-elect-lease=Foo_Bar"], "a Lease's name is 1 to 253 of a-z, 0-9, - and ."),
        (vec!["run", "--leader-elect-identity="], "a value is required for '--leader-elect-identity"),
        (vec!["run", "--otlp-endpoint=http://me:pw@collector:4318"], "set OTEL_EXPORTER_OTLP_HEADERS"),
        (vec!["run", "--otlp-endpoint=collector:4318"], "such as http://collector:4318"),
        (vec!["run", "--nonsense"], "unexpected argument '--nonsense'"),
    ] {
        let (code, error) = run(&arguments);
        assert_ne!(code, Some(0), "{arguments:?}");
        assert!(error.contains(expected), "{arguments:?} said: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn without_authorities_to_trust_it_does_not_start() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
    let command = command.args(["run", "--http-address=127.0.0.1:0"]).env_clear().env("SSL_CERT_FILE", "/dev/null");
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("no certificates of authorities were found; SSL_CERT_FILE names a file"), "{error}");
}

#[test]
fn a_proxy_to_the_api_server_is_refused_without_its_password() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let cluster = json!({ "server": "https://192.0.2.1", "proxy-url": "http://me:secret@proxy.example:3128" });
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [{ "name": "one", "cluster": cluster }],
        "contexts": [{ "name": "one", "context": { "cluster": "one", "user": "one" } }],
        "users": [{ "name": "one", "user": { "token": "token" } }],
    });
    std::fs::write(kubeconfig.path(), text.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
    let output =
        command.args(["run", "--http-address=127.0.0.1:0"]).env("KUBECONFIG", kubeconfig.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("a proxy is configured (proxy.example)") && error.contains("take proxy-url out"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn every_flag_is_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_approval-operator")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "namespace",
        "concurrency",
        "poll-interval",
        "aws-timeout",
        "waiting-limit",
        "http-address",
        "log-format",
        "otlp-endpoint",
    ] {
        assert!(help.contains(&format!("--{flag} ")), "{flag}");
        assert!(help.contains(&format!("APPROVAL_OPERATOR_{}", flag.to_uppercase().replace('-', "_"))), "{flag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_crd_and_without_the_api_server_it_waits_and_says_so() {
    let mut cluster = Cluster::start_empty();
    let case = Case::on(&cluster).await;
    cluster.control_plane.stop_api_server();
    let operator = case.operator().start();
    operator.until_log("waiting for the API server at https://127.0.0.1").await;
    assert_eq!(operator.get("/readyz").await.map(|(status, _)| status), Some(503));
    assert_eq!(operator.get("/healthz").await, Some((200, "ok\n".to_owned())));
    cluster.control_plane.start_api_server().unwrap();
    operator.until_log("approval-operator crd | kubectl apply --server-side -f -").await;
    install_crds(&cluster.control_plane);
    case.approve("web").await;
    case.until_reason("web", Reason::Delivered).await;
    operator.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_it_says_which_are_missing() {
    let case = Case::new().await;
    let developer = Cluster::shared().control_plane.kubeconfig(control_plane::User::Developer);
    let operator = case.operator().set("KUBECONFIG", &developer.display().to_string()).start();
    operator.until_log("not allowed to list and watch approvaldecisions.codepipeline.approvals.dev").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_region_or_credentials_a_decision_says_so_and_recovers_by_itself() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
    case.approve("web").await;
    let operator = case
        .operator()
        .configured_by(&config)
        .set("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap())
        .start();
    let message = |decision: &approval_operator::api::v1alpha1::ApprovalDecision| {
        decision.status.as_ref().unwrap().conditions[0].message.clone()
    };
    let decision = case.until_reason("web", Reason::CredentialsUnavailable).await;
    assert!(message(&decision).contains("no AWS region"), "{}", message(&decision));
    std::fs::write(&config, "[default]\nregion = eu-west-1\n").unwrap();
    let decision = case.until("web", "past its region", |decision| !message(decision).contains("no AWS region")).await;
    assert!(message(&decision).contains("credential"), "{}", message(&decision));
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
    std::fs::write(&credentials, "[default]\naws_access_key_id = FILE\naws_secret_access_key = secret\n").unwrap();
    case.until_reason("web", Reason::Delivered).await;
    assert!(case.service.ledger()[0].caller.ends_with("/FILE"), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_the_namespaces_that_it_is_told_and_no_other() {
    let (one, two, other) = (Case::new().await, Case::new().await, Case::new().await);
    let operator = one.operator().namespace(&two.namespace).start();
    operator.until_ready().await;
    for (case, pipeline) in [(&other, "other"), (&one, "one"), (&two, "two")] {
        let approval = one.open(pipeline);
        case.create(pipeline, spec(pipeline, &approval)).await;
    }
    one.until_reason("one", Reason::Delivered).await;
    two.until_reason("two", Reason::Delivered).await;
    assert_eq!(reason(&other.decisions.get("other").await.unwrap()), None);
}
