//! Looks at pipelines whose lists are longer than a page: what is found, and with how many calls.

use super::*;
use crate::codepipeline::{
    Cause, ExecutionEnd, ExecutionStatus, Page, PipelineState, StageState,
    pipeline::{ActionState, LatestExecution},
};
use futures::FutureExt;
use std::sync::Mutex;

/// A pipeline whose runs each have one execution of the approval. A page has so many entries.
struct Long {
    page: usize,
    /// The newest first.
    runs: Vec<PipelineExecution>,
    /// The newest first.
    entries: Vec<ActionExecution>,
    shown: Option<&'static str>,
    /// A run that begins when the second page is asked for.
    begins: Mutex<Option<PipelineExecution>>,
    calls: Mutex<Vec<String>>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn run(number: i64, status: ExecutionStatus) -> PipelineExecution {
    PipelineExecution {
        id: format!("run-{number}"),
        status,
        started: Some(at(number)),
        updated: Some(at(number)),
        source_revisions: vec![SourceRevision { revision_id: format!("revision-{number}"), action_name: None }],
        mode: ExecutionMode::Serial,
    }
}

fn entry(number: i64) -> ActionExecution {
    ActionExecution {
        pipeline_execution_id: format!("run-{number}"),
        action_execution_id: format!("action-{number}"),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        category: "Approval".to_owned(),
        external_execution_id: None,
        started: Some(at(number)),
        progress: ActionProgress::InProgress,
    }
}

const SUCCEEDED: ExecutionStatus = ExecutionStatus::Over(ExecutionEnd::Succeeded);
/// Every lag is over then.
const LATE: i64 = 10_000;

impl Long {
    /// Runs with these numbers, of which the oldest goes on.
    fn new(numbers: std::ops::Range<i64>) -> Self {
        let status = |number| if number == numbers.start { ExecutionStatus::InProgress } else { SUCCEEDED };
        Self {
            page: 10,
            runs: numbers.clone().rev().map(|number| run(number, status(number))).collect(),
            entries: numbers.clone().rev().map(entry).collect(),
            shown: None,
            begins: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.lock().expect("no panic").push(call.into());
    }

    /// How often such a call was made.
    fn called(&self, call: &str) -> usize {
        self.calls.lock().expect("no panic").iter().filter(|made| made.starts_with(call)).count()
    }

    fn page_of<T: Clone>(&self, items: &[T], page: Option<String>) -> Page<T> {
        let from: usize = page.map_or(0, |page| page.parse().expect("a number"));
        let until = items.len().min(from + self.page);
        let next = (until < items.len()).then(|| until.to_string());
        Page { items: items[from..until].to_vec(), next }
    }

    fn look(&self, seconds: i64, asks: &[Ask], before: Option<&View>) -> View {
        self.calls.lock().expect("no panic").clear();
        let seen = look(self, at(seconds), asks.iter().cloned().collect(), before);
        seen.now_or_never().expect("an end").expect("a view")
    }
}

impl Reads for Long {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        self.note("state");
        let latest_execution = self
            .shown
            .map(|id| LatestExecution { action_execution_id: Some(id.to_owned()), ..LatestExecution::default() });
        let actions = vec![ActionState { name: "Approve".to_owned(), latest_execution }];
        Ok(PipelineState {
            stages: vec![StageState { name: "Production".to_owned(), actions, ..StageState::default() }],
        })
    }

