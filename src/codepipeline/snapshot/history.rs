//! Reads history: of the executions that queries select, and of the requests that they name. Everyone who needs the history of a
//! pipeline shares the pages of one poll.

use super::optional_calls::OptionalCalls;
use super::pipeline_snapshot::{HISTORY_LAG, MAX_PAGES, PipelineSnapshot, ReadHistory, SearchEnd};
use crate::api::time::{earlier, later};
use crate::codepipeline::approval_record::{EntryIndex, RecordQuery};
use crate::codepipeline::error::{CallError, RetryCause};
use crate::codepipeline::operation::Operation;
use crate::codepipeline::pipeline::{ActionExecution, ActionProgress, ExecutionMode, PipelineExecution};
use crate::codepipeline::query::{Query, Selection};
use crate::codepipeline::reader::PipelineReader;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most calls after which a poll starts to read the history of another execution.
const MAX_READS: usize = 20;

/// What a poll has to find in history.
struct Sought {
    /// The execution, if its id is known.
    execution: Option<String>,
    /// Older pages show nothing of it.
    since: Option<Timestamp>,
    /// The request whose entry is enough. Without it, the whole history of the execution is needed.
    request: Option<Query>,
    /// How far history was searched once the pages reach `since`.
    end: SearchEnd,
}

/// What a poll found in history.
#[derive(Default)]
struct Found {
    entries: Vec<ActionExecution>,
    /// The executions whose whole history was read.
    whole: HashSet<String>,
    /// Those whose history was needed and not read.
    unread: HashSet<String>,
    requests: Vec<(Query, Result<SearchEnd, CallError>)>,
}

impl Found {
    fn settle(&mut self, sought: Sought, result: Result<SearchEnd, CallError>) {
        match (sought.request, sought.execution) {
            // Another pipeline of the same name replaced the one of the request: a finding, not a failure.
            (Some(request), _) if result.as_ref().is_err_and(|error| error.unknown_execution().is_some()) => {
                self.requests.push((request, Ok(SearchEnd::Whole)));
            }
            (Some(request), _) => self.requests.push((request, result)),
            (None, Some(execution)) if result != Ok(SearchEnd::Whole) => drop(self.unread.insert(execution)),
            (None, _) => {}
        }
    }
}

impl PipelineSnapshot {
    /// Reads the history that may show more than is known.
    pub(super) async fn read_history(&mut self, reader: &impl PipelineReader, calls: &mut OptionalCalls) {
        let sought = self.sought_in_history();
        let ids: HashSet<&String> = sought.iter().filter_map(|sought| sought.execution.as_ref()).collect();
        self.history_tried_at.retain(|id, _| ids.contains(id));
        let mut found = Found::default();
        let left = read_pages(reader, calls, sought, &mut found).await;
        self.read_each(reader, calls, left, &mut found).await;
        self.take_history(found);
        let failure = |operation| calls.first_failure(operation).cloned();
        let failure = failure(Operation::ListActionExecutions).or_else(|| failure(Operation::ListPipelineExecutions));
        self.history_failing_since = failure.as_ref().map(|_| self.history_failing_since.unwrap_or(self.started_at));
        self.history_failure = failure;
    }

    fn sought_in_history(&self) -> Vec<Sought> {
        let whole = |execution: &PipelineExecution| Sought {
            execution: Some(execution.id.clone()),
            since: execution.started_at,
            request: None,
            end: SearchEnd::Whole,
        };
        let index = EntryIndex::of(&self.actions);
        let started_at: HashMap<&str, Option<Timestamp>> =
            self.executions.iter().map(|execution| (execution.id.as_str(), execution.started_at)).collect();
        let requests = self.queries.iter().filter_map(|query| {
            let request = RecordQuery::of(query)?;
            let entry = index.find(request);
            if request.settled(self.view(), entry).is_some() {
                return None;
            }
            let execution = request.executions(self.view(), entry).pipeline;
            let searched = self.requests.get(query).and_then(|history| history.searched);
            let (since, end) = match (&execution, searched) {
                (Some(id), _) => (started_at.get(id.as_str()).copied().flatten(), SearchEnd::Whole),
                // Only what is newer than the last search can show it.
                (None, Some((at, end))) => (Some(earlier(at, HISTORY_LAG)), end),
                (None, None) => (None, SearchEnd::Whole),
            };
            Some(Sought { execution, since, request: Some(query.clone()), end })
        });
        self.executions_needing_history().into_iter().map(whole).chain(requests).collect()
    }

