//! The requests of one execution: each execution of the approval action is one, and a retried stage opens another.

use super::observed_action::ObservedAction;
use super::resolution::ExecutionPosition;
use crate::api::time::later;
use crate::api::v1alpha1::{ApprovalStatus, Token};
use crate::codepipeline::{
    ActionCompletion, ActionExecution, ActionProgress, CompletedApproval, CompletionStatus, ExecutionIds,
    ExecutionMode, HISTORY_LAG, LatestExecution, PipelineExecution,
};
use jiff::Timestamp;

/// What is known of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// It waits for a response.
    Pending(Token),
    /// It waits for a response, and its token is not visible yet.
    TokenNotVisible,
    /// It received a response.
    Responded(CompletedApproval),
    /// It ended without one: it timed out or was canceled.
    NoResponse,
    /// It ended, and history does not show how yet: it may have received a response.
    Hidden {
        /// What the decision waits for.
        position: ExecutionPosition,
        /// When history shows it at the latest.
        recheck_at: Option<Timestamp>,
    },
}

impl Request {
    pub(super) const fn is_open(&self) -> bool {
        match self {
            Self::Pending(_) | Self::TokenNotVisible => true,
            Self::Responded(_) | Self::NoResponse | Self::Hidden { .. } => false,
        }
    }

    pub(super) const fn response(&self) -> Option<&CompletedApproval> {
        match self {
            Self::Responded(response) => Some(response),
            Self::Pending(_) | Self::TokenNotVisible | Self::NoResponse | Self::Hidden { .. } => None,
        }
    }
}

impl<'a> ObservedAction<'a> {
    /// The requests of an execution that count.
    pub(super) fn requests(self, execution: &PipelineExecution) -> Vec<(&'a ActionExecution, Request)> {
        self.entries(execution).filter_map(|entry| Some((entry, self.request(execution, entry)?))).collect()
    }

    pub(super) fn newest_entry(self, execution: &PipelineExecution) -> Option<&'a ActionExecution> {
        self.entries(execution).max_by_key(|entry| entry.started_at)
    }

    /// Whether a request of the execution waits for a response.
    pub(super) fn is_pending(self, execution: &PipelineExecution) -> bool {
        self.requests(execution).iter().any(|(_, request)| matches!(request, Request::Pending(_)))
    }

    fn entries(self, execution: &PipelineExecution) -> impl Iterator<Item = &'a ActionExecution> {
        let id = execution.id.clone();
        let entries = self.snapshot.actions.iter();
        entries
            .filter(move |entry| entry.pipeline_execution_id == id && entry.is_of(self.named.stage, self.named.action))
    }

    /// A request; none if it was completed too early to count.
    fn request(self, execution: &PipelineExecution, entry: &ActionExecution) -> Option<Request> {
        let latest =
            self.latest.filter(|latest| latest.action_execution_id.as_ref() == Some(&entry.action_execution_id));
        // The state view shows a completion before history does.
        let completion = match (latest.map(|latest| &latest.progress), &entry.progress) {
            (Some(ActionProgress::Completed(completion)), _) | (_, ActionProgress::Completed(completion)) => completion,
            (Some(ActionProgress::InProgress) | None, ActionProgress::InProgress) => {
                return Some(self.in_progress(execution, entry, latest));
            }
        };
        let is_ignored = self
            .named
            .ignore_responses_before
            .is_some_and(|ignored_before| completion.at.is_some_and(|at| at < ignored_before));
        (!is_ignored).then(|| self.completed(execution, entry, completion))
    }

    fn completed(
        self,
        execution: &PipelineExecution,
        entry: &ActionExecution,
        completion: &ActionCompletion,
    ) -> Request {
        let ids =
            ExecutionIds { pipeline: Some(execution.id.clone()), action: Some(entry.action_execution_id.clone()) };
        let response = CompletedApproval::new(completion, ids);
        let refused = self.named.refused_as_completed.is_some_and(|token| {
            [Some(&entry.action_execution_id), entry.external_execution_id.as_ref()].contains(&Some(&token.0))
        });
        match (response.result, completion.status) {
            (Some(_), _) => Request::Responded(response),
            (None, CompletionStatus::Failed) if refused => {
                Request::Responded(CompletedApproval { result: Some(ApprovalStatus::Rejected), ..response })
            }
            (None, CompletionStatus::Succeeded | CompletionStatus::Failed | CompletionStatus::Abandoned) => {
                Request::NoResponse
            }
        }
    }

    /// Neither view shows its end.
    fn in_progress(
        self,
        execution: &PipelineExecution,
        entry: &ActionExecution,
        latest: Option<&LatestExecution>,
    ) -> Request {
        // An entry that started after the execution ended belongs to a retry that was not visible when the executions were listed.
        let ended_at = execution.end().map(|_| execution.updated_at.max(entry.started_at));
        let (position, ended_at) = match (ended_at, self.successor(execution, entry)) {
            (Some(ended_at), _) => (ExecutionPosition::PastApproval, ended_at),
            (None, Some(successor)) => (ExecutionPosition::PreviousRequest, successor.started_at),
            (None, None) => return open(execution, entry, latest),
        };
        let reliable_after = ended_at.map_or(Timestamp::MIN, |ended_at| later(ended_at, HISTORY_LAG));
        if self.history_read_at(execution).is_none_or(|read_at| read_at < reliable_after) {
            return Request::Hidden { position, recheck_at: Some(reliable_after) };
        }
        // An edit of the pipeline cancels a pending approval, and history never shows that.
        Request::NoResponse
    }

    /// A newer request, which is only opened once this one has ended: that of any execution if one at a time is in the stage, and of
    /// the same execution otherwise.
    fn successor(self, execution: &PipelineExecution, entry: &ActionExecution) -> Option<&'a ActionExecution> {
        let entries = self.snapshot.actions.iter().filter(|other| other.is_of(self.named.stage, self.named.action));
        let newer = entries.filter(|other| {
            entry.started_at < other.started_at
                && (execution.mode == ExecutionMode::Serial || other.pipeline_execution_id == execution.id)
        });
        newer.min_by_key(|other| other.started_at)
    }
}

fn open(execution: &PipelineExecution, entry: &ActionExecution, latest: Option<&LatestExecution>) -> Request {
    let token = match execution.mode {
        ExecutionMode::Serial => latest.and_then(|latest| latest.token.clone()),
        // History alone has the token, and the state view proves nothing.
        ExecutionMode::Parallel => entry.external_execution_id.clone().and_then(Token::new),
    };
    token.map_or(Request::TokenNotVisible, Request::Pending)
}
