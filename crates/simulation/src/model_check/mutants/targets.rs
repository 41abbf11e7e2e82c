//! Mutants that disregard the target: where it is, whom it admits, and whose session a result was sent in.

use super::*;
use crate::model_check::properties::{ATTRIBUTION, PLACE};
use crate::model_check::targets::{Place, Target, TargetChange, TargetState, full_access};
use crate::model_check::users::OtherResult;
use crate::model_check::worlds::targets::{TWO_CLUSTERS, WAITS_HERE};
use approval_operator::api::v1alpha1::{ApprovalStatus, ApprovalTarget};
use approval_operator::decision::TargetObservation;

const MOVED: World = World {
    target: TargetState::Found(Target::HERE),
    target_changes: &[TargetChange::Create(Place::Elsewhere)],
    budget: Budget { target_changes: 1, faults: 1, time_jumps: 1, ..NOTHING },
    ..MUTANT
};

const WITHDRAWN: World = World { target_changes: &[TargetChange::Admit(false)], ..MOVED };

/// Someone else responds with the same words.
const SAME_WORDS: World =
    World { budget: Budget { faults: 1, other_results: 1, time_jumps: 1, ..NOTHING }, ..TWO_CLUSTERS };

/// What `decide` returns for a changed target.
fn decide_at(
    change: impl FnOnce(&mut ApprovalTarget),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    let mut changed = observed.target.cloned();
    if let Some(TargetObservation::Found { target, .. }) = &mut changed {
        change(Arc::make_mut(target));
    }
    decide(&Observed { target: changed.as_ref(), ..observed.clone() }, settings, now)
}

fn admit(target: &mut ApprovalTarget) {
    target.spec.access = full_access();
}

/// What `decide` returns for another submission in doubt.
fn decide_in_doubt(
    change: impl FnOnce(&mut Submission),
    observed: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Step {
    let mut changed = observed.decision.clone();
    if let (Phase::InDoubt(_), Some(status)) = (Phase::of(observed.decision), &mut changed.status) {
        status.submission.as_mut().map(change);
    }
    decide(&Observed { decision: &changed, ..observed.clone() }, settings, now)
}

#[test]
fn a_mutant_that_follows_its_target_to_another_account_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let release = |decision: &mut ApprovalDecision| {
            if let Some(status) = &mut decision.status {
                status.set_location(None);
            }
        };
        decide(&Observed { decision: &observed.decision.clone().with(release), ..observed.clone() }, settings, now)
    }
    let budget = Budget { target_changes: 1, ..NOTHING };
    assert_breaks(&[PLACE], &World { budget, ..WAITS_HERE }, mutant);
    assert_breaks(&[PLACE], &MOVED, mutant);
}

#[test]
fn a_mutant_that_reads_history_where_the_target_is_now_is_caught() {
    assert_breaks(&[PLACE], &MOVED, |observed, settings, now| {
        let here = observed.target.and_then(|target| match target {
            TargetObservation::Found { target, .. } => Some(target.spec.location()),
            TargetObservation::Unavailable(_) | TargetObservation::Own { .. } | TargetObservation::NotFound => None,
        });
        let move_along = |submission: &mut Submission| {
            if let Some(here) = here {
                submission.set_location(here);
            }
        };
        decide_in_doubt(move_along, observed, settings, now)
    });
}

#[test]
fn a_mutant_that_ignores_access_before_an_intent_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (observed.attempt, Phase::of(observed.decision)) {
            (Attempt::None, Phase::Fresh) => decide_at(admit, observed, settings, now),
            _ => decide(observed, settings, now),
        }
    }
    for bound in [Bound::Token, Bound::Execution] {
        assert_breaks(&[PERMISSION], &World { bound, ..WITHDRAWN }, mutant);
    }
}

#[test]
fn a_mutant_that_ignores_access_before_a_request_leaves_is_caught() {
    assert_breaks(&[PERMISSION], &WITHDRAWN, |observed, settings, now| match observed.attempt {
        Attempt::IntentRecorded(_) => decide_at(admit, observed, settings, now),
        Attempt::None | Attempt::NotPrepared(..) | Attempt::NotAllowed(..) | Attempt::Submitted(..) => {
            decide(observed, settings, now)
        }
    });
}

#[test]
fn a_mutant_that_ignores_access_before_it_sends_again_is_caught() {
    assert_breaks(&[PERMISSION], &WITHDRAWN, |observed, settings, now| {
        match (observed.attempt, Phase::of(observed.decision)) {
            (Attempt::None, Phase::InDoubt(_)) => decide_at(admit, observed, settings, now),
            _ => decide(observed, settings, now),
        }
    });
}

#[test]
fn a_mutant_that_reads_history_only_with_access_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (observed.target, Phase::of(observed.decision)) {
            (Some(TargetObservation::Found { target, .. }), Phase::InDoubt(submission))
                if target.spec.access.is_empty() && submission.deadline <= now =>
            {
                Step::WaitUntil(later(now, settings.poll_interval))
            }
            _ => decide(observed, settings, now),
        }
    }
    assert_breaks(&[SETTLEMENT], &WITHDRAWN, mutant);
}

#[test]
fn a_mutant_that_ignores_the_session_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        decide_in_doubt(|submission| submission.session_name = None, observed, settings, now)
    }
    for bound in [Bound::Token, Bound::Execution] {
        assert_breaks(&[ATTRIBUTION], &World { bound, ..SAME_WORDS }, mutant);
    }
}

#[test]
fn a_mutant_that_does_not_recognize_its_own_session_is_caught() {
    let budget = Budget { faults: 1, time_jumps: 1, ..NOTHING };
    assert_breaks(&[DOUBT], &World { budget, ..SAME_WORDS }, |observed, settings, now| {
        decide_in_doubt(|submission| submission.session_name = Some("other".to_owned()), observed, settings, now)
    });
}

#[test]
fn a_mutant_that_reports_who_did_not_respond_is_caught() {
    fn mutant(observed: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(observed, settings, now) {
            Step::WriteStatus(Outcome::AlreadyDecided { mut record, exception, open }) => {
                record.by = Some("bob".to_owned());
                Step::WriteStatus(Outcome::AlreadyDecided { record, exception, open })
            }
            step => step,
        }
    }
    let budget = Budget { other_results: 1, ..NOTHING };
    assert_breaks(&[ATTRIBUTION], &World { budget, ..SAME_WORDS }, mutant);
}

/// Without a role, the summary is what distinguishes the result from those of others.
#[test]
fn a_mutant_that_ignores_the_summary_without_a_role_is_caught() {
    let target = TargetState::Found(Target { has_role: false, ..Target::HERE });
    let world = World { target, other_results: &[OtherResult::User(ApprovalStatus::Approved)], ..SAME_WORDS };
    assert_breaks(&[ACCURACY], &world, |observed, settings, now| {
        decide_in_doubt(|submission| submission.result.summary.clear(), observed, settings, now)
    });
}
