//! Histories that random ones reach too rarely.

use super::{
    ActionChoice, BindTo, DecisionChange, Fault, Move, NewDecision, PipelineChange, PollPlan, Replica, Scenario,
    SecondApproval, Summary, World,
};
use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
use local_codepipeline::model::{ExecutionMode, TokenRule};

const A: Replica = Replica::A;

fn scenario(bind_to: &BindTo) -> Scenario {
    let decision = |action| NewDecision {
        bind_to: bind_to.clone(),
        action,
        result: ApprovalStatus::Approved,
        summary: Summary::Ours,
    };
    Scenario {
        mode: ExecutionMode::Superseded,
        build: false,
        check: false,
        ship: None,
        source_seconds: 0,
        second_approval: Some(SecondApproval::InAnEarlierStage),
        timeout_minutes: 10_080,
        summary_required: false,
        lags: [0; 4],
        tokens: TokenRule::ActionExecutionId,
        page_size: 100,
        clock_offsets: [0; 2],
        has_second_replica: false,
        decisions: vec![decision(ActionChoice::SecondApproval), decision(ActionChoice::Approval)],
    }
}

fn poll(published_later: bool) -> Move {
    Move::Poll(A, PollPlan { call_milliseconds: 50, failing_call: None, change: None, published_later })
}

/// Two decisions for the two approvals of one execution are delivered, and created again after it ended. The second one subscribes
/// while the operator polls for the first.
#[test]
fn a_decision_that_is_created_again_reports_its_own_response_and_not_that_history_was_read_for_another_action() {
    for bind_to in [BindTo::Execution(0), BindTo::Revision(0, None)] {
        let mut moves = Vec::new();
        for _ in 0..2 {
            moves.extend([Move::ReconcileDue(A), Move::PassTime(1_000), poll(false), Move::ReconcileDue(A)]);
        }
        moves.push(Move::PassTime(300_000));
        for change in [DecisionChange::Delete, DecisionChange::Restore] {
            moves.extend([0, 1].map(|number| Move::Decision(number, change.clone())));
        }
        let subscribe = |number| [Move::Step(A, number, Fault::None), Move::Step(A, number, Fault::None)];
        moves.extend(subscribe(0));
        moves.push(poll(true));
        moves.extend(subscribe(1));
        moves.extend([
            Move::Publish(A),
            Move::ReconcileDue(A),
            Move::PassTime(1_000),
            poll(false),
            Move::ReconcileDue(A),
        ]);
        moves.push(Move::Pipeline(PipelineChange::Start([0, 0])));
        let mut world = World::new(scenario(&bind_to));
        let reasons = world.run(&moves).expect("no violation");
        assert_eq!(reasons, [Some(Reason::AlreadyDecided); 2], "{bind_to:?}");
        for number in [0, 1] {
            assert!(world.log_contains(&format!("CodePipeline accepts Approved of uid-{number} for")));
            assert!(!world.log_contains(&format!("sends the result of uid-{number}-")), "{bind_to:?}");
        }
    }
}
