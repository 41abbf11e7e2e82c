//! CodePipeline: the local endpoint's model of it, with two executions of one pipeline. The other tests use the same model. It
//! has few states: only an accepted result changes it, and a refused one leaves no trace.

use super::state::{Digested, digest};
use crate::fixtures;
use crate::random::{aws, reader};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalResult, Binding, ExecutionBinding, Token};
use approval_operator::codepipeline::{
    ActionExecution, CallError, Page, PipelineExecution, PipelineReader, PipelineState,
};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{
    Account, Behaviour, ExecutionMode, Lags, LedgerEntry, Name, Outcome, PipelineDefinition, Service, SourceRevision,
};
use std::hash::{Hash, Hasher};

const PAGE_SIZE: i64 = 100;

/// A pending approval.
#[derive(Clone, Debug)]
pub struct PendingApproval {
    pub token: Token,
    pub execution: String,
}

#[derive(Debug)]
struct Contents {
    service: Service,
    executions: Vec<PipelineExecution>,
    pending: Vec<PendingApproval>,
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
    /// Two executions with different revisions, older than the decision. The first has reached the approval. In PARALLEL mode
    /// the second has too; otherwise it waits in front of the stage.
    pub fn new(mode: ExecutionMode) -> Self {
        // History shows a result almost as late as the operator allows for.
        let lags = Lags { decision: SignedDuration::from_secs(45), ..Lags::default() };
        let behaviour = Behaviour { lags, ..Behaviour::default() };
        let mut service = Service::new(Account::default(), behaviour, Default::default());
        let pipeline = PipelineDefinition::with_approval(aws::PIPELINE, aws::STAGE, aws::APPROVAL).expect("names");
        service.put_pipeline(fixtures::at(-100), pipeline.mode(mode)).expect("a pipeline");
        for (number, seconds) in [(0, -90), (1, -80)] {
            let action_name = Name::new("Source").expect("a name");
            let revision = SourceRevision { action_name, revision_id: aws::revision(number) };
            service.start_execution(fixtures::at(seconds), aws::PIPELINE, &[revision]).expect("an execution");
        }
        Self::at(service, fixtures::at(0))
    }

    fn at(mut service: Service, now: Timestamp) -> Self {
        let identity = digest(&service);
        let pending = service.pending_approvals(now, aws::PIPELINE).expect("a pipeline").into_iter();
        let pending = pending.map(|pending| pending.approval);
        let pending = pending
            .map(|approval| PendingApproval {
                token: Token(approval.token.to_string()),
                execution: approval.pipeline_execution_id.to_string(),
            })
            .collect();
        let executions = reader::pipeline_executions(&mut service, now, PAGE_SIZE, None).expect("a pipeline").items;
        Self(Digested::new(Contents { service, executions, pending }, &identity))
    }

    /// The pending approvals, that of the older execution first.
    pub fn pending(&self) -> &[PendingApproval] {
        &self.0.pending
    }

    /// The executions, newest first.
    pub fn executions(&self) -> &[PipelineExecution] {
        &self.0.executions
    }

    /// The accepted results, each with its execution.
    pub fn accepted(&self) -> impl Iterator<Item = (&LedgerEntry, String)> {
        self.0.service.ledger().iter().filter_map(|entry| match &entry.outcome {
            Outcome::Accepted { pipeline_execution_id, .. } => Some((entry, pipeline_execution_id.to_string())),
            Outcome::Refused(_) | Outcome::NotApplied => None,
        })
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
        let action = (aws::STAGE, aws::APPROVAL);
        let at = aws::put_approval_result(&mut service, now, action, token, result.status, (&result.summary, by))?;
        *self = Self::at(service, now);
        Ok(at)
    }

    /// Whether a decision names the approval with this token, which belongs to this execution.
    pub fn names(&self, spec: &ApprovalDecisionSpec, token: &str, execution: &str) -> bool {
        match spec.binding() {
            Ok(Binding::Token(named)) => named.0 == token,
            Ok(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => id.0 == execution,
            Ok(Binding::Execution(ExecutionBinding::SourceRevision(revision))) => {
                self.executions().iter().any(|found| found.id == execution && found.has(revision))
            }
            Err(_) => false,
        }
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
