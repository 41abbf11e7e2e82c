//! A search is worth what it catches. Each mutant is `decide` with one defect, and breaks one property first, on any path.

use super::properties::{ACCURACY, BINDING, PERMISSION, SETTLEMENT, search};
use super::state::Budget;
use super::users::{Bound, Edit};
use super::worlds::{NOTHING, TOKEN};
use super::{PRODUCT, Subject, World};
use crate::fixtures::Given;
use approval_operator::api::time::later;
use approval_operator::api::v1alpha1::ApprovalDecision;
use approval_operator::codepipeline::{CallError, ExecutionIds, Refusal};
use approval_operator::decision::timing::start_attempt;
use approval_operator::decision::{
    Attempt, Decide, Intent, Observed, Outcome, Phase, PriorAttempts, Settings, Step, decide,
};
use jiff::{SignedDuration, Timestamp};
use stateright::HasDiscoveries;

/// Just enough for most mutants to do harm.
pub const MUTANT: World =
    World { name: "mutant", time_jumps: &[21], budget: Budget { faults: 1, time_jumps: 1, ..NOTHING }, ..TOKEN };

const EDITED: World = World {
    edits: &[Edit::Suspend, Edit::Expire, Edit::Hold],
    budget: Budget { edits: 1, time_jumps: 1, ..NOTHING },
    ..MUTANT
};

fn assert_breaks(property: &str, world: &World, decide: Decide) {
    let subject = Subject { decide, ..PRODUCT };
    assert_eq!(search(world, subject, HasDiscoveries::All).broken, [property]);
}

#[test]
fn a_mutant_that_submits_to_any_pending_approval_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let snapshot = observed.pipeline.and_then(|pipeline| pipeline.poll.result.as_ref().ok());
        let actions = snapshot.into_iter().flat_map(|snapshot| &snapshot.state.stages).flat_map(|stage| &stage.actions);
        let token = actions.filter_map(|action| action.latest_execution.as_ref()?.token.as_ref()).next();
        match (decide(observed, settings, now), token) {
            (Step::WriteStatus(Outcome::Waiting { .. }), Some(token)) => {
                let pipeline = observed.decision.spec.pipeline_execution_id.as_ref().map(|id| id.0.clone());
                let (submission, ids) =
                    (start_attempt(settings, now, 1, token), ExecutionIds { pipeline, action: None });
                Step::RecordIntent(Intent { submission, ids, prior: PriorAttempts::NotApplied })
            }
            (step, _) => step,
        }
    }
    let budget = Budget { time_jumps: 1, ..NOTHING };
    for bound in [Bound::Execution, Bound::Revision] {
        assert_breaks(BINDING, &World { bound, execution: 1, budget, ..MUTANT }, mutant);
    }
}

#[test]
fn a_mutant_that_submits_again_without_reading_history_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (observed.attempt, Phase::of(observed.decision)) {
            (Attempt::None, Phase::InFlight(last)) if last.deadline <= now => {
                let submission = start_attempt(settings, now, last.attempts + 1, &last.token);
                let (ids, prior) = (ExecutionIds::default(), PriorAttempts::NotApplied);
                Step::RecordIntent(Intent { submission, ids, prior })
            }
            (Attempt::Submitted(_, Err(CallError::Refused { refusal, exception })), _)
                if *refusal == Refusal::ApprovalAlreadyCompleted =>
            {
                let (refusal, exception) = (*refusal, Some(exception.clone()));
                Step::WriteStatus(Outcome::Refused { refusal, exception, record: None, caveat: None })
            }
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(ACCURACY, &MUTANT, mutant);
}

#[test]
fn a_mutant_that_reports_a_lost_response_as_success_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match observed.attempt {
            Attempt::Submitted(_, Err(CallError::Indeterminate { .. })) => {
                Step::WriteStatus(Outcome::Delivered { approved_at: Some(now), record: None })
            }
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(ACCURACY, &MUTANT, mutant);
}

#[test]
fn a_mutant_that_reports_the_results_of_others_as_its_own_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::WriteStatus(Outcome::AlreadyDecided { record, .. }) => {
                Step::WriteStatus(Outcome::Delivered { approved_at: record.at, record: Some(record) })
            }
            step => step,
        }
    }
    assert_breaks(ACCURACY, &World { budget: Budget { other_results: 1, ..MUTANT.budget }, ..MUTANT }, mutant);
}

#[test]
fn a_mutant_that_sends_twice_under_one_intent_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match observed.attempt {
            Attempt::Submitted(intent, Err(CallError::Indeterminate { .. })) if now < intent.submission.deadline => {
                Step::Send { intent: intent.clone(), send_deadline: intent.submission.deadline }
            }
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(ACCURACY, &MUTANT, mutant);
}

/// What `decide` returns for a changed decision.
fn decide_with(
    change: fn(&mut ApprovalDecision),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    decide(&Observed { decision: &observed.decision.clone().with(change), ..observed.clone() }, settings, now)
}

#[test]
fn a_mutant_that_ignores_suspend_is_caught() {
    assert_breaks(PERMISSION, &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.spec.suspend = false, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_ignores_not_after_is_caught() {
    assert_breaks(PERMISSION, &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.spec.not_after = None, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_ignores_deletion_is_caught() {
    assert_breaks(PERMISSION, &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.metadata.deletion_timestamp = None, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_sends_without_an_intent_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::RecordIntent(intent) => Step::Send { send_deadline: intent.submission.deadline, intent },
            step => step,
        }
    }
    assert_breaks(PERMISSION, &MUTANT, mutant);
}

#[test]
fn a_mutant_whose_requests_may_arrive_after_the_deadline_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::Send { intent, .. } => Step::Send { send_deadline: intent.submission.deadline, intent },
            step => step,
        }
    }
    assert_breaks(PERMISSION, &MUTANT, mutant);
}

#[test]
fn a_mutant_that_never_reads_history_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::ReadRecord(_) => Step::WaitUntil(later(now, settings.poll_interval)),
            step => step,
        }
    }
    assert_breaks(SETTLEMENT, &MUTANT, mutant);
}

#[test]
fn a_mutant_that_never_submits_again_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::RecordIntent(Intent { prior: PriorAttempts::InDoubt, .. }) => {
                Step::WaitUntil(later(now, SignedDuration::from_secs(1)))
            }
            step => step,
        }
    }
    assert_breaks(SETTLEMENT, &MUTANT, mutant);
}

#[test]
fn a_mutant_that_forgets_an_attempt_that_was_not_applied_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match Phase::of(observed.decision) {
            Phase::Retrying(_) if *observed.attempt == Attempt::None => Step::AwaitChange,
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(SETTLEMENT, &MUTANT, mutant);
}
