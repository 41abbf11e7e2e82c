//! Which approval request a decision names that is bound to a run, by what a look at its pipeline found.
//!
//! The state view shows what is pending without saying of which run, and beside a run that is on its way it still shows what
//! the run before left there. Only history ties an action execution to its run, so nothing is chosen that both do not name.

use super::limits::MARGIN;
use crate::api::time::later;
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Exception, RunBinding, Token};
use crate::codepipeline::{
    ActionExecution, ActionProgress, EndStatus, ExecutionEnd, ExecutionIds, ExecutionMode, ExecutionStatus, Finished,
    LatestExecution, PipelineExecution, RECORD_LAG, View,
};
use jiff::{SignedDuration, Timestamp};

/// The action that history has, and that this operator answers.
const APPROVAL: &str = "Approval";

/// How long something new may take to be in the lists, a run that goes on again or an execution of an action: on the live
/// service it was a second.
pub(super) const START_LAG: SignedDuration = SignedDuration::from_secs(2);

/// What a look says about the request that a decision names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Choice {
    /// It is pending.
    Pending(Chosen),
    /// It is not there yet.
    NotYet {
        /// What is waited for.
        wait: Wait,
        /// When to look again, if that is to be sooner than by itself.
        again: Option<Timestamp>,
    },
    /// It is over.
    Finished(Finished),
    /// Its run ended before.
    Ended {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
    },
    /// The service does not know the run.
    Unknown(Exception),
    /// There is more than one, in these runs.
    Ambiguous(Vec<String>),
    /// There cannot be one.
    Missing(Missing),
}

/// A pending request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// Its token.
    pub token: Token,
    /// Its run, and its execution of the action.
    pub ids: ExecutionIds,
}

/// What a decision waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wait {
    /// No run has the source revision.
    NoRun,
    /// The service does not know the run, which may be too new to be seen.
    UnknownRun,
    /// The run is on its way.
    Run {
        /// pipelineExecutionId
        execution: String,
        /// How far it has come.
        place: Place,
    },
    /// More than one run of the source revision seems to wait for this approval; the record will say.
    Several(Vec<String>),
    /// The newest run of the source revision ended before its approval was answered: only a later run can be answered.
    LaterRun {
        /// pipelineExecutionId
        execution: String,
        /// How it ended.
        end: ExecutionEnd,
    },
}

/// Where a run is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a stage, with the service's word for how it stands there.
    In {
        /// stageName
        stage: String,
        /// InProgress, say.
        status: String,
    },
    /// In front of a stage.
    InFrontOf {
        /// stageName
        stage: String,
    },
    /// At the approval, whose token cannot be seen yet.
    AtApproval,
    /// Past the approval, and how it ended is not in the record yet.
    PastApproval,
    /// Further back than what is read of the pipeline's history.
    OutOfSight,
    /// Somewhere.
    UnderWay,
}

/// What a pipeline does not have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Missing {
    /// A stage of this name.
    Stage,
    /// An action of this name in the stage.
    Action,
    /// The action is there, and is of another category.
    Approval(String),
}

/// Chooses the request.
#[must_use]
pub fn choose(view: &View, spec: &ApprovalDecisionSpec, run: RunBinding<'_>) -> Choice {
    let Some(stage) = view.state.stages.iter().find(|stage| stage.name == spec.stage_name) else {
        return Choice::Missing(Missing::Stage);
    };
    let Some(action) = stage.actions.iter().find(|action| action.name == spec.action_name) else {
        return Choice::Missing(Missing::Action);
    };
    let entries = view.actions.iter().filter(|entry| entry.is_of(&spec.stage_name, &spec.action_name));
    let newest = entries.max_by_key(|entry| entry.started);
    // The newest says what the action is now; a pipeline can be edited.
    let category = newest.map(|entry| entry.category.as_str()).unwrap_or_default();
    if !category.is_empty() && category != APPROVAL {
        return Choice::Missing(Missing::Approval(category.to_owned()));
    }
    let action = Action { view, spec, shown: action.latest_execution.as_ref() };
    match run {
        RunBinding::PipelineExecution(id) => {
            if let Some(run) = view.executions.iter().find(|run| run.id == id.0) {
                return action.request_of(run);
            }
            match view.unknown.get(&id.0) {
                Some(exception) => Choice::Unknown(exception.clone()),
                None => Choice::NotYet { wait: Wait::UnknownRun, again: None },
            }
        }
        RunBinding::SourceRevision(revision) => {
            let runs: Vec<&PipelineExecution> = view.executions.iter().filter(|run| run.has(revision)).collect();
            action.request_of_one(&runs)
        }
    }
}

