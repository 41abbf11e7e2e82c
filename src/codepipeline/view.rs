//! A look at a pipeline for all decisions that wait for one of its runs: which calls it takes, and what of their answers
//! matters to those who asked. It is told when it begins and does no I/O of its own, so tests run it on a service in memory.

use super::error::CallError;
use super::pipeline::{ActionExecution, ActionProgress, ExecutionMode, PipelineExecution, PipelineState};
use super::reads::Reads;
use crate::api::time::later;
use crate::api::v1alpha1::{Exception, PipelineExecutionId, RunBinding, SourceRevision};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How many pages of a hundred entries of a list are read at most.
const MAX_PAGES: usize = 20;

/// How long the service's history may lag behind what it did: on the live service a decision was in it after some 30 s.
pub const RECORD_LAG: SignedDuration = SignedDuration::from_secs(60);

/// What a decision asks of a look.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Ask {
    /// stageName
    pub stage: String,
    /// actionName
    pub action: String,
    /// Whose approval.
    pub run: AskedRun,
}

/// Which runs of a pipeline a decision asks about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AskedRun {
    /// The one of this id.
    PipelineExecution(PipelineExecutionId),
    /// Those of this source revision.
    SourceRevision(SourceRevision),
}

impl From<RunBinding<'_>> for AskedRun {
    fn from(run: RunBinding<'_>) -> Self {
        match run {
            RunBinding::PipelineExecution(id) => Self::PipelineExecution(id.clone()),
            RunBinding::SourceRevision(revision) => Self::SourceRevision(revision.clone()),
        }
    }
}

impl AskedRun {
    fn is_of(&self, execution: &PipelineExecution) -> bool {
        match self {
            Self::PipelineExecution(id) => execution.id == id.0,
            Self::SourceRevision(revision) => execution.has(revision),
        }
    }
}

/// What a look found, as far as anybody asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// When it began. What the service did later may not be in it.
    pub begun: Timestamp,
    /// What was asked.
    asks: HashSet<Ask>,
    /// The stages and actions; executions only where they are of an action, or of a run, that was asked about.
    pub state: PipelineState,
    /// The runs that were asked about, the newest first.
    pub executions: Vec<PipelineExecution>,
    /// The history of the actions that were asked about: of each run the newest first.
    pub actions: Vec<ActionExecution>,
    /// When the history of a run was last read.
    covered: BTreeMap<String, Timestamp>,
    /// Executions of an action that the state shows and history does not have, and when they were first seen.
    untold: BTreeMap<String, Timestamp>,
    /// Runs that the service does not know, and what it says of them.
    pub unknown: BTreeMap<String, Exception>,
}

impl View {
    /// Whether it was asked this.
    #[must_use]
    pub fn answers(&self, ask: &Ask) -> bool {
        self.asks.contains(ask)
    }

    /// Whether somebody who knows the other view learns nothing new from this one.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        (&self.state, &self.executions, &self.actions, &self.unknown)
            == (&other.state, &other.executions, &other.actions, &other.unknown)
    }

    /// When the history of a run was last read; never, where it is further back than what is read.
    #[must_use]
    pub fn history_read(&self, execution: &str) -> Option<Timestamp> {
        self.covered.get(execution).copied()
    }

    /// Whether an execution of an action, which history does not have, was not seen before.
    #[must_use]
    pub fn is_new(&self, action_execution: &str) -> bool {
        self.untold.get(action_execution) == Some(&self.begun)
    }

    /// The action executions that the state shows of the actions that were asked about.
    fn shown(&self) -> impl Iterator<Item = &String> {
        let stages = self.state.stages.iter();
        let actions = stages.flat_map(|stage| &stage.actions).filter_map(|action| action.latest_execution.as_ref());
        actions.filter_map(|execution| execution.action_execution_id.as_ref())
    }
}

/// Looks at a pipeline, on top of what was known before.
///
/// # Errors
/// Where a call fails: then nothing is known of the pipeline, but for a `PipelineNotFoundException`.
pub async fn look(
    reads: &impl Reads,
    begun: Timestamp,
    asks: HashSet<Ask>,
    before: Option<&View>,
) -> Result<View, CallError> {
    let state = reads.pipeline_state().await?;
    let Runs { executions, unknown } = Runs::read(reads, begun, &asks, before).await?;
    let (actions, covered, untold) = before
        .map(|before| (before.actions.clone(), before.covered.clone(), before.untold.clone()))
        .unwrap_or_default();
    let mut view = View { begun, asks, state, executions, actions, covered, untold, unknown };
    view.forget_what_nobody_asked();
    let wanting: Vec<PipelineExecution> = view.wanting_history().cloned().collect();
    if !wanting.is_empty() {
        view.read_history(reads, wanting).await?;
    }
    view.untold = view
        .shown()
        .filter(|id| view.actions.iter().all(|entry| entry.action_execution_id != **id))
        .map(|id| (id.clone(), view.untold.get(id).copied().unwrap_or(begun)))
        .collect();
    Ok(view)
}

