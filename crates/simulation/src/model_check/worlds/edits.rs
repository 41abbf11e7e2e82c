//! Worlds in which users edit the decision, or create one that rejects the same request.

use super::*;

#[test]
fn a_token_receives_its_result_despite_edits() {
    let edits = &[Edit::Rebind, Edit::Reverse, Edit::Suspend, Edit::Expire, Edit::Annotate, Edit::Hold];
    let world = World { name: "token, edited", edits, time_jumps: &[36], ..TOKEN };
    let quick = World { budget: Budget { edits: 1, other_results: 1, time_jumps: 1, ..NOTHING }, ..world.clone() };
    let budget = Budget { edits: 1, faults: 1, other_results: 1, time_jumps: 1, ..NOTHING };
    let all = World { budget, ..world };
    let reaches = ["Delivered", "AlreadyDecided", "ApprovalAlreadyCompleted", "Expired", "Suspended"];
    assert_holds(scale(quick, all), 15, &reaches);
}

/// The new spec names another request, which is answered after the submission in doubt is finished.
#[test]
fn a_submission_in_doubt_is_finished_before_an_edit_is_acted_on() {
    for bound in [Bound::Token, Bound::Execution] {
        let edits = &[Edit::Rebind, Edit::Reverse, Edit::Suspend, Edit::Hold, Edit::WriteUnknownReason];
        let mode = ExecutionMode::Parallel;
        let world = World { name: "edited in doubt, PARALLEL", bound, mode, edits, time_jumps: &[65], ..TOKEN };
        let budget = Budget { faults: 1, edits: 1, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { crashes: 1, edits: 2, ..budget }, ..world };
        let reaches = ["Delivered", DELIVERED_BY_HISTORY, DELIVERED_TWICE, EDITED_IN_DOUBT, "Unconfirmed", RETRIED];
        assert_holds(scale(quick, all), 15, &reaches);
    }
}

#[test]
fn a_decision_that_rejects_goes_first() {
    for (bound, rejection) in
        [(Bound::Token, Bound::Token), (Bound::Token, Bound::Execution), (Bound::Revision, Bound::Execution)]
    {
        let (rejection, edits) = ((rejection, 0), &[Edit::Reject, Edit::Withdraw, Edit::SettleRejection]);
        let world = World { name: "rejected by another decision", bound, rejection, edits, time_jumps: &[96], ..TOKEN };
        let budget = Budget { edits: 2, time_jumps: 1, ..NOTHING };
        let quick = World { budget, ..world.clone() };
        let all = World { budget: Budget { crashes: 1, faults: 1, ..budget }, ..world };
        assert_holds(scale(quick, all), 10, &["Delivered", "ApprovalAlreadyCompleted", "ConflictingDecision"]);
    }
}

#[test]
fn a_decision_that_rejects_another_request_does_not_hold_back() {
    for mode in [ExecutionMode::Queued, ExecutionMode::Parallel] {
        for (bound, rejection) in [(Bound::Token, Bound::Execution), (Bound::Execution, Bound::Revision)] {
            let (name, rejection) = ("another request is rejected", (rejection, 1));
            let world = World { name, bound, rejection, mode, edits: &[Edit::Reject], time_jumps: &[96], ..TOKEN };
            let quick = World { budget: Budget { edits: 1, ..NOTHING }, ..world.clone() };
            let all = World { budget: Budget { edits: 1, faults: 1, time_jumps: 1, ..NOTHING }, ..world };
            assert_holds(scale(quick, all), 5, &["Delivered"]);
        }
    }
}
