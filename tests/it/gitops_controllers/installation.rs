//! The cluster that all stories share: the chart's CRD, permissions and admission policy, and the controllers of Flux and Argo CD,
//! which run as processes beside the API server. Each controller is cluster-admin, as their usual installation makes it: the
//! decisions are applied by the account that the controller impersonates.

use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;
use test_control_plane::{Server, User};
use test_support::chart::{CommandResult, apply, create_service_account, kubectl, render_chart};
use test_support::{Cluster, install_crds};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The secret token of the Git server's webhooks.
pub const WEBHOOK_TOKEN: &str = "0123456789abcdef";

pub struct Installation {
    pub cluster: Cluster,
    /// The kubeconfig file of the operator's ServiceAccount.
    pub operator: PathBuf,
    /// The addresses of the webhook receivers.
    pub flux_webhooks: String,
    pub argo_cd_webhooks: String,
    controllers: Vec<Controller>,
    _folder: TempDir,
}

/// A process in a folder of its own. It ends with the test program.
struct Controller {
    name: &'static str,
    server: Server,
    _folder: TempDir,
}

impl Controller {
    fn start(name: &'static str, kubeconfig: Option<&Path>, command: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let mut arguments = vec![format!("HOME={}", at.display()), format!("TMPDIR={}", at.display())];
        arguments.extend(kubeconfig.map(|path| format!("KUBECONFIG={}", path.display())));
        arguments.extend(command(at));
        let server = Server::start(at, Path::new("/usr/bin/env"), &arguments).unwrap();
        Self { name, server, _folder: folder }
    }
}

impl Installation {
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Installation> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let cluster = Cluster::start_empty();
        let folder = tempfile::tempdir().unwrap();
        install_crds(&cluster.control_plane);
        let crds = program("crds");
        assert!(crds.is_dir(), "{} is missing; build it with `make gitops`", crds.display());
        let run = |arguments: &[&str]| kubectl(&cluster, User::Admin, arguments, &Value::Null).expect_success();
        run(&["apply", "--server-side", "--filename", &crds.display().to_string()]);
        // It fails at once for a definition that has no conditions yet.
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        let established = (0..20).any(|_| kubectl(&cluster, User::Admin, &wait, &Value::Null).succeeded);
        assert!(established, "the definitions are not established");
        // kubectl caches the server's resources for hours; this command refreshes the cache.
        run(&["api-resources"]);
        for namespace in ["approvals", "flux-system", "argocd"] {
            run(&["create", "namespace", namespace]);
        }
        apply(&cluster, &render_chart("approvals", &["rbac", "users", "validatingadmissionpolicy"], &[]));
        run(&["apply", "--namespace=argocd", "--filename", &program("argocd-config").display().to_string()]);
        let settings = format!("{ROOT}/examples/gitops/argocd-cm.yaml");
        run(&["patch", "configmap", "argocd-cm", "--namespace=argocd", "--patch-file", &settings]);
        // Argo CD's API server adds the first key, but the other parts do not start without it.
        let keys = json!({ "server.secretkey": "0123456789", "webhook.gitlab.secret": WEBHOOK_TOKEN });
        let keys = json!({ "stringData": keys }).to_string();
        run(&["patch", "secret", "argocd-secret", "--namespace=argocd", "--patch", &keys]);
        let operator = create_service_account(&cluster, "approvals", "approval-operator", folder.path());
        let account = |namespace: &str, name: &'static str| {
            let kubeconfig = create_service_account(&cluster, namespace, name, folder.path());
            let subject = format!("--serviceaccount={namespace}:{name}");
            run(&["create", "clusterrolebinding", name, "--clusterrole=cluster-admin", &subject]);
            kubeconfig
        };
        let [flux_webhooks, argo_cd_webhooks] = [(); 2].map(|()| free_port());
        let mut controllers = flux(&account, flux_webhooks);
        controllers.extend(argo_cd(&account, argo_cd_webhooks));
        let [flux_webhooks, argo_cd_webhooks] =
            [flux_webhooks, argo_cd_webhooks].map(|port| format!("127.0.0.1:{port}"));
        Self { cluster, operator, flux_webhooks, argo_cd_webhooks, controllers, _folder: folder }
    }

    /// What each controller logs about a namespace.
    pub fn logs(&self, namespace: &str) -> String {
        let logs = self.controllers.iter().map(|controller| {
            let log = controller.server.log();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(namespace)).collect();
            format!("{}:\n{}\n", controller.name, lines.join("\n"))
        });
        logs.collect()
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(ROOT).join("hack/gitops/bin").join(name)
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn flux(account: &dyn Fn(&str, &'static str) -> PathBuf, webhooks: u16) -> Vec<Controller> {
    let start = |name: &'static str, extra: &dyn Fn(&Path) -> Vec<String>| {
        Controller::start(name, Some(&account("flux-system", name)), |folder| {
            let mut command = vec!["RUNTIME_NAMESPACE=flux-system".to_owned(), program(name).display().to_string()];
            command.extend(["--metrics-addr=0".to_owned(), format!("--health-addr=127.0.0.1:{}", free_port())]);
            command.extend(extra(folder));
            command
        })
    };
    let artifacts = format!("127.0.0.1:{}", free_port());
    let source = start("source-controller", &|folder| {
        vec![
            format!("--storage-path={}", folder.display()),
            format!("--storage-addr={artifacts}"),
            format!("--storage-adv-addr={artifacts}"),
        ]
    });
    let kustomize = start("kustomize-controller", &|_| {
        // The settings that Flux recommends for several teams in a cluster.
        ["--no-cross-namespace-refs=true", "--no-remote-bases=true"].map(str::to_owned).to_vec()
    });
    let notification = start("notification-controller", &|_| {
        vec![
            "--no-cross-namespace-refs=true".to_owned(),
            format!("--receiverAddr=127.0.0.1:{webhooks}"),
            format!("--events-addr=127.0.0.1:{}", free_port()),
        ]
    });
    vec![source, kustomize, notification]
}

