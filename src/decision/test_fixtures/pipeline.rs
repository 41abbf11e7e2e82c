//! A pipeline that a test builds, and what a poll reads of it through [`read_snapshot`]: a stage Build, and a stage Production with the
//! actions Prepare and Approve. It shows what its fields say, whether or not that is consistent, because CodePipeline's views lag.

use super::{at, exception, ids, token};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Location, Token};
use crate::codepipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ActionState, CallError, CompletedApproval, CompletionStatus,
    DisabledTransition, ExecutionEnd, ExecutionMode, ExecutionRevision, ExecutionStatus, ExecutionType,
    LatestExecution, Page, PipelineExecution, PipelineObservation, PipelineReader, PipelineSnapshot, PipelineState,
    Poll, Query, Refusal, RetryCause, StageExecution, StageState, read_snapshot,
};
use crate::decision::subject::query_of;
use futures::FutureExt;
use std::sync::Arc;

pub const RUNNING: ExecutionStatus = ExecutionStatus::InProgress;
pub const STOPPING: ExecutionStatus = ExecutionStatus::Stopping;
pub const SUCCEEDED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Succeeded);
pub const FAILED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Failed);
pub const STOPPED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Stopped);
pub const SUPERSEDED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Superseded);

pub const IN_PROGRESS: ActionProgress = ActionProgress::InProgress;

