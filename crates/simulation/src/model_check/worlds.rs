//! The worlds that are searched: what a decision is bound to, and how much may happen. Each is small enough to be searched
//! completely, and mixes other disturbances.

use super::properties::{ABANDONED, DELIVERED_BY_HISTORY, OVERTAKEN, RESTORED, RETRIED, search};
use super::state::Budget;
use super::users::{Bound, Edit};
use super::{PRODUCT, World};
use crate::fixtures::scale;
use local_codepipeline::model::ExecutionMode;
use stateright::HasDiscoveries;

/// No disturbances.
pub const NOTHING: Budget = Budget { crashes: 0, faults: 0, old_views: 0, edits: 0, other_results: 0, time_jumps: 0 };

/// A decision that is bound to the token of the older execution. The time jumps pass the time to send, the deadline, and the lag of
/// the history.
pub const TOKEN: World = World {
    name: "token",
    bound: Bound::Token,
    execution: 0,
    mode: ExecutionMode::Queued,
    clocks: [0, 0],
    edits: &[],
    time_jumps: &[6, 21, 65],
    budget: NOTHING,
};

/// The decision waits until its execution reaches the approval.
pub const BEHIND_ANOTHER: World = World {
    name: "execution, behind another",
    bound: Bound::Execution,
    execution: 1,
    time_jumps: &[21, 65],
    edits: &[Edit::Rebind, Edit::Suspend],
    ..TOKEN
};

/// A complete search, at least this deep, finds no violation and reaches all of this.
fn assert_holds(world: World, (budget, depth): (Budget, usize), reaches: &[&str]) {
    let result = search(&World { budget, ..world.clone() }, PRODUCT, HasDiscoveries::AnyFailures);
    println!("FIGURE {}: {} states, {} steps deep", world.name, result.states, result.depth);
    assert!(result.broken.is_empty(), "{:?}", result.broken);
    let missing: Vec<_> = reaches.iter().filter(|name| !result.reached.contains(name)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert!(depth <= result.depth, "searched {} steps deep", result.depth);
}

#[test]
fn a_token_receives_its_result_despite_crashes_and_lost_messages() {
    let quick = Budget { crashes: 1, faults: 1, other_results: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { faults: 2, old_views: 1, ..quick };
    let reaches = [
        "Delivered",
        DELIVERED_BY_HISTORY,
        "AlreadyDecided",
        "ApprovalAlreadyCompleted",
        "Unconfirmed",
        "Throttled",
        OVERTAKEN,
        RETRIED,
        ABANDONED,
    ];
    assert_holds(TOKEN, scale((quick, 19), (all, 25)), &reaches);
}

#[test]
fn a_token_receives_its_result_despite_edits() {
    let edits = &[Edit::Rebind, Edit::Reverse, Edit::Suspend, Edit::Expire, Edit::Annotate, Edit::Hold];
    let quick = Budget { edits: 1, other_results: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { faults: 1, ..quick };
    let reaches = ["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted", "Expired", "Suspended", OVERTAKEN];
    assert_holds(World { name: "token, edited", edits, ..TOKEN }, scale((quick, 20), (all, 23)), &reaches);
}

#[test]
fn a_token_receives_one_result_from_a_decision_that_is_deleted_and_restored() {
    let edits = &[Edit::Delete, Edit::Restore];
    let mode = ExecutionMode::Parallel;
    let world = World { name: "token, restored", edits, time_jumps: &[21, 65], mode, ..TOKEN };
    let quick = Budget { edits: 2, faults: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { crashes: 1, time_jumps: 2, ..quick };
    assert_holds(world, scale((quick, 22), (all, 29)), &["Delivered", "AlreadyDecided", RESTORED]);
}

#[test]
fn a_token_receives_its_result_in_parallel_mode_with_different_clocks() {
    let (mode, edits) = (ExecutionMode::Parallel, &[Edit::Rebind]);
    let world = World { name: "token, PARALLEL, different clocks", mode, clocks: [-5, 0], edits, ..TOKEN };
    let quick = Budget { faults: 1, edits: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { crashes: 1, time_jumps: 2, ..quick };
    assert_holds(world, scale((quick, 17), (all, 24)), &["Delivered", DELIVERED_BY_HISTORY, "Unconfirmed", RETRIED]);
}

#[test]
fn an_execution_that_waits_behind_another_receives_its_result_in_time() {
    let quick = Budget { other_results: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { crashes: 1, edits: 1, ..quick };
    assert_holds(BEHIND_ANOTHER, scale((quick, 20), (all, 25)), &["Waiting", "Delivered"]);
}

#[test]
fn the_execution_of_a_revision_receives_its_result_beside_another() {
    let (mode, edits) = (ExecutionMode::Parallel, &[Edit::Rebind]);
    let world = World { name: "revision, PARALLEL", bound: Bound::Revision, mode, edits, ..BEHIND_ANOTHER };
    let quick = Budget { faults: 1, time_jumps: 1, ..NOTHING };
    let all = Budget { crashes: 1, edits: 1, ..quick };
    assert_holds(world, scale((quick, 19), (all, 25)), &["Delivered", "Unconfirmed", RETRIED]);
}
