//! `approval-operator check`, which the Helm test of the chart runs.

use kube::api::ListParams;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_control_plane::User;
use test_support::{Cluster, TestEnv};

/// Runs the check. Returns whether it succeeded, and its output.
fn check(env: &TestEnv, kubeconfig: &Path, health_url: &str) -> (bool, String) {
    check_in(&env.namespace, kubeconfig, health_url)
}

fn check_in(namespace: &str, kubeconfig: &Path, health_url: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_approval-operator"))
        .args(["check", "--namespace", namespace, "--health-url", health_url])
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn administrator() -> PathBuf {
    Cluster::shared().control_plane.kubeconfig(User::Admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_succeeds_leaves_no_objects_behind() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    let (succeeded, text) = check(&env, &administrator(), &operator.url());
    assert!(succeeded, "{text}");
    let created = format!("an ApprovalDecision can be created in namespace {} (server-side dry run)", env.namespace);
    assert!(text.contains(&created) && text.contains("/readyz returned: ok"), "{text}");
    assert!(env.decisions.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_says_why() {
    let env = TestEnv::new().await;
    let (succeeded, text) = check(&env, &env.kubeconfig, "http://127.0.0.1:1");
    assert!(
        !succeeded
            && text.contains(&format!(
                "cannot be created in namespace {}: approvaldecisions.codepipeline.approvals.dev is forbidden",
                env.namespace
            )),
        "{text}"
    );
    let (succeeded, text) = check(&env, &administrator(), "http://127.0.0.1:1");
    assert!(
        !succeeded
            && text.contains("the operator is not ready: http://127.0.0.1:1/readyz: ")
            && text.contains("Connection refused"),
        "{text}"
    );
    let (succeeded, text) = check_in("nope", &administrator(), "http://127.0.0.1:1");
    assert!(!succeeded && text.contains("in namespace nope: the namespace does not exist"), "{text}");
    assert!(!text.contains("CustomResourceDefinition"), "{text}");
    let empty = Cluster::start_empty();
    let (succeeded, text) = check_in("default", &empty.control_plane.kubeconfig(User::Admin), "http://127.0.0.1:1");
    assert!(!succeeded && text.contains("its CustomResourceDefinition is not installed"), "{text}");
    let (succeeded, text) = check(&env, &administrator(), "127.0.0.1:8080");
    assert!(!succeeded && text.contains("use the URL of the operator's --http-address, such as"), "{text}");
    // A developer is not allowed to watch decisions, so this operator never becomes ready.
    let developer = Cluster::shared().control_plane.kubeconfig(User::Developer);
    let unready = env.operator_via(&developer).start();
    unready.wait_for_log("started").await;
    let (succeeded, text) = check(&env, &administrator(), &unready.url());
    assert!(
        !succeeded && text.contains("503 Service Unavailable: the watch on ApprovalDecisions has not synced"),
        "{text}"
    );
}