/// What CodePipeline shows of a pipeline at one moment.
#[derive(Clone, Debug, Default)]
pub struct TestPipeline {
    /// What the state view shows of Approve.
    pub latest: Option<LatestExecution>,
    /// The executions in the two stages, and the one that waits to enter the second.
    pub stage_executions: [Option<&'static str>; 3],
    /// The transition into both stages.
    pub disabled_transition: Option<DisabledTransition>,
    /// Newest first.
    pub executions: Vec<PipelineExecution>,
    /// Newest first.
    pub entries: Vec<ActionExecution>,
    /// Why the state view cannot be read.
    pub state_error: Option<CallError>,
    /// Why history cannot be read.
    pub history_error: Option<CallError>,
    /// The executions whose history alone cannot be read. Then that of the whole pipeline cannot either.
    pub unreadable: Vec<&'static str>,
    /// History has more pages than the operator reads.
    pub has_endless_history: bool,
    /// Where a poll reads.
    pub location: Option<Location>,
}

impl PipelineReader for TestPipeline {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        if let Some(error) = &self.state_error {
            return Err(error.clone());
        }
        let [build, production, inbound] = self.stage_executions;
        let in_stage = |execution: Option<&str>| {
            execution.map(|id| StageExecution { pipeline_execution_id: id.to_owned(), status: "InProgress".to_owned() })
        };
        let action = |name: &str| ActionState { name: name.to_owned(), latest_execution: None };
        let stage = |name: &str, execution, actions| StageState {
            name: name.to_owned(),
            latest_execution: in_stage(execution),
            inbound_executions: Vec::new(),
            disabled_transition: self.disabled_transition.clone(),
            actions,
        };
        let approve = ActionState { latest_execution: self.latest.clone(), ..action("Approve") };
        let mut production = stage("Production", production, vec![action("Prepare"), approve]);
        production.inbound_executions.extend(inbound.map(str::to_owned));
        Ok(PipelineState { stages: vec![stage("Build", build, vec![action("Compile")]), production] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: self.executions.clone(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        let (cause, exception) = (RetryCause::ServiceUnavailable, Some(exception("PipelineExecutionNotFound")));
        Err(CallError::NotApplied { cause, exception, detail: String::new() })
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        if let Some(error) = &self.history_error {
            return Err(error.clone());
        }
        let is_unreadable = execution.map_or(!self.unreadable.is_empty(), |id| self.unreadable.contains(&id));
        if is_unreadable {
            return Err(super::indeterminate());
        }
        let is_first = page.is_none();
        let next = self.has_endless_history.then(|| "next".to_owned());
        let is_of = |entry: &&ActionExecution| is_first && execution.is_none_or(|id| id == entry.pipeline_execution_id);
        Ok(Page { items: self.entries.iter().filter(is_of).cloned().collect(), next })
    }
}

impl TestPipeline {
    /// The state view shows this of the action execution.
    pub fn shows(mut self, id: &str, token: Option<Token>, progress: ActionProgress) -> Self {
        let action_execution_id = Some(id.to_owned());
        self.latest = Some(LatestExecution { action_execution_id, external_execution_id: None, token, progress });
        self
    }

    /// Another execution, which started before the others. Its revision is `main`, and it last changed at time 0.
    pub fn execution(mut self, id: &str, status: ExecutionStatus) -> Self {
        let age = i64::try_from(self.executions.len()).unwrap_or_default();
        self.executions.push(PipelineExecution {
            id: id.to_owned(),
            status,
            started_at: Some(at(-1000 - age)),
            updated_at: Some(at(0)),
            source_revisions: vec![source("Git", Some("main"))],
            execution_type: ExecutionType::Standard,
            mode: ExecutionMode::Serial,
        });
        self
    }

    /// Changes the last execution.
    pub fn with_execution(mut self, change: impl FnOnce(&mut PipelineExecution)) -> Self {
        change(self.executions.last_mut().expect("an execution"));
        self
    }

    /// The last execution has these source revisions.
    pub fn with_sources(self, sources: &[(&str, Option<&str>)]) -> Self {
        let sources = sources.iter().map(|(action, revision)| source(action, *revision)).collect();
        self.with_execution(|execution| execution.source_revisions = sources)
    }

    pub fn parallel(mut self) -> Self {
        self.executions.iter_mut().for_each(|execution| execution.mode = ExecutionMode::Parallel);
        self
    }

    /// Another action execution of Approve, which started before the others.
    pub fn entry(mut self, id: &str, execution: &str, progress: ActionProgress) -> Self {
        let age = i64::try_from(self.entries.len()).unwrap_or_default();
        self.entries.push(ActionExecution {
            pipeline_execution_id: execution.to_owned(),
            action_execution_id: id.to_owned(),
            stage_name: "Production".to_owned(),
            action_name: "Approve".to_owned(),
            category: "Approval".to_owned(),
            external_execution_id: None,
            started_at: Some(at(-50 - age)),
            progress,
        });
        self
    }

    /// Changes the last entry.
    pub fn with_entry(mut self, change: impl FnOnce(&mut ActionExecution)) -> Self {
        change(self.entries.last_mut().expect("an entry"));
        self
    }

    /// The last entry has this token.
    pub fn with_token(self, token: Token) -> Self {
        self.with_entry(|entry| entry.external_execution_id = Some(token.0))
    }

    /// The last entry started then.
    pub fn started(self, seconds: i64) -> Self {
        self.with_entry(|entry| entry.started_at = Some(at(seconds)))
    }

    pub fn in_stages(mut self, executions: [Option<&'static str>; 3]) -> Self {
        self.stage_executions = executions;
        self
    }

    pub fn snapshot_at(&self, seconds: i64, query: Query) -> PipelineSnapshot {
        let snapshot = read_snapshot(self, at(seconds), [query].into(), None);
        snapshot.now_or_never().expect("a result at once").expect("a snapshot")
    }

    /// A poll that starts then, as a decision sees it that subscribed a while before.
    pub fn poll_at(&self, seconds: i64, decision: &ApprovalDecision) -> PipelineObservation {
        let (_, query) = query_of(decision).expect("a decision that names a request");
        let snapshot = read_snapshot(self, at(seconds), [query].into(), None);
        let result = snapshot.now_or_never().expect("a result at once");
        let mut poll = Poll::new(at(seconds), self.location.clone(), result);
        poll.failing_since = poll.failure().map(|_| at(seconds));
        PipelineObservation { subscribed_at: at(-1000), poll: Arc::new(poll) }
    }
}

/// A source revision of an execution.
pub fn source(action: &str, revision: Option<&str>) -> ExecutionRevision {
    ExecutionRevision { action_name: action.to_owned(), revision_id: revision.map(str::to_owned) }
}

pub fn pipeline() -> TestPipeline {
    TestPipeline::default()
}

/// The request of [`ids`] and [`token`] is pending.
pub fn pending_request() -> TestPipeline {
    let pipeline =
        pipeline().execution("pipeline-execution", RUNNING).in_stages([None, Some("pipeline-execution"), None]);
    pipeline.entry("action-execution", "pipeline-execution", IN_PROGRESS).shows(
        "action-execution",
        Some(token()),
        IN_PROGRESS,
    )
}

/// The request of [`ids`] and [`token`] is in progress according to history, and the state view has moved on.
pub fn lagging_request() -> TestPipeline {
    let pipeline = pipeline().execution("pipeline-execution", RUNNING);
    pipeline.entry("action-execution", "pipeline-execution", IN_PROGRESS).with_token(token())
}

/// The request of [`ids`] and [`token`] was completed like this.
pub fn completed_request(approval: &CompletedApproval) -> TestPipeline {
    assert_eq!(approval.ids, ids());
    let status = match approval.result {
        Some(ApprovalStatus::Approved) => CompletionStatus::Succeeded,
        Some(ApprovalStatus::Rejected) | None => CompletionStatus::Failed,
    };
    let CompletedApproval { summary, at, by, .. } = approval.clone();
    let progress = ActionProgress::Completed(ActionCompletion { status, summary, at, by });
    let pipeline = pipeline().execution("pipeline-execution", RUNNING);
    pipeline.entry("action-execution", "pipeline-execution", progress).with_token(token())
}

/// History has more than the operator reads, and shows nothing of the request.
pub fn endless_pipeline() -> TestPipeline {
    TestPipeline { has_endless_history: true, ..pipeline() }
}

/// History cannot be read.
pub fn pipeline_without_history(error: CallError) -> TestPipeline {
    TestPipeline { history_error: Some(error), ..pipeline() }
}

/// The pipeline cannot be read.
pub fn unreadable_pipeline(error: CallError) -> TestPipeline {
    TestPipeline { state_error: Some(error), ..pipeline() }
}

/// The pipeline does not exist.
pub fn missing_pipeline() -> TestPipeline {
    unreadable_pipeline(super::refusal(Refusal::PipelineNotFound))
}

pub fn completed(status: CompletionStatus, summary: Option<&str>, by: Option<&str>) -> ActionProgress {
    let (summary, by) = (summary.map(str::to_owned), by.map(str::to_owned));
    ActionProgress::Completed(ActionCompletion { status, summary, at: Some(at(-10)), by })
}

pub fn completed_by_ada(status: CompletionStatus) -> ActionProgress {
    completed(status, Some("checked"), Some("ada"))
}

/// As [`completed_by_ada`], at this time.
pub fn approved_at(seconds: i64) -> ActionProgress {
    completed_at(CompletionStatus::Succeeded, seconds)
}

pub fn rejected_at(seconds: i64) -> ActionProgress {
    completed_at(CompletionStatus::Failed, seconds)
}

fn completed_at(status: CompletionStatus, seconds: i64) -> ActionProgress {
    let (summary, by) = (Some("checked".to_owned()), Some("ada".to_owned()));
    ActionProgress::Completed(ActionCompletion { status, summary, at: Some(at(seconds)), by })
}

/// It timed out, or was canceled.
pub fn timed_out_at(seconds: i64) -> ActionProgress {
    let status = CompletionStatus::Failed;
    ActionProgress::Completed(ActionCompletion { status, summary: None, at: Some(at(seconds)), by: None })
}
