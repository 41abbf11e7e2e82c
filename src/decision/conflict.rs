//! A rejection goes first: whether another decision rejects the request that a decision is about to approve.

use super::phase::{current_class, current_reason, is_edited};
use super::target::RejectionLocation;
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalStatus, Binding, ExecutionBinding, Location, PipelineExecutionId, ReadyClass, Reason,
    SourceRevision, Token, UserTime,
};
use crate::codepipeline::{ExecutionType, PipelineExecution};
use jiff::Timestamp;
use kube::ResourceExt;

/// The rejections of one action, as the cache of decisions knows them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Rejections {
    /// A watch has not listed its decisions yet: there may be more.
    NotListed,
    /// All that there are.
    Listed(Vec<Rejection>),
}

/// A decision that rejects.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rejection {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The requests that it rejects.
    pub requests: RejectedRequests,
    /// Its `notAfter`.
    pub not_after: Option<Timestamp>,
    /// Where its request is. The index of decisions knows the target, and fills it in.
    pub location: RejectionLocation,
}

/// What a rejection names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RejectedRequests {
    /// The request with this token.
    Token(Token),
    /// Those of this execution.
    PipelineExecution(PipelineExecutionId),
    /// Those of each execution that meets these entries, whether or not they cover all of its sources.
    SourceRevisions(Vec<SourceRevision>),
    /// This version of the operator cannot tell.
    Any,
}

/// How much is known about whether a rejection is about a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RejectionMatch {
    /// It names the request.
    Same,
    /// It names executions, and the operator has not found the execution of the request.
    ExecutionUnknown,
    /// It names source revisions, and CodePipeline does not show those of the execution.
    SourcesUnknown,
    /// This version of the operator cannot tell what it names.
    Unreadable,
}

impl Rejection {
    /// The rejection that a decision is; none if it does not reject, is held back, or is settled.
    #[must_use]
    pub fn of(decision: &ApprovalDecision) -> Option<Self> {
        let spec = &decision.spec;
        let is_over = !is_edited(decision)
            && (current_class(decision) == Some(ReadyClass::Settled)
                || matches!(current_reason(decision), Some(Reason::Expired | Reason::ApprovalAlreadyCompleted)));
        if spec.result.status != ApprovalStatus::Rejected
            || spec.suspend
            || decision.metadata.deletion_timestamp.is_some()
            || is_over
        {
            return None;
        }
        let requests = match spec.binding() {
            Some(Binding::Token(token)) => RejectedRequests::Token(token.clone()),
            Some(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => {
                RejectedRequests::PipelineExecution(id.clone())
            }
            Some(Binding::Execution(ExecutionBinding::SourceRevisions(entries))) => {
                RejectedRequests::SourceRevisions(entries.to_vec())
            }
            None => RejectedRequests::Any,
        };
        Some(Self {
            namespace: decision.namespace().unwrap_or_default(),
            name: decision.name_any(),
            requests,
            not_after: spec.not_after.as_ref().and_then(|UserTime(text)| text.parse().ok()),
            location: RejectionLocation::Unknown,
        })
    }

    /// The rejection, of a request there; none if the decision may not use its target.
    #[must_use]
    pub fn at(self, location: RejectionLocation) -> Option<Self> {
        (location != RejectionLocation::NotAdmitted).then_some(Self { location, ..self })
    }

    /// Whether its request may be in this account and region. What is not known may be the same.
    fn may_be_at(&self, location: Option<&Location>) -> bool {
        match (&self.location, location) {
            (RejectionLocation::At(rejected), Some(location)) => rejected == location,
            (RejectionLocation::At(_), None) | (RejectionLocation::Unknown, _) => true,
            (RejectionLocation::NotAdmitted, _) => false,
        }
    }

    /// Whether it is, or may be, about the request with this token. The execution may not be known.
    fn is_about(&self, token: &Token, execution: Option<&PipelineExecution>) -> Option<RejectionMatch> {
        let same = |is_same: bool| is_same.then_some(RejectionMatch::Same);
        match (&self.requests, execution) {
            (RejectedRequests::Token(rejected), _) => same(rejected == token),
            (RejectedRequests::PipelineExecution(id), Some(execution)) => same(id.0 == execution.id),
            // CodePipeline does not list the sources of an execution that is too new, or older than the pages that the operator reads.
            (RejectedRequests::SourceRevisions(_), Some(execution))
                if execution.source_revisions.is_empty() && execution.execution_type == ExecutionType::Standard =>
            {
                Some(RejectionMatch::SourcesUnknown)
            }
            (RejectedRequests::SourceRevisions(entries), Some(execution)) => same(execution.meets(entries)),
            (RejectedRequests::PipelineExecution(_) | RejectedRequests::SourceRevisions(_), None) => {
                Some(RejectionMatch::ExecutionUnknown)
            }
            (RejectedRequests::Any, _) => Some(RejectionMatch::Unreadable),
        }
    }
}

impl Rejections {
    /// Whether the execution of a request in this account and region must be known to tell whether one is about it.
    pub(super) fn need_execution(&self, location: Option<&Location>) -> bool {
        match self {
            Self::NotListed => false,
            Self::Listed(rejections) => rejections.iter().any(|rejection| {
                rejection.may_be_at(location) && !matches!(rejection.requests, RejectedRequests::Token(_))
            }),
        }
    }
}

/// The first rejection of a request.
pub(super) fn conflict<'a>(
    rejections: &'a [Rejection],
    location: Option<&Location>,
    token: &Token,
    execution: Option<&PipelineExecution>,
    now: Timestamp,
) -> Option<(&'a Rejection, RejectionMatch)> {
    let counts = |rejection: &&Rejection| rejection.not_after.is_none_or(|not_after| now < not_after);
    let mut rejections = rejections.iter().filter(counts).filter(|rejection| rejection.may_be_at(location));
    rejections.find_map(|rejection| Some((rejection, rejection.is_about(token, execution)?)))
}
