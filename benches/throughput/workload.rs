//! The workload of a trial: decisions, each for an approval of its own pipeline, and the checks that all of them were delivered.

use crate::environment::Environment;
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, PipelineExecutionId, Reason};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use local_codepipeline::model::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use test_support::{condition, spec};

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Workload {
    /// All decisions exist when the contender starts.
    Waiting { decisions: usize, delay_ms: u64 },
    /// Decisions are created while the contender runs.
    Arriving { decisions: usize, per_second: u32, binding: Binding },
}

/// How a decision names its approval.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Binding {
    Token,
    /// The execution has reached its approval, and the operator has to find the token.
    Execution,
}

impl Workload {
    pub const fn decisions(self) -> usize {
        match self {
            Self::Waiting { decisions, .. } | Self::Arriving { decisions, .. } => decisions,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { decisions, delay_ms: 0 } => write!(f, "{decisions} waiting decisions"),
            Self::Waiting { decisions, delay_ms } => {
                write!(f, "{decisions} waiting decisions, CodePipeline responds after {delay_ms} ms")
            }
            Self::Arriving { decisions, per_second, binding } => {
                let binding = match binding {
                    Binding::Token => "",
                    Binding::Execution => " that name an execution",
                };
                write!(f, "{decisions} decisions{binding}, {per_second} per second")
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("decision-{number:05}")
}

/// The number of the decision that has this name.
pub fn number(name: &str) -> Option<usize> {
    name.strip_prefix("decision-")?.parse().ok()
}

/// Opens an approval and returns a decision for it, which is still to be created.
pub fn prepare(environment: &Environment, number: usize, binding: Binding) -> ApprovalDecision {
    let pipeline = format!("pipeline-{number:05}");
    let approval = environment.codepipeline.open_approval(&pipeline, "Prod", "Approve").unwrap();
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
    decision.metadata.namespace = environment.namespaces.get(number % environment.namespaces.len()).cloned();
    decision
}

/// Creates the decisions with these numbers as fast as the API server accepts them.
pub async fn create_all(environment: &Environment, numbers: Range<usize>) {
    let created = stream::iter(numbers).map(async |number| {
        let decision = prepare(environment, number, Binding::Token);
        create(environment, &decision).await;
    });
    created.buffer_unordered(32).collect::<()>().await;
}

pub async fn create(environment: &Environment, decision: &ApprovalDecision) {
    let api: Api<ApprovalDecision> = Api::namespaced(environment.client.clone(), &decision.namespace().unwrap());
    api.create(&PostParams::default(), decision).await.unwrap();
}

/// Asserts that CodePipeline accepted the result of each decision exactly once, and that each decision shows the time of that.
pub async fn assert_delivered(environment: &Environment, count: usize) {
    let mut accepted: HashMap<String, Timestamp> = HashMap::new();
    for entry in environment.codepipeline.ledger() {
        let Outcome::Accepted { approved_at, .. } = entry.outcome else { panic!("not accepted: {entry:?}") };
        assert!(accepted.insert(entry.token.clone(), approved_at).is_none(), "accepted twice: {entry:?}");
    }
    assert_eq!(accepted.len(), count, "number of accepted results");
    for decision in list(environment).await {
        let status = decision.status.as_ref().unwrap();
        let token = status.submission.as_ref().map(|submission| submission.token.0.clone()).unwrap_or_default();
        assert_eq!(status.approved_at.map(milliseconds), accepted.remove(&token).map(milliseconds), "{decision:#?}");
        assert_ready(&decision);
    }
    assert!(accepted.is_empty(), "accepted without a decision: {accepted:?}");
}

/// Asserts that each decision is Ready.
pub async fn assert_all_ready(environment: &Environment, count: usize) {
    let decisions = list(environment).await;
    assert_eq!(decisions.len(), count);
    decisions.iter().for_each(assert_ready);
}

fn assert_ready(decision: &ApprovalDecision) {
    let ready = condition(decision, "Ready").unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::True, Reason::Delivered.as_str()));
}

/// Rounded, because some clients have a coarser clock.
fn milliseconds(time: Timestamp) -> i64 {
    (time.as_microsecond() + 500) / 1000
}

async fn list(environment: &Environment) -> Vec<ApprovalDecision> {
    let (api, mut found): (Api<ApprovalDecision>, _) = (Api::all(environment.client.clone()), Vec::new());
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
