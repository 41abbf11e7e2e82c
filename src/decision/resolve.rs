//! Which approval request a decision means that names executions, as a function of a snapshot of their pipeline.
//!
//! The state view shows what is pending without its execution, and beside a new execution it still shows what the previous one left.
//! Only history ties an action execution to its pipeline execution. So a request counts as pending only if both name it. What could
//! hide a response holds everything back: [`Request::Hidden`].

mod names;
mod observed_action;
mod request;
mod resolution;

use super::timing::{CLOCK_SKEW, LIST_LAG};
use crate::api::time::later;
use crate::api::v1alpha1::{ExecutionBinding, SourceRevision};
use crate::codepipeline::{ActionExecution, HISTORY_LAG, PipelineExecution, PipelineSnapshot};
use jiff::Timestamp;
use observed_action::ObservedAction;
use request::Request;
use std::ops::ControlFlow;

pub use names::refused_names;
pub use observed_action::Named;
pub use resolution::{
    Ambiguity, Candidates, ExecutionPosition, ExecutionWait, Missing, OpenRequest, PendingRequest, RefusedNames,
    Resolution, RevisionHint,
};

/// Resolves the request.
#[must_use]
pub fn resolve(snapshot: &PipelineSnapshot, named: Named<'_>) -> Resolution {
    if let Some(missing) = names::missing(snapshot, named.stage, named.action) {
        return Resolution::Missing(missing);
    }
    let stage = snapshot.state.stages.iter().find(|stage| stage.name == named.stage);
    let action = stage.and_then(|stage| stage.actions.iter().find(|action| action.name == named.action));
    let entries = snapshot.actions.iter().filter(|entry| entry.is_of(named.stage, named.action));
    let newest = entries.max_by_key(|entry| entry.started_at);
    // A pipeline can be edited: the newest entry says what the action is now.
    let category = newest.map(|entry| entry.category.as_str()).unwrap_or_default();
    if !category.is_empty() && category != names::APPROVAL {
        let candidates = stage.map(|stage| names::candidates(snapshot, stage, named.action)).unwrap_or_default();
        return Resolution::Missing(Missing::NotAnApproval { category: category.to_owned(), candidates });
    }
    let action = ObservedAction { snapshot, named, latest: action.and_then(|action| action.latest_execution.as_ref()) };
    match named.executions {
        ExecutionBinding::PipelineExecution(id) => {
            if let Some(execution) = snapshot.executions.iter().find(|execution| execution.id == id.0) {
                return match action.resolve(&[execution]) {
                    ControlFlow::Break(resolution) | ControlFlow::Continue(resolution) => resolution,
                };
            }
            match snapshot.unknown_executions.get(&id.0) {
                Some(unknown) => Resolution::UnknownExecution(unknown.clone()),
                None => Resolution::NotYet { wait: ExecutionWait::UnknownExecution, recheck_at: None },
            }
        }
        ExecutionBinding::SourceRevisions(entries) => action.resolve_revisions(entries),
    }
}

impl<'a> ObservedAction<'a> {
    /// The request of the executions with these source revisions.
    fn resolve_revisions(self, entries: &[SourceRevision]) -> Resolution {
        let executions = self.snapshot.executions.iter().filter(|execution| execution.meets(entries));
        let not_covered = |execution: &&PipelineExecution| execution.not_covered_by(entries).next().is_some();
        let (other, matching): (Vec<_>, Vec<_>) = executions.partition(not_covered);
        let resolution = match self.resolve(&matching) {
            // A response, a pending request, or what may hide one.
            ControlFlow::Break(resolution) => return resolution,
            ControlFlow::Continue(resolution) => resolution,
        };
        let source = |execution: &PipelineExecution| execution.not_covered_by(entries).next().cloned();
        let pending = other.iter().find(|execution| self.is_pending(execution));
        if let Some((execution, source)) = pending.and_then(|execution| Some((execution, source(execution)?))) {
            let execution = execution.id.clone();
            return Resolution::Ambiguous(Ambiguity::NotCovered { execution, source });
        }
        let newest = other.first().filter(|_| matching.is_empty());
        match newest.and_then(|execution| Some((execution, source(execution)?))) {
            Some((execution, source)) => {
                let wait = ExecutionWait::NotCovered { execution: execution.id.clone(), source };
                Resolution::NotYet { wait, recheck_at: None }
            }
            None => match resolution {
                Resolution::Ended { execution, end } => {
                    Resolution::NotYet { wait: ExecutionWait::LaterExecution { execution, end }, recheck_at: None }
                }
                resolution => resolution,
            },
        }
    }

