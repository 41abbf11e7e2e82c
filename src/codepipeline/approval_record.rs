//! What CodePipeline shows of one approval request. The state view comes first, because it shows a completion before history does.
//! Decisions need it where a response was lost, or where CodePipeline says that someone completed the request.

use super::error::CallError;
use super::pipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ExecutionIds, ExecutionMode, LatestExecution, PipelineState,
};
use super::query::{ExecutionSelector, Query};
use crate::api::v1alpha1::{ApprovalStatus, Token};
use jiff::Timestamp;
use std::collections::HashMap;

/// The approval request to find.
#[derive(Clone, Copy, Debug)]
pub struct RecordQuery<'a> {
    /// stageName
    pub stage: &'a str,
    /// actionName
    pub action: &'a str,
    /// The request's token.
    pub token: &'a Token,
    /// What else is known of it.
    pub ids: &'a ExecutionIds,
}

/// What CodePipeline shows of a request.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ApprovalRecord {
    /// The state view shows it as pending: CodePipeline has accepted no result so far.
    Pending(ExecutionIds),
    /// It is in progress, and the state view does not show its token. History lags by up to a minute, so this proves nothing yet.
    Lagging(ExecutionIds),
    /// It is completed.
    Completed(CompletedApproval),
    /// Neither view shows it.
    NotVisible,
    /// The part of history that the operator reads does not show it: a longer history proves nothing.
    BeyondHistory,
    /// The state view does not settle it, and the poll could not read the history that shows it.
    Unreadable(CallError),
}

/// How a request was completed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CompletedApproval {
    /// The result; none if no one responded (a time-out, a cancellation).
    pub result: Option<ApprovalStatus>,
    /// The summary.
    pub summary: Option<String>,
    /// When it was completed.
    pub at: Option<Timestamp>,
    /// Who responded.
    pub by: Option<String>,
    /// Its executions.
    pub ids: ExecutionIds,
    /// The other decision of the namespace whose result it is, if there is one. Only who reports it looks for that.
    pub decision: Option<String>,
}

impl CompletedApproval {
    /// The completion of the request with these ids.
    #[must_use]
    pub fn new(completion: &ActionCompletion, ids: ExecutionIds) -> Self {
        let ActionCompletion { summary, at, by, .. } = completion.clone();
        Self { result: completion.result(), summary, at, by, ids, decision: None }
    }
}

/// What the state view shows, and whether it can be trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateView<'a> {
    /// GetPipelineState
    pub state: &'a PipelineState,
    /// How executions run beside each other.
    pub mode: Option<ExecutionMode>,
}

impl<'a> RecordQuery<'a> {
    /// The request that a query is about, if it is about one.
    pub(super) fn of(query: &'a Query) -> Option<Self> {
        match &query.executions {
            ExecutionSelector::Request { token, ids } => {
                Some(Self { stage: &query.stage, action: &query.action, token, ids })
            }
            ExecutionSelector::PipelineExecution(_) | ExecutionSelector::SourceRevisions(_) => None,
        }
    }
}

impl RecordQuery<'_> {
    /// The query of a poll that shows the request.
    #[must_use]
    pub fn query(&self) -> Query {
        let executions = ExecutionSelector::Request { token: self.token.clone(), ids: self.ids.clone() };
        Query { stage: self.stage.to_owned(), action: self.action.to_owned(), executions }
    }

    /// The record, if what is known settles it without another read of history.
    pub(super) fn settled(self, view: StateView<'_>, entry: Option<&ActionExecution>) -> Option<ApprovalRecord> {
        let latest = self.in_state(view);
        match (latest.map(|latest| &latest.progress), entry.map(|entry| &entry.progress)) {
            // The state view shows a completion before history does.
            (Some(ActionProgress::Completed(completion)), _) | (_, Some(ActionProgress::Completed(completion))) => {
                let completed = CompletedApproval::new(completion, self.executions(view, entry));
                Some(ApprovalRecord::Completed(completed))
            }
            (Some(ActionProgress::InProgress) | None, Some(ActionProgress::InProgress) | None) => latest
                .filter(|latest| self.is_pending_in(latest))
                .map(|_| ApprovalRecord::Pending(self.executions(view, entry))),
        }
    }

    /// Its pipeline execution and its action execution, as far as they are known. The entry is the one of the request.
    pub(super) fn executions(self, view: StateView<'_>, entry: Option<&ActionExecution>) -> ExecutionIds {
        let latest = self.in_state(view);
        // A pending approval locks its stage, so the execution in the stage is that of the approval. Beside a completed entry, it
        // may already be the next one.
        let in_stage = || {
            let _pending = latest.filter(|latest| self.is_pending_in(latest))?;
            let stage = view.state.stages.iter().find(|stage| stage.name == self.stage)?;
            Some(stage.latest_execution.as_ref()?.pipeline_execution_id.clone())
        };
        let pipeline = entry.map(|entry| entry.pipeline_execution_id.clone());
        let action = entry.map(|entry| entry.action_execution_id.clone());
        ExecutionIds {
            pipeline: pipeline.or_else(|| self.ids.pipeline.clone()).or_else(in_stage),
            action: action.or_else(|| latest?.action_execution_id.clone()),
        }
    }

    /// What the state view shows of the request. In PARALLEL mode, it proves nothing.
    pub(super) fn in_state<'v>(self, view: StateView<'v>) -> Option<&'v LatestExecution> {
        if view.mode == Some(ExecutionMode::Parallel) {
            return None;
        }
        let stage = view.state.stages.iter().find(|stage| stage.name == self.stage)?;
        let action = stage.actions.iter().find(|action| action.name == self.action)?;
        action.latest_execution.as_ref().filter(|latest| {
            let ids = [&latest.action_execution_id, &latest.external_execution_id];
            self.is_pending_in(latest) || ids.into_iter().flatten().any(|id| self.names().any(|name| name == id))
        })
    }

    fn is_pending_in(self, latest: &LatestExecution) -> bool {
        latest.token.as_ref() == Some(self.token) && latest.progress == ActionProgress::InProgress
    }
}

impl<'a> RecordQuery<'a> {
    /// The ids that an entry of history may have for it. A completed entry has no token, but CodePipeline was observed to use the id
    /// of the action execution as the token.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        [Some(self.token.0.as_str()), self.ids.action.as_deref()].into_iter().flatten()
    }
}

/// Finds the entries of requests.
#[derive(Debug, Default)]
pub(super) struct EntryIndex<'a> {
    /// By stage, action, and the ids of the entry.
    entries: HashMap<(&'a str, &'a str, &'a str), &'a ActionExecution>,
}

impl<'a> EntryIndex<'a> {
    pub fn of(history: &'a [ActionExecution]) -> Self {
        let mut entries = HashMap::new();
        for entry in history {
            for id in [Some(&entry.action_execution_id), entry.external_execution_id.as_ref()].into_iter().flatten() {
                entries.entry((entry.stage_name.as_str(), entry.action_name.as_str(), id.as_str())).or_insert(entry);
            }
        }
        Self { entries }
    }

    pub fn find(&self, request: RecordQuery<'_>) -> Option<&'a ActionExecution> {
        request.names().find_map(|id| self.entries.get(&(request.stage, request.action, id)).copied())
    }
}

#[cfg(test)]
mod tests;
