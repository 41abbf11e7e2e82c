//! The search is worth what it catches: `decide` with one defect each, and the one property that this breaks first on any
//! way.

use super::people::{Bound, Edit};
use super::properties::{CLOSED, RUN, SETTLES, TRUTH, search};
use super::state::Budget;
use super::worlds::{NOTHING, TOKEN};
use super::{Decide, Setting};
use crate::api::time::later;
use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::{CallError, ExecutionIds, Refusal};
use crate::decision::decide::{Attempt, Observed, Step, attempt, decide};
use crate::decision::fixtures::Given;
use crate::decision::limits::Settings;
use crate::decision::outcome::{Earlier, Intent, Outcome};
use crate::decision::progress::Progress;
use jiff::{SignedDuration, Timestamp};
use stateright::HasDiscoveries;

/// Just enough for most of them to do harm.
const SETTING: Setting =
    Setting { name: "mutant", jumps: &[21], budget: Budget { faults: 1, passes: 1, ..NOTHING }, ..TOKEN };

const EDITED: Setting = Setting {
    edits: &[Edit::Suspend, Edit::Expire, Edit::Hold],
    budget: Budget { edits: 1, passes: 1, ..NOTHING },
    ..SETTING
};

fn breaks(property: &str, setting: &Setting, mutant: Decide) {
    assert_eq!(search(setting, mutant, HasDiscoveries::All).broken, [property]);
}

#[test]
fn a_mutant_that_answers_whatever_is_pending_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        let view = seen.sight.and_then(|sight| sight.reading.result.as_ref().ok());
        let shown = view.into_iter().flat_map(|view| &view.state.stages).flat_map(|stage| &stage.actions);
        let token = shown.filter_map(|action| action.latest_execution.as_ref()?.token.as_ref()).next();
        match (decide(seen, settings, now), token) {
            (Step::Settle(Outcome::Waiting { .. }), Some(token)) => {
                let pipeline = seen.decision.spec.pipeline_execution_id.as_ref().map(|run| run.0.clone());
                let (submission, ids) = (attempt(settings, now, 1, token), ExecutionIds { pipeline, action: None });
                Step::Intend(Intent { submission, ids, earlier: Earlier::NotTaken })
            }
            (step, _) => step,
        }
    }
    let budget = Budget { passes: 1, ..NOTHING };
    for bound in [Bound::Execution, Bound::Revision] {
        breaks(RUN, &Setting { bound, run: 1, budget, ..SETTING }, mutant);
    }
}

#[test]
fn a_mutant_that_asks_again_in_place_of_reading_the_record_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match (seen.attempt, Progress::of(seen.decision)) {
            (Attempt::None, Progress::UnderWay(last)) if last.deadline <= now => {
                let submission = attempt(settings, now, last.attempts + 1, &last.token);
                Step::Intend(Intent { submission, ids: ExecutionIds::default(), earlier: Earlier::NotTaken })
            }
            (Attempt::Answered(_, Err(CallError::Refused { refusal, exception })), _)
                if *refusal == Refusal::ApprovalAlreadyCompleted =>
            {
                let (refusal, exception) = (*refusal, Some(exception.clone()));
                Step::Settle(Outcome::Refused { refusal, exception, record: None })
            }
            _ => decide(seen, settings, now),
        }
    }
    breaks(TRUTH, &SETTING, mutant);
}

#[test]
fn a_mutant_that_takes_a_lost_answer_for_a_success_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match seen.attempt {
            Attempt::Answered(_, Err(CallError::Lost { .. })) => {
                Step::Settle(Outcome::Delivered { approved_at: Some(now), record: None })
            }
            _ => decide(seen, settings, now),
        }
    }
    breaks(TRUTH, &SETTING, mutant);
}

#[test]
fn a_mutant_that_takes_the_answers_of_others_for_its_own_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(seen, settings, now) {
            Step::Settle(Outcome::AlreadyDecided { record, .. }) => {
                Step::Settle(Outcome::Delivered { approved_at: record.at, record: Some(record) })
            }
            step => step,
        }
    }
    breaks(TRUTH, &Setting { budget: Budget { answers: 1, ..SETTING.budget }, ..SETTING }, mutant);
}

#[test]
fn a_mutant_that_sends_twice_under_one_intent_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match seen.attempt {
            Attempt::Answered(intent, Err(CallError::Lost { .. })) if now < intent.submission.deadline => {
                Step::Send { intent: intent.clone(), latest: intent.submission.deadline }
            }
            _ => decide(seen, settings, now),
        }
    }
    breaks(TRUTH, &SETTING, mutant);
}

/// What `decide` would say if the decision were another.
fn as_if(change: fn(&mut ApprovalDecision), seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
    decide(&Observed { decision: &seen.decision.clone().with(change), ..seen.clone() }, settings, now)
}

#[test]
fn a_mutant_that_does_not_care_whether_it_is_suspended_is_caught() {
    breaks(CLOSED, &EDITED, |seen, settings, now| as_if(|decision| decision.spec.suspend = false, seen, settings, now));
}

#[test]
fn a_mutant_that_does_not_care_for_not_after_is_caught() {
    breaks(CLOSED, &EDITED, |seen, settings, now| {
        as_if(|decision| decision.spec.not_after = None, seen, settings, now)
    });
}

#[test]
fn a_mutant_that_does_not_care_whether_it_is_deleted_is_caught() {
    breaks(CLOSED, &EDITED, |seen, settings, now| {
        as_if(|decision| decision.metadata.deletion_timestamp = None, seen, settings, now)
    });
}

#[test]
fn a_mutant_that_sends_without_an_intent_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(seen, settings, now) {
            Step::Intend(intent) => Step::Send { latest: intent.submission.deadline, intent },
            step => step,
        }
    }
    breaks(CLOSED, &SETTING, mutant);
}

#[test]
fn a_mutant_whose_requests_may_arrive_after_their_deadline_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(seen, settings, now) {
            Step::Send { intent, .. } => Step::Send { latest: intent.submission.deadline, intent },
            step => step,
        }
    }
    breaks(CLOSED, &SETTING, mutant);
}

#[test]
fn a_mutant_that_never_reads_the_record_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(seen, settings, now) {
            Step::ReadRecord(_) => Step::WaitUntil(later(now, settings.poll_interval)),
            step => step,
        }
    }
    breaks(SETTLES, &SETTING, mutant);
}

#[test]
fn a_mutant_that_never_asks_again_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match decide(seen, settings, now) {
            Step::Intend(Intent { earlier: Earlier::InDoubt, .. }) => {
                Step::WaitUntil(later(now, SignedDuration::from_secs(1)))
            }
            step => step,
        }
    }
    breaks(SETTLES, &SETTING, mutant);
}

#[test]
fn a_mutant_that_forgets_what_was_not_taken_is_caught() {
    fn mutant(seen: &Observed<'_>, settings: &Settings, now: Timestamp) -> Step {
        match Progress::of(seen.decision) {
            Progress::Retrying(_) if *seen.attempt == Attempt::None => Step::Rest,
            _ => decide(seen, settings, now),
        }
    }
    breaks(SETTLES, &SETTING, mutant);
}
