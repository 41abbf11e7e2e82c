//! A test's own namespace and endpoint, and the questions that tests ask of decisions.

use super::cluster::Cluster;
use super::operator::Settings;
use approval_operator::api::conditions::{Condition, ConditionStatus};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Reason, Token,
};
use control_plane::User;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use local_codepipeline::LocalCodePipeline;
use local_codepipeline::api::Operation;
use local_codepipeline::model::OpenApproval;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// The longest that anything a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Case {
    /// The operator's own.
    pub kubeconfig: PathBuf,
    pub namespace: String,
    pub service: LocalCodePipeline,
    pub decisions: Api<ApprovalDecision>,
    pub client: kube::Client,
}

/// An answer to a pending approval of the action Approve in the stage Prod.
pub fn spec(pipeline: &str, approval: &OpenApproval) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec {
        pipeline_name: pipeline.to_owned(),
        stage_name: "Prod".to_owned(),
        action_name: "Approve".to_owned(),
        token: Some(Token(approval.token.to_string())),
        pipeline_execution_id: None,
        source_revision: None,
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: format!("for {pipeline}") },
        not_after: None,
        suspend: false,
    }
}

pub fn condition<'a>(decision: &'a ApprovalDecision, r#type: &str) -> Option<&'a Condition> {
    decision.status.as_ref()?.conditions.iter().find(|condition| condition.r#type == r#type)
}

pub fn ready(decision: &ApprovalDecision) -> Option<ConditionStatus> {
    condition(decision, "Ready").map(|condition| condition.status)
}

pub fn reason(decision: &ApprovalDecision) -> Option<Reason> {
    condition(decision, "Ready")?.reason.parse().ok()
}

impl Case {
    pub async fn new() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::shared).await.unwrap();
        Self::on(cluster).await
    }

    pub async fn on(cluster: &Cluster) -> Self {
        let client = cluster.client(User::Admin).await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "generateName": "test-" } })).unwrap();
        let namespace = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();
        Self {
            kubeconfig: cluster.control_plane.kubeconfig(User::Operator),
            decisions: Api::namespaced(client.clone(), &namespace),
            client,
            namespace,
            service: LocalCodePipeline::start(local_codepipeline::Settings::default()).await.unwrap(),
        }
    }

    /// An operator of this namespace and this endpoint, to be started.
    pub fn operator(&self) -> Settings {
        Settings::new(&self.kubeconfig, &self.service.url()).namespace(&self.namespace)
    }

    /// Opens an approval of the action Approve in the stage Prod.
    pub fn open(&self, pipeline: &str) -> OpenApproval {
        self.service.open_approval(pipeline, "Prod", "Approve").unwrap()
    }

    pub async fn create(&self, name: &str, spec: ApprovalDecisionSpec) -> ApprovalDecision {
        self.decisions.create(&PostParams::default(), &ApprovalDecision::new(name, spec)).await.unwrap()
    }

    /// Waits until so many answers of a pipeline were asked for, taken or not.
    pub async fn until_asked(&self, pipeline: &str, times: u64) {
        let asked = self.service.wait_for_requests(Operation::PutApprovalResult, pipeline, times);
        assert!(timeout(PATIENCE, asked).await.is_ok(), "{pipeline} was never answered {times} times");
    }

    /// Opens an approval of a pipeline, and creates a decision of the same name for it.
    pub async fn approve(&self, pipeline: &str) -> OpenApproval {
        let approval = self.open(pipeline);
        self.create(pipeline, spec(pipeline, &approval)).await;
        approval
    }

    /// A merge patch, as `kubectl patch --type merge` sends it.
    pub async fn patch(&self, name: &str, patch: Value) -> Result<ApprovalDecision, kube::Error> {
        self.decisions.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Waits until a decision is as asked for.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        mut is_so: impl FnMut(&ApprovalDecision) -> bool,
    ) -> ApprovalDecision {
        let mut last = None;
        let found = async {
            let mut changes = Box::pin(
                watcher(self.decisions.clone(), watcher::Config::default()).default_backoff().applied_objects(),
            );
            while let Some(change) = changes.next().await {
                let Some(decision) = change.ok().filter(|decision| decision.name_any() == name) else { continue };
                if is_so(&decision) {
                    return Some(decision);
                }
                last = Some(decision);
            }
            None
        };
        let found = timeout(PATIENCE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("{name} never was {what}; it is {:#?}", last.map(|decision| decision.status)))
    }

    pub async fn until_reason(&self, name: &str, expected: Reason) -> ApprovalDecision {
        self.until(name, expected.as_str(), |decision| reason(decision) == Some(expected)).await
    }

    /// The reasons of the Events about a decision, the oldest first.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(name)));
        events.sort_by_key(|event| event.event_time.clone());
        events.into_iter().filter_map(|event| event.reason).collect()
    }

    pub async fn delete(&self, name: &str) {
        self.decisions.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// How many answers of a pipeline the service accepted.
    pub fn accepted(&self, pipeline: &str) -> usize {
        self.service.ledger_of(pipeline).iter().filter(|entry| entry.is_accepted()).count()
    }
}