impl Choice {
    /// Whether the run waits for an answer, or may: in PARALLEL mode it can be at the approval beside others, before its token
    /// is to be seen.
    fn is_open(&self, run: &PipelineExecution) -> bool {
        match self {
            Self::Pending(_) => true,
            Self::NotYet { wait: Wait::Run { place: Place::AtApproval, .. }, .. } => {
                run.mode == ExecutionMode::Parallel
            }
            Self::NotYet { .. }
            | Self::Finished(_)
            | Self::Ended { .. }
            | Self::Unknown(_)
            | Self::Ambiguous(_)
            | Self::Missing(_) => false,
        }
    }

    /// Whether a run that goes on again, by a retry of its stage, would change it.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Ended { .. } => true,
            Self::Finished(record) => record.result != Some(ApprovalStatus::Approved),
            Self::Pending(_) | Self::NotYet { .. } | Self::Unknown(_) | Self::Ambiguous(_) | Self::Missing(_) => false,
        }
    }
}

/// What can be seen of one action.
struct Action<'a> {
    view: &'a View,
    spec: &'a ApprovalDecisionSpec,
    shown: Option<&'a LatestExecution>,
}

impl Action<'_> {
    /// Exactly one that is pending; where none is, what the newest run says.
    fn request_of_one(&self, runs: &[&PipelineExecution]) -> Choice {
        let choices: Vec<_> = runs.iter().map(|run| (*run, self.request_of(run))).collect();
        let open: Vec<_> = choices.iter().filter(|(run, choice)| choice.is_open(run)).collect();
        match (open.as_slice(), choices.first()) {
            ([], None) => Choice::NotYet { wait: Wait::NoRun, again: None },
            ([], Some((_, Choice::Ended { execution, end }))) => {
                Choice::NotYet { wait: Wait::LaterRun { execution: execution.clone(), end: *end }, again: None }
            }
            ([], Some((_, choice))) | ([(_, choice)], _) => choice.clone(),
            (several, _) => self.several(&several.iter().map(|(run, _)| *run).collect::<Vec<_>>()),
        }
    }

    /// More than one run is at the approval, by a history that may call a request pending that was answered since. What it
    /// calls so for longer than it lags was pending beside the others.
    fn several(&self, runs: &[&PipelineExecution]) -> Choice {
        let executions: Vec<String> = runs.iter().map(|run| run.id.clone()).collect();
        let began = runs.iter().filter_map(|run| self.newest_entry(run)?.started).max();
        let told = began.map_or(Timestamp::MIN, |began| later(began, RECORD_LAG));
        if runs.iter().all(|run| self.view.history_read(&run.id).is_some_and(|read| told <= read)) {
            Choice::Ambiguous(executions)
        } else {
            Choice::NotYet { wait: Wait::Several(executions), again: Some(told) }
        }
    }

    fn newest_entry(&self, run: &PipelineExecution) -> Option<&ActionExecution> {
        self.view.actions.iter().find(|entry| {
            entry.pipeline_execution_id == run.id && entry.is_of(&self.spec.stage_name, &self.spec.action_name)
        })
    }

    /// The newest request of a run: a stage that is retried opens another one under the same run.
    fn request_of(&self, run: &PipelineExecution) -> Choice {
        let Some(entry) = self.newest_entry(run) else {
            return self.before_the_approval(run);
        };
        let ids = ExecutionIds { pipeline: Some(run.id.clone()), action: Some(entry.action_execution_id.clone()) };
        let shown = self.shown.filter(|shown| shown.action_execution_id.as_ref() == Some(&entry.action_execution_id));
        if let Some(LatestExecution { token: Some(token), progress: ActionProgress::InProgress, .. }) = shown {
            return Choice::Pending(Chosen { token: token.clone(), ids });
        }
        // Of an end, the state view knows first.
        let ending = match (shown.map(|shown| &shown.progress), &entry.progress) {
            (Some(ActionProgress::Over(ending)), _) | (_, ActionProgress::Over(ending)) => ending,
            (Some(ActionProgress::InProgress) | None, ActionProgress::InProgress) => {
                return self.in_progress(run, entry, ids);
            }
        };
        let end = match (ending.status, run.status) {
            (EndStatus::Succeeded, _) => return Choice::Finished(Finished::new(ending, ids)),
            // The run goes on: its stage is being retried, or other actions of it come to their end.
            (EndStatus::Failed | EndStatus::Abandoned, ExecutionStatus::InProgress | ExecutionStatus::Stopping) => {
                return self.not_yet(run);
            }
            (EndStatus::Failed | EndStatus::Abandoned, ExecutionStatus::Over(end)) => end,
        };
        match ending.result() {
            Some(_) => Choice::Finished(Finished::new(ending, ids)),
            // A time-out, a cancellation, a stop: nobody answered.
            None => Choice::Ended { execution: run.id.clone(), end },
        }
    }

    /// The run has not come to the approval, as far as history tells.
    fn before_the_approval(&self, run: &PipelineExecution) -> Choice {
        let Some(read) = self.view.history_read(&run.id) else {
            return self.wait(run, Place::OutOfSight, None);
        };
        let Some(end) = run.end() else {
            return self.not_yet(run);
        };
        // The last thing that the run did may have been to come here.
        let told = run.updated.map_or(Timestamp::MIN, |updated| later(later(updated, START_LAG), MARGIN));
        if read < told {
            return self.wait(run, Place::PastApproval, Some(told));
        }
        Choice::Ended { execution: run.id.clone(), end }
    }

    /// History calls the request in progress, and the state view shows no token of it.
    fn in_progress(&self, run: &PipelineExecution, entry: &ActionExecution, ids: ExecutionIds) -> Choice {
        match (run.end(), run.mode, entry.external_execution_id.clone().and_then(Token::new)) {
            (None, ExecutionMode::Parallel, Some(token)) => Choice::Pending(Chosen { token, ids }),
            (None, ..) => self.wait(run, Place::AtApproval, None),
            (Some(end), ..) => {
                // What began after the run ended is of a retry that was not to be seen yet when the runs were listed.
                let moved = run.updated.max(entry.started);
                let told = moved.map_or(Timestamp::MIN, |moved| later(moved, RECORD_LAG));
                if self.view.history_read(&run.id).is_none_or(|read| read < told) {
                    return self.wait(run, Place::PastApproval, Some(told));
                }
                // A pipeline that is edited cancels what is pending, and history does not learn of it.
                Choice::Ended { execution: run.id.clone(), end }
            }
        }
    }

    fn not_yet(&self, run: &PipelineExecution) -> Choice {
        // What is pending and not in history yet may be this run's request.
        let is_new = self.shown.is_some_and(|shown| {
            shown.token.is_some() && shown.action_execution_id.as_ref().is_some_and(|id| self.view.is_new(id))
        });
        let again = is_new.then(|| later(self.view.begun, START_LAG));
        self.wait(run, self.place(run), again)
    }

    fn wait(&self, run: &PipelineExecution, place: Place, again: Option<Timestamp>) -> Choice {
        Choice::NotYet { wait: Wait::Run { execution: run.id.clone(), place }, again }
    }

    /// The last stage that a run was seen in, or in front of.
    fn place(&self, run: &PipelineExecution) -> Place {
        let seen = self.view.state.stages.iter().rev().find_map(|stage| {
            let name = stage.name.clone();
            match &stage.latest_execution {
                _ if stage.inbound_executions.contains(&run.id) => Some(Place::InFrontOf { stage: name }),
                Some(latest) if latest.pipeline_execution_id == run.id => {
                    Some(Place::In { stage: name, status: latest.status.clone() })
                }
                Some(_) | None => None,
            }
        });
        seen.unwrap_or(Place::UnderWay)
    }
}

#[cfg(test)]
mod tests;
