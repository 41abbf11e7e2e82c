//! What a snapshot knows: what this poll read, and what it kept of those before.

use super::hints::Hints;
use crate::api::time::later;
use crate::api::v1alpha1::{Exception, Reason};
use crate::codepipeline::approval_record::{ApprovalRecord, EntryIndex, RecordQuery, StateView};
use crate::codepipeline::error::CallError;
use crate::codepipeline::pipeline::{
    ActionExecution, ExecutionMode, ExecutionRevision, PipelineExecution, PipelineState,
};
use crate::codepipeline::query::{ExecutionSelector, Query, Selection};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How long CodePipeline's history may lag behind its state. Measured: a response was in it after some 30 s.
pub const HISTORY_LAG: SignedDuration = SignedDuration::from_secs(60);

/// The most pages of a list that are read, 100 entries each.
pub const MAX_PAGES: usize = 20;

/// What a poll found, reduced to its queries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PipelineSnapshot {
    /// When the poll started. The snapshot may miss what CodePipeline did after that.
    pub started_at: Timestamp,
    pub(super) queries: HashSet<Query>,
    /// The stages and actions, with executions only of queried actions and queried executions.
    pub state: PipelineState,
    /// The queried executions, newest first. One that only GetPipelineExecution showed has no times and source revisions.
    pub executions: Vec<PipelineExecution>,
    /// The source revisions of the newest execution that has any, queried or not. They are for messages alone.
    pub newest_revisions: Vec<ExecutionRevision>,
    /// What polls have seen besides. It is for messages alone.
    pub hints: Hints,
    /// The history of the queried actions: newest first within each execution.
    pub actions: Vec<ActionExecution>,
    /// Executions that CodePipeline does not know.
    pub unknown_executions: BTreeMap<String, UnknownExecution>,
    pub(super) mode: Option<ExecutionMode>,
    pub(super) pending_requests: u32,
    /// What was read of the history of each execution.
    pub(super) history: BTreeMap<String, ReadHistory>,
    /// What was read of history for each query of a request.
    pub(super) requests: HashMap<Query, RequestHistory>,
    pub(super) history_failure: Option<CallError>,
    /// When the first of the consecutive polls started that could not read all history.
    pub(super) history_failing_since: Option<Timestamp>,
    /// Action executions that the state view shows and history does not, and when they were first seen.
    pub(super) missing_from_history: BTreeMap<String, Timestamp>,
    /// The queries by source revisions for which a page of executions could not be read.
    pub(super) incomplete: HashSet<Query>,
    /// The executions of requests that are older than the pages that the operator reads.
    pub(super) sought_in_list: HashSet<String>,
    /// When polls last tried to read each of these executions by id.
    pub(super) looked_up_at: BTreeMap<String, Timestamp>,
    /// When polls last tried to read the history of each of these executions.
    pub(super) history_tried_at: BTreeMap<String, Timestamp>,
}

/// An execution that CodePipeline does not know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownExecution {
    /// What CodePipeline says.
    pub exception: Exception,
    /// When the poll started that asked last.
    pub read_at: Timestamp,
}

/// How much of history was searched for a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SearchEnd {
    /// All that may show it.
    Whole,
    /// The newest pages, because there are more than the operator reads.
    NewestPages,
}

/// What was read of the history of an execution.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadHistory {
    /// When the poll started that last read it.
    pub at: Timestamp,
    /// The stages and actions that were queried then, and in each poll since: the entries of all others were dropped.
    pub actions: BTreeSet<(String, String)>,
}

