//! Snapshots of pipelines whose lists are longer than a page: what they contain, and how many calls they take.

use super::*;
use crate::api::v1alpha1::PipelineExecutionId;
use crate::codepipeline::{
    ActionProgress, ActionState, DisabledTransition, ExecutionEnd, ExecutionMode, ExecutionStatus, LatestExecution,
    Page, RetryCause, StageState,
};
use futures::FutureExt;
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
    /// The action execution that the state view shows.
    visible: Option<&'static str>,
    /// An execution that starts before the second page is read.
    starts_between_pages: Mutex<Option<PipelineExecution>>,
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
        source_revisions: vec![SourceRevision { revision_id: format!("revision-{number}"), action_name: None }],
        mode: ExecutionMode::Serial,
    }
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
            visible: None,
            starts_between_pages: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    fn record_call(&self, call: impl Into<String>) {
        self.calls.lock().expect("no panic").push(call.into());
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

    fn snapshot(&self, seconds: i64, queries: &[Query], previous: Option<&PipelineSnapshot>) -> PipelineSnapshot {
        self.calls.lock().expect("no panic").clear();
        let snapshot = read_snapshot(self, at(seconds), queries.iter().cloned().collect(), previous);
        snapshot.now_or_never().expect("a result at once").expect("a snapshot")
    }
}

