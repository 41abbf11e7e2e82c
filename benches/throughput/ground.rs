//! What a trial stands on: a control plane of its own, started for it and gone with it, so that no contender finds what the one
//! before has left in the servers' memory; and an endpoint of its own in this process.

use crate::support::{Cluster, install_crds};
use control_plane::User;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use local_codepipeline::LocalCodePipeline;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

pub struct Ground {
    cluster: Cluster,
    pub client: kube::Client,
    pub service: LocalCodePipeline,
    pub namespaces: Vec<String>,
}

impl Ground {
    /// With so many namespaces, and an endpoint that answers after `delay`.
    pub async fn new(namespaces: usize, delay: Duration) -> Self {
        let cluster = tokio::task::spawn_blocking(start).await.unwrap();
        let client = cluster.client(User::Admin).await;
        let service = LocalCodePipeline::start(local_codepipeline::Settings::default()).await.unwrap();
        if !delay.is_zero() {
            service.fault(Fault::late().on(Operation::PutApprovalResult).always().delay_after(delay));
        }
        let namespaces: Vec<_> = (0..namespaces).map(|number| format!("work-{number}")).collect();
        for name in &namespaces {
            let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        Self { cluster, client, service, namespaces }
    }

    /// Whose rights all contenders have.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.control_plane.kubeconfig(User::Operator)
    }

    /// A folder with kubectl.
    pub fn path(&self) -> String {
        let kubectl = self.cluster.control_plane.command(User::Operator, "kubectl");
        let path = kubectl.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        path.unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn start() -> Cluster {
    let cluster = Cluster::start_empty();
    install_crds(&cluster.control_plane);
    let rights = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/rbac.yaml");
    let output = cluster.control_plane.kubectl().args(["apply", "--filename", rights]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster
}
