//! The rules of the design, applied to a true state of CodePipeline: which requests a decision names, and what it must report.

use super::actual_state::{ActualState, Execution, Request};
use super::aws::PIPELINE;
use approval_operator::api::v1alpha1::{
    ApprovalDecisionSpec, ApprovalStatus, Binding, ExecutionBinding, Reason, UserTime,
};
use approval_operator::codepipeline::ExecutionStatus;
use jiff::Timestamp;

pub fn user_time(time: Option<&UserTime>) -> Option<Timestamp> {
    time.and_then(|time| time.0.parse().ok())
}

/// When a request received a response, if that counts.
pub fn response_that_counts(request: &Request, ignored_before: Option<Timestamp>) -> Option<Timestamp> {
    let completion = request.completion.as_ref().filter(|completion| completion.result.is_some())?;
    ignored_before.is_none_or(|ignored_before| ignored_before <= completion.at).then_some(completion.at)
}

/// Whether two decisions are about the same action.
pub fn is_same_action(one: &ApprovalDecisionSpec, other: &ApprovalDecisionSpec) -> bool {
    let action =
        |spec: &ApprovalDecisionSpec| (spec.pipeline_name.clone(), spec.stage_name.clone(), spec.action_name.clone());
    action(one) == action(other)
}

impl ActualState {
    /// Whether a decision names a request.
    pub fn names(&self, spec: &ApprovalDecisionSpec, request: &Request) -> bool {
        let execution = self.executions.iter().find(|execution| execution.id == request.execution);
        match spec.binding() {
            Some(Binding::Token(token)) => request.is_at(spec) && request.token.as_ref() == Some(&token.0),
            Some(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => {
                request.is_at(spec) && request.execution == id.0
            }
            Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))) => {
                request.is_at(spec) && execution.is_some_and(|execution| execution.matches(entries))
            }
            None => false,
        }
    }

    /// Whether a decision rejects a request. Its source revisions need not cover all sources.
    pub fn rejects(&self, spec: &ApprovalDecisionSpec, request: &Request) -> bool {
        let execution = self.executions.iter().find(|execution| execution.id == request.execution);
        request.is_at(spec)
            && match spec.binding() {
                Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))) => {
                    execution.is_some_and(|execution| execution.meets(entries))
                }
                Some(Binding::Token(_) | Binding::Execution(ExecutionBinding::PipelineExecution(_))) | None => {
                    self.names(spec, request)
                }
            }
    }

    /// What a decision that names executions must report in this state. Nothing if its only request is pending, because a result must
    /// be submitted. In PARALLEL mode, the state view does not show which stages and actions there are.
    pub fn implied(
        &self,
        spec: &ApprovalDecisionSpec,
        binding: ExecutionBinding<'_>,
        is_parallel: bool,
    ) -> Option<Reason> {
        if !self.exists || spec.pipeline_name != PIPELINE {
            return Some(Reason::PipelineNotFound);
        }
        let stage = self.stages.iter().find(|(stage, _)| *stage == spec.stage_name);
        match stage {
            None if !is_parallel => return Some(Reason::StageNotFound),
            Some((_, actions)) if !is_parallel && !actions.contains(&spec.action_name) => {
                return Some(Reason::ActionNotFound);
            }
            Some(_) | None => {}
        }
        match binding {
            ExecutionBinding::PipelineExecution(id) => {
                match self.executions.iter().find(|execution| execution.id == id.0) {
                    None => Some(Reason::PipelineExecutionNotFound),
                    Some(execution) => self.of_executions(spec, &[execution]),
                }
            }
            ExecutionBinding::SourceRevisions(entries) => {
                let executions = self.executions.iter().filter(|execution| execution.meets(entries));
                let (matching, others): (Vec<_>, Vec<_>) = executions.partition(|execution| execution.matches(entries));
                let is_pending = |execution: &&Execution| {
                    self.requests_of(spec, execution).any(|request| request.completion.is_none())
                };
                match self.of_executions(spec, &matching) {
                    Some(Reason::Waiting | Reason::ExecutionEnded)
                        if others.iter().any(is_pending) && !matching.iter().any(is_pending) =>
                    {
                        Some(Reason::AmbiguousRevision)
                    }
                    // A later execution of the revisions may start.
                    Some(Reason::ExecutionEnded) => Some(Reason::Waiting),
                    reason => reason,
                }
            }
        }
    }

    fn requests_of<'a>(
        &'a self,
        spec: &'a ApprovalDecisionSpec,
        execution: &'a Execution,
    ) -> impl Iterator<Item = &'a Request> {
        self.requests.iter().filter(|request| request.execution == execution.id && request.is_at(spec))
    }

    fn of_executions(&self, spec: &ApprovalDecisionSpec, executions: &[&Execution]) -> Option<Reason> {
        let ignored_before = user_time(spec.ignore_responses_before.as_ref());
        let requests = || executions.iter().flat_map(|execution| self.requests_of(spec, execution));
        let responses =
            requests().filter_map(|request| Some((response_that_counts(request, ignored_before)?, request.result()?)));
        if let Some((_, result)) = responses.max_by_key(|(at, _)| *at) {
            return Some(if result == spec.result.status {
                Reason::AlreadyDecided
            } else {
                Reason::ApprovalAlreadyCompleted
            });
        }
        let pending: Vec<&Request> = requests().filter(|request| request.completion.is_none()).collect();
        match pending.as_slice() {
            [] => match executions.first() {
                Some(newest) if newest.is_ended() => Some(Reason::ExecutionEnded),
                Some(_) | None => Some(Reason::Waiting),
            },
            [request] => {
                let is_stopping = executions.iter().any(|execution| {
                    execution.id == request.execution && execution.status == ExecutionStatus::Stopping
                });
                let is_held = is_stopping && spec.result.status == ApprovalStatus::Approved;
                is_held.then_some(Reason::Waiting)
            }
            _ => Some(Reason::AmbiguousRevision),
        }
    }
}
