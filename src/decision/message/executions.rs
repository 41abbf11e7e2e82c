//! The wording of what is about executions: those that a decision waits for, and what a response leaves open.

use super::names::list;
use crate::api::v1alpha1::{ApprovalDecisionSpec, SourceRevision};
use crate::codepipeline::{CompletedApproval, ExecutionEnd, ExecutionRevision, SimilarRevision};
use crate::decision::resolve::{Ambiguity, ExecutionPosition, ExecutionWait, OpenRequest, RevisionHint};
use std::collections::BTreeSet;

/// The most source revisions that are shown of an execution.
const MAX_REVISIONS: usize = 3;

/// The most bytes that are shown of a source revision.
const MAX_REVISION: usize = 64;

/// The source revisions of an execution.
pub fn revisions(revisions: &[ExecutionRevision]) -> String {
    let shown = revisions.iter().take(MAX_REVISIONS).map(|ExecutionRevision { revision_id, action_name }| {
        let Some(id) = revision_id else { return format!("no revision id ({action_name})") };
        format!("{} ({action_name})", shortened(id))
    });
    let more = (revisions.len() > MAX_REVISIONS).then(|| "…".to_owned());
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

/// One source of an execution.
fn source(ExecutionRevision { revision_id, action_name }: &ExecutionRevision) -> String {
    match revision_id {
        Some(id) => format!("{action_name} (revision {})", shortened(id)),
        None => format!("{action_name} (without a revision id)"),
    }
}

/// The entries of a decision.
fn entries(entries: &[SourceRevision]) -> String {
    let shown = entries.iter().map(|SourceRevision { revision_id, action_name }| match (revision_id, action_name) {
        (Some(id), Some(action)) => format!("{} ({action})", shortened(id)),
        (Some(id), None) => shortened(id),
        (None, action) => format!("any ({})", action.as_deref().unwrap_or("any source")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// That entries are missing for an execution with these sources, whatever its revisions are.
pub fn uncovered(entries: &[SourceRevision], sources: &[ExecutionRevision]) -> &'static str {
    let is_named = |source: &&ExecutionRevision| {
        entries.iter().any(|entry| entry.action_name.as_ref() == Some(&source.action_name))
    };
    // Sources of one repository have the same revision, and one entry without a name covers them.
    let unnamed: BTreeSet<_> =
        sources.iter().filter(|source| !is_named(source)).map(|source| &source.revision_id).collect();
    let entries_without_name = entries.iter().filter(|entry| entry.action_name.is_none()).count();
    if unnamed.len() > entries_without_name { ", and spec.sourceRevisions needs an entry for each source" } else { "" }
}

fn shortened(id: &str) -> String {
    let start = id.get(..id.floor_char_boundary(MAX_REVISION)).unwrap_or_default();
    format!("{start}{}", if start.len() < id.len() { "…" } else { "" })
}

/// What a decision does not answer because a response used it up, and how to answer it.
pub fn open(response: &CompletedApproval, OpenRequest { execution, is_pending }: &OpenRequest) -> String {
    let is_same = response.ids.pipeline.as_ref() == Some(execution);
    let (state, name) = match (is_pending, is_same) {
        (true, false) => ("waits for a response", "name it with spec.pipelineExecutionId or spec.token, or set"),
        (true, true) => ("asks again", "name it with spec.token, or set"),
        (false, _) => ("has not reached the approval yet", "name it with spec.pipelineExecutionId, or set"),
    };
    format!(
        "; that response used up this decision, and execution {execution} {state}: to answer it, {name} \
         spec.ignoreResponsesBefore to a time after that response"
    )
}

/// The source revisions do not name one request.
pub fn ambiguous(ambiguity: &Ambiguity) -> String {
    match ambiguity {
        Ambiguity::SeveralRequests(executions) => format!(
            "{} executions with the source revisions wait for this approval: {}",
            executions.len(),
            list(executions)
        ),
        Ambiguity::NotCovered { execution, source } => format!(
            "Execution {execution} waits for a response, and spec.sourceRevisions does not cover its source {}",
            self::source(source)
        ),
    }
}

/// The execution ended before its approval received a response.
pub fn ended(execution: &str, end: ExecutionEnd) -> String {
    let retry = if end.may_be_retried() { "; the operator continues if its stage is retried" } else { "" };
    format!("{}{retry}", without_response(execution, end))
}

fn without_response(execution: &str, end: ExecutionEnd) -> String {
    match end {
        ExecutionEnd::Succeeded => format!("Execution {execution} went on without this approval, and succeeded"),
        ExecutionEnd::Superseded => {
            format!("Execution {execution} was superseded before its approval received a response")
        }
        ExecutionEnd::Failed | ExecutionEnd::Stopped | ExecutionEnd::Cancelled => {
            format!("Execution {execution} ended ({}) before its approval received a response", end.as_str())
        }
    }
}

/// What is wrong with the entries of a decision.
fn hint(entries: &[SourceRevision], hint: &RevisionHint) -> String {
    match hint {
        RevisionHint::Similar(SimilarRevision { execution, revision }) => {
            let is_named = entries.iter().any(|entry| entry.revision_id == revision.revision_id);
            let why = if is_named { "from another source action" } else { "and ids are compared in full" };
            let revision = revisions(std::slice::from_ref(revision));
            format!("; execution {execution} has {revision}, {why}")
        }
        RevisionHint::UnknownSource { action, known } => {
            format!("; no execution has a source action {action:?}, and the source actions are {}", list(known))
        }
    }
}

/// What the decision waits for.
pub fn waiting_for(spec: &ApprovalDecisionSpec, wait: &ExecutionWait) -> String {
    let pipeline = &spec.pipeline_name;
    match wait {
        ExecutionWait::NoExecution { hint, .. } => {
            let hint = hint.as_ref().map(|hint| self::hint(&spec.source_revisions, hint)).unwrap_or_default();
            let entries = entries(&spec.source_revisions);
            format!("No execution of pipeline {pipeline} has the source revisions {entries} yet{hint}")
        }
        ExecutionWait::NotCovered { execution, source } => format!(
            "Execution {execution} has the source {}, which spec.sourceRevisions does not cover",
            self::source(source)
        ),
        ExecutionWait::Stopping { execution } => {
            format!("Execution {execution} is being stopped, so the operator does not approve it")
        }
        ExecutionWait::UnknownExecution => {
            let execution = spec.pipeline_execution_id.as_ref().map(|id| format!("execution {id}"));
            format!(
                "CodePipeline does not know {} of pipeline {pipeline} yet; it may be too new to be visible",
                execution.as_deref().unwrap_or("this execution")
            )
        }
        ExecutionWait::Execution { execution, position } => match position {
            ExecutionPosition::InStage { stage, status } => {
                format!("Execution {execution} is in stage {stage} ({status})")
            }
            ExecutionPosition::BeforeStage { stage, disabled, behind } => {
                let reason = disabled.as_ref().and_then(|disabled| disabled.reason.as_deref());
                let reason = reason.filter(|reason| !reason.is_empty());
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let disabled = disabled.as_ref().map(|_| format!(", whose inbound transition is disabled{reason}"));
                let behind = behind.as_ref().map(|behind| format!(", behind execution {behind}"));
                format!(
                    "Execution {execution} is waiting to enter stage {stage}{}{}",
                    disabled.unwrap_or_default(),
                    behind.unwrap_or_default()
                )
            }
            ExecutionPosition::AtApproval => {
                format!("Execution {execution} has reached the approval, but its token is not visible yet")
            }
            ExecutionPosition::PastApproval => format!(
                "Execution {execution} ended, and CodePipeline's history does not show the outcome of its approval yet"
            ),
            ExecutionPosition::PreviousRequest => format!(
                "Execution {execution} asked for a response before, and CodePipeline's history does not show yet how that \
                 request ended"
            ),
            ExecutionPosition::BeyondHistory => format!(
                "Could not read the whole history of execution {execution}, which may show a response; to respond now, set \
                 spec.token"
            ),
            ExecutionPosition::InProgress => format!("Execution {execution} is in progress"),
        },
        ExecutionWait::LaterExecution { execution, end } => {
            format!("{}; waiting for a later execution of the source revisions", without_response(execution, *end))
        }
        ExecutionWait::Several(executions) => format!(
            "{} executions with the source revisions seem to wait for this approval ({}); CodePipeline's history will \
             confirm this within a minute",
            executions.len(),
            list(executions)
        ),
    }
}
