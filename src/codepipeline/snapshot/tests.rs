//! A pipeline whose lists are longer than a page and whose calls can fail: what snapshots of it contain, and how many calls they take.

mod executions;
mod failures;
mod hints;
mod history;
mod pending;
mod requests;
mod waking;

use super::executions::MAX_LOOKUPS;
use super::pipeline_snapshot::MAX_PAGES;
use super::*;
use crate::api::v1alpha1::{Exception, PipelineExecutionId, SourceRevision, Token};
use crate::codepipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ActionState, ApprovalRecord, CompletionStatus,
    DisabledTransition, ExecutionEnd, ExecutionIds, ExecutionRevision, ExecutionSelector, ExecutionStatus,
    ExecutionType, LatestExecution, Page, PipelineExecution, PipelineState, RecordQuery, RetryCause, StageExecution,
    StageState,
};
use futures::FutureExt;
use jiff::SignedDuration;
use std::sync::Mutex;

/// A pipeline whose executions each have one action execution of the approval.
struct LongPipeline {
    page_size: usize,
    /// Newest first.
    executions: Vec<PipelineExecution>,
    /// Newest first.
    entries: Vec<ActionExecution>,
    /// The execution that history does not know.
    unknown_to_history: Option<&'static str>,
    /// What the state view shows in the stage, and at the approval.
    in_stage: Option<String>,
    latest: Option<LatestExecution>,
    has_stages: bool,
    /// An execution that starts before the second page is read.
    starts_between_pages: Mutex<Option<PipelineExecution>>,
    /// The calls that fail, by how their names start.
    failing: Vec<(&'static str, CallError)>,
    calls: Mutex<Vec<String>>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn execution(number: i64, status: ExecutionStatus) -> PipelineExecution {
    PipelineExecution {
        id: format!("execution-{number}"),
        status,
        started_at: Some(at(number)),
        updated_at: Some(at(number)),
        source_revisions: vec![revision("Source", &format!("revision-{number}"))],
        execution_type: ExecutionType::Standard,
        mode: ExecutionMode::Serial,
    }
}

fn revision(action: &str, id: &str) -> ExecutionRevision {
    ExecutionRevision { action_name: action.to_owned(), revision_id: Some(id.to_owned()) }
}

fn entry(number: i64) -> ActionExecution {
    ActionExecution {
        pipeline_execution_id: format!("execution-{number}"),
        action_execution_id: format!("action-{number}"),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        category: "Approval".to_owned(),
        external_execution_id: None,
        started_at: Some(at(number)),
        progress: ActionProgress::InProgress,
    }
}

/// Approved, at this time.
fn approved(seconds: i64) -> ActionProgress {
    let by = Some("ada".to_owned());
    let status = CompletionStatus::Succeeded;
    ActionProgress::Completed(ActionCompletion { status, summary: None, at: Some(at(seconds)), by })
}

const SUCCEEDED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Succeeded);
/// After every lag.
const LATE: i64 = 10_000;

impl LongPipeline {
    /// Executions with these numbers. Only the oldest is in progress.
    fn new(numbers: std::ops::Range<i64>) -> Self {
        let status = |number| if number == numbers.start { ExecutionStatus::InProgress } else { SUCCEEDED };
        Self {
            page_size: 10,
            executions: numbers.clone().rev().map(|number| execution(number, status(number))).collect(),
            entries: numbers.clone().rev().map(entry).collect(),
            unknown_to_history: None,
            in_stage: None,
            latest: None,
            has_stages: true,
            starts_between_pages: Mutex::default(),
            failing: Vec::new(),
            calls: Mutex::default(),
        }
    }

    /// The state view shows this action execution, without a token.
    fn show(&mut self, action_execution: &str) {
        let action_execution_id = Some(action_execution.to_owned());
        self.latest = Some(LatestExecution { action_execution_id, ..LatestExecution::default() });
    }

    fn set_status(&mut self, status: ExecutionStatus) {
        self.executions.iter_mut().for_each(|execution| execution.status = status);
    }

    fn set_mode(&mut self, mode: ExecutionMode) {
        self.executions.iter_mut().for_each(|execution| execution.mode = mode);
    }

