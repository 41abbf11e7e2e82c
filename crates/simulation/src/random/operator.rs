//! The replicas of the operator: they perform the effects of the product's [`Reconciliation`] on this world, and report the
//! results. Each effect is checked against what the API server and the oracle know.

use super::aws::InFlightRequest;
use super::polls::{Polls, moment};
use super::reader::{Calls, describe_record};
use super::{Checked, Fault, Replica, World, uid};
use crate::fixtures::{self, SETTINGS};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ReadyClass, Reason, Token,
};
use approval_operator::codepipeline::{
    CallError, ExecutionIds, PipelineObservation, Query, RecordQuery, RetryCause, WakeCondition, read_approval_record,
};
use approval_operator::decision::phase::submission;
use approval_operator::decision::{
    Attempt, Effect, Intent, Message, Reconciliation, RecordObservation, Requeue, Stage, WriteResult, current_reason,
    status_is_current, subscription_generation,
};
use futures::FutureExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica has in memory.
#[derive(Default)]
pub struct Operator {
    pub polls: Polls,
    /// The reconciles in progress.
    reconciliations: BTreeMap<usize, Reconciliation>,
    /// The decisions whose last reconcile is complete, and when to reconcile them again. All others are due.
    requeued: BTreeMap<usize, Option<Timestamp>>,
    /// The decisions that are due because something happened after their last reconcile started.
    woken: BTreeSet<usize>,
}

impl Operator {
    /// Makes a decision due.
    pub fn wake(&mut self, number: usize) {
        self.woken.insert(number);
    }

    /// A decision was deleted. A reconcile in progress continues, and no other one starts.
    pub fn forget(&mut self, number: usize) {
        self.polls.schedule.unsubscribe(&number);
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
        self.operator(replica).reconciliations.insert(number, Reconciliation::new(decision));
        self.step(replica, number, Fault::None)?;
        // The watch delivers the newer version later.
        self.operator(replica).wake(number);
        Ok(())
    }

    /// A replica performs the next effect of a reconcile, and starts a reconcile if none is in progress.
    pub(super) fn step(&mut self, replica: Replica, number: usize, fault: Fault) -> Checked {
        let live = self.decisions[number].live().cloned();
        let operator = self.operator(replica);
        let in_progress = operator.reconciliations.remove(&number);
        if in_progress.is_none() {
            operator.woken.remove(&number);
        }
        let Some(mut reconciliation) = in_progress.or_else(|| live.map(Reconciliation::new)) else {
            operator.requeued.insert(number, None);
            return Ok(());
        };
        let progress = self.perform_next(replica, number, &mut reconciliation, fault)?;
        let is_deleted = self.decisions[number].live().is_none();
        let now = self.clock(replica);
        let operator = self.operator(replica);
        let requeue_at = match progress {
            Progress::Next => {
                operator.reconciliations.insert(number, reconciliation);
                return Ok(());
            }
            Progress::Complete(_) | Progress::Failed if is_deleted => None,
            Progress::Complete(Requeue::AwaitChange) => None,
            Progress::Complete(Requeue::At(time) | Requeue::OnPipelineChange { until: time, .. }) => Some(time),
            Progress::Failed => Some(now),
        };
        let is_subscribed = matches!(progress, Progress::Complete(Requeue::OnPipelineChange { .. }) | Progress::Failed);
        if is_deleted || !is_subscribed {
            operator.polls.schedule.unsubscribe(&number);
        }
        operator.requeued.insert(number, requeue_at);
        Ok(())
    }

