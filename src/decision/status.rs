//! The report of an outcome: the status with its conditions, and the Event of a change of reason.

mod details;
mod truncate;

use super::message::Message;
use super::outcome::{Intent, Outcome, PriorAttempts, Requeue, Wait};
use super::phase::{Phase, execution_ids, pinned_location, ready, requested_at, status_is_current};
use super::resolve::{ExecutionWait, Missing};
use super::timing::waiting_since;
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::time::to_second;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, Exception, ReadyClass, Reason, SettledRequest, Submission,
    SubmissionOutcome,
};
use crate::codepipeline::{CompletedApproval, ExecutionIds};
use jiff::Timestamp;
use truncate::{set_ids, truncated};

pub use details::Details;

/// The longest note of an Event that the API server admits, in bytes.
pub const MAX_NOTE: usize = 1024;

/// The most requests that settled a decision earlier and that its status keeps.
const MAX_HISTORY: usize = 5;

/// Everything that an outcome reports. Its message is worded once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The status to write.
    pub status: ApprovalDecisionStatus,
    /// What to announce once the status is written, if the reason changes.
    pub announcement: Option<Announcement>,
}

/// A change of reason, for the log and for an Event.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Announcement {
    /// The new reason.
    pub reason: Reason,
    /// The kind of state that it reports.
    pub class: ReadyClass,
    /// The message of the Ready condition.
    pub message: String,
    /// The note of the Event.
    pub note: String,
}

impl Report {
    /// The report of an outcome. `previous` is the last reason that was announced.
    #[must_use]
    pub fn new(
        decision: &ApprovalDecision,
        outcome: &Outcome,
        details: Details<'_>,
        previous: Option<Reason>,
        now: Timestamp,
    ) -> Self {
        let message = Message::new(decision, outcome);
        let text = text(decision, &message);
        let reason = outcome.reason();
        // Submitting lasts a moment, and each attempt of a long series would add an Event for it.
        let is_announced = reason != Reason::Submitting && previous != Some(reason);
        let announcement = is_announced.then(|| Announcement {
            reason,
            class: outcome.ready_class(),
            message: text.clone(),
            note: message.within(MAX_NOTE),
        });
        let status = details.added_to(with_message(decision, outcome, text, now), decision, outcome, now);
        Self { status, announcement }
    }
}

/// The status that reports an outcome, without its details.
#[must_use]
pub fn status(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> ApprovalDecisionStatus {
    with_message(decision, outcome, text(decision, &Message::new(decision, outcome)), now)
}

/// The message of the conditions.
fn text(decision: &ApprovalDecision, message: &Message) -> String {
    let shown = ready(decision).filter(|_| status_is_current(decision));
    message.or_shown(shown.map(|ready| ready.message.as_str()), MAX_MESSAGE)
}

fn with_message(
    decision: &ApprovalDecision,
    outcome: &Outcome,
    message: String,
    now: Timestamp,
) -> ApprovalDecisionStatus {
    let old = decision.status.clone().unwrap_or_default();
    let conditions = conditions(decision, &old.conditions, outcome, message, now);
    let waiting_since = (!decision.spec.suspend).then(|| waiting_since(decision, now));
    let mut status = match Phase::of(decision) {
        // A fresh start keeps nothing of what an earlier edit of the decision came to, but the requests that settled it.
        Phase::Fresh => {
            let mut fresh = ApprovalDecisionStatus {
                submission: old.submission,
                settled: old.settled,
                history: old.history,
                last_handled_requested_at: requested_at(decision),
                ..ApprovalDecisionStatus::default()
            };
            fresh.set_location(pinned_location(decision));
            fresh
        }
        Phase::Retrying(_) | Phase::Refused(..) | Phase::InDoubt(_) | Phase::Unexplained(..) | Phase::Done => old,
    };
    status.observed_generation = decision.metadata.generation;
    status.conditions = conditions;
    if matches!(outcome.requeue(), Requeue::OnPipelineChange { .. }) {
        // A restart that was requested while a submission was in doubt asks for no more than this.
        status.last_handled_requested_at = requested_at(decision);
    }
    status.waiting_since = waiting_since;
    status.exception = exception(outcome);
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            status.approved_at = *approved_at;
            let ids = status.submission.as_ref().map(execution_ids).unwrap_or_default();
            set_ids(&mut status, &ids);
            record.iter().for_each(|record| set_record(&mut status, record));
        }
        Outcome::AlreadyDecided { record, .. } => {
            status.approved_at = record.at;
            set_record(&mut status, record);
        }
        Outcome::Refused { record, .. } => record.iter().for_each(|record| set_record(&mut status, record)),
        Outcome::Submitting(Intent { submission, .. }) => {
            set_ids(&mut status, &execution_ids(submission));
            status.submission = Some(submission.clone());
        }
        Outcome::Retrying { submission, .. } => {
            set_ids(&mut status, &execution_ids(submission));
            status.submission = Some(submission.clone());
        }
        Outcome::Unconfirmed { ids, .. } | Outcome::Conflicting { ids, .. } => set_ids(&mut status, ids),
        Outcome::ExecutionEnded { execution, .. }
        | Outcome::Waiting {
            wait: Wait::Execution(ExecutionWait::Execution { execution, .. } | ExecutionWait::Stopping { execution }),
            ..
        } => {
            status.action_execution_id = None;
            set_ids(&mut status, &ExecutionIds { pipeline: Some(execution.clone()), action: None });
        }
        Outcome::Missing { .. }
        | Outcome::PipelineExecutionNotFound { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Unreadable { .. } => {}
    }
    if let (Some(submission), Some(result)) = (&mut status.submission, submission_outcome(outcome)) {
        // CodePipeline's response outweighs what a successor found out. Nothing takes back that a result was accepted.
        submission.outcome = submission.outcome.filter(|_| result != SubmissionOutcome::Accepted).or(Some(result));
    }
    settle(decision, outcome, &mut status);
    status
}

