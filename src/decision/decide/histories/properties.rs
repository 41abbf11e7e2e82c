//! What holds of every history of a pipeline, and that the histories are not all of one kind.

use super::{Bind, Change, Deed, Fault, Glance, Move, Setting, Shape, Ship, Target, Who, Words, World};
use crate::api::v1alpha1::{ApprovalStatus, Reason};
use local_codepipeline::model::{ExecutionMode, TokenRule};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![3 => Just(Who::A), 1 => Just(Who::B)]
}

fn result() -> impl Strategy<Value = ApprovalStatus> {
    prop_oneof![2 => Just(ApprovalStatus::Approved), 1 => Just(ApprovalStatus::Rejected)]
}

fn words() -> impl Strategy<Value = Words> {
    prop_oneof![3 => Just(Words::Ours), 2 => Just(Words::Others), 1 => Just(Words::None)]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::NotTaken),
        1 => Just(Fault::Lost),
        2 => Just(Fault::AnswerLost),
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

fn run() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 3 => Just(1_usize), 1 => 2..5_usize]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => revisions().prop_map(Deed::Start),
        12 => (run(), prop::bool::weighted(0.85)).prop_map(|(run, succeeded)| Deed::Complete { run, succeeded }),
        6 => (run(), any::<bool>()).prop_map(|(run, all)| Deed::Retry { run, all }),
        3 => (run(), any::<bool>()).prop_map(|(run, abandon)| Deed::Stop { run, abandon }),
        6 => (0..3_usize, result(), words()).prop_map(|(request, result, words)| Deed::Answer { request, result, words }),
        2 => Just(Deed::Save),
        1 => select(vec![Shape::Whole, Shape::Whole, Shape::WithoutApproval, Shape::WithoutStage])
            .prop_map(Deed::Redefine),
        1 => prop::bool::weighted(0.15).prop_map(|vanish| if vanish { Deed::Vanish } else { Deed::Save }),
    ]
}

