//! Reads the executions that queries select: pages of the list, and those that are not on these pages by their ids.

use super::optional_calls::OptionalCalls;
use super::pipeline_snapshot::{HISTORY_LAG, MAX_PAGES, PipelineSnapshot, UnknownExecution};
use crate::api::time::earlier;
use crate::codepipeline::approval_record::{ApprovalRecord, EntryIndex, RecordQuery};
use crate::codepipeline::operation::Operation;
use crate::codepipeline::pipeline::{
    ExecutionEnd, ExecutionMode, ExecutionStatus, Page, PipelineExecution, StageExecution,
};
use crate::codepipeline::query::{ExecutionSelector, Query, Selection};
use crate::codepipeline::reader::PipelineReader;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The most executions that a poll reads by id.
pub const MAX_LOOKUPS: usize = 20;

/// The executions of the pipeline, as far as a poll has read their list, and those that it reads by id.
pub struct ExecutionReader<'a, R> {
    reader: &'a R,
    /// Newest first.
    listed: Vec<PipelineExecution>,
    ids: HashSet<String>,
    pages: usize,
    next: Option<String>,
    /// What is not listed, by id.
    found: BTreeMap<String, PipelineExecution>,
    unknown: BTreeMap<String, UnknownExecution>,
    /// What was to be read by id.
    missing: BTreeSet<String>,
    lookups_left: usize,
}

impl<'a, R: PipelineReader> ExecutionReader<'a, R> {
    /// Continues after the first page.
    pub fn new(reader: &'a R, first: Page<PipelineExecution>) -> Self {
        let mut this = Self {
            reader,
            listed: Vec::new(),
            ids: HashSet::new(),
            pages: 0,
            next: None,
            found: BTreeMap::new(),
            unknown: BTreeMap::new(),
            missing: BTreeSet::new(),
            lookups_left: MAX_LOOKUPS,
        };
        this.add(first);
        this
    }

    /// The oldest listed execution.
    fn reached(&self) -> Option<Timestamp> {
        self.listed.last().and_then(|execution| execution.started_at)
    }

    fn add(&mut self, page: Page<PipelineExecution>) {
        self.pages += 1;
        self.next = page.next;
        // An execution that moved to the next page between two reads is there twice.
        let new = page.items.into_iter().filter(|execution| self.ids.insert(execution.id.clone()));
        self.listed.extend(new);
    }

    fn may_continue(&self) -> bool {
        if self.next.is_some() && self.pages >= MAX_PAGES {
            tracing::warn!(
                pages = self.pages,
                "the pipeline has more executions than the operator reads; older ones are skipped"
            );
        }
        self.next.is_some() && self.pages < MAX_PAGES
    }

    /// Reads the next page, and returns whether it could be read.
    async fn read_page(&mut self, calls: &mut OptionalCalls) -> bool {
        let call = self.reader.pipeline_executions(self.next.clone());
        match calls.make(Operation::ListPipelineExecutions, call).await {
            Ok(page) => {
                self.add(page);
                true
            }
            Err(_) => false,
        }
    }

    /// Reads these executions by id, those first that were tried longest ago.
    async fn look_up(&mut self, ids: BTreeSet<String>, snapshot: &mut PipelineSnapshot, calls: &mut OptionalCalls) {
        let is_missing = |id: &String| !self.ids.contains(id) && !self.missing.contains(id);
        let mut ids: Vec<String> = ids.into_iter().filter(is_missing).collect();
        ids.sort_by_key(|id| snapshot.looked_up_at.get(id).copied());
        self.missing.extend(ids.iter().cloned());
        for id in ids {
            if self.lookups_left == 0 || calls.stopped_by(Operation::GetPipelineExecution).is_some() {
                return;
            }
            self.lookups_left -= 1;
            snapshot.looked_up_at.insert(id.clone(), snapshot.started_at);
            match calls.make(Operation::GetPipelineExecution, self.reader.pipeline_execution(&id)).await {
                Ok(execution) => {
                    self.found.insert(id, execution);
                }
                Err(error) => {
                    if let Some(exception) = error.unknown_execution().cloned() {
                        let read_at = snapshot.started_at;
                        self.unknown.insert(id, UnknownExecution { exception, read_at });
                    }
                }
            }
        }
    }
}

