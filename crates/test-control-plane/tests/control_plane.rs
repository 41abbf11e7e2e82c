//! What the tests and the demo rely on: real servers with RBAC, whose data survives a restart, and which are removed
//! however their owner ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{panic, thread};

use test_control_plane::{ControlPlane, User, write_script};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The output of kubectl, which must succeed.
fn kubectl(control_plane: &ControlPlane, args: &[&str]) -> String {
    let output = control_plane.kubectl().args(args).output().unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", text(&output));
    text(&output)
}

fn folder_of(control_plane: &ControlPlane) -> PathBuf {
    control_plane.kubeconfig(User::Admin).parent().unwrap().to_owned()
}

/// The command lines of the servers and their shells, which all contain the folder.
fn processes(folder: &Path) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,args="]).output().unwrap();
    let folder = folder.to_str().unwrap();
    text(&output).lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
}

fn is_gone(folder: &Path) -> bool {
    processes(folder).is_empty() && !folder.exists()
}

/// The shells of a killed owner end shortly after it.
fn assert_gone_within_10s(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_gone(folder) {
        assert!(Instant::now() < deadline, "left: {:?}, folder: {}", processes(folder), folder.exists());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_serves_kubectl_enforces_rbac_and_keeps_data_during_a_restart() {
    let mut control_plane = ControlPlane::start().unwrap();
    let folder = folder_of(&control_plane);

    let versions = kubectl(&control_plane, &["version"]);
    let version = |of: &str| versions.lines().find_map(|line| line.strip_prefix(of)).unwrap().trim().to_owned();
    // Each knows its version, also where `make oldest` has a newer kubectl than the API server.
    for of in ["Client Version:", "Server Version:"] {
        assert!(version(of).starts_with("v1."), "{versions}");
    }

    let as_developer = |args: &[&str]| {
        let output = control_plane.command(User::Developer, "kubectl").args(args).output().unwrap();
        (output.status.success(), text(&output))
    };
    let (allowed, output) = as_developer(&["get", "configmaps"]);
    assert!(!allowed && output.contains("User \"developer\" cannot list resource"), "{output}");
    kubectl(&control_plane, &["create", "role", "reader", "--verb=list", "--resource=configmaps"]);
    kubectl(&control_plane, &["create", "rolebinding", "readers", "--role=reader", "--user=developer"]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !as_developer(&["get", "configmaps"]).0 {
        assert!(Instant::now() < deadline, "{}", as_developer(&["get", "configmaps"]).1);
    }

    // Service accounts get tokens that the API server accepts.
    kubectl(&control_plane, &["create", "serviceaccount", "robot"]);
    let token = kubectl(&control_plane, &["create", "token", "robot"]);
    let whoami = kubectl(&control_plane, &["auth", "whoami", "--token", token.trim()]);
    assert!(whoami.contains("system:serviceaccount:default:robot"), "{whoami}");

    let url = control_plane.url();
    kubectl(&control_plane, &["create", "configmap", "kept", "--from-literal=key=value"]);
    control_plane.stop_api_server();
    assert!(!control_plane.kubectl().args(["get", "--raw", "/readyz"]).output().unwrap().status.success());
    control_plane.start_api_server().unwrap();
    assert_eq!(control_plane.url(), url);
    assert_eq!(kubectl(&control_plane, &["get", "configmap", "kept", "-o", "jsonpath={.data.key}"]), "value");

    assert_eq!(processes(&folder).len(), 6, "two servers, each with a shell and its reader");
    drop(control_plane);
    assert!(is_gone(&folder), "left: {:?}, folder: {}", processes(&folder), folder.exists());
}

#[test]
fn build_sh_links_the_newest_binaries_of_setup_envtest() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("build.sh");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    write_script(&script, &fs::read_to_string(root.join("build.sh")).unwrap()).unwrap();
    for file in ["etcd/go.mod", "etcd/go.sum", "kubernetes/go.mod", "kubernetes/go.sum"] {
        let copy = home.path().join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(root.join(file), copy).unwrap();
    }
    let store = match cfg!(target_os = "macos") {
        true => home.path().join("Library/Application Support/io.kubebuilder.envtest/k8s"),
        false => home.path().join(".local/share/kubebuilder-envtest/k8s"),
    };
    // 1.100 is newer than 1.99; the store of 1.101 is incomplete.
    for (version, binaries) in [
        ("1.99.7", &["etcd", "kube-apiserver", "kubectl"][..]),
        ("1.100.0", &["etcd", "kube-apiserver", "kubectl"]),
        ("1.101.0", &["kube-apiserver"]),
    ] {
        let folder = store.join(format!("{version}-os-arch"));
        fs::create_dir_all(&folder).unwrap();
        for binary in binaries {
            write_script(&folder.join(binary), &format!("#!/bin/sh\necho Kubernetes v{version}\n")).unwrap();
        }
    }
    let mut build = Command::new(&script);
    build.arg("control-plane").env("HOME", home.path()).env_remove("XDG_DATA_HOME").env_remove("KUBEBUILDER_ASSETS");
    let output = build.output().unwrap();
    let newest = store.join("1.100.0-os-arch");
    let expected = format!("Using the control plane in {} (setup-envtest)\n", newest.display());
    assert_eq!((output.status.success(), text(&output)), (true, expected));
    for binary in ["etcd", "kube-apiserver", "kubectl"] {
        assert_eq!(fs::read_link(home.path().join("bin").join(binary)).unwrap(), newest.join(binary));
    }
}

#[test]
fn a_panic_of_the_owner_removes_everything() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = panic::catch_unwind(move || {
        let control_plane = ControlPlane::start().unwrap();
        sender.send(folder_of(&control_plane)).unwrap();
        panic!("as in a failed test");
    });
    assert!(panicked.is_err());
    let folder = receiver.recv().unwrap();
    assert!(is_gone(&folder), "left: {:?}, folder: {}", processes(&folder), folder.exists());
}

#[test]
fn killing_the_owner_removes_everything() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_test-control-plane"))
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let kubeconfig = lines.find_map(|line| line.strip_prefix("export KUBECONFIG='").map(str::to_owned)).unwrap();
    let folder = Path::new(kubeconfig.trim_end_matches('\'')).parent().unwrap().to_owned();
    assert!(!processes(&folder).is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone_within_10s(&folder);
}

#[test]
fn the_command_uses_its_user_and_its_exit_code_is_returned() {
    let script =
        "kubectl auth whoami && echo \"$KUBECONFIG\" && test \"$KUBECONFIG\" = \"$KUBECONFIG_OPERATOR\" && exit 7";
    let output = Command::new(env!("CARGO_BIN_EXE_test-control-plane"))
        .args(["run", "--user", "operator", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("operator"), "{stdout}");
    let folder = Path::new(stdout.lines().last().unwrap()).parent().unwrap();
    assert!(is_gone(folder), "left: {:?}", processes(folder));
}