    /// What all requests of these executions say together, by the rules in their order. `Break` is what counts for good: something
    /// that may hide a response, a response, or a pending request. `Continue` says where the newest execution is.
    fn resolve(self, executions: &[&'a PipelineExecution]) -> ControlFlow<Resolution, Resolution> {
        for execution in executions {
            self.require_history(execution)?;
        }
        let requests: Vec<(&PipelineExecution, &ActionExecution, Request)> = executions
            .iter()
            .flat_map(|execution| {
                self.requests(execution).into_iter().map(|(entry, request)| (*execution, entry, request))
            })
            .collect();
        for (execution, _, request) in &requests {
            if let Request::Hidden { position, recheck_at } = request {
                return ControlFlow::Break(self.wait(execution, position.clone(), *recheck_at));
            }
        }
        let responses = requests.iter().filter_map(|(_, entry, request)| {
            let response = request.response()?;
            Some((response.at.max(entry.started_at), response))
        });
        let mut open = requests.iter().filter(|(.., request)| request.is_open());
        if let Some((_, response)) = responses.max_by_key(|(at, _)| *at) {
            let open = open
                .next()
                .map(|(execution, ..)| OpenRequest { execution: execution.id.clone(), is_pending: true })
                .or_else(|| {
                    let next = executions.iter().find(|execution| execution.end().is_none());
                    let next = next.filter(|execution| self.newest_entry(execution).is_none());
                    next.map(|execution| OpenRequest { execution: execution.id.clone(), is_pending: false })
                });
            return ControlFlow::Break(Resolution::Settled { response: response.clone(), open });
        }
        let open: Vec<_> = open.collect();
        match open.as_slice() {
            [] => ControlFlow::Continue(match executions.first() {
                Some(newest) => self.without_request(newest),
                None => {
                    let hint = names::hint(self.snapshot, self.named);
                    let wait = ExecutionWait::NoExecution { newest: self.snapshot.newest_revisions.clone(), hint };
                    Resolution::NotYet { wait, recheck_at: None }
                }
            }),
            [(execution, entry, Request::Pending(token))] => ControlFlow::Break(Resolution::Pending(PendingRequest {
                token: token.clone(),
                action_execution: entry.action_execution_id.clone(),
                execution: (*execution).clone(),
            })),
            [(execution, ..)] => ControlFlow::Break(self.wait(execution, ExecutionPosition::AtApproval, None)),
            several => ControlFlow::Break(self.several(several)),
        }
    }

    /// Unknown holds back: the history of the execution must be known, up to its end if it ended.
    fn require_history(self, execution: &PipelineExecution) -> ControlFlow<Resolution> {
        let Some(read_at) = self.history_read_at(execution) else {
            return ControlFlow::Break(self.wait(execution, ExecutionPosition::BeyondHistory, None));
        };
        // Reaching the approval may have been the last thing that the execution did.
        let reliable_after =
            execution.updated_at.map_or(Timestamp::MIN, |updated_at| later(later(updated_at, LIST_LAG), CLOCK_SKEW));
        if execution.end().is_some() && read_at < reliable_after {
            return ControlFlow::Break(self.wait(execution, ExecutionPosition::PastApproval, Some(reliable_after)));
        }
        ControlFlow::Continue(())
    }

    /// Several requests are open, according to a history that may still show one as pending after its response. Only what it shows for
    /// longer than it lags was really pending beside the others.
    fn several(self, open: &[&(&PipelineExecution, &ActionExecution, Request)]) -> Resolution {
        let ids: Vec<String> = open.iter().map(|(execution, ..)| execution.id.clone()).collect();
        let started_at = open.iter().filter_map(|(_, entry, _)| entry.started_at).max();
        let reliable_after = started_at.map_or(Timestamp::MIN, |started_at| later(started_at, HISTORY_LAG));
        let is_reliable = |read_at| reliable_after <= read_at;
        if open.iter().all(|(execution, ..)| self.history_read_at(execution).is_some_and(is_reliable)) {
            Resolution::Ambiguous(Ambiguity::SeveralRequests(ids))
        } else {
            Resolution::NotYet { wait: ExecutionWait::Several(ids), recheck_at: Some(reliable_after) }
        }
    }

    /// The execution has no open request, and no response.
    fn without_request(self, execution: &PipelineExecution) -> Resolution {
        match execution.end() {
            Some(end) => Resolution::Ended { execution: execution.id.clone(), end },
            None => {
                // A pending request that is not in history yet may be that of this execution.
                let is_new = self.latest.is_some_and(|latest| {
                    latest.token.is_some()
                        && latest.action_execution_id.as_ref().is_some_and(|id| self.snapshot.is_first_seen(id))
                });
                let recheck_at = is_new.then(|| later(self.snapshot.started_at, LIST_LAG));
                self.wait(execution, self.position(execution), recheck_at)
            }
        }
    }

    fn wait(
        self,
        execution: &PipelineExecution,
        position: ExecutionPosition,
        recheck_at: Option<Timestamp>,
    ) -> Resolution {
        let wait = ExecutionWait::Execution { execution: execution.id.clone(), position };
        Resolution::NotYet { wait, recheck_at }
    }

    /// The last stage that the execution was in, or waits to enter.
    fn position(self, execution: &PipelineExecution) -> ExecutionPosition {
        let observed = self.snapshot.state.stages.iter().rev().find_map(|stage| {
            let name = stage.name.clone();
            match &stage.latest_execution {
                _ if stage.inbound_executions.contains(&execution.id) => {
                    let disabled = stage.disabled_transition.clone();
                    let in_stage = stage
                        .latest_execution
                        .as_ref()
                        .filter(|latest| latest.occupies_stage() && latest.pipeline_execution_id != execution.id);
                    let behind = in_stage.map(|latest| latest.pipeline_execution_id.clone());
                    Some(ExecutionPosition::BeforeStage { stage: name, disabled, behind })
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
