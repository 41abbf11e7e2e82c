//! Mutants that break a rule of targets.

use super::*;
use crate::random::PollPlan;
use crate::random::targets::{Admitted, TargetChange};
use approval_operator::api::v1alpha1::{Access, Namespaces, Reason};
use approval_operator::decision::{Attempt, Phase, TargetObservation, Verification};

/// A decision that names the first target, which is where the pipeline is.
fn through_target(bind_to: BindTo) -> Vec<NewDecision> {
    vec![NewDecision { target: Some(0), ..NewDecision::approval(bind_to) }]
}

fn assert_harm_at_target(decisions: Vec<NewDecision>, moves: &[Move], decide: Decide, harm: &str) {
    let scenario = Scenario { target: Some(true), ..Scenario::plain(decisions) };
    World::new(scenario.clone()).run(moves).expect("no violation by the product");
    let violation = World::of(deciding(decide), scenario).run(moves).expect_err("a violation");
    assert!(violation.lines().next().is_some_and(|line| line.contains(harm)), "{violation}");
}

fn step(fault: Fault) -> Move {
    Move::Step(Replica::A, 0, fault)
}

fn change(change: TargetChange) -> Move {
    Move::Target(0, change)
}

/// What `decide` returns for a changed target.
fn decide_at(
    change: impl FnOnce(&mut TargetObservation),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    let Some(mut target) = observed.target.cloned() else { return decide(observed, settings, now) };
    change(&mut target);
    decide(&Observed { target: Some(&target), ..observed.clone() }, settings, now)
}

/// The target admits everything.
fn admit(observation: &mut TargetObservation) {
    if let TargetObservation::Found { target, .. } = observation {
        let target = Arc::make_mut(target);
        target.spec.access = vec![Access {
            namespaces: Namespaces { names: vec!["team".to_owned()], selector: None },
            pipelines: vec!["*".to_owned()],
            results: vec![Approved, Rejected],
        }];
    }
}

#[test]
fn a_mutant_that_ignores_access_reads_what_the_target_does_not_admit() {
    let moves = [change(TargetChange::Admit(Admitted::No)), Move::ReconcileDue(Replica::A)];
    let mutant: Decide = |observed, settings, now| decide_at(admit, observed, settings, now);
    assert_harm_at_target(through_target(BindTo::Execution(0)), &moves, mutant, "does not admit the decision");
}

#[test]
fn a_mutant_that_does_not_check_access_again_before_the_request_leaves_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match observed.attempt {
            Attempt::IntentRecorded(_) => decide_at(admit, observed, settings, now),
            Attempt::None | Attempt::NotPrepared(..) | Attempt::NotAllowed(..) | Attempt::Submitted(..) => {
                decide(observed, settings, now)
            }
        }
    }
    let moves = [
        step(Fault::None),
        step(Fault::None),
        change(TargetChange::Admit(Admitted::No)),
        Move::ReconcileDue(Replica::A),
    ];
    assert_harm_at_target(through_target(BindTo::Token(0)), &moves, mutant, "does not admit it");
}

#[test]
fn a_mutant_that_does_not_wait_for_the_verification_is_caught() {
    let moves = [change(TargetChange::Verify(false)), Move::ReconcileDue(Replica::A)];
    fn verified(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let verify = |observation: &mut TargetObservation| {
            if let TargetObservation::Found { verification, .. } = observation {
                *verification = Verification::Verified;
            }
        };
        decide_at(verify, observed, settings, now)
    }
    assert_harm_at_target(through_target(BindTo::Execution(0)), &moves, verified, "does not admit the decision");
}

