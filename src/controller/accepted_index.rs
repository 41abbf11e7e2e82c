//! The decisions whose results CodePipeline accepted, by request: what a message about a response names. The cache drops the submissions
//! of settled decisions, so the index reads them from the events of the watch.

use crate::api::v1alpha1::{ApprovalDecision, Reason, SubmissionOutcome};
use crate::decision::current_reason;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The accepted results of all watches. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AcceptedIndex {
    inner: Arc<Mutex<Inner>>,
}

/// Ids are hashed, because a cluster has more settled decisions than others.
#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    /// By the hashes of a namespace and the ids of a request.
    decisions: HashMap<u64, Name>,
    /// The hashes of each decision's request, by the hash of its name.
    requests: HashMap<u64, [u64; 2]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Name {
    namespace: Box<str>,
    name: Box<str>,
}

impl AcceptedIndex {
    /// The other decision of the same namespace whose result CodePipeline accepted for the request with one of these ids.
    #[must_use]
    pub fn find(&self, decision: &ApprovalDecision, ids: &[String]) -> Option<String> {
        let (own, inner) = (Name::of(decision), self.lock());
        let found = ids.iter().filter_map(|id| inner.decisions.get(&inner.hash(&own.namespace, id)));
        let mut others = found.filter(|found| found.namespace == own.namespace && found.name != own.name);
        others.next().map(|found| found.name.to_string())
    }

    /// Notes a decision as it is now.
    pub fn update(&self, decision: &ApprovalDecision) {
        let name = Name::of(decision);
        let mut inner = self.lock();
        inner.remove(&name);
        let Some([token, action]) = accepted_request(decision) else { return };
        let requests = [token, action].map(|id| inner.hash(&name.namespace, id));
        let key = inner.hash(&name.namespace, &name.name);
        inner.requests.insert(key, requests);
        inner.decisions.extend(requests.map(|request| (request, name.clone())));
    }

    /// Forgets a decision that was deleted.
    pub fn remove(&self, decision: &ApprovalDecision) {
        self.lock().remove(&Name::of(decision));
    }

    /// Forgets the decisions that the closure rejects.
    pub(super) fn retain(&self, mut is_kept: impl FnMut(&ObjectRef<ApprovalDecision>) -> bool) {
        let mut inner = self.lock();
        let is_gone = |name: &&Name| !is_kept(&ObjectRef::new(&name.name).within(&name.namespace));
        let gone: Vec<Name> = inner.decisions.values().filter(is_gone).cloned().collect();
        gone.iter().for_each(|name| inner.remove(name));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hash(&self, namespace: &str, id: &str) -> u64 {
        self.hasher.hash_one((namespace, id))
    }

    fn remove(&mut self, name: &Name) {
        let key = self.hash(&name.namespace, &name.name);
        for request in self.requests.remove(&key).into_iter().flatten() {
            if self.decisions.get(&request) == Some(name) {
                self.decisions.remove(&request);
            }
        }
    }
}

impl Name {
    fn of(decision: &ApprovalDecision) -> Self {
        Self { namespace: decision.namespace().unwrap_or_default().into(), name: decision.name_any().into() }
    }
}

/// The token and the action execution of the request for which CodePipeline accepted the result of a decision. The token stands for an
/// action execution that is not known: on the live service, they are equal.
fn accepted_request(decision: &ApprovalDecision) -> Option<[&str; 2]> {
    let status = decision.status.as_ref()?;
    let submission = status.submission.as_ref()?;
    let _accepted = submission.outcome.filter(|outcome| *outcome == SubmissionOutcome::Accepted)?;
    let is_delivered = current_reason(decision) == Some(Reason::Delivered);
    let shown = status.action_execution_id.as_ref().filter(|_| is_delivered);
    let action = submission.action_execution_id.as_ref().or(shown).unwrap_or(&submission.token.0);
    Some([&submission.token.0, action])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Submission, Token};
    use crate::decision::{Outcome, status};
    use jiff::Timestamp;

    fn decision(namespace: &str, name: &str) -> ApprovalDecision {
        let result = ApprovalResult { status: ApprovalStatus::Approved, summary: String::new() };
        let names = ["shop", "Prod", "Approve"].map(str::to_owned);
        let [pipeline, stage, action] = names;
        let mut decision = ApprovalDecision::new(name, ApprovalDecisionSpec::new(pipeline, stage, action, result));
        decision.metadata.namespace = Some(namespace.to_owned());
        decision
    }

    /// A decision whose result was accepted for the request with this token and action execution.
    fn delivered(namespace: &str, name: &str, token: &str, action: Option<&str>) -> ApprovalDecision {
        let mut delivered = decision(namespace, name);
        let spec = &delivered.spec;
        let submission = Submission {
            target: None,
            account_id: String::new(),
            region: String::new(),
            session_name: None,
            pipeline_name: spec.pipeline_name.clone(),
            stage_name: spec.stage_name.clone(),
            action_name: spec.action_name.clone(),
            pipeline_execution_id: None,
            action_execution_id: action.map(str::to_owned),
            token: Token(token.to_owned()),
            result: spec.result.clone(),
            attempts: 1,
            start_time: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            outcome: None,
        };
        delivered.status.get_or_insert_default().submission = Some(submission);
        let outcome = Outcome::Delivered { approved_at: None, record: None };
        delivered.status = Some(status(&delivered, &outcome, Timestamp::UNIX_EPOCH));
        delivered
    }

    fn find(index: &AcceptedIndex, namespace: &str, id: &str) -> Option<String> {
        index.find(&decision(namespace, "asks"), &[id.to_owned()])
    }

    #[test]
    fn a_decision_is_found_by_token_and_action_execution_in_its_own_namespace_alone() {
        let index = AcceptedIndex::default();
        index.update(&delivered("team", "first", "token", Some("action")));
        index.update(&decision("team", "waits"));
        for id in ["token", "action"] {
            assert_eq!(find(&index, "team", id).as_deref(), Some("first"), "{id}");
            assert_eq!(find(&index, "other", id), None, "{id}");
        }
        assert_eq!(find(&index, "team", "another"), None);
        assert_eq!(index.find(&decision("team", "first"), &["token".to_owned()]), None, "it is not another decision");
    }

    #[test]
    fn what_was_deleted_or_answers_another_request_now_is_forgotten() {
        let index = AcceptedIndex::default();
        index.update(&delivered("team", "first", "old", None));
        index.update(&delivered("team", "first", "new", None));
        assert_eq!((find(&index, "team", "old"), find(&index, "team", "new").as_deref()), (None, Some("first")));
        index.update(&delivered("team", "second", "other", None));
        index.retain(|key| key.name == "second");
        assert_eq!((find(&index, "team", "new"), find(&index, "team", "other").as_deref()), (None, Some("second")));
        index.remove(&delivered("team", "second", "other", None));
        assert_eq!(find(&index, "team", "other"), None);
        let inner = index.lock();
        assert!(inner.decisions.is_empty() && inner.requests.is_empty());
    }
}