/// The executions that are not listed so far.
struct Missing {
    /// Those that are named, or may have changed.
    ids: BTreeSet<String>,
    /// Those of them that a further page may show, and when they started, if that is known. A page cannot show an id that earlier polls
    /// did not find.
    findable: BTreeMap<String, Option<Timestamp>>,
}

impl Missing {
    fn new(snapshot: &PipelineSnapshot, previous: Option<&PipelineSnapshot>) -> Self {
        let named = Selection::of(&snapshot.queries).ids;
        let changing = || snapshot.executions.iter().filter(|execution| snapshot.may_have_changed(execution));
        let is_new = |query: &&Query| previous.is_none_or(|previous| !previous.covers(query));
        let new = Selection::of(snapshot.queries.iter().filter(is_new)).ids.into_iter().map(|id| (id, None));
        let dated = |execution: &PipelineExecution| (execution.id.clone(), execution.started_at);
        Self {
            ids: named.into_iter().chain(changing().map(|execution| execution.id.clone())).collect(),
            findable: new.chain(changing().filter(|execution| execution.started_at.is_some()).map(dated)).collect(),
        }
    }

    /// Drops what is listed, and what would have been listed by now.
    fn update<R: PipelineReader>(&mut self, list: &ExecutionReader<'_, R>) {
        let reached = list.reached();
        self.ids.retain(|id| !list.ids.contains(id));
        self.findable.retain(|id, started_at| {
            let is_passed = reached.zip(*started_at).is_some_and(|(reached, started_at)| reached < started_at);
            !list.ids.contains(id) && !is_passed
        });
    }
}

impl PipelineSnapshot {
    /// Reads the executions that queries select. It reads every page where a new query may find an execution of its source
    /// revisions. Otherwise it reads pages while that takes fewer calls than reading each missing execution.
    pub(super) async fn read_executions<R: PipelineReader>(
        &mut self,
        list: &mut ExecutionReader<'_, R>,
        previous: Option<&Self>,
        calls: &mut OptionalCalls,
    ) {
        let selection = self.selection();
        self.executions.retain(|execution| selection.selects(execution));
        let is_by_revision = |query: &&Query| matches!(query.executions, ExecutionSelector::SourceRevisions(_));
        let is_listed = |query: &Query| {
            previous.is_some_and(|previous| previous.covers(query) && !previous.incomplete.contains(query))
        };
        let by_revision: HashSet<Query> = self.queries.iter().filter(is_by_revision).cloned().collect();
        let new: HashSet<Query> = by_revision.iter().filter(|query| !is_listed(query)).cloned().collect();
        // More executions than a page holds may have started since the previous poll, whose list may have lagged.
        let caught_up_at = previous.map(|previous| earlier(previous.started_at, HISTORY_LAG));
        let mut missing = Missing::new(self, previous);
        loop {
            missing.update(list);
            let is_caught_up = by_revision.is_empty()
                || list.reached().zip(caught_up_at).is_some_and(|(reached, caught_up)| reached < caught_up);
            let is_required = !new.is_empty() || !is_caught_up;
            let is_cheaper = missing.findable.len().min(list.lookups_left) > list.pages;
            if !(is_required || is_cheaper) || !list.may_continue() {
                break;
            }
            if !is_required {
                list.lookups_left -= 1;
            }
            if !list.read_page(calls).await {
                self.incomplete = if is_caught_up { new } else { by_revision };
                break;
            }
        }
        self.looked_up_at.retain(|id, _| missing.ids.contains(id) || selection.ids.contains(id));
        // The pages show when they started, and so how far back their history goes.
        let _read_by_id_later = self.list_executions_of_requests(list, calls).await;
        list.look_up(missing.ids, self, calls).await;
        self.take_executions(list, &selection);
        self.hints.note_executions(&list.listed, &self.queries, &self.executions);
        let newest = list.listed.iter().find(|execution| !execution.source_revisions.is_empty());
        self.newest_revisions = newest.map(|execution| execution.source_revisions.clone()).unwrap_or_default();
    }

    /// Adds the executions of requests that history has shown.
    pub(super) async fn add_executions_of_requests<R: PipelineReader>(
        &mut self,
        list: &mut ExecutionReader<'_, R>,
        calls: &mut OptionalCalls,
    ) {
        let open = self.list_executions_of_requests(list, calls).await;
        list.look_up(open, self, calls).await;
        self.take_executions(list, &self.selection());
    }