impl View {
    /// What changes without mattering to anybody would have everybody look for nothing.
    fn forget_what_nobody_asked(&mut self) {
        let asks = &self.asks;
        let is_asked = |id: &str| self.executions.iter().any(|execution| execution.id == id);
        for stage in &mut self.state.stages {
            stage.latest_execution = stage.latest_execution.take().filter(|run| is_asked(&run.pipeline_execution_id));
            stage.inbound_executions.retain(|id| is_asked(id));
            for action in &mut stage.actions {
                if !asks.iter().any(|ask| ask.stage == stage.name && ask.action == action.name) {
                    action.latest_execution = None;
                }
            }
        }
        self.covered.retain(|id, _| is_asked(id));
        let mut actions = std::mem::take(&mut self.actions);
        actions.retain(|entry| self.is_of_interest(entry));
        self.actions = actions;
    }

    /// Whether an entry of history says anything about a run that was asked about, or of whose run the state shows it.
    fn is_of_interest(&self, entry: &ActionExecution) -> bool {
        self.asks.iter().any(|ask| entry.is_of(&ask.stage, &ask.action))
            && (self.executions.iter().any(|run| run.id == entry.pipeline_execution_id)
                || self.shown().any(|id| *id == entry.action_execution_id))
    }

    /// The runs whose history may tell more than is known of it.
    fn wanting_history(&self) -> impl Iterator<Item = &PipelineExecution> {
        let is_recent = |id: &String| {
            let seen = self.untold.get(id).copied().unwrap_or(self.begun);
            self.begun < later(seen, RECORD_LAG)
        };
        // Somebody's execution of an action that was asked about, and nobody knows yet of which run.
        let untold =
            self.shown().any(|id| self.actions.iter().all(|entry| entry.action_execution_id != *id) && is_recent(id));
        // It was going on when history was read, and the state has moved past it.
        let passed = |run: &PipelineExecution| {
            self.actions.iter().any(|entry| {
                entry.pipeline_execution_id == run.id
                    && entry.progress == ActionProgress::InProgress
                    && self.shown().all(|id| *id != entry.action_execution_id)
            })
        };
        let newest: HashSet<&str> = self
            .asks
            .iter()
            .filter_map(|ask| self.executions.iter().find(|execution| ask.run.is_of(execution)))
            .map(|execution| execution.id.as_str())
            .collect();
        self.executions.iter().filter(move |run| {
            let goes_on = run.end().is_none();
            let is_complete = |read| run.updated.is_none_or(|updated| later(updated, RECORD_LAG) <= read);
            if self.history_read(&run.id).is_some_and(is_complete) {
                goes_on && (untold || run.mode == ExecutionMode::Parallel || passed(run))
            } else {
                goes_on || newest.contains(run.id.as_str())
            }
        })
    }

