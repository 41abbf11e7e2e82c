//! Mutants that mistake which request may be answered.

use super::*;

const REJECTED: World = World { edits: &[Edit::Reject], budget: Budget { edits: 1, ..NOTHING }, ..MUTANT };

#[test]
fn a_mutant_that_submits_to_any_pending_approval_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let snapshot = observed.pipeline.and_then(|pipeline| pipeline.poll.result.as_ref().ok());
        let actions = snapshot.into_iter().flat_map(|snapshot| &snapshot.state.stages).flat_map(|stage| &stage.actions);
        let token = actions.filter_map(|action| action.latest_execution.as_ref()?.token.as_ref()).next();
        match (decide(observed, settings, now), token) {
            (Step::WriteStatus(Outcome::Waiting { .. }), Some(token)) => {
                Step::RecordIntent(intent(observed.decision, settings, now, token, 1))
            }
            (step, _) => step,
        }
    }
    let budget = Budget { time_jumps: 1, ..NOTHING };
    for bound in [Bound::Execution, Bound::Revision] {
        assert_breaks(&[BINDING], &World { bound, execution: 1, budget, ..MUTANT }, mutant);
    }
}

#[test]
fn a_mutant_that_does_not_look_for_rejections_before_an_intent_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let none = Rejections::Listed(Vec::new());
        match observed.attempt {
            Attempt::None => decide(&Observed { rejections: Some(&none), ..observed.clone() }, settings, now),
            Attempt::NotPrepared(..)
            | Attempt::NotAllowed(..)
            | Attempt::IntentRecorded(_)
            | Attempt::Submitted(..) => decide(observed, settings, now),
        }
    }
    assert_breaks(&[PERMISSION], &REJECTED, mutant);
}

#[test]
fn a_mutant_that_does_not_look_for_rejections_before_a_request_leaves_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let none = Rejections::Listed(Vec::new());
        match observed.attempt {
            Attempt::IntentRecorded(_) => {
                decide(&Observed { rejections: Some(&none), ..observed.clone() }, settings, now)
            }
            Attempt::None | Attempt::NotPrepared(..) | Attempt::NotAllowed(..) | Attempt::Submitted(..) => {
                decide(observed, settings, now)
            }
        }
    }
    assert_breaks(&[PERMISSION], &REJECTED, mutant);
}

/// What `decide` returns for a changed snapshot.
fn decide_on(change: fn(&mut PipelineSnapshot), observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    let changed = observed.pipeline.map(|pipeline| {
        let mut poll = Poll::clone(&pipeline.poll);
        poll.result = poll.result.map(|snapshot| {
            let mut snapshot = PipelineSnapshot::clone(&snapshot);
            change(&mut snapshot);
            Arc::new(snapshot)
        });
        PipelineObservation { poll: Arc::new(poll), ..pipeline.clone() }
    });
    decide(&Observed { pipeline: changed.as_ref(), ..observed.clone() }, settings, now)
}

#[test]
fn a_mutant_that_ignores_the_responses_to_earlier_requests_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let forget = |snapshot: &mut PipelineSnapshot| {
            snapshot.actions.retain(|entry| entry.progress == ActionProgress::InProgress);
        };
        decide_on(forget, observed, settings, now)
    }
    for bound in [Bound::Execution, Bound::Revision] {
        assert_breaks(&[BINDING], &World { bound, ..RETRIED_STAGE }, mutant);
    }
}

#[test]
fn a_mutant_that_approves_an_execution_that_is_being_stopped_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let resume = |snapshot: &mut PipelineSnapshot| {
            for execution in &mut snapshot.executions {
                if execution.status == ExecutionStatus::Stopping {
                    execution.status = ExecutionStatus::InProgress;
                }
            }
        };
        decide_on(resume, observed, settings, now)
    }
    let changes = &[PipelineChange::Stop(0)];
    let budget = Budget { pipeline_changes: 1, ..NOTHING };
    assert_breaks(&[PERMISSION], &World { bound: Bound::Execution, changes, budget, ..MUTANT }, mutant);
}