impl PipelineReader for LongPipeline {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        self.record_call("state");
        let latest_execution = self
            .visible
            .map(|id| LatestExecution { action_execution_id: Some(id.to_owned()), ..LatestExecution::default() });
        let actions = vec![ActionState { name: "Approve".to_owned(), latest_execution }];
        let disabled_transition = Some(DisabledTransition { reason: None });
        let stage = StageState { name: "Production".to_owned(), actions, disabled_transition, ..StageState::default() };
        Ok(PipelineState { stages: vec![stage] })
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        self.record_call("list");
        let started = page.as_ref().and_then(|_| self.starts_between_pages.lock().expect("no panic").take());
        let executions: Vec<_> = started.into_iter().chain(self.executions.iter().cloned()).collect();
        Ok(self.page_of(&executions, page))
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        self.record_call(format!("get {id}"));
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
        self.record_call(format!("history {}", execution.unwrap_or("of all")));
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

fn query(executions: ExecutionSelector) -> Query {
    Query { stage: "Production".to_owned(), action: "Approve".to_owned(), executions }
}

fn by_id(number: i64) -> Query {
    query(ExecutionSelector::PipelineExecution(PipelineExecutionId(format!("execution-{number}"))))
}

fn by_revision(number: i64) -> Query {
    query(ExecutionSelector::SourceRevision(SourceRevision {
        revision_id: format!("revision-{number}"),
        action_name: None,
    }))
}

fn ids(snapshot: &PipelineSnapshot) -> Vec<&str> {
    snapshot.executions.iter().map(|execution| execution.id.as_str()).collect()
}

fn history(snapshot: &PipelineSnapshot) -> Vec<&str> {
    snapshot.actions.iter().map(|entry| entry.action_execution_id.as_str()).collect()
}

/// When the history of an action in execution 0 was read.
fn history_read_at(snapshot: &PipelineSnapshot, action: &str) -> Option<Timestamp> {
    snapshot.history_read_at("execution-0", "Production", action)
}

#[test]
fn every_page_is_read_once_to_find_a_revision() {
    let pipeline = LongPipeline::new(0..35);
    let first = pipeline.snapshot(LATE, &[by_revision(0)], None);
    assert_eq!((ids(&first), history(&first)), (vec!["execution-0"], vec!["action-0"]));
    assert_eq!(pipeline.calls_of("list"), 4);
    let second = pipeline.snapshot(LATE + 15, &[by_revision(0)], Some(&first));
    assert!(second.is_equivalent(&first), "an execution in progress on a later page is kept");
    assert_eq!((pipeline.calls_of("list"), pipeline.calls_of("get execution-0")), (1, 1));
}

#[test]
fn an_execution_id_is_found_without_reading_every_page() {
    let pipeline = LongPipeline::new(0..200);
    let snapshot = pipeline.snapshot(LATE, &[by_id(0)], None);
    assert_eq!((ids(&snapshot), history(&snapshot)), (vec!["execution-0"], vec!["action-0"]));
    assert_eq!(history_read_at(&snapshot, "Approve"), Some(at(LATE)));
    assert!(pipeline.calls.lock().expect("no panic").len() <= 5, "{:?}", pipeline.calls);
}

#[test]
fn only_the_newest_pages_are_read_to_find_a_revision() {
    let pipeline = LongPipeline::new(0..250);
    let newest_pages = i64::try_from(MAX_PAGES * pipeline.page_size).expect("a number");
    let (found, not_found) = (250 - newest_pages, 250 - newest_pages - 1);
    assert_eq!(ids(&pipeline.snapshot(LATE, &[by_revision(found)], None)), [format!("execution-{found}")]);
    assert_eq!(ids(&pipeline.snapshot(LATE, &[by_revision(not_found)], None)), Vec::<&str>::new());
    assert_eq!(pipeline.calls_of("list"), MAX_PAGES);
}

#[test]
fn an_unknown_execution_and_an_old_execution_are_distinguished() {
    let pipeline = LongPipeline::new(0..50);
    let snapshot = pipeline.snapshot(LATE, &[by_id(0), by_id(99)], None);
    assert_eq!(ids(&snapshot), ["execution-0"]);
    assert_eq!(snapshot.unknown_executions.keys().collect::<Vec<_>>(), ["execution-99"]);
}

#[test]
fn an_entry_that_moves_to_the_next_page_is_in_the_snapshot_once() {
    let mut pipeline = LongPipeline::new(0..25);
    *pipeline.starts_between_pages.lock().expect("no panic") = Some(execution(25, ExecutionStatus::InProgress));
    // It is the last of the first page, and the first of the second.
    let moved = 15;
    pipeline.executions.iter_mut().for_each(|execution| execution.status = ExecutionStatus::InProgress);
    let snapshot = pipeline.snapshot(LATE, &[by_revision(moved)], None);
    assert_eq!((ids(&snapshot), history(&snapshot)), (vec!["execution-15"], vec!["action-15"]));
}

#[test]
fn history_is_read_again_only_if_it_can_show_something_new() {
    let mut pipeline = LongPipeline::new(0..3);
    let first = pipeline.snapshot(LATE, &[by_revision(0)], None);
    assert_eq!(history(&first), ["action-0"]);
    pipeline.visible = Some("action-0");
    let second = pipeline.snapshot(LATE + 15, &[by_revision(0)], Some(&first));
    assert_eq!((history(&second), pipeline.calls_of("history")), (vec!["action-0"], 0));
    // No snapshot ties this action execution to its execution yet.
    pipeline.visible = Some("action-9");
    let third = pipeline.snapshot(LATE + 30, &[by_revision(0)], Some(&second));
    assert_eq!(pipeline.calls_of("history"), 1);
    assert!(third.is_first_seen("action-9"));
    let fourth = pipeline.snapshot(LATE + 45, &[by_revision(0)], Some(&third));
    assert!(!fourth.is_first_seen("action-9"));
}

#[test]
fn history_is_read_for_a_minute_to_find_a_missing_action_execution() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.entries.clear();
    let first = pipeline.snapshot(LATE, &[by_id(0)], None);
    pipeline.visible = Some("action-9");
    let mut snapshot = first;
    let reads: Vec<usize> = (1..8)
        .map(|number| {
            snapshot = pipeline.snapshot(LATE + 15 * number, &[by_id(0)], Some(&snapshot));
            pipeline.calls_of("history")
        })
        .collect();
    assert_eq!(reads, [1, 1, 1, 1, 0, 0, 0], "it is older than the history that is read");
}

#[test]
fn a_snapshot_contains_nothing_that_was_not_queried() {
    let mut pipeline = LongPipeline::new(0..5);
    pipeline.visible = Some("action-4");
    let snapshot = pipeline.snapshot(LATE, &[Query { action: "Other".to_owned(), ..by_id(0) }], None);
    assert!(snapshot.covers(&Query { action: "Other".to_owned(), ..by_id(0) }) && !snapshot.covers(&by_id(0)));
    assert_eq!(history(&snapshot), Vec::<&str>::new());
    let is_visible =
        snapshot.state.stages.iter().flat_map(|stage| &stage.actions).any(|action| action.latest_execution.is_some());
    assert!(!is_visible);
    assert_eq!(snapshot.state.stages[0].disabled_transition, None, "no queried execution waits for it");
}

#[test]
fn a_revision_is_found_behind_more_than_a_page_of_executions_that_started_since_the_previous_poll() {
    let mut pipeline = LongPipeline::new(0..25);
    let first = pipeline.snapshot(20, &[by_revision(27)], None);
    assert_eq!(ids(&first), Vec::<&str>::new());
    pipeline.executions =
        (0..50).rev().map(|number| execution(number + 1000, SUCCEEDED)).chain(pipeline.executions).collect();
    pipeline.executions.insert(45, execution(27, ExecutionStatus::InProgress));
    pipeline.entries.insert(0, entry(27));
    let second = pipeline.snapshot(1060, &[by_revision(27)], Some(&first));
    assert_eq!((ids(&second), history(&second)), (vec!["execution-27"], vec!["action-27"]));
}

