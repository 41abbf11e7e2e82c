//! `approval-operator check`, which the chart's test runs.

use crate::support::{Case, Cluster};
use control_plane::User;
use kube::api::ListParams;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether it found all well, and what it printed.
fn check(case: &Case, kubeconfig: &Path, health_url: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_approval-operator"))
        .args(["check", "--namespace", &case.namespace, "--health-url", health_url])
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
async fn all_is_well_and_nothing_is_left_behind() {
    let case = Case::new().await;
    let operator = case.operator().start();
    operator.until_ready().await;
    let (is_well, text) = check(&case, &administrator(), &operator.url());
    assert!(is_well, "{text}");
    assert!(text.contains("is admitted (server-side dry run)") && text.contains("/readyz says: ok"), "{text}");
    assert!(case.decisions.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_amiss_is_named() {
    let case = Case::new().await;
    let (is_well, text) = check(&case, &case.kubeconfig, "http://127.0.0.1:1");
    assert!(
        !is_well && text.contains("is not admitted: approvaldecisions.codepipeline.approvals.dev is forbidden"),
        "{text}"
    );
    let (is_well, text) = check(&case, &administrator(), "http://127.0.0.1:1");
    assert!(
        !is_well && text.contains("http://127.0.0.1:1/readyz says:") && text.contains("Connection refused"),
        "{text}"
    );
    let (is_well, text) = check(&case, &administrator(), "127.0.0.1:8080");
    assert!(!is_well && text.contains("write where the operator's --http-address is reached"), "{text}");
    let blind = case.operator().argument("--watch-label-selector=shard in a").start();
    blind.until_log("started").await;
    let (is_well, text) = check(&case, &administrator(), &blind.url());
    assert!(
        !is_well && text.contains("503 Service Unavailable: the watch on ApprovalDecisions has not synced"),
        "{text}"
    );
}
