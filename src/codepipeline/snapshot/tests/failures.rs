//! One call that fails does not discard a poll, and what it would have shown counts as unread.

use super::*;

#[test]
fn only_the_state_view_and_the_first_page_of_executions_fail_a_poll() {
    let mut pipeline = LongPipeline::new(0..40);
    let queries = [by_id(0), by_revision(1), request(2, None)];
    for (failing, is_failure) in
        [("state", true), ("list 0", true), ("list 1", false), ("get", false), ("history", false)]
    {
        for error in [broken(), throttled()] {
            pipeline.failing = vec![(failing, error)];
            assert_eq!(pipeline.read(LATE, &queries, None).is_err(), is_failure, "{failing}");
        }
    }
}

/// The query of the request of an execution.
fn request(number: i64, pipeline: Option<i64>) -> Query {
    let token = Token(format!("action-{number}"));
    let pipeline = pipeline.map(|number| format!("execution-{number}"));
    query(ExecutionSelector::Request { token, ids: ExecutionIds { pipeline, action: None } })
}

#[test]
fn an_execution_that_cannot_be_read_stays_as_it_was() {
    let mut pipeline = LongPipeline::new(0..40);
    let queries = [by_id(0), by_id(99)];
    let first = pipeline.snapshot(LATE, &queries, None);
    pipeline.set_status(SUCCEEDED);
    pipeline.executions.insert(30, execution(99, SUCCEEDED));
    pipeline.failing = vec![("get", broken())];
    let second = pipeline.snapshot(LATE + 15, &queries, Some(&first));
    assert_eq!((&second.executions, &second.unknown_executions), (&first.executions, &first.unknown_executions));
    let new = pipeline.snapshot(LATE + 15, &queries, None);
    assert_eq!((ids(&new), new.unknown_executions.len()), (vec![], 0), "neither known nor unknown");
    pipeline.failing.clear();
    let third = pipeline.snapshot(LATE + 30, &queries, Some(&second));
    assert_eq!(third.executions.iter().map(|execution| execution.status).collect::<Vec<_>>(), [SUCCEEDED, SUCCEEDED]);
    assert_eq!(third.unknown_executions.len(), 0);
}

#[test]
fn one_unreadable_history_leaves_the_others_readable() {
    let mut pipeline = LongPipeline::new(0..30);
    pipeline.set_status(ExecutionStatus::InProgress);
    pipeline.failing = vec![("history of execution-1 ", broken()), ("history of all", broken())];
    let queries = [by_id(0), by_id(1), by_id(2)];
    let first = pipeline.snapshot(LATE, &queries, None);
    let read = |snapshot: &PipelineSnapshot| [0, 1, 2].map(|number| read_at(snapshot, number).is_some());
    assert_eq!((read(&first), history(&first)), ([true, false, true], vec!["action-2", "action-0"]));
    assert_eq!(first.history_failure(), Some((&broken(), first.started_at)));
    pipeline.failing.clear();
    let second = pipeline.snapshot(LATE + 15, &queries, Some(&first));
    assert_eq!((read(&second), second.history_failure()), ([true; 3], None));
    assert!(!second.is_equivalent(&first));
}

#[test]
fn a_history_that_was_read_counts_as_unread_once_it_is_needed_again_and_cannot_be_read() {
    let mut pipeline = LongPipeline::new(0..3);
    pipeline.show("action-0");
    let first = pipeline.snapshot(LATE, &[by_id(0)], None);
    assert_eq!(read_at(&first, 0), Some(at(LATE)));
    pipeline.failing = vec![("history", broken())];
    let second = pipeline.snapshot(LATE + 15, &[by_id(0)], Some(&first));
    assert_eq!(read_at(&second, 0), Some(at(LATE)), "it is not needed");
    pipeline.show("action-9");
    let third = pipeline.snapshot(LATE + 30, &[by_id(0)], Some(&second));
    assert_eq!((read_at(&third, 0), history(&third)), (None, vec!["action-0"]), "what was read is kept");
    assert!(!third.is_equivalent(&second));
}

#[test]
fn no_optional_call_follows_a_throttled_one() {
    let mut pipeline = LongPipeline::new(0..40);
    let queries: Vec<Query> = (0..5).chain(90..99).map(by_id).collect();
    for failing in ["list 1", "get", "history"] {
        pipeline.failing = vec![(failing, throttled())];
        pipeline.snapshot(LATE, &queries, None);
        let calls = pipeline.calls.lock().expect("no panic").clone();
        let failed = calls.iter().position(|call| call.starts_with(failing)).expect("it was made");
        assert_eq!(failed, calls.len() - 1, "{calls:?}");
    }
}

#[test]
fn an_operation_that_fails_for_several_executions_is_given_up_and_the_others_are_not() {
    let mut pipeline = LongPipeline::new(0..40);
    pipeline.set_status(ExecutionStatus::InProgress);
    pipeline.failing = vec![("get", broken())];
    let queries: Vec<Query> = (30..40).chain(90..99).map(by_id).collect();
    let snapshot = pipeline.snapshot(LATE, &queries, None);
    assert_eq!(pipeline.calls_of("get"), 3);
    assert!((30..40).all(|number| read_at(&snapshot, number).is_some()));
}

#[test]
fn executions_of_a_revision_are_held_back_while_a_page_that_may_show_more_is_unreadable() {
    let mut pipeline = LongPipeline::new(0..35);
    for number in [5, 30] {
        pipeline.executions[34 - number].source_revisions = vec![revision("Source", "same")];
    }
    let queries = [query(ExecutionSelector::SourceRevisions(vec![wanted(None, Some("same"))])), by_id(33)];
    pipeline.failing = vec![("list 2", broken())];
    let first = pipeline.snapshot(LATE, &queries, None);
    assert_eq!(ids(&first), ["execution-33", "execution-30"]);
    assert_eq!((read_at(&first, 33), read_at(&first, 30)), (Some(at(LATE)), None));
    pipeline.failing.clear();
    let second = pipeline.snapshot(LATE + 15, &queries, Some(&first));
    assert_eq!(ids(&second), ["execution-33", "execution-30", "execution-5"]);
    assert!([5, 30].iter().all(|number| read_at(&second, *number).is_some()));
    pipeline.failing = vec![("list 2", broken())];
    let third = pipeline.snapshot(LATE + 30, &queries, Some(&second));
    assert!(third.is_equivalent(&second), "nothing on these pages is new");
}

#[test]
fn a_pipeline_that_is_busier_than_a_page_holds_revisions_back_until_the_polls_have_caught_up() {
    let mut pipeline = LongPipeline::new(0..5);
    let first = pipeline.snapshot(10, &[by_revision(3)], None);
    assert_eq!(read_at(&first, 3), Some(at(10)));
    pipeline.executions =
        (0..15).rev().map(|number| execution(number + 100, SUCCEEDED)).chain(pipeline.executions).collect();
    pipeline.executions[12].source_revisions = vec![revision("Source", "revision-3")];
    pipeline.failing = vec![("list 1", broken())];
    let second = pipeline.snapshot(120, &[by_revision(3)], Some(&first));
    assert_eq!((ids(&second), read_at(&second, 3)), (vec!["execution-3"], None));
    pipeline.failing.clear();
    let third = pipeline.snapshot(135, &[by_revision(3)], Some(&second));
    assert_eq!((ids(&third), read_at(&third, 3)), (vec!["execution-102", "execution-3"], Some(at(120))));
}
