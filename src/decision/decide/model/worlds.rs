//! The worlds that are searched: what a decision is bound to, and how much may happen. Each is small enough to be searched to
//! its end, and has another mixture of what can go wrong.

use super::Setting;
use super::people::{Bound, Edit};
use super::properties::{ADRIFT, AGAIN, BY_RECORD, OVERTAKEN, RESTORED, search};
use super::state::Budget;
use crate::decision::decide::decide;
use crate::scale::scale;
use local_codepipeline::model::ExecutionMode;
use stateright::HasDiscoveries;

/// Nothing goes wrong.
pub const NOTHING: Budget = Budget { crashes: 0, faults: 0, old_views: 0, edits: 0, answers: 0, passes: 0 };

/// A decision that is bound to the token of the older run. Jumps of time lead past the time to send in, past the deadline,
/// and past what history may lag behind.
pub const TOKEN: Setting = Setting {
    name: "token",
    bound: Bound::Token,
    run: 0,
    mode: ExecutionMode::Queued,
    clocks: [0, 0],
    edits: &[],
    jumps: &[6, 21, 65],
    budget: NOTHING,
};

/// A search to the end, which is so many steps away at least, comes upon nothing wrong, and upon all of this.
fn holds(setting: Setting, (budget, depth): (Budget, usize), reaches: &[&str]) {
    let found = search(&Setting { budget, ..setting.clone() }, decide, HasDiscoveries::AnyFailures);
    println!("FIGURE {}: {} states, {} steps deep", setting.name, found.states, found.depth);
    assert!(found.broken.is_empty(), "{:?}", found.broken);
    let missing: Vec<_> = reaches.iter().filter(|name| !found.reached.contains(name)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    assert!(depth <= found.depth, "searched {} steps deep", found.depth);
}

#[test]
fn a_token_is_answered_whatever_crashes_and_is_lost() {
    let quick = Budget { crashes: 1, faults: 1, answers: 1, passes: 1, ..NOTHING };
    let all = Budget { faults: 2, old_views: 1, ..quick };
    let reaches = [
        "Delivered",
        BY_RECORD,
        "AlreadyDecided",
        "ApprovalAlreadyCompleted",
        "Unconfirmed",
        "Throttled",
        OVERTAKEN,
        AGAIN,
        ADRIFT,
    ];
    holds(TOKEN, scale((quick, 14), (all, 18)), &reaches);
}

#[test]
fn a_token_is_answered_whatever_its_owner_does() {
    let edits = &[Edit::Rebind, Edit::Reverse, Edit::Suspend, Edit::Expire, Edit::Annotate, Edit::Hold];
    let quick = Budget { edits: 1, answers: 1, passes: 1, ..NOTHING };
    let all = Budget { faults: 1, ..quick };
    let reaches = ["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted", "Expired", "Suspended", OVERTAKEN];
    holds(Setting { name: "token, edited", edits, ..TOKEN }, scale((quick, 15), (all, 15)), &reaches);
}

#[test]
fn a_token_is_answered_once_by_a_decision_that_is_deleted_and_restored() {
    let setting = Setting { name: "token, restored", edits: &[Edit::Delete, Edit::Restore], jumps: &[21, 65], ..TOKEN };
    let setting = Setting { mode: ExecutionMode::Parallel, ..setting };
    let quick = Budget { edits: 2, faults: 1, passes: 1, ..NOTHING };
    let all = Budget { crashes: 1, passes: 2, ..quick };
    holds(setting, scale((quick, 19), (all, 22)), &["Delivered", "AlreadyDecided", RESTORED]);
}

#[test]
fn a_token_is_answered_where_runs_do_not_meet_and_clocks_differ() {
    let setting =
        Setting { name: "token, PARALLEL, clocks apart", mode: ExecutionMode::Parallel, clocks: [-5, 0], ..TOKEN };
    let setting = Setting { edits: &[Edit::Rebind], ..setting };
    let quick = Budget { faults: 1, edits: 1, passes: 1, ..NOTHING };
    let all = Budget { crashes: 1, passes: 2, ..quick };
    holds(setting, scale((quick, 12), (all, 17)), &["Delivered", BY_RECORD, "Unconfirmed", AGAIN]);
}

#[test]
fn the_run_that_waits_behind_another_is_answered_when_its_time_has_come() {
    let setting =
        Setting { name: "execution, behind another", bound: Bound::Execution, run: 1, jumps: &[21, 65], ..TOKEN };
    let setting = Setting { edits: &[Edit::Rebind, Edit::Suspend], ..setting };
    let quick = Budget { answers: 1, passes: 1, ..NOTHING };
    let all = Budget { crashes: 1, edits: 1, ..quick };
    holds(setting, scale((quick, 13), (all, 13)), &["Waiting", "Delivered"]);
}

#[test]
fn the_run_of_a_revision_is_answered_beside_another() {
    let setting = Setting { name: "revision, PARALLEL", bound: Bound::Revision, run: 1, jumps: &[21, 65], ..TOKEN };
    let setting = Setting { mode: ExecutionMode::Parallel, edits: &[Edit::Rebind], ..setting };
    let quick = Budget { faults: 1, passes: 1, ..NOTHING };
    let all = Budget { crashes: 1, edits: 1, ..quick };
    holds(setting, scale((quick, 13), (all, 18)), &["Delivered", "Unconfirmed", AGAIN]);
}