    /// Reads pages until they list the known executions of the requests that are not completed, because no other call shows source
    /// revisions. Returns these executions.
    async fn list_executions_of_requests<R: PipelineReader>(
        &mut self,
        list: &mut ExecutionReader<'_, R>,
        calls: &mut OptionalCalls,
    ) -> BTreeSet<String> {
        let index = EntryIndex::of(&self.actions);
        let open = self.queries.iter().filter_map(RecordQuery::of).filter_map(|request| {
            let entry = index.find(request);
            let is_completed = matches!(request.settled(self.view(), entry), Some(ApprovalRecord::Completed(_)));
            request.executions(self.view(), entry).pipeline.filter(|_| !is_completed)
        });
        let mut open: BTreeSet<String> = open.collect();
        self.sought_in_list.retain(|id| open.contains(id));
        let dated = self.executions.iter().filter(|execution| execution.started_at.is_some());
        let dated: HashSet<&String> = dated.map(|execution| &execution.id).collect();
        let is_sought = |id: &&String| !dated.contains(id) && !self.sought_in_list.contains(*id);
        let mut unlisted: HashSet<String> = open.iter().filter(is_sought).cloned().collect();
        loop {
            unlisted.retain(|id| !list.ids.contains(id));
            if unlisted.is_empty() || !list.may_continue() {
                self.sought_in_list.extend(unlisted);
                return open;
            }
            if !list.read_page(calls).await {
                // Without its source revisions, an execution would seem to have none.
                open.retain(|id| !unlisted.contains(id));
                return open;
            }
        }
    }

    /// Whether an execution may be in another state than the previous poll found it in.
    fn may_have_changed(&self, execution: &PipelineExecution) -> bool {
        match execution.status {
            ExecutionStatus::InProgress | ExecutionStatus::Stopping => true,
            // Someone may have retried a stage. The state view shows that, except in PARALLEL mode.
            ExecutionStatus::Ended(ExecutionEnd::Failed | ExecutionEnd::Stopped) => {
                let is_it = |latest: &StageExecution| latest.pipeline_execution_id == execution.id;
                execution.mode == ExecutionMode::Parallel
                    || self.state.stages.iter().any(|stage| stage.latest_execution.as_ref().is_some_and(is_it))
            }
            ExecutionStatus::Ended(ExecutionEnd::Succeeded | ExecutionEnd::Superseded | ExecutionEnd::Cancelled) => {
                false
            }
        }
    }

    /// Takes what was read, and keeps what was known before where nothing else was read.
    fn take_executions<R>(&mut self, list: &ExecutionReader<'_, R>, selection: &Selection) {
        let started_at = self.started_at;
        let before = std::mem::take(&mut self.executions);
        let known: HashSet<&String> = before.iter().map(|execution| &execution.id).collect();
        self.executions.extend(list.listed.iter().filter(|execution| selection.selects(execution)).cloned());
        // GetPipelineExecution does not say when they changed: it may have been just now.
        let found = list.found.values().filter(|found| !list.ids.contains(&found.id) && !known.contains(&found.id));
        let found = found.map(|found| PipelineExecution { updated_at: Some(started_at), ..found.clone() });
        self.executions.extend(found);
        // Executions that are not on the pages that were read are older; they keep the order of the previous snapshot.
        let is_kept = |known: &PipelineExecution| {
            let is_beyond_pages = list.next.is_some() || list.missing.contains(&known.id);
            selection.selects(known) && is_beyond_pages && !list.unknown.contains_key(&known.id)
        };
        let older = before.iter().filter(|known| !list.ids.contains(&known.id) && is_kept(known));
        self.executions.extend(older.map(|known| match list.found.get(&known.id) {
            Some(found) if found.status != known.status => {
                PipelineExecution { status: found.status, updated_at: Some(started_at), ..known.clone() }
            }
            Some(_) | None => known.clone(),
        }));
        self.executions.sort_by_key(|execution| Reverse(execution.started_at));
        self.unknown_executions
            .retain(|id, _| selection.ids.contains(id) && !list.ids.contains(id) && !list.found.contains_key(id));
        self.unknown_executions.extend(list.unknown.clone());
    }
}
