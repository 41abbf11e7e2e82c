//! What the chart installs, as helm renders it, and the people and programs that it is about.

use super::cluster::Cluster;
use control_plane::User;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The objects of some of the chart's templates, with these values.
pub fn rendered(namespace: &str, templates: &[&str], values: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("tests/control-plane/bin/helm"))
        .args(["template", "approval-operator", "charts/approval-operator", "--namespace", namespace])
        .args(templates.iter().map(|template| format!("--show-only=templates/{template}.yaml")))
        .args(values.iter().map(|value| format!("--set={value}")))
        .current_dir(root)
        .output()
        .unwrap_or_else(|error| panic!("helm, which `make helm` builds: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// What became of a kubectl.
#[derive(Debug)]
pub struct Ran {
    pub is_done: bool,
    /// What it printed.
    pub text: String,
}

impl Ran {
    #[track_caller]
    pub fn done(self) -> String {
        assert!(self.is_done, "{}", self.text);
        self.text
    }
}

/// Runs kubectl with something on its standard input, which `--filename=-` reads.
pub fn kubectl(cluster: &Cluster, user: User, arguments: &[&str], input: &Value) -> Ran {
    let mut kubectl = cluster.control_plane.command(user, "kubectl");
    let kubectl = kubectl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = kubectl.spawn().unwrap();
    // What does not read its input may have ended by now.
    let _ = process.stdin.take().unwrap().write_all(input.to_string().as_bytes());
    let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
    Ran { is_done: status.success(), text: String::from_utf8([stdout, stderr].concat()).unwrap() }
}

/// Applies objects as the administrator.
pub fn apply(cluster: &Cluster, objects: &[Value]) {
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    kubectl(cluster, User::Admin, &["apply", "--filename=-"], &list).done();
}

/// A kubeconfig file of a ServiceAccount, which is made first.
pub fn service_account(cluster: &Cluster, namespace: &str, name: &str, folder: &Path) -> PathBuf {
    let run = |arguments: &[&str]| kubectl(cluster, User::Admin, arguments, &Value::Null).done();
    run(&["create", "serviceaccount", name, "--namespace", namespace]);
    let token = run(&["create", "token", name, "--namespace", namespace]);
    let text = std::fs::read_to_string(cluster.control_plane.kubeconfig(User::Operator)).unwrap();
    let (head, rest) = text.split_once("token: \"").unwrap();
    let (_, tail) = rest.split_once('"').unwrap();
    let path = folder.join(format!("{namespace}-{name}"));
    std::fs::write(&path, format!("{head}token: \"{}\"{tail}", token.trim())).unwrap();
    path
}
