//! The true state of CodePipeline, without any lag. [`super::rules`] says what it implies for a decision.

use super::aws::PIPELINE;
use super::reader;
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, SourceRevision};
use approval_operator::codepipeline::ExecutionStatus;
use jiff::Timestamp;
use local_codepipeline::api;

/// The true state of the pipeline from this time until the next state of the timeline.
#[derive(Clone, Debug)]
pub struct ActualState {
    pub at: Timestamp,
    /// Whether the pipeline exists.
    pub exists: bool,
    /// The stages and their actions.
    pub stages: Vec<(String, Vec<String>)>,
    /// Newest first.
    pub executions: Vec<Execution>,
    /// Newest first.
    pub requests: Vec<Request>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Execution {
    pub id: String,
    pub status: ExecutionStatus,
    pub is_rollback: bool,
    /// The source actions, and the revisions that they provided.
    pub revisions: Vec<(String, Option<String>)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    pub execution: String,
    pub stage: String,
    pub action: String,
    pub token: Option<String>,
    pub opened_at: Timestamp,
    /// How it was completed, if it was.
    pub completion: Option<Completion>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completion {
    /// None if no one responded.
    pub result: Option<ApprovalStatus>,
    pub at: Timestamp,
    pub summary: Option<String>,
}

impl Execution {
    pub fn of(execution: api::PipelineExecutionSummary) -> Self {
        let revisions = execution.source_revisions.into_iter();
        Self {
            id: execution.pipeline_execution_id.to_string(),
            status: reader::status(execution.status),
            is_rollback: execution.execution_type == api::ExecutionType::Rollback,
            revisions: revisions.map(|found| (found.action_name.to_string(), found.revision_id)).collect(),
        }
    }

    pub const fn is_ended(&self) -> bool {
        matches!(self.status, ExecutionStatus::Ended(_))
    }

    /// Whether each entry covers one of its source revisions.
    pub fn meets(&self, entries: &[SourceRevision]) -> bool {
        !self.is_rollback && entries.iter().all(|entry| self.revisions.iter().any(|found| covers(entry, found)))
    }

    /// Whether it also has no source revision that no entry covers.
    pub fn matches(&self, entries: &[SourceRevision]) -> bool {
        self.meets(entries) && self.revisions.iter().all(|found| entries.iter().any(|entry| covers(entry, found)))
    }
}

fn covers(entry: &SourceRevision, (action, revision): &(String, Option<String>)) -> bool {
    let has_action = entry.action_name.as_ref().is_none_or(|wanted| wanted == action);
    has_action && (entry.revision_id.is_none() || entry.revision_id == *revision)
}

impl Request {
    pub fn of(entry: &api::ActionExecutionDetail, token: Option<String>) -> Self {
        let result = match (entry.status, &entry.updated_by) {
            (api::ActionExecutionStatus::Succeeded, _) => Some(ApprovalStatus::Approved),
            (api::ActionExecutionStatus::Failed, Some(_)) => Some(ApprovalStatus::Rejected),
            _ => None,
        };
        let summary = entry.output.execution_result.external_execution_summary.clone();
        let completion = Completion { result, at: entry.last_update_time.0, summary };
        Self {
            execution: entry.pipeline_execution_id.to_string(),
            stage: entry.stage_name.to_string(),
            action: entry.action_name.to_string(),
            token,
            opened_at: entry.start_time.0,
            completion: (entry.status != api::ActionExecutionStatus::InProgress).then_some(completion),
        }
    }

    pub fn is_at(&self, spec: &ApprovalDecisionSpec) -> bool {
        (PIPELINE, &self.stage, &self.action) == (spec.pipeline_name.as_str(), &spec.stage_name, &spec.action_name)
    }

    pub fn result(&self) -> Option<ApprovalStatus> {
        self.completion.as_ref().and_then(|completion| completion.result)
    }
}

impl ActualState {
    pub fn empty(at: Timestamp) -> Self {
        Self { at, exists: true, stages: Vec::new(), executions: Vec::new(), requests: Vec::new() }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        (self.exists, &self.stages, &self.executions, &self.requests)
            == (other.exists, &other.stages, &other.executions, &other.requests)
    }

    pub fn request_of(&self, token: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.token.as_deref() == Some(token))
    }
}
