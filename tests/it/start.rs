//! Starts with a missing or invalid configuration: the operator says what is wrong, and retries where it can.

use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use std::process::Command;
use test_support::{Cluster, TestEnv, install_crds, reason, spec};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
    let output = command.args(arguments).env_clear().env("HOME", "/nonexistent").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_invalid_configuration_ends_the_start_with_one_clear_line() {
    for (arguments, expected) in [
        (vec!["run", "--poll-interval=0s"], "use a duration of at least 100ms, such as 15s, 2m or 7d"),
        (vec!["run", "--aws-timeout=soon"], "such as 15s, 2m or 7d"),
        (vec!["run", "--aws-timeout=6m"], "the maximum is 5m"),
        (vec!["run", "--poll-interval=2h"], "the maximum is 1h"),
        (vec!["run", "--waiting-limit=1000000000d"], "such as 15s, 2m or 7d"),
        (vec!["run", "--aws-sts-region=eu_west"], "use the name of a region, such as eu-west-1"),
        (vec!["run", "--concurrency=0"], "0 is not in 1..=65535"),
        (vec!["run", "--namespace=Team_A"], "a namespace has 1 to 63 characters of a-z, 0-9 and -"),
        (vec!["run", "--http-address=nowhere"], "invalid socket address"),
        (vec!["run", "--http-address=192.0.2.1:80"], "cannot listen on --http-address 192.0.2.1:80"),
        (vec!["run", "--http-address=127.0.0.1:0"], "no Kubernetes cluster is configured"),
        (
            vec!["run", "--leader-elect-lease=Foo_Bar"],
            "the name of a Lease has 1 to 253 characters of a-z, 0-9, - and .",
        ),
        (vec!["run", "--leader-elect-identity="], "a value is required for '--leader-elect-identity"),
        (vec!["run", "--otlp-endpoint=http://me:pw@collector:4318"], "set OTEL_EXPORTER_OTLP_HEADERS"),
        (vec!["run", "--otlp-endpoint=collector:4318"], "such as http://collector:4318"),
        (vec!["run", "--nonsense"], "unexpected argument '--nonsense'"),
    ] {
        let (code, error) = run(&arguments);
        assert_ne!(code, Some(0), "{arguments:?}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn the_operator_does_not_start_without_ca_certificates() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_approval-operator"));
    let command = command.args(["run", "--http-address=127.0.0.1:0"]).env_clear().env("SSL_CERT_FILE", "/dev/null");
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("no CA certificates found; set SSL_CERT_FILE to a CA bundle"), "{error}");
}

#[test]
fn the_help_explains_every_flag() {
    let output = Command::new(env!("CARGO_BIN_EXE_approval-operator")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "namespace",
        "concurrency",
        "poll-interval",
        "aws-timeout",
        "aws-sts-region",
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
async fn the_operator_waits_for_the_api_server_and_the_crd_and_says_so() {
    let mut cluster = Cluster::start_empty();
    let env = TestEnv::in_cluster(&cluster).await;
    cluster.control_plane.stop_api_server();
    let operator = env.operator().start();
    operator.wait_for_log("waiting for the API server at https://127.0.0.1").await;
    assert_eq!(operator.get("/readyz").await.map(|(status, _)| status), Some(503));
    assert_eq!(operator.get("/healthz").await, Some((200, "ok\n".to_owned())));
    cluster.control_plane.start_api_server().unwrap();
    operator.wait_for_log("approval-operator crd | kubectl apply --server-side -f -").await;
    install_crds(&cluster.control_plane);
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    operator.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_which_permissions_are_missing() {
    let env = TestEnv::new().await;
    let developer = Cluster::shared().control_plane.kubeconfig(test_control_plane::User::Developer);
    let operator = env.operator().env("KUBECONFIG", &developer.display().to_string()).start();
    operator.wait_for_log("not allowed to list and watch approvaldecisions.codepipeline.approvals.dev").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_reports_a_missing_region_or_credentials_and_recovers_automatically() {
    let env = TestEnv::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
    env.open_and_approve("web").await;
    let operator = env
        .operator()
        .aws_config_file(&config)
        .env("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap())
        .start();
    let message = |decision: &approval_operator::api::v1alpha1::ApprovalDecision| {
        decision.status.as_ref().unwrap().conditions[0].message.clone()
    };
    let decision = env.wait_for_reason("web", Reason::CredentialsUnavailable).await;
    assert!(message(&decision).contains("no AWS region"), "{}", message(&decision));
    std::fs::write(&config, "[default]\nregion = eu-west-1\n").unwrap();
    let decision = env
        .wait_until("web", "a message about credentials", |decision| !message(decision).contains("no AWS region"))
        .await;
    assert!(message(&decision).contains("credential"), "{}", message(&decision));
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
    std::fs::write(&credentials, "[default]\naws_access_key_id = FILE\naws_secret_access_key = secret\n").unwrap();
    env.wait_for_reason("web", Reason::Delivered).await;
    assert!(env.codepipeline.ledger()[0].caller.ends_with("/FILE"), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_watches_only_the_given_namespaces() {
    let (one, two, other) = (TestEnv::new().await, TestEnv::new().await, TestEnv::new().await);
    let operator = one.operator().namespace(&two.namespace).start();
    operator.wait_until_ready().await;
    for (env, pipeline) in [(&other, "other"), (&one, "one"), (&two, "two")] {
        let approval = one.open_approval(pipeline);
        env.create(pipeline, spec(pipeline, &approval)).await;
    }
    one.wait_for_reason("one", Reason::Delivered).await;
    two.wait_for_reason("two", Reason::Delivered).await;
    assert_eq!(reason(&other.decisions.get("other").await.unwrap()), Some(Reason::Pending));
}
