//! The wording of every message that a decision reports, in its conditions, Events and log lines: what happened, then what to do.

use super::outcome::{Caveat, Outcome, UnconfirmedCause, Wait};
use super::phase::submission;
use super::resolve::{ExecutionPosition, ExecutionWait, Missing};
use super::timing::Expiry;
use crate::api::time::to_second;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Exception, InvalidSpec, SourceRevision, Token};
use crate::codepipeline::CompletedApproval;

/// The message of an outcome. It is worded once, and cut to the limits of where it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    what_happened: String,
    addition: String,
    remedy: &'static str,
}

impl Message {
    /// Words the outcome.
    #[must_use]
    pub fn new(decision: &ApprovalDecision, outcome: &Outcome) -> Self {
        // CodePipeline may quote a token that it refuses, and more people can read messages than may respond to approvals.
        let tokens = [decision.spec.token.as_ref(), submission(decision).map(|submission| &submission.token)];
        let hide = |text: String, token: &Token| text.replace(&token.0, "…");
        let what_happened = tokens.into_iter().flatten().fold(what_happened(decision, outcome), hide);
        Self { what_happened, addition: addition(outcome), remedy: outcome.reason().remedy() }
    }

    /// The text, or the one that is shown already, if it says the same but for the newest execution. On a busy pipeline that would change
    /// often, and a decision that waits writes nothing.
    #[must_use]
    pub fn or_shown(&self, shown: Option<&str>, bytes: usize) -> String {
        let starts = format!("{}{NEWEST_EXECUTION}", self.what_happened);
        let is_same = |shown: &&str| self.addition.starts_with(NEWEST_EXECUTION) && shown.starts_with(&starts);
        shown.filter(is_same).map_or_else(|| self.within(bytes), str::to_owned)
    }

    /// The text in at most this many bytes. CodePipeline's messages can be longer than that: they are cut, never an addition or what
    /// to do.
    #[must_use]
    pub fn within(&self, bytes: usize) -> String {
        let room = bytes.saturating_sub(self.addition.len() + ". ".len() + self.remedy.len());
        let what_happened = self.what_happened.get(..self.what_happened.floor_char_boundary(room)).unwrap_or_default();
        format!("{}{}. {}", what_happened.trim_end_matches('.'), self.addition, self.remedy)
    }
}

/// Precedes the source revisions of the newest execution.
const NEWEST_EXECUTION: &str = "; the newest execution has ";

/// The most source revisions that are shown of an execution.
const MAX_REVISIONS: usize = 3;

/// The most bytes that are shown of a source revision.
const MAX_REVISION: usize = 64;

/// Source revisions and their source actions.
fn revisions(revisions: &[SourceRevision]) -> String {
    let shown = revisions.iter().take(MAX_REVISIONS).map(|SourceRevision { revision_id, action_name }| {
        let action = action_name.as_ref().map(|action| format!(" ({action})")).unwrap_or_default();
        let start = revision_id.get(..revision_id.floor_char_boundary(MAX_REVISION)).unwrap_or_default();
        format!("{start}{}{action}", if start.len() < revision_id.len() { "…" } else { "" })
    });
    let more = (revisions.len() > MAX_REVISIONS).then(|| "…".to_owned());
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

/// What follows what happened.
fn addition(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { caveat: Some(caveat), .. } => {
            format!("; an earlier attempt may have been accepted: {}", self::caveat(caveat))
        }
        Outcome::Waiting { wait: Wait::Execution(ExecutionWait::NoExecution { newest }), .. } if !newest.is_empty() => {
            format!("{NEWEST_EXECUTION}{}", revisions(newest))
        }
        Outcome::Refused { caveat: None, .. }
        | Outcome::Delivered { .. }
        | Outcome::AlreadyDecided { .. }
        | Outcome::Missing(_)
        | Outcome::ExecutionEnded { .. }
        | Outcome::PipelineExecutionNotFound(_)
        | Outcome::AmbiguousRevision { .. }
        | Outcome::Invalid(_)
        | Outcome::Expired { .. }
        | Outcome::Suspended
        | Outcome::Waiting { .. }
        | Outcome::Unreadable { .. }
        | Outcome::Submitting(_)
        | Outcome::Unconfirmed { .. }
        | Outcome::Retrying { .. } => String::new(),
    }
}