#[test]
fn a_mutant_that_forgets_where_the_request_was_moves_a_waiting_decision() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let forget = |decision: &mut ApprovalDecision| {
            if let Some(status) = &mut decision.status {
                status.set_location(None);
            }
        };
        decide_for(forget, observed, settings, now)
    }
    // The decision waits for another execution than the one that is pending, and its target moves away and back.
    let poll = || Move::Poll(Replica::A, PollPlan::default());
    let moves = [
        Move::ReconcileDue(Replica::A),
        poll(),
        Move::ReconcileDue(Replica::A),
        change(TargetChange::Create { is_here: true }),
        Move::ReconcileDue(Replica::A),
        Move::PassTime(1_000),
        Move::Pipeline(PipelineChange::Start([1, 0])),
    ];
    let decisions = through_target(BindTo::Revision(1, None));
    let scenario = Scenario { target: Some(false), ..Scenario::plain(decisions) };
    let reasons = World::new(scenario.clone()).run(&moves).expect("no violation by the product");
    assert_eq!(reasons, [Some(Reason::TargetForbidden)]);
    let violation = World::of(deciding(mutant), scenario).run(&moves).expect_err("a violation");
    assert!(violation.contains("moved to another account") || violation.contains("TargetForbidden"), "{violation}");
}

#[test]
fn a_mutant_that_recovers_wherever_the_target_is_now_reads_another_account() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let Phase::InDoubt(submission) = Phase::of(observed.decision) else { return decide(observed, settings, now) };
        let move_back = |observation: &mut TargetObservation| {
            if let TargetObservation::Found { target, .. } = observation {
                let target = Arc::make_mut(target);
                (target.spec.account_id, target.spec.region) =
                    (submission.account_id.clone(), submission.region.clone());
            }
        };
        decide_at(move_back, observed, settings, now)
    }
    let moves = [
        step(Fault::None),
        step(Fault::None),
        step(Fault::ResponseLost),
        step(Fault::None),
        change(TargetChange::Create { is_here: false }),
        Move::PassTime(60_000),
    ];
    assert_harm_at_target(through_target(BindTo::Token(0)), &moves, mutant, "recovery read another account");
}

#[test]
fn a_mutant_that_uses_the_own_identity_beside_a_target_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let forget = |observation: &mut TargetObservation| {
            if let TargetObservation::Own { targets, .. } = observation {
                *targets = Arc::default();
            }
        };
        decide_at(forget, observed, settings, now)
    }
    let decisions = vec![NewDecision::approval(BindTo::Execution(0))];
    assert_harm_at_target(decisions, &[], mutant, "does not admit");
}

#[test]
fn a_mutant_that_ignores_the_session_takes_the_same_words_of_someone_else_for_its_own() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let forget = |decision: &mut ApprovalDecision| {
            if let Some(submission) = decision.status.as_mut().and_then(|status| status.submission.as_mut()) {
                submission.session_name = None;
            }
        };
        decide_for(forget, observed, settings, now)
    }
    // The request is lost, and someone else responds with the same words in the same second.
    let respond = PipelineChange::Respond { request: 0, result: Approved, summary: Summary::Ours };
    let moves = [
        step(Fault::None),
        step(Fault::None),
        step(Fault::RequestLost),
        step(Fault::None),
        Move::Pipeline(respond),
        Move::PassTime(60_000),
    ];
    assert_harm_at_target(through_target(BindTo::Token(0)), &moves, mutant, "reported Delivered: not true");
}

#[test]
fn a_mutant_that_ignores_a_rejection_while_labels_cannot_be_read_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let rejections = observed.rejections.map(|_| Rejections::Listed(Vec::new()));
        decide(&Observed { rejections: rejections.as_ref(), ..observed.clone() }, settings, now)
    }
    // Both targets are where the pipeline is. The one of the rejection admits the namespace by its labels.
    let approval = NewDecision { target: Some(1), ..NewDecision::approval(BindTo::Token(0)) };
    let rejection = NewDecision { target: Some(0), result: Rejected, ..NewDecision::approval(BindTo::Token(0)) };
    let moves = [
        Move::Target(1, TargetChange::Create { is_here: true }),
        change(TargetChange::Admit(Admitted::ByLabels)),
        change(TargetChange::ShowLabels(false)),
    ];
    assert_harm_at_target(vec![approval, rejection], &moves, mutant, "although");
}
