//! What holds in every random history, and that the histories cover every kind.

use super::World;
use super::strategies::{any_move, scenario};
use crate::fixtures::scale;
use approval_operator::api::v1alpha1::Reason;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scale(600, 20_000)) })]

    #[test]
    fn a_decision_responds_only_to_requests_that_it_names_and_reports_only_what_is_true(
        scenario in scenario(),
        moves in vec(any_move(), 0..90),
    ) {
        World::new(scenario).run(&moves).map_err(TestCaseError::fail)?;
    }
}

/// Otherwise the property above could hold because nothing happens.
#[test]
fn random_histories_reach_every_outcome_in_every_way() {
    let mut runner = TestRunner::deterministic();
    let mut missing: Vec<&str> = vec![
        "it may be too new to be visible",
        "No execution of pipeline shop has the source revision",
        "; the newest execution has revision-",
        "is waiting to enter stage",
        "whose inbound transition is disabled (freeze)",
        "is in stage Build (InProgress)",
        "is in stage Production (InProgress)",
        "but its token is not visible yet",
        "CodePipeline's history does not show the outcome of its approval yet",
        "waiting for a later execution of ",
        "was superseded before its approval received a response",
        "ended (Stopped) before its approval received a response",
        "ended (Failed) before its approval received a response",
        " while another request is pending",
        ", which opened more than one request",
        "the operator reads the pipeline again",
        "Could not read the pipeline at",
        "The operator has been unable to read the pipeline since",
        "(Refused)",
        "(InDoubt)",
        "; an earlier attempt may have been accepted",
        "The response was lost, but CodePipeline's history shows",
        "is being stopped, so the operator does not approve it",
        "asked for a response before, and CodePipeline's history does not show yet how that request ended",
        "Could not read the whole history of execution",
        "used up this decision",
        "rejects the request that this decision approves",
        "which spec.sourceRevisions does not cover",
        "does not cover its source",
        "submitted before the last edit",
        "the operator now has credentials for another account",
        "went on without this approval",
        "the decision does not allow the operator to send it again now",
        "someone retries stage Production of execution",
        "CodePipeline refuses uid-0 with InvalidApprovalTokenException",
        "CodePipeline refuses uid-0 with ApprovalAlreadyCompletedException",
        "someone else wrote first",
        "reports Throttled for decision 0",
        "reports CredentialsUnavailable for decision 0",
        "2 executions with the source revisions wait for this approval",
        "someone rolls stage Production back to execution",
        "another version of the operator replaces the reason",
        "is not an approval: its category is Build",
        "does not exist. Correct spec.targetRef.name",
        "does not admit namespace team",
        "selects namespaces by labels, and the operator cannot read those of namespace team",
        "is not ready: AssumeRoleDenied",
        "has the operator's own account and region",
        "The operator found the request of this decision in",
        ", which does not exist now",
        ", which now has account 210987654321",
        "and the operator may not send it again now",
    ];
    let mut unreached: HashSet<Option<Reason>> = [
        None,
        Some(Reason::Delivered),
        Some(Reason::AlreadyDecided),
        Some(Reason::ApprovalAlreadyCompleted),
        Some(Reason::InvalidApprovalToken),
        Some(Reason::PipelineNotFound),
        Some(Reason::StageNotFound),
        Some(Reason::ActionNotFound),
        Some(Reason::ExecutionEnded),
        Some(Reason::PipelineExecutionNotFound),
        Some(Reason::AmbiguousRevision),
        Some(Reason::Expired),
        Some(Reason::Suspended),
        Some(Reason::Waiting),
        Some(Reason::ConflictingDecision),
        Some(Reason::Unconfirmed),
        Some(Reason::TargetNotFound),
        Some(Reason::TargetNotReady),
        Some(Reason::TargetForbidden),
        Some(Reason::TargetRequired),
    ]
    .into();
    for _ in 0..6_000 {
        if missing.is_empty() && unreached.is_empty() {
            return;
        }
        let (scenario, moves) = (scenario(), vec(any_move(), 0..90)).new_tree(&mut runner).expect("a world").current();
        let mut world = World::new(scenario);
        for reason in world.run(&moves).expect("no violation") {
            unreached.remove(&reason);
        }
        missing.retain(|text| !world.log_contains(text));
    }
    panic!("never seen: {missing:?}, {unreached:?}");
}