fn what_happened(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    let spec = &decision.spec;
    let result = spec.result.status;
    match outcome {
        Outcome::Delivered { approved_at, record } => {
            let at = approved_at.map(|at| format!(" at {at}")).unwrap_or_default();
            match record {
                None => format!("CodePipeline accepted the result {result}{at}"),
                Some(_) => format!(
                    "The response was lost, but CodePipeline's history shows that it accepted the result {result}{at}"
                ),
            }
        }
        Outcome::AlreadyDecided { record, .. } => format!("The {}", already_completed(record)),
        Outcome::Refused { exception, record, .. } => {
            let refused = match exception {
                Some(exception) => raised(exception),
                None => format!("CodePipeline did not accept the result {result} from this decision"),
            };
            match record {
                Some(record) => format!("{}; the {}", refused.trim_end_matches('.'), already_completed(record)),
                None => refused,
            }
        }
        Outcome::Missing(missing) => self::missing(spec, missing),
        Outcome::ExecutionEnded { execution, end } => {
            format!("Execution {execution} ended ({}) before its approval received a response", end.as_str())
        }
        Outcome::PipelineExecutionNotFound(exception) => raised(exception),
        Outcome::AmbiguousRevision { executions } => format!(
            "{} executions of the source revision are waiting for this approval: {}",
            executions.len(),
            executions.join(", ")
        ),
        Outcome::Invalid(invalid) => self::invalid(invalid),
        Outcome::Expired { expiry, caveat } => expired(expiry, caveat.as_ref()),
        Outcome::Suspended => format!("The result {result} is held back because spec.suspend is true"),
        Outcome::Waiting { wait, .. } => waiting(spec, wait),
        Outcome::Unreadable { detail, since, .. } => {
            format!("The operator has been unable to read the pipeline since {} ({detail})", to_second(*since))
        }
        Outcome::Submitting(intent) => {
            format!("Attempt {} to submit {result} is in flight", intent.submission.attempts)
        }
        Outcome::Unconfirmed { cause, completed, .. } => unconfirmed(decision, cause, completed.is_some()),
        Outcome::Retrying { submission, detail, .. } => {
            format!("Attempt {} to submit {result} failed and was not applied ({detail})", submission.attempts)
        }
    }
}

