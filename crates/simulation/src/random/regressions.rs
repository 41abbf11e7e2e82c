//! Histories that random ones reach too rarely.

use super::moves::Summary;
use super::scenario::{Scenario, SecondApproval, ShipAction};
use super::{ActionChoice, BindTo, DecisionChange, Fault, Move, NewDecision, PipelineChange, PollPlan, Replica, World};
use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
use local_codepipeline::model::ExecutionMode;

const A: Replica = Replica::A;

fn scenario(bind_to: &BindTo) -> Scenario {
    let decision = |action| NewDecision { action, ..NewDecision::approval(bind_to.clone()) };
    let decisions = vec![decision(ActionChoice::SecondApproval), decision(ActionChoice::Approval)];
    Scenario { second_approval: Some(SecondApproval::InAnEarlierStage), ..Scenario::plain(decisions) }
}

fn poll(published_later: bool) -> Move {
    Move::Poll(A, PollPlan { call_milliseconds: 50, published_later, ..PollPlan::default() })
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

fn step(number: usize, fault: Fault) -> Move {
    Move::Step(A, number, fault)
}

fn rejection(bind_to: BindTo) -> NewDecision {
    NewDecision { result: ApprovalStatus::Rejected, ..NewDecision::approval(bind_to) }
}

fn run(scenario: Scenario, moves: &[Move]) -> Vec<Option<Reason>> {
    World::new(scenario).run(moves).expect("no violation")
}

/// The index of rejections kept it under its former action.
#[test]
fn a_rejection_whose_action_is_edited_holds_back_an_approval_of_the_new_action() {
    let elsewhere = NewDecision { action: ActionChoice::Unknown, ..rejection(BindTo::Execution(0)) };
    let decisions = vec![elsewhere, NewDecision::approval(BindTo::Execution(0))];
    let mut moves = vec![Move::Decision(0, DecisionChange::SetAction(ActionChoice::Approval))];
    moves.extend([step(1, Fault::None), poll(false)]);
    moves.extend(vec![step(1, Fault::None); 6]);
    let reasons = run(Scenario::plain(decisions), &moves);
    assert_eq!(reasons, [Some(Reason::Delivered), Some(Reason::ApprovalAlreadyCompleted)]);
}

/// The operator submitted again and again.
#[test]
fn an_annotation_does_not_restart_a_decision_whose_doubt_is_not_settled() {
    let scenario = Scenario { build: true, ..Scenario::plain(vec![NewDecision::approval(BindTo::Token(0))]) };
    let mut moves = vec![step(0, Fault::None); 2];
    moves.extend([step(0, Fault::ResponseLost), step(0, Fault::None)]);
    moves.push(Move::Decision(0, DecisionChange::Annotate));
    assert_eq!(run(scenario, &moves), [Some(Reason::InvalidApprovalToken)]);
}

/// An execution that was read by its id has no source revisions.
#[test]
fn a_rejection_by_revision_holds_back_an_approval_of_an_execution_whose_revisions_are_not_visible() {
    let decisions = vec![rejection(BindTo::Revision(0, None)), NewDecision::approval(BindTo::Token(0))];
    let scenario = Scenario { lags: [0, 1_000, 0, 0], ..Scenario::plain(decisions) };
    // The list of executions is read too early to show it, and history is not.
    let early = PollPlan { call_milliseconds: 300, ..PollPlan::default() };
    let moves = [Move::ReconcileDue(A), Move::PassTime(300), Move::Poll(A, early), Move::ReconcileDue(A)];
    assert_eq!(run(scenario, &moves), [Some(Reason::Delivered), Some(Reason::ApprovalAlreadyCompleted)]);
}

/// In PARALLEL mode, history alone shows the execution of a token.
#[test]
fn a_rejection_of_another_execution_does_not_hold_back_an_approval_by_token() {
    for mode in [ExecutionMode::Superseded, ExecutionMode::Parallel] {
        let decisions = vec![rejection(BindTo::Revision(2, None)), NewDecision::approval(BindTo::Token(0))];
        let reasons = run(Scenario { mode, ..Scenario::plain(decisions) }, &[]);
        assert_eq!(reasons, [Some(Reason::Waiting), Some(Reason::Delivered)], "{mode:?}");
    }
}

/// In PARALLEL mode, history alone shows that the request is still pending.
#[test]
fn a_submission_that_was_lost_is_sent_again_in_every_mode() {
    for mode in [ExecutionMode::Superseded, ExecutionMode::Queued, ExecutionMode::Parallel] {
        let scenario = Scenario { mode, ..Scenario::plain(vec![NewDecision::approval(BindTo::Revision(0, None))]) };
        let mut moves = vec![step(0, Fault::None), poll(false)];
        moves.extend(vec![step(0, Fault::None); 3]);
        moves.push(step(0, Fault::RequestLost));
        let mut world = World::new(scenario);
        assert_eq!(world.run(&moves).expect("no violation"), [Some(Reason::Delivered)], "{mode:?}");
        assert!(world.log_contains("sends the result of uid-0 (RequestLost)"), "{mode:?}");
    }
}

/// The pipeline was read in another account, where a target is, and the operator has its former credentials again.
#[test]
fn a_poll_of_another_account_does_not_say_where_the_operator_is() {
    let moves = [Move::ReconcileDue(Replica::A), Move::SwitchAccount, Move::Poll(Replica::A, PollPlan::default())];
    let decisions = vec![NewDecision::approval(BindTo::Execution(0))];
    let scenario = Scenario { target: Some(false), ..Scenario::plain(decisions) };
    World::new(scenario).run(&moves).expect("no violation");
}

/// Someone responded between the last poll and `notAfter`.
#[test]
fn a_response_that_came_before_not_after_counts_also_if_no_poll_has_seen_it_by_then() {
    let decisions = vec![NewDecision::approval(BindTo::Execution(0))];
    let ship = Some(ShipAction::InALaterStage);
    let scenario = Scenario { build: true, ship, lags: [0; 4], ..Scenario::plain(decisions) };
    let respond = PipelineChange::Respond { request: 0, result: ApprovalStatus::Approved, summary: Summary::Other };
    let moves = [
        Move::Decision(0, DecisionChange::SetNotAfter(10)),
        Move::ReconcileDue(A),
        poll(false),
        Move::ReconcileDue(A),
        Move::Pipeline(PipelineChange::Complete { execution: 0, succeeded: true }),
        Move::Pipeline(respond),
        Move::PassTime(10_000),
        Move::ReconcileDue(A),
    ];
    assert_eq!(run(scenario, &moves), [Some(Reason::AlreadyDecided)]);
}
