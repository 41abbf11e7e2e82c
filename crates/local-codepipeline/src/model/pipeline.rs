//! A pipeline, its executions, and the rules between them: an execution locks the stage that it is in, and the
//! execution mode decides what happens to the executions that wait for the stage. Time passes only in `advance_to`.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    ExecutionMode, Name, PipelineDefinition, TokenRule,
    execution::{ActionAttempt, ActionOutcome, Execution, ExecutionOutcome, Position, StepContext},
    ids::Ids,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pipeline {
    pub(super) definition: Arc<PipelineDefinition>,
    pub(super) version: u32,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    /// Oldest first.
    pub(super) executions: Vec<Execution>,
    /// The stages whose inbound transition is disabled, and why. They stay disabled when the pipeline is edited.
    pub(super) disabled_transitions: BTreeMap<Name, String>,
    /// The pipeline as `ParallelState::Stale` shows it.
    stale: Option<Arc<Pipeline>>,
}

impl Pipeline {
    pub(super) fn new(definition: PipelineDefinition, at: Timestamp) -> Self {
        Self {
            definition: Arc::new(definition),
            version: 1,
            created: at,
            updated: at,
            executions: Vec::new(),
            disabled_transitions: BTreeMap::new(),
            stale: None,
        }
    }

    /// The pipeline in an outdated state. One that was never edited has no executions there.
    pub(super) fn outdated(&self) -> Arc<Self> {
        self.stale.clone().unwrap_or_else(|| Arc::new(self.copy(Vec::new())))
    }

    fn copy(&self, executions: Vec<Execution>) -> Self {
        Self {
            definition: Arc::clone(&self.definition),
            version: self.version,
            created: self.created,
            updated: self.updated,
            executions,
            disabled_transitions: self.disabled_transitions.clone(),
            stale: None,
        }
    }

    /// Replaces the definition. Pending approvals are cancelled, executions that wait to enter a stage fail, and other
    /// running actions complete first.
    pub(super) fn edit(&mut self, definition: PipelineDefinition, at: Timestamp) {
        self.stale = match (self.definition.execution_mode, definition.execution_mode) {
            (ExecutionMode::Parallel, ExecutionMode::Parallel) if self.stale.is_some() => self.stale.take(),
            (_, ExecutionMode::Parallel) => Some(Arc::new(self.copy(self.executions.clone()))),
            (_, ExecutionMode::Superseded | ExecutionMode::Queued) => None,
        };
        self.definition = Arc::new(definition);
        self.version += 1;
        self.updated = at;
        for execution in &mut self.executions {
            for attempt in execution.running_attempts().filter(|attempt| attempt.definition.is_approval()) {
                attempt.finish(at, ActionOutcome::Cancelled);
            }
            if let Position::Waiting(stage) = execution.position {
                execution.move_to(Position::Ended(stage, ExecutionOutcome::Failed), at);
            }
        }
    }

    /// Advances the pipeline to `now`, one event at a time: the consequences of an action's end have the time of that
    /// end, not the time of the call.
    pub(super) fn advance_to(&mut self, now: Timestamp, tokens: TokenRule, ids: &mut Ids) {
        self.advance_executions(now, tokens, ids);
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            for attempt in self
                .executions
                .iter_mut()
                .flat_map(Execution::running_attempts)
                .filter(|attempt| attempt.due == Some(due))
            {
                attempt.end_when_due(due);
            }
            self.advance_executions(due, tokens, ids);
        }
    }

    /// When the next automatic event is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let active = self.executions.iter().filter(|execution| !execution.has_ended());
        let running = active.flat_map(|execution| &execution.attempts).filter(|attempt| attempt.end.is_none());
        running.filter_map(|attempt| attempt.due).min()
    }

    /// Advances every execution as far as possible at this time.
    fn advance_executions(&mut self, at: Timestamp, tokens: TokenRule, ids: &mut Ids) {
        let mut context = StepContext { at, pipeline_version: self.version, tokens, ids };
        loop {
            let mut moved = false;
            let mut ended = Vec::new();
            for execution in self.executions.iter_mut().filter(|execution| !execution.has_ended()) {
                moved |= execution.step(&mut context);
                ended.extend(execution.has_ended().then_some(execution.id));
            }
            // A rollback enters the stage before those that wait for it.
            for execution in ended {
                self.roll_back_automatically(at, context.ids, execution);
            }
            moved |= self.admit_waiting(at);
            if !moved {
                return;
            }
        }
    }

    /// Moves waiting executions into unlocked stages. It starts with the last stage, so that an execution leaves its
    /// stage before the next one enters.
    fn admit_waiting(&mut self, at: Timestamp) -> bool {
        let mut moved = false;
        for index in (0..self.definition.stages.len()).rev() {
            let (unlocked, enabled) = (!self.is_locked(index), !self.is_disabled(index));
            let mode = self.definition.execution_mode;
            let mut waiting: Vec<&mut Execution> =
                self.executions.iter_mut().filter(|execution| execution.position == Position::Waiting(index)).collect();
            if mode == ExecutionMode::Superseded {
                let newest = waiting.split_off(waiting.len().saturating_sub(1));
                for execution in std::mem::replace(&mut waiting, newest) {
                    execution.move_to(Position::Ended(index, ExecutionOutcome::Superseded), at);
                    moved = true;
                }
            }
            let capacity = match mode {
                ExecutionMode::Parallel if enabled => usize::MAX,
                ExecutionMode::Superseded | ExecutionMode::Queued if enabled => usize::from(unlocked),
                ExecutionMode::Parallel | ExecutionMode::Superseded | ExecutionMode::Queued => 0,
            };
            for execution in waiting.into_iter().take(capacity) {
                execution.move_to(Position::In(index), at);
                moved = true;
            }
        }
        moved
    }

    /// Whether the transition into the stage is disabled.
    fn is_disabled(&self, index: usize) -> bool {
        let stage = self.definition.stages.get(index);
        stage.is_some_and(|stage| self.disabled_transitions.contains_key(&stage.name))
    }

    /// Whether an execution is in the stage, including executions of older pipeline versions.
    pub(super) fn is_locked(&self, index: usize) -> bool {
        let stage = self.definition.stages.get(index).map(|stage| &stage.name);
        self.executions.iter().any(|execution| {
            execution.mode != ExecutionMode::Parallel && stage.is_some() && execution.locked_stage() == stage
        })
    }

    /// The newest execution that has reached the stage.
    pub(super) fn latest_execution_in(&self, stage: &str) -> Option<&Execution> {
        self.executions.iter().rev().find(|execution| execution.has_reached(stage))
    }

    /// The newest attempt at an action in any execution.
    pub(super) fn latest_attempt(&self, stage: &str, action: &str) -> Option<&ActionAttempt> {
        self.executions.iter().rev().find_map(|execution| execution.latest_attempt(stage, action))
    }
}