fn raised(Exception { r#type, message }: &Exception) -> String {
    format!("CodePipeline raised {type}: {message}")
}

fn already_completed(record: &CompletedApproval) -> String {
    let how = match record.result {
        Some(result) => format!("been {}", result.to_string().to_lowercase()),
        None => "ended without a response (it timed out or was canceled)".to_owned(),
    };
    let by = record.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let at = record.at.map(|at| format!(" at {at}")).unwrap_or_default();
    format!("approval had already {how}{by}{at}")
}

fn missing(spec: &ApprovalDecisionSpec, missing: &Missing) -> String {
    let ApprovalDecisionSpec { pipeline_name, stage_name, action_name, .. } = spec;
    match missing {
        Missing::Stage => format!("Pipeline {pipeline_name} has no stage {stage_name:?}"),
        Missing::Action => format!("Stage {stage_name} of pipeline {pipeline_name} has no action {action_name:?}"),
        Missing::NotAnApproval { category } => {
            format!("Action {action_name} of pipeline {pipeline_name} is not an approval: its category is {category}")
        }
    }
}

fn invalid(invalid: &InvalidSpec) -> String {
    match invalid {
        InvalidSpec::Binding => {
            "spec must have exactly one of token, pipelineExecutionId and sourceRevision".to_owned()
        }
        InvalidSpec::NotAfter(found) => {
            format!("spec.notAfter is {found:?}, which is not a time: use RFC 3339, such as 2026-01-31T17:00:00Z")
        }
    }
}

fn expired(expiry: &Expiry, caveat: Option<&Caveat>) -> String {
    let limit = match expiry {
        Expiry::NotAfter(at) => format!("spec.notAfter ({at}) passed"),
        Expiry::WaitingLimit(at) => {
            format!("The operator's waiting limit, counted from the creation of the decision, passed at {at}")
        }
    };
    match caveat.map(self::caveat) {
        None => format!("{limit} before CodePipeline accepted a result; nothing more is sent"),
        Some(why) => format!("{limit}; nothing more is sent, but an earlier result may have been accepted: {why}"),
    }
}

/// Why an earlier result may have been accepted.
fn caveat(caveat: &Caveat) -> String {
    match caveat {
        Caveat::AttemptInDoubt => "its outcome is unknown".to_owned(),
        Caveat::HistoryUnreadable(detail) => {
            format!("CodePipeline's history of the approval could not be read ({detail})")
        }
        Caveat::BeyondHistory => {
            "the part of CodePipeline's history that the operator reads does not show the approval".to_owned()
        }
        Caveat::NoTraceOfAttempt => "an attempt was sent, and CodePipeline's history shows no trace of it".to_owned(),
        Caveat::OutcomeNotInHistory { execution } => {
            format!("CodePipeline's history does not show the outcome of the approval of execution {execution}")
        }
        Caveat::PipelineUnreadable(detail) => format!("the pipeline could not be read ({detail})"),
    }
}

fn waiting(spec: &ApprovalDecisionSpec, wait: &Wait) -> String {
    match wait {
        Wait::Execution(wait) => waiting_for_execution(spec, wait),
        Wait::RequestRefused => {
            "CodePipeline refused the result for the request that was pending; the operator reads the pipeline again"
                .to_owned()
        }
        Wait::ReadablePipeline { detail, since } => {
            format!("Could not read the pipeline at {} ({detail}); retrying", to_second(*since))
        }
    }
}

fn waiting_for_execution(spec: &ApprovalDecisionSpec, wait: &ExecutionWait) -> String {
    let pipeline = &spec.pipeline_name;
    match wait {
        ExecutionWait::NoExecution { .. } => {
            let revision = spec.source_revision.as_ref();
            let action = revision.and_then(|revision| revision.action_name.as_ref());
            let action = action.map(|action| format!(" of source action {action}")).unwrap_or_default();
            let revision = revision.map(|revision| revision.revision_id.as_str()).unwrap_or_default();
            format!("No execution of pipeline {pipeline} has the source revision {revision}{action} yet")
        }
        ExecutionWait::UnknownExecution => format!(
            "CodePipeline does not know this execution of pipeline {pipeline} yet; it may be too new to be visible"
        ),
        ExecutionWait::Execution { execution, position } => match position {
            ExecutionPosition::InStage { stage, status } => {
                format!("Execution {execution} is in stage {stage} ({status})")
            }
            ExecutionPosition::BeforeStage { stage, disabled } => {
                let reason = disabled.as_ref().and_then(|disabled| disabled.reason.as_deref());
                let reason = reason.filter(|reason| !reason.is_empty());
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let disabled = disabled.as_ref().map(|_| format!(", whose inbound transition is disabled{reason}"));
                format!("Execution {execution} is waiting to enter stage {stage}{}", disabled.unwrap_or_default())
            }
            ExecutionPosition::AtApproval => {
                format!("Execution {execution} has reached the approval, but its token is not visible yet")
            }
            ExecutionPosition::PastApproval => format!(
                "Execution {execution} ended, and CodePipeline's history does not show the outcome of its approval yet"
            ),
            ExecutionPosition::BeyondHistory => format!(
                "Could not read the whole history of execution {execution}; to respond to its approval, set spec.token"
            ),
            ExecutionPosition::InProgress => format!("Execution {execution} is in progress"),
        },
        ExecutionWait::LaterExecution { execution, end } => format!(
            "Execution {execution} ended ({}) before its approval received a response; waiting for a later execution of this \
             revision",
            end.as_str()
        ),
        ExecutionWait::Several(executions) => format!(
            "{} executions of the source revision seem to be waiting for this approval ({}); CodePipeline's history will \
             confirm this within a minute",
            executions.len(),
            executions.join(", ")
        ),
    }
}

fn unconfirmed(decision: &ApprovalDecision, cause: &UnconfirmedCause, is_completed: bool) -> String {
    let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
    let since = submission.map(|submission| format!(" since {}", submission.start_time)).unwrap_or_default();
    let unknown = if is_completed {
        format!("CodePipeline says that the approval is already completed; its outcome has been unknown{since}")
    } else {
        let result = decision.spec.result.status;
        format!("It has been unknown{since} whether CodePipeline accepted {result}")
    };
    match cause {
        UnconfirmedCause::ResponseLost(detail) => format!("{unknown}: the response was lost ({detail})"),
        UnconfirmedCause::HistoryUnreadable(detail) => {
            format!("{unknown}: CodePipeline's history could not be read ({detail})")
        }
        UnconfirmedCause::NotInHistory => format!("{unknown}: CodePipeline's history does not show it yet"),
        UnconfirmedCause::RetryFailed(detail) => format!("{unknown}: the next attempt failed ({detail})"),
    }
}

#[cfg(test)]
mod tests;
