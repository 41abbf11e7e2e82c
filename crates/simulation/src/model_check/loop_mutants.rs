//! Mutants of the code around the reconcile loop: an effect that is performed twice, a result that is lost or false, an observation
//! that is too old, and a write without its precondition.

use super::mutants::MUTANT;
use super::properties::{ACCURACY, DOUBT, PERMISSION, PLACE, SETTLEMENT, SearchResult, search};
use super::state::Budget;
use super::users::Bound;
use super::worlds::targets::WAITS_HERE;
use super::worlds::{BEHIND_ANOTHER, NOTHING};
use super::{PRODUCT, REPLICAS, Subject, World};
use stateright::HasDiscoveries;

/// A defect in how effects are performed, or in how their results are reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Defect {
    /// The reconcile continues from a copy that was made before the request was sent.
    RequestIsSentTwice,
    ResponseIsNotReported,
    AcceptedIsReportedAsNotApplied,
    /// A poll from before a submission is reported after it, as if it were new.
    PollOutlivesSubmission,
    /// The first poll is reported forever.
    FirstPollIsKept,
    /// A write has no precondition.
    ConflictIsOverwritten,
    /// Nothing is written.
    ConflictIsReportedAsWritten,
    /// The status is written without the account and region.
    PlaceIsNotWritten,
}

fn search_with(defect: Option<Defect>, world: &World) -> SearchResult {
    search(world, Subject { defect, ..PRODUCT }, HasDiscoveries::All)
}

fn broken_by(defect: Defect, world: &World) -> Vec<&'static str> {
    let mut broken = search_with(Some(defect), world).broken;
    broken.sort_unstable();
    broken
}

#[test]
fn a_request_that_is_sent_twice_under_one_intent_is_caught() {
    let world = World { budget: NOTHING, ..MUTANT };
    assert_eq!(broken_by(Defect::RequestIsSentTwice, &world), [ACCURACY]);
}

#[test]
fn a_response_that_is_not_reported_does_no_harm() {
    assert_eq!(broken_by(Defect::ResponseIsNotReported, &MUTANT), [""; 0]);
}

#[test]
fn an_accepted_result_that_is_reported_as_not_applied_is_caught() {
    let world = World { budget: NOTHING, ..MUTANT };
    assert_eq!(broken_by(Defect::AcceptedIsReportedAsNotApplied, &world), [DOUBT]);
}

/// The operator submits to a request that someone else has completed. CodePipeline refuses that, and history shows the outcome.
#[test]
fn a_poll_from_before_a_submission_does_no_harm() {
    for bound in [Bound::Execution, Bound::Revision] {
        let budget = Budget { other_results: 1, ..NOTHING };
        let world = World { bound, execution: 0, budget, ..BEHIND_ANOTHER };
        let mutant = search_with(Some(Defect::PollOutlivesSubmission), &world);
        assert!(mutant.broken.is_empty(), "{:?}", mutant.broken);
        assert!(search_with(None, &world).states < mutant.states);
    }
}

#[test]
fn a_first_poll_that_is_kept_is_caught() {
    let world = World { budget: Budget { other_results: 1, ..NOTHING }, ..BEHIND_ANOTHER };
    assert_eq!(broken_by(Defect::FirstPollIsKept, &world), [SETTLEMENT]);
}

#[test]
fn a_write_without_its_precondition_is_caught() {
    let world = World { budget: NOTHING, replicas: &REPLICAS, ..MUTANT };
    assert_eq!(broken_by(Defect::ConflictIsOverwritten, &world), [ACCURACY, PERMISSION, DOUBT]);
    // Both attempts start in the same moment, unless time passes.
    let world = World { budget: Budget { time_jumps: 1, ..NOTHING }, ..world };
    assert_eq!(broken_by(Defect::ConflictIsReportedAsWritten, &world), [PERMISSION, DOUBT]);
}

#[test]
fn a_status_without_the_account_is_caught() {
    let world = World { budget: NOTHING, ..WAITS_HERE };
    assert_eq!(broken_by(Defect::PlaceIsNotWritten, &world), [PLACE]);
}
