//! Checks a status at the end of a scenario against the ledger and CodePipeline's state. Both come from the model, without lag.

use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use kube::ResourceExt;
use local_codepipeline::api::{
    ActionExecutionDetail, ActionExecutionStatus, ExecutionStatus, ListActionExecutionsInput,
    ListPipelineExecutionsInput, PipelineExecutionSummary,
};
use local_codepipeline::model::{LedgerEntry, Outcome, PipelineExecutionId as ExecutionId};
use std::collections::HashSet;
use test_support::{TestEnv, pinned, reason};

/// The complete state of a pipeline.
pub struct Facts {
    /// The newest first.
    executions: Vec<PipelineExecutionSummary>,
    /// The requests, the newest first.
    requests: Vec<ActionExecutionDetail>,
    ledger: Vec<LedgerEntry>,
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn has_ended(execution: &PipelineExecutionSummary) -> bool {
    !matches!(execution.status, ExecutionStatus::InProgress | ExecutionStatus::Stopping)
}

impl Facts {
    pub fn of(env: &TestEnv, pipeline: &str) -> Self {
        let pipeline_name = Some(pipeline.to_owned());
        let executions = ListPipelineExecutionsInput { pipeline_name: pipeline_name.clone(), ..Default::default() };
        let actions = ListActionExecutionsInput { pipeline_name, ..Default::default() };
        env.codepipeline.with_service(|service, now| {
            let executions = service.list_pipeline_executions(now, &executions).unwrap();
            let mut actions = service.list_action_executions(now, &actions).unwrap();
            assert_eq!((executions.next_token, actions.next_token), (None, None), "one page contains all");
            actions.action_execution_details.retain(|action| &*action.stage_name == "Prod");
            let mut ledger = service.ledger().to_vec();
            ledger.retain(|entry| entry.pipeline_name == pipeline);
            let executions = executions.pipeline_execution_summaries;
            Self { executions, requests: actions.action_execution_details, ledger }
        })
    }

    /// Whether the status of a decision is correct when nothing is in progress.
    pub fn verdict(&self, decision: &ApprovalDecision, retried: &HashSet<ExecutionId>) -> Result<(), String> {
        let Some(reason) = reason(decision) else { return Err("it has no reason".to_owned()) };
        let sent = || self.ledger.iter().filter(|entry| entry.summary == decision.name_any());
        let accepted: Vec<_> = sent().filter(|entry| entry.is_accepted()).collect();
        // A violation of these is permanent, so it fails the test at once.
        assert!(accepted.len() <= 1, "{} was accepted more than once: {accepted:#?}", decision.name_any());
        for entry in &accepted {
            self.assert_right_request(decision, entry);
        }
        if reason == Reason::Delivered {
            assert_eq!(accepted.len(), 1, "{} was never accepted", decision.name_any());
            return Ok(());
        }
        ensure(accepted.is_empty(), "its result was accepted")?;
        let executions = self.executions_of(decision);
        let is_of_executions =
            |execution: &ExecutionId| executions.iter().any(|found| found.pipeline_execution_id == *execution);
        let requests: Vec<_> = self.requests_of(decision);
        match reason {
            Reason::Waiting => self.ensure_nothing_pending(decision, &executions),
            Reason::AlreadyDecided => ensure(
                requests
                    .iter()
                    .any(|request| self.response_to(request) == Some(decision.spec.result.status.to_string())),
                "no request received this response",
            ),
            Reason::ApprovalAlreadyCompleted => {
                let ended_otherwise = |request: &&ActionExecutionDetail| {
                    request.status != ActionExecutionStatus::InProgress
                        && self.response_to(request) != Some(decision.spec.result.status.to_string())
                };
                ensure(requests.iter().any(ended_otherwise), "no request ended in another way")
            }
            Reason::ExecutionEnded => ensure(
                decision.spec.pipeline_execution_id.is_some()
                    && (executions.iter().all(|execution| has_ended(execution))
                        || retried.iter().any(is_of_executions)),
                "its execution never ended",
            ),
            Reason::InvalidApprovalToken => {
                let refused = |entry: &LedgerEntry| {
                    entry.refusal().is_some_and(|refusal| refusal.kind.name() == "InvalidApprovalTokenException")
                };
                ensure(sent().any(refused), "its token was never refused")
            }
            Reason::AmbiguousRevision => ensure(
                !decision.spec.source_revisions.is_empty()
                    && executions
                        .iter()
                        .filter(|execution| self.newest_request(execution.pipeline_execution_id).is_some())
                        .count()
                        > 1,
                "there never was a second request",
            ),
            other => Err(format!("{other:?} is not a final reason")),
        }
    }

