//! The number of pending requests, which the status of a target shows.

use super::*;

const TOKEN: &str = "1f5b0c3e-0000-4000-8000-000000000001";

fn pending() -> LatestExecution {
    LatestExecution { token: Token::new(TOKEN.to_owned()), ..LatestExecution::default() }
}

#[test]
fn the_state_view_shows_the_pending_requests_of_every_action_queried_or_not() {
    let mut pipeline = LongPipeline::new(1..3);
    let elsewhere = || Query { action: "Elsewhere".to_owned(), ..by_id(1) };
    pipeline.latest = Some(pending());
    for query in [by_id(1), by_id(99), elsewhere()] {
        assert_eq!(pipeline.snapshot(LATE, &[query], None).pending_requests(), 1);
    }
    // Without a token, it is another action, or CodePipeline does not show the request yet.
    pipeline.latest = Some(LatestExecution { token: None, ..pending() });
    let known = pipeline.snapshot(LATE, &[elsewhere()], None);
    assert_eq!(known.pending_requests(), 0);
    pipeline.latest = Some(LatestExecution { progress: approved(5), ..pending() });
    assert_eq!(pipeline.snapshot(LATE, &[elsewhere()], None).pending_requests(), 0);
    // A change of the number wakes no subscriber.
    pipeline.latest = Some(pending());
    let newer = pipeline.snapshot(LATE + 1, &[elsewhere()], Some(&known));
    assert_eq!(newer.pending_requests(), 1);
    assert!(newer.is_equivalent(&known));
}

#[test]
fn in_parallel_mode_history_shows_those_of_queried_executions() {
    let mut pipeline = LongPipeline::new(1..5);
    pipeline.set_mode(ExecutionMode::Parallel);
    pipeline.set_status(ExecutionStatus::InProgress);
    for entry in &mut pipeline.entries {
        entry.external_execution_id = Some(TOKEN.to_owned());
    }
    // The state view proves nothing.
    pipeline.latest = Some(pending());
    let pending = |pipeline: &LongPipeline, numbers: &[i64]| {
        let queries: Vec<_> = numbers.iter().copied().map(by_id).collect();
        pipeline.snapshot(LATE, &queries, None).pending_requests()
    };
    assert_eq!([pending(&pipeline, &[1]), pending(&pipeline, &[1, 2, 4])], [1, 3]);
    // Newest first: one was answered, one has no token yet, one is not an approval, and one execution ended before history shows it.
    pipeline.entries[0].progress = approved(5);
    pipeline.entries[1].external_execution_id = None;
    pipeline.entries[2].category = "Build".to_owned();
    pipeline.executions[3].status = SUCCEEDED;
    assert_eq!(pending(&pipeline, &[1, 2, 3, 4]), 0);
}
