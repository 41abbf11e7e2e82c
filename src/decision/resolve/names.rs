//! What a pipeline has in place of a name that it does not have. It is for messages alone.

use super::observed_action::Named;
use super::resolution::{Candidates, Missing, RefusedNames, RevisionHint};
use crate::api::v1alpha1::ExecutionBinding;
use crate::codepipeline::{ExecutionMode, PipelineSnapshot, StageState};

/// The category of approval actions in history.
pub(super) const APPROVAL: &str = "Approval";

/// The most names that an outcome has.
const MAX_NAMES: usize = 20;

/// The pipeline has no stage of this name, or the stage no action.
pub(super) fn missing(snapshot: &PipelineSnapshot, stage: &str, action: &str) -> Option<Missing> {
    // In PARALLEL mode the state view can be empty, or that of an older definition.
    if snapshot.mode() == Some(ExecutionMode::Parallel) {
        return None;
    }
    let stages = || snapshot.state.stages.iter();
    let has_it = |stage: &&StageState| stage.actions.iter().any(|found| found.name == action);
    match stages().find(|found| found.name == stage) {
        None => Some(Missing::Stage { stages: some(stages().map(|stage| &stage.name)) }),
        Some(stage) if has_it(&stage) => None,
        Some(stage) => Some(Missing::Action {
            candidates: candidates(snapshot, stage, action),
            stages: some(stages().filter(has_it).map(|stage| &stage.name)),
        }),
    }
}

/// What a pipeline has of names for which CodePipeline refused a result; none if this is not visible.
pub fn refused_names(snapshot: &PipelineSnapshot, stage: &str, action: &str) -> Option<RefusedNames> {
    let not_an_approval = || {
        let category = snapshot.hints.category(stage, action).filter(|category| *category != APPROVAL)?;
        let stage = snapshot.state.stages.iter().find(|found| found.name == stage)?;
        Some(Missing::NotAnApproval { category: category.to_owned(), candidates: candidates(snapshot, stage, action) })
    };
    match missing(snapshot, stage, action).or_else(not_an_approval) {
        Some(missing) => Some(RefusedNames::Missing(missing)),
        None if snapshot.mode() == Some(ExecutionMode::Parallel) => None,
        None => Some(RefusedNames::Found),
    }
}

/// The actions of the stage, but for the named one and those that history shows as something else than an approval: the state view has
/// no categories.
pub(super) fn candidates(snapshot: &PipelineSnapshot, stage: &StageState, named: &str) -> Candidates {
    let actions = || stage.actions.iter().map(|action| &action.name).filter(|name| *name != named);
    let category = |name: &&String| snapshot.hints.category(&stage.name, name);
    Candidates {
        approvals: some(actions().filter(|name| category(name) == Some(APPROVAL))),
        others: some(actions().filter(|name| category(name).is_none())),
    }
}

/// What is wrong with the entries that no execution meets.
pub(super) fn hint(snapshot: &PipelineSnapshot, named: Named<'_>) -> Option<RevisionHint> {
    let entries = match named.executions {
        ExecutionBinding::SourceRevisions(entries) => entries,
        ExecutionBinding::PipelineExecution(_) => return None,
    };
    if let Some(similar) = snapshot.hints.similar(entries) {
        return Some(RevisionHint::Similar(similar.clone()));
    }
    let known = some(snapshot.hints.source_actions());
    let unknown = entries.iter().filter_map(|entry| entry.action_name.as_ref()).find(|name| !known.contains(name));
    let action = unknown.filter(|_| !known.is_empty())?.clone();
    Some(RevisionHint::UnknownSource { action, known })
}

fn some<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.take(MAX_NAMES).cloned().collect()
}
