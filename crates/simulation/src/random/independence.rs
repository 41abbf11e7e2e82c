//! When the operator polls, restarts, or sees a decision again does not matter: one history of CodePipeline and one manifest lead to one
//! submission, or to none. The histories here have no time-outs and no cancellations, because a request that ends without a response
//! leaves the decision to a later one.

use super::scenario::Scenario;
use super::strategies::{fault, lasting_change, new_decision, scenario};
use super::{
    BindTo, Checked, DecisionChange, Move, NewDecision, PRODUCT, PipelineChange, PollPlan, Replica, Subject, World,
};
use crate::fixtures::{self, scale};
use approval_operator::api::v1alpha1::Token;
use approval_operator::codepipeline::PipelineSnapshot;
use approval_operator::decision::{Observed, Settings, Step};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// How long a script lasts, in milliseconds.
const DURATION: i64 = 300_000;

/// What happens to CodePipeline, whatever the operator does, and the manifest of the decision.
#[derive(Clone, Debug)]
struct Script {
    scenario: Scenario,
    /// What happened before the decision was created.
    before: Vec<(i64, PipelineChange)>,
    decision: NewDecision,
    /// `ignoreResponsesBefore`: this many seconds before the decision was created.
    ignored_seconds: Option<i64>,
    after: Vec<(i64, PipelineChange)>,
}

/// What the operator does, and what happens to it and to the object.
type Schedule = Vec<(i64, Move)>;

fn changes() -> impl Strategy<Value = Vec<(i64, PipelineChange)>> {
    // Most executions have the first revision.
    let start = prop::bool::weighted(0.3).prop_map(|is_other| PipelineChange::Start([usize::from(is_other), 0]));
    let change = prop_oneof![1 => start, 3 => lasting_change()];
    vec((0..DURATION, change), 0..12).prop_map(|mut changes| {
        changes.sort_by_key(|(at, _)| *at);
        changes
    })
}

/// Most decisions name the first revision of the only source, and nothing is in front of the approval.
fn script() -> impl Strategy<Value = Script> {
    let decision =
        prop_oneof![2 => Just(BindTo::Revision(0, None)).prop_map(NewDecision::approval), 1 => new_decision()];
    (scenario(), changes(), decision, option::weighted(0.3, 0..60_i64), changes()).prop_map(
        |(scenario, before, decision, ignored_seconds, after)| {
            let decisions = Vec::new();
            let scenario =
                Scenario { timeout_minutes: 10_080, build: false, has_second_source: false, decisions, ..scenario };
            Script { scenario, before, decision, ignored_seconds, after }
        },
    )
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let replica = || prop_oneof![3 => Just(Replica::A), 1 => Just(Replica::B)];
    let poll = |published_later| PollPlan { published_later, ..PollPlan::default() };
    let operation = prop_oneof![
        10 => (replica(), fault()).prop_map(|(replica, fault)| Move::Step(replica, 0, fault)),
        10 => replica().prop_map(Move::ReconcileDue),
        10 => (replica(), prop::bool::weighted(0.2)).prop_map(move |(replica, later)| Move::Poll(replica, poll(later))),
        2 => replica().prop_map(Move::Publish),
        2 => replica().prop_map(Move::Crash),
        1 => replica().prop_map(Move::DelayWatch),
        1 => replica().prop_map(Move::ResumeWatch),
        2 => Just(Move::Decision(0, DecisionChange::Restore)),
        2 => any::<bool>().prop_map(|suspend| Move::Decision(0, DecisionChange::Suspend(suspend))),
        1 => Just(Move::Decision(0, DecisionChange::Annotate)),
        1 => Just(Move::Decision(0, DecisionChange::ReplaceReason)),
    ];
    // Periods in which the operator is down are what matters most.
    (0..DURATION, vec((0..DURATION, operation), 0..60)).prop_map(|(start, mut moves)| {
        moves.retain(|(at, _)| start <= *at);
        moves.sort_by_key(|(at, _)| *at);
        moves
    })
}

