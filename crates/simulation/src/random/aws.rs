//! CodePipeline: the model with its clock, the requests that are on their way to it, and the timeline of its true states, which
//! the operators never see.

use super::acceptance::{Acceptance, InFlightRequest};
use super::actual_state::{ActualState, Execution, Request};
use super::scenario::OTHER_ACTIONS;
use super::{PipelineChange, Scenario, Shape, seconds};
use crate::fixtures;
use approval_operator::api::v1alpha1::{ApprovalStatus, Token};
use approval_operator::codepipeline::CallError;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{self, PutApprovalResultInput};
use local_codepipeline::model::{
    Account, Behaviour, Category, Lags, Name, ParallelState, PipelineExecutionId, RetryMode, Service, SourceRevision,
    StopMode,
};
use std::collections::HashMap;

pub use super::scenario::{APPROVAL, PIPELINE, STAGE, revision};

pub struct Aws {
    pub now: Timestamp,
    pub service: Service,
    pub scenario: Scenario,
    /// Slow requests, and when they arrive.
    slow: Vec<(Timestamp, InFlightRequest)>,
    /// The results of decisions that CodePipeline accepted, oldest first.
    pub accepted: Vec<Acceptance>,
    /// The true states of the pipeline, newest last.
    pub timeline: Vec<ActualState>,
    /// The tokens of action executions that were pending when a state was recorded.
    tokens: HashMap<String, String>,
    /// The uids of the decisions that sent something, by how CodePipeline sees the sender.
    pub callers: HashMap<String, String>,
    pub log: Vec<String>,
    /// The first thing that happened and must not happen.
    pub violation: Option<String>,
}

fn millis(number: i64) -> SignedDuration {
    SignedDuration::from_millis(number)
}

impl Aws {
    pub fn new(scenario: &Scenario) -> Self {
        let [token, start, decision, cancellation] = scenario.lags.map(millis);
        let lags = Lags { token, start, decision, cancellation };
        let behaviour = Behaviour {
            lags,
            tokens: scenario.tokens,
            parallel_state: scenario.parallel_state,
            ..Behaviour::default()
        };
        let now = fixtures::at(0);
        let mut service = Service::new(Account::default(), behaviour, Default::default());
        service.put_pipeline(now, scenario.definition(Shape::Whole)).expect("a pipeline");
        Self {
            now,
            service,
            scenario: scenario.clone(),
            slow: Vec::new(),
            accepted: Vec::new(),
            timeline: Vec::new(),
            tokens: HashMap::new(),
            callers: HashMap::new(),
            log: Vec::new(),
            violation: None,
        }
    }

    pub fn note(&mut self, text: impl std::fmt::Display) {
        self.log.push(format!("{:>8} s  {text}", seconds(self.now)));
    }

    /// Lets time pass. Slow requests arrive during it.
    pub fn advance(&mut self, time: SignedDuration) {
        let end = self.now + time;
        while self.slow.first().is_some_and(|(arrival, _)| *arrival <= end) {
            let (arrival, request) = self.slow.remove(0);
            self.advance_to(arrival);
            self.receive(&request).ok();
        }
        self.advance_to(end);
    }