    /// Performs the next effect, unless the reconcile is complete. Announcements have no effect on the world.
    fn perform_next(
        &mut self,
        replica: Replica,
        number: usize,
        reconciliation: &mut Reconciliation,
        fault: Fault,
    ) -> Result<Progress, String> {
        loop {
            let now = self.clock(replica);
            match reconciliation.next(&SETTINGS, now) {
                Effect::Announce(announcement) => {
                    let reason = announcement.reason.as_str();
                    self.note(format_args!("{replica:?} announces {reason} of decision {number}"));
                    continue;
                }
                Effect::Finish(requeue) => return Ok(Progress::Complete(requeue)),
                Effect::ReadPipeline(condition) => {
                    let newest = self.subscribe(replica, number, reconciliation.decision(), condition);
                    reconciliation.on_snapshot(newest);
                }
                Effect::ReadRecord { token, ids } => {
                    let decision = reconciliation.decision();
                    let record = self.read_record(replica, decision, &token, &ids, fault)?;
                    reconciliation.on_record(record);
                }
                Effect::EnsureCredentials => {
                    self.check_choice(replica, reconciliation)?;
                    reconciliation.on_credentials(self.ensure_credentials(replica, fault));
                }
                Effect::RecordIntent(status) => {
                    self.check_intent(number, reconciliation.decision())?;
                    if let Stage::RecordIntent(Intent { submission, prior, .. }) = reconciliation.stage() {
                        let attempts = submission.attempts;
                        self.note(format_args!(
                            "{replica:?} records the intent of attempt {attempts} of decision {number} ({prior:?})"
                        ));
                    }
                    match self.write(replica, number, reconciliation.decision(), *status, fault) {
                        Some(result) => reconciliation.on_written(result, now),
                        None => return Ok(Progress::Failed),
                    }
                }
                Effect::Send { token, .. } => {
                    self.check_send(number, reconciliation, now)?;
                    let response = self.send(replica, reconciliation.decision(), &token, fault);
                    if !matches!(response, Err(CallError::NotApplied { .. })) {
                        let sent = moment(self.clock(replica));
                        let ApprovalDecisionSpec { stage_name, action_name, .. } = &reconciliation.decision().spec;
                        self.operator(replica).polls.schedule.invalidate(stage_name, action_name, sent);
                    }
                    reconciliation.on_response(response);
                }
                Effect::WriteStatus(status) => {
                    self.check_report(replica, number, reconciliation)?;
                    match self.write(replica, number, reconciliation.decision(), *status, fault) {
                        Some(result) => reconciliation.on_written(result, now),
                        None if reconciliation.on_write_failed().is_some() => {}
                        None => return Ok(Progress::Failed),
                    }
                }
            }
            if !matches!(reconciliation.stage(), Stage::Finish(_)) {
                return Ok(Progress::Next);
            }
        }
    }

    /// Subscribes to the pipeline, and returns the newest poll if it meets the condition.
    fn subscribe(
        &mut self,
        replica: Replica,
        number: usize,
        decision: &ApprovalDecision,
        condition: WakeCondition,
    ) -> Option<PipelineObservation> {
        let query = Query::of(&decision.spec)?;
        let generation = subscription_generation(decision);
        let now = moment(self.clock(replica));
        let schedule = &mut self.operator(replica).polls.schedule;
        schedule.subscribe(number, generation, query, condition, now)
    }

    fn read_record(
        &mut self,
        replica: Replica,
        decision: &ApprovalDecision,
        token: &Token,
        ids: &ExecutionIds,
        fault: Fault,
    ) -> Result<RecordObservation, String> {
        let started_at = self.clock(replica);
        let calls = Calls::of_record(&self.aws, self.scenario.page_size, fault);
        let query = RecordQuery { spec: &decision.spec, token, ids };
        let result = read_approval_record(&calls, query).now_or_never().ok_or("a read of history does not complete")?;
        self.note(format_args!("{replica:?} reads the history of the approval: {}", describe_record(&result)));
        Ok(RecordObservation { started_at, result })
    }

    fn ensure_credentials(&mut self, replica: Replica, fault: Fault) -> Result<(), CallError> {
        if matches!(fault, Fault::NotApplied) {
            self.note(format_args!("{replica:?} finds no credentials"));
            return Err(fixtures::not_applied(RetryCause::CredentialsUnavailable));
        }
        Ok(())
    }

