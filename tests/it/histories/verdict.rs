//! What a decision may say at the end of a history, by the ledger and by what the service itself knows. Both are read from
//! the model, where nothing lags.

use crate::support::{Case, pinned, reason};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use kube::ResourceExt;
use local_codepipeline::api::{
    ActionExecutionDetail, ActionExecutionStatus, ExecutionStatus, ListActionExecutionsInput,
    ListPipelineExecutionsInput, PipelineExecutionSummary,
};
use local_codepipeline::model::{LedgerEntry, Outcome, PipelineExecutionId as RunId};
use std::collections::HashSet;

/// All there is to know of a pipeline.
pub struct Facts {
    /// The newest first.
    runs: Vec<PipelineExecutionSummary>,
    /// The requests, the newest first.
    requests: Vec<ActionExecutionDetail>,
    ledger: Vec<LedgerEntry>,
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn is_over(run: &PipelineExecutionSummary) -> bool {
    !matches!(run.status, ExecutionStatus::InProgress | ExecutionStatus::Stopping)
}

impl Facts {
    pub fn of(case: &Case, pipeline: &str) -> Self {
        let pipeline_name = Some(pipeline.to_owned());
        let runs = ListPipelineExecutionsInput { pipeline_name: pipeline_name.clone(), ..Default::default() };
        let actions = ListActionExecutionsInput { pipeline_name, ..Default::default() };
        case.service.service(|service, now| {
            let runs = service.list_pipeline_executions(now, &runs).unwrap();
            let mut actions = service.list_action_executions(now, &actions).unwrap();
            assert_eq!((runs.next_token, actions.next_token), (None, None), "one page has them all");
            actions.action_execution_details.retain(|action| &*action.stage_name == "Prod");
            let mut ledger = service.ledger().to_vec();
            ledger.retain(|entry| entry.pipeline_name == pipeline);
            let runs = runs.pipeline_execution_summaries;
            Self { runs, requests: actions.action_execution_details, ledger }
        })
    }

    /// Whether a decision says what it has to, once nothing goes on any more.
    pub fn verdict(&self, decision: &ApprovalDecision, retried: &HashSet<RunId>) -> Result<(), String> {
        let Some(reason) = reason(decision) else { return Err("it was not looked at".to_owned()) };
        let sent = || self.ledger.iter().filter(|entry| entry.summary == decision.name_any());
        let taken: Vec<_> = sent().filter(|entry| entry.is_accepted()).collect();
        // These never hold for a moment only, so waiting would not mend them.
        assert!(taken.len() <= 1, "{} was taken more than once: {taken:#?}", decision.name_any());
        for entry in &taken {
            self.ensure_meant(decision, entry);
        }
        if reason == Reason::Delivered {
            assert_eq!(taken.len(), 1, "{} was never taken", decision.name_any());
            return Ok(());
        }
        ensure(taken.is_empty(), "its answer was taken")?;
        let runs = self.runs_of(decision);
        let is_of_runs = |run: &RunId| runs.iter().any(|found| found.pipeline_execution_id == *run);
        let requests: Vec<_> = self.requests_of(decision);
        match reason {
            Reason::Waiting => self.ensure_nothing_to_answer(decision, &runs),
            Reason::AlreadyDecided => ensure(
                requests.iter().any(|request| self.answer_to(request) == Some(decision.spec.result.status.to_string())),
                "nobody gave this answer",
            ),
            Reason::ApprovalAlreadyCompleted => {
                let is_otherwise = |request: &&ActionExecutionDetail| {
                    request.status != ActionExecutionStatus::InProgress
                        && self.answer_to(request) != Some(decision.spec.result.status.to_string())
                };
                ensure(requests.iter().any(is_otherwise), "no request ended otherwise")
            }
            Reason::ExecutionEnded => ensure(
                decision.spec.pipeline_execution_id.is_some()
                    && (runs.iter().all(|run| is_over(run)) || retried.iter().any(is_of_runs)),
                "its run never ended",
            ),
            Reason::InvalidApprovalToken => {
                let refused = |entry: &LedgerEntry| {
                    entry.refusal().is_some_and(|refusal| refusal.kind.name() == "InvalidApprovalTokenException")
                };
                ensure(sent().any(refused), "its token was never refused")
            }
            Reason::AmbiguousRevision => ensure(
                decision.spec.source_revision.is_some()
                    && runs.iter().filter(|run| self.newest_request(run.pipeline_execution_id).is_some()).count() > 1,
                "there never was a second request",
            ),
            other => Err(format!("{other:?} is no end")),
        }
    }