    /// The selected executions whose history may show more than is known.
    fn executions_needing_history(&self) -> Vec<&PipelineExecution> {
        let assigned: HashSet<&String> = self.actions.iter().map(|entry| &entry.action_execution_id).collect();
        let visible: HashSet<&String> = self.visible_executions().collect();
        // Executions of a queried action whose pipeline execution is not known yet. If the history of an execution does not
        // show one after history lags, it belongs to another execution.
        let unassigned = visible.iter().filter(|id| !assigned.contains(*id));
        let settled_at = unassigned
            .map(|id| later(self.missing_from_history.get(*id).copied().unwrap_or(self.started_at), HISTORY_LAG))
            .max();
        // They had an action in progress when history was read, and the state view has moved past it.
        let passed: HashSet<&String> = self
            .actions
            .iter()
            .filter(|entry| {
                entry.progress == ActionProgress::InProgress && !visible.contains(&entry.action_execution_id)
            })
            .map(|entry| &entry.pipeline_execution_id)
            .collect();
        let needs = |execution: &PipelineExecution, read_at: Timestamp| {
            let is_recent = execution.updated_at.is_some_and(|updated_at| read_at < later(updated_at, HISTORY_LAG));
            let may_show_more = [Some(execution.mode), self.mode].contains(&Some(ExecutionMode::Parallel))
                || passed.contains(&execution.id)
                || settled_at.is_some_and(|settled_at| read_at < settled_at);
            is_recent || execution.end().is_none() && may_show_more
        };
        let mut by_action: BTreeMap<(&str, &str), Vec<&Query>> = BTreeMap::new();
        for query in &self.queries {
            by_action.entry((&query.stage, &query.action)).or_default().push(query);
        }
        let selections: Vec<_> =
            by_action.into_iter().map(|(action, queries)| (action, Selection::of(queries))).collect();
        let is_needed = |execution: &&PipelineExecution| {
            selections.iter().filter(|(_, selection)| selection.selects(execution)).any(|((stage, action), _)| {
                self.read_at(&execution.id, stage, action).is_none_or(|read_at| needs(execution, read_at))
            })
        };
        self.executions.iter().filter(is_needed).collect()
    }

    /// Reads the history of each execution, those first that were tried longest ago.
    async fn read_each(
        &mut self,
        reader: &impl PipelineReader,
        calls: &mut OptionalCalls,
        left: Vec<Sought>,
        found: &mut Found,
    ) {
        let mut by_execution: Vec<(String, Vec<Sought>)> = Vec::new();
        let mut positions = HashMap::new();
        for sought in left {
            let Some(id) = sought.execution.clone() else { continue };
            let position = *positions.entry(id.clone()).or_insert(by_execution.len());
            match by_execution.get_mut(position) {
                Some((_, several)) => several.push(sought),
                None => by_execution.push((id, vec![sought])),
            }
        }
        by_execution.sort_by_key(|(id, _)| self.history_tried_at.get(id).copied());
        let mut made = 0;
        for (id, several) in by_execution {
            let result = if let Some(error) = calls.stopped_by(Operation::ListActionExecutions) {
                Err(error.clone())
            } else if made >= MAX_READS {
                Err(too_many_reads())
            } else {
                self.history_tried_at.insert(id.clone(), self.started_at);
                read_execution(reader, calls, &id, &mut made, found).await
            };
            for sought in several {
                found.settle(sought, result.clone());
            }
        }
    }

    fn take_history(&mut self, mut found: Found) {
        let index = EntryIndex::of(&found.entries);
        let mut requests = std::mem::take(&mut self.requests);
        requests.retain(|query, _| self.queries.contains(query));
        for query in &self.queries {
            if RecordQuery::of(query).is_some() {
                requests.entry(query.clone()).or_default().failure = None;
            }
        }
        for (query, result) in std::mem::take(&mut found.requests) {
            let is_found = RecordQuery::of(&query).is_some_and(|request| index.find(request).is_some());
            let history = requests.entry(query).or_default();
            match result {
                Ok(end) => history.searched = Some((self.started_at, end)),
                Err(_) if is_found => {}
                Err(error) => history.failure = Some(error),
            }
        }
        self.requests = requests;
        self.history.retain(|id, _| !found.unread.contains(id));
        let read = ReadHistory { at: self.started_at, actions: self.queried_actions() };
        self.history.extend(found.whole.iter().map(|id| (id.clone(), read.clone())));
        // An entry that moved to the next page between two reads is there twice.
        let mut ids = HashSet::new();
        self.hints.note_categories(&found.entries, &self.queries);
        let relevant = self.relevant_entries(found.entries, &found.whole);
        let mut entries: Vec<_> =
            relevant.into_iter().filter(|entry| ids.insert(entry.action_execution_id.clone())).collect();
        self.actions.retain(|known| !ids.contains(&known.action_execution_id));
        entries.append(&mut self.actions);
        self.actions = entries;
    }
}

