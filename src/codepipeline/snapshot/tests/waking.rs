//! What is new to a subscriber, and what a snapshot has that no one queried.

use super::*;

#[test]
fn a_snapshot_contains_nothing_that_was_not_queried() {
    let mut pipeline = LongPipeline::new(0..5);
    pipeline.show("action-4");
    pipeline.in_stage = Some("execution-4".to_owned());
    let snapshot = pipeline.snapshot(LATE, &[Query { action: "Other".to_owned(), ..by_id(0) }], None);
    assert!(snapshot.covers(&Query { action: "Other".to_owned(), ..by_id(0) }) && !snapshot.covers(&by_id(0)));
    assert_eq!(history(&snapshot), Vec::<&str>::new());
    let stage = &snapshot.state.stages[0];
    assert!(stage.actions.iter().all(|action| action.latest_execution.is_none()));
    assert_eq!(stage.latest_execution, None);
    assert_eq!(stage.disabled_transition, None, "no queried execution waits for it");
}

#[test]
fn a_newer_execution_that_was_not_queried_is_shown_and_wakes_no_one() {
    let mut pipeline = LongPipeline::new(0..3);
    let first = pipeline.snapshot(LATE, &[by_revision(9)], None);
    let started = PipelineExecution { source_revisions: Vec::new(), ..execution(4, ExecutionStatus::InProgress) };
    pipeline.executions.splice(0..0, [started, execution(3, SUCCEEDED)]);
    pipeline.in_stage = Some("execution-4".to_owned());
    let second = pipeline.snapshot(LATE + 15, &[by_revision(9)], Some(&first));
    let newest = |snapshot: &PipelineSnapshot| snapshot.newest_revisions[0].revision_id.clone();
    assert_eq!((newest(&first).as_deref(), newest(&second).as_deref()), (Some("revision-2"), Some("revision-3")));
    assert!(second.is_equivalent(&first));
}

#[test]
fn another_mode_is_new() {
    let mut pipeline = LongPipeline::new(0..3);
    let first = pipeline.snapshot(LATE, &[by_revision(9)], None);
    pipeline.executions[0].mode = ExecutionMode::Parallel;
    let second = pipeline.snapshot(LATE + 15, &[by_revision(9)], Some(&first));
    assert_eq!((first.mode(), second.mode()), (Some(ExecutionMode::Serial), Some(ExecutionMode::Parallel)));
    assert!(!second.is_equivalent(&first));
}

#[test]
fn what_was_queried_before_and_is_no_more_is_dropped() {
    let mut pipeline = LongPipeline::new(0..40);
    pipeline.set_status(ExecutionStatus::InProgress);
    let first = pipeline.snapshot(LATE, &[by_id(0), by_id(39), by_id(99)], None);
    let second = pipeline.snapshot(LATE + 15, &[by_id(39)], Some(&first));
    assert_eq!((ids(&second), history(&second)), (vec!["execution-39"], vec!["action-39"]));
    assert_eq!((second.unknown_executions.len(), pipeline.calls_of("get")), (0, 0));
    assert_eq!(read_at(&second, 0), None);
}
