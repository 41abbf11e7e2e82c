//! What is rotated or revoked while the operator runs: the CA and the token of the API server, AWS keys in a mounted Secret, and the
//! operator's rights. The same process continues when the new files or the rights are there.

use approval_operator::api::v1alpha1::{REQUESTED_AT, Reason};
use approval_operator::backoff::AWS_RELOAD;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_control_plane::User;
use test_support::chart::{apply, kubectl, rights_of_operator};
use test_support::proxy::{ProxiedRequest, Proxy, Response, response};
use test_support::{Cluster, MountedSecret, Operator, TestEnv, reason, spec};
use tokio::time::sleep;

/// The files that the kubelet mounts into a pod, and a kubeconfig file that names them.
struct PodFiles(TempDir);

impl PodFiles {
    fn new(url: &str, ca: &str, token: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.set("ca.crt", ca);
        files.set("token", token);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "pod", "cluster": { "server": url, "certificate-authority": files.path("ca.crt") } }],
            "users": [{ "name": "pod", "user": { "tokenFile": files.path("token") } }],
            "contexts": [{ "name": "pod", "context": { "cluster": "pod", "user": "pod" } }],
            "current-context": "pod",
        });
        files.set("kubeconfig", &kubeconfig.to_string());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}

/// The token in a kubeconfig file.
fn token(kubeconfig: &Path) -> String {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let (_, rest) = text.split_once("token: \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn deliver(env: &TestEnv, pipeline: &str) {
    env.open_and_approve(pipeline).await;
    wait_until_delivered(env, pipeline).await;
}

async fn wait_until_delivered(env: &TestEnv, pipeline: &str) {
    env.wait_for_reason(pipeline, Reason::Delivered).await;
    assert_eq!(env.accepted_count(pipeline), 1, "{pipeline}");
}

/// One process did everything.
async fn assert_not_restarted(operator: &Operator) {
    assert_eq!(operator.log().matches("started").count(), 1, "{}", operator.log());
    assert_eq!(operator.get("/healthz").await.map(|(status, _)| status), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_ca_of_the_api_server_heals_without_a_restart() {
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let mut env = TestEnv::in_cluster(&cluster).await;
    let control_plane = &mut cluster.control_plane;
    let ca = control_plane.ca_certificate().unwrap();
    let files = PodFiles::new(&control_plane.url(), &ca, &token(&control_plane.kubeconfig(User::Operator)));
    let operator = env.operator_via(&files.path("kubeconfig")).start();
    deliver(&env, "before").await;
    control_plane.rotate_certificates().unwrap();
    let rotated = control_plane.ca_certificate().unwrap();
    assert_ne!(rotated, ca);
    // Liveness does not depend on the API server: a restart of every operator would not help.
    operator.wait_for_log("waiting for the API server").await;
    assert_eq!(operator.get("/healthz").await.map(|(status, _)| status), Some(200));
    files.set("ca.crt", &rotated);
    env.client = cluster.client(User::Admin).await;
    env.decisions = Api::namespaced(env.client.clone(), &env.namespace);
    deliver(&env, "after").await;
    assert_not_restarted(&operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_read_again_after_the_old_one_was_revoked() {
    let env = TestEnv::new().await;
    let cluster = Cluster::shared();
    let namespace = format!("--namespace={}", env.namespace);
    let run = |arguments: &[&str]| {
        kubectl(cluster, User::Admin, &[arguments, &[&namespace]].concat(), &Value::Null).expect_success()
    };
    // A token is revoked when the object that it is bound to is deleted.
    let bound_token = |secret: &str| {
        run(&["create", "secret", "generic", secret]);
        let bound_to = format!("--bound-object-name={secret}");
        run(&["create", "token", "pod", "--bound-object-kind=Secret", &bound_to]).trim().to_owned()
    };
    run(&["create", "serviceaccount", "pod"]);
    let account = format!("--serviceaccount={}:pod", env.namespace);
    run(&["create", "rolebinding", "pod", "--clusterrole=approval-operator", &account]);
    let control_plane = &cluster.control_plane;
    let files = PodFiles::new(&control_plane.url(), &control_plane.ca_certificate().unwrap(), &bound_token("first"));
    let operator = env.operator_via(&files.path("kubeconfig")).arg("--approval-targets=false").start();
    deliver(&env, "before").await;
    run(&["delete", "secret", "first"]);
    operator.wait_for_log("does not accept the operator's credentials").await;
    files.set("token", &bound_token("second"));
    deliver(&env, "after").await;
    assert_not_restarted(&operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_aws_keys_in_a_mounted_secret_are_read_again() {
    let env = TestEnv::new().await;
    let secret = MountedSecret::new("FIRST\n");
    let operator = env.operator().arg(&secret.argument()).start();
    let caller = |pipeline: &str| env.codepipeline.ledger_for(pipeline)[0].caller.clone();
    deliver(&env, "before").await;
    assert!(caller("before").ends_with("/FIRST"), "{}", caller("before"));
    env.codepipeline.refuse_access_key("FIRST");
    env.open_and_approve("after").await;
    env.wait_for_reason("after", Reason::CredentialsUnavailable).await;
    secret.set("AWS_ACCESS_KEY_ID", "SECOND");
    wait_until_delivered(&env, "after").await;
    assert!(caller("after").ends_with("/SECOND"), "{}", caller("after"));
    assert_not_restarted(&operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_not_sent_to_another_account_after_a_refresh_of_the_credentials() {
    const OTHER: &str = "111111111111";
    let env = TestEnv::new().await;
    let files = PodFiles::new("", "", "");
    files.set("key", "FIRST");
    // The credentials expire so soon that each request fetches them.
    let output = r#"{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"s","SessionToken":"t","Expiration":"%s"}"#;
    let expiration = "$(date -u -d '+30 seconds' +%FT%TZ)";
    files.set("credentials.sh", &format!("printf '{output}' $(cat {}) {expiration}", files.path("key").display()));
    let process = format!("credential_process = sh {}", files.path("credentials.sh").display());
    files.set("config", &format!("[default]\nregion = eu-west-1\n{process}\n"));
    let operator = env.operator().aws_config_file(&files.path("config")).start();
    deliver(&env, "before").await;

    let account = env.codepipeline.in_account(OTHER, "eu-west-1");
    let [first, second] = ["one", "two"].map(|name| account.open_approval(name, "Prod", "Approve").unwrap());
    files.set("key", &format!("SECOND@{OTHER}"));
    // The operator notices the other account when it sends this result, and has recorded its own account by then.
    env.create("pinned", spec("one", &first)).await;
    env.wait_for_reason("pinned", Reason::TargetForbidden).await;
    assert_eq!(account.ledger().len(), 0);
    env.create("next", spec("two", &second)).await;
    let next = env.wait_for_reason("next", Reason::Delivered).await;
    let submission = next.status.and_then(|status| status.submission).unwrap();
    assert_eq!((submission.account_id.as_str(), account.ledger().len()), (OTHER, 1));
    assert_not_restarted(&operator).await;
}

/// A proxy to CodePipeline that denies access to a revoked session. STS still says whose it is, as in AWS.
async fn revocable(env: &TestEnv, access_key: &'static str, is_revoked: &Arc<AtomicBool>) -> Proxy {
    let is_revoked = is_revoked.clone();
    let denied = r#"{"__type":"AccessDeniedException","message":"explicit deny in an identity-based policy"}"#;
    let handler = move |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        let is_denied = request.name.kind != "GetCallerIdentity"
            && request.is_signed_by(access_key)
            && is_revoked.load(Ordering::Relaxed);
        Box::pin(async move {
            if is_denied {
                return Some(response(400, "application/x-amz-json-1.1", denied));
            }
            request.forward().await
        })
    };
    Proxy::to_codepipeline(&env.codepipeline.url(), handler).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_of_aws_is_replaced_by_the_new_one_in_the_mounted_secret() {
    let env = TestEnv::new().await;
    let secret = MountedSecret::new("FIRST");
    secret.set("AWS_SESSION_TOKEN", "first");
    let is_revoked = Arc::new(AtomicBool::new(false));
    let proxy = revocable(&env, "FIRST", &is_revoked).await;
    let operator = env.operator().env("AWS_ENDPOINT_URL", proxy.url()).arg(&secret.argument()).start();
    deliver(&env, "before").await;
    let caller = |pipeline: &str| env.codepipeline.ledger_for(pipeline)[0].caller.clone();
    assert!(caller("before").ends_with("/FIRST"), "{}", caller("before"));
    is_revoked.store(true, Ordering::Relaxed);
    env.open_and_approve("after").await;
    env.wait_for_reason("after", Reason::AccessDenied).await;
    secret.set("AWS_ACCESS_KEY_ID", "SECOND");
    secret.set("AWS_SESSION_TOKEN", "second");
    // The operator loads credentials again with the first attempt that is denied when they are a minute old. Its own attempts are minutes
    // apart by then.
    let started_at = Instant::now();
    while reason(&env.decisions.get("after").await.unwrap()) != Some(Reason::Delivered) {
        assert!(started_at.elapsed() < 2 * AWS_RELOAD, "{}", operator.log());
        let now = json!(Timestamp::now().to_string());
        env.patch("after", json!({ "metadata": { "annotations": { REQUESTED_AT: now } } })).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert!(caller("after").ends_with("/SECOND"), "{}", caller("after"));
    assert_eq!(env.accepted_count("after"), 1);
    assert_not_restarted(&operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_rights_are_taken_away_continues_when_they_are_given_back() {
    let env = TestEnv::new().await;
    let cluster = Cluster::shared();
    let binding = rights_of_operator(&env.namespace);
    apply(cluster, std::slice::from_ref(&binding));
    let operator =
        env.operator_via(&cluster.control_plane.kubeconfig(User::Developer)).arg("--approval-targets=false").start();
    deliver(&env, "before").await;
    kubectl(cluster, User::Admin, &["delete", "--filename=-"], &binding).expect_success();
    operator.wait_for_log("not allowed to list and watch").await;
    env.open_and_approve("after").await;
    env.open_and_approve("edited").await;
    env.patch("edited", json!({ "spec": { "suspend": true } })).await.unwrap();
    let (taken_away_at, lines) = (Instant::now(), "not allowed to list and watch");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(reason(&env.decisions.get("after").await.unwrap()), Some(Reason::Pending));
    let logged = operator.log().matches(lines).count();
    assert!(logged == 1 || taken_away_at.elapsed() > Duration::from_secs(50), "{}", operator.log());
    apply(cluster, &[binding]);
    wait_until_delivered(&env, "after").await;
    env.wait_for_reason("edited", Reason::Suspended).await;
    assert_eq!(env.codepipeline.ledger_for("edited").len(), 0);
    assert_not_restarted(&operator).await;
}
