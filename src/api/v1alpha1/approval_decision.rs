//! `ApprovalDecision`: one result for one manual approval of CodePipeline, and its outcome.
//!
//! Field names are those of PutApprovalResult and of CodePipeline's read operations. Every limit is in the schema, so that the API
//! server refuses invalid values before the operator sees them.

use super::binding::{Binding, ExecutionBinding, PipelineExecutionId, SourceRevision, Token};
use crate::api::{conditions::Condition, conditions::integral, conditions::integral_option, time};
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The annotation that restarts a Stalled decision. Any new value does; by convention it is a time.
pub const REQUESTED_AT: &str = "codepipeline.approvals.dev/requestedAt";

/// The result to submit, and the one approval request that it is for.
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
    doc = "An ApprovalDecision is one result for one manual approval of AWS CodePipeline. The operator submits it with one \
           PutApprovalResult call and writes approvedAt, or the exception that CodePipeline raised, into the status. \
           Deleting a decision never changes the pipeline.",
    validation = Rule::new(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.conditions) || \
         !oldSelf.status.conditions.exists(c, c.type == 'Ready' && (c.reason == 'Submitting' || c.reason == 'Unconfirmed'))"
    )
    .message("spec cannot change while a submission is in flight (the reason of Ready is Submitting or Unconfirmed): \
              try again after it is settled"),
    validation = Rule::new(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.conditions) || \
         !oldSelf.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')"
    )
    .message("spec cannot change after the decision is settled (Ready is True): create another ApprovalDecision"),
    validation = Rule::new(
        "[has(self.spec.token), has(self.spec.pipelineExecutionId), has(self.spec.sourceRevision)].filter(x, x).size() == 1"
    )
    .message("spec must have exactly one of token, pipelineExecutionId and sourceRevision: it names the approval request \
              that the decision is for"),
    validation = Rule::new("size(self.metadata.name) <= 230")
        .message("metadata.name must be no longer than 230 characters: the names of its Events start with it"),
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
    /// The pipeline that contains the approval, in the operator's AWS account and region.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub pipeline_name: String,
    /// The stage that contains the approval action.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub stage_name: String,
    /// The approval action.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub action_name: String,
    /// The token of the approval request. It identifies one request of one execution. GetPipelineState shows it while the
    /// approval is pending, and the notification of the approval action contains it. Exactly one of token,
    /// pipelineExecutionId and sourceRevision is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The execution whose approval the decision is for. The decision waits until the execution reaches the approval. It
    /// becomes ExecutionEnded if the execution ends before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_execution_id: Option<PipelineExecutionId>,
    /// A source revision of the execution whose approval the decision is for. The decision waits for such an execution. If
    /// several of them wait for the approval at the same time, nothing is submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<SourceRevision>,
    /// The result to submit.
    pub result: ApprovalResult,
    /// Nothing is sent after this time (RFC 3339, such as 2026-01-31T17:00:00Z). The decision then becomes Expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('2000-01-01T00:00:00Z') && self < timestamp('3000-01-01T00:00:00Z')")
        .message("must be an RFC 3339 time in a year from 2000 to 2999, such as 2026-01-31T17:00:00Z"))]
    pub not_after: Option<NotAfter>,
    /// Nothing is sent while this is true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// The result, as PutApprovalResult accepts it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
pub struct ApprovalResult {
    /// Approved or Rejected.
    pub status: ApprovalStatus,
    /// Why, in 0 to 512 characters. CodePipeline shows it beside the action in the pipeline's history. An action may require
    /// a summary that is not empty.
    #[schemars(length(max = 512))]
    pub summary: String,
}

/// Whether the pipeline may continue.
#[derive(Clone, Copy, Debug, Deserialize, strum::Display, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum ApprovalStatus {
    /// The pipeline continues.
    Approved,
    /// The stage fails.
    Rejected,
}

/// A time as the user wrote it. The API server admits a `date-time` that is in no calendar, so the operator parses it where it
/// can report an error.
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

/// The outcome of the decision so far.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct ApprovalDecisionStatus {
    /// The metadata.generation that this status describes; -1 before the operator has seen the decision.
    #[serde(default, deserialize_with = "integral_option", skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and Reconciling or Stalled while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When CodePipeline accepted the result: from its response, or from its history if the response was lost.
    #[serde(default, deserialize_with = "time::lenient_option", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::schema")]
    pub approved_at: Option<Timestamp>,
    /// The exception that CodePipeline raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// The pipeline execution that the request belongs to, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pipeline_execution_id: Option<String>,
    /// The execution of the approval action that opened the request, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub action_execution_id: Option<String>,
    /// Who responded to the approval, from CodePipeline's history (lastUpdatedBy), if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub decided_by: Option<String>,
    /// The current or last submission. The operator writes it before it sends the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Submission>,
    /// The last value of the annotation codepipeline.approvals.dev/requestedAt that the operator acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_requested_at: Option<String>,
}

/// A submission: the attempts to call PutApprovalResult for one request.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Submission {
    /// The number of attempts since the last edit of the decision, including this one.
    #[serde(deserialize_with = "integral")]
    #[schemars(range(min = 1))]
    pub attempts: i64,
    /// When the attempt started. If the outcome of earlier attempts is not known, when the first of them started.
    #[serde(deserialize_with = "time::lenient")]
    #[schemars(schema_with = "time::schema")]
    pub start_time: Timestamp,
    /// When the last attempt can no longer reach CodePipeline.
    #[serde(deserialize_with = "time::lenient")]
    #[schemars(schema_with = "time::schema")]
    pub deadline: Timestamp,
    /// The token in the request.
    pub token: Token,
}

/// An exception as CodePipeline raised it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
pub struct Exception {
    /// The exact name, such as InvalidApprovalTokenException.
    #[schemars(length(max = 256))]
    pub r#type: String,
    /// CodePipeline's own message.
    #[schemars(length(max = 2048))]
    pub message: String,
}

/// A spec that the operator cannot act on although the API server admitted it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum InvalidSpec {
    /// It does not name the request in exactly one way.
    Binding,
    /// `spec.notAfter` is not a time. This is what was found.
    NotAfter(String),
}

impl ApprovalDecisionSpec {
    /// How the decision names its request.
    ///
    /// # Errors
    /// When it names none or more than one, which the API server does not admit.
    pub fn binding(&self) -> Result<Binding<'_>, InvalidSpec> {
        match (&self.token, &self.pipeline_execution_id, &self.source_revision) {
            (Some(token), None, None) => Ok(Binding::Token(token)),
            (None, Some(id), None) => Ok(Binding::Execution(ExecutionBinding::PipelineExecution(id))),
            (None, None, Some(revision)) => Ok(Binding::Execution(ExecutionBinding::SourceRevision(revision))),
            _ => Err(InvalidSpec::Binding),
        }
    }
}

impl ApprovalDecision {
    /// `namespace/name`, for the log.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.namespace().unwrap_or_default(), self.name_any())
    }
}