#[test]
fn history_counts_as_read_only_for_the_actions_whose_entries_are_kept() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.executions.iter_mut().for_each(|execution| execution.status = SUCCEEDED);
    let confirm =
        ActionExecution { action_execution_id: "confirm-0".into(), action_name: "Confirm".into(), ..entry(0) };
    pipeline.entries.push(confirm);
    let confirm = |query| Query { action: "Confirm".to_owned(), ..query };
    for query in [by_id(0), by_revision(0)] {
        let mut snapshot = None;
        // The previous snapshot has the history of the same execution, but not of both actions.
        for (queries, entries) in [
            (vec![query.clone()], vec!["action-0"]),
            (vec![confirm(query.clone())], vec!["confirm-0"]),
            (vec![query.clone(), confirm(query.clone())], vec!["action-0", "confirm-0"]),
            (vec![query.clone()], vec!["action-0"]),
            (vec![confirm(query), by_id(1)], vec!["action-1", "action-0", "confirm-0"]),
        ] {
            let next = pipeline.snapshot(LATE, &queries, snapshot.as_ref());
            assert_eq!(history(&next), entries);
            for action in ["Approve", "Confirm"] {
                let is_kept = next.actions.iter().any(|entry| entry.action_name == action);
                assert_eq!(history_read_at(&next, action).is_some(), is_kept, "{action}: {queries:?}");
            }
            snapshot = Some(next);
        }
        let again = pipeline.snapshot(LATE, &[by_id(1)], snapshot.as_ref());
        assert_eq!((history(&again), pipeline.calls_of("history")), (vec!["action-1"], 0), "it is read once");
    }
}

#[test]
fn every_page_of_the_history_of_an_execution_is_read_or_it_counts_as_unread() {
    let mut pipeline = LongPipeline::new(0..1);
    let other = |number| ActionExecution { action_name: "Other".into(), ..entry(number) };
    for (count, expected) in [(9, Some(at(LATE))), (10, Some(at(LATE))), (199, Some(at(LATE))), (200, None)] {
        pipeline.entries = (1..=count).rev().map(other).chain([entry(0)]).collect();
        for (number, entry) in pipeline.entries.iter_mut().enumerate() {
            entry.pipeline_execution_id = "execution-0".to_owned();
            entry.action_execution_id = format!("action-{number}");
        }
        let snapshot = pipeline.snapshot(LATE, &[by_id(0)], None);
        assert_eq!(history_read_at(&snapshot, "Approve"), expected, "behind {count} others");
        assert_eq!(history(&snapshot).len(), usize::from(expected.is_some()));
    }
}

#[test]
fn history_that_could_not_be_read_counts_as_unread_until_it_can_be() {
    let mut pipeline = LongPipeline::new(0..30);
    pipeline.entries.retain(|entry| entry.pipeline_execution_id != "execution-0");
    pipeline.unknown_to_history = Some("execution-0");
    let first = pipeline.snapshot(LATE, &[by_id(0)], None);
    assert_eq!(history_read_at(&first, "Approve"), None);
    pipeline.unknown_to_history = None;
    let second = pipeline.snapshot(LATE + 15, &[by_id(0)], Some(&first));
    assert_eq!(history_read_at(&second, "Approve"), Some(at(LATE + 15)));
    assert!(!second.is_equivalent(&first), "that it is empty is new");
}

#[test]
fn a_newer_execution_that_was_not_queried_is_shown_and_wakes_no_one() {
    let mut pipeline = LongPipeline::new(0..3);
    let first = pipeline.snapshot(LATE, &[by_revision(9)], None);
    let started = PipelineExecution { source_revisions: Vec::new(), ..execution(4, ExecutionStatus::InProgress) };
    pipeline.executions.splice(0..0, [started, execution(3, SUCCEEDED)]);
    let second = pipeline.snapshot(LATE + 15, &[by_revision(9)], Some(&first));
    let newest = |snapshot: &PipelineSnapshot| snapshot.newest_revisions[0].revision_id.clone();
    assert_eq!((newest(&first).as_str(), newest(&second).as_str()), ("revision-2", "revision-3"));
    assert!(second.is_equivalent(&first));
}
