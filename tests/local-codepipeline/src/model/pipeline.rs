//! A pipeline and its runs, and what runs of one pipeline do to each other: a run holds the stage that it is in, and the
//! execution mode says what becomes of those in front of it. Time passes only in `settle`.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ExecutionMode, PipelineDefinition, TokenRule,
    ids::Ids,
    run::{ActionRun, How, Place, Run, RunEnd, Surroundings},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pipeline {
    pub(super) definition: Arc<PipelineDefinition>,
    pub(super) version: u32,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    /// The oldest first.
    pub(super) runs: Vec<Run>,
}

impl Pipeline {
    pub(super) fn new(definition: PipelineDefinition, at: Timestamp) -> Self {
        Self { definition: Arc::new(definition), version: 1, created: at, updated: at, runs: Vec::new() }
    }

    /// Replaces the definition: pending approvals are cancelled, runs on their way to a stage do not enter it, and what
    /// else is running comes to its end first.
    pub(super) fn edit(&mut self, definition: PipelineDefinition, at: Timestamp) {
        self.definition = Arc::new(definition);
        self.version += 1;
        self.updated = at;
        for run in &mut self.runs {
            for action in run.running().filter(|action| action.definition.is_approval()) {
                action.finish(at, How::Cancelled);
            }
            if let Place::Waiting(stage) = run.place {
                run.enter(Place::Ended(stage, RunEnd::Failed), at);
            }
        }
    }

    /// Brings the pipeline to where it is at `now`, event by event: what an action's end sets off happens at that time,
    /// not when somebody looks.
    pub(super) fn settle(&mut self, now: Timestamp, tokens: TokenRule, ids: &mut Ids) {
        self.flow(now, tokens, ids);
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            for action in self.runs.iter_mut().flat_map(Run::running).filter(|action| action.due == Some(due)) {
                action.come_due(due);
            }
            self.flow(due, tokens, ids);
        }
    }

    /// When something next happens by itself.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let under_way = self.runs.iter().filter(|run| !run.is_over());
        let running = under_way.flat_map(|run| &run.actions).filter(|action| action.end.is_none());
        running.filter_map(|action| action.due).min()
    }

    /// Moves every run as far as it gets at this moment.
    fn flow(&mut self, at: Timestamp, tokens: TokenRule, ids: &mut Ids) {
        let mut world = Surroundings { at, pipeline_version: self.version, tokens, ids };
        loop {
            let mut moved = false;
            for run in self.runs.iter_mut().filter(|run| !run.is_over()) {
                moved |= run.step(&mut world);
            }
            moved |= self.admit(at);
            if !moved {
                return;
            }
        }
    }

    /// Lets waiting runs into free stages. The last stage comes first, so that a run that leaves a stage is out of the
    /// way of the one behind it.
    fn admit(&mut self, at: Timestamp) -> bool {
        let mut moved = false;
        for index in (0..self.definition.stages.len()).rev() {
            let free = !self.is_held(index);
            let mode = self.definition.execution_mode;
            let mut waiting: Vec<&mut Run> =
                self.runs.iter_mut().filter(|run| run.place == Place::Waiting(index)).collect();
            if mode == ExecutionMode::Superseded {
                let newest = waiting.split_off(waiting.len().saturating_sub(1));
                for run in std::mem::replace(&mut waiting, newest) {
                    run.enter(Place::Ended(index, RunEnd::Superseded), at);
                    moved = true;
                }
            }
            let room = match mode {
                ExecutionMode::Parallel => usize::MAX,
                ExecutionMode::Superseded | ExecutionMode::Queued => usize::from(free),
            };
            for run in waiting.into_iter().take(room) {
                run.enter(Place::In(index), at);
                moved = true;
            }
        }
        moved
    }

    /// Whether some run is in the stage, one begun before an edit included.
    fn is_held(&self, index: usize) -> bool {
        let stage = self.definition.stages.get(index).map(|stage| &stage.name);
        self.runs.iter().any(|run| run.mode != ExecutionMode::Parallel && stage.is_some() && run.holds() == stage)
    }

    /// The newest run that has been in the stage.
    pub(super) fn latest_in(&self, stage: &str) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.has_entered(stage))
    }

    /// The newest attempt at an action that any run has made.
    pub(super) fn latest_attempt(&self, stage: &str, action: &str) -> Option<&ActionRun> {
        self.runs.iter().rev().find_map(|run| run.latest(stage, action))
    }
}