fn argo_cd(account: &dyn Fn(&str, &'static str) -> PathBuf, webhooks: u16) -> Vec<Controller> {
    let [redis, repositories] = [(); 2].map(|()| free_port());
    let cache = Controller::start("redis", None, |_| {
        let command = "redis-server --bind 127.0.0.1 --save  --appendonly no --port";
        command.split(' ').map(str::to_owned).chain([redis.to_string()]).collect()
    });
    let start = |name: &'static str, arguments: &[String]| {
        Controller::start(name, Some(&account("argocd", name)), |folder| {
            let folder = folder.display();
            let mut command = vec![
                format!("ARGOCD_BINARY_NAME={name}"),
                // Uses KUBECONFIG for the cluster https://kubernetes.default.svc, as Argo CD's own development setup does.
                "ARGOCD_FAKE_IN_CLUSTER=true".to_owned(),
                "HOSTNAME=argocd-application-controller-0".to_owned(),
                "ARGOCD_GPG_ENABLED=false".to_owned(),
                format!("ARGOCD_TLS_DATA_PATH={folder}/tls"),
                format!("ARGOCD_SSH_DATA_PATH={folder}/ssh"),
                format!("ARGOCD_PLUGINSOCKFILEPATH={folder}/plugins"),
                format!("ARGOCD_ASK_PASS_SOCK={folder}/ask-pass.sock"),
                program("argocd").display().to_string(),
                format!("--redis=127.0.0.1:{redis}"),
                format!("--metrics-port={}", free_port()),
            ];
            command.extend_from_slice(arguments);
            command
        })
    };
    let loopback = ["--address=127.0.0.1", "--metrics-address=127.0.0.1"].map(str::to_owned);
    let arguments = [format!("--port={repositories}"), "--disable-tls".to_owned()];
    let repositories_server = start("argocd-repo-server", &[&loopback[..], &arguments].concat());
    let client = [
        "--namespace=argocd".to_owned(),
        format!("--repo-server=127.0.0.1:{repositories}"),
        "--repo-server-plaintext".to_owned(),
    ];
    let controller = start("argocd-application-controller", &client);
    // It has the webhook receiver.
    let arguments = [format!("--port={webhooks}"), "--insecure".to_owned()];
    let api_server = start("argocd-server", &[&loopback[..], &client, &arguments].concat());
    vec![cache, repositories_server, controller, api_server]
}

/// The objects of a file in `examples/gitops`, with other names for the namespace and the repository.
pub fn example(file: &str, namespace: &str, repository: &str, team: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{ROOT}/examples/gitops/{file}")).unwrap();
    let text = text
        .replace("https://git.example.com/release/decisions.git", repository)
        .replace("release-decisions", namespace)
        .replace("checkout", team);
    serde_saphyr::from_multiple(&text).unwrap()
}

/// The example decision of a team, with this revision and a time limit in the future.
pub fn decision(team: &str, revision: &str) -> Value {
    let mut objects = example("decisions/checkout/production.yaml", "", "", team);
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let mut object = objects.remove(0);
    object["spec"]["notAfter"] = json!(tomorrow.strftime("%FT%TZ").to_string());
    object["spec"]["sourceRevisions"][0]["revisionId"] = json!(revision);
    object
}

/// The dry run of the API server, with this change of an example in `examples/install`.
fn dry_run(file: &str, change: (&str, &str)) -> CommandResult {
    let text = std::fs::read_to_string(format!("{ROOT}/examples/install/{file}")).unwrap();
    assert!(text.contains(change.0), "{file} has no {:?}", change.0);
    let items: Vec<Value> = serde_saphyr::from_multiple(&text.replace(change.0, change.1)).unwrap();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-"];
    kubectl(&Installation::shared().cluster, User::Admin, &arguments, &list)
}

#[test]
#[ignore = "needs the definitions of Flux and Argo CD: make gitops"]
fn the_definitions_of_flux_and_argo_cd_admit_the_examples_that_install_the_operator() {
    for (file, objects, wrong) in [
        ("flux.yaml", 5, ("reconcileStrategy: Revision", "reconcileStrategy: Sometimes")),
        ("flux.yaml", 5, ("dependsOn:", "dependOn:")),
        ("argocd.yaml", 2, ("selfHeal: true", "selfHeal: perhaps")),
        ("argocd.yaml", 2, ("valuesObject:", "valueObject:")),
    ] {
        let result = dry_run(file, ("spec:", "spec:"));
        assert!(result.succeeded, "{file}: {}", result.output);
        assert_eq!(result.output.matches("serverside-applied").count(), objects, "{file}: {}", result.output);
        let result = dry_run(file, wrong);
        assert!(!result.succeeded, "{wrong:?} in {file}: {}", result.output);
    }
}
