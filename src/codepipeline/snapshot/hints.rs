//! What a poll sees besides the answer to its queries, for messages alone: the names and revisions that there are, where a decision
//! names others.

use crate::api::v1alpha1::SourceRevision;
use crate::codepipeline::pipeline::{ActionExecution, ExecutionRevision, ExecutionType, PipelineExecution};
use crate::codepipeline::query::{ExecutionSelector, Query};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The most source actions that are noted. A pipeline has a few.
const MAX_SOURCE_ACTIONS: usize = 20;

/// The shortest abbreviation of a revision that is recognized.
const MIN_ABBREVIATION: usize = 4;

/// What polls have seen besides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hints {
    source_actions: BTreeSet<String>,
    /// By the entries of a query that no execution meets.
    similar: HashMap<Vec<SourceRevision>, SimilarRevision>,
    /// The categories of the actions of queried stages, as history last showed them, by stage and action.
    categories: BTreeMap<(String, String), (Option<Timestamp>, String)>,
}

/// A source revision that an entry may mean: the entry abbreviates its id, or names another source action.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SimilarRevision {
    /// pipelineExecutionId
    pub execution: String,
    /// The source revision.
    pub revision: ExecutionRevision,
}

impl Hints {
    /// The source actions of the executions that polls have listed.
    pub fn source_actions(&self) -> impl Iterator<Item = &String> {
        self.source_actions.iter()
    }

    /// The revision of the newest execution that one of these entries may mean, if no execution meets them.
    #[must_use]
    pub fn similar(&self, entries: &[SourceRevision]) -> Option<&SimilarRevision> {
        self.similar.get(entries)
    }

    /// The category of an action, if history has shown it.
    #[must_use]
    pub fn category(&self, stage: &str, action: &str) -> Option<&str> {
        let (_, category) = self.categories.get(&(stage.to_owned(), action.to_owned()))?;
        Some(category)
    }

    /// Whether the other hints show the same to those who knew them, who had these queries. Categories explain what is known already.
    pub(super) fn is_equivalent(&self, other: &Self, known: &HashSet<Query>) -> bool {
        let is_same = |(entries, similar): (&Vec<SourceRevision>, &SimilarRevision)| {
            other.similar.get(entries) == Some(similar) || !known.iter().any(|query| entries_of(query) == Some(entries))
        };
        self.source_actions == other.source_actions && self.similar.iter().all(is_same)
    }

    /// Notes what the list of executions shows, newest first. Pages that this poll did not read have shown more before. `selected` are the
    /// executions that the queries select.
    pub(super) fn note_executions(
        &mut self,
        listed: &[PipelineExecution],
        queries: &HashSet<Query>,
        selected: &[PipelineExecution],
    ) {
        let sources = listed.iter().flat_map(|execution| &execution.source_revisions);
        for ExecutionRevision { action_name, .. } in sources {
            if self.source_actions.len() < MAX_SOURCE_ACTIONS && !self.source_actions.contains(action_name) {
                self.source_actions.insert(action_name.clone());
            }
        }
        let mut before = std::mem::take(&mut self.similar);
        for entries in queries.iter().filter_map(entries_of) {
            let found = find_similar(listed, entries).or_else(|| before.remove(entries));
            let is_met = || selected.iter().any(|execution| execution.meets(entries));
            let found = found.filter(|_| !is_met());
            self.similar.extend(found.map(|found| (entries.clone(), found)));
        }
    }

    /// Notes the categories that entries of history show.
    pub(super) fn note_categories(&mut self, entries: &[ActionExecution], queries: &HashSet<Query>) {
        let stages: BTreeSet<&String> = queries.iter().map(|query| &query.stage).collect();
        self.categories.retain(|(stage, _), _| stages.contains(stage));
        for entry in entries.iter().filter(|entry| stages.contains(&entry.stage_name) && !entry.category.is_empty()) {
            let name = (entry.stage_name.clone(), entry.action_name.clone());
            let known = self.categories.entry(name).or_insert_with(|| (None, entry.category.clone()));
            // A pipeline can be edited: the newest entry says what the action is now.
            if known.0 <= entry.started_at {
                *known = (entry.started_at, entry.category.clone());
            }
        }
    }
}

const fn entries_of(query: &Query) -> Option<&Vec<SourceRevision>> {
    match &query.executions {
        ExecutionSelector::SourceRevisions(entries) => Some(entries),
        ExecutionSelector::PipelineExecution(_) | ExecutionSelector::Request { .. } => None,
    }
}

fn find_similar(executions: &[PipelineExecution], entries: &[SourceRevision]) -> Option<SimilarRevision> {
    let standard = executions.iter().filter(|execution| execution.execution_type == ExecutionType::Standard);
    standard.into_iter().find_map(|execution| {
        let is_meant = |found: &&ExecutionRevision| entries.iter().any(|entry| may_mean(entry, found));
        let revision = execution.source_revisions.iter().find(is_meant)?.clone();
        Some(SimilarRevision { execution: execution.id.clone(), revision })
    })
}

/// Whether an entry may mean a source revision that it does not cover.
fn may_mean(entry: &SourceRevision, found: &ExecutionRevision) -> bool {
    let (Some(named), Some(id)) = (&entry.revision_id, &found.revision_id) else { return false };
    !found.is_covered_by(entry) && (abbreviates(named, id) || abbreviates(id, named))
}

fn abbreviates(short: &str, long: &str) -> bool {
    short.len() >= MIN_ABBREVIATION && long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short))
}
