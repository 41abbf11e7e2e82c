//! The report of an outcome: the status with its conditions, and the Event of a change of reason.

use super::message::Message;
use super::outcome::{Intent, Outcome};
use super::phase::{Phase, current_reason, ready, requested_at, status_is_current, submission};
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::time::to_second;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Exception, ReadyClass, Reason, Submission};
use crate::codepipeline::{CompletedApproval, ExecutionIds};
use jiff::Timestamp;

/// The longest note of an Event that the API server admits, in bytes.
const MAX_NOTE: usize = 1024;

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
    /// The message of the Ready condition.
    pub message: String,
    /// The note of the Event.
    pub note: String,
}

impl Report {
    /// The report of an outcome. `previous` is the last reason that was announced.
    #[must_use]
    pub fn new(decision: &ApprovalDecision, outcome: &Outcome, previous: Option<Reason>, now: Timestamp) -> Self {
        let message = Message::new(decision, outcome);
        let text = text(decision, &message);
        let reason = outcome.reason();
        // Submitting lasts a moment, and each attempt of a long series would add an Event for it.
        let is_announced = reason != Reason::Submitting && previous != Some(reason);
        let announcement =
            is_announced.then(|| Announcement { reason, message: text.clone(), note: message.within(MAX_NOTE) });
        Self { status: with_message(decision, outcome, text, now), announcement }
    }
}

/// The status that reports an outcome.
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
    let conditions = conditions(decision, &old.conditions, outcome.reason(), message, now);
    let mut status = match Phase::of(decision) {
        // A fresh start keeps nothing of what an earlier edit of the decision came to.
        Phase::Fresh => ApprovalDecisionStatus {
            last_handled_requested_at: requested_at(decision),
            ..ApprovalDecisionStatus::default()
        },
        Phase::Retrying(_) | Phase::Refused(..) | Phase::InFlight(_) | Phase::CompletedByOthers(..) | Phase::Done => {
            old
        }
    };
    status.observed_generation = decision.metadata.generation;
    status.conditions = conditions;
    status.exception = exception(outcome);
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            status.approved_at = *approved_at;
            record.iter().for_each(|record| set_record(&mut status, record));
        }
        Outcome::AlreadyDecided { record, .. } => {
            status.approved_at = record.at;
            set_record(&mut status, record);
        }
        Outcome::Refused { record, .. } => record.iter().for_each(|record| set_record(&mut status, record)),
        Outcome::Submitting(Intent { submission, ids, .. }) => {
            status.submission = Some(submission.clone());
            set_ids(&mut status, ids);
        }
        Outcome::Retrying { submission, .. } => status.submission = Some(submission.clone()),
        Outcome::Unconfirmed { ids, .. } => set_ids(&mut status, ids),
        // Beside a submission, the reason would say that this attempt was not applied and is retried.
        Outcome::Unreadable { .. } => status.submission = None,
        Outcome::ExecutionEnded { execution, .. } => {
            status.action_execution_id = None;
            set_ids(&mut status, &ExecutionIds { pipeline: Some(execution.clone()), action: None });
        }
        Outcome::Missing(_)
        | Outcome::PipelineExecutionNotFound(_)
        | Outcome::AmbiguousRevision { .. }
        | Outcome::Invalid(_)
        | Outcome::Expired { .. }
        | Outcome::Suspended
        | Outcome::Waiting { .. } => {}
    }
    status
}

/// Whether the status already reports this outcome.
#[must_use]
pub fn status_matches(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> bool {
    decision.status.as_ref() == Some(&status(decision, outcome, now))
}

/// Whether the outcome of a request that was sent must still be recorded although someone else wrote after its intent. An operator
/// that was paused must not overwrite what its successor found out. Only an accepted result outweighs what was found, and
/// nothing is left to record where the successor found that too.
#[must_use]
pub fn result_still_unrecorded(
    decision: &ApprovalDecision,
    sent: &Submission,
    outcome: &Outcome,
    now: Timestamp,
) -> bool {
    let status = decision.status.as_ref();
    let is_edited = status.and_then(|status| status.observed_generation) != decision.metadata.generation;
    submission(decision) == Some(sent)
        && !is_edited
        && match Phase::of(decision) {
            Phase::InFlight(_) => true,
            Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) | Phase::CompletedByOthers(..) | Phase::Done => {
                let outweighs = matches!(outcome, Outcome::Delivered { .. });
                outweighs && current_reason(decision) != Some(Reason::Delivered)
                    || status_matches(decision, outcome, now)
            }
        }
}

fn exception(outcome: &Outcome) -> Option<Exception> {
    let exception = match outcome {
        Outcome::AlreadyDecided { exception, .. }
        | Outcome::Refused { exception, .. }
        | Outcome::Retrying { exception, .. }
        | Outcome::Waiting { exception, .. }
        | Outcome::Unreadable { exception, .. }
        | Outcome::Unconfirmed { completed: exception, .. } => exception.as_ref()?,
        Outcome::PipelineExecutionNotFound(exception) => exception,
        Outcome::Delivered { .. }
        | Outcome::Missing(_)
        | Outcome::ExecutionEnded { .. }
        | Outcome::AmbiguousRevision { .. }
        | Outcome::Invalid(_)
        | Outcome::Expired { .. }
        | Outcome::Suspended
        | Outcome::Submitting(_) => return None,
    };
    Some(Exception { r#type: truncated(&exception.r#type, 256), message: truncated(&exception.message, 2048) })
}

fn set_record(status: &mut ApprovalDecisionStatus, record: &CompletedApproval) {
    status.decided_by = record.by.as_deref().map(|by| truncated(by, 2048));
    set_ids(status, &record.ids);
}

fn set_ids(status: &mut ApprovalDecisionStatus, ids: &ExecutionIds) {
    for (field, id) in
        [(&mut status.pipeline_execution_id, &ids.pipeline), (&mut status.action_execution_id, &ids.action)]
    {
        if let Some(id) = id {
            *field = Some(truncated(id, 100));
        }
    }
}

/// The schema limits every string, and CodePipeline's strings may be longer.
fn truncated(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn conditions(
    decision: &ApprovalDecision,
    old: &[Condition],
    reason: Reason,
    message: String,
    now: Timestamp,
) -> Vec<Condition> {
    let class = reason.ready_class();
    let condition = |r#type: &str, status: ConditionStatus, message: String| Condition {
        r#type: r#type.to_owned(),
        status,
        observed_generation: decision.metadata.generation,
        last_transition_time: old
            .iter()
            .find(|condition| condition.r#type == r#type && condition.status == status)
            .map_or_else(|| to_second(now), |condition| condition.last_transition_time),
        reason: reason.as_str().to_owned(),
        message,
    };
    let secondary = class.secondary_condition().map(|r#type| condition(r#type, ConditionStatus::True, message.clone()));
    std::iter::once(condition("Ready", class.ready(), message)).chain(secondary).collect()
}

impl Announcement {
    /// Whether the Event is a Warning.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self.reason.ready_class() {
            ReadyClass::Settled | ReadyClass::Suspended | ReadyClass::Waiting => false,
            ReadyClass::Stalled | ReadyClass::Retrying | ReadyClass::InFlight => true,
        }
    }
}

#[cfg(test)]
mod tests;
