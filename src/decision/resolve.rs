//! Which approval request a decision means that names an execution, according to a snapshot of its pipeline.
//!
//! The state view shows what is pending without its execution, and beside a new execution it still shows what the previous one left.
//! Only history ties an action execution to its pipeline execution. So a request counts as pending only if both name it.

use super::timing::{CLOCK_SKEW, LIST_LAG};
use crate::api::time::later;
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Exception, ExecutionBinding, SourceRevision, Token};
use crate::codepipeline::{
    ActionExecution, ActionProgress, CompletedApproval, CompletionStatus, DisabledTransition, ExecutionEnd,
    ExecutionIds, ExecutionMode, ExecutionStatus, HISTORY_LAG, LatestExecution, PipelineExecution, PipelineSnapshot,
};
use jiff::Timestamp;

/// The category of approval actions in history.
const APPROVAL: &str = "Approval";

/// What a snapshot says about the request that a decision names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// It is pending.
    Pending(PendingRequest),
    /// There is none yet.
    NotYet {
        /// What the decision waits for.
        wait: ExecutionWait,
        /// When to poll again, if that is before the next regular poll.
        recheck_at: Option<Timestamp>,
    },
    /// It is completed.
    Completed(CompletedApproval),
    /// Its execution ended before it was opened, or without a response.
    Ended {
        /// pipelineExecutionId
        execution: String,
        /// How.
        end: ExecutionEnd,
    },
    /// CodePipeline does not know the execution.
    UnknownExecution(Exception),
    /// These executions each have one.
    Ambiguous(Vec<String>),
    /// There cannot be one.
    Missing(Missing),
}

/// A pending request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingRequest {
    /// Its token.
    pub token: Token,
    /// Its pipeline execution and action execution.
    pub ids: ExecutionIds,
}

/// What a decision waits for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionWait {
    /// An execution of the source revision.
    NoExecution {
        /// The source revisions of the newest execution, which show how a revision is written.
        newest: Vec<SourceRevision>,
    },
    /// CodePipeline does not know the execution, which may be too new to be visible.
    UnknownExecution,
    /// The execution has not reached the approval.
    Execution {
        /// pipelineExecutionId
        execution: String,
        /// How far it has come.
        position: ExecutionPosition,
    },
    /// Several executions of the source revision seem to wait for this approval; history will confirm.
    Several(Vec<String>),
    /// The newest execution of the source revision ended before its approval received a response: only a later one can receive
    /// it.
    LaterExecution {
        /// pipelineExecutionId
        execution: String,
        /// How it ended.
        end: ExecutionEnd,
    },
}

/// How far an execution has come.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ExecutionPosition {
    /// In a stage.
    InStage {
        /// stageName
        stage: String,
        /// CodePipeline's word for the status of the stage, such as InProgress.
        status: String,
    },
    /// It waits to enter a stage.
    BeforeStage {
        /// stageName
        stage: String,
        /// Why it may not enter, if someone disabled the transition.
        disabled: Option<DisabledTransition>,
    },
    /// At the approval, whose token is not visible yet.
    AtApproval,
    /// Past the approval, whose outcome is not in history yet.
    PastApproval,
    /// Somewhere that only history shows, and the operator could not read all of that.
    BeyondHistory,
    /// Somewhere else.
    InProgress,
}

/// What a pipeline does not have.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Missing {
    /// A stage of this name.
    Stage,
    /// An action of this name in the stage.
    Action,
    /// The action exists, and is not an approval.
    NotAnApproval {
        /// Its category.
        category: String,
    },
}

/// Resolves the request.
#[must_use]
pub fn resolve(
    snapshot: &PipelineSnapshot,
    spec: &ApprovalDecisionSpec,
    execution: ExecutionBinding<'_>,
) -> Resolution {
    let Some(stage) = snapshot.state.stages.iter().find(|stage| stage.name == spec.stage_name) else {
        return Resolution::Missing(Missing::Stage);
    };
    let Some(action) = stage.actions.iter().find(|action| action.name == spec.action_name) else {
        return Resolution::Missing(Missing::Action);
    };
    let entries = snapshot.actions.iter().filter(|entry| entry.is_of(&spec.stage_name, &spec.action_name));
    let newest = entries.max_by_key(|entry| entry.started_at);
    // A pipeline can be edited: the newest entry says what the action is now.
    let category = newest.map(|entry| entry.category.as_str()).unwrap_or_default();
    if !category.is_empty() && category != APPROVAL {
        return Resolution::Missing(Missing::NotAnApproval { category: category.to_owned() });
    }
    let action = ObservedAction { snapshot, spec, latest: action.latest_execution.as_ref() };
    match execution {
        ExecutionBinding::PipelineExecution(id) => {
            if let Some(execution) = snapshot.executions.iter().find(|execution| execution.id == id.0) {
                return action.request_of(execution);
            }
            match snapshot.unknown_executions.get(&id.0) {
                Some(exception) => Resolution::UnknownExecution(exception.clone()),
                None => Resolution::NotYet { wait: ExecutionWait::UnknownExecution, recheck_at: None },
            }
        }
        ExecutionBinding::SourceRevision(revision) => {
            let matching: Vec<&PipelineExecution> =
                snapshot.executions.iter().filter(|execution| execution.has(revision)).collect();
            action.only_request_of(&matching)
        }
    }
}