    /// If this write can land, the decision must not be settled, or Stalled and unchanged since.
    fn check_intent(&self, number: usize, decision: &ApprovalDecision) -> Checked {
        let version = |decision: &ApprovalDecision| decision.metadata.resource_version.clone();
        let Some(live) = self.decisions[number].live().filter(|live| version(live) == version(decision)) else {
            return Ok(());
        };
        match current_reason(live).map(Reason::ready_class) {
            Some(ReadyClass::Settled) => Err("an intent was recorded although Ready is True".to_owned()),
            Some(ReadyClass::Stalled) if status_is_current(live) => {
                Err("an intent was recorded although the decision is Stalled and unchanged".to_owned())
            }
            Some(
                ReadyClass::Stalled
                | ReadyClass::Retrying
                | ReadyClass::InFlight
                | ReadyClass::Waiting
                | ReadyClass::Suspended,
            )
            | None => Ok(()),
        }
    }

    /// A request may be sent only if the object at the API server allows it.
    fn check_send(&mut self, number: usize, reconciliation: &Reconciliation, now: Timestamp) -> Checked {
        let decision = reconciliation.decision();
        let Attempt::Submitted(intent, _) = reconciliation.observed().attempt else {
            return Err("a request was sent without an intent".to_owned());
        };
        if !self.sent.insert((uid(decision), decision.metadata.resource_version.clone())) {
            return Err("two requests were sent under one recorded intent".to_owned());
        }
        let Some(live) = self.decisions[number].live().filter(|live| uid(live) == uid(decision)) else {
            return Ok(());
        };
        let not_after = live.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let is_recorded =
            submission(live) == Some(&intent.submission) && current_reason(live) == Some(Reason::Submitting);
        let violations = [
            (!is_recorded, "although its intent is not recorded"),
            (live.spec != decision.spec, "from an older edit of the decision"),
            (live.spec.suspend, "although the decision was suspended"),
            (not_after.is_some_and(|time| time.map_or(true, |time| time <= now)), "after notAfter"),
        ];
        match violations.into_iter().find(|(is_violated, _)| *is_violated) {
            Some((_, violation)) => Err(format!("a request was sent {violation}")),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        replica: Replica,
        decision: &ApprovalDecision,
        token: &Token,
        fault: Fault,
    ) -> Result<Option<Timestamp>, CallError> {
        let request = InFlightRequest { uid: uid(decision), spec: decision.spec.clone(), token: token.clone() };
        self.note(format_args!("{replica:?} sends the result of {} ({fault:?})", request.uid));
        match fault {
            Fault::None => return self.aws().receive(&request).map(Some),
            Fault::NotApplied => return Err(fixtures::not_applied(RetryCause::Throttled)),
            Fault::ResponseLost => drop(self.aws().receive(&request)),
            Fault::Slow(milliseconds) => self.aws().receive_later(milliseconds, request),
            Fault::RequestLost => {}
        }
        Err(fixtures::indeterminate())
    }

    fn check_report(&mut self, replica: Replica, number: usize, reconciliation: &Reconciliation) -> Checked {
        let Stage::Report { outcome, .. } = reconciliation.stage() else {
            return Err("a status was written without an outcome".to_owned());
        };
        let message = Message::new(reconciliation.decision(), outcome).within(1_000);
        let reason = outcome.reason().as_str();
        self.note(format_args!("{replica:?} reports {reason} for decision {number}: {message}"));
        self.check_claim(replica, number, reconciliation, outcome)
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
    ) -> Option<WriteResult> {
        if matches!(fault, Fault::NotApplied | Fault::RequestLost) {
            self.note(format_args!("{replica:?} cannot reach the API server"));
            return None;
        }
        let live = self.decisions[number].live().filter(|live| uid(live) == uid(decision));
        let Some(mut live) = live.cloned() else { return Some(WriteResult::Gone) };
        if live.metadata.resource_version != decision.metadata.resource_version {
            self.note(format_args!("{replica:?} gets a conflict, because someone else wrote first"));
            return Some(WriteResult::Conflict(Box::new(live)));
        }
        live.status = Some(status);
        let written = self.store(number, live);
        if matches!(fault, Fault::ResponseLost | Fault::Slow(_)) {
            self.note(format_args!("{replica:?} does not get the response to its write"));
            return None;
        }
        Some(WriteResult::Written(Box::new(written)))
    }
}
