//! One reconcile of one decision, as a state machine without I/O: [`Reconciliation::next`] says which effect to perform, and the
//! `on_…` methods take its result. The operator, the simulation and the model checker all drive this code.
//!
//! A driver that loses the result of an effect is safe: a request whose response is not reported counts as in doubt, and is
//! never sent again under the same intent.

mod effect;

use super::conflict::Rejections;
use super::decide::{Decide, decide};
use super::last::started;
use super::outcome::{Outcome, Requeue};
use super::phase::current_reason;
use super::status::{Announcement, Details, Report, result_still_unrecorded, status};
use super::step::{Attempt, Observed, Step};
use super::subject::{query_of, subject, target_of};
use super::target::TargetObservation;
use super::target_rules::{prepared, resolved_location};
use super::timing::Settings;
use crate::api::v1alpha1::{ApprovalDecision, Location, Reason};
use crate::backoff;
use crate::codepipeline::{CallError, PipelineObservation, WakeCondition};
use jiff::Timestamp;
use std::time::Duration;

pub use effect::{Effect, Stage, WriteResult};

/// A reconcile in progress.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    decision: ApprovalDecision,
    attempt: Attempt,
    target: Option<TargetObservation>,
    pipeline: Option<PipelineObservation>,
    rejections: Option<Rejections>,
    /// The last reason that was announced.
    previous_reason: Option<Reason>,
    /// What to announce once the status that was handed out is written.
    unwritten_announcement: Option<Announcement>,
    announcement: Option<Announcement>,
    stage: Stage,
}

impl Reconciliation {
    /// Starts to reconcile a decision.
    #[must_use]
    pub fn new(decision: ApprovalDecision) -> Self {
        Self {
            previous_reason: current_reason(&decision),
            decision,
            attempt: Attempt::None,
            target: None,
            pipeline: None,
            rejections: None,
            unwritten_announcement: None,
            announcement: None,
            stage: Stage::Decide,
        }
    }

    /// The object, as it was watched, read or last written.
    #[must_use]
    pub const fn decision(&self) -> &ApprovalDecision {
        &self.decision
    }

