//! The environment of one test: a namespace and a local CodePipeline. Also helpers that build decisions and read their
//! status.

use super::cluster::Cluster;
use super::operator::OperatorCommand;
use approval_operator::api::conditions::{Condition, ConditionStatus};
use approval_operator::api::time::to_second;
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, Reason,
    SourceRevision, Token,
};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use local_codepipeline::LocalCodePipeline;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::model::{
    ActionDefinition, ActionDuration, Category, LedgerEntry, Name, OpenApproval, Outcome, PipelineDefinition,
    PipelineExecutionId as ExecutionId, SourceRevision as Revision, StageDefinition,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use test_control_plane::User;
use tokio::time::{sleep, timeout};

/// A user who responds to approvals in the console.
pub const BOB: &str = "arn:aws:iam::123456789012:user/bob";

/// The time limit of every wait.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long after the status Events may appear.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

pub struct TestEnv {
    /// The operator's kubeconfig file.
    pub kubeconfig: PathBuf,
    pub namespace: String,
    pub codepipeline: LocalCodePipeline,
    pub decisions: Api<ApprovalDecision>,
    pub client: kube::Client,
}

/// A decision that names a pending approval of the action Approve in the stage Prod by its token.
pub fn spec(pipeline: &str, approval: &OpenApproval) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec { token: Some(Token(approval.token.to_string())), ..unbound(pipeline) }
}

/// A decision that names an execution, which may reach the approval later.
pub fn for_execution(pipeline: &str, execution: ExecutionId) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec {
        pipeline_execution_id: Some(PipelineExecutionId(execution.to_string())),
        ..unbound(pipeline)
    }
}

/// A decision that names a source revision.
pub fn for_revision(pipeline: &str, revision: &str) -> ApprovalDecisionSpec {
    let revision = SourceRevision { action_name: None, revision_id: Some(revision.to_owned()) };
    ApprovalDecisionSpec { source_revisions: vec![revision], ..unbound(pipeline) }
}

fn unbound(pipeline: &str) -> ApprovalDecisionSpec {
    let result = ApprovalResult { status: ApprovalStatus::Approved, summary: format!("for {pipeline}") };
    ApprovalDecisionSpec::new(pipeline.to_owned(), "Prod".to_owned(), "Approve".to_owned(), result)
}

/// A pipeline whose executions build until the test completes the build, and then reach the action Approve.
pub fn pipeline_with_build(pipeline: &str) -> PipelineDefinition {
    let mut definition = PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap();
    let compile = ActionDefinition::new("Compile", Category::Build).unwrap().duration(ActionDuration::UntilCompleted);
    definition.stages.insert(1, StageDefinition::new("Build", vec![compile]).unwrap());
    definition
}

pub fn message(decision: &ApprovalDecision) -> &str {
    condition(decision, "Ready").map_or("", |condition| &condition.message)
}

/// The pipeline execution and the action execution that a decision is pinned to.
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

/// How long after a limit the operator reported that the decision expired, to the second. The status says when, so that the time that
/// a busy test takes to see it does not count.
pub fn expired_after(decision: &ApprovalDecision, limit: Timestamp) -> SignedDuration {
    let stalled = condition(decision, "Stalled").expect("an expired decision is Stalled");
    stalled.last_transition_time.duration_since(to_second(limit))
}

