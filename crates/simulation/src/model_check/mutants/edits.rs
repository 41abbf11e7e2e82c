//! Mutants that disregard what users write: the spec, an edit of it, or the reason of a newer version.

use super::*;

const EDITED: World = World {
    edits: &[Edit::Suspend, Edit::Expire, Edit::Hold],
    budget: Budget { edits: 1, time_jumps: 1, ..NOTHING },
    ..MUTANT
};

const EDITED_IN_DOUBT: World = World {
    mode: ExecutionMode::Parallel,
    edits: &[Edit::Rebind],
    budget: Budget { faults: 1, edits: 1, time_jumps: 1, ..NOTHING },
    ..MUTANT
};

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
    assert_breaks(&[PERMISSION], &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.spec.suspend = false, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_ignores_not_after_is_caught() {
    assert_breaks(&[PERMISSION], &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.spec.not_after = None, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_ignores_deletion_is_caught() {
    assert_breaks(&[PERMISSION], &EDITED, |observed, settings, now| {
        decide_with(|decision| decision.metadata.deletion_timestamp = None, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_counts_the_responses_to_ignore_is_caught() {
    assert_breaks(&[ACCURACY], &World { bound: Bound::Execution, ..RETRIED_STAGE }, |observed, settings, now| {
        decide_with(|decision| decision.spec.ignore_responses_before = None, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_drops_a_submission_in_doubt_after_an_edit_is_caught() {
    assert_breaks(&[ACCURACY, DOUBT], &EDITED_IN_DOUBT, |observed, settings, now| {
        let drop_submission = |decision: &mut ApprovalDecision| {
            if is_edited(decision) {
                decision.status = None;
            }
        };
        decide_with(drop_submission, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_does_not_record_the_outcome_of_an_earlier_edit_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let settle = |decision: &mut ApprovalDecision| {
            if let Some(submission) = decision.status.as_mut().and_then(|status| status.submission.as_mut()) {
                submission.outcome = Some(SubmissionOutcome::NotAccepted);
            }
        };
        match decide(observed, settings, now) {
            Step::WriteStatus(Outcome::Delivered { .. } | Outcome::Waiting { wait: Wait::CurrentSpec, .. })
                if is_edited(observed.decision) =>
            {
                decide_with(settle, &Observed { pipeline: None, ..observed.clone() }, settings, now)
            }
            step => step,
        }
    }
    assert_breaks(&[ACCURACY, DOUBT], &EDITED_IN_DOUBT, mutant);
}

#[test]
fn a_mutant_that_takes_an_unknown_reason_for_nothing_sent_is_caught() {
    let edits = &[Edit::WriteUnknownReason];
    let world = World { edits, budget: Budget { edits: 1, faults: 1, time_jumps: 1, ..NOTHING }, ..MUTANT };
    assert_breaks(&[ACCURACY, DOUBT], &world, |observed, settings, now| {
        let forget = |decision: &mut ApprovalDecision| {
            if current_reason(decision).is_none() {
                decision.status = None;
            }
        };
        decide_with(forget, observed, settings, now)
    });
}
