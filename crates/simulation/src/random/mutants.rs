//! A simulation is worth what it catches. Each mutant is the operator with one rule taken out, and random histories show the harm.

mod targets;

use super::reader::ShownExecution;
use super::scenario::Scenario;
use super::strategies::{any_move, scenario};
use super::{
    BindTo, DecisionChange, Fault, Move, NewDecision, PRODUCT, PipelineChange, Replica, Subject, Summary, World,
};
use crate::fixtures::Given;
use ApprovalStatus::{Approved, Rejected};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Binding, ExecutionBinding, UserTime};
use approval_operator::codepipeline::{
    ActionExecution, ActionProgress, ExecutionStatus, ExecutionType, PipelineExecution, PipelineObservation,
    PipelineSnapshot, Poll,
};
use approval_operator::decision::{Decide, Observed, Rejections, Settings, Step, current_reason, decide};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::sync::Arc;

/// The most histories that are searched for the harm of a mutant.
const MAX_HISTORIES: usize = 2_000;

fn assert_harm(subject: Subject, harm: &str) {
    let mut runner = TestRunner::deterministic();
    let mut others = Vec::new();
    for _ in 0..MAX_HISTORIES {
        let (scenario, moves) = (scenario(), vec(any_move(), 0..90)).new_tree(&mut runner).expect("a world").current();
        let Err(violation) = World::of(subject, scenario).run(&moves) else { continue };
        let violation = violation.lines().next().unwrap_or_default().to_owned();
        if violation.contains(harm) {
            return;
        }
        others.push(violation);
    }
    panic!("no harm was found, but {others:?}");
}

/// The product passes a history that shows the harm of a mutant.
fn assert_harm_in(decisions: Vec<NewDecision>, moves: &[Move], subject: Subject, harm: &str) {
    let scenario = Scenario::plain(decisions);
    World::new(scenario.clone()).run(moves).expect("no violation by the product");
    let violation = World::of(subject, scenario).run(moves).expect_err("a violation");
    assert!(violation.contains(harm), "{violation}");
}

fn respond(result: ApprovalStatus) -> Move {
    Move::Pipeline(PipelineChange::Respond { request: 0, result, summary: Summary::Other })
}

/// The first revision.
fn by_revision() -> Vec<NewDecision> {
    vec![NewDecision::approval(BindTo::Revision(0, None))]
}

fn deciding(decide: Decide) -> Subject {
    Subject { decide, ..PRODUCT }
}

fn showing(shown: ShownExecution) -> Subject {
    Subject { shown, ..PRODUCT }
}

/// What `decide` returns for a changed snapshot.
pub fn decide_by(
    change: fn(&mut PipelineSnapshot, &ApprovalDecision),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    let changed = observed.pipeline.and_then(|pipeline| {
        let mut snapshot = PipelineSnapshot::clone(pipeline.poll.result.as_ref().ok()?);
        change(&mut snapshot, observed.decision);
        let poll = Arc::new(Poll { result: Ok(Arc::new(snapshot)), ..Poll::clone(&pipeline.poll) });
        Some(PipelineObservation { poll, ..pipeline.clone() })
    });
    decide(&Observed { pipeline: changed.as_ref().or(observed.pipeline), ..observed.clone() }, settings, now)
}

/// What `decide` returns for a changed decision.
fn decide_for(
    change: impl FnOnce(&mut ApprovalDecision),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    decide(&Observed { decision: &observed.decision.clone().with(change), ..observed.clone() }, settings, now)
}

#[test]
fn a_mutant_that_takes_the_history_of_another_action_for_its_own_uses_a_decision_twice() {
    /// The history of an execution that ended was read for another action, so that it seems to have no requests.
    fn forget(snapshot: &mut PipelineSnapshot, _: &ApprovalDecision) {
        let executions = snapshot.executions.iter().filter(|execution| execution.end().is_some());
        let ended: Vec<&str> = executions.map(|execution| execution.id.as_str()).collect();
        snapshot.actions.retain(|entry| !ended.contains(&entry.pipeline_execution_id.as_str()));
    }
    let mutant = deciding(|observed, settings, now| decide_by(forget, observed, settings, now));
    let next = Move::Pipeline(PipelineChange::Start([0, 0]));
    assert_harm_in(by_revision(), &[respond(Approved), Move::PassTime(200_000), next], mutant, "had used up");
}

