//! The worlds that are searched: what a decision is bound to, and how much may happen. Each is small enough to be searched
//! completely, and mixes other disturbances.

mod edits;
mod pipelines;
pub mod targets;

use super::codepipeline::PipelineChange;
use super::properties::{
    ABANDONED, ANSWERED_AFTER_RETRY, DELIVERED_BY_HISTORY, DELIVERED_TWICE, EDITED_IN_DOUBT, OVERTAKEN, RESTORED,
    RETRIED, SearchResult, search,
};
use super::state::Budget;
use super::targets::TargetState;
use super::users::{Bound, Edit, OtherResult};
use super::{Clusters, PRODUCT, REPLICAS, Replica, World};
use crate::fixtures::scale;
use approval_operator::api::v1alpha1::ApprovalStatus;
use local_codepipeline::model::ExecutionMode;
use stateright::HasDiscoveries;

/// No disturbances.
pub const NOTHING: Budget = Budget {
    crashes: 0,
    faults: 0,
    old_views: 0,
    edits: 0,
    other_results: 0,
    target_changes: 0,
    pipeline_changes: 0,
    time_jumps: 0,
};

/// A decision that is bound to the token of the oldest execution, and one operator. The time jumps pass the time to send, the deadline,
/// and the lag of the history.
pub const TOKEN: World = World {
    name: "token",
    bound: Bound::Token,
    execution: 0,
    rejection: (Bound::Token, 0),
    mode: ExecutionMode::Queued,
    revisions: &[0, 1],
    elsewhere: &[0, 1],
    target: TargetState::Unnamed,
    target_changes: &[],
    other_results: &[OtherResult::User(ApprovalStatus::Approved), OtherResult::User(ApprovalStatus::Rejected)],
    changes: &[],
    replicas: &[Replica::A],
    clusters: Clusters::One,
    clocks: [0, 0],
    edits: &[],
    time_jumps: &[36, 96],
    budget: NOTHING,
};

/// The decision waits until its execution reaches the approval.
pub const BEHIND_ANOTHER: World =
    World { name: "execution, behind another", bound: Bound::Execution, execution: 1, time_jumps: &[36, 96], ..TOKEN };

/// A complete search, at least this deep, finds no violation and reaches all of this.
fn assert_holds(world: World, depth: usize, reaches: &[&str]) -> SearchResult {
    let result = search(&world, PRODUCT, HasDiscoveries::AnyFailures);
    println!("FIGURE {}: {} states, {} steps deep", world.name, result.states, result.depth);
    assert!(result.broken.is_empty(), "{:?}", result.broken);
    let missing: Vec<_> = reaches.iter().filter(|name| !result.reached.contains(name)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert!(depth <= result.depth, "searched {} steps deep", result.depth);
    result
}

#[test]
fn a_token_receives_its_result_despite_crashes_and_lost_messages() {
    let budget = Budget { crashes: 1, faults: 1, other_results: 1, time_jumps: 1, ..NOTHING };
    let reaches = [
        "Delivered",
        DELIVERED_BY_HISTORY,
        "AlreadyDecided",
        "ApprovalAlreadyCompleted",
        "Unconfirmed",
        "Throttled",
        RETRIED,
    ];
    let quick = World { budget, ..TOKEN };
    let budget = Budget { faults: 2, old_views: 1, ..budget };
    let all = World { budget, time_jumps: &[6, 36, 96], ..TOKEN };
    assert_holds(scale(quick, all), 19, &reaches);
}

#[test]
fn a_token_receives_one_result_of_two_operators() {
    let world = World { name: "token, two operators", replicas: &REPLICAS, time_jumps: &[36, 96], ..TOKEN };
    let quick = World { budget: Budget { faults: 1, time_jumps: 1, ..NOTHING }, ..world.clone() };
    let budget = Budget { crashes: 1, faults: 1, old_views: 1, time_jumps: 1, ..NOTHING };
    let all = World { budget, ..world };
    assert_holds(
        scale(quick, all),
        15,
        &["Delivered", DELIVERED_BY_HISTORY, "Unconfirmed", OVERTAKEN, RETRIED, ABANDONED],
    );
}

/// CodePipeline refuses the result of one operator, because someone else has responded. The newest poll of the other operator may be
/// from before that.
#[test]
fn a_refusal_is_explained_by_what_came_after_it() {
    let world = World { name: "token, two operators, refused", replicas: &REPLICAS, time_jumps: &[96], ..TOKEN };
    let quick = World { budget: Budget { other_results: 1, time_jumps: 1, ..NOTHING }, ..world.clone() };
    let all = World { budget: Budget { faults: 1, ..quick.budget }, ..world };
    assert_holds(scale(quick, all), 10, &["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted"]);
}

#[test]
fn a_token_receives_its_result_in_parallel_mode_with_different_clocks() {
    let world = World {
        name: "token, PARALLEL, different clocks",
        mode: ExecutionMode::Parallel,
        replicas: &REPLICAS,
        clocks: [-10, 10],
        time_jumps: &[36],
        ..TOKEN
    };
    let budget = Budget { faults: 1, time_jumps: 1, ..NOTHING };
    let quick = World { budget, ..world.clone() };
    let all = World { budget: Budget { crashes: 1, ..budget }, ..world };
    assert_holds(scale(quick, all), 15, &["Delivered", OVERTAKEN]);
}

#[test]
fn a_decision_that_is_deleted_and_restored_sends_one_result() {
    for (bound, mode, reaches) in [
        (Bound::Token, ExecutionMode::Parallel, &["Delivered", "AlreadyDecided", RESTORED]),
        (Bound::Execution, ExecutionMode::Queued, &["Delivered", "AlreadyDecided", RESTORED]),
    ] {
        let edits = &[Edit::Delete, Edit::Restore];
        let world = World { name: "restored", bound, edits, time_jumps: &[36, 96], mode, ..TOKEN };
        let budget = Budget { edits: 2, faults: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world };
        let all = World { replicas: &REPLICAS, ..quick.clone() };
        assert_holds(scale(quick, all), 15, reaches);
    }
}

#[test]
fn an_execution_that_waits_behind_another_receives_its_result_in_time() {
    let budget = Budget { crashes: 1, faults: 1, other_results: 1, time_jumps: 1, ..NOTHING };
    let quick = World { budget, ..BEHIND_ANOTHER };
    let all = World { budget: Budget { crashes: 0, ..budget }, replicas: &REPLICAS, ..BEHIND_ANOTHER };
    assert_holds(scale(quick, all), 15, &["Waiting", "Delivered", "Unconfirmed", RETRIED]);
}
