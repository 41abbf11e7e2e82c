//! One execution of a pipeline and the attempts at its actions. An execution waits to enter a stage, is in a stage, or
//! has ended. `step` advances one execution on its own; `pipeline` has the rules between executions.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActionDefinition, ActionExecutionId, ExecutionMode, Name, PipelineDefinition, PipelineExecutionId, StageDefinition,
    Token, TokenRule, ids::Ids,
};

/// The revision that a source action of an execution found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRevision {
    /// The source action.
    pub action_name: Name,
    /// A commit, a digest or a version, depending on the source.
    pub revision_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    pub(super) id: PipelineExecutionId,
    pub(super) mode: ExecutionMode,
    /// The version of the pipeline at the start. An edit of the pipeline fails executions of older versions.
    pub(super) version: u32,
    pub(super) definition: Arc<PipelineDefinition>,
    pub(super) revisions: Vec<SourceRevision>,
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) position: Position,
    /// Why it was stopped; set as soon as the stop is requested.
    pub(super) stop_reason: Option<String>,
    /// Every attempt, oldest first.
    pub(super) attempts: Vec<ActionAttempt>,
}

/// Where an execution is, as the index of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Position {
    Waiting(usize),
    In(usize),
    /// It ended in this stage, or while it waited to enter it.
    Ended(usize, ExecutionOutcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ExecutionOutcome {
    Succeeded,
    Failed,
    Stopped,
    Superseded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActionAttempt {
    pub(super) id: ActionExecutionId,
    /// The token of an approval. It is kept after the attempt ends, because CodePipeline distinguishes old from unknown
    /// tokens.
    pub(super) token: Option<Token>,
    pub(super) stage: Name,
    pub(super) definition: Arc<ActionDefinition>,
    pub(super) started: Timestamp,
    /// When it ends automatically.
    pub(super) due: Option<Timestamp>,
    pub(super) end: Option<ActionEnd>,
    /// A retry of the stage has replaced this attempt.
    pub(super) retried: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActionEnd {
    pub(super) at: Timestamp,
    pub(super) outcome: ActionOutcome,
    pub(super) summary: Option<String>,
    /// The ARN of the caller who responded.
    pub(super) updated_by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ActionOutcome {
    Succeeded,
    Failed,
    TimedOut,
    /// An edit of the pipeline cancelled it.
    Cancelled,
    /// The execution was stopped in the mode that abandons actions.
    Abandoned,
}

/// The inputs of a step that are not part of the execution.
pub(super) struct StepContext<'a> {
    pub(super) at: Timestamp,
    pub(super) pipeline_version: u32,
    pub(super) tokens: TokenRule,
    pub(super) ids: &'a mut Ids,
}

impl Execution {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.position, Position::Ended(..))
    }

    /// The stage that it is in, and so locks.
    pub(super) fn locked_stage(&self) -> Option<&Name> {
        match self.position {
            Position::In(index) => self.definition.stages.get(index).map(|stage| &stage.name),
            Position::Waiting(_) | Position::Ended(..) => None,
        }
    }

    pub(super) fn has_entered(&self, stage: &str) -> bool {
        self.attempts.iter().any(|attempt| &attempt.stage == stage)
    }

    /// The newest attempt at an action.
    pub(super) fn latest_attempt(&self, stage: &str, action: &str) -> Option<&ActionAttempt> {
        self.attempts.iter().rev().find(|attempt| attempt.is_of(stage, action))
    }

    pub(super) fn running_attempts(&mut self) -> impl Iterator<Item = &mut ActionAttempt> {
        self.attempts.iter_mut().filter(|attempt| attempt.end.is_none())
    }

    pub(super) fn move_to(&mut self, position: Position, at: Timestamp) {
        self.position = position;
        self.updated = at;
    }

    /// Advances the execution by one step, if it can advance without external input.
    pub(super) fn step(&mut self, context: &mut StepContext<'_>) -> bool {
        let Position::In(index) = self.position else { return false };
        let definition = Arc::clone(&self.definition);
        let Some(stage) = definition.stages.get(index) else {
            return false;
        };
        let next = match self.stage_progress(stage) {
            StageProgress::Running => return false,
            StageProgress::Failed => Position::Ended(index, ExecutionOutcome::Failed),
            _ if self.stop_reason.is_some() => Position::Ended(index, ExecutionOutcome::Stopped),
            // An edit lets running actions complete, and then fails the execution.
            _ if self.version != context.pipeline_version => Position::Ended(index, ExecutionOutcome::Failed),
            StageProgress::Startable(actions) => {
                for action in actions {
                    self.attempts.push(ActionAttempt::start(&stage.name, action, context));
                }
                self.updated = context.at;
                return true;
            }
            StageProgress::Done if index + 1 < definition.stages.len() => Position::Waiting(index + 1),
            StageProgress::Done => Position::Ended(index, ExecutionOutcome::Succeeded),
        };
        self.move_to(next, context.at);
        true
    }

    fn stage_progress<'a>(&self, stage: &'a StageDefinition) -> StageProgress<'a> {
        for order in stage.run_orders() {
            let mut startable = Vec::new();
            let (mut running, mut failed) = (false, false);
            for action in stage.actions.iter().filter(|action| action.run_order == order) {
                let current = self.latest_attempt(&stage.name, &action.name).filter(|attempt| !attempt.retried);
                match current.map(|attempt| attempt.end.as_ref().map(|end| end.outcome)) {
                    None => startable.push(action),
                    Some(None) => running = true,
                    Some(Some(ActionOutcome::Succeeded)) => {}
                    Some(Some(
                        ActionOutcome::Failed
                        | ActionOutcome::TimedOut
                        | ActionOutcome::Cancelled
                        | ActionOutcome::Abandoned,
                    )) => failed = true,
                }
            }
            if running {
                return StageProgress::Running;
            }
            if failed {
                return StageProgress::Failed;
            }
            if !startable.is_empty() {
                return StageProgress::Startable(startable);
            }
        }
        StageProgress::Done
    }
}

/// The progress of an execution in its current stage.
enum StageProgress<'a> {
    Running,
    Failed,
    Startable(Vec<&'a ActionDefinition>),
    Done,
}

impl ActionAttempt {
    fn start(stage: &Name, definition: &ActionDefinition, context: &mut StepContext<'_>) -> Self {
        let id = context.ids.action_execution();
        Self {
            id,
            token: definition.is_approval().then(|| context.ids.token(context.tokens, id)),
            stage: stage.clone(),
            definition: Arc::new(definition.clone()),
            started: context.at,
            due: definition.ends_after().and_then(|after| context.at.checked_add(after).ok()),
            end: None,
            retried: false,
        }
    }

    pub(super) fn is_of(&self, stage: &str, action: &str) -> bool {
        &self.stage == stage && &self.definition.name == action
    }

    pub(super) fn finish(&mut self, at: Timestamp, outcome: ActionOutcome) {
        self.end = Some(ActionEnd { at, outcome, summary: None, updated_by: None });
    }

    /// Ends the attempt at its due time.
    pub(super) fn end_when_due(&mut self, at: Timestamp) {
        self.finish(at, if self.definition.is_approval() { ActionOutcome::TimedOut } else { ActionOutcome::Succeeded });
    }
}