    /// Performs what CodePipeline does automatically until then.
    fn advance_to(&mut self, until: Timestamp) {
        while let Some(due) = self.service.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.service.advance_to(self.now);
            self.record_state();
        }
        self.now = until;
    }

    /// A slow request arrives that many milliseconds later.
    pub fn receive_later(&mut self, milliseconds: i64, request: InFlightRequest) {
        self.slow.push((self.now + millis(milliseconds), request));
        self.slow.sort_by_key(|(arrival, _)| *arrival);
    }

    /// Whether a request of a decision with this token is on its way.
    pub fn is_in_flight(&self, uid: &str, token: &Token) -> bool {
        self.slow.iter().any(|(_, request)| request.uid == uid && request.submission.token == *token)
    }

    pub fn put_approval_result(
        &mut self,
        action: (&str, &str),
        token: &Token,
        result: ApprovalStatus,
        (summary, by): (&str, &str),
    ) -> Result<Timestamp, CallError> {
        let response = put_approval_result(&mut self.service, self.now, action, token, result, (summary, by));
        self.record_state();
        response
    }

    /// Starts an execution. No two executions start at the same time.
    pub fn start(&mut self, revisions: [usize; 2]) {
        self.advance(millis(1));
        let sources = self.scenario.sources().iter().zip(revisions);
        let revisions: Vec<SourceRevision> = sources
            .map(|(source, number)| SourceRevision {
                action_name: Name::new(source).expect("a name"),
                revision_id: Some(revision(number)),
            })
            .collect();
        if let Ok(execution) = self.service.start_execution(self.now, PIPELINE, &revisions) {
            let found: Vec<String> = revisions.into_iter().filter_map(|revision| revision.revision_id).collect();
            self.note(format_args!("execution {} starts with {}", short(&execution.to_string()), found.join(" and ")));
        }
    }

    /// Changes the pipeline, if that is possible.
    pub fn apply(&mut self, change: &PipelineChange) {
        self.record_state();
        let now = self.now;
        let applied = match *change {
            PipelineChange::Start(revisions) => {
                self.start(revisions);
                None
            }
            PipelineChange::Complete { execution, succeeded } => self.execution(execution).and_then(|id| {
                let (_, action) = OTHER_ACTIONS
                    .iter()
                    .find(|action| self.service.complete_action(now, PIPELINE, id, **action, succeeded).is_ok())?;
                Some(format!("{action} of execution {} succeeds: {succeeded}", short(&id.to_string())))
            }),
            PipelineChange::Retry { execution, all } => self.execution(execution).and_then(|id| {
                let mode = if all { RetryMode::AllActions } else { RetryMode::FailedActions };
                let stages = ["Build", "Staging", STAGE, "Ship"];
                let stage =
                    stages.iter().find(|stage| self.service.retry_stage(now, PIPELINE, stage, id, mode).is_ok())?;
                Some(format!("someone retries stage {stage} of execution {}", short(&id.to_string())))
            }),
            PipelineChange::RollBack { execution } => self.execution(execution).and_then(|id| {
                let rollback = self.service.rollback_stage(now, PIPELINE, STAGE, id).ok()?;
                let [rollback, id] = [rollback, id].map(|id| short(&id.to_string()));
                Some(format!("someone rolls stage {STAGE} back to execution {id}: execution {rollback}"))
            }),
            PipelineChange::Stop { execution, abandon } => self.execution(execution).and_then(|id| {
                let mode = if abandon { StopMode::Abandon } else { StopMode::Wait };
                self.service.stop_execution(now, PIPELINE, id, mode, "no longer needed").ok()?;
                Some(format!("someone stops execution {} ({mode:?})", short(&id.to_string())))
            }),
            PipelineChange::Respond { request, result, summary } => self.pending(request).and_then(|token| {
                let request = self.newest()?.request_of(&token.0)?.clone();
                let action = (request.stage.as_str(), request.action.as_str());
                self.put_approval_result(action, &token, result, (summary.text(), "ada")).ok()?;
                let execution = self.execution_of(&token);
                Some(format!("someone else responds {result} to execution {execution} (summary: {summary:?})"))
            }),
            PipelineChange::SetTransition { is_enabled } => {
                let changed = if is_enabled {
                    self.service.enable_stage_transition(now, PIPELINE, STAGE)
                } else {
                    self.service.disable_stage_transition(now, PIPELINE, STAGE, "freeze")
                };
                changed.ok().map(|()| format!("the transition into stage {STAGE} is enabled: {is_enabled}"))
            }
            PipelineChange::Save => {
                self.service.edit_pipeline(now, PIPELINE).ok().map(|()| "someone saves the pipeline".to_owned())
            }
            PipelineChange::Redefine(shape) => self.service.edit_pipeline(now, PIPELINE).ok().map(|()| {
                self.service.put_pipeline(now, self.scenario.definition(shape)).expect("a pipeline");
                format!("someone edits the pipeline: {shape:?}")
            }),
            PipelineChange::Delete => {
                self.service.delete_pipeline(now, PIPELINE).ok().map(|()| "someone deletes the pipeline".to_owned())
            }
        };
        if let Some(text) = applied {
            self.note(text);
        }
        self.record_state();
    }

    /// The execution with this number. The newest is 0.
    pub fn execution(&mut self, number: usize) -> Option<PipelineExecutionId> {
        self.record_state();
        let executions = &self.newest()?.executions;
        executions.get(number % executions.len().max(1))?.id.parse().ok()
    }

    /// The token of a pending request.
    pub fn pending(&mut self, number: usize) -> Option<Token> {
        let pending = self.service.pending_approvals(self.now, PIPELINE).ok()?;
        Some(Token(pending.get(number % pending.len().max(1))?.approval.token.to_string()))
    }

    pub fn newest(&self) -> Option<&ActualState> {
        self.timeline.last()
    }

    /// Adds the true state to the timeline, if it changed.
    pub fn record_state(&mut self) {
        let behaviour = self.service.behaviour().clone();
        let none = SignedDuration::ZERO;
        let lags = Lags { token: none, start: none, decision: none, cancellation: none };
        let parallel_state = ParallelState::WithoutTokens;
        self.service.set_behaviour(Behaviour { lags, parallel_state, ..behaviour.clone() });
        let state = self.state();
        self.service.set_behaviour(behaviour);
        let state = state.unwrap_or_else(|| ActualState { exists: false, ..ActualState::empty(self.now) });
        if self.newest().is_none_or(|newest| !newest.is_same(&state)) {
            self.timeline.push(state);
        }
    }

    fn state(&mut self) -> Option<ActualState> {
        let now = self.now;
        for pending in self.service.pending_approvals(now, PIPELINE).ok()? {
            let approval = pending.approval;
            self.tokens.insert(approval.action_execution_id.to_string(), approval.token.to_string());
        }
        let pipeline_name = Some(PIPELINE.to_owned());
        let name = pipeline_name.clone();
        let state = self.service.get_pipeline_state(now, &api::GetPipelineStateInput { name }).ok()?;
        let stages = state.stage_states.into_iter();
        let stages = stages.map(|stage| {
            let actions = stage.action_states.iter().map(|action| action.action_name.to_string()).collect();
            (stage.stage_name.to_string(), actions)
        });
        let input = api::ListPipelineExecutionsInput { pipeline_name: pipeline_name.clone(), ..Default::default() };
        let executions = self.service.list_pipeline_executions(now, &input).ok()?.pipeline_execution_summaries;
        let input = api::ListActionExecutionsInput { pipeline_name, ..Default::default() };
        let entries = self.service.list_action_executions(now, &input).ok()?.action_execution_details;
        Some(ActualState {
            at: now,
            exists: true,
            stages: stages.collect(),
            executions: executions.into_iter().map(Execution::of).collect(),
            requests: entries
                .into_iter()
                .filter(|entry| entry.input.action_type_id.category == Category::Approval)
                .map(|entry| {
                    let id = entry.action_execution_id.to_string();
                    let token = entry.output.execution_result.external_execution_id.clone();
                    if let Some(token) = token {
                        self.tokens.insert(id.clone(), token);
                    }
                    Request::of(&entry, self.tokens.get(&id).cloned())
                })
                .collect(),
        })
    }
}

/// Someone responds to a request of the pipeline.
pub fn put_approval_result(
    service: &mut Service,
    now: Timestamp,
    (stage, action): (&str, &str),
    token: &Token,
    result: ApprovalStatus,
    (summary, by): (&str, &str),
) -> Result<Timestamp, CallError> {
    let status = match result {
        ApprovalStatus::Approved => api::ApprovalStatus::Approved,
        ApprovalStatus::Rejected => api::ApprovalStatus::Rejected,
    };
    let input = PutApprovalResultInput::new(PIPELINE, stage, action, &token.0, status, summary);
    let response = service.put_approval_result(now, by, &input);
    response.map(|response| response.approved_at.0).map_err(|exception| super::reader::call_error(&exception))
}

/// Enough of an id to recognize it in a log.
pub fn short(id: &str) -> String {
    id.chars().take(6).collect()
}
