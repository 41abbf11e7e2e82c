//! The replicas of the operator: they perform the effects of the product's [`Reconciliation`] on this world, and report the
//! results. [`super::checks`] judges each effect by what the API server and the oracle know.

use super::acceptance::InFlightRequest;
use super::polls::Polls;
use super::targets::ObservedTarget;
use super::watch::Watch;
use super::{Checked, Fault, Replica, World, reader, uid};
use crate::fixtures::{self, SETTINGS};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Location, Submission};
use approval_operator::codepipeline::{CallError, RetryCause};
use approval_operator::decision::{Effect, Intent, Reconciliation, Requeue, Stage, WriteResult};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica has in memory.
#[derive(Default)]
pub struct Operator {
    pub watch: Watch,
    pub polls: Polls,
    /// The reconciles in progress.
    pub reconciliations: BTreeMap<usize, InProgress>,
    /// The decisions whose last reconcile is complete, and when to reconcile them again. All others are due.
    requeued: BTreeMap<usize, Option<Timestamp>>,
    /// The decisions that are due because something happened after their last reconcile started.
    woken: BTreeSet<usize>,
}

/// A reconcile in progress, and what the checks need to know of it.
pub struct InProgress {
    pub reconciliation: Reconciliation,
    /// When the poll started that the reconcile knew last, by the replica's clock.
    pub polled_at: Option<Timestamp>,
    /// The decisions that rejected the request when the intent was written.
    pub rejected_by: Vec<(usize, String, Option<i64>)>,
    /// What it observed of its target.
    pub target: Option<ObservedTarget>,
}

impl InProgress {
    const fn new(reconciliation: Reconciliation) -> Self {
        Self { reconciliation, polled_at: None, rejected_by: Vec::new(), target: None }
    }
}

impl Operator {
    /// Makes a decision due.
    pub fn wake(&mut self, number: usize) {
        self.woken.insert(number);
    }

    /// A decision was deleted. A reconcile in progress continues, and no other one starts.
    pub fn forget(&mut self, number: usize) {
        self.polls.unsubscribe(number);
        self.woken.remove(&number);
        self.requeued.insert(number, None);
    }

    pub fn next_requeue(&self) -> Option<Timestamp> {
        self.requeued.values().flatten().min().copied()
    }

    fn is_due(&self, number: usize, now: Timestamp) -> bool {
        let waits = |until: &Option<Timestamp>| until.is_none_or(|until| now < until);
        self.reconciliations.contains_key(&number)
            || self.woken.contains(&number)
            || !self.requeued.get(&number).is_some_and(waits)
    }
}

/// How a reconcile continues after an effect.
enum Progress {
    /// There is a next effect.
    Next,
    Complete(Requeue),
    /// A write failed.
    Failed,
}

impl World {
    /// A replica performs all reconciles that are due. Returns whether there were any.
    pub(super) fn reconcile_due(&mut self, replica: Replica) -> Result<bool, String> {
        let mut worked = false;
        for number in 0..self.decisions.len() {
            let now = self.clock(replica);
            if !self.operator(replica).is_due(number, now) {
                continue;
            }
            worked = true;
            for steps in 0.. {
                self.step(replica, number, Fault::None)?;
                if !self.operator(replica).reconciliations.contains_key(&number) {
                    break;
                }
                if steps > 40 {
                    return Err(format!("a reconcile of {replica:?} does not complete"));
                }
            }
        }
        Ok(worked)
    }

    pub(super) fn step_from_old_version(&mut self, replica: Replica, number: usize, age: usize) -> Checked {
        let stored = &self.decisions[number];
        if stored.deleted || self.operators[replica as usize].reconciliations.contains_key(&number) {
            return Ok(());
        }
        let version = stored.versions.len().saturating_sub(1 + age);
        let decision = stored.versions[version].clone();
        self.note(format_args!("{replica:?} starts from version {version} of decision {number}"));
        let old = InProgress::new(Reconciliation::new(decision));
        self.operator(replica).reconciliations.insert(number, old);
        self.step(replica, number, Fault::None)?;
        // The watch delivers the newer version later.
        self.operator(replica).wake(number);
        Ok(())
    }

