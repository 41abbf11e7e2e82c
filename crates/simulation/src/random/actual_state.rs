//! The true state of CodePipeline, without any lag, and what it implies for a decision.

use super::reader::source_revisions;
use approval_operator::api::v1alpha1::{
    ApprovalDecisionSpec, ApprovalStatus, Binding, ExecutionBinding, Reason, SourceRevision,
};
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
    pub is_ended: bool,
    pub revisions: Vec<SourceRevision>,
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
        let is_ended = !matches!(execution.status, api::ExecutionStatus::InProgress | api::ExecutionStatus::Stopping);
        let id = execution.pipeline_execution_id.to_string();
        Self { id, is_ended, revisions: source_revisions(execution.source_revisions) }
    }

    pub fn has(&self, wanted: &SourceRevision) -> bool {
        let action = wanted.action_name.as_ref();
        let is_wanted = |found: &&SourceRevision| action.is_none() || action == found.action_name.as_ref();
        self.revisions.iter().filter(is_wanted).any(|found| found.revision_id == wanted.revision_id)
    }
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
        self.stage == spec.stage_name && self.action == spec.action_name
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

    /// Whether a decision names a request.
    pub fn names(&self, spec: &ApprovalDecisionSpec, request: &Request) -> bool {
        let execution = self.executions.iter().find(|execution| execution.id == request.execution);
        match spec.binding() {
            Ok(Binding::Token(token)) => request.token.as_ref() == Some(&token.0),
            Ok(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => {
                request.is_at(spec) && request.execution == id.0
            }
            Ok(Binding::Execution(ExecutionBinding::SourceRevision(revision))) => {
                request.is_at(spec) && execution.is_some_and(|execution| execution.has(revision))
            }
            Err(_) => false,
        }
    }

    fn newest_request(&self, spec: &ApprovalDecisionSpec, execution: &Execution) -> Option<&Request> {
        self.requests.iter().find(|request| request.execution == execution.id && request.is_at(spec))
    }

    pub fn request_of(&self, token: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.token.as_deref() == Some(token))
    }

    /// What a decision that names an execution must report in this state. Nothing if its only request is pending, because a
    /// result must be submitted.
    pub fn implied(&self, spec: &ApprovalDecisionSpec, binding: ExecutionBinding<'_>) -> Option<Reason> {
        if !self.exists {
            return Some(Reason::PipelineNotFound);
        }
        let Some((_, actions)) = self.stages.iter().find(|(stage, _)| *stage == spec.stage_name) else {
            return Some(Reason::StageNotFound);
        };
        if !actions.contains(&spec.action_name) {
            return Some(Reason::ActionNotFound);
        }
        match binding {
            ExecutionBinding::PipelineExecution(id) => {
                match self.executions.iter().find(|execution| execution.id == id.0) {
                    None => Some(Reason::PipelineExecutionNotFound),
                    Some(execution) => self.of_execution(spec, execution),
                }
            }
            ExecutionBinding::SourceRevision(revision) => {
                let executions = || self.executions.iter().filter(|execution| execution.has(revision));
                let is_pending = |execution: &&Execution| {
                    self.newest_request(spec, execution).is_some_and(|found| found.completion.is_none())
                };
                match (executions().filter(is_pending).count(), executions().next()) {
                    (1, _) => None,
                    (0, Some(newest)) => match self.of_execution(spec, newest) {
                        // A later execution of the revision may start.
                        Some(Reason::ExecutionEnded) => Some(Reason::Waiting),
                        reason => reason,
                    },
                    (0, None) => Some(Reason::Waiting),
                    (_, _) => Some(Reason::AmbiguousRevision),
                }
            }
        }
    }

    pub fn of_execution(&self, spec: &ApprovalDecisionSpec, execution: &Execution) -> Option<Reason> {
        match self.newest_request(spec, execution) {
            Some(Request { completion: None, .. }) => None,
            // A failed stage may be retried, and the other actions of the stage complete first.
            Some(request) if !execution.is_ended && request.result() != Some(ApprovalStatus::Approved) => {
                Some(Reason::Waiting)
            }
            Some(request) if request.result().is_some() => Some(match request.result() {
                Some(result) if result == spec.result.status => Reason::AlreadyDecided,
                _ => Reason::ApprovalAlreadyCompleted,
            }),
            Some(_) | None if execution.is_ended => Some(Reason::ExecutionEnded),
            Some(_) | None => Some(Reason::Waiting),
        }
    }
}
