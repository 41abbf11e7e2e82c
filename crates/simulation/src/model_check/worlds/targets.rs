//! Worlds with a target, which an administrator changes, and with a decision of another cluster that says the same.

use super::*;
use crate::model_check::properties::{
    BOTH_SAY, DELIVERED_ELSEWHERE, DELIVERED_WITHOUT_ACCESS, IN_DOUBT_ELSEWHERE, MISTAKEN,
};
use crate::model_check::targets::{Place, Target, TargetChange};

/// The target is deleted, and created again, also in the other account.
const MOVES: &[TargetChange] =
    &[TargetChange::Delete, TargetChange::Create(Place::Elsewhere), TargetChange::Create(Place::Here)];

/// A decision waits behind another execution. In the other account, an execution of the same revision is pending.
pub const WAITS_HERE: World = World {
    name: "moved while it waits",
    bound: Bound::Revision,
    elsewhere: &[1],
    target: TargetState::Found(Target::HERE),
    target_changes: MOVES,
    ..BEHIND_ANOTHER
};

#[test]
fn a_decision_that_waits_does_not_follow_its_target_to_another_account() {
    let world = World { edits: &[Edit::Annotate], time_jumps: &[36], ..WAITS_HERE };
    let budget = Budget { target_changes: 2, edits: 1, other_results: 1, ..NOTHING };
    let quick = World { budget, ..world.clone() };
    let edits = &[Edit::Annotate, Edit::Suspend, Edit::Expire];
    let all = World { edits, budget: Budget { crashes: 1, faults: 1, ..budget }, ..world };
    let reaches = ["Waiting", "Delivered", "TargetForbidden", "TargetNotFound", DELIVERED_ELSEWHERE];
    assert_holds(scale(quick, all), 10, &reaches);
}

/// In the other account, the request with the same token is pending.
#[test]
fn a_submission_in_doubt_is_read_only_where_it_was_sent() {
    for bound in scale(&[Bound::Token][..], &[Bound::Token, Bound::Execution]) {
        let world = World {
            name: "moved in doubt",
            bound: *bound,
            target: TargetState::Found(Target::HERE),
            target_changes: MOVES,
            edits: &[Edit::Annotate],
            time_jumps: &[96],
            ..TOKEN
        };
        let budget = Budget { target_changes: 2, faults: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { crashes: 1, edits: 1, ..budget }, ..world };
        let reaches =
            ["Delivered", DELIVERED_BY_HISTORY, "Unconfirmed", "TargetForbidden", IN_DOUBT_ELSEWHERE, RETRIED];
        assert_holds(scale(quick, all), 15, &reaches);
    }
}

#[test]
fn nothing_is_sent_while_access_is_withdrawn() {
    for bound in [Bound::Token, Bound::Execution] {
        let world = World {
            name: "access withdrawn",
            bound,
            target: TargetState::Found(Target::HERE),
            target_changes: &[TargetChange::Admit(false), TargetChange::Admit(true)],
            time_jumps: &[96],
            ..TOKEN
        };
        let budget = Budget { target_changes: 2, faults: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { crashes: 1, ..budget }, ..world };
        let reaches =
            ["Delivered", DELIVERED_BY_HISTORY, DELIVERED_WITHOUT_ACCESS, "TargetForbidden", "Unconfirmed", RETRIED];
        assert_holds(scale(quick, all), 15, &reaches);
    }
}

/// Two clusters have the same decision. All that an operator changes outside its own cluster is that CodePipeline accepts its result, so
/// the other cluster is someone whose result CodePipeline may accept at any time.
pub const TWO_CLUSTERS: World = World {
    name: "two clusters",
    target: TargetState::Found(Target::HERE),
    other_results: &[OtherResult::OtherCluster],
    time_jumps: &[96],
    ..TOKEN
};

#[test]
fn each_of_two_clusters_says_whose_result_was_accepted() {
    for has_role in [true, false] {
        for bound in [Bound::Token, Bound::Execution] {
            let target = TargetState::Found(Target { has_role, ..Target::HERE });
            let world = World { bound, target, ..TWO_CLUSTERS };
            let budget = Budget { faults: 2, other_results: 1, time_jumps: 1, ..NOTHING };
            let quick = World { budget, ..world.clone() };
            let all = World { budget: Budget { crashes: 1, ..budget }, ..world };
            let result = assert_holds(
                scale(quick, all),
                15,
                &["Delivered", DELIVERED_BY_HISTORY, "AlreadyDecided", "Unconfirmed", RETRIED],
            );
            // Without a role, the same words in the time of an attempt in doubt cannot be distinguished.
            assert_eq!(result.reached.contains(&MISTAKEN), !has_role);
        }
    }
}

#[test]
fn two_operators_in_two_clusters_say_whose_result_was_accepted() {
    for has_role in scale(&[true][..], &[true, false]) {
        let target = TargetState::Found(Target { has_role: *has_role, ..Target::HERE });
        let name = "two clusters, two operators";
        let world = World { name, target, replicas: &REPLICAS, clusters: Clusters::Two, ..TWO_CLUSTERS };
        let world = World { budget: Budget { faults: 1, time_jumps: 1, ..NOTHING }, ..world };
        let result = assert_holds(world, 15, &[DELIVERED_BY_HISTORY, "Unconfirmed", BOTH_SAY]);
        assert_eq!(result.reached.contains(&MISTAKEN), !has_role);
    }
}

/// The new object has another session, although its name and its spec are the same.
#[test]
fn a_restored_decision_does_not_take_the_result_of_the_earlier_one_for_its_own() {
    let world = World { name: "restored, with a role", edits: &[Edit::Delete, Edit::Restore], ..TWO_CLUSTERS };
    let budget = Budget { edits: 2, faults: 1, time_jumps: 1, ..NOTHING };
    let quick = World { budget, ..world.clone() };
    let all = World { replicas: &REPLICAS, ..quick.clone() };
    assert_holds(scale(quick, all), 15, &["Delivered", "AlreadyDecided", RESTORED]);
}
