//! What to do about a decision that is bound to a run and not answered: find its request, or wait for it.

use super::recover::by_others;
use super::{Observed, Step, attempt, unless_held_back};
use crate::api::time::later;
use crate::api::v1alpha1::{Exception, RunBinding, Submission};
use crate::codepipeline::{CallError, Refusal};
use crate::decision::choose::{Choice, Place, START_LAG, Wait, choose};
use crate::decision::limits::{RECORD_LAG, Settings, created};
use crate::decision::outcome::{Earlier, Expiry, Intent, Outcome, Pending};
use crate::decision::progress::stands;
use jiff::{SignedDuration, Timestamp};
use std::ops::ControlFlow;

/// How long a pipeline may be unreadable before those who wait for it are told so by their reason.
const BLINDNESS: SignedDuration = SignedDuration::from_secs(60);

/// How long a run that the service does not know may be too new to be seen.
const UNKNOWN_RUN_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Looks for the request, where nothing of ours is with the service. A `refused` attempt was answered with this exception.
pub(super) fn seek(
    seen: &Observed<'_>,
    settings: &Settings,
    now: Timestamp,
    run: RunBinding<'_>,
    refused: Option<(&Submission, &Exception)>,
) -> Step {
    let expiry = match unless_held_back(seen.decision, settings, now) {
        ControlFlow::Continue(expiry) => expiry,
        ControlFlow::Break(step) => return step,
    };
    let Some(sight) = seen.sight else {
        // Where the time is over already, the look is waited for all the same, and not by asking for it without a pause.
        let until = if now < expiry.at() { expiry.at() } else { later(now, settings.poll_interval) };
        return Step::Look(until);
    };
    if let Some(error) = sight.reading.failure() {
        return blind(seen, now, expiry, error);
    }
    let exception = refused.map(|(_, exception)| exception);
    let choice = match &sight.reading.result {
        Ok(view) => choose(view, &seen.decision.spec, run),
        Err(error) => {
            let (refusal, exception) = (Refusal::PipelineNotFound, error.exception().cloned());
            return settled(Outcome::Refused { refusal, exception, record: None }, now, expiry);
        }
    };
    let seen_late = later(sight.asked, START_LAG);
    if choice.may_be_retried() && sight.reading.begun < seen_late && now < expiry.at() {
        // Whoever retries a stage and decides at once means the request to come.
        return Step::WaitForNews { again: Some(seen_late), until: expiry.at() };
    }
    let waiting = |wait, again| {
        let (exception, until) = (exception.cloned(), expiry.at());
        Outcome::Waiting { pending: Pending::Run(wait), exception, again, until }
    };
    let outcome = match choice {
        Choice::Pending(chosen) if now < expiry.at() => {
            let (attempts, earlier) = match refused {
                None => (1, Earlier::NotTaken),
                Some((last, _)) if last.token == chosen.token => (last.attempts.saturating_add(1), Earlier::Refused),
                Some((last, _)) => (last.attempts.saturating_add(1), Earlier::NotTaken),
            };
            let submission = attempt(settings, now, attempts, &chosen.token);
            return Step::Intend(Intent { submission, ids: chosen.ids, earlier });
        }
        Choice::Pending(_) => Outcome::Expired { expiry: expiry.clone(), unproven: None },
        Choice::NotYet { wait, again } => waiting(wait, again),
        Choice::Finished(record) => by_others(seen.decision, &record, exception),
        Choice::Ended { execution, end } => Outcome::ExecutionEnded { execution, end },
        Choice::Unknown(exception) => {
            let told = later(sight.asked, UNKNOWN_RUN_PATIENCE);
            if told <= sight.reading.begun {
                Outcome::PipelineExecutionNotFound(exception)
            } else {
                waiting(Wait::UnknownRun, Some(told))
            }
        }
        Choice::Ambiguous(executions) => Outcome::AmbiguousRevision { executions },
        Choice::Missing(missing) => Outcome::Missing(missing),
    };
    settled(outcome, now, expiry)
}

/// When the time is over, only that the request was answered as this decision would have it counts: a decision that was
/// restored from a backup was answered in an earlier life.
fn settled(outcome: Outcome, now: Timestamp, expiry: Expiry) -> Step {
    Step::Settle(match outcome {
        Outcome::AlreadyDecided { .. } => outcome,
        Outcome::Waiting {
            pending: Pending::Run(Wait::Run { execution, place: Place::PastApproval | Place::OutOfSight }),
            ..
        } if expiry.at() <= now => {
            let unproven = format!("what became of the approval of run {execution} is not in CodePipeline's record");
            Outcome::Expired { expiry, unproven: Some(unproven) }
        }
        _ if expiry.at() <= now => Outcome::Expired { expiry, unproven: None },
        outcome => outcome,
    })
}

/// The pipeline cannot be read.
fn blind(seen: &Observed<'_>, now: Timestamp, expiry: Expiry, error: &CallError) -> Step {
    let since = seen.sight.and_then(|sight| sight.reading.failing_since).unwrap_or(now);
    let detail = error.detail();
    if expiry.at() <= now {
        let patience = later(created(seen.decision, now), RECORD_LAG);
        if now < patience {
            return Step::WaitForNews { again: None, until: patience };
        }
        let unproven = Some(format!("the pipeline cannot be read ({detail})"));
        return Step::Settle(Outcome::Expired { expiry, unproven });
    }
    let told = later(since, BLINDNESS);
    if told <= now {
        let (cause, exception, until) = (error.cause(), error.exception().cloned(), expiry.at());
        return Step::Settle(Outcome::Unreadable { cause, exception, detail, since, until });
    }
    let until = told.min(expiry.at());
    if stands(seen.decision) {
        return Step::WaitForNews { again: None, until };
    }
    Step::Settle(Outcome::Waiting { pending: Pending::Sight { detail, since }, exception: None, again: None, until })
}
