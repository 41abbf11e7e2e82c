//! The roles of the chart for people: they show why a decision is as it is, and they stay when the namespaces of the operator change.

use crate::policy::cluster_with_policy;
use approval_operator::api::v1alpha1::Reason;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use test_control_plane::User;
use test_support::TestEnv;
use test_support::chart::{apply, kubectl, render_chart};

/// Runs a command as the administrator, who can also act as another user.
pub fn run(arguments: &[&str]) -> String {
    kubectl(cluster_with_policy(), User::Admin, arguments, &Value::Null).expect_success()
}

fn bind(namespace: &str, role: &str, user: &str) {
    let (role, user_argument) = (format!("--clusterrole={role}"), format!("--user={user}"));
    run(&["--namespace", namespace, "create", "rolebinding", user, &role, &user_argument]);
}

/// Runs helm with a folder of its own, so that it reads no configuration of this machine.
pub fn helm(arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tempfile::tempdir().unwrap();
    let mut command: Command =
        cluster_with_policy().control_plane.command(User::Admin, root.join("crates/test-control-plane/bin/helm"));
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.path());
    }
    let output = command.args(arguments).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_and_viewers_see_the_events_of_a_decision() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let namespace = env.namespace.as_str();
    apply(cluster_with_policy(), &render_chart("approvals", &["users"], &[]));
    let operator = env.operator().start();
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    let is_recorded = async || run(&["--namespace", namespace, "get", "events"]).contains("Delivered");
    operator.eventually("the Event is recorded", is_recorded).await;
    for role in ["author", "viewer"] {
        let user = format!("{namespace}-{role}");
        bind(namespace, &format!("approval-operator-{role}"), &user);
        let as_user = format!("--as={user}");
        let described = run(&["--namespace", namespace, "describe", "apd", "web", &as_user]);
        let (_, events) = described.rsplit_once("Events:").unwrap();
        assert!(events.contains("Delivered"), "{role}: {described}");
        for events in ["events", "events.events.k8s.io"] {
            assert!(run(&["--namespace", namespace, "get", events, &as_user]).contains("Delivered"), "{role}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approvers_keep_their_rights_when_the_operator_is_limited_to_selected_namespaces() {
    let env = TestEnv::in_cluster(cluster_with_policy()).await;
    let (namespace, user) = (env.namespace.as_str(), format!("{}-approver", env.namespace));
    let (release, as_user) = (format!("gate-{namespace}"), format!("--as={user}"));
    // The cluster has the policy already.
    let install = |command: &str, watched: &[&str]| {
        let arguments = [command, release.as_str(), "charts/approval-operator", "--namespace", namespace];
        helm(&[&arguments, ["--set=admissionPolicy.enabled=false"].as_slice(), watched].concat());
    };
    install("install", &[]);
    bind(namespace, &format!("{release}-approval-operator-author"), &user);
    let approve = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": { "name": user, "namespace": namespace },
        "rules": [{ "apiGroups": ["codepipeline.approvals.dev"], "resources": ["pipelines"],
            "resourceNames": ["web"], "verbs": ["approve"] }],
    });
    apply(cluster_with_policy(), &[approve]);
    run(&[
        "--namespace",
        namespace,
        "create",
        "rolebinding",
        "approve",
        &format!("--role={user}"),
        &format!("--user={user}"),
    ]);

    let watched = format!("--set=watchNamespaces={{{namespace}}}");
    for (name, values) in [("before", None), ("after", Some(watched.as_str())), ("again", None)] {
        if name != "before" {
            install("upgrade", values.as_slice());
        }
        let decision = crate::policy::decision(namespace, name);
        let create = ["create", "--filename=-", &as_user];
        kubectl(cluster_with_policy(), User::Admin, &create, &decision).expect_success();
        run(&["--namespace", namespace, "describe", "apd", name, &as_user]);
    }
    helm(&["uninstall", &release, "--namespace", namespace]);
}
