//! What the tests and the demo rely on: real servers, with rights that are asked for, whose data survives a restart,
//! and of which nothing is left, whatever ends their owner.

// The setting that lets tests unwrap knows functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{panic, thread};

use control_plane::{ControlPlane, User};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// kubectl's answer, which must be a good one.
fn kubectl(control_plane: &ControlPlane, args: &[&str]) -> String {
    let output = control_plane.kubectl().args(args).output().unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", text(&output));
    text(&output)
}

fn folder_of(control_plane: &ControlPlane) -> PathBuf {
    control_plane.kubeconfig(User::Admin).parent().unwrap().to_owned()
}

/// The command lines of the servers and their shells: all of them name the folder.
fn processes(folder: &Path) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,args="]).output().unwrap();
    let folder = folder.to_str().unwrap();
    text(&output).lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
}

fn is_gone(folder: &Path) -> bool {
    processes(folder).is_empty() && !folder.exists()
}

/// Nobody waits for the shells of an owner that was killed, so it takes them a moment.
fn assert_soon_gone(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_gone(folder) {
        assert!(Instant::now() < deadline, "left: {:?}, folder: {}", processes(folder), folder.exists());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_serves_its_kubectl_gives_rights_as_bound_and_keeps_data_over_a_restart() {
    let mut control_plane = ControlPlane::start().unwrap();
    let folder = folder_of(&control_plane);

    let versions = kubectl(&control_plane, &["version"]);
    let version = |of: &str| versions.lines().find_map(|line| line.strip_prefix(of)).unwrap().trim().to_owned();
    assert_eq!(version("Client Version:"), version("Server Version:"));

    let as_developer = |args: &[&str]| {
        let output = control_plane.command(User::Developer, "kubectl").args(args).output().unwrap();
        (output.status.success(), text(&output))
    };
    let (allowed, answer) = as_developer(&["get", "configmaps"]);
    assert!(!allowed && answer.contains("User \"developer\" cannot list resource"), "{answer}");
    kubectl(&control_plane, &["create", "role", "reader", "--verb=list", "--resource=configmaps"]);
    kubectl(&control_plane, &["create", "rolebinding", "readers", "--role=reader", "--user=developer"]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !as_developer(&["get", "configmaps"]).0 {
        assert!(Instant::now() < deadline, "{}", as_developer(&["get", "configmaps"]).1);
    }

    // Service accounts get tokens, which the server believes.
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
fn nothing_is_left_of_an_owner_that_panics() {
    let (say, said) = std::sync::mpsc::channel();
    let panicked = panic::catch_unwind(move || {
        let control_plane = ControlPlane::start().unwrap();
        say.send(folder_of(&control_plane)).unwrap();
        panic!("as a failed test does");
    });
    assert!(panicked.is_err());
    let folder = said.recv().unwrap();
    assert!(is_gone(&folder), "left: {:?}, folder: {}", processes(&folder), folder.exists());
}

#[test]
fn nothing_is_left_of_an_owner_that_is_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_control-plane"))
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
    assert_soon_gone(&folder);
}

#[test]
fn the_command_sees_its_user_and_its_exit_status_is_passed_on() {
    let script =
        "kubectl auth whoami && echo \"$KUBECONFIG\" && test \"$KUBECONFIG\" = \"$KUBECONFIG_OPERATOR\" && exit 7";
    let output = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .args(["run", "--user", "operator", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("operator"), "{answer}");
    let folder = Path::new(answer.lines().last().unwrap()).parent().unwrap();
    assert!(is_gone(folder), "left: {:?}", processes(folder));
}
