//! The snapshot of a pipeline that one poll reads: the state view, and the executions and history that its subscribers need. A snapshot
//! builds on the previous one, so that a poll reads only what may have changed.

mod history;

use super::error::CallError;
use super::pipeline::{ActionExecution, ActionProgress, ExecutionMode, PipelineExecution, PipelineState};
use super::query::{ExecutionSelector, Query};
use super::reader::PipelineReader;
use crate::api::time::later;
use crate::api::v1alpha1::{Exception, SourceRevision};
use history::{MAX_PAGES, ReadHistory, read_all_pages};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How long CodePipeline's history may lag behind its state. Measured: a response was in it after some 30 s.
pub const HISTORY_LAG: SignedDuration = SignedDuration::from_secs(60);

/// What a poll found, reduced to its queries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PipelineSnapshot {
    /// When the poll started. The snapshot may miss what CodePipeline did after that.
    pub started_at: Timestamp,
    queries: HashSet<Query>,
    /// The stages and actions, with executions only of queried actions and queried executions.
    pub state: PipelineState,
    /// The queried executions, newest first.
    pub executions: Vec<PipelineExecution>,
    /// The source revisions of the newest execution that has any, queried or not. They are for messages alone.
    pub newest_revisions: Vec<SourceRevision>,
    /// The history of the queried actions: newest first within each execution.
    pub actions: Vec<ActionExecution>,
    /// What was read of the history of each execution.
    history: BTreeMap<String, ReadHistory>,
    /// Action executions that the state view shows and history does not, and when they were first seen.
    missing_from_history: BTreeMap<String, Timestamp>,
    /// Executions that CodePipeline does not know, and the exceptions that say so.
    pub unknown_executions: BTreeMap<String, Exception>,
}

impl PipelineSnapshot {
    /// Whether the poll had this query.
    #[must_use]
    pub fn covers(&self, query: &Query) -> bool {
        self.queries.contains(query)
    }

    /// Whether a subscriber that knows the other snapshot learns nothing new from this one. That the pipeline started an execution that
    /// no one queried is nothing new: a busy pipeline would wake every subscriber in each poll.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        (&self.state, &self.executions, &self.actions, &self.unknown_executions)
            == (&other.state, &other.executions, &other.actions, &other.unknown_executions)
            && self.read_actions().eq(other.read_actions())
    }

    /// The actions whose history was read, by execution.
    fn read_actions(&self) -> impl Iterator<Item = (&String, &BTreeSet<(String, String)>)> {
        self.history.iter().map(|(execution, read)| (execution, &read.actions))
    }

    /// When the history of an action in an execution was last read; never, if the operator could not read all of it.
    #[must_use]
    pub fn history_read_at(&self, execution: &str, stage: &str, action: &str) -> Option<Timestamp> {
        let read = self.history.get(execution)?;
        read.actions.iter().any(|read| (read.0.as_str(), read.1.as_str()) == (stage, action)).then_some(read.at)
    }

    /// Whether this is the first snapshot with an action execution that is not in history.
    #[must_use]
    pub fn is_first_seen(&self, action_execution: &str) -> bool {
        self.missing_from_history.get(action_execution) == Some(&self.started_at)
    }

    /// The action executions of queried actions that the state view shows.
    fn visible_executions(&self) -> impl Iterator<Item = &String> {
        let stages = self.state.stages.iter();
        let actions = stages.flat_map(|stage| &stage.actions).filter_map(|action| action.latest_execution.as_ref());
        actions.filter_map(|execution| execution.action_execution_id.as_ref())
    }
}

/// Reads a snapshot, building on the previous one.
///
/// # Errors
/// When a call fails, a missing pipeline included.
pub async fn read_snapshot(
    reader: &impl PipelineReader,
    started_at: Timestamp,
    queries: HashSet<Query>,
    previous: Option<&PipelineSnapshot>,
) -> Result<PipelineSnapshot, CallError> {
    let state = reader.pipeline_state().await?;
    let Executions { known, unknown, newest_revisions } =
        Executions::read(reader, started_at, &queries, previous).await?;
    let (actions, history, missing_from_history) = previous
        .map(|previous| (previous.actions.clone(), previous.history.clone(), previous.missing_from_history.clone()))
        .unwrap_or_default();
    let mut snapshot = PipelineSnapshot {
        started_at,
        queries,
        state,
        executions: known,
        newest_revisions,
        actions,
        history,
        missing_from_history,
        unknown_executions: unknown,
    };
    snapshot.prune();
    let wanted: Vec<PipelineExecution> = snapshot.executions_needing_history().cloned().collect();
    if !wanted.is_empty() {
        snapshot.read_history(reader, wanted).await?;
    }
    snapshot.missing_from_history = snapshot
        .visible_executions()
        .filter(|id| snapshot.actions.iter().all(|entry| entry.action_execution_id != **id))
        .map(|id| (id.clone(), snapshot.missing_from_history.get(id).copied().unwrap_or(started_at)))
        .collect();
    Ok(snapshot)
}

impl PipelineSnapshot {
    /// Drops what no one queried: a change in it would wake subscribers for nothing.
    fn prune(&mut self) {
        let queries = &self.queries;
        let is_queried = |id: &str| self.executions.iter().any(|execution| execution.id == id);
        for stage in &mut self.state.stages {
            stage.latest_execution =
                stage.latest_execution.take().filter(|latest| is_queried(&latest.pipeline_execution_id));
            stage.inbound_executions.retain(|id| is_queried(id));
            if stage.inbound_executions.is_empty() {
                stage.disabled_transition = None;
            }
            for action in &mut stage.actions {
                if !queries.iter().any(|query| query.stage == stage.name && query.action == action.name) {
                    action.latest_execution = None;
                }
            }
        }
        let queried = self.queried_actions();
        self.history.retain(|id, read| {
            read.actions.retain(|action| queried.contains(action));
            is_queried(id)
        });
        let mut actions = std::mem::take(&mut self.actions);
        actions.retain(|entry| self.is_relevant(entry));
        self.actions = actions;
    }

