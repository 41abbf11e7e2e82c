//! A look at a pipeline for all decisions that wait for one of its runs: which calls it takes, and what of their answers
//! matters to those who asked. It is told when it begins and does no I/O of its own, so tests run it on a service in memory.

use super::error::CallError;
use super::pipeline::{
    ActionExecution, ActionProgress, ExecutionMode, ExecutionStatus, LatestExecution, PipelineExecution, PipelineState,
};
use super::reads::Reads;
use crate::api::v1alpha1::{Exception, PipelineExecutionId, SourceRevision};
use jiff::{SignedDuration, Timestamp};
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
    /// The history of the actions that were asked about in these runs, and whose execution the state shows there, the
    /// newest first.
    pub actions: Vec<ActionExecution>,
    /// When history was last read to its beginning for a run.
    covered: BTreeMap<String, Timestamp>,
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

    /// When the history of a run was last read; never, where it is longer than what is read.
    #[must_use]
    pub fn history_read(&self, execution: &str) -> Option<Timestamp> {
        self.covered.get(execution).copied()
    }

    /// The newest execution of an action as the state shows it.
    #[must_use]
    pub fn shown(&self, stage: &str, action: &str) -> Option<&LatestExecution> {
        shown(&self.state, stage, action)
    }

    /// Whether the state shows this execution of an action, whatever it says about it.
    fn shows(&self, entry: &ActionExecution) -> bool {
        let shown = self.shown(&entry.stage_name, &entry.action_name);
        shown.and_then(|shown| shown.action_execution_id.as_ref()) == Some(&entry.action_execution_id)
    }
}

fn shown<'a>(state: &'a PipelineState, stage: &str, action: &str) -> Option<&'a LatestExecution> {
    let stage = state.stages.iter().find(|found| found.name == stage)?;
    stage.actions.iter().find(|found| found.name == action)?.latest_execution.as_ref()
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
    let executions = executions(reads, &asks, before).await?;
    let mut view = View {
        begun,
        state,
        executions,
        actions: Vec::new(),
        covered: BTreeMap::new(),
        unknown: BTreeMap::new(),
        asks,
    };
    view.forget_what_nobody_asked();
    let considered: Vec<PipelineExecution> = view.considered().cloned().collect();
    if before.is_none_or(|before| view.needs_history(&considered, before)) && !considered.is_empty() {
        view.read_history(reads, &considered).await?;
    } else if let Some(before) = before {
        view.covered.clone_from(&before.covered);
        view.actions.clone_from(&before.actions);
    }
    view.read_unlisted(reads).await?;
    let asks = &view.asks;
    view.actions.retain(|entry| asks.iter().any(|ask| entry.is_of(&ask.stage, &ask.action)));
    Ok(view)
}

