//! CodePipeline: the local endpoint's model of it, with a few executions of one pipeline. The other tests use the same model. It
//! has few states: only an accepted result and a user of the pipeline change it, and a refused result leaves no trace.

use super::state::{Digested, digest};
use crate::fixtures;
use crate::random::aws::{APPROVAL, PIPELINE, STAGE, put_approval_result, revision};
use crate::random::reader;
use approval_operator::api::v1alpha1::{
    ApprovalDecisionSpec, ApprovalResult, Binding, ExecutionBinding, SourceRevision, Token, UserTime,
};
use approval_operator::codepipeline::{
    ActionExecution, CallError, ExecutionStatus, Page, PipelineExecution, PipelineReader, PipelineState,
};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{
    self, Account, Behaviour, ExecutionMode, Lags, LedgerEntry, Name, Outcome, PipelineDefinition, RetryMode, Service,
    StopMode,
};
use std::hash::{Hash, Hasher};

const PAGE_SIZE: i64 = 100;

/// A request for an approval.
#[derive(Clone, Debug)]
pub struct Request {
    pub token: Token,
    pub execution: String,
}

/// A response to a request.
#[derive(Clone, Debug)]
pub struct Response {
    pub request: Request,
    /// Approved or Rejected.
    pub result: String,
    pub summary: String,
    pub at: Timestamp,
    pub by: String,
}

/// What a user of the pipeline does to an execution; the oldest one is the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PipelineChange {
    /// Retries the stage that it failed or was stopped in.
    Retry(usize),
    /// Stops it after its actions in progress.
    Stop(usize),
}

#[derive(Debug)]
struct Contents {
    service: Service,
    executions: Vec<PipelineExecution>,
    pending: Vec<Request>,
    responses: Vec<Response>,
}

/// CodePipeline at some time.
#[derive(Clone, Debug, PartialEq)]
pub struct CodePipeline(Digested<Contents>);

impl Hash for CodePipeline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl CodePipeline {
    /// Executions of these revisions, older than the decision. The first has reached the approval. In PARALLEL mode the others have
    /// too; otherwise they wait in front of the stage.
    pub fn new(mode: ExecutionMode, revisions: &[usize]) -> Self {
        // History shows a result almost as late as the operator allows for.
        let lags = Lags { decision: SignedDuration::from_secs(45), ..Lags::default() };
        let behaviour = Behaviour { lags, ..Behaviour::default() };
        let mut service = Service::new(Account::default(), behaviour, Default::default());
        let pipeline = PipelineDefinition::with_approval(PIPELINE, STAGE, APPROVAL).expect("names");
        service.put_pipeline(fixtures::at(-100), pipeline.mode(mode)).expect("a pipeline");
        for (number, seconds) in revisions.iter().zip((-90..).step_by(10)) {
            let action_name = Name::new("Source").expect("a name");
            let revision = model::SourceRevision { action_name, revision_id: Some(revision(*number)) };
            service.start_execution(fixtures::at(seconds), PIPELINE, &[revision]).expect("an execution");
        }
        Self::at(service, fixtures::at(0))
    }

    fn at(mut service: Service, now: Timestamp) -> Self {
        let identity = digest(&service);
        let pending = service.pending_approvals(now, PIPELINE).expect("a pipeline").into_iter();
        let pending = pending.map(|pending| Request {
            token: Token(pending.approval.token.to_string()),
            execution: pending.approval.pipeline_execution_id.to_string(),
        });
        let pending = pending.collect();
        let executions = reader::pipeline_executions(&mut service, now, PAGE_SIZE, None).expect("a pipeline").items;
        let responses = service.ledger().iter().filter_map(response).collect();
        Self(Digested::new(Contents { service, executions, pending, responses }, &identity))
    }

    /// The pending approvals, that of the oldest execution first.
    pub fn pending(&self) -> &[Request] {
        &self.0.pending
    }

    /// The executions, newest first.
    pub fn executions(&self) -> &[PipelineExecution] {
        &self.0.executions
    }

    /// The execution with this number; the oldest one is the first.
    pub fn execution(&self, number: usize) -> Option<&PipelineExecution> {
        self.executions().iter().rev().nth(number)
    }