    /// What was taken was meant for the request that took it, and the status names that.
    fn ensure_meant(&self, decision: &ApprovalDecision, entry: &LedgerEntry) {
        let Outcome::Accepted { pipeline_execution_id: run, action_execution_id, .. } = entry.outcome else { return };
        let spec = &decision.spec;
        let name = decision.name_any();
        assert_eq!(entry.status, spec.result.status.to_string(), "{name}");
        assert!(spec.token.as_ref().is_none_or(|token| token.0 == entry.token), "{name}: {entry:#?}");
        let runs = self.runs_of(decision);
        assert!(runs.iter().any(|found| found.pipeline_execution_id == run), "{name}: {entry:#?}");
        if spec.token.is_none() {
            let ids = (Some(run.to_string()), Some(action_execution_id.to_string()));
            assert_eq!(pinned(decision), ids, "{name}: it is written with the intent");
        }
    }

    /// The runs that a decision is for, the newest first.
    fn runs_of(&self, decision: &ApprovalDecision) -> Vec<&PipelineExecutionSummary> {
        let spec = &decision.spec;
        let is_meant = |run: &&PipelineExecutionSummary| {
            let is_named = |id: &str| run.pipeline_execution_id.to_string() == id;
            match (&spec.token, &spec.pipeline_execution_id, &spec.source_revision) {
                (Some(token), ..) => self.requests.iter().any(|request| {
                    // Here a token is its action execution's id.
                    request.pipeline_execution_id == run.pipeline_execution_id
                        && request.action_execution_id.to_string() == token.0
                }),
                (_, Some(id), _) => is_named(&id.0),
                (_, _, Some(revision)) => {
                    run.source_revisions.iter().any(|found| found.revision_id == revision.revision_id)
                }
                (None, None, None) => false,
            }
        };
        self.runs.iter().filter(is_meant).collect()
    }

    fn requests_of(&self, decision: &ApprovalDecision) -> Vec<&ActionExecutionDetail> {
        let runs = self.runs_of(decision);
        let is_meant = |request: &&ActionExecutionDetail| {
            let token = decision.spec.token.as_ref();
            runs.iter().any(|run| run.pipeline_execution_id == request.pipeline_execution_id)
                && token.is_none_or(|token| token.0 == request.action_execution_id.to_string())
        };
        self.requests.iter().filter(is_meant).collect()
    }

    fn newest_request(&self, run: RunId) -> Option<&ActionExecutionDetail> {
        self.requests.iter().find(|request| request.pipeline_execution_id == run)
    }

    /// The answer that ended a request.
    fn answer_to(&self, request: &ActionExecutionDetail) -> Option<String> {
        self.ledger.iter().find_map(|entry| match entry.outcome {
            Outcome::Accepted { action_execution_id, .. } if action_execution_id == request.action_execution_id => {
                Some(entry.status.clone())
            }
            Outcome::Accepted { .. } | Outcome::Refused(_) | Outcome::NotApplied => None,
        })
    }

    fn ensure_nothing_to_answer(
        &self,
        decision: &ApprovalDecision,
        runs: &[&PipelineExecutionSummary],
    ) -> Result<(), String> {
        ensure(decision.spec.token.is_none(), "a token is waited for by nobody")?;
        for run in runs {
            let request = self.newest_request(run.pipeline_execution_id);
            let is_pending = request.is_some_and(|request| request.status == ActionExecutionStatus::InProgress);
            ensure(!is_pending, "its request is pending")?;
        }
        let Some(newest) = runs.first() else { return Ok(()) };
        let request = self.newest_request(newest.pipeline_execution_id);
        ensure(
            !is_over(newest) || request.is_none_or(|request| self.answer_to(request).is_none()),
            "the newest request was answered",
        )?;
        ensure(decision.spec.source_revision.is_some() || !is_over(newest), "its run is over")
    }
}
