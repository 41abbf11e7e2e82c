//! The control plane that the tests share, and clients of it.

use super::operator::operator_binary;
use std::process::Command;
use std::sync::OnceLock;
use test_control_plane::{ControlPlane, User};

/// A control plane with the operator's RBAC and, unless the test wants it empty, the CRD.
pub struct Cluster {
    pub control_plane: ControlPlane,
}

impl Cluster {
    /// The control plane that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a control plane for a few tests.
    pub fn start() -> Self {
        let cluster = Self::start_empty();
        install_crds(&cluster.control_plane);
        cluster
    }

    /// Starts a control plane for a single test, with the operator's RBAC but without the CRD.
    pub fn start_empty() -> Self {
        let control_plane = ControlPlane::start().unwrap();
        let rbac = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/operator-rbac.yaml");
        succeed(control_plane.kubectl().args(["apply", "--filename", rbac]));
        Self { control_plane }
    }

    pub async fn client(&self, user: User) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.control_plane.kubeconfig(user)).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

/// Installs the output of `approval-operator crd`, as the operator's log recommends.
pub fn install_crds(control_plane: &ControlPlane) {
    let crds = Command::new(operator_binary()).arg("crd").output().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), crds.stdout).unwrap();
    succeed(control_plane.kubectl().args(["apply", "--server-side", "--filename"]).arg(file.path()));
    let crd = "crd/approvaldecisions.codepipeline.approvals.dev";
    succeed(control_plane.kubectl().args(["wait", "--for=condition=Established", "--timeout=60s", crd]));
    // kubectl caches the server's resources for hours; this command refreshes the cache.
    succeed(control_plane.kubectl().arg("api-resources"));
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