fn bind() -> impl Strategy<Value = Bind> {
    prop_oneof![
        8 => run().prop_map(Bind::Run),
        1 => Just(Bind::UnknownRun),
        8 => (0..3_usize, option::of(0..2_usize)).prop_map(|(revision, source)| Bind::Revision(revision, source)),
        4 => (0..2_usize).prop_map(Bind::Token),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let target = prop_oneof![
        4 => Just(Target::Approval),
        1 => select(vec![Target::NoSuchAction, Target::NoApproval, Target::NoSuchStage]),
    ];
    prop_oneof![
        6 => bind().prop_map(Change::Bind),
        2 => (result(), words()).prop_map(|(result, words)| Change::Answer(result, words)),
        2 => prop::bool::weighted(0.3).prop_map(Change::Suspend),
        2 => Just(Change::NoNotAfter),
        2 => (0..=120_i64).prop_map(Change::NotAfter),
        1 => target.prop_map(Change::OtherAction),
        5 => Just(Change::Annotate),
        1 => Just(Change::Delete),
        2 => Just(Change::Restore),
    ]
}

fn glance() -> impl Strategy<Value = Glance> {
    let (fails, meanwhile) = (option::weighted(0.1, 0..3_usize), option::weighted(0.3, (0..3_usize, deed())));
    (0..=1500_i64, fails, meanwhile, prop::bool::weighted(0.2)).prop_map(|(pace, fails, meanwhile, late)| Glance {
        pace,
        fails,
        meanwhile,
        late,
    })
}

fn happening() -> impl Strategy<Value = Move> {
    let number = || 0..3_usize;
    prop_oneof![
        30 => (who(), number(), fault()).prop_map(|(who, number, fault)| Move::Step(who, number, fault)),
        14 => who().prop_map(Move::Work),
        3 => (who(), number(), 1..4_usize).prop_map(|(who, number, age)| Move::StepFromOldView(who, number, age)),
        16 => (who(), glance()).prop_map(|(who, glance)| Move::Look(who, glance)),
        3 => who().prop_map(Move::Publish),
        2 => who().prop_map(Move::Crash),
        18 => milliseconds().prop_map(Move::Pass),
        26 => deed().prop_map(Move::Pipeline),
        6 => (number(), change()).prop_map(|(number, change)| Move::Decision(number, change)),
    ]
}

/// Clocks differ by 5 s at most, and history lags by less than a minute, which is what the operator allows for.
fn setting() -> impl Strategy<Value = Setting> {
    let mode = select(vec![ExecutionMode::Superseded, ExecutionMode::Queued, ExecutionMode::Parallel]);
    let ship = option::of(select(vec![Ship::InTheSameStage, Ship::InALaterStage]));
    let shape = (mode, any::<bool>(), prop::bool::weighted(0.4), ship, select(vec![0, 0, 3]));
    let approval = (select(vec![5, 20, 10_080]), prop::bool::weighted(0.1));
    let lags = (0..=10_000_i64, 0..=1_500_i64, 0..=45_000_i64, select(vec![0, 60_000, 120_000, 600_000]));
    let tokens = prop_oneof![3 => Just(TokenRule::ActionExecutionId), 1 => Just(TokenRule::OfItsOwn)];
    let clocks = (-5_000..=0_i64, 0..=5_000_i64, 0..=5_000_i64);
    let others = (select(vec![100, 100, 4]), clocks, prop::bool::weighted(0.3));
    let decisions = vec((bind(), result(), words()), 1..4);
    (shape, approval, lags, tokens, others, decisions).prop_map(|(shape, approval, lags, tokens, others, decisions)| {
        let (mode, build, check, ship, source) = shape;
        let (timeout, summary_required) = approval;
        let (page, (slowest, a, b), second) = others;
        Setting {
            mode,
            build,
            check,
            ship,
            source,
            timeout,
            summary_required,
            lags: lags.into(),
            tokens,
            page,
            clocks: [slowest + a, slowest + b],
            second,
            decisions,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn whatever_becomes_of_its_run_a_decision_answers_no_other_request_and_tells_the_truth(
        setting in setting(),
        moves in vec(happening(), 0..90),
    ) {
        World::new(setting).live_through(&moves).map_err(TestCaseError::fail)?;
    }
}

/// Or else the property above would hold for want of anything happening.
#[test]
fn histories_come_to_every_end_and_by_every_way() {
    let mut runner = TestRunner::deterministic();
    let mut missing: Vec<&str> = vec![
        "which may be too new to be seen",
        "No run of shop has the source revision",
        "waits in front of stage",
        "is in stage Build (InProgress)",
        "is in stage Production (InProgress)",
        "whose token is not to be seen yet",
        "what became of its approval is not in CodePipeline's record yet",
        "a later run of the revision is waited for",
        "ended (Superseded) before its approval",
        "ended (Stopped) before its approval",
        "ended (Failed) before its approval",
        "beside another request that is pending",
        "which its run has opened anew",
        "so the pipeline is looked at anew",
        "The pipeline could not be read",
        "The pipeline cannot be read since",
        "(Refused)",
        "(InDoubt)",
        "was lost, but CodePipeline's record shows",
        "says that the request is completed, and how is not known",
        "the stage Production of run",
        "the service refuses uid-0 with InvalidApprovalTokenException",
        "the service refuses uid-0 with ApprovalAlreadyCompletedException",
        "somebody else wrote first",
        "settles decision 0 Throttled",
        "settles decision 0 CredentialsUnavailable",
        "2 runs of the source revision wait",
        "is of the category Build, and no approval",
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
        let (setting, moves) = (setting(), vec(happening(), 0..90)).new_tree(&mut runner).expect("a world").current();
        let mut world = World::new(setting);
        for reason in world.live_through(&moves).expect("a true end") {
            unreached.remove(&reason);
        }
        missing.retain(|words| !world.tells(words));
    }
    assert!(missing.is_empty() && unreached.is_empty(), "never seen: {missing:?}, {unreached:?}");
}
