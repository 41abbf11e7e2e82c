//! The chart as helm renders it, kubectl, and ServiceAccounts.

use super::cluster::Cluster;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use test_control_plane::User;

/// Renders some templates of the chart with these values, and returns their objects.
pub fn render_chart(namespace: &str, templates: &[&str], values: &[&str]) -> Vec<Value> {
    let templates = templates.iter().map(|template| format!("--show-only=templates/{template}.yaml"));
    let arguments: Vec<_> = templates.chain(values.iter().map(|value| format!("--set={value}"))).collect();
    render_chart_with("approval-operator", namespace, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Renders a chart with these arguments of helm, as a release with the name of the chart, and returns its objects.
pub fn render_chart_with(chart: &str, namespace: &str, arguments: &[&str]) -> Vec<Value> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let output = Command::new(root.join("crates/test-control-plane/bin/helm"))
        .args(["template", chart, &format!("charts/{chart}"), "--namespace", namespace])
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap_or_else(|error| panic!("cannot run helm, build it with `make helm`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// The result of a kubectl command.
#[derive(Debug)]
pub struct CommandResult {
    pub succeeded: bool,
    /// Standard output, then standard error.
    pub output: String,
}

impl CommandResult {
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.succeeded, "{}", self.output);
        self.output
    }
}

/// Runs kubectl with this input, which `--filename=-` reads.
pub fn kubectl(cluster: &Cluster, user: User, arguments: &[&str], input: &Value) -> CommandResult {
    let mut kubectl = cluster.control_plane.command(user, "kubectl");
    let kubectl = kubectl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = kubectl.spawn().unwrap();
    // A command that does not read its input may have exited already.
    let _ = process.stdin.take().unwrap().write_all(input.to_string().as_bytes());
    let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
    CommandResult { succeeded: status.success(), output: String::from_utf8([stdout, stderr].concat()).unwrap() }
}

/// Applies objects as the administrator.
pub fn apply(cluster: &Cluster, objects: &[Value]) {
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    kubectl(cluster, User::Admin, &["apply", "--filename=-"], &list).expect_success();
}

/// A RoleBinding that gives the user `developer` the rights of the operator in a namespace.
pub fn rights_of_operator(namespace: &str) -> Value {
    let api = "rbac.authorization.k8s.io";
    serde_json::json!({
        "apiVersion": format!("{api}/v1"),
        "kind": "RoleBinding",
        "metadata": { "name": "operator", "namespace": namespace },
        "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": "approval-operator" },
        "subjects": [{ "apiGroup": api, "kind": "User", "name": "developer" }],
    })
}

/// Creates a ServiceAccount and returns a kubeconfig file for it.
pub fn create_service_account(cluster: &Cluster, namespace: &str, name: &str, folder: &Path) -> PathBuf {
    let run = |arguments: &[&str]| kubectl(cluster, User::Admin, arguments, &Value::Null).expect_success();
    run(&["create", "serviceaccount", name, "--namespace", namespace]);
    let token = run(&["create", "token", name, "--namespace", namespace]);
    let text = std::fs::read_to_string(cluster.control_plane.kubeconfig(User::Operator)).unwrap();
    let (head, rest) = text.split_once("token: \"").unwrap();
    let (_, tail) = rest.split_once('"').unwrap();
    let path = folder.join(format!("{namespace}-{name}"));
    std::fs::write(&path, format!("{head}token: \"{}\"{tail}", token.trim())).unwrap();
    path
}