/// What was read of history to find a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestHistory {
    /// The last search that came to an end, and when its poll started.
    pub searched: Option<(Timestamp, SearchEnd)>,
    /// Why this poll could not search, if it had to.
    pub failure: Option<CallError>,
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
        let class = |error: &Option<CallError>| {
            error.as_ref().map(|error| error.reason().unwrap_or(Reason::ServiceUnavailable))
        };
        let outcome = |request: &RequestHistory| (class(&request.failure), request.searched.map(|(_, end)| end));
        let is_same_request = |(query, history): (&Query, &RequestHistory)| {
            other.requests.get(query).is_none_or(|other| outcome(history) == outcome(other))
        };
        (&self.state, &self.executions, &self.actions, &self.mode, &self.incomplete)
            == (&other.state, &other.executions, &other.actions, &other.mode, &other.incomplete)
            && self.unknown_exceptions().eq(other.unknown_exceptions())
            && self.read_actions().eq(other.read_actions())
            && class(&self.history_failure) == class(&other.history_failure)
            && self.requests.iter().all(is_same_request)
            && self.hints.is_equivalent(&other.hints, &other.queries)
    }

    /// That CodePipeline still does not know an execution is nothing new.
    pub(super) fn unknown_exceptions(&self) -> impl Iterator<Item = (&String, &Exception)> {
        self.unknown_executions.iter().map(|(id, unknown)| (id, &unknown.exception))
    }

    /// The actions whose history was read, by execution.
    pub(super) fn read_actions(&self) -> impl Iterator<Item = (&String, &BTreeSet<(String, String)>)> {
        self.history.iter().map(|(execution, read)| (execution, &read.actions))
    }

    /// When the history of an action in an execution was last read. None: the last poll that needed the history could not read all of
    /// it, or could not list all executions that a query for this one selects.
    #[must_use]
    pub fn history_read_at(&self, execution: &str, stage: &str, action: &str) -> Option<Timestamp> {
        let is_partly_listed = self.incomplete.iter().any(|query| match &query.executions {
            ExecutionSelector::SourceRevisions(entries) if query.stage == stage && query.action == action => {
                self.executions.iter().any(|known| known.id == execution && known.meets(entries))
            }
            ExecutionSelector::SourceRevisions(_)
            | ExecutionSelector::PipelineExecution(_)
            | ExecutionSelector::Request { .. } => false,
        });
        self.read_at(execution, stage, action).filter(|_| !is_partly_listed)
    }

    pub(super) fn read_at(&self, execution: &str, stage: &str, action: &str) -> Option<Timestamp> {
        let read = self.history.get(execution)?;
        read.actions.iter().any(|read| (read.0.as_str(), read.1.as_str()) == (stage, action)).then_some(read.at)
    }

    /// Why this poll could not read some of the history that it needed, if it failed, and since when polls fail so.
    #[must_use]
    pub fn history_failure(&self) -> Option<(&CallError, Timestamp)> {
        self.history_failure.as_ref().map(|error| (error, self.history_failing_since.unwrap_or(self.started_at)))
    }

    /// What it shows of a request. The poll must have had the query of the request, or one of its execution.
    #[must_use]
    pub fn record_of(&self, request: RecordQuery<'_>) -> ApprovalRecord {
        let is_about = |entry: &&ActionExecution| {
            let ids = [Some(&entry.action_execution_id), entry.external_execution_id.as_ref()];
            entry.is_of(request.stage, request.action)
                && request.names().any(|name| ids.into_iter().flatten().any(|id| id == name))
        };
        let entry = self.actions.iter().find(is_about);
        if let Some(record) = request.settled(self.view(), entry) {
            return record;
        }
        match self.history_of(request) {
            Err(error) => ApprovalRecord::Unreadable(error),
            Ok(_) if entry.is_some() || request.in_state(self.view()).is_some() => {
                ApprovalRecord::Lagging(request.executions(self.view(), entry))
            }
            Ok(SearchEnd::Whole) => ApprovalRecord::NotVisible,
            Ok(SearchEnd::NewestPages) => ApprovalRecord::BeyondHistory,
        }
    }

    /// How far history was searched for a request, or why it could not be.
    fn history_of(&self, request: RecordQuery<'_>) -> Result<SearchEnd, CallError> {
        let Some(history) = self.requests.get(&request.query()) else {
            return self.history_of_execution(request);
        };
        match &history.failure {
            Some(error) => Err(error.clone()),
            None => Ok(history.searched.map_or(SearchEnd::Whole, |(_, end)| end)),
        }
    }

    /// How far history was searched for a request that no query names, but whose execution a query selects: the history of the
    /// execution shows all of its requests. Another pipeline of the same name has no such execution.
    fn history_of_execution(&self, request: RecordQuery<'_>) -> Result<SearchEnd, CallError> {
        let is_searched = |id: &String| {
            self.shows_all_of(id, request.stage, request.action) || self.unknown_executions.contains_key(id)
        };
        if request.ids.pipeline.as_ref().is_some_and(is_searched) {
            return Ok(SearchEnd::Whole);
        }
        Err(self.history_failure.clone().unwrap_or_else(|| {
            let detail = "no poll has read the history of this request".to_owned();
            CallError::Indeterminate { detail }
        }))
    }

    /// Whether this poll has read the history of an action in an execution, or an earlier one did after its end was in it.
    fn shows_all_of(&self, execution: &str, stage: &str, action: &str) -> bool {
        let known = self.executions.iter().find(|known| known.id == execution);
        let ended_at = known.filter(|known| known.end().is_some()).and_then(|known| known.updated_at);
        let is_complete = |read_at| ended_at.is_some_and(|ended_at| later(ended_at, HISTORY_LAG) <= read_at);
        self.read_at(execution, stage, action).is_some_and(|read_at| read_at == self.started_at || is_complete(read_at))
    }

    pub(super) const fn view(&self) -> StateView<'_> {
        StateView { state: &self.state, mode: self.mode }
    }

    /// How executions run beside each other: that of the newest execution, if there is any.
    #[must_use]
    pub const fn mode(&self) -> Option<ExecutionMode> {
        self.mode
    }

    /// How many approval requests were pending, queried or not; in PARALLEL mode only queried ones. It is for people alone, so a change
    /// wakes no subscriber.
    #[must_use]
    pub const fn pending_requests(&self) -> u32 {
        self.pending_requests
    }

    /// Whether this is the first snapshot with an action execution that is not in history.
    #[must_use]
    pub fn is_first_seen(&self, action_execution: &str) -> bool {
        self.missing_from_history.get(action_execution) == Some(&self.started_at)
    }

    /// The action executions of queried actions that the state view shows.
    pub(super) fn visible_executions(&self) -> impl Iterator<Item = &String> {
        let stages = self.state.stages.iter();
        let actions = stages.flat_map(|stage| &stage.actions).filter_map(|action| action.latest_execution.as_ref());
        actions.filter_map(|execution| execution.action_execution_id.as_ref())
    }

    /// Starts a snapshot: with the new state view, and with what the previous snapshot had.
    pub(super) fn new(
        started_at: Timestamp,
        queries: HashSet<Query>,
        mut state: PipelineState,
        mode: Option<ExecutionMode>,
        previous: Option<&Self>,
    ) -> Self {
        let queried: HashSet<(&str, &str)> =
            queries.iter().map(|query| (query.stage.as_str(), query.action.as_str())).collect();
        for stage in &mut state.stages {
            for action in &mut stage.actions {
                if !queried.contains(&(stage.name.as_str(), action.name.as_str())) {
                    action.latest_execution = None;
                }
            }
        }
        let previous = previous.cloned();
        let mut snapshot = previous.unwrap_or_else(|| Self::empty(started_at));
        snapshot.started_at = started_at;
        snapshot.queries = queries;
        snapshot.state = state;
        snapshot.mode = mode;
        snapshot.incomplete.clear();
        snapshot
    }

    pub(super) fn empty(started_at: Timestamp) -> Self {
        Self {
            started_at,
            queries: HashSet::new(),
            state: PipelineState::default(),
            executions: Vec::new(),
            newest_revisions: Vec::new(),
            hints: Hints::default(),
            actions: Vec::new(),
            unknown_executions: BTreeMap::new(),
            mode: None,
            pending_requests: 0,
            history: BTreeMap::new(),
            requests: HashMap::new(),
            history_failure: None,
            history_failing_since: None,
            missing_from_history: BTreeMap::new(),
            incomplete: HashSet::new(),
            sought_in_list: HashSet::new(),
            looked_up_at: BTreeMap::new(),
            history_tried_at: BTreeMap::new(),
        }
    }

    /// What the queries select, with the executions of requests as far as they are known.
    pub(super) fn selection(&self) -> Selection {
        let mut selection = Selection::of(&self.queries);
        let index = EntryIndex::of(&self.actions);
        let requests = self.queries.iter().filter_map(RecordQuery::of);
        selection
            .ids
            .extend(requests.filter_map(|request| request.executions(self.view(), index.find(request)).pipeline));
        selection
    }

    pub(super) fn queried_actions(&self) -> BTreeSet<(String, String)> {
        self.queries.iter().map(|query| (query.stage.clone(), query.action.clone())).collect()
    }

    /// Drops the history that no one queried: a change in it would wake subscribers for nothing.
    pub(super) fn prune_history(&mut self) {
        let queried = self.queried_actions();
        let ids: HashSet<&String> = self.executions.iter().map(|execution| &execution.id).collect();
        self.history.retain(|id, read| {
            read.actions.retain(|action| queried.contains(action));
            ids.contains(id)
        });
        let actions = std::mem::take(&mut self.actions);
        self.actions = self.relevant_entries(actions, &HashSet::new());
    }

    /// The entries of queried actions that are about a queried execution or request, or tie a visible action execution to its execution.
    pub(super) fn relevant_entries(
        &self,
        entries: Vec<ActionExecution>,
        others: &HashSet<String>,
    ) -> Vec<ActionExecution> {
        let queried: HashSet<(&str, &str)> =
            self.queries.iter().map(|query| (query.stage.as_str(), query.action.as_str())).collect();
        let executions: HashSet<&String> =
            self.executions.iter().map(|execution| &execution.id).chain(others).collect();
        let requests = self.queries.iter().filter_map(RecordQuery::of);
        let ids: HashSet<&str> =
            requests.flat_map(RecordQuery::names).chain(self.visible_executions().map(String::as_str)).collect();
        let is_relevant = |entry: &ActionExecution| {
            queried.contains(&(entry.stage_name.as_str(), entry.action_name.as_str()))
                && (executions.contains(&entry.pipeline_execution_id)
                    || ids.contains(entry.action_execution_id.as_str())
                    || entry.external_execution_id.as_deref().is_some_and(|id| ids.contains(id)))
        };
        entries.into_iter().filter(is_relevant).collect()
    }

    /// Drops what the state view shows of executions that no one queried, and that no queried one waits for.
    pub(super) fn prune_state(&mut self) {
        let mut queried = self.selection().ids;
        queried.extend(self.executions.iter().map(|execution| execution.id.clone()));
        for stage in &mut self.state.stages {
            stage.inbound_executions.retain(|id| queried.contains(id));
            let is_waited_for = !stage.inbound_executions.is_empty();
            let latest = stage.latest_execution.take();
            stage.latest_execution = latest.filter(|latest| {
                queried.contains(&latest.pipeline_execution_id) || is_waited_for && latest.occupies_stage()
            });
            if stage.inbound_executions.is_empty() {
                stage.disabled_transition = None;
            }
        }
    }
}