/// What an outcome says of the last submission, if it leaves no doubt.
const fn submission_outcome(outcome: &Outcome) -> Option<SubmissionOutcome> {
    match outcome {
        Outcome::Delivered { .. } => Some(SubmissionOutcome::Accepted),
        Outcome::Submitting(_) | Outcome::Unconfirmed { refused: None | Some((_, PriorAttempts::InDoubt)), .. } => None,
        Outcome::Unconfirmed { refused: Some((_, PriorAttempts::NotApplied | PriorAttempts::Refused)), .. }
        | Outcome::AlreadyDecided { .. }
        | Outcome::Refused { .. }
        | Outcome::Missing { .. }
        | Outcome::ExecutionEnded { .. }
        | Outcome::PipelineExecutionNotFound { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Unreadable { .. }
        | Outcome::Retrying { .. } => Some(SubmissionOutcome::NotAccepted),
    }
}

/// Notes the request whose response settles the decision, if it does. What another request had settled becomes history.
fn settle(decision: &ApprovalDecision, outcome: &Outcome, status: &mut ApprovalDecisionStatus) {
    let approved_at = match outcome {
        Outcome::Delivered { approved_at, .. } => *approved_at,
        Outcome::AlreadyDecided { record, .. } | Outcome::Refused { record: Some(record), .. }
            if record.result.is_some() =>
        {
            record.at
        }
        Outcome::AlreadyDecided { .. }
        | Outcome::Refused { .. }
        | Outcome::Missing { .. }
        | Outcome::ExecutionEnded { .. }
        | Outcome::PipelineExecutionNotFound { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Waiting { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Unreadable { .. }
        | Outcome::Submitting(_)
        | Outcome::Unconfirmed { .. }
        | Outcome::Retrying { .. } => return,
    };
    let spec = &decision.spec;
    let settled = SettledRequest {
        pipeline_name: spec.pipeline_name.clone(),
        stage_name: spec.stage_name.clone(),
        action_name: spec.action_name.clone(),
        pipeline_execution_id: status.pipeline_execution_id.clone(),
        result: spec.result.status,
        reason: outcome.reason().as_str().to_owned(),
        approved_at,
        decided_by: status.decided_by.as_deref().map(|by| truncated(by, 512)),
    };
    let former = status.settled.replace(settled.clone()).filter(|former| !former.is_same_response(&settled));
    status.history.retain(|earlier| !earlier.is_same_response(&settled));
    status.history.splice(0..0, former);
    status.history.truncate(MAX_HISTORY);
}

/// Whether the status already reports this outcome, whatever its details.
#[must_use]
pub fn status_matches(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> bool {
    let Some(written) = &decision.status else { return false };
    let reported = ApprovalDecisionStatus {
        account_id: written.account_id.clone(),
        region: written.region.clone(),
        expires_at: written.expires_at,
        source_revisions: written.source_revisions.clone(),
        ..status(decision, outcome, now)
    };
    *written == reported
}

/// Whether the outcome of a request that was sent must still be recorded although someone else wrote after its intent: an edit, which
/// is acted on after that, or another operator. An operator that was paused must not overwrite what its successor found out. Only an
/// accepted result outweighs what was found, and nothing is left to record where the successor found that too.
#[must_use]
pub fn result_still_unrecorded(
    decision: &ApprovalDecision,
    sent: &Submission,
    outcome: &Outcome,
    now: Timestamp,
) -> bool {
    let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
    let is_same = |submission: &Submission| {
        (submission.start_time, submission.deadline, &submission.token) == (sent.start_time, sent.deadline, &sent.token)
    };
    match submission.filter(|submission| is_same(submission)).map(|submission| submission.outcome) {
        None => false,
        Some(None) => true,
        Some(Some(SubmissionOutcome::Accepted)) => status_matches(decision, outcome, now),
        Some(Some(SubmissionOutcome::NotAccepted)) => {
            matches!(outcome, Outcome::Delivered { .. }) || status_matches(decision, outcome, now)
        }
    }
}

fn exception(outcome: &Outcome) -> Option<Exception> {
    let exception = match outcome {
        Outcome::AlreadyDecided { exception, .. }
        | Outcome::Refused { exception, .. }
        | Outcome::Retrying { exception, .. }
        | Outcome::Waiting { exception, .. }
        | Outcome::Unreadable { exception, .. } => exception.as_ref()?,
        Outcome::Unconfirmed { refused, .. } => &refused.as_ref()?.0,
        Outcome::PipelineExecutionNotFound { exception, .. }
        | Outcome::Missing { missing: Missing::Pipeline { exception, .. }, .. } => exception,
        Outcome::Delivered { .. }
        | Outcome::Missing {
            missing: Missing::Stage { .. } | Missing::Action { .. } | Missing::NotAnApproval { .. },
            ..
        }
        | Outcome::ExecutionEnded { .. }
        | Outcome::AmbiguousRevision(_)
        | Outcome::Invalid(_)
        | Outcome::TargetProblem { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended { .. }
        | Outcome::Conflicting { .. }
        | Outcome::Submitting(_) => return None,
    };
    Some(Exception { r#type: truncated(&exception.r#type, 256), message: truncated(&exception.message, 2048) })
}

fn set_record(status: &mut ApprovalDecisionStatus, record: &CompletedApproval) {
    status.decided_by = record.by.as_deref().map(|by| truncated(by, 2048));
    set_ids(status, &record.ids);
}

fn conditions(
    decision: &ApprovalDecision,
    old: &[Condition],
    outcome: &Outcome,
    message: String,
    now: Timestamp,
) -> Vec<Condition> {
    let (reason, class) = (outcome.reason(), outcome.ready_class());
    let condition = |r#type: &str, status: ConditionStatus, message: String| Condition {
        r#type: r#type.to_owned(),
        status,
        observed_generation: decision.metadata.generation,
        last_transition_time: old
            .iter()
            .find(|condition| {
                // The schema's default has a time at which nothing happened.
                let is_default = condition.reason == Reason::Pending.as_str();
                condition.r#type == r#type && condition.status == status && !is_default
            })
            .map_or_else(|| to_second(now), |condition| condition.last_transition_time),
        reason: reason.as_str().to_owned(),
        message,
    };
    let secondary = class.secondary_condition().map(|r#type| condition(r#type, ConditionStatus::True, message.clone()));
    std::iter::once(condition("Ready", class.ready(), message)).chain(secondary).collect()
}

/// Whether a person has to do something about a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attention {
    /// Nothing else resolves it.
    Needed,
    /// There is nothing to do, or time resolves it.
    NotNeeded,
}

impl Announcement {
    /// Whether a person has to do something.
    #[must_use]
    pub fn attention(&self) -> Attention {
        let is_needed = match self.class {
            ReadyClass::Stalled => true,
            ReadyClass::Retrying => self.reason != Reason::Throttled,
            ReadyClass::Waiting => self.reason == Reason::ConflictingDecision,
            ReadyClass::Settled | ReadyClass::Suspended | ReadyClass::Pending | ReadyClass::InFlight => false,
        };
        if is_needed { Attention::Needed } else { Attention::NotNeeded }
    }

    /// Whether the Event is a Warning.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self.class {
            ReadyClass::Settled | ReadyClass::Suspended | ReadyClass::Pending | ReadyClass::Waiting => false,
            ReadyClass::Stalled | ReadyClass::Retrying | ReadyClass::InFlight => true,
        }
    }
}

#[cfg(test)]
mod tests;