    async fn pipeline_executions(&self, page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        self.note("runs");
        let begun = page.as_ref().and_then(|_| self.begins.lock().expect("no panic").take());
        let runs: Vec<_> = begun.into_iter().chain(self.runs.iter().cloned()).collect();
        Ok(self.page_of(&runs, page))
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        self.note(format!("run {id}"));
        let exception = Exception { r#type: "PipelineExecutionNotFoundException".to_owned(), message: String::new() };
        let found = self.runs.iter().find(|run| run.id == id);
        let found = found.map(|run| PipelineExecution {
            started: None,
            updated: None,
            source_revisions: Vec::new(),
            ..run.clone()
        });
        found.ok_or(CallError::NotTaken {
            cause: Cause::ServiceUnavailable,
            exception: Some(exception),
            detail: String::new(),
        })
    }

    async fn action_executions(
        &self,
        execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        self.note(format!("history {}", execution.unwrap_or("of all")));
        let is_asked = |entry: &&ActionExecution| execution.is_none_or(|id| id == entry.pipeline_execution_id);
        let entries: Vec<_> = self.entries.iter().filter(is_asked).cloned().collect();
        Ok(self.page_of(&entries, page))
    }
}

fn ask(run: AskedRun) -> Ask {
    Ask { stage: "Production".to_owned(), action: "Approve".to_owned(), run }
}

fn of_run(number: i64) -> Ask {
    ask(AskedRun::PipelineExecution(PipelineExecutionId(format!("run-{number}"))))
}

fn of_revision(number: i64) -> Ask {
    ask(AskedRun::SourceRevision(SourceRevision { revision_id: format!("revision-{number}"), action_name: None }))
}

fn ids(view: &View) -> Vec<&str> {
    view.executions.iter().map(|run| run.id.as_str()).collect()
}

fn history(view: &View) -> Vec<&str> {
    view.actions.iter().map(|entry| entry.action_execution_id.as_str()).collect()
}

#[test]
fn a_revision_is_looked_for_on_every_page_and_once() {
    let long = Long::new(0..35);
    let first = long.look(LATE, &[of_revision(0)], None);
    assert_eq!((ids(&first), history(&first)), (vec!["run-0"], vec!["action-0"]));
    assert_eq!(long.called("runs"), 4);
    let second = long.look(LATE + 15, &[of_revision(0)], Some(&first));
    assert!(second.shows_the_same(&first), "what goes on further back is not forgotten");
    assert_eq!((long.called("runs"), long.called("run run-0")), (1, 1));
}

#[test]
fn a_run_that_is_named_by_its_id_is_found_without_reading_every_page() {
    let long = Long::new(0..200);
    let view = long.look(LATE, &[of_run(0)], None);
    assert_eq!((ids(&view), history(&view)), (vec!["run-0"], vec!["action-0"]));
    assert_eq!(view.history_read("run-0"), Some(at(LATE)));
    assert!(long.calls.lock().expect("no panic").len() <= 5, "{:?}", long.calls);
}

#[test]
fn no_more_than_the_newest_pages_are_read_for_a_revision() {
    let long = Long::new(0..250);
    let newest_pages = i64::try_from(MAX_PAGES * long.page).expect("a number");
    let (seen, unseen) = (250 - newest_pages, 250 - newest_pages - 1);
    assert_eq!(ids(&long.look(LATE, &[of_revision(seen)], None)), [format!("run-{seen}")]);
    assert_eq!(ids(&long.look(LATE, &[of_revision(unseen)], None)), Vec::<&str>::new());
    assert_eq!(long.called("runs"), MAX_PAGES);
}

#[test]
fn a_run_that_the_service_does_not_know_is_told_from_one_that_is_far_back() {
    let long = Long::new(0..50);
    let view = long.look(LATE, &[of_run(0), of_run(99)], None);
    assert_eq!(ids(&view), ["run-0"]);
    assert_eq!(view.unknown.keys().collect::<Vec<_>>(), ["run-99"]);
}

#[test]
fn what_is_pushed_onto_the_next_page_is_there_once() {
    let mut long = Long::new(0..25);
    *long.begins.lock().expect("no panic") = Some(run(25, ExecutionStatus::InProgress));
    // It is the last of the first page, and the first of the second.
    let pushed = 15;
    long.runs.iter_mut().for_each(|run| run.status = ExecutionStatus::InProgress);
    let view = long.look(LATE, &[of_revision(pushed)], None);
    assert_eq!((ids(&view), history(&view)), (vec!["run-15"], vec!["action-15"]));
}

#[test]
fn history_is_not_read_again_for_a_run_of_which_nothing_new_can_be_learnt() {
    let mut long = Long::new(0..3);
    let first = long.look(LATE, &[of_revision(0)], None);
    assert_eq!(history(&first), ["action-0"]);
    long.shown = Some("action-0");
    let second = long.look(LATE + 15, &[of_revision(0)], Some(&first));
    assert_eq!((history(&second), long.called("history")), (vec!["action-0"], 0));
    // Of whose run this is, nobody knows.
    long.shown = Some("action-9");
    let third = long.look(LATE + 30, &[of_revision(0)], Some(&second));
    assert_eq!(long.called("history"), 1);
    assert!(third.is_new("action-9"));
    let fourth = long.look(LATE + 45, &[of_revision(0)], Some(&third));
    assert!(!fourth.is_new("action-9"));
}

#[test]
fn an_execution_that_history_does_not_have_is_looked_for_a_minute_and_no_longer() {
    let mut long = Long::new(0..3);
    long.entries.clear();
    let first = long.look(LATE, &[of_run(0)], None);
    long.shown = Some("action-9");
    let mut view = first;
    let reads: Vec<usize> = (1..8)
        .map(|number| {
            view = long.look(LATE + 15 * number, &[of_run(0)], Some(&view));
            long.called("history")
        })
        .collect();
    assert_eq!(reads, [1, 1, 1, 1, 0, 0, 0], "it began before what is read of history");
}

#[test]
fn a_look_tells_nothing_of_what_nobody_asked() {
    let mut long = Long::new(0..5);
    long.shown = Some("action-4");
    let view = long.look(LATE, &[Ask { action: "Other".to_owned(), ..of_run(0) }], None);
    assert!(view.answers(&Ask { action: "Other".to_owned(), ..of_run(0) }) && !view.answers(&of_run(0)));
    assert_eq!(history(&view), Vec::<&str>::new());
    let shown =
        view.state.stages.iter().flat_map(|stage| &stage.actions).any(|action| action.latest_execution.is_some());
    assert!(!shown);
}

#[test]
fn a_run_of_a_revision_is_found_though_more_than_a_page_began_after_it_since_the_last_look() {
    let mut long = Long::new(0..25);
    let first = long.look(20, &[of_revision(27)], None);
    assert_eq!(ids(&first), Vec::<&str>::new());
    long.runs = (0..50).rev().map(|number| run(number + 1000, SUCCEEDED)).chain(long.runs).collect();
    long.runs.insert(45, run(27, ExecutionStatus::InProgress));
    long.entries.insert(0, entry(27));
    let second = long.look(1060, &[of_revision(27)], Some(&first));
    assert_eq!((ids(&second), history(&second)), (vec!["run-27"], vec!["action-27"]));
}
