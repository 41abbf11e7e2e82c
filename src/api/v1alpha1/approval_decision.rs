//! `ApprovalDecision`: one result for one manual approval of CodePipeline, and its outcome.
//!
//! Field names are those of PutApprovalResult and of CodePipeline's read operations. Every limit is in the schema, so that the API
//! server refuses invalid values before the operator sees them.

use super::approval_result::ApprovalResult;
use super::binding::{PipelineExecutionId, SourceRevision, Token};
use super::reason::Reason;
use super::submission::{SettledRequest, Submission};
use super::target_ref::TargetRef;
use crate::api::conditions::{Condition, integral_option};
use crate::api::time;
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
        "[has(self.spec.token), has(self.spec.pipelineExecutionId), has(self.spec.sourceRevisions)].filter(x, x).size() == 1"
    )
    .message("spec must have exactly one of token, pipelineExecutionId and sourceRevisions: it names the approval request \
              that the decision is for")
    .field_path(".spec"),
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
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name", priority = 1),
    printcolumn(
        name = "Execution",
        type_ = "string",
        json_path = ".status.pipelineExecutionId",
        priority = 1
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecisionSpec {
    /// The ApprovalTarget: the AWS account and region of the pipeline, and the identity that the operator uses there. Without it, the
    /// operator uses its own identity and region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The pipeline that contains the approval, in the AWS account and region of the target.
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
    /// pipelineExecutionId and sourceRevisions is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The execution whose approval the decision is for. The decision waits until the execution reaches the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_execution_id: Option<PipelineExecutionId>,
    /// The source revisions of the execution whose approval the decision is for. An execution matches if every one of its source
    /// revisions is covered by an entry, and every entry covers one: a pipeline with two sources needs both. At least one entry
    /// has a revisionId. The decision waits for such an execution, and the first response to a request of one uses it up. A
    /// rollback never matches: name it by pipelineExecutionId.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10))]
    #[x_kube(validation = Rule::new("self.exists(entry, has(entry.revisionId))")
        .message("at least one entry must have a revisionId"))]
    pub source_revisions: Vec<SourceRevision>,
    /// The result to submit.
    pub result: ApprovalResult,
    /// Requests that were completed before this time (RFC 3339) do not count, so that a request can be answered that a retried
    /// stage opened again. It must not be in the future. It has no effect on a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('2000-01-01T00:00:00Z') && self < timestamp('3000-01-01T00:00:00Z')")
        .message("must be an RFC 3339 time in a year from 2000 to 2999, such as 2026-01-31T17:00:00Z"))]
    pub ignore_responses_before: Option<UserTime>,
    /// Nothing is sent after this time (RFC 3339, such as 2026-01-31T17:00:00Z). The decision then becomes Expired. It replaces
    /// the operator's --waiting-limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('2000-01-01T00:00:00Z') && self < timestamp('3000-01-01T00:00:00Z')")
        .message("must be an RFC 3339 time in a year from 2000 to 2999, such as 2026-01-31T17:00:00Z"))]
    pub not_after: Option<UserTime>,
    /// Nothing is sent while this is true, and the operator's --waiting-limit does not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What this version of the operator does not know in the object. Such a decision is never acted on.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub unsupported: Option<Unsupported>,
}

/// What this version of the operator does not know in an object: a newer version wrote its schema.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub enum Unsupported {
    /// A field of the spec. This is its path.
    SpecField(String),
    /// A value in the spec. This is why it cannot be parsed.
    SpecValue(String),
    /// The status. This is why it cannot be parsed.
    Status(String),
}

/// A time as the user wrote it. The API server admits a `date-time` that is in no calendar, so the operator parses it where it
/// can report an error.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct UserTime(pub String);

impl JsonSchema for UserTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UserTime".into()
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
#[schemars(extend("default" = ApprovalDecisionStatus::pending()))]
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
    /// The AWS account where the request was first resolved. In another one the decision is TargetForbidden until it is edited, or
    /// the annotation codepipeline.approvals.dev/requestedAt gets a new value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub account_id: Option<String>,
    /// The AWS region where the request was first resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub region: Option<String>,
    /// The pipeline execution that the request belongs to, or that the decision waits for, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pipeline_execution_id: Option<String>,
    /// The execution of the approval action that opened the request, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub action_execution_id: Option<String>,
    /// The source revisions of this pipeline execution, if they were read. For people: nothing is decided from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub source_revisions: Vec<ObservedSourceRevision>,
    /// When the decision expires if it is not settled before: by notAfter, or by the operator's --waiting-limit. Absent while no limit
    /// passes, while a submission is in flight or in doubt, and once nothing more is sent. For people: nothing is decided from it.
    #[serde(default, deserialize_with = "time::lenient_option", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::schema")]
    pub expires_at: Option<Timestamp>,
    /// Who responded to the approval, from CodePipeline's history (lastUpdatedBy), if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub decided_by: Option<String>,
    /// The current or last submission. The operator writes it before it sends the request. Without an outcome it is in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Submission>,
    /// The operator's --waiting-limit counts from here: creation, the last edit, a new value of the annotation
    /// codepipeline.approvals.dev/requestedAt, or release from suspend.
    #[serde(default, deserialize_with = "time::lenient_option", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::schema")]
    pub waiting_since: Option<Timestamp>,
    /// The response that settled the decision last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<SettledRequest>,
    /// What was in `settled` before another request settled the decision: newest first, up to 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub history: Vec<SettledRequest>,
    /// The last value of the annotation codepipeline.approvals.dev/requestedAt that the operator acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_requested_at: Option<String>,
}

/// A source revision of an execution, as CodePipeline shows it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedSourceRevision {
    /// The source action.
    #[schemars(length(max = 100))]
    pub action_name: String,
    /// The revision id, which some sources do not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1500))]
    pub revision_id: Option<String>,
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

impl ApprovalDecisionSpec {
    /// A spec that does not name its request yet.
    #[must_use]
    pub const fn new(pipeline_name: String, stage_name: String, action_name: String, result: ApprovalResult) -> Self {
        Self {
            target_ref: None,
            pipeline_name,
            stage_name,
            action_name,
            token: None,
            pipeline_execution_id: None,
            source_revisions: Vec::new(),
            result,
            ignore_responses_before: None,
            not_after: None,
            suspend: false,
            unsupported: None,
        }
    }
}

impl ApprovalDecisionStatus {
    /// The default in the schema: the status of a decision that no operator has reported on. A dead or absent operator would be
    /// invisible without its condition. The API server fills it in wherever the whole status is missing or null, after a removal too. Only
    /// someone who may write the status can remove the conditions alone, and an operator that runs restores them.
    #[must_use]
    pub fn pending() -> Self {
        let reason = Reason::Pending;
        let ready = Condition {
            r#type: "Ready".to_owned(),
            status: reason.ready_class().ready(),
            observed_generation: None,
            // A default is a constant, and the time is required. Nobody takes the epoch for a time at which something happened.
            last_transition_time: Timestamp::UNIX_EPOCH,
            reason: reason.as_str().to_owned(),
            message: format!("No operator has seen this decision yet: nothing was sent. {}", reason.remedy()),
        };
        Self { observed_generation: Some(-1), conditions: vec![ready], ..Self::default() }
    }
}

impl ApprovalDecision {
    /// `namespace/name`, for the log.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.namespace().unwrap_or_default(), self.name_any())
    }
}