#[test]
fn a_mutant_that_does_not_look_for_rejections_approves_what_another_decision_rejects() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let none = Rejections::Listed(Vec::new());
        decide(&Observed { rejections: Some(&none), ..observed.clone() }, settings, now)
    }
    assert_harm(deciding(mutant), "rejects the request");
}

#[test]
fn a_mutant_that_matches_one_of_several_sources_responds_to_a_request_that_is_not_named() {
    fn cover(snapshot: &mut PipelineSnapshot, decision: &ApprovalDecision) {
        if let Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))) = decision.spec.binding() {
            for execution in &mut snapshot.executions {
                execution.source_revisions.retain(|found| entries.iter().any(|entry| found.is_covered_by(entry)));
            }
        }
    }
    assert_harm(deciding(|observed, settings, now| decide_by(cover, observed, settings, now)), "does not name");
}

#[test]
fn a_mutant_that_ignores_the_type_of_an_execution_responds_to_a_rollback() {
    let standard = |execution| PipelineExecution { execution_type: ExecutionType::Standard, ..execution };
    let moves = [
        respond(Approved),
        Move::PassTime(10_000),
        Move::Pipeline(PipelineChange::RollBack { execution: 0 }),
        Move::Decision(0, DecisionChange::SetIgnoreResponsesBefore(5)),
    ];
    assert_harm_in(by_revision(), &moves, showing(standard), "does not name");
}

#[test]
fn a_mutant_that_ignores_older_requests_whose_end_is_not_visible_uses_a_decision_twice() {
    fn forget(snapshot: &mut PipelineSnapshot, decision: &ApprovalDecision) {
        let (stage, action) = (&decision.spec.stage_name, &decision.spec.action_name);
        let own = |entry: &&ActionExecution| entry.is_of(stage, action);
        let newest = snapshot.actions.iter().filter(own).filter_map(|entry| entry.started_at).max();
        snapshot.actions.retain(|entry| entry.progress != ActionProgress::InProgress || entry.started_at == newest);
    }
    assert_harm(deciding(|observed, settings, now| decide_by(forget, observed, settings, now)), "had used up");
}

#[test]
fn a_mutant_that_ignores_that_an_execution_is_being_stopped_approves_it() {
    let in_progress = |execution: PipelineExecution| match execution.status {
        ExecutionStatus::Stopping => PipelineExecution { status: ExecutionStatus::InProgress, ..execution },
        ExecutionStatus::InProgress | ExecutionStatus::Ended(_) => execution,
    };
    assert_harm(showing(in_progress), "is being stopped");
}

#[test]
fn a_mutant_that_takes_an_unknown_reason_for_nothing_sent_drops_doubt() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match current_reason(observed.decision) {
            Some(_) => decide(observed, settings, now),
            None => decide_for(|decision| decision.status = None, observed, settings, now),
        }
    }
    let mut moves = vec![Move::Step(Replica::A, 0, Fault::None); 2];
    moves.extend([
        Move::Step(Replica::A, 0, Fault::ResponseLost),
        Move::Step(Replica::A, 0, Fault::None),
        Move::Decision(0, DecisionChange::ReplaceReason),
        Move::Crash(Replica::A),
    ]);
    let decisions = vec![NewDecision::approval(BindTo::Token(0))];
    assert_harm_in(decisions, &moves, deciding(mutant), "was dropped although CodePipeline accepted it");
}

#[test]
fn a_mutant_that_does_not_know_ignore_responses_before_does_not_submit() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        decide_for(|decision| decision.spec.ignore_responses_before = None, observed, settings, now)
    }
    let moves = [
        respond(Rejected),
        Move::PassTime(10_000),
        Move::Pipeline(PipelineChange::Retry { execution: 0, all: true }),
        Move::Decision(0, DecisionChange::SetIgnoreResponsesBefore(5)),
    ];
    assert_harm_in(by_revision(), &moves, deciding(mutant), "reported ApprovalAlreadyCompleted: not true");
}

#[test]
fn a_mutant_that_ignores_every_response_uses_a_decision_twice() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let ignored_before = UserTime((now - SignedDuration::from_millis(1)).to_string());
        decide_for(|decision| decision.spec.ignore_responses_before = Some(ignored_before), observed, settings, now)
    }
    assert_harm(deciding(mutant), "had used up");
}