    /// Reads the history of these runs: pages of the whole pipeline's while that takes fewer calls than asking for each run.
    async fn read_history(&mut self, reads: &impl Reads, wanting: Vec<PipelineExecution>) -> Result<(), CallError> {
        let (mut entries, mut next) = (Vec::<ActionExecution>::new(), None);
        let mut left: Vec<&PipelineExecution> = wanting.iter().collect();
        for pages in 0..MAX_PAGES {
            if left.iter().filter(|run| run.started.is_some()).count() <= pages {
                break;
            }
            let page = reads.action_executions(None, next).await?;
            entries.extend(page.items);
            next = page.next;
            let reached = entries.last().and_then(|entry| entry.started);
            let is_reached = |run: &PipelineExecution| {
                next.is_none() || reached.zip(run.started).is_some_and(|(reached, began)| reached < began)
            };
            left.retain(|run| run.started.is_none() || !is_reached(run));
            if next.is_none() {
                break;
            }
        }
        if left.len() > MAX_PAGES {
            tracing::warn!(
                left_out = left.len() - MAX_PAGES,
                "more runs are waited for than their history is read; the older ones are not answered"
            );
        }
        let out_of_sight: HashSet<&str> = left.iter().skip(MAX_PAGES).map(|run| run.id.as_str()).collect();
        for run in left.iter().take(MAX_PAGES) {
            match reads.action_executions(Some(&run.id), None).await {
                Ok(page) => entries.extend(page.items),
                Err(error) if error.unknown_execution().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        for run in wanting.iter().filter(|run| !out_of_sight.contains(run.id.as_str())) {
            self.covered.insert(run.id.clone(), self.begun);
        }
        // An entry that was pushed onto the next page is there twice.
        let mut ids = HashSet::new();
        entries.retain(|entry| self.is_of_interest(entry) && ids.insert(entry.action_execution_id.clone()));
        self.actions.retain(|known| !ids.contains(&known.action_execution_id));
        entries.append(&mut self.actions);
        self.actions = entries;
        Ok(())
    }
}

/// The runs that were asked about.
struct Runs {
    /// The newest first.
    executions: Vec<PipelineExecution>,
    /// Runs that the service does not know, and what it says of them.
    unknown: BTreeMap<String, Exception>,
}

impl Runs {
    /// Pages are followed to the end where somebody new may find a run of a revision. Otherwise they are while that takes fewer
    /// calls than asking for each run that is missing.
    async fn read(
        reads: &impl Reads,
        begun: Timestamp,
        asks: &HashSet<Ask>,
        before: Option<&View>,
    ) -> Result<Self, CallError> {
        let known: Vec<&PipelineExecution> = before.iter().flat_map(|before| &before.executions).collect();
        let is_new_revision = asks.iter().any(|ask| match ask.run {
            AskedRun::PipelineExecution(_) => false,
            AskedRun::SourceRevision(_) => before.is_none_or(|before| !before.answers(ask)),
        });
        // More runs than a page holds may have begun since the last look, which had nothing of the newest of its own time.
        let is_of_revision = asks.iter().any(|ask| matches!(ask.run, AskedRun::SourceRevision(_)));
        let seen = before.and_then(|before| before.begun.checked_sub(RECORD_LAG).ok());
        let is_asked = |execution: &PipelineExecution| asks.iter().any(|ask| ask.run.is_of(execution));
        let by_id = asks.iter().filter_map(|ask| match &ask.run {
            AskedRun::PipelineExecution(id) => Some(id.0.clone()),
            AskedRun::SourceRevision(_) => None,
        });
        let going_on = known.iter().filter(|run| run.end().is_none() && is_asked(run)).map(|run| run.id.clone());
        let mut missing: BTreeSet<String> = by_id.chain(going_on).collect();
        let (mut executions, mut ids, mut next) = (Vec::new(), HashSet::new(), None);
        for pages in 1..=MAX_PAGES {
            let page = reads.pipeline_executions(next).await?;
            let reached = page.items.last().and_then(|execution| execution.started);
            for execution in page.items {
                missing.remove(&execution.id);
                // One that was pushed onto the next page is there twice.
                if is_asked(&execution) && ids.insert(execution.id.clone()) {
                    executions.push(execution);
                }
            }
            next = page.next;
            let is_caught_up = reached.zip(seen).is_some_and(|(reached, seen)| reached < seen) || !is_of_revision;
            if next.is_none() || !is_new_revision && is_caught_up && missing.len() <= pages {
                break;
            }
            if pages == MAX_PAGES {
                tracing::warn!(pages, "the pipeline has more runs than are read; older ones are not looked for");
            }
        }
        let (mut found, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        for id in missing {
            match reads.pipeline_execution(&id).await {
                Ok(run) => drop(found.insert(id, run)),
                Err(error) => match error.unknown_execution() {
                    Some(exception) => drop(unknown.insert(id, exception.clone())),
                    None => return Err(error),
                },
            }
        }
        let is_older = |run: &PipelineExecution| {
            next.is_some()
                && run.end().is_some()
                && is_asked(run)
                && !ids.contains(&run.id)
                && !unknown.contains_key(&run.id)
        };
        // Those that are not on the pages are further back, in the order in which they were known.
        for known in known {
            match found.remove(&known.id) {
                Some(run) if run.status == known.status => executions.push(known.clone()),
                Some(run) => {
                    executions.push(PipelineExecution { status: run.status, updated: Some(begun), ..known.clone() })
                }
                None if is_older(known) => executions.push(known.clone()),
                None => {}
            }
        }
        // When they changed is not told: it may have been just now.
        executions.extend(found.into_values().map(|run| PipelineExecution { updated: Some(begun), ..run }));
        executions.sort_by_key(|run| Reverse(run.started));
        Ok(Self { executions, unknown })
    }
}

#[cfg(test)]
mod tests;
