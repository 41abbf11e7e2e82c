//! `ApprovalDecision`: one answer to one manual approval of CodePipeline, and what became of it.
//!
//! Field names are those of the service's own PutApprovalResult and its results. Every limit stands in the schema, so that
//! the API server refuses what cannot be right before the operator ever sees it.

use super::binding::{PipelineExecutionId, SourceRevision, Token};
use crate::api::{conditions::Condition, conditions::integral, conditions::integral_option, time};
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The annotation that asks for a Stalled decision to be tried afresh: any new value does, a time by convention.
pub const REQUESTED_AT: &str = "codepipeline.approvals.dev/requestedAt";

/// The answer to give, and the one approval request to give it to.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "codepipeline.approvals.dev",
    version = "v1alpha1",
    kind = "ApprovalDecision",
    namespaced,
    status = "ApprovalDecisionStatus",
    derive = "PartialEq",
    shortname = "apd",
    category = "approvals",
    doc = "An ApprovalDecision is one answer to one manual approval of AWS CodePipeline. The operator sends it with one \
           PutApprovalResult call and writes approvedAt, or the exception that CodePipeline raised, into the status. \
           Deleting a decision never touches the pipeline.",
    validation = Rule::new(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.conditions) || \
         !oldSelf.status.conditions.exists(c, c.type == 'Ready' && (c.reason == 'Submitting' || c.reason == 'Unconfirmed'))"
    )
    .message("spec cannot change while an answer is under way (Ready's reason is Submitting or Unconfirmed): \
              try again once it is settled"),
    validation = Rule::new(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.conditions) || \
         !oldSelf.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')"
    )
    .message("spec cannot change once the approval is answered (Ready is True): create another ApprovalDecision"),
    validation = Rule::new(
        "[has(self.spec.token), has(self.spec.pipelineExecutionId), has(self.spec.sourceRevision)].filter(x, x).size() == 1"
    )
    .message("spec must have exactly one of token, pipelineExecutionId and sourceRevision: they name the one approval \
              request to answer"),
    validation = Rule::new("size(self.metadata.name) <= 230")
        .message("metadata.name must be no longer than 230 characters: the Events about it are named after it"),
    printcolumn(name = "Pipeline", type_ = "string", json_path = ".spec.pipelineName"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".spec.stageName"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.actionName"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.result.status"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "ApprovedAt", type_ = "string", json_path = ".status.approvedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Execution",
        type_ = "string",
        json_path = ".status.pipelineExecutionId",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecisionSpec {
    /// The pipeline that waits for the approval, in the account and region that the operator works in.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub pipeline_name: String,
    /// The stage that holds the approval action.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub stage_name: String,
    /// The approval action.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub action_name: String,
    /// The token of the approval request to answer. It stands for one request of one run of the pipeline: GetPipelineState
    /// shows it while the approval is pending, and so does the notification that the approval action sends. Exactly one of
    /// token, pipelineExecutionId and sourceRevision is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The run of the pipeline whose approval to answer. The decision waits until the run gets there, and ends when the run
    /// ends before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_execution_id: Option<PipelineExecutionId>,
    /// What the run was started with whose approval to answer. The decision waits for such a run. Where several of them wait
    /// for an approval at once, none is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<SourceRevision>,
    /// The answer.
    pub result: ApprovalResult,
    /// Nothing is sent after this time (RFC 3339, such as 2026-01-31T17:00:00Z): the decision then becomes Expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('2000-01-01T00:00:00Z') && self < timestamp('3000-01-01T00:00:00Z')")
        .message("must be an RFC 3339 time in a year from 2000 to 2999, such as 2026-01-31T17:00:00Z"))]
    pub not_after: Option<NotAfter>,
    /// Nothing is sent while this is true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// The answer, as PutApprovalResult takes it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
pub struct ApprovalResult {
    /// Whether the pipeline may go on.
    pub status: ApprovalStatus,
    /// Why, in 0 to 512 characters. It is shown beside the action in the pipeline's history. An action may require it not
    /// to be empty.
    #[schemars(length(max = 512))]
    pub summary: String,
}

/// Whether the pipeline may go on: Approved or Rejected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum ApprovalStatus {
    /// The pipeline goes on.
    Approved,
    /// The stage fails.
    Rejected,
}

impl fmt::Display for ApprovalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approved => "Approved",
            Self::Rejected => "Rejected",
        })
    }
}

/// A time as a user wrote it. The API server admits `date-time`s that are in no calendar, so it is read where an error
/// can be told.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct NotAfter(pub String);

impl JsonSchema for NotAfter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NotAfter".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        time::schema(generator)
    }
}

/// What became of the decision.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct ApprovalDecisionStatus {
    /// The metadata.generation that this status speaks of; -1 before the operator has seen the decision.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and Reconciling or Stalled while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When CodePipeline took the answer: from its response, or from its record where the response was lost.
    #[serde(default, deserialize_with = "time::lenient_option", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::schema")]
    pub approved_at: Option<Timestamp>,
    /// The exception that CodePipeline raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// The run of the pipeline that the request belongs to, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pipeline_execution_id: Option<String>,
    /// The run of the approval action that the request belongs to, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub action_execution_id: Option<String>,
    /// Who answered, as CodePipeline's record has it (lastUpdatedBy), where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub decided_by: Option<String>,
    /// The attempt at answering that is under way, or was the last one. It is written before the request leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Submission>,
    /// The value of the annotation codepipeline.approvals.dev/requestedAt that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_requested_at: Option<String>,
}

/// An attempt at answering.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Submission {
    /// How many attempts there were since the decision was last edited, this one included.
    #[serde(deserialize_with = "integral")]
    #[schemars(range(min = 1))]
    pub attempts: i64,
    /// When the attempt began; where the outcome of earlier ones is not known, when the first of them began.
    #[serde(deserialize_with = "time::lenient")]
    #[schemars(schema_with = "time::schema")]
    pub start_time: Timestamp,
    /// When the last attempt can no longer reach the service.
    #[serde(deserialize_with = "time::lenient")]
    #[schemars(schema_with = "time::schema")]
    pub deadline: Timestamp,
    /// The token that the request carries.
    pub token: Token,
}

/// An exception as CodePipeline raised it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
pub struct Exception {
    /// The exact name, such as InvalidApprovalTokenException.
    #[schemars(length(max = 256))]
    pub r#type: String,
    /// The service's own words.
    #[schemars(length(max = 2048))]
    pub message: String,
}