    /// A replica performs the next effect of a reconcile, and starts a reconcile if none is in progress.
    pub(super) fn step(&mut self, replica: Replica, number: usize, fault: Fault) -> Checked {
        let operator = self.operator(replica);
        let cached = operator.watch.cached(number);
        let in_progress = operator.reconciliations.remove(&number);
        if in_progress.is_none() {
            operator.woken.remove(&number);
        }
        let start = |decision| InProgress::new(Reconciliation::new(decision));
        let Some(mut reconcile) = in_progress.or_else(|| cached.map(start)) else {
            operator.requeued.insert(number, None);
            return Ok(());
        };
        let progress = self.perform_next(replica, number, &mut reconcile, fault)?;
        let now = self.clock(replica);
        let operator = self.operator(replica);
        let is_deleted = operator.watch.delivered(number).is_none();
        let requeue_at = match progress {
            Progress::Next => {
                operator.reconciliations.insert(number, reconcile);
                return Ok(());
            }
            Progress::Complete(_) | Progress::Failed if is_deleted => None,
            Progress::Complete(Requeue::AwaitChange) => None,
            Progress::Complete(Requeue::At(time) | Requeue::OnPipelineChange { until: time, .. }) => Some(time),
            Progress::Failed => Some(now),
        };
        let is_subscribed = matches!(progress, Progress::Complete(Requeue::OnPipelineChange { .. }) | Progress::Failed);
        if is_deleted || !is_subscribed {
            operator.polls.unsubscribe(number);
        }
        operator.requeued.insert(number, requeue_at);
        Ok(())
    }

    /// Performs the next effect, unless the reconcile is complete. Announcements have no effect on the world.
    fn perform_next(
        &mut self,
        replica: Replica,
        number: usize,
        reconcile: &mut InProgress,
        fault: Fault,
    ) -> Result<Progress, String> {
        loop {
            let now = self.clock(replica);
            let polled = reconcile.reconciliation.observed().pipeline.map(|pipeline| pipeline.poll.started_at);
            reconcile.polled_at = polled.or(reconcile.polled_at);
            if reconcile.reconciliation.observed().target.is_none() {
                reconcile.target = None;
            }
            let reconciliation = &mut reconcile.reconciliation;
            match reconciliation.next_by(self.subject.decide, &SETTINGS, now) {
                Effect::Announce(announcement) => {
                    let reason = announcement.reason.as_str();
                    self.note(format_args!("{replica:?} announces {reason} of decision {number}"));
                    continue;
                }
                Effect::Finish(requeue) => return Ok(Progress::Complete(requeue)),
                Effect::FindTarget { target } => {
                    let (observation, observed) = self.observe(target.as_deref());
                    reconciliation.on_target(observation);
                    reconcile.target = Some(observed);
                    continue;
                }
                Effect::ReadPipeline { target, pipeline, query, condition } => {
                    self.check_read(reconcile)?;
                    let (pipeline, reconciliation) = ((target, pipeline), &mut reconcile.reconciliation);
                    let decision = reconciliation.decision();
                    let newest = self.subscribe(replica, number, decision, (pipeline, query), condition);
                    reconciliation.on_snapshot(newest);
                }
                Effect::ListRejections => {
                    let index = self.operator(replica).watch.rejections.clone();
                    let location = |rejecting: &ApprovalDecision| self.observed_location(rejecting);
                    reconciliation.on_rejections(index.rejections_for(reconciliation.decision(), location));
                    // A process can be stopped between any two effects. This one only reads the memory.
                    continue;
                }
                // It is for the message alone.
                Effect::FindAccepted { .. } => continue,
                Effect::EnsureCredentials { target } => {
                    let credentials = self.ensure_credentials(replica, target.as_deref(), fault);
                    reconciliation.on_credentials(credentials);
                }
                Effect::RecordIntent(status) => {
                    self.check_intent(replica, number, reconciliation.decision())?;
                    let Stage::RecordIntent(Intent { submission, prior, .. }) = reconciliation.stage().clone() else {
                        return Err("an intent was recorded at another stage".to_owned());
                    };
                    self.check_location(reconcile, &submission)?;
                    let reconciliation = &mut reconcile.reconciliation;
                    let attempts = submission.attempts;
                    self.note(format_args!(
                        "{replica:?} records the intent of attempt {attempts} of decision {number} ({prior:?})"
                    ));
                    reconcile.rejected_by = self.rejections_of(replica, number, &submission);
                    match self.write(replica, number, reconciliation.decision(), *status, fault)? {
                        Some(result) => reconciliation.on_written(result, now),
                        None => return Ok(Progress::Failed),
                    }
                }
                Effect::Send { submission, .. } => {
                    self.check_send(number, reconciliation, now)?;
                    self.check_location(reconcile, &submission)?;
                    let response = self.send(replica, number, reconcile, &submission, fault);
                    if !matches!(response, Err(CallError::NotApplied { .. })) {
                        let sent = self.clock(replica);
                        let Submission { pipeline_name, stage_name, action_name, .. } = &*submission;
                        let polls = &mut self.operator(replica).polls;
                        polls.invalidate(pipeline_name, (stage_name, action_name), sent);
                    }
                    reconcile.reconciliation.on_response(response);
                }
                Effect::WriteStatus(status) => {
                    self.check_report(replica, number, reconciliation)?;
                    match self.write(replica, number, reconciliation.decision(), *status, fault)? {
                        Some(result) => reconciliation.on_written(result, now),
                        None if reconciliation.on_write_failed().is_some() => {}
                        None => return Ok(Progress::Failed),
                    }
                }
            }
            if !matches!(reconcile.reconciliation.stage(), Stage::Finish(_)) {
                return Ok(Progress::Next);
            }
        }
    }

