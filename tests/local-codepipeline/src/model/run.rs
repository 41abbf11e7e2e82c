//! One run of a pipeline and the attempts at its actions. A run is in front of a stage, in it, or over; it goes from one
//! to the next by `step`, which looks at nothing but the run itself. What runs do to each other is in `pipeline`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActionDefinition, ActionExecutionId, ExecutionMode, Name, PipelineDefinition, PipelineExecutionId, StageDefinition,
    Token, TokenRule, ids::Ids,
};

/// What a source action of a run came upon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRevision {
    /// The source action.
    pub action_name: Name,
    /// A commit, a digest, a version: whatever the source calls it.
    pub revision_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) id: PipelineExecutionId,
    pub(super) mode: ExecutionMode,
    /// The pipeline's version at the start; a run of an older one is not carried on.
    pub(super) version: u32,
    pub(super) definition: Arc<PipelineDefinition>,
    pub(super) revisions: Vec<SourceRevision>,
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) place: Place,
    /// Why it was stopped, from the moment that somebody asked for it.
    pub(super) stop_reason: Option<String>,
    /// Every attempt, the oldest first; only the end of one is ever written to.
    pub(super) actions: Vec<ActionRun>,
}

/// Where a run is; stages are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Waiting(usize),
    In(usize),
    /// In or in front of that stage.
    Ended(usize, RunEnd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RunEnd {
    Succeeded,
    Failed,
    Stopped,
    Superseded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActionRun {
    pub(super) id: ActionExecutionId,
    /// Of an approval, and kept when it has ended: the service knows an old token from an unknown one.
    pub(super) token: Option<Token>,
    pub(super) stage: Name,
    pub(super) definition: Arc<ActionDefinition>,
    pub(super) started: Timestamp,
    /// When it ends if nobody does anything.
    pub(super) due: Option<Timestamp>,
    pub(super) end: Option<ActionEnd>,
    /// A retry of its stage made it count no more.
    pub(super) retried: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActionEnd {
    pub(super) at: Timestamp,
    pub(super) how: How,
    pub(super) summary: Option<String>,
    /// The ARN of who ended it.
    pub(super) by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum How {
    Succeeded,
    Failed,
    TimedOut,
    /// By an edit of the pipeline.
    Cancelled,
    /// By a stop of the run that waits for nothing.
    Abandoned,
}

/// What a step needs to know of the world around the run.
pub(super) struct Surroundings<'a> {
    pub(super) at: Timestamp,
    pub(super) pipeline_version: u32,
    pub(super) tokens: TokenRule,
    pub(super) ids: &'a mut Ids,
}

impl Run {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Ended(..))
    }

    /// The stage that it is in, and so holds.
    pub(super) fn holds(&self) -> Option<&Name> {
        match self.place {
            Place::In(index) => self.definition.stages.get(index).map(|stage| &stage.name),
            Place::Waiting(_) | Place::Ended(..) => None,
        }
    }

    pub(super) fn has_entered(&self, stage: &str) -> bool {
        self.actions.iter().any(|action| &action.stage == stage)
    }

    /// The newest attempt at an action.
    pub(super) fn latest(&self, stage: &str, action: &str) -> Option<&ActionRun> {
        self.actions.iter().rev().find(|run| run.is_of(stage, action))
    }

    pub(super) fn running(&mut self) -> impl Iterator<Item = &mut ActionRun> {
        self.actions.iter_mut().filter(|action| action.end.is_none())
    }

    pub(super) fn enter(&mut self, place: Place, at: Timestamp) {
        self.place = place;
        self.updated = at;
    }

    /// One step on, if there is one to make without anybody doing anything.
    pub(super) fn step(&mut self, world: &mut Surroundings<'_>) -> bool {
        let Place::In(index) = self.place else { return false };
        let definition = Arc::clone(&self.definition);
        let Some(stage) = definition.stages.get(index) else {
            return false;
        };
        let next = match self.standing(stage) {
            Standing::Running => return false,
            Standing::Failed => Place::Ended(index, RunEnd::Failed),
            _ if self.stop_reason.is_some() => Place::Ended(index, RunEnd::Stopped),
            // An edit lets what runs come to its end, and fails the run then.
            _ if self.version != world.pipeline_version => Place::Ended(index, RunEnd::Failed),
            Standing::Startable(actions) => {
                for action in actions {
                    self.actions.push(ActionRun::start(&stage.name, action, world));
                }
                self.updated = world.at;
                return true;
            }
            Standing::Done if index + 1 < definition.stages.len() => Place::Waiting(index + 1),
            Standing::Done => Place::Ended(index, RunEnd::Succeeded),
        };
        self.enter(next, world.at);
        true
    }

    fn standing<'a>(&self, stage: &'a StageDefinition) -> Standing<'a> {
        for order in stage.run_orders() {
            let mut startable = Vec::new();
            let (mut running, mut failed) = (false, false);
            for action in stage.actions.iter().filter(|action| action.run_order == order) {
                let current = self.latest(&stage.name, &action.name).filter(|attempt| !attempt.retried);
                match current.map(|attempt| attempt.end.as_ref().map(|end| end.how)) {
                    None => startable.push(action),
                    Some(None) => running = true,
                    Some(Some(How::Succeeded)) => {}
                    Some(Some(How::Failed | How::TimedOut | How::Cancelled | How::Abandoned)) => failed = true,
                }
            }
            if running {
                return Standing::Running;
            }
            if failed {
                return Standing::Failed;
            }
            if !startable.is_empty() {
                return Standing::Startable(startable);
            }
        }
        Standing::Done
    }
}

/// How the stage that a run is in stands.
enum Standing<'a> {
    Running,
    Failed,
    Startable(Vec<&'a ActionDefinition>),
    Done,
}

impl ActionRun {
    fn start(stage: &Name, definition: &ActionDefinition, world: &mut Surroundings<'_>) -> Self {
        let id = world.ids.action_execution();
        Self {
            id,
            token: definition.is_approval().then(|| world.ids.token(world.tokens, id)),
            stage: stage.clone(),
            definition: Arc::new(definition.clone()),
            started: world.at,
            due: definition.ends_after().and_then(|after| world.at.checked_add(after).ok()),
            end: None,
            retried: false,
        }
    }

    pub(super) fn is_of(&self, stage: &str, action: &str) -> bool {
        &self.stage == stage && &self.definition.name == action
    }

    pub(super) fn finish(&mut self, at: Timestamp, how: How) {
        self.end = Some(ActionEnd { at, how, summary: None, by: None });
    }

    /// What the clock does to it when it is due.
    pub(super) fn come_due(&mut self, at: Timestamp) {
        self.finish(at, if self.definition.is_approval() { How::TimedOut } else { How::Succeeded });
    }
}
