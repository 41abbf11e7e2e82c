//! The requests of decisions by token and of submissions in doubt: what snapshots show of them, and which calls that takes.

use super::*;

/// The id of an action execution that has the form of a token.
fn id(number: i64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn token(number: i64) -> Token {
    Token(id(number))
}

fn in_execution(number: i64) -> ExecutionIds {
    ExecutionIds { pipeline: Some(format!("execution-{number}")), action: None }
}

/// The query of the request of an execution.
fn request(number: i64, ids: ExecutionIds) -> Query {
    query(ExecutionSelector::Request { token: token(number), ids })
}

fn record(snapshot: &PipelineSnapshot, query: &Query) -> ApprovalRecord {
    snapshot.record_of(RecordQuery::of(query).expect("the query of a request"))
}

fn executions(number: i64) -> ExecutionIds {
    ExecutionIds { action: Some(id(number)), ..in_execution(number) }
}

/// A pipeline whose action executions have the ids of their tokens.
fn pipeline(numbers: std::ops::Range<i64>) -> LongPipeline {
    let mut pipeline = LongPipeline::new(numbers.clone());
    for (entry, number) in pipeline.entries.iter_mut().zip(numbers.rev()) {
        entry.action_execution_id = id(number);
    }
    pipeline
}

/// The state view shows the request of this execution as pending.
fn pending(pipeline: &mut LongPipeline, number: i64) {
    pipeline.in_stage = Some(format!("execution-{number}"));
    pipeline.latest = Some(LatestExecution {
        action_execution_id: Some(id(number)),
        token: Some(token(number)),
        ..LatestExecution::default()
    });
}

/// Someone approved the request of this execution.
fn complete(pipeline: &mut LongPipeline, number: usize) {
    let newest = pipeline.entries.len() - 1;
    pipeline.entries[newest - number].progress = approved(LATE);
}

fn completed_ids(record: ApprovalRecord) -> Option<ExecutionIds> {
    match record {
        ApprovalRecord::Completed(completed) => Some(completed.ids),
        _ => None,
    }
}

#[test]
fn the_state_view_alone_shows_a_pending_request_and_its_execution() {
    for (count, lists, gets) in [(5, 1, 0), (25, 3, 0), (250, 20, 1)] {
        let mut pipeline = pipeline(0..count);
        pending(&mut pipeline, 0);
        let query = request(0, ExecutionIds::default());
        let first = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
        assert_eq!(record(&first, &query), ApprovalRecord::Pending(executions(0)));
        assert_eq!((ids(&first), pipeline.calls_of("history")), (vec!["execution-0"], 0));
        let has_revisions = !first.executions[0].source_revisions.is_empty();
        assert_eq!((pipeline.calls_of("list"), pipeline.calls_of("get"), has_revisions), (lists, gets, count < 200));
        let second = pipeline.snapshot(LATE + 15, std::slice::from_ref(&query), Some(&first));
        assert!(second.is_equivalent(&first));
        assert!(pipeline.calls_of("") <= 3, "pages are read once: {:?}", pipeline.calls);
    }
}

#[test]
fn only_history_shows_a_request_that_the_state_view_has_moved_past() {
    let mut pipeline = pipeline(0..30);
    pending(&mut pipeline, 29);
    for ids in [ExecutionIds::default(), in_execution(3)] {
        let query = request(3, ids);
        let first = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
        assert_eq!(record(&first, &query), ApprovalRecord::Lagging(executions(3)));
        assert_eq!(super::ids(&first), ["execution-3"]);
        assert_eq!(first.executions[0].source_revisions, [revision("Source", "revision-3")]);
        complete(&mut pipeline, 3);
        let second = pipeline.snapshot(LATE + 15, std::slice::from_ref(&query), Some(&first));
        assert_eq!(completed_ids(record(&second, &query)), Some(executions(3)));
        assert!(!second.is_equivalent(&first));
        let third = pipeline.snapshot(LATE + 30, std::slice::from_ref(&query), Some(&second));
        assert_eq!((record(&third, &query), pipeline.calls_of("history")), (record(&second, &query), 0));
        pipeline.entries[26].progress = ActionProgress::InProgress;
    }
}

#[test]
fn the_state_view_shows_a_completion_before_history_does() {
    let mut pipeline = pipeline(0..5);
    pending(&mut pipeline, 4);
    if let Some(latest) = &mut pipeline.latest {
        latest.token = None;
        latest.progress = approved(LATE);
    }
    let query = request(4, in_execution(4));
    let snapshot = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
    assert_eq!(completed_ids(record(&snapshot, &query)), Some(executions(4)));
    assert_eq!(pipeline.calls_of("history"), 0);
}

#[test]
fn the_state_view_proves_nothing_about_a_request_in_parallel_mode() {
    let mut pipeline = pipeline(0..5);
    pipeline.set_mode(ExecutionMode::Parallel);
    for (number, entry) in pipeline.entries.iter_mut().enumerate() {
        entry.action_execution_id = format!("action-{number}");
        entry.external_execution_id = Some(id(4 - i64::try_from(number).expect("a number")));
    }
    pending(&mut pipeline, 3);
    let query = request(3, ExecutionIds::default());
    let snapshot = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
    let expected = ExecutionIds { action: Some("action-1".to_owned()), ..in_execution(3) };
    assert_eq!((record(&snapshot, &query), ids(&snapshot)), (ApprovalRecord::Lagging(expected), vec!["execution-3"]));
    pipeline.entries.clear();
    let snapshot = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
    assert_eq!(record(&snapshot, &query), ApprovalRecord::NotVisible);
}

#[test]
fn only_a_history_that_was_read_to_its_end_proves_that_a_request_is_not_in_it() {
    for ids in [ExecutionIds::default(), in_execution(0)] {
        for (pages, expected) in [
            (1, ApprovalRecord::NotVisible),
            (MAX_PAGES, ApprovalRecord::NotVisible),
            (MAX_PAGES + 1, ApprovalRecord::BeyondHistory),
        ] {
            let mut pipeline = pipeline(0..1);
            let count = i64::try_from((pages - 1) * pipeline.page_size + 1).expect("a number");
            let other = |number: i64| ActionExecution { pipeline_execution_id: "execution-0".into(), ..entry(number) };
            pipeline.entries = (1..=count).rev().map(other).collect();
            let query = request(0, ids.clone());
            let first = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
            assert_eq!(record(&first, &query), expected, "{pages} pages");
            let second = pipeline.snapshot(LATE + 15, std::slice::from_ref(&query), Some(&first));
            assert_eq!(record(&second, &query), expected, "{pages} pages");
        }
    }
}

#[test]
fn a_token_that_was_not_found_is_sought_only_in_newer_history() {
    let mut pipeline = pipeline(0..180);
    let query = request(500, ExecutionIds::default());
    let first = pipeline.snapshot(200, std::slice::from_ref(&query), None);
    assert_eq!((record(&first, &query), pipeline.calls_of("history")), (ApprovalRecord::NotVisible, 18));
    pipeline.snapshot(215, std::slice::from_ref(&query), Some(&first));
    assert_eq!(pipeline.calls_of("history"), 5, "back to a minute before the previous search");
    let new = ActionExecution { action_execution_id: id(500), ..entry(190) };
    pipeline.entries.splice(0..0, (0..15).map(|_| entry(195)).chain([new]));
    let second = pipeline.snapshot(215, std::slice::from_ref(&query), Some(&first));
    let found = ExecutionIds { pipeline: Some("execution-190".to_owned()), action: Some(id(500)) };
    assert_eq!((record(&second, &query), pipeline.calls_of("history")), (ApprovalRecord::Lagging(found), 2));
}

#[test]
fn a_request_of_an_execution_that_history_does_not_know_is_not_visible() {
    let mut pipeline = pipeline(0..30);
    pipeline.unknown_to_history = Some("execution-99");
    let query = request(99, in_execution(99));
    let snapshot = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
    assert_eq!(record(&snapshot, &query), ApprovalRecord::NotVisible);
}

#[test]
fn a_request_is_unreadable_while_the_history_that_it_needs_cannot_be_read() {
    let mut pipeline = pipeline(0..30);
    for (ids, failing) in [(ExecutionIds::default(), "history of all 1"), (in_execution(3), "history of execution-3 ")]
    {
        let query = request(3, ids);
        for error in [broken(), throttled()] {
            pipeline.failing = vec![(failing, error.clone())];
            let first = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
            assert_eq!(record(&first, &query), ApprovalRecord::Unreadable(error));
            pipeline.failing.clear();
            let second = pipeline.snapshot(LATE + 15, std::slice::from_ref(&query), Some(&first));
            assert_eq!(record(&second, &query), ApprovalRecord::Lagging(executions(3)));
            assert!(!second.is_equivalent(&first));
            pipeline.failing = vec![("history", broken())];
            let third = pipeline.snapshot(LATE + 30, std::slice::from_ref(&query), Some(&second));
            assert_eq!(record(&third, &query), ApprovalRecord::Unreadable(broken()), "the entry may be out of date");
            assert!(!third.is_equivalent(&second));
        }
    }
    let other = pipeline.snapshot(LATE, &[by_id(1)], None);
    let query = request(3, ExecutionIds::default());
    assert!(matches!(record(&other, &query), ApprovalRecord::Unreadable(_)), "no one queried it");
}

#[test]
fn a_page_that_cannot_be_read_does_not_hide_a_request_that_another_page_shows() {
    let mut pipeline = pipeline(0..30);
    let others = (0..15).map(|number| ActionExecution { pipeline_execution_id: "execution-3".into(), ..entry(number) });
    pipeline.entries.extend(others);
    pipeline.failing = vec![("history of all", broken()), ("history of execution-3 1", broken())];
    let query = request(3, in_execution(3));
    let snapshot = pipeline.snapshot(LATE, &[query.clone(), by_id(3)], None);
    assert_eq!(record(&snapshot, &query), ApprovalRecord::Lagging(executions(3)));
    assert_eq!(read_at(&snapshot, 3), None);
}

#[test]
fn an_unreadable_history_does_not_hide_what_the_state_view_shows() {
    let mut pipeline = pipeline(0..30);
    pipeline.failing = vec![("history", throttled())];
    pending(&mut pipeline, 25);
    let query = request(25, ExecutionIds::default());
    let snapshot = pipeline.snapshot(LATE, &[query.clone(), by_id(3)], None);
    assert_eq!(record(&snapshot, &query), ApprovalRecord::Pending(executions(25)));
    assert_eq!(read_at(&snapshot, 3), None);
}

#[test]
fn the_execution_of_a_request_is_not_in_the_snapshot_without_source_revisions_because_a_page_failed() {
    let mut pipeline = pipeline(0..30);
    pending(&mut pipeline, 3);
    pipeline.failing = vec![("list 1", broken())];
    let query = request(3, ExecutionIds::default());
    let first = pipeline.snapshot(LATE, std::slice::from_ref(&query), None);
    assert_eq!((record(&first, &query), ids(&first)), (ApprovalRecord::Pending(executions(3)), vec![]));
    pipeline.failing.clear();
    let second = pipeline.snapshot(LATE + 15, std::slice::from_ref(&query), Some(&first));
    assert_eq!(second.executions[0].source_revisions, [revision("Source", "revision-3")]);
}

#[test]
fn two_thousand_expired_tokens_share_the_pages_of_one_poll() {
    let mut pipeline = pipeline(0..3000);
    pipeline.page_size = 100;
    pipeline.set_status(SUCCEEDED);
    for number in 0..3000 {
        complete(&mut pipeline, number);
    }
    for known in [false, true] {
        // Half of them are in the part of history that the operator reads.
        let ids = |number| if known { in_execution(number) } else { ExecutionIds::default() };
        let queries: Vec<Query> = (0..2000).map(|number| request(number, ids(number))).collect();
        let snapshot = pipeline.snapshot(LATE, &queries, None);
        let calls = pipeline.calls_of("");
        let count =
            |is: fn(&ApprovalRecord) -> bool| queries.iter().filter(|query| is(&record(&snapshot, query))).count();
        let completed = count(|record| matches!(record, ApprovalRecord::Completed(_)));
        if known {
            // What is sought only in its execution is read 20 at a time, after the executions were listed and the pages were read.
            assert_eq!((completed, count(|record| matches!(record, ApprovalRecord::Unreadable(_)))), (1020, 980));
            assert!(calls <= 81, "{calls} calls");
        } else {
            assert_eq!((completed, count(|record| *record == ApprovalRecord::BeyondHistory)), (1000, 1000));
            assert!(calls <= 40, "{calls} calls");
        }
    }
}

#[test]
fn another_record_of_a_request_that_both_polls_sought_is_new() {
    let pipeline = pipeline(0..5);
    let first = pipeline.snapshot(LATE, &[request(99, ExecutionIds::default())], None);
    let mut unreadable = first.clone();
    unreadable.requests.values_mut().for_each(|history| history.failure = Some(broken()));
    assert!(!unreadable.is_equivalent(&first));
    let mut other = unreadable.clone();
    let busy = CallError::Indeterminate { detail: "another connection broke".to_owned() };
    other.requests.values_mut().for_each(|history| history.failure = Some(busy.clone()));
    assert!(other.is_equivalent(&unreadable), "the same reason");
}

#[test]
fn requests_whose_executions_are_known_are_read_in_turn() {
    let mut pipeline = pipeline(0..60);
    for number in 0..60 {
        complete(&mut pipeline, number);
    }
    let busy = (0..300).map(|number| ActionExecution { started_at: Some(at(LATE)), ..entry(number + 1000) });
    pipeline.entries = busy.chain(pipeline.entries).collect();
    let queries: Vec<Query> = (0..60).map(|number| request(number, in_execution(number))).collect();
    let (mut previous, mut completed) = (None, Vec::new());
    for number in 0..3 {
        let snapshot = pipeline.snapshot(LATE + 15 * number, &queries, previous.as_ref());
        let is_completed = |query: &&Query| matches!(record(&snapshot, query), ApprovalRecord::Completed(_));
        completed.push(queries.iter().filter(is_completed).count());
        previous = Some(snapshot);
    }
    assert_eq!(completed, [20, 40, 60]);
}
