//! The work: decisions with tokens of open approvals, each of a pipeline of its own, and the check that it was done.

use crate::ground::Ground;
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, PipelineExecutionId, Reason};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use local_codepipeline::model::Outcome;
use std::collections::HashMap;
use std::ops::Range;

use crate::support::{condition, spec};

/// How a decision names its approval.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding {
    Token,
    /// By the run, which has come to its approval already: the operator finds the token.
    Execution,
}

/// The number of a decision stands in its name, by which it is known again when it is seen.
pub fn name(number: usize) -> String {
    format!("decision-{number:05}")
}

pub fn number(name: &str) -> Option<usize> {
    name.strip_prefix("decision-")?.parse().ok()
}

/// Opens the approval of a decision, and says what the decision is.
pub fn decision(ground: &Ground, number: usize, binding: Binding) -> ApprovalDecision {
    let pipeline = format!("pipeline-{number:05}");
    let approval = ground.service.open_approval(&pipeline, "Prod", "Approve").unwrap();
    let by_token = spec(&pipeline, &approval);
    let spec = match binding {
        Binding::Token => by_token,
        Binding::Execution => ApprovalDecisionSpec {
            token: None,
            pipeline_execution_id: Some(PipelineExecutionId(approval.pipeline_execution_id.to_string())),
            ..by_token
        },
    };
    let mut decision = ApprovalDecision::new(&name(number), spec);
    decision.metadata.namespace = ground.namespaces.get(number % ground.namespaces.len()).cloned();
    decision
}

/// Has decisions of these numbers created, as fast as the API server takes them.
pub async fn create(ground: &Ground, numbers: Range<usize>) {
    let created =
        stream::iter(numbers).map(async |number| apply(ground, &decision(ground, number, Binding::Token)).await);
    created.buffer_unordered(32).collect::<()>().await;
}

pub async fn apply(ground: &Ground, decision: &ApprovalDecision) {
    let api: Api<ApprovalDecision> = Api::namespaced(ground.client.clone(), &decision.namespace().unwrap());
    api.create(&PostParams::default(), decision).await.unwrap();
}

/// Sees to it that each of the decisions was accepted once and tells the time that the service told.
pub async fn check(ground: &Ground, count: usize) {
    let mut accepted: HashMap<String, Timestamp> = HashMap::new();
    for entry in ground.service.ledger() {
        let Outcome::Accepted { approved_at, .. } = entry.outcome else { panic!("not accepted: {entry:?}") };
        assert!(accepted.insert(entry.token.clone(), approved_at).is_none(), "accepted twice: {entry:?}");
    }
    assert_eq!(accepted.len(), count, "answers accepted");
    for decision in list(ground).await {
        let status = decision.status.as_ref().unwrap();
        let token = status.submission.as_ref().map(|submission| submission.token.0.clone()).unwrap_or_default();
        assert_eq!(status.approved_at.map(millisecond), accepted.remove(&token).map(millisecond), "{decision:#?}");
        assert_ready(&decision);
    }
    assert!(accepted.is_empty(), "without a decision: {accepted:?}");
}

/// Sees to it that each decision is Ready.
pub async fn check_ready(ground: &Ground, count: usize) {
    let decisions = list(ground).await;
    assert_eq!(decisions.len(), count);
    decisions.iter().for_each(assert_ready);
}

fn assert_ready(decision: &ApprovalDecision) {
    let ready = condition(decision, "Ready").unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::True, Reason::Delivered.as_str()));
}

/// Clients cut or round what is finer.
fn millisecond(time: Timestamp) -> i64 {
    (time.as_microsecond() + 500) / 1000
}

async fn list(ground: &Ground) -> Vec<ApprovalDecision> {
    let (api, mut found): (Api<ApprovalDecision>, _) = (Api::all(ground.client.clone()), Vec::new());
    let mut parameters = ListParams::default().limit(500);
    loop {
        let page = api.list(&parameters).await.unwrap();
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return found,
        }
    }
}