impl Resolution {
    /// Whether the execution waits for a response, or may do so: in PARALLEL mode it can be at the approval beside others before
    /// its token is visible.
    fn is_open(&self, execution: &PipelineExecution) -> bool {
        match self {
            Self::Pending(_) => true,
            Self::NotYet { wait: ExecutionWait::Execution { position: ExecutionPosition::AtApproval, .. }, .. } => {
                execution.mode == ExecutionMode::Parallel
            }
            Self::NotYet { .. }
            | Self::Completed(_)
            | Self::Ended { .. }
            | Self::UnknownExecution(_)
            | Self::Ambiguous(_)
            | Self::Missing(_) => false,
        }
    }

    /// Whether a retry of the stage would change it.
    pub(super) fn may_be_retried(&self) -> bool {
        match self {
            Self::Ended { .. } => true,
            Self::Completed(record) => record.result != Some(ApprovalStatus::Approved),
            Self::Pending(_)
            | Self::NotYet { .. }
            | Self::UnknownExecution(_)
            | Self::Ambiguous(_)
            | Self::Missing(_) => false,
        }
    }
}

/// The snapshot of one action.
struct ObservedAction<'a> {
    snapshot: &'a PipelineSnapshot,
    spec: &'a ApprovalDecisionSpec,
    /// Its latest execution in the state view.
    latest: Option<&'a LatestExecution>,
}