    fn call(&self, call: &str) -> Result<(), CallError> {
        self.calls.lock().expect("no panic").push(call.to_owned());
        let failure = self.failing.iter().find(|(failing, _)| call.starts_with(failing));
        failure.map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    /// The number of calls that start with this.
    fn calls_of(&self, call: &str) -> usize {
        self.calls.lock().expect("no panic").iter().filter(|made| made.starts_with(call)).count()
    }

    fn page_of<T: Clone>(&self, items: &[T], page: Option<String>) -> Page<T> {
        let from: usize = page.map_or(0, |page| page.parse().expect("a number"));
        let until = items.len().min(from + self.page_size);
        let next = (until < items.len()).then(|| until.to_string());
        Page { items: items[from..until].to_vec(), next }
    }

    fn read(
        &self,
        seconds: i64,
        queries: &[Query],
        previous: Option<&PipelineSnapshot>,
    ) -> Result<PipelineSnapshot, CallError> {
        self.calls.lock().expect("no panic").clear();
        let snapshot = read_snapshot(self, at(seconds), queries.iter().cloned().collect(), previous);
        snapshot.now_or_never().expect("a result at once")
    }

    fn snapshot(&self, seconds: i64, queries: &[Query], previous: Option<&PipelineSnapshot>) -> PipelineSnapshot {
        self.read(seconds, queries, previous).expect("a snapshot")
    }
}

impl PipelineReader for LongPipeline {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        self.call("state")?;
        if !self.has_stages {
            return Ok(PipelineState::default());
        }
        let actions = vec![ActionState { name: "Approve".to_owned(), latest_execution: self.latest.clone() }];
        let disabled_transition = Some(DisabledTransition { reason: None });
        let status = "InProgress".to_owned();
        let latest_execution = self
            .in_stage
            .clone()
            .map(|pipeline_execution_id| StageExecution { pipeline_execution_id, status: status.clone() });
        let name = "Production".to_owned();
        let stage = StageState { name, actions, disabled_transition, latest_execution, ..StageState::default() };
        Ok(PipelineState { stages: vec![stage] })
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        self.call(&format!("list {}", page.as_deref().unwrap_or("0")))?;
        let started = page.as_ref().and_then(|_| self.starts_between_pages.lock().expect("no panic").take());
        let executions: Vec<_> = started.into_iter().chain(self.executions.iter().cloned()).collect();
        Ok(self.page_of(&executions, page))
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        self.call(&format!("get {id}"))?;
        let found = self.executions.iter().find(|execution| execution.id == id);
        let found = found.map(|execution| PipelineExecution {
            started_at: None,
            updated_at: None,
            source_revisions: Vec::new(),
            ..execution.clone()
        });
        found.ok_or_else(execution_not_found)
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        self.call(&format!("history of {} {}", execution.unwrap_or("all"), page.as_deref().unwrap_or("0")))?;
        if execution.is_some() && execution == self.unknown_to_history {
            return Err(execution_not_found());
        }
        let is_wanted = |entry: &&ActionExecution| execution.is_none_or(|id| id == entry.pipeline_execution_id);
        let entries: Vec<_> = self.entries.iter().filter(is_wanted).cloned().collect();
        Ok(self.page_of(&entries, page))
    }
}

fn execution_not_found() -> CallError {
    let exception = Exception { r#type: "PipelineExecutionNotFoundException".to_owned(), message: String::new() };
    let (cause, exception) = (RetryCause::ServiceUnavailable, Some(exception));
    CallError::NotApplied { cause, exception, detail: String::new() }
}

fn broken() -> CallError {
    CallError::Indeterminate { detail: "the connection broke".to_owned() }
}

fn throttled() -> CallError {
    CallError::NotApplied { cause: RetryCause::Throttled, exception: None, detail: "not now".to_owned() }
}

fn query(executions: ExecutionSelector) -> Query {
    Query { stage: "Production".to_owned(), action: "Approve".to_owned(), executions }
}

fn by_id(number: i64) -> Query {
    query(ExecutionSelector::PipelineExecution(PipelineExecutionId(format!("execution-{number}"))))
}

/// An entry of a decision.
fn wanted(action: Option<&str>, revision: Option<&str>) -> SourceRevision {
    SourceRevision { action_name: action.map(str::to_owned), revision_id: revision.map(str::to_owned) }
}

fn by_revision(number: i64) -> Query {
    query(ExecutionSelector::SourceRevisions(vec![wanted(None, Some(&format!("revision-{number}")))]))
}

fn ids(snapshot: &PipelineSnapshot) -> Vec<&str> {
    snapshot.executions.iter().map(|execution| execution.id.as_str()).collect()
}

fn history(snapshot: &PipelineSnapshot) -> Vec<&str> {
    snapshot.actions.iter().map(|entry| entry.action_execution_id.as_str()).collect()
}

/// When the history of the approval in an execution was read.
fn read_at(snapshot: &PipelineSnapshot, number: i64) -> Option<Timestamp> {
    snapshot.history_read_at(&format!("execution-{number}"), "Production", "Approve")
}
