//! The servers of one trial: a new control plane, so that no contender inherits state of the previous one, and a local CodePipeline
//! in this process.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use local_codepipeline::LocalCodePipeline;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use test_control_plane::User;
use test_support::Cluster;

pub struct Environment {
    cluster: Cluster,
    pub client: kube::Client,
    pub codepipeline: LocalCodePipeline,
    pub namespaces: Vec<String>,
}

impl Environment {
    /// CodePipeline responds to PutApprovalResult after `delay`.
    pub async fn start(namespaces: usize, delay: Duration) -> Self {
        let cluster = tokio::task::spawn_blocking(start_cluster).await.unwrap();
        let client = cluster.client(User::Admin).await;
        let codepipeline = LocalCodePipeline::start(local_codepipeline::Settings::default()).await.unwrap();
        if !delay.is_zero() {
            codepipeline.inject(Fault::delayed().on(Operation::PutApprovalResult).always().delay_after(delay));
        }
        let namespaces: Vec<_> = (0..namespaces).map(|number| format!("team-{number}")).collect();
        for name in &namespaces {
            let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        Self { cluster, client, codepipeline, namespaces }
    }

    /// The kubeconfig that all contenders use.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.control_plane.kubeconfig(User::Operator)
    }

    /// A PATH that contains kubectl.
    pub fn path(&self) -> String {
        let kubectl = self.cluster.control_plane.command(User::Operator, "kubectl");
        let path = kubectl.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        path.unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn start_cluster() -> Cluster {
    let cluster = Cluster::start();
    let rbac = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/rbac.yaml");
    let output = cluster.control_plane.kubectl().args(["apply", "--filename", rbac]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster
}