    /// Whether an execution is being stopped.
    pub fn is_stopping(&self, execution: &str) -> bool {
        let is_stopping =
            |found: &PipelineExecution| found.id == execution && found.status == ExecutionStatus::Stopping;
        self.executions().iter().any(is_stopping)
    }

    /// The results that CodePipeline accepted, oldest first.
    pub fn responses(&self) -> &[Response] {
        &self.0.responses
    }

    /// The request with this token, if it was ever opened.
    pub fn request(&self, token: &Token) -> Option<&Request> {
        let completed = self.responses().iter().map(|response| &response.request);
        self.pending().iter().chain(completed).find(|request| request.token == *token)
    }

    /// A user changes an execution, if that is possible.
    pub fn change(&mut self, now: Timestamp, change: PipelineChange) -> Option<()> {
        let mut service = self.0.service.clone();
        let (PipelineChange::Retry(number) | PipelineChange::Stop(number)) = change;
        let id = self.execution(number)?.id.parse().ok()?;
        match change {
            PipelineChange::Retry(_) => {
                service.retry_stage(now, PIPELINE, STAGE, id, RetryMode::FailedActions).ok()?;
            }
            PipelineChange::Stop(_) => {
                service.stop_execution(now, PIPELINE, id, StopMode::Wait, "no longer needed").ok()?;
            }
        }
        *self = Self::at(service, now);
        Some(())
    }

    /// A result arrives.
    pub fn put(
        &mut self,
        now: Timestamp,
        token: &Token,
        result: &ApprovalResult,
        by: &str,
    ) -> Result<Timestamp, CallError> {
        let mut service = self.0.service.clone();
        let action = (STAGE, APPROVAL);
        let at = put_approval_result(&mut service, now, action, token, result.status, (&result.summary, by))?;
        *self = Self::at(service, now);
        Ok(at)
    }

    /// Whether a decision names this request.
    pub fn names(&self, spec: &ApprovalDecisionSpec, request: &Request) -> bool {
        match spec.binding() {
            Some(Binding::Token(named)) => *named == request.token,
            Some(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => id.0 == request.execution,
            Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))) => {
                self.executions().iter().any(|found| found.id == request.execution && covers(entries, found))
            }
            None => false,
        }
    }

    /// The responses that use up a decision.
    pub fn counted<'a>(&'a self, spec: &'a ApprovalDecisionSpec) -> impl Iterator<Item = &'a Response> {
        let ignored_before: Option<Timestamp> = match (spec.binding(), &spec.ignore_responses_before) {
            (Some(Binding::Execution(_)), Some(UserTime(time))) => time.parse().ok(),
            (Some(Binding::Token(_)) | None, _) | (_, None) => None,
        };
        let counts = move |response: &&Response| ignored_before <= Some(response.at);
        self.responses().iter().filter(|response| self.names(spec, &response.request)).filter(counts)
    }
}

/// The pipeline has one source, so an execution has one revision. This does not use the operator's own comparison.
fn covers(entries: &[SourceRevision], execution: &PipelineExecution) -> bool {
    let revision = execution.source_revisions.first().and_then(|source| source.revision_id.as_ref());
    revision.is_some() && entries.iter().all(|entry| entry.revision_id.as_ref() == revision)
}

fn response(entry: &LedgerEntry) -> Option<Response> {
    match &entry.outcome {
        Outcome::Accepted { pipeline_execution_id, .. } => Some(Response {
            request: Request { token: Token(entry.token.clone()), execution: pipeline_execution_id.to_string() },
            result: entry.status.clone(),
            summary: entry.summary.clone(),
            at: entry.at,
            by: entry.caller.clone(),
        }),
        Outcome::Refused(_) | Outcome::NotApplied => None,
    }
}

/// Reads CodePipeline at some time.
pub struct Reader<'a> {
    pub codepipeline: &'a CodePipeline,
    pub now: Timestamp,
}

impl Reader<'_> {
    fn service(&self) -> Service {
        self.codepipeline.0.service.clone()
    }
}

impl PipelineReader for Reader<'_> {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        reader::pipeline_state(&mut self.service(), self.now)
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        reader::pipeline_executions(&mut self.service(), self.now, PAGE_SIZE, page)
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        reader::pipeline_execution(&mut self.service(), self.now, id)
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        reader::action_executions(&mut self.service(), self.now, PAGE_SIZE, (execution, page))
    }
}