impl ObservedAction<'_> {
    /// The one pending request of these executions; if there is none, what the newest execution says.
    fn only_request_of(&self, executions: &[&PipelineExecution]) -> Resolution {
        let resolutions: Vec<_> = executions.iter().map(|execution| (*execution, self.request_of(execution))).collect();
        let open: Vec<_> = resolutions.iter().filter(|(execution, resolution)| resolution.is_open(execution)).collect();
        match (open.as_slice(), resolutions.first()) {
            ([], None) => {
                let wait = ExecutionWait::NoExecution { newest: self.snapshot.newest_revisions.clone() };
                Resolution::NotYet { wait, recheck_at: None }
            }
            ([], Some((_, Resolution::Ended { execution, end }))) => {
                let wait = ExecutionWait::LaterExecution { execution: execution.clone(), end: *end };
                Resolution::NotYet { wait, recheck_at: None }
            }
            ([], Some((_, resolution))) | ([(_, resolution)], _) => resolution.clone(),
            (several, _) => self.several(&several.iter().map(|(execution, _)| *execution).collect::<Vec<_>>()),
        }
    }

    /// Several executions are at the approval, according to a history that may still show a request as pending after its response.
    /// Only what it shows for longer than it lags was really pending beside the others.
    fn several(&self, executions: &[&PipelineExecution]) -> Resolution {
        let ids: Vec<String> = executions.iter().map(|execution| execution.id.clone()).collect();
        let started_at = executions.iter().filter_map(|execution| self.newest_entry(execution)?.started_at).max();
        let reliable_after = started_at.map_or(Timestamp::MIN, |started_at| later(started_at, HISTORY_LAG));
        let is_reliable = |read_at| reliable_after <= read_at;
        if executions.iter().all(|execution| self.history_read_at(execution).is_some_and(is_reliable)) {
            Resolution::Ambiguous(ids)
        } else {
            Resolution::NotYet { wait: ExecutionWait::Several(ids), recheck_at: Some(reliable_after) }
        }
    }

    fn history_read_at(&self, execution: &PipelineExecution) -> Option<Timestamp> {
        self.snapshot.history_read_at(&execution.id, &self.spec.stage_name, &self.spec.action_name)
    }

    fn newest_entry(&self, execution: &PipelineExecution) -> Option<&ActionExecution> {
        self.snapshot.actions.iter().find(|entry| {
            entry.pipeline_execution_id == execution.id && entry.is_of(&self.spec.stage_name, &self.spec.action_name)
        })
    }

    /// The newest request of an execution: a retried stage opens another one under the same execution.
    fn request_of(&self, execution: &PipelineExecution) -> Resolution {
        let Some(entry) = self.newest_entry(execution) else {
            return self.before_approval(execution);
        };
        let ids =
            ExecutionIds { pipeline: Some(execution.id.clone()), action: Some(entry.action_execution_id.clone()) };
        let latest =
            self.latest.filter(|latest| latest.action_execution_id.as_ref() == Some(&entry.action_execution_id));
        if let Some(LatestExecution { token: Some(token), progress: ActionProgress::InProgress, .. }) = latest {
            return Resolution::Pending(PendingRequest { token: token.clone(), ids });
        }
        // The state view shows a completion before history does.
        let completion = match (latest.map(|latest| &latest.progress), &entry.progress) {
            (Some(ActionProgress::Completed(completion)), _) | (_, ActionProgress::Completed(completion)) => completion,
            (Some(ActionProgress::InProgress) | None, ActionProgress::InProgress) => {
                return self.in_progress(execution, entry, ids);
            }
        };
        let end = match (completion.status, execution.status) {
            (CompletionStatus::Succeeded, _) => {
                return Resolution::Completed(CompletedApproval::new(completion, ids));
            }
            // The execution continues: its stage is being retried, or its other actions are still in progress.
            (
                CompletionStatus::Failed | CompletionStatus::Abandoned,
                ExecutionStatus::InProgress | ExecutionStatus::Stopping,
            ) => return self.not_yet(execution),
            (CompletionStatus::Failed | CompletionStatus::Abandoned, ExecutionStatus::Ended(end)) => end,
        };
        match completion.result() {
            Some(_) => Resolution::Completed(CompletedApproval::new(completion, ids)),
            // A time-out, a cancellation or a stop: no one responded.
            None => Resolution::Ended { execution: execution.id.clone(), end },
        }
    }

    /// The execution has not reached the approval, according to history.
    fn before_approval(&self, execution: &PipelineExecution) -> Resolution {
        let Some(read_at) = self.history_read_at(execution) else {
            return self.wait(execution, ExecutionPosition::BeyondHistory, None);
        };
        let Some(end) = execution.end() else {
            return self.not_yet(execution);
        };
        // Reaching the approval may have been the last thing that the execution did.
        let reliable_after =
            execution.updated_at.map_or(Timestamp::MIN, |updated_at| later(later(updated_at, LIST_LAG), CLOCK_SKEW));
        if read_at < reliable_after {
            return self.wait(execution, ExecutionPosition::PastApproval, Some(reliable_after));
        }
        Resolution::Ended { execution: execution.id.clone(), end }
    }

    /// History shows the request as in progress, and the state view shows no token of it.
    fn in_progress(&self, execution: &PipelineExecution, entry: &ActionExecution, ids: ExecutionIds) -> Resolution {
        match (execution.end(), execution.mode, entry.external_execution_id.clone().and_then(Token::new)) {
            (None, ExecutionMode::Parallel, Some(token)) => Resolution::Pending(PendingRequest { token, ids }),
            (None, ..) => self.wait(execution, ExecutionPosition::AtApproval, None),
            (Some(end), ..) => {
                // An entry that started after the execution ended belongs to a retry that was not visible when the executions
                // were listed.
                let changed_at = execution.updated_at.max(entry.started_at);
                let reliable_after = changed_at.map_or(Timestamp::MIN, |changed_at| later(changed_at, HISTORY_LAG));
                if self.history_read_at(execution).is_none_or(|read_at| read_at < reliable_after) {
                    return self.wait(execution, ExecutionPosition::PastApproval, Some(reliable_after));
                }
                // An edit of the pipeline cancels a pending approval, and history never shows that.
                Resolution::Ended { execution: execution.id.clone(), end }
            }
        }
    }

    fn not_yet(&self, execution: &PipelineExecution) -> Resolution {
        // A pending request that is not in history yet may be that of this execution.
        let is_new = self.latest.is_some_and(|latest| {
            latest.token.is_some()
                && latest.action_execution_id.as_ref().is_some_and(|id| self.snapshot.is_first_seen(id))
        });
        let recheck_at = is_new.then(|| later(self.snapshot.started_at, LIST_LAG));
        self.wait(execution, self.position(execution), recheck_at)
    }

    fn wait(
        &self,
        execution: &PipelineExecution,
        position: ExecutionPosition,
        recheck_at: Option<Timestamp>,
    ) -> Resolution {
        let wait = ExecutionWait::Execution { execution: execution.id.clone(), position };
        Resolution::NotYet { wait, recheck_at }
    }

    /// The last stage that the execution was in, or waits to enter.
    fn position(&self, execution: &PipelineExecution) -> ExecutionPosition {
        let observed = self.snapshot.state.stages.iter().rev().find_map(|stage| {
            let name = stage.name.clone();
            match &stage.latest_execution {
                _ if stage.inbound_executions.contains(&execution.id) => {
                    let disabled = stage.disabled_transition.clone();
                    Some(ExecutionPosition::BeforeStage { stage: name, disabled })
                }
                Some(latest) if latest.pipeline_execution_id == execution.id => {
                    Some(ExecutionPosition::InStage { stage: name, status: latest.status.clone() })
                }
                Some(_) | None => None,
            }
        });
        observed.unwrap_or(ExecutionPosition::InProgress)
    }
}

#[cfg(test)]
mod tests;