/// Reads pages of the whole pipeline: while a request is sought whose execution is not known, and while that takes fewer calls than
/// reading each execution. Returns what the pages do not settle.
async fn read_pages(
    reader: &impl PipelineReader,
    calls: &mut OptionalCalls,
    mut left: Vec<Sought>,
    found: &mut Found,
) -> Vec<Sought> {
    let mut next = None;
    for pages in 0..MAX_PAGES {
        let dated = left.iter().filter(|sought| sought.since.is_some());
        let dated: HashSet<&String> = dated.filter_map(|sought| sought.execution.as_ref()).collect();
        if left.iter().all(|sought| sought.execution.is_some()) && dated.len() <= pages {
            return left;
        }
        let call = reader.action_executions(None, next);
        let page = match calls.make(Operation::ListActionExecutions, call).await {
            Ok(page) => page,
            Err(error) => return settle_anonymous(left, found, &Err(error)),
        };
        next = page.next;
        let reached = page.items.last().and_then(|entry| entry.started_at);
        let index = EntryIndex::of(&page.items);
        let mut unsettled = Vec::new();
        for sought in left {
            let is_passed = reached.zip(sought.since).is_some_and(|(reached, since)| reached < since);
            let is_shown = || {
                let request = sought.request.as_ref().and_then(RecordQuery::of);
                request.is_some_and(|request| index.find(request).is_some())
            };
            if next.is_none() || is_passed {
                found.whole.extend(sought.execution.clone());
                let end = if next.is_none() { SearchEnd::Whole } else { sought.end };
                found.settle(sought, Ok(end));
            } else if is_shown() {
                found.settle(sought, Ok(SearchEnd::Whole));
            } else {
                unsettled.push(sought);
            }
        }
        left = unsettled;
        found.entries.extend(page.items);
        if next.is_none() {
            return left;
        }
    }
    if left.iter().any(|sought| sought.execution.is_none()) {
        tracing::warn!(
            pages = MAX_PAGES,
            "an approval request is not in the newest pages of the pipeline's history; older pages are not read"
        );
    }
    settle_anonymous(left, found, &Ok(SearchEnd::NewestPages))
}

/// Settles what only pages of the whole pipeline can show, and returns the rest.
fn settle_anonymous(left: Vec<Sought>, found: &mut Found, result: &Result<SearchEnd, CallError>) -> Vec<Sought> {
    let (named, anonymous): (Vec<_>, Vec<_>) = left.into_iter().partition(|sought| sought.execution.is_some());
    for sought in anonymous {
        found.settle(sought, result.clone());
    }
    named
}

/// Reads the history of one execution.
async fn read_execution(
    reader: &impl PipelineReader,
    calls: &mut OptionalCalls,
    execution: &str,
    made: &mut usize,
    found: &mut Found,
) -> Result<SearchEnd, CallError> {
    let mut next = None;
    for _ in 0..MAX_PAGES {
        *made += 1;
        let call = reader.action_executions(Some(execution), next);
        let page = calls.make(Operation::ListActionExecutions, call).await?;
        found.entries.extend(page.items);
        next = page.next;
        if next.is_none() {
            found.whole.insert(execution.to_owned());
            return Ok(SearchEnd::Whole);
        }
    }
    tracing::warn!(execution, pages = MAX_PAGES, "the execution has more history than the operator reads");
    Ok(SearchEnd::NewestPages)
}

fn too_many_reads() -> CallError {
    let detail = format!("one poll reads the history of at most {MAX_READS} executions; the next polls read the rest");
    CallError::NotApplied { cause: RetryCause::Throttled, exception: None, detail }
}
