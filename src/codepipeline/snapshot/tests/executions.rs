//! Which executions a snapshot has, and which calls it takes to find them.

use super::*;

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
    assert_eq!(read_at(&snapshot, 0), Some(at(LATE)));
    assert!(pipeline.calls_of("") <= 5, "{:?}", pipeline.calls);
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
fn an_execution_meets_all_entries_or_is_not_in_the_snapshot() {
    let mut pipeline = LongPipeline::new(0..5);
    let both = vec![revision("App", "a"), revision("Config", "c")];
    pipeline.executions[0].source_revisions = both.clone();
    pipeline.executions[1].source_revisions = vec![revision("App", "a")];
    pipeline.executions[2].source_revisions.clone_from(&both);
    pipeline.executions[2].execution_type = ExecutionType::Rollback;
    let no_id = ExecutionRevision { action_name: "Config".to_owned(), revision_id: None };
    pipeline.executions[3].source_revisions = vec![revision("App", "a"), no_id];
    let select = |entries: Vec<SourceRevision>| {
        let snapshot = pipeline.snapshot(LATE, &[query(ExecutionSelector::SourceRevisions(entries))], None);
        ids(&snapshot).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let app = wanted(None, Some("a"));
    assert_eq!(select(vec![app.clone(), wanted(Some("Config"), Some("c"))]), ["execution-4"]);
    assert_eq!(select(vec![app.clone(), wanted(Some("Config"), None)]), ["execution-4", "execution-1"]);
    assert_eq!(select(vec![app]), ["execution-4", "execution-3", "execution-1"], "with or without other sources");
    assert_eq!(select(Vec::new()), [""; 0], "no entries name nothing");
}

#[test]
fn an_unknown_execution_and_an_old_execution_are_distinguished() {
    let pipeline = LongPipeline::new(0..50);
    let first = pipeline.snapshot(LATE, &[by_id(0), by_id(99)], None);
    assert_eq!(ids(&first), ["execution-0"]);
    let read_at = |snapshot: &PipelineSnapshot| snapshot.unknown_executions["execution-99"].read_at;
    assert_eq!((first.unknown_executions.len(), read_at(&first)), (1, at(LATE)));
    let second = pipeline.snapshot(LATE + 15, &[by_id(0), by_id(99)], Some(&first));
    assert_eq!(read_at(&second), at(LATE + 15));
    assert!(second.is_equivalent(&first), "that it is still unknown is nothing new");
}

#[test]
fn an_unknown_execution_that_appears_is_no_longer_unknown() {
    let mut pipeline = LongPipeline::new(0..5);
    let first = pipeline.snapshot(LATE, &[by_id(9)], None);
    pipeline.executions.insert(0, execution(9, ExecutionStatus::InProgress));
    let second = pipeline.snapshot(LATE + 15, &[by_id(9)], Some(&first));
    assert_eq!((ids(&second), second.unknown_executions.len()), (vec!["execution-9"], 0));
}

#[test]
fn an_entry_that_moves_to_the_next_page_is_in_the_snapshot_once() {
    let mut pipeline = LongPipeline::new(0..25);
    *pipeline.starts_between_pages.lock().expect("no panic") = Some(execution(25, ExecutionStatus::InProgress));
    // It is the last of the first page, and the first of the second.
    let moved = 15;
    pipeline.set_status(ExecutionStatus::InProgress);
    let snapshot = pipeline.snapshot(LATE, &[by_revision(moved)], None);
    assert_eq!((ids(&snapshot), history(&snapshot)), (vec!["execution-15"], vec!["action-15"]));
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
fn a_thousand_unknown_ids_cost_a_few_calls_in_each_poll_and_are_all_read_in_the_end() {
    let pipeline = LongPipeline::new(0..500);
    let queries: Vec<Query> = (1000..2000).map(by_id).collect();
    let (mut previous, mut counts) = (None, Vec::new());
    for number in 0..100 {
        let snapshot = pipeline.snapshot(LATE + 15 * number, &queries, previous.as_ref());
        let calls = pipeline.calls_of("");
        assert!(calls <= 25, "{calls} calls in poll {number}");
        counts.push(snapshot.unknown_executions.len());
        previous = Some(snapshot);
    }
    let rounds = counts.iter().position(|count| *count == 1000).expect("all were read");
    assert!(rounds <= 1000 / MAX_LOOKUPS + 1, "{counts:?}");
    let oldest = previous.and_then(|snapshot| snapshot.unknown_executions.into_values().map(|id| id.read_at).min());
    assert!(oldest.is_some_and(|oldest| oldest >= at(LATE + 15 * 49)), "each was read again: {oldest:?}");
}

#[test]
fn executions_in_progress_that_are_not_listed_share_the_calls_with_unknown_ids() {
    let mut pipeline = LongPipeline::new(0..40);
    let queries: Vec<Query> = (1000..1100).map(by_id).chain([by_id(0)]).collect();
    let mut snapshot = pipeline.snapshot(LATE, &queries, None);
    pipeline.set_status(SUCCEEDED);
    for number in 1..10 {
        snapshot = pipeline.snapshot(LATE + 15 * number, &queries, Some(&snapshot));
    }
    assert_eq!(snapshot.executions[0].status, SUCCEEDED);
}

#[test]
fn a_retry_of_an_old_execution_is_seen() {
    let mut pipeline = LongPipeline::new(0..40);
    let failed = ExecutionStatus::Ended(ExecutionEnd::Failed);
    pipeline.executions[39].status = failed;
    let first = pipeline.snapshot(LATE, &[by_revision(0)], None);
    let second = pipeline.snapshot(LATE + 15, &[by_revision(0)], Some(&first));
    assert_eq!((second.executions[0].status, pipeline.calls_of("get")), (failed, 0));
    pipeline.executions[39].status = ExecutionStatus::InProgress;
    pipeline.in_stage = Some("execution-0".to_owned());
    let third = pipeline.snapshot(LATE + 30, &[by_revision(0)], Some(&second));
    assert_eq!(third.executions[0].status, ExecutionStatus::InProgress);
}

#[test]
fn a_pipeline_without_stages_is_unreadable_except_in_parallel_mode() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.has_stages = false;
    assert!(matches!(pipeline.read(LATE, &[by_id(0)], None), Err(CallError::Indeterminate { .. })));
    pipeline.executions[0].mode = ExecutionMode::Parallel;
    let snapshot = pipeline.snapshot(LATE, &[by_id(0)], None);
    assert_eq!((ids(&snapshot), snapshot.mode()), (vec!["execution-0"], Some(ExecutionMode::Parallel)));
    pipeline.executions.clear();
    assert!(pipeline.read(LATE, &[by_id(0)], None).is_err());
}

#[test]
fn executions_of_a_pipeline_that_another_one_replaced_are_dropped() {
    let mut pipeline = LongPipeline::new(0..5);
    let queries = [by_id(0), by_revision(3)];
    let first = pipeline.snapshot(LATE, &queries, None);
    assert_eq!(ids(&first), ["execution-3", "execution-0"]);
    pipeline.executions.clear();
    pipeline.executions.push(execution(9, ExecutionStatus::InProgress));
    let second = pipeline.snapshot(LATE + 15, &queries, Some(&first));
    assert_eq!(ids(&second), [""; 0]);
    assert_eq!(second.unknown_executions.keys().collect::<Vec<_>>(), ["execution-0"]);
}
