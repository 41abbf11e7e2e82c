//! When history is read, and what counts as read.

use super::*;

/// When the history of an action in execution 0 was read.
fn history_read_at(snapshot: &PipelineSnapshot, action: &str) -> Option<Timestamp> {
    snapshot.history_read_at("execution-0", "Production", action)
}

#[test]
fn history_is_read_again_only_if_it_can_show_something_new() {
    let mut pipeline = LongPipeline::new(0..3);
    let first = pipeline.snapshot(LATE, &[by_revision(0)], None);
    assert_eq!(history(&first), ["action-0"]);
    pipeline.show("action-0");
    let second = pipeline.snapshot(LATE + 15, &[by_revision(0)], Some(&first));
    assert_eq!((history(&second), pipeline.calls_of("history")), (vec!["action-0"], 0));
    // No snapshot ties this action execution to its execution yet.
    pipeline.show("action-9");
    let third = pipeline.snapshot(LATE + 30, &[by_revision(0)], Some(&second));
    assert_eq!(pipeline.calls_of("history"), 1);
    assert!(third.is_first_seen("action-9"));
    let fourth = pipeline.snapshot(LATE + 45, &[by_revision(0)], Some(&third));
    assert!(!fourth.is_first_seen("action-9"));
}

#[test]
fn history_is_read_to_find_a_missing_action_execution_until_it_would_show_it() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.entries.clear();
    let mut snapshot = pipeline.snapshot(LATE, &[by_id(0)], None);
    pipeline.show("action-9");
    let reads: Vec<usize> = (1..8)
        .map(|number| {
            // A poll that cannot read history delays the end.
            pipeline.failing = if number == 5 { vec![("history", broken())] } else { Vec::new() };
            snapshot = pipeline.snapshot(LATE + 15 * number, &[by_id(0)], Some(&snapshot));
            pipeline.calls_of("history").min(1)
        })
        .collect();
    assert_eq!(reads, [1, 1, 1, 1, 1, 1, 0], "it belongs to an execution that no one queried");
}

#[test]
fn the_history_of_every_selected_execution_is_read_and_that_of_an_old_one_only_once() {
    let mut pipeline = LongPipeline::new(0..30);
    for execution in &mut pipeline.executions {
        execution.status = SUCCEEDED;
        execution.source_revisions = vec![revision("Source", "same")];
    }
    pipeline.executions[0].updated_at = Some(at(LATE));
    let queries = [query(ExecutionSelector::SourceRevisions(vec![wanted(None, Some("same"))]))];
    let first = pipeline.snapshot(LATE + 10, &queries, None);
    assert!((0..30).all(|number| read_at(&first, number) == Some(at(LATE + 10))));
    assert_eq!((first.actions.len(), pipeline.calls_of("history")), (30, 3), "pages are cheaper");
    let second = pipeline.snapshot(LATE + 60, &queries, Some(&first));
    assert_eq!(pipeline.calls_of("history"), 1, "the newest one ended a short time before it was read");
    assert_eq!((read_at(&second, 29), read_at(&second, 28)), (Some(at(LATE + 60)), Some(at(LATE + 10))));
    pipeline.snapshot(LATE + 75, &queries, Some(&second));
    assert_eq!(pipeline.calls_of("history"), 0);
}

#[test]
fn the_history_of_executions_that_did_not_fit_is_read_in_the_next_polls() {
    let mut pipeline = LongPipeline::new(0..70);
    pipeline.set_status(SUCCEEDED);
    // So much happens between them that pages do not reach them.
    let busy = (0..300).map(|number| ActionExecution { started_at: Some(at(LATE)), ..entry(number + 1000) });
    pipeline.entries = busy.chain(pipeline.entries).collect();
    let queries: Vec<Query> = (0..70).map(by_id).collect();
    let (mut previous, mut unread) = (None, Vec::new());
    for number in 0..5 {
        let snapshot = pipeline.snapshot(LATE + 15 * number, &queries, previous.as_ref());
        assert!(pipeline.calls_of("history") <= MAX_PAGES + 20);
        unread.push((0..70).filter(|number| read_at(&snapshot, *number).is_none()).count());
        previous = Some(snapshot);
    }
    assert_eq!(unread, [50, 30, 10, 0, 0]);
}

#[test]
fn executions_whose_history_is_needed_in_each_poll_are_read_in_turn() {
    let mut pipeline = LongPipeline::new(0..50);
    pipeline.set_status(ExecutionStatus::InProgress);
    pipeline.set_mode(ExecutionMode::Parallel);
    let busy = (0..300).map(|number| ActionExecution { started_at: Some(at(LATE)), ..entry(number + 1000) });
    pipeline.entries = busy.chain(pipeline.entries).collect();
    let queries: Vec<Query> = (0..50).map(by_id).collect();
    let (mut previous, mut read) = (None, HashSet::new());
    for number in 0..3 {
        let snapshot = pipeline.snapshot(LATE + 15 * number, &queries, previous.as_ref());
        read.extend((0..50).filter(|execution| read_at(&snapshot, *execution) == Some(snapshot.started_at)));
        previous = Some(snapshot);
    }
    assert_eq!(read.len(), 50);
}

#[test]
fn history_is_read_in_each_poll_in_parallel_mode() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.set_mode(ExecutionMode::Parallel);
    let first = pipeline.snapshot(LATE, &[by_id(0)], None);
    let second = pipeline.snapshot(LATE + 15, &[by_id(0)], Some(&first));
    assert_eq!(read_at(&second, 0), Some(at(LATE + 15)));
}

#[test]
fn history_counts_as_read_only_for_the_actions_whose_entries_are_kept() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.set_status(SUCCEEDED);
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
    // A newer execution, so that pages of the whole pipeline do not end before those of the execution.
    pipeline.executions.insert(0, execution(1, SUCCEEDED));
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
