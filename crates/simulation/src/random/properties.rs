//! What holds in every random history, and that the histories cover every kind.

use super::{
    ActionChoice, BindTo, DecisionChange, Fault, Move, NewDecision, PipelineChange, PollPlan, Replica, Scenario,
    SecondApproval, Shape, ShipAction, Summary, World,
};
use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
use local_codepipeline::model::{ExecutionMode, TokenRule};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

fn replica() -> impl Strategy<Value = Replica> {
    prop_oneof![3 => Just(Replica::A), 1 => Just(Replica::B)]
}

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![2 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn summary() -> impl Strategy<Value = Summary> {
    prop_oneof![3 => Just(Summary::Ours), 2 => Just(Summary::Other), 1 => Just(Summary::Empty)]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::NotApplied),
        1 => Just(Fault::RequestLost),
        2 => Just(Fault::ResponseLost),
        1 => (0..=10_000_i64).prop_map(Fault::Slow),
    ]
}

fn milliseconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 1..=3_000_i64,
        5 => 1..=20_000_i64,
        2 => 1..=100_000_i64,
        1 => 1..=900_000_i64,
    ]
}

fn revisions() -> impl Strategy<Value = [usize; 2]> {
    [0..3_usize, 0..3_usize]
}

fn execution() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 3 => Just(1_usize), 1 => 2..5_usize]
}

fn pipeline_change() -> impl Strategy<Value = PipelineChange> {
    prop_oneof![
        10 => revisions().prop_map(PipelineChange::Start),
        12 => (execution(), prop::bool::weighted(0.85))
            .prop_map(|(execution, succeeded)| PipelineChange::Complete { execution, succeeded }),
        6 => (execution(), any::<bool>()).prop_map(|(execution, all)| PipelineChange::Retry { execution, all }),
        3 => (execution(), any::<bool>()).prop_map(|(execution, abandon)| PipelineChange::Stop { execution, abandon }),
        6 => (0..3_usize, result(), summary())
            .prop_map(|(request, result, summary)| PipelineChange::Respond { request, result, summary }),
        2 => prop::bool::weighted(0.7).prop_map(|is_enabled| PipelineChange::SetTransition { is_enabled }),
        2 => Just(PipelineChange::Save),
        1 => select(vec![Shape::Whole, Shape::Whole, Shape::WithoutApproval, Shape::WithoutStage])
            .prop_map(PipelineChange::Redefine),
        1 => prop::bool::weighted(0.15)
            .prop_map(|is_deleted| if is_deleted { PipelineChange::Delete } else { PipelineChange::Save }),
    ]
}

fn bind_to() -> impl Strategy<Value = BindTo> {
    prop_oneof![
        8 => execution().prop_map(BindTo::Execution),
        1 => Just(BindTo::UnknownExecution),
        8 => (0..3_usize, option::of(0..2_usize)).prop_map(|(revision, source)| BindTo::Revision(revision, source)),
        4 => (0..2_usize).prop_map(BindTo::Token),
    ]
}

fn decision_change() -> impl Strategy<Value = DecisionChange> {
    let action = prop_oneof![
        3 => Just(ActionChoice::Approval),
        2 => Just(ActionChoice::SecondApproval),
        2 => select(vec![ActionChoice::Unknown, ActionChoice::NotAnApproval, ActionChoice::InUnknownStage]),
    ];
    prop_oneof![
        6 => bind_to().prop_map(DecisionChange::Bind),
        2 => (result(), summary()).prop_map(|(result, summary)| DecisionChange::SetResult(result, summary)),
        2 => prop::bool::weighted(0.3).prop_map(DecisionChange::Suspend),
        2 => Just(DecisionChange::ClearNotAfter),
        2 => (0..=120_i64).prop_map(DecisionChange::SetNotAfter),
        2 => action.prop_map(DecisionChange::SetAction),
        5 => Just(DecisionChange::Annotate),
        1 => Just(DecisionChange::Delete),
        2 => Just(DecisionChange::Restore),
    ]
}

fn poll_plan() -> impl Strategy<Value = PollPlan> {
    let failing_call = option::weighted(0.1, 0..3_usize);
    let change = option::weighted(0.3, (0..3_usize, pipeline_change()));
    (0..=1500_i64, failing_call, change, prop::bool::weighted(0.2)).prop_map(
        |(call_milliseconds, failing_call, change, published_later)| PollPlan {
            call_milliseconds,
            failing_call,
            change,
            published_later,
        },
    )
}

