//! The one place where an outcome becomes what people and programs read: the status with its conditions, the message, and
//! the Event.

use super::choose::{Missing, Place, Wait};
use super::outcome::{Doubt, Expiry, Intent, Outcome, Pending};
use super::progress::{Progress, ready, requested_at, submission};
use crate::api::conditions::{Condition, ConditionStatus, MAX_MESSAGE};
use crate::api::time::to_second;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, Exception, Reason, Standing, Submission, Token,
};
use crate::codepipeline::{ExecutionIds, Finished};
use jiff::Timestamp;
use kube::runtime::events::{Event, EventType};

/// The longest note of an Event that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// The status that tells an outcome.
#[must_use]
pub fn status(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> ApprovalDecisionStatus {
    let old = decision.status.clone().unwrap_or_default();
    // What an earlier life of the decision came to says nothing about a fresh start.
    let mut status = match Progress::of(decision) {
        Progress::Fresh => ApprovalDecisionStatus {
            last_handled_requested_at: requested_at(decision),
            ..ApprovalDecisionStatus::default()
        },
        Progress::Retrying(_)
        | Progress::Refused(..)
        | Progress::UnderWay(_)
        | Progress::CompletedByOthers(..)
        | Progress::Over => old.clone(),
    };
    status.observed_generation = decision.metadata.generation;
    status.exception = exception(outcome);
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            status.approved_at = *approved_at;
            record.iter().for_each(|record| recorded(&mut status, record));
        }
        Outcome::AlreadyDecided { record, .. } => {
            status.approved_at = record.at;
            recorded(&mut status, record);
        }
        Outcome::Refused { record, .. } => record.iter().for_each(|record| recorded(&mut status, record)),
        Outcome::Submitting(Intent { submission, ids, .. }) => {
            status.submission = Some(submission.clone());
            known(&mut status, ids);
        }
        Outcome::Retrying { submission, .. } => status.submission = Some(submission.clone()),
        Outcome::Unconfirmed { ids, .. } => known(&mut status, ids),
        // With an attempt beside it, the reason would say that this attempt was not taken and is made again.
        Outcome::Unreadable { .. } => status.submission = None,
        Outcome::ExecutionEnded { execution, .. } => {
            status.action_execution_id = None;
            known(&mut status, &ExecutionIds { pipeline: Some(execution.clone()), action: None });
        }
        Outcome::Missing(_)
        | Outcome::PipelineExecutionNotFound(_)
        | Outcome::AmbiguousRevision { .. }
        | Outcome::Invalid { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended
        | Outcome::Waiting { .. } => {}
    }
    status.conditions = conditions(decision, &old.conditions, outcome, now);
    status
}

/// Whether the status tells this outcome already.
#[must_use]
pub fn is_told(decision: &ApprovalDecision, outcome: &Outcome, now: Timestamp) -> bool {
    decision.status.as_ref() == Some(&status(decision, outcome, now))
}

