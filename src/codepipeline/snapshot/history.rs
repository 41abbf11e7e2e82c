//! The history that a snapshot needs, and how it is read.

use super::{HISTORY_LAG, MAX_PAGES, PipelineSnapshot, Query};
use crate::api::time::later;
use crate::codepipeline::error::CallError;
use crate::codepipeline::pipeline::{ActionExecution, ActionProgress, ExecutionMode, PipelineExecution};
use crate::codepipeline::reader::PipelineReader;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};

/// What was read of the history of an execution.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ReadHistory {
    /// When the poll started that last read it.
    pub at: Timestamp,
    /// The stages and actions that were queried then, and in each poll since: the entries of all others were dropped.
    pub actions: BTreeSet<(String, String)>,
}

impl PipelineSnapshot {
    /// The executions whose history may show more than is known.
    pub(super) fn executions_needing_history(&self) -> impl Iterator<Item = &PipelineExecution> {
        let is_recent = |id: &String| {
            let first_seen_at = self.missing_from_history.get(id).copied().unwrap_or(self.started_at);
            self.started_at < later(first_seen_at, HISTORY_LAG)
        };
        // An execution of a queried action whose pipeline execution is not known yet.
        let has_unassigned = self
            .visible_executions()
            .any(|id| self.actions.iter().all(|entry| entry.action_execution_id != *id) && is_recent(id));
        // It was in progress when history was read, and the state view has moved past it.
        let has_passed = |execution: &PipelineExecution| {
            self.actions.iter().any(|entry| {
                entry.pipeline_execution_id == execution.id
                    && entry.progress == ActionProgress::InProgress
                    && self.visible_executions().all(|id| *id != entry.action_execution_id)
            })
        };
        let is_needed = |query: &Query, execution: &PipelineExecution, is_newest: bool| {
            let is_in_progress = execution.end().is_none();
            let is_complete =
                |read_at| execution.updated_at.is_none_or(|updated_at| later(updated_at, HISTORY_LAG) <= read_at);
            if self.history_read_at(&execution.id, &query.stage, &query.action).is_some_and(is_complete) {
                is_in_progress && (has_unassigned || execution.mode == ExecutionMode::Parallel || has_passed(execution))
            } else {
                is_in_progress || is_newest
            }
        };
        let mut needed = HashSet::new();
        for query in &self.queries {
            let selected = self.executions.iter().filter(|execution| query.executions.selects(execution));
            let selected = selected.enumerate().filter(|(age, execution)| is_needed(query, execution, *age == 0));
            needed.extend(selected.map(|(_, execution)| execution.id.as_str()));
        }
        self.executions.iter().filter(move |execution| needed.contains(execution.id.as_str()))
    }

    /// Reads the history of these executions: pages of the whole pipeline while that takes fewer calls than reading each
    /// execution.
    pub(super) async fn read_history(
        &mut self,
        reader: &impl PipelineReader,
        wanted: Vec<PipelineExecution>,
    ) -> Result<(), CallError> {
        let (mut entries, mut next) = (Vec::<ActionExecution>::new(), None);
        let mut left: Vec<&PipelineExecution> = wanted.iter().collect();
        for pages in 0..MAX_PAGES {
            if left.iter().filter(|execution| execution.started_at.is_some()).count() <= pages {
                break;
            }
            let page = reader.action_executions(None, next).await?;
            entries.extend(page.items);
            next = page.next;
            let reached = entries.last().and_then(|entry| entry.started_at);
            let is_reached = |execution: &PipelineExecution| {
                next.is_none()
                    || reached.zip(execution.started_at).is_some_and(|(reached, started_at)| reached < started_at)
            };
            left.retain(|execution| execution.started_at.is_none() || !is_reached(execution));
            if next.is_none() {
                break;
            }
        }
        if left.len() > MAX_PAGES {
            tracing::warn!(
                skipped = left.len() - MAX_PAGES,
                "decisions wait for more executions than the operator reads the history of; the older ones are skipped"
            );
        }
        let mut unread: HashSet<&str> = left.iter().map(|execution| execution.id.as_str()).collect();
        for execution in left.iter().take(MAX_PAGES) {
            if read_all_pages(reader, &execution.id, &mut entries).await? {
                unread.remove(execution.id.as_str());
            }
        }
        let read = ReadHistory { at: self.started_at, actions: self.queried_actions() };
        for execution in wanted.iter().filter(|execution| !unread.contains(execution.id.as_str())) {
            self.history.insert(execution.id.clone(), read.clone());
        }
        // An entry that moved to the next page between two reads is there twice.
        let mut ids = HashSet::new();
        entries.retain(|entry| self.is_relevant(entry) && ids.insert(entry.action_execution_id.clone()));
        self.actions.retain(|known| !ids.contains(&known.action_execution_id));
        entries.append(&mut self.actions);
        self.actions = entries;
        Ok(())
    }
}

/// Reads the history of one execution, and returns whether that was all of it.
async fn read_all_pages(
    reader: &impl PipelineReader,
    execution: &str,
    entries: &mut Vec<ActionExecution>,
) -> Result<bool, CallError> {
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let page = match reader.action_executions(Some(execution), next).await {
            Ok(page) => page,
            Err(error) if error.unknown_execution().is_some() => return Ok(false),
            Err(error) => return Err(error),
        };
        entries.extend(page.items);
        next = page.next;
        if next.is_none() {
            return Ok(true);
        }
    }
    tracing::warn!(execution, pages = MAX_PAGES, "the execution has more history than the operator reads");
    Ok(false)
}