    /// Checks that CodePipeline accepted the result for a request that the decision names, and that the decision is pinned to it.
    fn assert_right_request(&self, decision: &ApprovalDecision, entry: &LedgerEntry) {
        let Outcome::Accepted { pipeline_execution_id: execution, action_execution_id, .. } = entry.outcome else {
            return;
        };
        let spec = &decision.spec;
        let name = decision.name_any();
        assert_eq!(entry.status, spec.result.status.to_string(), "{name}");
        assert!(spec.token.as_ref().is_none_or(|token| token.0 == entry.token), "{name}: {entry:#?}");
        let executions = self.executions_of(decision);
        assert!(executions.iter().any(|found| found.pipeline_execution_id == execution), "{name}: {entry:#?}");
        if spec.token.is_none() {
            let ids = (Some(execution.to_string()), Some(action_execution_id.to_string()));
            // Another status may be older than the ledger: it was read first, and the intent may have been written since.
            if reason(decision) == Some(Reason::Delivered) {
                assert_eq!(pinned(decision), ids, "{name}: the intent pins the decision");
            }
        }
    }

    /// The executions that a decision names, the newest first.
    fn executions_of(&self, decision: &ApprovalDecision) -> Vec<&PipelineExecutionSummary> {
        let spec = &decision.spec;
        let matches = |execution: &&PipelineExecutionSummary| {
            let is_named = |id: &str| execution.pipeline_execution_id.to_string() == id;
            match (&spec.token, &spec.pipeline_execution_id, spec.source_revisions.as_slice()) {
                (Some(token), ..) => self.requests.iter().any(|request| {
                    // In this model, the token is the id of the action execution.
                    request.pipeline_execution_id == execution.pipeline_execution_id
                        && request.action_execution_id.to_string() == token.0
                }),
                (_, Some(id), _) => is_named(&id.0),
                (_, _, entries) => execution
                    .source_revisions
                    .iter()
                    .all(|found| entries.iter().any(|entry| entry.revision_id == found.revision_id)),
            }
        };
        self.executions.iter().filter(matches).collect()
    }

    fn requests_of(&self, decision: &ApprovalDecision) -> Vec<&ActionExecutionDetail> {
        let executions = self.executions_of(decision);
        let matches = |request: &&ActionExecutionDetail| {
            let token = decision.spec.token.as_ref();
            executions.iter().any(|execution| execution.pipeline_execution_id == request.pipeline_execution_id)
                && token.is_none_or(|token| token.0 == request.action_execution_id.to_string())
        };
        self.requests.iter().filter(matches).collect()
    }

    fn newest_request(&self, execution: ExecutionId) -> Option<&ActionExecutionDetail> {
        self.requests.iter().find(|request| request.pipeline_execution_id == execution)
    }

    /// The response that completed a request.
    fn response_to(&self, request: &ActionExecutionDetail) -> Option<String> {
        self.ledger.iter().find_map(|entry| match entry.outcome {
            Outcome::Accepted { action_execution_id, .. } if action_execution_id == request.action_execution_id => {
                Some(entry.status.clone())
            }
            Outcome::Accepted { .. } | Outcome::Refused(_) | Outcome::NotApplied => None,
        })
    }

    fn ensure_nothing_pending(
        &self,
        decision: &ApprovalDecision,
        executions: &[&PipelineExecutionSummary],
    ) -> Result<(), String> {
        ensure(decision.spec.token.is_none(), "a decision with a token never waits")?;
        for execution in executions {
            let request = self.newest_request(execution.pipeline_execution_id);
            let is_pending = request.is_some_and(|request| request.status == ActionExecutionStatus::InProgress);
            ensure(!is_pending, "its request is pending")?;
        }
        let Some(newest) = executions.first() else { return Ok(()) };
        let request = self.newest_request(newest.pipeline_execution_id);
        ensure(
            !has_ended(newest) || request.is_none_or(|request| self.response_to(request).is_none()),
            "the newest request received a response",
        )?;
        ensure(!decision.spec.source_revisions.is_empty() || !has_ended(newest), "its execution has ended")
    }
}
