//! Worlds in which a decision names more than one request, or its execution is stopped.

use super::*;

#[test]
fn the_execution_of_a_revision_receives_its_result_beside_another() {
    let (mode, edits) = (ExecutionMode::Parallel, &[Edit::Rebind]);
    let world = World { name: "revision, PARALLEL", bound: Bound::Revision, mode, edits, ..BEHIND_ANOTHER };
    let budget = Budget { crashes: 1, edits: 1, faults: 1, time_jumps: 1, ..NOTHING };
    let quick = World { budget: Budget { crashes: 0, ..budget }, ..world.clone() };
    let all = World { budget, ..world };
    assert_holds(scale(quick, all), 15, &["Delivered", DELIVERED_TWICE, "Unconfirmed", RETRIED]);
}

/// Someone retries the stage after a response, which opens another request.
#[test]
fn a_response_uses_up_a_decision_until_it_is_ignored() {
    for bound in scale(&[Bound::Revision][..], &[Bound::Execution, Bound::Revision]) {
        let world = World {
            name: "retried stage",
            bound: *bound,
            revisions: &[0],
            changes: &[PipelineChange::Retry(0)],
            edits: &[Edit::IgnoreResponses],
            time_jumps: &[65],
            ..TOKEN
        };
        let budget = Budget { other_results: 1, pipeline_changes: 1, edits: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { other_results: 2, ..budget }, ..world };
        let reaches = ["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted", ANSWERED_AFTER_RETRY];
        assert_holds(scale(quick, all), 15, &reaches);
    }
}

/// CodePipeline refuses the token of an earlier request, and someone has also responded to the newer one.
#[test]
fn the_newest_response_decides_after_a_refusal() {
    let world = World {
        name: "retried stage, refused",
        bound: Bound::Execution,
        revisions: &[0],
        changes: &[PipelineChange::Retry(0)],
        time_jumps: &[65],
        ..TOKEN
    };
    let budget = Budget { other_results: 2, pipeline_changes: 1, faults: 1, ..NOTHING };
    let quick = World { budget, ..world.clone() };
    let all = World { budget: Budget { time_jumps: 1, ..budget }, ..world };
    assert_holds(scale(quick, all), 15, &["Delivered"]);
}

/// Two executions have the revision. In PARALLEL mode both are pending at once.
#[test]
fn a_revision_of_two_executions_receives_one_result() {
    for (mode, depth, reaches) in [
        (ExecutionMode::Queued, 12, &["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted"][..]),
        (ExecutionMode::Parallel, 6, &["AlreadyDecided", "ApprovalAlreadyCompleted", "AmbiguousRevision", "Waiting"]),
    ] {
        let (bound, revisions, changes) =
            (Bound::Revision, &[0, 0], &[PipelineChange::Retry(0), PipelineChange::Retry(1)]);
        let world = World { name: "two executions of a revision", bound, mode, revisions, changes, ..BEHIND_ANOTHER };
        let budget = Budget { other_results: 1, pipeline_changes: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { faults: 1, other_results: 2, ..budget }, ..world };
        assert_holds(scale(quick, all), depth, reaches);
    }
}

#[test]
fn an_execution_that_is_stopped_is_not_approved() {
    const CHANGES: [[PipelineChange; 2]; 2] =
        [[PipelineChange::Stop(0), PipelineChange::Retry(0)], [PipelineChange::Stop(1), PipelineChange::Retry(1)]];
    for (execution, changes) in CHANGES.iter().enumerate() {
        let world = World {
            name: "stopped execution",
            execution,
            changes,
            edits: &[Edit::Reverse],
            time_jumps: &[65],
            ..BEHIND_ANOTHER
        };
        let reaches =
            if execution == 0 { ["Waiting", "ApprovalAlreadyCompleted"] } else { ["Waiting", "ExecutionEnded"] };
        let budget = Budget { other_results: 1, pipeline_changes: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { edits: 1, faults: 1, ..budget }, ..world };
        assert_holds(scale(quick, all), 10, &reaches);
    }
}