/// The operator is up all the time.
fn attentive() -> Schedule {
    let second = |at| {
        let steps = [Move::ReconcileDue(Replica::A), Move::Poll(Replica::A, PollPlan::default())];
        steps.into_iter().chain([Move::ReconcileDue(Replica::A)]).map(move |step| (at, step))
    };
    (0..DURATION).step_by(2_000).flat_map(second).collect()
}

impl World {
    fn pass_time_until(&mut self, until: Timestamp) -> Checked {
        let left = until.duration_since(self.now());
        self.make(&Move::PassTime(i64::try_from(left.as_millis()).unwrap_or_default().max(0)))
    }

    fn play(&mut self, mut moves: Vec<(i64, Move)>) -> Checked {
        let start = self.now();
        moves.sort_by_key(|(at, _)| *at);
        moves.into_iter().try_for_each(|(at, next)| {
            self.pass_time_until(start + SignedDuration::from_millis(at))?;
            self.make(&next)
        })
    }
}

fn pipeline_moves(changes: &[(i64, PipelineChange)]) -> Vec<(i64, Move)> {
    changes.iter().map(|(at, change)| (*at, Move::Pipeline(change.clone()))).collect()
}

/// The request for which a result was accepted.
fn accepted(subject: Subject, script: &Script, schedule: &Schedule) -> Result<Option<Token>, String> {
    let mut world = World::of(subject, script.scenario.clone());
    let played = (|| {
        world.play(pipeline_moves(&script.before))?;
        world.pass_time_until(fixtures::at(DURATION / 1000 + 1))?;
        world.create(0, &script.decision);
        if let Some(seconds) = script.ignored_seconds {
            world.make(&Move::Decision(0, DecisionChange::SetIgnoreResponsesBefore(seconds)))?;
        }
        world.play(pipeline_moves(&script.after).into_iter().chain(schedule.clone()).collect())?;
        world.run_until_quiescent()
    })();
    played.map_err(|violation| format!("{violation}\n{}", world.aws().log.join("\n")))?;
    Ok(world.aws().accepted.first().map(|accepted| accepted.submission.token.clone()))
}

fn check(subject: Subject, script: &Script, schedules: Vec<Schedule>) -> Checked {
    let mut first: Option<(Token, Schedule)> = None;
    for schedule in std::iter::once(attentive()).chain(schedules) {
        match (accepted(subject, script, &schedule)?, &first) {
            (Some(token), None) => first = Some((token, schedule)),
            (Some(token), Some((other, earlier))) if token != *other => {
                return Err(format!("another request is answered with {earlier:?} and with {schedule:?}"));
            }
            (Some(_), Some(_)) | (None, _) => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scale(60, 2_000)) })]

    #[test]
    fn the_request_that_is_answered_does_not_depend_on_when_the_operator_polls(
        script in script(),
        schedules in vec(schedule(), 3),
    ) {
        check(PRODUCT, &script, schedules).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_mutant_that_answers_the_newest_of_several_requests_depends_on_when_it_polls() {
    fn forget(snapshot: &mut PipelineSnapshot) {
        let newest = snapshot.actions.iter().filter_map(|entry| entry.started_at).max();
        snapshot.actions.retain(|entry| entry.started_at == newest);
    }
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        super::mutants::decide_by(|snapshot, _| forget(snapshot), observed, settings, now)
    }
    let mut runner = TestRunner::deterministic();
    let is_found = (0..500).any(|_| {
        let (script, schedules) = (script(), vec(schedule(), 3)).new_tree(&mut runner).expect("a script").current();
        let checked = check(Subject { decide: mutant, ..PRODUCT }, &script, schedules);
        checked.is_err_and(|violation| violation.starts_with("another request"))
    });
    assert!(is_found);
}