/// The runs that were asked about. Pages are followed as far back as somebody who is new may find a run, or one that was
/// found before still goes on.
async fn executions(
    reads: &impl Reads,
    asks: &HashSet<Ask>,
    before: Option<&View>,
) -> Result<Vec<PipelineExecution>, CallError> {
    let new: Vec<&AskedRun> =
        asks.iter().filter(|ask| before.is_none_or(|before| !before.asks.contains(ask))).map(|ask| &ask.run).collect();
    let under_way: Vec<&PipelineExecution> = before
        .iter()
        .flat_map(|before| &before.executions)
        .filter(|execution| matches!(execution.status, ExecutionStatus::InProgress | ExecutionStatus::Stopping))
        .collect();
    let (mut found, mut next) = (Vec::<PipelineExecution>::new(), None);
    let mut is_whole = false;
    for page in 1.. {
        let read = reads.pipeline_executions(next).await?;
        found.extend(read.items);
        next = read.next;
        is_whole = next.is_none();
        let ids: HashSet<&str> = found.iter().map(|execution| execution.id.as_str()).collect();
        let is_covered = under_way.iter().all(|execution| ids.contains(execution.id.as_str()))
            && new.iter().all(|run| match run {
                AskedRun::PipelineExecution(id) => ids.contains(id.0.as_str()),
                AskedRun::SourceRevision(_) => false,
            });
        if is_whole || is_covered {
            break;
        }
        if page == MAX_PAGES {
            tracing::warn!(
                pages = MAX_PAGES,
                "the pipeline has more runs than are read; older ones are not looked for"
            );
            break;
        }
    }
    let asked = |execution: &PipelineExecution| asks.iter().any(|ask| ask.run.is_of(execution));
    let mut ids = HashSet::new();
    // A run that begins between two pages pushes another onto the second for another time.
    found.retain(|execution| asked(execution) && ids.insert(execution.id.clone()));
    let older = before.iter().flat_map(|before| &before.executions).filter(|execution| {
        execution.status != ExecutionStatus::Unlisted && asked(execution) && !ids.contains(&execution.id)
    });
    if !is_whole {
        found.extend(older.cloned());
    }
    Ok(found)
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
    }

    /// The runs whose history tells anything: those that go on, those asked for by id, and the newest of a revision.
    fn considered(&self) -> impl Iterator<Item = &PipelineExecution> {
        let newest: HashSet<&str> = self
            .asks
            .iter()
            .filter_map(|ask| self.executions.iter().find(|execution| ask.run.is_of(execution)))
            .map(|execution| execution.id.as_str())
            .collect();
        self.executions.iter().filter(move |run| run.end().is_none() || newest.contains(run.id.as_str()))
    }

    /// Whether history may tell more than it did before.
    fn needs_history(&self, considered: &[PipelineExecution], before: &View) -> bool {
        let is_open = |run: &PipelineExecution| match before.history_read(&run.id) {
            None => true,
            Some(read) => {
                run.updated.is_none_or(|updated| read < updated.saturating_add(RECORD_LAG).unwrap_or(Timestamp::MAX))
                    || run.mode == ExecutionMode::Parallel && run.end().is_none()
            }
        };
        let asked_anew = self.asks.iter().any(|ask| !before.asks.contains(ask));
        // Somebody's execution of an action that was asked about, and nobody knows of which run.
        let untold = self.asks.iter().any(|ask| {
            let shown = self.shown(&ask.stage, &ask.action).and_then(|shown| shown.action_execution_id.as_ref());
            shown.is_some_and(|id| before.actions.iter().all(|entry| entry.action_execution_id != *id))
        });
        // It was going on when history was read, and the state has moved past it.
        let passed = before.actions.iter().any(|entry| {
            entry.progress == ActionProgress::InProgress
                && !self.shows(entry)
                && considered.iter().any(|run| run.id == entry.pipeline_execution_id)
        });
        asked_anew || untold || passed || considered.iter().any(is_open)
    }

    async fn read_history(&mut self, reads: &impl Reads, considered: &[PipelineExecution]) -> Result<(), CallError> {
        let (mut actions, mut next) = (Vec::<ActionExecution>::new(), None);
        let oldest = considered.iter().filter_map(|run| run.started).min();
        for page in 1.. {
            let read = reads.action_executions(None, next).await?;
            actions.extend(read.items);
            next = read.next;
            let reached = actions.last().and_then(|entry| entry.started);
            let is_covered = next.is_none() || reached.zip(oldest).is_some_and(|(reached, oldest)| reached < oldest);
            if !is_covered && page < MAX_PAGES {
                continue;
            }
            if !is_covered {
                tracing::warn!(
                    pages = MAX_PAGES,
                    "the history of the pipeline is longer than what is read; runs that began before are not answered"
                );
            }
            let covered = considered
                .iter()
                .filter(|run| is_covered || reached.zip(run.started).is_some_and(|(reached, began)| reached < began));
            self.covered = covered.map(|run| (run.id.clone(), self.begun)).collect();
            break;
        }
        let mut seen = HashSet::new();
        actions.retain(|entry| {
            let is_of_a_run = considered.iter().any(|run| run.id == entry.pipeline_execution_id);
            (is_of_a_run || self.shows(entry)) && seen.insert(entry.action_execution_id.clone())
        });
        self.actions = actions;
        Ok(())
    }

    /// Runs that were asked for by id and are not listed are unknown, or older than what is listed.
    async fn read_unlisted(&mut self, reads: &impl Reads) -> Result<(), CallError> {
        let listed: HashSet<&str> = self.executions.iter().map(|execution| execution.id.as_str()).collect();
        let unlisted: BTreeSet<String> = self
            .asks
            .iter()
            .filter_map(|ask| match &ask.run {
                AskedRun::PipelineExecution(id) if !listed.contains(id.0.as_str()) => Some(id.0.clone()),
                AskedRun::PipelineExecution(_) | AskedRun::SourceRevision(_) => None,
            })
            .collect();
        for id in unlisted {
            let read = match reads.action_executions(Some(&id), None).await {
                Ok(read) => read,
                Err(error) => match error.unknown_execution() {
                    Some(exception) => {
                        self.unknown.insert(id, exception.clone());
                        continue;
                    }
                    None => return Err(error),
                },
            };
            self.actions.retain(|entry| entry.pipeline_execution_id != id);
            self.actions.extend(read.items);
            self.covered.insert(id.clone(), self.begun);
            self.executions.push(PipelineExecution {
                id,
                status: ExecutionStatus::Unlisted,
                started: None,
                updated: None,
                source_revisions: Vec::new(),
                mode: ExecutionMode::Serial,
            });
        }
        Ok(())
    }
}