/// Whether what came of a request that was sent is still to be told, where somebody else wrote since its intent: an
/// operator that was paused must not overwrite what its successor has found out. Only that the answer was taken outweighs
/// whatever else was found, and where that was found too, there is nothing to add.
#[must_use]
pub fn is_still_to_tell(decision: &ApprovalDecision, sent: &Submission, outcome: &Outcome, now: Timestamp) -> bool {
    let status = decision.status.as_ref();
    let is_edited = status.and_then(|status| status.observed_generation) != decision.metadata.generation;
    submission(decision) == Some(sent)
        && !is_edited
        && match Progress::of(decision) {
            Progress::UnderWay(_) => true,
            Progress::Fresh
            | Progress::Retrying(_)
            | Progress::Refused(..)
            | Progress::CompletedByOthers(..)
            | Progress::Over => {
                let outweighs = matches!(outcome, Outcome::Delivered { .. });
                outweighs && current_reason(decision) != Some(Reason::Delivered) || is_told(decision, outcome, now)
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
        | Outcome::Invalid { .. }
        | Outcome::Expired { .. }
        | Outcome::Suspended
        | Outcome::Submitting(_) => return None,
    };
    Some(Exception { r#type: bounded(&exception.r#type, 256), message: bounded(&exception.message, 2048) })
}

fn recorded(status: &mut ApprovalDecisionStatus, record: &Finished) {
    status.decided_by = record.by.as_deref().map(|by| bounded(by, 2048));
    known(status, &record.ids);
}

fn known(status: &mut ApprovalDecisionStatus, ids: &ExecutionIds) {
    for (field, id) in
        [(&mut status.pipeline_execution_id, &ids.pipeline), (&mut status.action_execution_id, &ids.action)]
    {
        if let Some(id) = id {
            *field = Some(bounded(id, 100));
        }
    }
}

/// The schema bounds every string, and the service's words are not ours to vouch for.
fn bounded(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn conditions(decision: &ApprovalDecision, old: &[Condition], outcome: &Outcome, now: Timestamp) -> Vec<Condition> {
    let standing = outcome.reason().standing();
    let (reason, message) = (outcome.reason().as_str(), message(decision, outcome));
    let condition = |r#type: &str, status: ConditionStatus| Condition {
        r#type: r#type.to_owned(),
        status,
        observed_generation: decision.metadata.generation,
        last_transition_time: old
            .iter()
            .find(|condition| condition.r#type == r#type && condition.status == status)
            .map_or_else(|| to_second(now), |condition| condition.last_transition_time),
        reason: reason.to_owned(),
        message: message.clone(),
    };
    let companion = standing.companion().map(|r#type| condition(r#type, ConditionStatus::True));
    std::iter::once(condition("Ready", standing.ready())).chain(companion).collect()
}

/// What happened, and what to do about it.
#[must_use]
pub fn message(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    within(MAX_MESSAGE, decision, outcome)
}

/// The message in so many bytes. The service's words can be longer than that: they are cut, and never what to do.
fn within(bytes: usize, decision: &ApprovalDecision, outcome: &Outcome) -> String {
    // The service may quote what it refuses, and more people read messages than may answer approvals.
    let tokens = [decision.spec.token.as_ref(), submission(decision).map(|submission| &submission.token)];
    let hide = |text: String, token: &Token| text.replace(&token.0, "…");
    let happened = tokens.into_iter().flatten().fold(what_happened(decision, outcome), hide);
    let remedy = outcome.reason().remedy();
    let room = bytes.saturating_sub(". ".len() + remedy.len());
    let happened = happened.get(..happened.floor_char_boundary(room)).unwrap_or_default();
    format!("{}. {remedy}", happened.trim_end_matches('.'))
}

fn what_happened(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    let spec = &decision.spec;
    let answer = spec.result.status;
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            let at = approved_at.map(|at| format!(" at {at}")).unwrap_or_default();
            let how = match record {
                None => "CodePipeline took the answer",
                Some(_) => "The response was lost, but CodePipeline's record shows that it took the answer",
            };
            format!("{how} {answer}{at}")
        }
        Outcome::AlreadyDecided { record, .. } => format!("The request had {} before", ended(record)),
        Outcome::Refused { exception, record, .. } => {
            let raised = match exception {
                Some(Exception { r#type, message }) => format!("CodePipeline raised {type}: {message}"),
                None => format!("No answer {answer} of this decision was taken"),
            };
            match record {
                Some(record) => format!("{}; the request had {}", raised.trim_end_matches('.'), ended(record)),
                None => raised,
            }
        }
        Outcome::Missing(missing) => self::missing(spec, missing),
        Outcome::ExecutionEnded { execution, end } => {
            format!("Run {execution} ended ({}) before its approval was answered", end.as_str())
        }
        Outcome::PipelineExecutionNotFound(Exception { r#type, message }) => {
            format!("CodePipeline raised {type}: {message}")
        }
        Outcome::AmbiguousRevision { executions } => {
            let count = executions.len();
            format!("{count} runs of the source revision wait for this approval: {}", executions.join(", "))
        }
        Outcome::Invalid { detail } => detail.clone(),
        Outcome::Expired { expiry, unproven } => {
            let limit = match expiry {
                Expiry::NotAfter(at) => format!("spec.notAfter ({at}) passed"),
                Expiry::WaitingLimit(at) => {
                    format!("The operator's waiting limit, counted from the decision's creation, passed at {at}")
                }
            };
            match unproven {
                None => format!("{limit} before an answer was taken, and nothing is sent any more"),
                Some(why) => format!("{limit}, and nothing is sent any more; {why}"),
            }
        }
        Outcome::Suspended => format!("The answer {answer} is held back because spec.suspend is true"),
        Outcome::Waiting { pending, .. } => waiting(spec, pending),
        Outcome::Unreadable { detail, since, .. } => {
            format!("The pipeline cannot be read since {} ({detail})", to_second(*since))
        }
        Outcome::Submitting(intent) => {
            format!("Attempt {} at answering {answer} is under way", intent.submission.attempts)
        }
        Outcome::Unconfirmed { doubt, completed, .. } => unconfirmed(decision, doubt, completed.is_some()),
        Outcome::Retrying { submission, detail, .. } => {
            format!("Attempt {} at answering {answer} was not taken ({detail})", submission.attempts)
        }
    }
}

fn missing(spec: &ApprovalDecisionSpec, missing: &Missing) -> String {
    let ApprovalDecisionSpec { pipeline_name, stage_name, action_name, .. } = spec;
    match missing {
        Missing::Stage => format!("The pipeline {pipeline_name} has no stage {stage_name:?}"),
        Missing::Action => format!("The stage {stage_name} of {pipeline_name} has no action {action_name:?}"),
        Missing::Approval(category) => {
            format!("The action {action_name} of {pipeline_name} is of the category {category}, and no approval")
        }
    }
}

fn waiting(spec: &ApprovalDecisionSpec, pending: &Pending) -> String {
    match pending {
        Pending::Run(Wait::NoRun) => {
            let revision = spec.source_revision.as_ref();
            let by = revision.and_then(|revision| revision.action_name.as_ref());
            let by = by.map(|action| format!(" of {action}")).unwrap_or_default();
            let revision = revision.map(|revision| revision.revision_id.as_str()).unwrap_or_default();
            format!("No run of {} has the source revision {revision}{by} yet", spec.pipeline_name)
        }
        Pending::Run(Wait::UnknownRun) => {
            format!("CodePipeline does not know the run of {}, which may be too new to be seen", spec.pipeline_name)
        }
        Pending::Run(Wait::Run { execution, place }) => match place {
            Place::In { stage, status } => format!("Run {execution} is in stage {stage} ({status})"),
            Place::InFrontOf { stage } => format!("Run {execution} waits in front of stage {stage}"),
            Place::AtApproval => format!("Run {execution} is at the approval, whose token is not to be seen yet"),
            Place::PastApproval => {
                format!("Run {execution} ended, and what became of its approval is not in CodePipeline's record yet")
            }
            Place::OutOfSight => format!("Run {execution} began too long ago for its history to be read"),
            Place::UnderWay => format!("Run {execution} is under way"),
        },
        Pending::Run(Wait::LaterRun { execution, end }) => {
            let end = end.as_str();
            format!(
                "Run {execution} ended ({end}) before its approval was answered; a later run of the revision is waited for"
            )
        }
        Pending::Run(Wait::Several(executions)) => format!(
            "{} runs of the source revision seem to wait for this approval ({}), which CodePipeline's record will show for \
             certain within a minute",
            executions.len(),
            executions.join(", ")
        ),
        Pending::NewLook => {
            "CodePipeline refused the answer to the request that was pending, so the pipeline is looked at anew"
                .to_owned()
        }
        Pending::Sight { detail, since } => {
            format!("The pipeline could not be read at {} ({detail}), which is tried again", to_second(*since))
        }
    }
}

fn unconfirmed(decision: &ApprovalDecision, doubt: &Doubt, completed: bool) -> String {
    let start = decision.status.as_ref().and_then(|status| status.submission.as_ref()).map(|s| s.start_time);
    let since = start.map(|start| format!(" since {start}")).unwrap_or_default();
    let unknown = if completed {
        format!("CodePipeline says that the request is completed, and how is not known{since}")
    } else {
        format!("Whether the answer {} was taken is not known{since}", decision.spec.result.status)
    };
    match doubt {
        Doubt::Lost(detail) => format!("{unknown}: the response was lost ({detail})"),
        Doubt::Unreadable(detail) => format!("{unknown}: CodePipeline's record cannot be read ({detail})"),
        Doubt::NotInRecord => format!("{unknown}: CodePipeline's record does not show it yet"),
        Doubt::NotAsked(detail) => format!("{unknown}: asking again failed ({detail})"),
    }
}

fn ended(record: &Finished) -> String {
    let how = match record.result {
        Some(result) => format!("been {}", result.to_string().to_lowercase()),
        None => "ended without anybody's answer (it timed out or was cancelled)".to_owned(),
    };
    let by = record.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let at = record.at.map(|at| format!(" at {at}")).unwrap_or_default();
    format!("{how}{by}{at}")
}

/// The reason that Ready carries now, if it is one of ours.
#[must_use]
pub fn current_reason(decision: &ApprovalDecision) -> Option<Reason> {
    ready(decision)?.reason.parse().ok()
}

/// The Event of a change of reason. `Submitting` has none: it lasts a moment, and each of a long row of attempts would
/// make two Events of it.
#[must_use]
pub fn event(decision: &ApprovalDecision, outcome: &Outcome, before: Option<Reason>) -> Option<Event> {
    let reason = outcome.reason();
    if reason == Reason::Submitting || before == Some(reason) {
        return None;
    }
    let type_ = match reason.standing() {
        Standing::Settled | Standing::Suspended | Standing::Waiting => EventType::Normal,
        Standing::Stalled | Standing::Retrying | Standing::UnderWay => EventType::Warning,
    };
    Some(Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(within(MAX_NOTE, decision, outcome)),
        action: "PutApprovalResult".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests;