    fn ensure_credentials(
        &mut self,
        replica: Replica,
        target: Option<&str>,
        fault: Fault,
    ) -> Result<Location, CallError> {
        if matches!(fault, Fault::NotApplied) {
            self.note(format_args!("{replica:?} finds no credentials"));
            return Err(fixtures::not_applied(RetryCause::CredentialsUnavailable));
        }
        self.location_of(target).ok_or_else(|| fixtures::not_applied(RetryCause::CredentialsUnavailable))
    }

    fn send(
        &mut self,
        replica: Replica,
        number: usize,
        reconcile: &InProgress,
        submission: &Submission,
        fault: Fault,
    ) -> Result<Option<Timestamp>, CallError> {
        let decision = reconcile.reconciliation.decision();
        let offset = self.clock(replica).duration_since(self.now());
        let still_rejected_by = self.rejections_of(replica, number, submission);
        let rejected_by = reconcile.rejected_by.iter().find(|rejection| still_rejected_by.contains(rejection));
        let request = InFlightRequest {
            uid: uid(decision),
            generation: decision.metadata.generation,
            spec: decision.spec.clone(),
            submission: submission.clone(),
            caller: self.caller(&uid(decision), submission),
            polled_at: reconcile.polled_at.map(|polled_at| polled_at - offset),
            rejected_by: rejected_by.map(|(number, ..)| *number),
        };
        self.note(format_args!("{replica:?} sends the result of {} ({fault:?})", request.uid));
        if self.location_of(submission.target.as_deref()) != Some(fixtures::location()) {
            self.note("the other account has no such pipeline");
            return Err(reader::no_pipeline());
        }
        match fault {
            Fault::None => return self.aws().receive(&request).map(Some),
            Fault::NotApplied => return Err(fixtures::not_applied(RetryCause::Throttled)),
            Fault::ResponseLost => drop(self.aws().receive(&request)),
            Fault::Slow(milliseconds) => self.aws().receive_later(milliseconds, request),
            Fault::RequestLost => {}
        }
        Err(fixtures::indeterminate())
    }

    /// Writes a status over the version that the replica knows. Returns nothing if the API server could not be reached, or if
    /// its response was lost.
    fn write(
        &mut self,
        replica: Replica,
        number: usize,
        decision: &ApprovalDecision,
        status: ApprovalDecisionStatus,
        fault: Fault,
    ) -> Result<Option<WriteResult>, String> {
        if matches!(fault, Fault::NotApplied | Fault::RequestLost) {
            self.note(format_args!("{replica:?} cannot reach the API server"));
            return Ok(None);
        }
        let live = self.decisions[number].live().filter(|live| uid(live) == uid(decision));
        let Some(mut live) = live.cloned() else { return Ok(Some(WriteResult::Gone)) };
        if live.metadata.resource_version != decision.metadata.resource_version {
            self.note(format_args!("{replica:?} gets a conflict, because someone else wrote first"));
            return Ok(Some(WriteResult::Conflict(Box::new(live))));
        }
        self.check_doubt(&live, &status)?;
        live.status = Some(status);
        let written = self.store(number, live, false);
        if matches!(fault, Fault::ResponseLost | Fault::Slow(_)) {
            self.note(format_args!("{replica:?} does not get the response to its write"));
            return Ok(None);
        }
        Ok(Some(WriteResult::Written(Box::new(written))))
    }
}