fn any_move() -> impl Strategy<Value = Move> {
    let number = || 0..3_usize;
    prop_oneof![
        30 => (replica(), number(), fault()).prop_map(|(replica, number, fault)| Move::Step(replica, number, fault)),
        14 => replica().prop_map(Move::ReconcileDue),
        3 => (replica(), number(), 1..4_usize)
            .prop_map(|(replica, number, age)| Move::StepFromOldVersion(replica, number, age)),
        16 => (replica(), poll_plan()).prop_map(|(replica, plan)| Move::Poll(replica, plan)),
        3 => replica().prop_map(Move::Publish),
        2 => replica().prop_map(Move::Crash),
        18 => milliseconds().prop_map(Move::PassTime),
        26 => pipeline_change().prop_map(Move::Pipeline),
        6 => (number(), decision_change()).prop_map(|(number, change)| Move::Decision(number, change)),
    ]
}

fn new_decision() -> impl Strategy<Value = NewDecision> {
    let action = prop_oneof![3 => Just(ActionChoice::Approval), 1 => Just(ActionChoice::SecondApproval)];
    (bind_to(), action, result(), summary()).prop_map(|(bind_to, action, result, summary)| NewDecision {
        bind_to,
        action,
        result,
        summary,
    })
}

/// Clocks differ by at most 5 s, and history lags by less than a minute, as the operator assumes.
fn scenario() -> impl Strategy<Value = Scenario> {
    let mode = select(vec![ExecutionMode::Superseded, ExecutionMode::Queued, ExecutionMode::Parallel]);
    let ship = option::of(select(vec![ShipAction::InTheSameStage, ShipAction::InALaterStage]));
    let shape = (mode, any::<bool>(), prop::bool::weighted(0.4), ship, select(vec![0, 0, 3]));
    let second_approval = option::of(select(vec![SecondApproval::InAnEarlierStage, SecondApproval::BesideTheFirst]));
    let approval = (second_approval, select(vec![5, 20, 10_080]), prop::bool::weighted(0.1));
    let lags = (0..=10_000_i64, 0..=1_500_i64, 0..=45_000_i64, select(vec![0, 60_000, 120_000, 600_000]));
    let tokens = prop_oneof![3 => Just(TokenRule::ActionExecutionId), 1 => Just(TokenRule::Independent)];
    let clocks = (-5_000..=0_i64, 0..=5_000_i64, 0..=5_000_i64);
    let others = (select(vec![100, 100, 4]), clocks, prop::bool::weighted(0.3));
    (shape, approval, lags, tokens, others, vec(new_decision(), 1..4)).prop_map(
        |(shape, approval, lags, tokens, others, decisions)| {
            let (mode, build, check, ship, source_seconds) = shape;
            let (second_approval, timeout_minutes, summary_required) = approval;
            let (page_size, (slowest, a, b), has_second_replica) = others;
            Scenario {
                mode,
                build,
                check,
                ship,
                source_seconds,
                second_approval,
                timeout_minutes,
                summary_required,
                lags: lags.into(),
                tokens,
                page_size,
                clock_offsets: [slowest + a, slowest + b],
                has_second_replica,
                decisions,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

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
        "waiting for a later execution of this revision",
        "ended (Superseded) before its approval received a response",
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
        "CodePipeline says that the approval is already completed; its outcome has been unknown",
        "someone retries stage Production of execution",
        "CodePipeline refuses uid-0 with InvalidApprovalTokenException",
        "CodePipeline refuses uid-0 with ApprovalAlreadyCompletedException",
        "someone else wrote first",
        "reports Throttled for decision 0",
        "reports CredentialsUnavailable for decision 0",
        "2 executions of the source revision are waiting for this approval",
        "is not an approval: its category is Build",
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
    ]
    .into();
    for _ in 0..600 {
        let (scenario, moves) = (scenario(), vec(any_move(), 0..90)).new_tree(&mut runner).expect("a world").current();
        let mut world = World::new(scenario);
        for reason in world.run(&moves).expect("no violation") {
            unreached.remove(&reason);
        }
        missing.retain(|text| !world.log_contains(text));
    }
    assert!(missing.is_empty() && unreached.is_empty(), "never seen: {missing:?}, {unreached:?}");
}
