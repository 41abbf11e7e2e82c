//! The service: the local endpoint's model of CodePipeline, with two runs of one pipeline. It is used rather than a smaller
//! one of the search's own since it is what the other tests hold for CodePipeline, and its states stay few: nothing in it
//! changes but by an answer that it takes, and what it refuses leaves no trace.

use super::state::{Kept, digest};
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalResult, Binding, RunBinding, Token};
use crate::codepipeline::{ActionExecution, CallError, Page, PipelineExecution, PipelineState, Reads};
use crate::decision::decide::histories::{aws, reads};
use crate::decision::fixtures;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{
    Account, Behaviour, ExecutionMode, Lags, LedgerEntry, Name, Outcome, PipelineDefinition, Service, SourceRevision,
};
use std::hash::{Hash, Hasher};

const PAGE: i64 = 100;

/// A request that waits for an answer.
#[derive(Clone, Debug)]
pub struct Pending {
    pub token: Token,
    pub run: String,
}

#[derive(Debug)]
struct Inside {
    service: Service,
    runs: Vec<PipelineExecution>,
    pending: Vec<Pending>,
}

/// The service as it is at some time.
#[derive(Clone, Debug, PartialEq)]
pub struct CodePipeline(Kept<Inside>);

impl Hash for CodePipeline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl CodePipeline {
    /// Two runs, of revisions of their own, since before the decision. The first is at the approval; where they do not meet,
    /// so is the second, and otherwise it waits in front of the stage.
    pub fn new(mode: ExecutionMode) -> Self {
        // History knows of an answer almost as late as the operator allows for.
        let lags = Lags { decision: SignedDuration::from_secs(45), ..Lags::default() };
        let behaviour = Behaviour { lags, ..Behaviour::default() };
        let mut service = Service::new(Account::default(), behaviour, Default::default());
        let pipeline = PipelineDefinition::with_approval(aws::PIPELINE, aws::STAGE, aws::APPROVAL).expect("names");
        service.put_pipeline(fixtures::at(-100), pipeline.mode(mode)).expect("a pipeline");
        for (number, seconds) in [(0, -90), (1, -80)] {
            let action_name = Name::new("Source").expect("a name");
            let revision = SourceRevision { action_name, revision_id: aws::revision(number) };
            service.start_execution(fixtures::at(seconds), aws::PIPELINE, &[revision]).expect("a run");
        }
        Self::at(service, fixtures::at(0))
    }

    fn at(mut service: Service, now: Timestamp) -> Self {
        let identity = digest(&service);
        let pending = service.pending_approvals(now, aws::PIPELINE).expect("a pipeline").into_iter();
        let pending = pending.map(|pending| pending.approval);
        let pending = pending
            .map(|request| Pending {
                token: Token(request.token.to_string()),
                run: request.pipeline_execution_id.to_string(),
            })
            .collect();
        let runs = reads::pipeline_executions(&mut service, now, PAGE, None).expect("a pipeline").items;
        Self(Kept::new(Inside { service, runs, pending }, identity))
    }

    /// The requests that wait for an answer, that of the older run first.
    pub fn pending(&self) -> &[Pending] {
        &self.0.pending
    }

    /// The runs, the newest first.
    pub fn runs(&self) -> &[PipelineExecution] {
        &self.0.runs
    }

    /// The answers that it took, with the runs that they were for.
    pub fn taken(&self) -> impl Iterator<Item = (&LedgerEntry, String)> {
        self.0.service.ledger().iter().filter_map(|entry| match &entry.outcome {
            Outcome::Accepted { pipeline_execution_id, .. } => Some((entry, pipeline_execution_id.to_string())),
            Outcome::Refused(_) | Outcome::NotApplied => None,
        })
    }

    /// An answer comes to it.
    pub fn put(
        &mut self,
        now: Timestamp,
        token: &Token,
        answer: &ApprovalResult,
        by: &str,
    ) -> Result<Timestamp, CallError> {
        let mut service = self.0.service.clone();
        let place = (aws::STAGE, aws::APPROVAL);
        let at = aws::put(&mut service, now, place, token, answer.status, (&answer.summary, by))?;
        *self = Self::at(service, now);
        Ok(at)
    }

    /// Whether a decision names the request of a token, which is of this run.
    pub fn names(&self, spec: &ApprovalDecisionSpec, token: &str, run: &str) -> bool {
        match spec.binding() {
            Ok(Binding::Token(named)) => named.0 == token,
            Ok(Binding::Run(RunBinding::PipelineExecution(id))) => id.0 == run,
            Ok(Binding::Run(RunBinding::SourceRevision(revision))) => {
                self.runs().iter().any(|found| found.id == run && found.has(revision))
            }
            Err(_) => false,
        }
    }
}

/// What is read of it at some time.
pub struct Calls<'a> {
    pub service: &'a CodePipeline,
    pub now: Timestamp,
}

impl Calls<'_> {
    fn service(&self) -> Service {
        self.service.0.service.clone()
    }
}

impl Reads for Calls<'_> {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        reads::pipeline_state(&mut self.service(), self.now)
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        reads::pipeline_executions(&mut self.service(), self.now, PAGE, page)
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        reads::pipeline_execution(&mut self.service(), self.now, id)
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        reads::action_executions(&mut self.service(), self.now, PAGE, (execution, page))
    }
}
