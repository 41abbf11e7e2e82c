//! A cluster with targets, several accounts, and one operator. Targets belong to the whole cluster and every operator verifies them, so each
//! of these tests has a cluster to itself while it runs.

use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalTarget, TargetRef};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use local_codepipeline::iam::Role;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use test_control_plane::User;
use test_support::chart::kubectl;
use test_support::{Cluster, TestEnv};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The accounts of the targets. That of the operator is another one.
pub const ONE: &str = "111111111111";
pub const TWO: &str = "222222222222";
pub const REGION: &str = "eu-central-1";

/// The account and region of the operator's own identity.
pub const OWN: (&str, &str) = ("123456789012", "eu-west-1");

pub struct Site {
    pub env: TestEnv,
    pub targets: Api<ApprovalTarget>,
    /// None once it is idle again.
    cluster: Option<Cluster>,
    _turn: SemaphorePermit<'static>,
}

/// How many tests may have a cluster at a time. One of them needs two.
static TURNS: Semaphore = Semaphore::const_new(3);

/// The clusters that no test uses now.
static IDLE: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());

/// Whose permissions differ from those of the operator's chart.
const USER: &str = "--user=developer";

/// The ARN of the role that the operator assumes in an account.
pub fn role_arn(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/approvals")
}

impl Site {
    /// No target exists.
    pub async fn new() -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let idle = IDLE.lock().unwrap().pop();
        let cluster = match idle {
            Some(cluster) => cluster,
            None => tokio::task::spawn_blocking(Cluster::start).await.unwrap(),
        };
        let env = TestEnv::in_cluster(&cluster).await;
        let targets: Api<ApprovalTarget> = Api::all(cluster.client(User::Admin).await);
        for target in targets.list(&ListParams::default()).await.unwrap() {
            targets.delete(&target.name_any(), &DeleteParams::default()).await.unwrap();
        }
        Self { env, targets, cluster: Some(cluster), _turn: turn }
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }

    /// The kubeconfig file of an operator that may not list targets.
    pub fn kubeconfig_without_targets(&self) -> PathBuf {
        let namespace = format!("--namespace={}", self.env.namespace);
        self.kubectl(&["create", "rolebinding", "operator", "--clusterrole=approval-operator", USER, &namespace]);
        self.kubectl(&["delete", "clusterrolebinding", "targets", "--ignore-not-found"]);
        self.cluster().control_plane.kubeconfig(User::Developer)
    }

    /// The kubeconfig file of an operator that may use targets, but not read the labels of namespaces.
    pub fn kubeconfig_without_labels(&self) -> PathBuf {
        let kubeconfig = self.kubeconfig_without_targets();
        let resources = "--resource=approvaltargets,approvaltargets/status";
        self.kubectl(&["create", "clusterrole", "targets", "--verb=list,watch,patch", resources]);
        self.kubectl(&["create", "clusterrolebinding", "targets", "--clusterrole=targets", USER]);
        kubeconfig
    }

    /// A target of an account, whose role the operator assumes, and which admits this namespace and all pipelines.
    pub async fn create(&self, name: &str, account: &str) {
        self.env.codepipeline.put_role(Role::new(&role_arn(account)).unwrap());
        self.create_as(name, &self.spec(account)).await;
    }

    pub async fn create_as(&self, name: &str, spec: &Value) {
        let target = json!({
            "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalTarget",
            "metadata": { "name": name }, "spec": spec,
        });
        self.targets.create(&PostParams::default(), &serde_json::from_value(target).unwrap()).await.unwrap();
    }

    pub fn spec(&self, account: &str) -> Value {
        json!({
            "accountId": account, "region": REGION, "roleArn": role_arn(account),
            "access": [{ "namespaces": { "names": [self.env.namespace] }, "pipelines": ["*"] }],
        })
    }

    /// The output of kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(self.cluster(), User::Admin, arguments, &Value::Null).expect_success()
    }

    pub async fn patch(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.targets.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn delete(&self, name: &str) {
        self.targets.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the operator reports this about the target as it is now, and returns the message.
    pub async fn wait_for(&self, name: &str, reason: &str) -> String {
        let ready = |target: &ApprovalTarget| {
            let status = target.status.clone()?;
            let condition = status.conditions.into_iter().find(|condition| condition.r#type == "Ready")?;
            (status.observed_generation == target.metadata.generation).then_some(condition)
        };
        let is_reported = |target: Option<&ApprovalTarget>| {
            target.and_then(ready).is_some_and(|condition| condition.reason == reason)
        };
        let found = timeout(Duration::from_secs(60), await_condition(self.targets.clone(), name, is_reported)).await;
        let found = found.unwrap_or_else(|_| panic!("{name} never became {reason}")).unwrap();
        ready(&found.unwrap()).unwrap().message
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        IDLE.lock().unwrap().extend(self.cluster.take());
    }
}

/// The decision with a target.
pub fn through(target: &str, spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
    let target_ref = TargetRef { name: target.to_owned(), account_id: None, region: None };
    ApprovalDecisionSpec { target_ref: Some(target_ref), ..spec }
}
