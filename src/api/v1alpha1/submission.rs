//! What the status keeps of a submission, and of the requests that settled the decision.

use super::approval_result::{ApprovalResult, ApprovalStatus};
use super::binding::Token;
use crate::api::{conditions::integral, time};
use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A submission: the attempts to call PutApprovalResult for one request. It holds all that is needed to find its outcome,
/// whatever happens to the spec.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Submission {
    /// The ApprovalTarget through which the request is sent; absent for the operator's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub target: Option<String>,
    /// The AWS account that the request is sent to.
    #[schemars(length(max = 100))]
    pub account_id: String,
    /// The AWS region that the request is sent to.
    #[schemars(length(max = 100))]
    pub region: String,
    /// The name of the role session in which the request is sent, where the target has a role. CodePipeline's lastUpdatedBy then shows
    /// whose result it accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub session_name: Option<String>,
    /// The pipeline.
    #[schemars(length(max = 100))]
    pub pipeline_name: String,
    /// The stage.
    #[schemars(length(max = 100))]
    pub stage_name: String,
    /// The approval action.
    #[schemars(length(max = 100))]
    pub action_name: String,
    /// The pipeline execution of the request, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pipeline_execution_id: Option<String>,
    /// The action execution of the request, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub action_execution_id: Option<String>,
    /// The token in the request.
    pub token: Token,
    /// The result in the request.
    pub result: ApprovalResult,
    /// The number of attempts, including this one.
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
    /// Whether CodePipeline accepted the result, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SubmissionOutcome>,
}

/// Whether CodePipeline accepted the result of a submission.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum SubmissionOutcome {
    /// CodePipeline accepted it.
    Accepted,
    /// CodePipeline refused it, or it did not reach CodePipeline.
    NotAccepted,
}

/// A request whose response settled the decision.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledRequest {
    /// The pipeline.
    #[schemars(length(max = 100))]
    pub pipeline_name: String,
    /// The stage.
    #[schemars(length(max = 100))]
    pub stage_name: String,
    /// The approval action.
    #[schemars(length(max = 100))]
    pub action_name: String,
    /// The pipeline execution, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pipeline_execution_id: Option<String>,
    /// What the decision asked for.
    pub result: ApprovalStatus,
    /// The reason of the Ready condition.
    #[schemars(length(max = 100))]
    pub reason: String,
    /// When the request was completed.
    #[serde(default, deserialize_with = "time::lenient_option", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time::schema")]
    pub approved_at: Option<Timestamp>,
    /// Who responded, if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub decided_by: Option<String>,
}

impl SettledRequest {
    /// Whether both are about the same response.
    #[must_use]
    pub fn is_same_response(&self, other: &Self) -> bool {
        let key = |settled: &Self| {
            let Self { pipeline_name, stage_name, action_name, approved_at, .. } = settled.clone();
            (pipeline_name, stage_name, action_name, approved_at)
        };
        let is_same_execution = match (&self.pipeline_execution_id, &other.pipeline_execution_id) {
            (Some(execution), Some(other)) => execution == other,
            // A decision by token does not know the execution before history was read.
            (None, Some(_)) | (Some(_), None) => self.approved_at.is_some(),
            (None, None) => true,
        };
        key(self) == key(other) && is_same_execution
    }
}
