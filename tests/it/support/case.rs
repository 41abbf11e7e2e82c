//! A test's own namespace and endpoint, and the questions that tests ask of decisions.

use super::cluster::Cluster;
use super::operator::Settings;
use approval_operator::api::conditions::{Condition, ConditionStatus};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, Reason,
    SourceRevision, Token,
};
use control_plane::User;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use local_codepipeline::LocalCodePipeline;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::model::{
    ActionDefinition, Category, LedgerEntry, Name, OpenApproval, Outcome, PipelineDefinition,
    PipelineExecutionId as RunId, SourceRevision as Revision, StageDefinition, Takes,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Whoever is quicker than a decision.
pub const BOB: &str = "arn:aws:iam::123456789012:user/bob";

/// The longest that anything a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest that Events may come behind a status.
const EVENT_PATIENCE: Duration = Duration::from_secs(20);

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
    ApprovalDecisionSpec { token: Some(Token(approval.token.to_string())), ..unbound(pipeline) }
}

/// An answer to the approval of a run, whenever the run gets there.
pub fn for_run(pipeline: &str, run: RunId) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec { pipeline_execution_id: Some(PipelineExecutionId(run.to_string())), ..unbound(pipeline) }
}

/// An answer to the approval of the run of a source revision.
pub fn for_revision(pipeline: &str, revision: &str) -> ApprovalDecisionSpec {
    let revision = SourceRevision { revision_id: revision.to_owned(), action_name: None };
    ApprovalDecisionSpec { source_revision: Some(revision), ..unbound(pipeline) }
}

fn unbound(pipeline: &str) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec {
        pipeline_name: pipeline.to_owned(),
        stage_name: "Prod".to_owned(),
        action_name: "Approve".to_owned(),
        token: None,
        pipeline_execution_id: None,
        source_revision: None,
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: format!("for {pipeline}") },
        not_after: None,
        suspend: false,
    }
}

/// A pipeline whose runs build until they are told, and come to the action Approve of the stage Prod then.
pub fn with_build(pipeline: &str) -> PipelineDefinition {
    let mut definition = PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap();
    let compile = ActionDefinition::new("Compile", Category::Build).unwrap().takes(Takes::UntilTold);
    definition.stages.insert(1, StageDefinition::new("Build", vec![compile]).unwrap());
    definition
}

pub fn message(decision: &ApprovalDecision) -> &str {
    condition(decision, "Ready").map_or("", |condition| &condition.message)
}

/// The run and the action execution that a decision was pinned to.
pub fn pinned(decision: &ApprovalDecision) -> (Option<String>, Option<String>) {
    let status = decision.status.as_ref();
    status.map_or((None, None), |status| (status.pipeline_execution_id.clone(), status.action_execution_id.clone()))
}

pub fn ids(approval: &OpenApproval) -> (Option<String>, Option<String>) {
    (Some(approval.pipeline_execution_id.to_string()), Some(approval.action_execution_id.to_string()))
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
        self.operator_by(&self.kubeconfig)
    }

    /// The same by another way to the API server.
    pub fn operator_by(&self, kubeconfig: &Path) -> Settings {
        Settings::new(kubeconfig, &self.service.url())
            .namespace(&self.namespace)
            // What a test is to find out does not wait for its turn.
            .set("APPROVAL_OPERATOR_AWS_REQUESTS_PER_SECOND", "100")
    }

    /// Opens an approval of the action Approve in the stage Prod.
    pub fn open(&self, pipeline: &str) -> OpenApproval {
        self.service.open_approval(pipeline, "Prod", "Approve").unwrap()
    }

    pub fn put(&self, definition: PipelineDefinition) {
        self.service.service(|service, now| service.put_pipeline(now, definition).unwrap());
    }

    /// Starts a run on a revision of the action Source.
    pub fn start(&self, pipeline: &str, revision: &str) -> RunId {
        let source = Name::new("Source").unwrap();
        let revision = Revision { action_name: source, revision_id: revision.to_owned() };
        self.service.service(|service, now| service.start_execution(now, pipeline, &[revision]).unwrap())
    }

    /// Ends the build of a run, one way or the other.
    pub fn built(&self, pipeline: &str, run: RunId, well: bool) {
        let action = ("Build", "Compile");
        self.service.service(|service, now| service.complete_action(now, pipeline, run, action, well).unwrap());
    }

    /// The approvals that wait for an answer, the oldest run's first.
    pub fn pending(&self, pipeline: &str) -> Vec<OpenApproval> {
        let pending = self.service.service(|service, now| service.pending_approvals(now, pipeline).unwrap());
        pending.into_iter().map(|pending| pending.approval).collect()
    }

    /// Bob answers an approval.
    pub fn bob(&self, pipeline: &str, approval: &OpenApproval, answer: Answer) {
        let at = (pipeline, "Prod", "Approve");
        self.service.answer_as(BOB, at, approval.token, answer, "bob's words").unwrap();
    }

    /// Waits until the operator has looked at a pipeline so many times more.
    pub async fn looks(&self, pipeline: &str, times: u64) {
        let state = Operation::GetPipelineState;
        let looked = self.service.requests_of(state, pipeline) + times;
        let looked = timeout(PATIENCE, self.service.wait_for_requests(state, pipeline, looked)).await;
        assert!(looked.is_ok(), "{pipeline} was not looked at {times} times more");
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

    /// The decisions as JSON, which need not be any that this program knows.
    pub fn raw(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<ApprovalDecision>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Somebody who may writes into the status of a decision.
    pub async fn forge(&self, name: &str, status: Value) -> Result<DynamicObject, kube::Error> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.raw().patch_status(name, &PatchParams::default(), &patch).await
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

    pub async fn until_message(&self, name: &str, text: &str) -> ApprovalDecision {
        self.until(name, text, |decision| message(decision).contains(text)).await
    }

    /// Waits until the service has taken a decision's answer, and sees to it that it is the only one of the operator's, and
    /// to this request.
    pub async fn until_delivered(&self, name: &str, pipeline: &str, approval: &OpenApproval) -> ApprovalDecision {
        let decision = self.until_reason(name, Reason::Delivered).await;
        assert_eq!(pinned(&decision), ids(approval), "{name}");
        let taken = self.taken(pipeline);
        assert!(matches!(taken.as_slice(), [one] if one.token == approval.token.to_string()), "{name}: {taken:#?}");
        decision
    }

    /// The answers of the operator to a pipeline that the service took.
    pub fn taken(&self, pipeline: &str) -> Vec<LedgerEntry> {
        let mut entries = self.service.ledger_of(pipeline);
        entries
            .retain(|entry| matches!(entry.outcome, Outcome::Accepted { .. }) && entry.caller.ends_with("/OPERATOR"));
        entries
    }

    /// Waits until these are the reasons of the Events about a decision: they are written after its status.
    pub async fn until_events(&self, name: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let waiting = async {
            while found != expected {
                sleep(Duration::from_millis(20)).await;
                found = self.events(name).await;
            }
        };
        assert!(timeout(EVENT_PATIENCE, waiting).await.is_ok(), "{name}: {found:?}, not {expected:?}");
    }

    /// The reasons of the Events about a decision, the oldest first.
    async fn events(&self, name: &str) -> Vec<String> {
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
