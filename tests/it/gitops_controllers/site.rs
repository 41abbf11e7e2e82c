//! One team's setup with one controller: a namespace, an operator, a local CodePipeline, a repository, and the objects of
//! `examples/gitops`.

use super::git::Repository;
use super::installation::{Installation, example};
use approval_operator::api::v1alpha1::ApprovalDecision;
use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use test_control_plane::User;
use test_support::chart::{apply, kubectl};
use test_support::{Operator, TestEnv};
use tokio::time::timeout;

/// The time limit of every wait. Flux checks the health for a minute, and both wait up to a minute before a retry.
const WAIT_TIMEOUT: Duration = Duration::from_secs(180);

/// A GitOps controller, and how it compares Git with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Flux,
    ArgoCdClientSideDiff,
    ArgoCdServerSideDiff,
}

/// Where a team sees how the sync of its folder goes: the status of a Kustomization or an Application.
#[derive(Clone, Debug)]
pub struct Report {
    /// The commit that was applied completely.
    pub applied: Option<String>,
    /// Flux: Ready with the reason. Argo CD: the health.
    pub health: String,
    /// The sync status of Argo CD.
    pub sync: String,
    /// The commit that Argo CD compared with the cluster.
    pub compared: String,
    /// The commit that a sync of Argo CD is applying.
    pub syncing: Option<String>,
    /// The messages that the team can read.
    pub text: String,
}

pub struct Site {
    pub env: TestEnv,
    pub controller: Controller,
    pub operator: Operator,
    pub repository: Repository,
    teams: Vec<&'static str>,
    /// Changes the Kustomization or Application of the examples.
    change: fn(&mut Value),
}

impl Controller {
    fn kind(self) -> GroupVersionKind {
        match self {
            Self::Flux => GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
            Self::ArgoCdClientSideDiff | Self::ArgoCdServerSideDiff => {
                GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application")
            }
        }
    }

    fn report(self, object: &Value) -> Report {
        let status = &object["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        match self {
            Self::Flux => {
                let conditions = list(&status["conditions"]);
                let ready =
                    conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
                let current = status["observedGeneration"] == object["metadata"]["generation"];
                let revision = text(&status["lastAppliedRevision"]);
                Report {
                    applied: revision
                        .rsplit(':')
                        .next()
                        .filter(|_| current && ready["status"] == "True")
                        .map(str::to_owned),
                    health: format!("{} {}", text(&ready["status"]), text(&ready["reason"])),
                    sync: String::new(),
                    compared: String::new(),
                    syncing: None,
                    text: text(&ready["message"]),
                }
            }
            Self::ArgoCdClientSideDiff | Self::ArgoCdServerSideDiff => {
                let operation = &status["operationState"];
                let synced = status["sync"]["status"] == "Synced" && operation["phase"] == "Succeeded";
                let mut messages: Vec<_> = list(&status["conditions"]).iter().map(|it| text(&it["message"])).collect();
                messages.push(text(&operation["message"]));
                messages.extend(list(&operation["syncResult"]["resources"]).iter().map(|it| text(&it["message"])));
                Report {
                    applied: status["sync"]["revision"].as_str().filter(|_| synced).map(str::to_owned),
                    health: text(&status["health"]["status"]),
                    sync: text(&status["sync"]["status"]),
                    compared: text(&status["sync"]["revision"]),
                    syncing: (operation["phase"] == "Running")
                        .then(|| text(&operation["operation"]["sync"]["revision"])),
                    text: messages.join("\n"),
                }
            }
        }
    }
}

impl Site {
    /// Installs the examples for the team `checkout`, and starts an operator. Nothing is in Git yet.
    pub async fn new(controller: Controller) -> Self {
        Self::with(controller, |_| ()).await
    }

    /// The same with a changed Kustomization or Application.
    pub async fn with(controller: Controller, change: fn(&mut Value)) -> Self {
        let installation = tokio::task::spawn_blocking(Installation::shared).await.unwrap();
        let mut env = TestEnv::in_cluster(&installation.cluster).await;
        env.kubeconfig.clone_from(&installation.operator);
        tokio::spawn(collect_garbage(env.decisions.clone()));
        let operator = env.operator().start();
        let repository = Repository::serve(&env.namespace).await;
        let site = Self { env, controller, operator, repository, teams: vec!["checkout"], change };
        site.install("checkout");
        site
    }

