//! A search is worth what it catches. Each mutant is `decide` with one defect, and breaks certain properties first, on any path.

mod edits;
mod requests;
mod targets;

use super::codepipeline::PipelineChange;
use super::properties::{ACCURACY, BINDING, DOUBT, PERMISSION, SETTLEMENT, search};
use super::state::Budget;
use super::users::{Bound, Edit};
use super::worlds::{NOTHING, TOKEN};
use super::{PRODUCT, Subject, World};
use crate::fixtures::Given;
use approval_operator::api::time::later;
use approval_operator::api::v1alpha1::{ApprovalDecision, Submission, SubmissionOutcome, Token};
use approval_operator::codepipeline::{
    ActionProgress, CallError, ExecutionStatus, PipelineObservation, PipelineSnapshot, Poll,
};
use approval_operator::decision::timing::{AttemptTimes, start_attempt};
use approval_operator::decision::{
    Attempt, Decide, Intent, Observed, Outcome, Phase, PriorAttempts, Rejections, Settings, Step, Wait, current_reason,
    decide, is_edited,
};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::ExecutionMode;
use stateright::HasDiscoveries;
use std::sync::Arc;

/// Just enough for most mutants to do harm.
pub const MUTANT: World =
    World { name: "mutant", time_jumps: &[36], budget: Budget { faults: 1, time_jumps: 1, ..NOTHING }, ..TOKEN };

/// Someone rejects, and retries the stage, which opens another request.
const RETRIED_STAGE: World = World {
    revisions: &[0],
    changes: &[PipelineChange::Retry(0)],
    edits: &[Edit::IgnoreResponses],
    budget: Budget { other_results: 1, pipeline_changes: 1, edits: 1, ..NOTHING },
    ..MUTANT
};

/// The intent of a mutant that forgets what it knows of earlier attempts.
fn intent(decision: &ApprovalDecision, settings: &Settings, now: Timestamp, token: &Token, attempts: i64) -> Intent {
    let AttemptTimes { start_time, deadline } = start_attempt(settings, now);
    let spec = decision.spec.clone();
    let submission = Submission {
        target: None,
        account_id: String::new(),
        region: String::new(),
        session_name: None,
        pipeline_name: spec.pipeline_name,
        stage_name: spec.stage_name,
        action_name: spec.action_name,
        pipeline_execution_id: None,
        action_execution_id: None,
        token: token.clone(),
        result: spec.result,
        attempts,
        start_time,
        deadline,
        outcome: None,
    };
    Intent { submission, execution: None, prior: PriorAttempts::NotApplied }
}

/// The mutant breaks these properties, and no other one first.
fn assert_breaks(properties: &[&str], world: &World, decide: Decide) {
    let subject = Subject { decide, ..PRODUCT };
    let mut broken = search(world, subject, HasDiscoveries::All).broken;
    broken.sort_unstable();
    assert_eq!(broken, properties);
}

#[test]
fn a_mutant_that_submits_again_without_reading_history_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (observed.attempt, Phase::of(observed.decision)) {
            (Attempt::None, Phase::InDoubt(last)) if last.deadline <= now => {
                Step::RecordIntent(intent(observed.decision, settings, now, &last.token, last.attempts + 1))
            }
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(&[DOUBT], &MUTANT, mutant);
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
    assert_breaks(&[ACCURACY], &MUTANT, mutant);
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
    assert_breaks(&[ACCURACY], &World { budget: Budget { other_results: 1, ..MUTANT.budget }, ..MUTANT }, mutant);
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
    assert_breaks(&[ACCURACY], &MUTANT, mutant);
}

#[test]
fn a_mutant_that_sends_without_an_intent_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::RecordIntent(intent) => Step::Send { send_deadline: intent.submission.deadline, intent },
            step => step,
        }
    }
    assert_breaks(&[PERMISSION], &MUTANT, mutant);
}

#[test]
fn a_mutant_whose_requests_may_arrive_after_the_deadline_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::Send { intent, .. } => Step::Send { send_deadline: intent.submission.deadline, intent },
            step => step,
        }
    }
    assert_breaks(&[PERMISSION], &MUTANT, mutant);
}

#[test]
fn a_mutant_that_never_reads_history_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (decide(observed, settings, now), Phase::of(observed.decision)) {
            (Step::ReadPipeline(_), Phase::InDoubt(_)) => Step::WaitUntil(later(now, settings.poll_interval)),
            (step, _) => step,
        }
    }
    assert_breaks(&[SETTLEMENT], &MUTANT, mutant);
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
    assert_breaks(&[SETTLEMENT], &MUTANT, mutant);
}

#[test]
fn a_mutant_that_forgets_an_attempt_that_was_not_applied_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match Phase::of(observed.decision) {
            Phase::Retrying(_) if *observed.attempt == Attempt::None => Step::AwaitChange,
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(&[SETTLEMENT], &MUTANT, mutant);
}
