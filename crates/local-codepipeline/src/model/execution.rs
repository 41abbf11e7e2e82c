//! One execution of a pipeline and the attempts at its actions. An execution waits to enter a stage, is in a stage, or
//! has ended. `step` advances one execution on its own; `pipeline` has the rules between executions.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ActionDefinition, ActionExecutionId, EntryResult, ExecutionMode, Name, OnFailure, PipelineDefinition,
    PipelineExecutionId, RetryMode, StageDefinition, Token, TokenRule, ids::Ids,
};

/// The revision that a source action of an execution found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRevision {
    /// The source action.
    pub action_name: Name,
    /// A commit, a digest or a version, depending on the source. It is optional in AWS's API model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    pub(super) id: PipelineExecutionId,
    pub(super) mode: ExecutionMode,
    /// The version of the pipeline at the start. An edit of the pipeline fails executions of older versions.
    pub(super) version: u32,
    pub(super) definition: Arc<PipelineDefinition>,
    pub(super) origin: Origin,
    pub(super) revisions: Vec<SourceRevision>,
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) position: Position,
    /// Why it was stopped; set as soon as the stop is requested.
    pub(super) stop_reason: Option<String>,
    /// Every attempt, oldest first.
    pub(super) attempts: Vec<ActionAttempt>,
    /// The stages that were retried.
    pub(super) retries: BTreeMap<Name, StageRetries>,
    /// The entry conditions that had an effect, by stage.
    pub(super) entries: BTreeMap<Name, EntryOutcome>,
}

/// The outcome of an entry condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EntryOutcome {
    Skipped,
    Failed,
    /// A command overrode the condition, before or after the execution reached the stage.
    Overridden,
}

/// How often a stage of an execution was retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StageRetries {
    pub(super) automatic: u32,
    pub(super) manual: u32,
    pub(super) latest: RetryTrigger,
}

/// What retried a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum RetryTrigger {
    AutomatedStageRetry,
    ManualStageRetry,
}

/// Why an execution exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// It was started.
    Start,
    /// A stage was rolled back to the revisions of an earlier execution. It runs that stage only.
    Rollback { target: PipelineExecutionId, trigger: RollbackTrigger },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RollbackTrigger {
    Manual,
    Automatic,
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

    /// Whether it has started actions of the stage.
    pub(super) fn has_entered(&self, stage: &str) -> bool {
        self.attempts.iter().any(|attempt| &attempt.stage == stage)
    }

    /// Whether it has entered the stage, or its entry condition has skipped or failed the stage.
    pub(super) fn has_reached(&self, stage: &str) -> bool {
        let by_condition = match self.entries.get(stage) {
            Some(EntryOutcome::Skipped | EntryOutcome::Failed) => true,
            Some(EntryOutcome::Overridden) | None => false,
        };
        by_condition || self.has_entered(stage)
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
        if let Some((outcome, next)) = self.unmet_entry_condition(index, stage) {
            self.entries.insert(stage.name.clone(), outcome);
            self.move_to(next, context.at);
            return true;
        }
        let next = match self.stage_progress(stage) {
            StageProgress::Running => return false,
            StageProgress::Failed => match self.automatic_retry(stage, context.pipeline_version) {
                Some(mode) => {
                    self.retry(&stage.name, mode, RetryTrigger::AutomatedStageRetry);
                    Position::In(index)
                }
                None => Position::Ended(index, ExecutionOutcome::Failed),
            },
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
            StageProgress::Done => self.position_after(index),
        };
        self.move_to(next, context.at);
        true
    }

    /// What the entry condition of the stage does to the execution, unless it was overridden.
    fn unmet_entry_condition(&self, index: usize, stage: &StageDefinition) -> Option<(EntryOutcome, Position)> {
        let condition = stage.before_entry?;
        match (self.entries.get(&stage.name), condition.result) {
            (Some(EntryOutcome::Overridden), _) => None,
            // Assumed: a skipped stage has no action executions, and a rollback of it has succeeded.
            (Some(EntryOutcome::Skipped | EntryOutcome::Failed) | None, EntryResult::Skip) => {
                Some((EntryOutcome::Skipped, self.position_after(index)))
            }
            // Assumed: neither a retry nor a rollback on failure follows.
            (Some(EntryOutcome::Skipped | EntryOutcome::Failed) | None, EntryResult::Fail) => {
                Some((EntryOutcome::Failed, Position::Ended(index, ExecutionOutcome::Failed)))
            }
        }
    }

    fn position_after(&self, stage: usize) -> Position {
        match self.origin {
            Origin::Start if stage + 1 < self.definition.stages.len() => Position::Waiting(stage + 1),
            Origin::Start | Origin::Rollback { .. } => Position::Ended(stage, ExecutionOutcome::Succeeded),
        }
    }

    /// Whether a failed stage is retried without a command. Assumed: also after a rejected approval, but not in a stopping
    /// execution.
    fn automatic_retry(&self, stage: &StageDefinition, pipeline_version: u32) -> Option<RetryMode> {
        let is_first = self.retries.get(&stage.name).is_none_or(|retries| retries.automatic == 0);
        let is_allowed = is_first && self.stop_reason.is_none() && self.version == pipeline_version;
        match stage.on_failure {
            Some(OnFailure::Retry(mode)) if is_allowed => Some(mode),
            Some(OnFailure::Retry(_) | OnFailure::Rollback) | None => None,
        }
    }

    /// Marks the attempts that a retry of the stage replaces. The next step starts the new ones.
    pub(super) fn retry(&mut self, stage: &Name, mode: RetryMode, trigger: RetryTrigger) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.stage == *stage) {
            let succeeded = attempt.end.as_ref().is_some_and(|end| end.outcome == ActionOutcome::Succeeded);
            attempt.retried |= mode == RetryMode::AllActions || !succeeded;
        }
        let none = StageRetries { automatic: 0, manual: 0, latest: trigger };
        let retries = self.retries.entry(stage.clone()).or_insert(none);
        retries.latest = trigger;
        match trigger {
            RetryTrigger::AutomatedStageRetry => retries.automatic += 1,
            RetryTrigger::ManualStageRetry => retries.manual += 1,
        }
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
