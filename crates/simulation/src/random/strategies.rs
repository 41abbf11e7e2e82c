//! Random scenarios and moves. The weights are such that most histories get somewhere.

use super::scenario::{Scenario, SecondApproval, ShipAction};
use super::targets::{Admitted, TargetChange};
use super::{
    ActionChoice, BindTo, DecisionChange, Fault, Move, NewDecision, PipelineChange, PollPlan, Replica, Shape, Summary,
};
use approval_operator::api::v1alpha1::ApprovalStatus;
use local_codepipeline::model::{ExecutionMode, OnFailure, ParallelState, RetryMode, TokenRule};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn replica() -> impl Strategy<Value = Replica> {
    prop_oneof![3 => Just(Replica::A), 1 => Just(Replica::B)]
}

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![2 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn summary() -> impl Strategy<Value = Summary> {
    prop_oneof![3 => Just(Summary::Ours), 2 => Just(Summary::Other), 1 => Just(Summary::Empty)]
}

pub fn fault() -> impl Strategy<Value = Fault> {
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
        3 => execution().prop_map(|execution| PipelineChange::RollBack { execution }),
        4 => (execution(), prop::bool::weighted(0.3)).prop_map(|(execution, abandon)| PipelineChange::Stop { execution, abandon }),
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

/// A change after which every request stays pending until someone responds.
pub fn lasting_change() -> impl Strategy<Value = PipelineChange> {
    pipeline_change().prop_map(|change| match change {
        PipelineChange::Stop { execution, .. } => PipelineChange::Stop { execution, abandon: false },
        PipelineChange::Save | PipelineChange::Redefine(_) | PipelineChange::Delete => {
            PipelineChange::SetTransition { is_enabled: true }
        }
        change => change,
    })
}

fn bind_to() -> impl Strategy<Value = BindTo> {
    prop_oneof![
        8 => execution().prop_map(BindTo::Execution),
        1 => Just(BindTo::UnknownExecution),
        5 => (0..3_usize, option::of(0..2_usize)).prop_map(|(revision, source)| BindTo::Revision(revision, source)),
        5 => (0..3_usize, option::weighted(0.6, 0..3_usize)).prop_map(|(git, image)| BindTo::Revisions(git, image)),
        4 => (0..2_usize).prop_map(BindTo::Token),
    ]
}

fn decision_change() -> impl Strategy<Value = DecisionChange> {
    let action = prop_oneof![
        3 => Just(ActionChoice::Approval),
        2 => Just(ActionChoice::SecondApproval),
        2 => select(vec![
            ActionChoice::Unknown,
            ActionChoice::NotAnApproval,
            ActionChoice::InUnknownStage,
            ActionChoice::InUnknownPipeline,
        ]),
    ];
    prop_oneof![
        6 => bind_to().prop_map(DecisionChange::Bind),
        2 => (result(), summary()).prop_map(|(result, summary)| DecisionChange::SetResult(result, summary)),
        2 => prop::bool::weighted(0.3).prop_map(DecisionChange::Suspend),
        2 => Just(DecisionChange::ClearNotAfter),
        2 => (0..=120_i64).prop_map(DecisionChange::SetNotAfter),
        2 => (0..=60_i64).prop_map(DecisionChange::SetIgnoreResponsesBefore),
        1 => Just(DecisionChange::ClearIgnoreResponsesBefore),
        2 => action.prop_map(DecisionChange::SetAction),
        3 => option::weighted(0.8, 0..2_usize).prop_map(DecisionChange::SetTarget),
        5 => Just(DecisionChange::Annotate),
        2 => Just(DecisionChange::ReplaceReason),
        1 => Just(DecisionChange::Delete),
        2 => Just(DecisionChange::Restore),
    ]
}

fn target_change() -> impl Strategy<Value = TargetChange> {
    prop_oneof![
        3 => prop::bool::weighted(0.7).prop_map(|is_here| TargetChange::Create { is_here }),
        1 => Just(TargetChange::Delete),
        3 => prop_oneof![3 => Just(Admitted::ByName), 2 => Just(Admitted::No), 2 => Just(Admitted::ByLabels)]
            .prop_map(TargetChange::Admit),
        1 => any::<bool>().prop_map(TargetChange::ShowLabels),
        2 => prop::bool::weighted(0.6).prop_map(TargetChange::Verify),
        1 => any::<bool>().prop_map(TargetChange::SetRole),
    ]
}

fn poll_plan() -> impl Strategy<Value = PollPlan> {
    let failing_call = option::weighted(0.1, 0..5_usize);
    let unreadable = option::weighted(0.1, execution());
    let change = option::weighted(0.3, (0..3_usize, pipeline_change()));
    (0..=1500_i64, failing_call, unreadable, change, prop::bool::weighted(0.2)).prop_map(
        |(call_milliseconds, failing_call, unreadable, change, published_later)| PollPlan {
            call_milliseconds,
            failing_call,
            unreadable,
            change,
            published_later,
        },
    )
}

pub fn any_move() -> impl Strategy<Value = Move> {
    let number = || 0..3_usize;
    prop_oneof![
        30 => (replica(), number(), fault()).prop_map(|(replica, number, fault)| Move::Step(replica, number, fault)),
        14 => replica().prop_map(Move::ReconcileDue),
        3 => (replica(), number(), 1..4_usize)
            .prop_map(|(replica, number, age)| Move::StepFromOldVersion(replica, number, age)),
        16 => (replica(), poll_plan()).prop_map(|(replica, plan)| Move::Poll(replica, plan)),
        3 => replica().prop_map(Move::Publish),
        2 => replica().prop_map(Move::Crash),
        1 => replica().prop_map(Move::DelayWatch),
        2 => replica().prop_map(Move::ResumeWatch),
        1 => prop::bool::weighted(0.2)
            .prop_map(|is_switched| if is_switched { Move::SwitchAccount } else { Move::PassTime(1_000) }),
        4 => (0..2_usize, target_change()).prop_map(|(number, change)| Move::Target(number, change)),
        18 => milliseconds().prop_map(Move::PassTime),
        26 => pipeline_change().prop_map(Move::Pipeline),
        6 => (number(), decision_change()).prop_map(|(number, change)| Move::Decision(number, change)),
    ]
}

pub fn new_decision() -> impl Strategy<Value = NewDecision> {
    let action = prop_oneof![3 => Just(ActionChoice::Approval), 1 => Just(ActionChoice::SecondApproval)];
    let target = option::weighted(0.4, 0..2_usize);
    (bind_to(), action, result(), summary(), target)
        .prop_map(|(bind_to, action, result, summary, target)| NewDecision { bind_to, action, result, summary, target })
}

/// Clocks differ by at most 5 s, and history lags by less than a minute, as the operator assumes.
pub fn scenario() -> impl Strategy<Value = Scenario> {
    let mode = select(vec![ExecutionMode::Superseded, ExecutionMode::Queued, ExecutionMode::Parallel]);
    let parallel_state = select(vec![ParallelState::WithoutTokens, ParallelState::Empty, ParallelState::Stale]);
    let ship = option::of(select(vec![ShipAction::InTheSameStage, ShipAction::InALaterStage]));
    let stages = (any::<bool>(), prop::bool::weighted(0.4), ship, prop::bool::weighted(0.05));
    let sources = (prop::bool::weighted(0.6), select(vec![0, 0, 3]));
    let second_approval = option::of(select(vec![SecondApproval::InAnEarlierStage, SecondApproval::BesideTheFirst]));
    let retries = [RetryMode::FailedActions, RetryMode::AllActions].map(OnFailure::Retry);
    let on_failure = option::weighted(0.3, select(vec![retries[0], retries[1], OnFailure::Rollback]));
    let approval = (second_approval, on_failure, select(vec![5, 20, 10_080]), prop::bool::weighted(0.1));
    let lags = (0..=10_000_i64, 0..=1_500_i64, 0..=45_000_i64, select(vec![0, 60_000, 120_000, 600_000]));
    let tokens = prop_oneof![3 => Just(TokenRule::ActionExecutionId), 1 => Just(TokenRule::Independent)];
    // As far from CodePipeline's as the operator allows, and so twice as far from each other's.
    let clocks = (-10_000..=10_000_i64, -10_000..=10_000_i64);
    let target = option::weighted(0.4, prop::bool::weighted(0.7));
    let others = (select(vec![100, 100, 4]), clocks, prop::bool::weighted(0.3), target);
    ((mode, parallel_state), stages, sources, approval, (lags, tokens), others, vec(new_decision(), 1..4)).prop_map(
        |((mode, parallel_state), stages, sources, approval, (lags, tokens), others, decisions)| {
            let (build, check, ship, skips) = stages;
            let (has_second_source, source_seconds) = sources;
            let (second_approval, on_failure, timeout_minutes, summary_required) = approval;
            let (page_size, (first, second), has_second_replica, target) = others;
            Scenario {
                mode,
                parallel_state,
                build,
                check,
                ship,
                has_second_source,
                source_seconds,
                second_approval,
                skips,
                on_failure,
                timeout_minutes,
                summary_required,
                lags: lags.into(),
                tokens,
                page_size,
                clock_offsets: [first, second],
                has_second_replica,
                target,
                decisions,
            }
        },
    )
}