impl TestEnv {
    pub async fn new() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::shared).await.unwrap();
        Self::in_cluster(cluster).await
    }

    pub async fn in_cluster(cluster: &Cluster) -> Self {
        let client = cluster.client(User::Admin).await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "generateName": "test-" } })).unwrap();
        let namespace = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();
        Self {
            kubeconfig: cluster.control_plane.kubeconfig(User::Operator),
            decisions: Api::namespaced(client.clone(), &namespace),
            client,
            namespace,
            codepipeline: LocalCodePipeline::start(local_codepipeline::Settings::default()).await.unwrap(),
        }
    }

    /// The command of an operator of this namespace and this endpoint.
    pub fn operator(&self) -> OperatorCommand {
        self.operator_via(&self.kubeconfig)
    }

    /// The same with another kubeconfig file.
    pub fn operator_via(&self, kubeconfig: &Path) -> OperatorCommand {
        OperatorCommand::new(kubeconfig, &self.codepipeline.url())
            .namespace(&self.namespace)
            // The rate limit must not slow down tests of anything else.
            .env("APPROVAL_OPERATOR_AWS_REQUESTS_PER_SECOND", "100")
    }

    /// Opens an approval of the action Approve in the stage Prod.
    pub fn open_approval(&self, pipeline: &str) -> OpenApproval {
        self.codepipeline.open_approval(pipeline, "Prod", "Approve").unwrap()
    }

    pub fn put_pipeline(&self, definition: PipelineDefinition) {
        self.codepipeline.with_service(|service, now| service.put_pipeline(now, definition).unwrap());
    }

    /// Starts an execution with a revision of the action Source.
    pub fn start_execution(&self, pipeline: &str, revision: &str) -> ExecutionId {
        let source = Name::new("Source").unwrap();
        let revision = Revision { action_name: source, revision_id: Some(revision.to_owned()) };
        self.codepipeline.with_service(|service, now| service.start_execution(now, pipeline, &[revision]).unwrap())
    }

    /// Completes the build of an execution.
    pub fn complete_build(&self, pipeline: &str, execution: ExecutionId, succeeded: bool) {
        let action = ("Build", "Compile");
        self.codepipeline
            .with_service(|service, now| service.complete_action(now, pipeline, execution, action, succeeded).unwrap());
    }

    /// The pending approvals, ordered by execution, the oldest first.
    pub fn pending_approvals(&self, pipeline: &str) -> Vec<OpenApproval> {
        let pending = self.codepipeline.with_service(|service, now| service.pending_approvals(now, pipeline).unwrap());
        pending.into_iter().map(|pending| pending.approval).collect()
    }

    /// Bob responds to an approval.
    pub fn respond_as_bob(&self, pipeline: &str, approval: &OpenApproval, status: ResultStatus) {
        let at = (pipeline, "Prod", "Approve");
        self.codepipeline.respond_as(BOB, at, approval.token, status, "bob's summary").unwrap();
    }

    /// Waits until the operator has polled a pipeline this many more times.
    pub async fn wait_for_polls(&self, pipeline: &str, times: u64) {
        let state = Operation::GetPipelineState;
        let expected = self.codepipeline.request_count_for(state, pipeline) + times;
        let polled = timeout(WAIT_TIMEOUT, self.codepipeline.wait_for_requests(state, pipeline, expected)).await;
        assert!(polled.is_ok(), "{pipeline} was not polled {times} more times");
    }

    pub async fn create(&self, name: &str, spec: ApprovalDecisionSpec) -> ApprovalDecision {
        self.decisions.create(&PostParams::default(), &ApprovalDecision::new(name, spec)).await.unwrap()
    }

    /// Waits until CodePipeline has received this many submissions to a pipeline, accepted or not.
    pub async fn wait_for_submissions(&self, pipeline: &str, times: u64) {
        let submitted = self.codepipeline.wait_for_requests(Operation::PutApprovalResult, pipeline, times);
        assert!(timeout(WAIT_TIMEOUT, submitted).await.is_ok(), "{pipeline} did not receive {times} submissions");
    }

    /// Opens an approval of a pipeline, and creates a decision for it with the pipeline's name.
    pub async fn open_and_approve(&self, pipeline: &str) -> OpenApproval {
        let approval = self.open_approval(pipeline);
        self.create(pipeline, spec(pipeline, &approval)).await;
        approval
    }

    /// A merge patch, as `kubectl patch --type merge` sends it.
    pub async fn patch(&self, name: &str, patch: Value) -> Result<ApprovalDecision, kube::Error> {
        self.decisions.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// The decisions as JSON, for objects that do not fit this version's types.
    pub fn raw_decisions(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<ApprovalDecision>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Writes into the status of a decision as another writer with permission.
    pub async fn forge_status(&self, name: &str, status: Value) -> Result<DynamicObject, kube::Error> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.raw_decisions().patch_status(name, &PatchParams::default(), &patch).await
    }

    /// Waits until a decision satisfies a condition.
    pub async fn wait_until(
        &self,
        name: &str,
        what: &str,
        mut condition: impl FnMut(&ApprovalDecision) -> bool,
    ) -> ApprovalDecision {
        let mut last = None;
        let found = async {
            let mut changes = Box::pin(
                watcher(self.decisions.clone(), watcher::Config::default()).default_backoff().applied_objects(),
            );
            while let Some(change) = changes.next().await {
                let Some(decision) = change.ok().filter(|decision| decision.name_any() == name) else { continue };
                if condition(&decision) {
                    return Some(decision);
                }
                last = Some(decision);
            }
            None
        };
        let found = timeout(WAIT_TIMEOUT, found).await.ok().flatten();
        found.unwrap_or_else(|| {
            panic!("{name} never reached {what}; its status is {:#?}", last.map(|decision| decision.status))
        })
    }

    pub async fn wait_for_reason(&self, name: &str, expected: Reason) -> ApprovalDecision {
        self.wait_until(name, expected.as_str(), |decision| reason(decision) == Some(expected)).await
    }

    pub async fn wait_for_message(&self, name: &str, text: &str) -> ApprovalDecision {
        self.wait_until(name, text, |decision| message(decision).contains(text)).await
    }

    /// Waits until a decision is delivered, and checks that CodePipeline accepted exactly one submission of the operator,
    /// to this approval.
    pub async fn wait_until_delivered(&self, name: &str, pipeline: &str, approval: &OpenApproval) -> ApprovalDecision {
        let decision = self.wait_for_reason(name, Reason::Delivered).await;
        assert_eq!(pinned(&decision), ids(approval), "{name}");
        let accepted = self.accepted_submissions(pipeline);
        assert!(
            matches!(accepted.as_slice(), [one] if one.token == approval.token.to_string()),
            "{name}: {accepted:#?}"
        );
        decision
    }

    /// The operator's submissions to a pipeline that CodePipeline accepted.
    pub fn accepted_submissions(&self, pipeline: &str) -> Vec<LedgerEntry> {
        let mut entries = self.codepipeline.ledger_for(pipeline);
        entries
            .retain(|entry| matches!(entry.outcome, Outcome::Accepted { .. }) && entry.caller.ends_with("/OPERATOR"));
        entries
    }

    /// Waits until the Events about a decision have these reasons. The operator writes Events after the status.
    pub async fn wait_for_events(&self, name: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let polling = async {
            while found != expected {
                sleep(Duration::from_millis(20)).await;
                found = self.events(name).await;
            }
        };
        assert!(timeout(EVENT_TIMEOUT, polling).await.is_ok(), "{name}: the Events are {found:?}, not {expected:?}");
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

    /// The number of submissions to a pipeline that CodePipeline accepted.
    pub fn accepted_count(&self, pipeline: &str) -> usize {
        self.codepipeline.ledger_for(pipeline).iter().filter(|entry| entry.is_accepted()).count()
    }
}