    fn queried_actions(&self) -> BTreeSet<(String, String)> {
        self.queries.iter().map(|query| (query.stage.clone(), query.action.clone())).collect()
    }

    /// Whether an entry of history is about a queried execution, or ties a visible action execution to its execution.
    fn is_relevant(&self, entry: &ActionExecution) -> bool {
        self.queries.iter().any(|query| entry.is_of(&query.stage, &query.action))
            && (self.executions.iter().any(|execution| execution.id == entry.pipeline_execution_id)
                || self.visible_executions().any(|id| *id == entry.action_execution_id))
    }

    /// The executions whose history may show more than is known.
    fn executions_needing_history(&self) -> impl Iterator<Item = &PipelineExecution> {
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
    async fn read_history(
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

/// The queried executions.
struct Executions {
    /// Newest first.
    known: Vec<PipelineExecution>,
    /// Those that CodePipeline does not know, and the exceptions that say so.
    unknown: BTreeMap<String, Exception>,
    /// The source revisions of the newest execution that has any.
    newest_revisions: Vec<SourceRevision>,
}

impl Executions {
    /// Reads pages to the end where a new query may find an execution of a revision. Otherwise it reads pages while that takes
    /// fewer calls than reading each execution that is missing.
    async fn read(
        reader: &impl PipelineReader,
        started_at: Timestamp,
        queries: &HashSet<Query>,
        previous: Option<&PipelineSnapshot>,
    ) -> Result<Self, CallError> {
        let before: Vec<&PipelineExecution> = previous.iter().flat_map(|previous| &previous.executions).collect();
        let is_by_revision = |query: &Query| matches!(query.executions, ExecutionSelector::SourceRevision(_));
        let is_new = |query: &Query| previous.is_none_or(|previous| !previous.covers(query));
        let has_new_revision = queries.iter().any(|query| is_by_revision(query) && is_new(query));
        // More executions than a page holds may have started since the previous poll, whose list may have lagged.
        let has_revision = queries.iter().any(is_by_revision);
        let caught_up_at = previous.and_then(|previous| previous.started_at.checked_sub(HISTORY_LAG).ok());
        let is_queried =
            |execution: &PipelineExecution| queries.iter().any(|query| query.executions.selects(execution));
        let by_id = queries.iter().filter_map(|query| match &query.executions {
            ExecutionSelector::PipelineExecution(id) => Some(id.0.clone()),
            ExecutionSelector::SourceRevision(_) => None,
        });
        let in_progress = before
            .iter()
            .filter(|execution| execution.end().is_none() && is_queried(execution))
            .map(|execution| execution.id.clone());
        let mut missing: BTreeSet<String> = by_id.chain(in_progress).collect();
        let (mut executions, mut ids, mut next) = (Vec::new(), HashSet::new(), None);
        let mut newest_revisions = Vec::new();
        for pages in 1..=MAX_PAGES {
            let page = reader.pipeline_executions(next).await?;
            let reached = page.items.last().and_then(|execution| execution.started_at);
            for execution in page.items {
                missing.remove(&execution.id);
                if newest_revisions.is_empty() {
                    newest_revisions.clone_from(&execution.source_revisions);
                }
                // An execution that moved to the next page between two reads is there twice.
                if is_queried(&execution) && ids.insert(execution.id.clone()) {
                    executions.push(execution);
                }
            }
            next = page.next;
            let is_caught_up =
                reached.zip(caught_up_at).is_some_and(|(reached, caught_up)| reached < caught_up) || !has_revision;
            if next.is_none() || !has_new_revision && is_caught_up && missing.len() <= pages {
                break;
            }
            if pages == MAX_PAGES {
                tracing::warn!(
                    pages,
                    "the pipeline has more executions than the operator reads; older ones are skipped"
                );
            }
        }
        let (mut found, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        for id in missing {
            match reader.pipeline_execution(&id).await {
                Ok(execution) => drop(found.insert(id, execution)),
                Err(error) => match error.unknown_execution() {
                    Some(exception) => drop(unknown.insert(id, exception.clone())),
                    None => return Err(error),
                },
            }
        }
        let is_older = |execution: &PipelineExecution| {
            next.is_some()
                && execution.end().is_some()
                && is_queried(execution)
                && !ids.contains(&execution.id)
                && !unknown.contains_key(&execution.id)
        };
        // Executions that are not on these pages are older; they keep the order of the previous snapshot.
        for known in before {
            match found.remove(&known.id) {
                Some(execution) if execution.status == known.status => executions.push(known.clone()),
                Some(execution) => executions.push(PipelineExecution {
                    status: execution.status,
                    updated_at: Some(started_at),
                    ..known.clone()
                }),
                None if is_older(known) => executions.push(known.clone()),
                None => {}
            }
        }
        // GetPipelineExecution does not say when they changed: it may have been just now.
        let found = found.into_values();
        executions.extend(found.map(|execution| PipelineExecution { updated_at: Some(started_at), ..execution }));
        executions.sort_by_key(|execution| Reverse(execution.started_at));
        Ok(Self { known: executions, unknown, newest_revisions })
    }
}

#[cfg(test)]
mod tests;