    /// What this reconcile knows.
    #[must_use]
    pub const fn observed(&self) -> Observed<'_> {
        Observed {
            decision: &self.decision,
            attempt: &self.attempt,
            target: self.target.as_ref(),
            pipeline: self.pipeline.as_ref(),
            rejections: self.rejections.as_ref(),
        }
    }

    /// What it is about to do.
    #[must_use]
    pub const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The next effect.
    pub fn next(&mut self, settings: &Settings, now: Timestamp) -> Effect {
        self.next_by(decide, settings, now)
    }

    /// The next effect according to `decide`, which may be a mutant.
    pub fn next_by(&mut self, decide: Decide, settings: &Settings, now: Timestamp) -> Effect {
        loop {
            if let Some(announcement) = self.announcement.take() {
                return Effect::Announce(announcement);
            }
            match &self.stage {
                Stage::Decide => {
                    let step = decide(&self.observed(), settings, now);
                    if let Some(effect) = self.start(step) {
                        return effect;
                    }
                }
                Stage::Prepare(intent) => {
                    return Effect::EnsureCredentials { target: intent.submission.target.clone() };
                }
                Stage::RecordIntent(intent) => {
                    let intent = started(intent, settings, now);
                    let outcome = Outcome::Submitting(intent.clone());
                    let status = status(&self.decision, &outcome, now);
                    let status = self.details(settings).added_to(status, &self.decision, &outcome, now);
                    self.stage = Stage::RecordIntent(intent);
                    return Effect::RecordIntent(Box::new(status));
                }
                Stage::Report { outcome, .. } => {
                    let details = self.details(settings);
                    let Report { status, announcement } =
                        Report::new(&subject(&self.decision), outcome, details, self.previous_reason, now);
                    self.unwritten_announcement = announcement;
                    if self.decision.status.as_ref() != Some(&status) {
                        return Effect::WriteStatus(Box::new(status));
                    }
                    let requeue = outcome.requeue();
                    self.announce();
                    match (requeue, &self.attempt) {
                        // The write landed although it seemed to fail. This is as if it had been reported.
                        (Requeue::AwaitChange, Attempt::Submitted(..)) => self.restart(),
                        (requeue, _) => self.finish_or_wait(requeue),
                    }
                }
                Stage::ReadPipeline { recheck_at, .. } => {
                    let condition = self.wake_condition(*recheck_at);
                    match query_of(&self.decision) {
                        Some((pipeline, query)) => {
                            let target = target_of(&self.decision).map(str::to_owned);
                            return Effect::ReadPipeline { target, pipeline, query, condition };
                        }
                        None => self.stage = Stage::Finish(Requeue::AwaitChange),
                    }
                }
                Stage::Finish(requeue) => return Effect::Finish(*requeue),
            }
        }
    }

    /// The effect that a step starts with, if it is not decided in memory alone.
    fn start(&mut self, step: Step) -> Option<Effect> {
        self.stage = match step {
            Step::AwaitChange => Stage::Finish(Requeue::AwaitChange),
            Step::WaitUntil(time) => Stage::Finish(Requeue::At(time)),
            Step::AwaitSnapshot { recheck_at, until } => Stage::ReadPipeline { recheck_at, until },
            Step::FindTarget => {
                return Some(Effect::FindTarget { target: target_of(&self.decision).map(str::to_owned) });
            }
            Step::ReadPipeline(until) => Stage::ReadPipeline { recheck_at: None, until },
            Step::ListRejections => return Some(Effect::ListRejections),
            Step::RecordIntent(intent) => Stage::Prepare(intent),
            Step::Send { intent, send_deadline } => {
                let submission = Box::new(intent.submission.clone());
                // Until the response is reported, CodePipeline may have accepted the result.
                let unknown = CallError::Indeterminate { detail: "the response was not reported".to_owned() };
                self.attempt = Attempt::Submitted(intent, Err(unknown));
                self.drop_observations();
                return Some(Effect::Send { submission, send_deadline });
            }
            Step::WriteStatus(outcome) => {
                let ids = outcome.ids_of_response(&self.decision);
                self.stage = Stage::Report { outcome, failures: 0 };
                return (!ids.is_empty()).then_some(Effect::FindAccepted { ids });
            }
        };
        None
    }

    /// The target.
    pub fn on_target(&mut self, target: TargetObservation) {
        self.target = Some(target);
    }

    /// The newest poll of the pipeline, if there is one as wanted. Otherwise a poll that is will start another reconcile.
    pub fn on_snapshot(&mut self, newest: Option<PipelineObservation>) {
        self.stage = match (newest, &self.stage) {
            (None, Stage::ReadPipeline { recheck_at, until }) => {
                Stage::Finish(Requeue::OnPipelineChange { recheck_at: *recheck_at, until: *until })
            }
            (newest, _) => {
                self.pipeline = newest;
                Stage::Decide
            }
        };
    }

    /// The decisions that reject requests of the same action.
    pub fn on_rejections(&mut self, rejections: Rejections) {
        self.rejections = Some(rejections);
    }

    /// The decision whose result CodePipeline accepted for the request, if there is one. It is for the message alone.
    pub fn on_accepted(&mut self, found: Option<String>) {
        if let Stage::Report { outcome, .. } = &mut self.stage
            && let Some(record) = outcome.response_mut()
        {
            record.decision = found;
        }
    }

    /// Whether there are credentials, and whose.
    pub fn on_credentials(&mut self, result: Result<Location, CallError>) {
        if let Stage::Prepare(intent) = &self.stage {
            let intent = intent.clone();
            let prepared = match result {
                Ok(location) => prepared(&self.observed(), intent, location),
                Err(error) => Err(Box::new(Attempt::NotPrepared(intent, error))),
            };
            self.stage = match prepared {
                Ok(intent) => Stage::RecordIntent(intent),
                Err(attempt) => {
                    self.attempt = *attempt;
                    self.drop_observations();
                    Stage::Decide
                }
            };
        }
    }

    /// The response to the request, or why there is none.
    pub fn on_response(&mut self, response: Result<Option<Timestamp>, CallError>) {
        if let Attempt::Submitted(_, result) = &mut self.attempt {
            *result = response;
        }
    }

    /// The result of a write.
    pub fn on_written(&mut self, result: WriteResult, now: Timestamp) {
        match result {
            WriteResult::Written(decision) => {
                let reads = |decision| (target_of(decision), query_of(decision));
                if reads(&decision) != reads(&self.decision) {
                    (self.target, self.pipeline) = (None, None);
                }
                self.decision = *decision;
                match std::mem::replace(&mut self.stage, Stage::Decide) {
                    Stage::RecordIntent(intent) => {
                        self.attempt = Attempt::IntentRecorded(intent);
                        self.drop_observations();
                    }
                    Stage::Report { outcome, .. } => {
                        self.announce();
                        match outcome.requeue() {
                            // An edit or a new annotation may have arrived while the submission was in flight.
                            Requeue::AwaitChange => self.restart(),
                            requeue => self.finish_or_wait(requeue),
                        }
                    }
                    stage => self.stage = stage,
                }
            }
            WriteResult::Conflict(decision) => {
                self.decision = *decision;
                if !self.outcome_is_unrecorded(now) {
                    self.restart();
                }
            }
            WriteResult::Gone => self.stage = Stage::Finish(Requeue::AwaitChange),
        }
    }

    /// A write failed, and may have landed. Returns the delay before the next try where the outcome of a request that was sent must
    /// be written, because no one else knows it. Otherwise the reconcile fails.
    pub fn on_write_failed(&mut self) -> Option<Duration> {
        let (Attempt::Submitted(..), Stage::Report { failures, .. }) = (&self.attempt, &mut self.stage) else {
            return None;
        };
        *failures = failures.saturating_add(1);
        Some(backoff::OUTCOME_WRITE.delay(*failures))
    }

    fn details<'a>(&'a self, settings: &'a Settings) -> Details<'a> {
        let poll = self.pipeline.as_ref().map(|pipeline| &pipeline.poll);
        let snapshot = poll.and_then(|poll| poll.result.as_deref().ok());
        Details { settings, snapshot, location: resolved_location(&self.observed()) }
    }

    fn outcome_is_unrecorded(&self, now: Timestamp) -> bool {
        let (Attempt::Submitted(intent, _), Stage::Report { outcome, .. }) = (&self.attempt, &self.stage) else {
            return false;
        };
        result_still_unrecorded(&self.decision, &intent.submission, outcome, now)
    }

    fn announce(&mut self) {
        if let Some(announcement) = self.unwritten_announcement.take() {
            self.previous_reason = Some(announcement.reason);
            self.announcement = Some(announcement);
        }
    }

    fn finish_or_wait(&mut self, requeue: Requeue) {
        self.stage = match requeue {
            Requeue::AwaitChange | Requeue::At(_) => Stage::Finish(requeue),
            Requeue::OnPipelineChange { recheck_at, until } => {
                self.attempt = Attempt::None;
                match self.target {
                    Some(_) => Stage::ReadPipeline { recheck_at, until },
                    // Nothing is read before the target was looked for again.
                    None => Stage::Decide,
                }
            }
        };
    }

    fn wake_condition(&self, recheck_at: Option<Timestamp>) -> WakeCondition {
        match &self.pipeline {
            Some(pipeline) => WakeCondition::NewerThan { known: pipeline.poll.clone(), recheck_at },
            None => WakeCondition::Any,
        }
    }

    /// Starts over with the object as it is now.
    fn restart(&mut self) {
        self.attempt = Attempt::None;
        self.stage = Stage::Decide;
        self.drop_observations();
    }

    /// What was observed before a write or a request says nothing about what follows it.
    fn drop_observations(&mut self) {
        (self.target, self.pipeline, self.rejections) = (None, None, None);
    }
}

#[cfg(test)]
mod tests;