    /// Adds another team, with its own copy of the examples.
    pub fn add_team(&mut self, team: &'static str) {
        self.teams.push(team);
        self.install(team);
    }

    fn install(&self, team: &str) {
        let files: &[&str] = match self.controller {
            Controller::Flux => &["team-account.yaml", "flux-source.yaml", "flux-kustomization.yaml"],
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                &["team-account.yaml", "argocd-application.yaml"]
            }
        };
        let read = |file: &&str| example(file, &self.env.namespace, &self.repository.url, team);
        let mut objects: Vec<_> = files.iter().flat_map(read).collect();
        for object in objects.iter_mut().filter(|object| object["kind"] == self.controller.kind().kind) {
            (self.change)(object);
            match self.controller {
                Controller::Flux | Controller::ArgoCdClientSideDiff => {}
                Controller::ArgoCdServerSideDiff => {
                    object["metadata"]["annotations"]["argocd.argoproj.io/compare-options"] =
                        json!("ServerSideDiff=true");
                }
            }
        }
        apply(&Installation::shared().cluster, &objects);
    }

    /// Merges changes of files, and notifies the controller. Returns the revision.
    pub async fn merge(&self, files: &[(&str, Option<&Value>)]) -> String {
        let revision = self.commit(files);
        self.notify(&revision).await;
        revision
    }

    pub fn commit(&self, files: &[(&str, Option<&Value>)]) -> String {
        self.repository.commit("A merged pull request", files)
    }

    /// Sets an annotation, as the webhook receivers of Flux and Argo CD do.
    pub async fn notify(&self, revision: &str) {
        match self.controller {
            Controller::Flux => {
                let source = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
                let annotation = json!({ "reconcile.fluxcd.io/requestedAt": revision });
                annotate(&self.api(&source), &self.env.namespace, &annotation).await;
            }
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                for team in &self.teams {
                    self.refresh(team, revision).await;
                }
            }
        }
    }

    /// Sets Argo CD's annotation until it has compared this commit. It ignores a notification while it does not see the AppProject of a
    /// new Application yet, or while it reads the repository because of another one.
    async fn refresh(&self, team: &str, revision: &str) {
        const ANNOTATION: &str = "argocd.argoproj.io/refresh";
        let name = self.name(team);
        let compared = async {
            let changes = watcher(self.reports(), watcher::Config::default()).default_backoff().applied_objects();
            let mut changes = Box::pin(changes);
            while let Some(change) = changes.next().await {
                let Some(object) = change.ok().filter(|object| object.name_any() == name) else { continue };
                if object.data["status"]["sync"]["revision"] == revision {
                    return;
                }
                if !object.annotations().contains_key(ANNOTATION) {
                    annotate(&self.reports(), &name, &json!({ ANNOTATION: "normal" })).await;
                }
            }
        };
        assert!(timeout(WAIT_TIMEOUT, compared).await.is_ok(), "{name} never compared {revision}");
    }

    fn api(&self, kind: &GroupVersionKind) -> Api<DynamicObject> {
        let namespace = if kind.kind == "Application" { "argocd" } else { &self.env.namespace };
        Api::namespaced_with(self.env.client.clone(), namespace, &ApiResource::from_gvk(kind))
    }

    fn reports(&self) -> Api<DynamicObject> {
        self.api(&self.controller.kind())
    }

    /// The name of a team's Kustomization or Application.
    fn name(&self, team: &str) -> String {
        match self.controller {
            Controller::Flux => team.to_owned(),
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                format!("{}-{team}", self.env.namespace)
            }
        }
    }

    /// Waits until the report of a team satisfies a condition.
    pub async fn wait_for_report(&self, team: &str, what: &str, condition: impl Fn(&Report) -> bool) -> Report {
        let name = self.name(team);
        let mut last = None;
        let found = async {
            let changes = watcher(self.reports(), watcher::Config::default()).default_backoff().applied_objects();
            let mut changes = Box::pin(changes);
            while let Some(change) = changes.next().await {
                let Some(object) = change.ok().filter(|object| object.name_any() == name) else { continue };
                let object = serde_json::to_value(object).unwrap();
                let report = self.controller.report(&object);
                if condition(&report) {
                    return Some(report);
                }
                last = Some(object);
            }
            None
        };
        let found = timeout(WAIT_TIMEOUT, found).await.ok().flatten();
        found.unwrap_or_else(|| {
            let status = last.map(|object| format!("{:#}", object["status"])).unwrap_or_default();
            panic!("{name} never reached {what}; its status is {status}")
        })
    }

    /// Waits until a commit is applied completely.
    pub async fn wait_until_applied(&self, team: &str, revision: &str) -> Report {
        let applied = |report: &Report| report.applied.as_deref() == Some(revision);
        self.wait_for_report(team, &format!("{revision} is applied"), applied).await
    }

    /// Waits until a team can read this text where the controller reports.
    pub async fn wait_for_text(&self, team: &str, text: &str) -> Report {
        self.wait_for_report(team, text, |report| report.text.contains(text)).await
    }

    /// Waits until Argo CD reports this health; Flux reports only whether a commit was applied.
    pub async fn wait_for_health(&self, team: &str, argo_cd: &str) {
        match self.controller {
            Controller::Flux => {}
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {
                self.wait_for_report(team, argo_cd, |report| report.health == argo_cd).await;
            }
        }
    }

    /// Lets Flux reconcile now what it would reconcile at its next interval. Argo CD acts when an object changes.
    pub async fn next_interval(&self) {
        match self.controller {
            Controller::Flux => {
                let annotation = json!({ "reconcile.fluxcd.io/requestedAt": jiff::Timestamp::now().to_string() });
                annotate(&self.reports(), &self.name("checkout"), &annotation).await;
            }
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => {}
        }
    }

    /// Waits until CodePipeline has received this many submissions.
    pub async fn wait_for_submission(&self, times: usize) {
        let received = self.env.codepipeline.wait_for(|service, _| service.ledger().len() >= times);
        assert!(timeout(3 * WAIT_TIMEOUT, received).await.is_ok(), "fewer than {times} submissions");
    }

    pub async fn wait_until_deleted(&self, name: &str) {
        let deleted = await_condition(self.env.decisions.clone(), name, |it: Option<&ApprovalDecision>| it.is_none());
        let deleted = timeout(WAIT_TIMEOUT, deleted).await;
        assert!(deleted.is_ok(), "{name} is not deleted");
    }

    /// Deletes the namespace with everything in it, as `kubectl delete namespace` and the namespace controller do. Here is no
    /// namespace controller, so this does its work: the permissions are gone before the Kustomization is.
    pub async fn delete_namespace(&self) {
        let namespace = &self.env.namespace;
        let run = |arguments: &[&str], input: &Value| {
            kubectl(&Installation::shared().cluster, User::Admin, arguments, input).expect_success()
        };
        run(&["delete", "namespace", namespace, "--wait=false"], &Value::Null);
        let resources = "approvaldecisions,rolebindings,roles,serviceaccounts";
        let kinds = match self.controller {
            Controller::Flux => format!("{resources},gitrepositories,kustomizations"),
            Controller::ArgoCdClientSideDiff | Controller::ArgoCdServerSideDiff => resources.to_owned(),
        };
        run(&["delete", &kinds, "--all", "--namespace", namespace, "--timeout=60s"], &Value::Null);
        let finalized = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        run(&["replace", "--raw", &format!("/api/v1/namespaces/{namespace}/finalize"), "--filename=-"], &finalized);
    }

    /// Creates the namespace again, and what administrators keep in it.
    pub fn create_namespace_again(&self) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.env.namespace } });
        apply(&Installation::shared().cluster, &[namespace]);
        self.install("checkout");
    }
}

/// Ends deletions in the foreground, which Argo CD uses, as the garbage collector of Kubernetes does. It does not run here.
async fn collect_garbage(decisions: Api<ApprovalDecision>) {
    let mut changes =
        Box::pin(watcher(decisions.clone(), watcher::Config::default()).default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        let Ok(decision) = change else { continue };
        if decision.finalizers() == ["foregroundDeletion"] {
            let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            // It may be gone already.
            let _ = decisions.patch(&decision.name_any(), &PatchParams::default(), &patch).await;
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.operator.log(), Installation::shared().logs(&self.env.namespace));
        }
    }
}

async fn annotate(api: &Api<DynamicObject>, name: &str, annotations: &Value) {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}
