//! The decisions that reject, by action: what an approval checks before it is submitted, without a scan of the cache. An approval
//! that was held back is woken when a rejection of its action changes, or when the watches have listed their decisions.

use crate::api::v1alpha1::ApprovalDecision;
use crate::decision::{Rejection, RejectionLocation, Rejections, pinned_location};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = ObjectRef<ApprovalDecision>;

/// pipelineName, stageName and actionName.
type Action = (String, String, String);

/// The rejections of all watches. Clones share them.
#[derive(Clone, Debug)]
pub struct RejectionIndex {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// The watches that have not listed their decisions yet.
    unlisted: usize,
    actions: HashMap<Action, RejectedAction>,
    /// The action of each rejection.
    rejections: HashMap<Key, Action>,
    /// Approvals that wait for the watches.
    held: HashSet<Key>,
}

#[derive(Debug, Default)]
struct RejectedAction {
    rejections: BTreeMap<(String, String), RejectingDecision>,
    /// Approvals that one of them may hold back.
    held: HashSet<Key>,
}

/// A decision that rejects. Where its request is depends on its target, which may change.
#[derive(Debug)]
struct RejectingDecision {
    decision: ApprovalDecision,
    rejection: Rejection,
}

impl RejectingDecision {
    /// Whether an approval that one of both holds back need not be woken for the other.
    fn is_alike(&self, rejection: &Rejection, decision: &ApprovalDecision) -> bool {
        let location = |decision: &ApprovalDecision| {
            let spec = &decision.spec;
            (spec.target_ref.clone(), spec.unsupported.clone(), pinned_location(decision))
        };
        self.rejection == *rejection && location(&self.decision) == location(decision)
    }
}

impl RejectionIndex {
    /// An empty index for this many watches.
    #[must_use]
    pub fn new(watches: usize) -> Self {
        let inner =
            Inner { unlisted: watches, actions: HashMap::new(), rejections: HashMap::new(), held: HashSet::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The rejections of the action that a decision approves. It is woken when that changes.
    #[must_use]
    pub fn rejections_for(
        &self,
        decision: &ApprovalDecision,
        location: impl Fn(&ApprovalDecision) -> RejectionLocation,
    ) -> Rejections {
        let key = ObjectRef::from_obj(decision);
        let mut inner = self.lock();
        if inner.unlisted > 0 {
            inner.held.insert(key);
            return Rejections::NotListed;
        }
        match inner.actions.get_mut(&action(decision)) {
            Some(action) => {
                action.held.insert(key);
                // The cache may lag behind an edit that made this decision an approval.
                let own = name(decision);
                let others = action.rejections.iter().filter(|(name, _)| **name != own);
                let located = |known: &RejectingDecision| known.rejection.clone().at(location(&known.decision));
                Rejections::Listed(others.filter_map(|(_, known)| located(known)).collect())
            }
            None => Rejections::Listed(Vec::new()),
        }
    }

    /// Notes a decision as it is now, and returns whom that may concern.
    #[must_use]
    pub fn update(&self, decision: &ApprovalDecision) -> Vec<Key> {
        let key = ObjectRef::from_obj(decision);
        let rejection = Rejection::of(decision);
        let mut inner = self.lock();
        let is_known = match (&rejection, inner.rejections.get(&key)) {
            (None, None) => true,
            // An edit may have moved it to another action.
            (Some(rejection), Some(known)) if *known == action(decision) => {
                let rejections = inner.actions.get(known).map(|action| &action.rejections);
                let known = rejections.and_then(|rejections| rejections.get(&name(decision)));
                known.is_some_and(|known| known.is_alike(rejection, decision))
            }
            (None | Some(_), Some(_)) | (Some(_), None) => false,
        };
        if is_known {
            return Vec::new();
        }
        let woken = inner.remove(&key, &name(decision));
        if let Some(rejection) = rejection {
            let action = action(decision);
            let known = RejectingDecision { decision: decision.clone(), rejection };
            inner.actions.entry(action.clone()).or_default().rejections.insert(name(decision), known);
            inner.rejections.insert(key, action);
        }
        woken
    }

    /// Forgets a decision that was deleted, and returns whom that may concern.
    #[must_use]
    pub fn remove(&self, key: &Key) -> Vec<Key> {
        let name = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        let mut inner = self.lock();
        inner.held.remove(key);
        inner.remove(key, &name)
    }

    /// Forgets the decisions that the closure rejects, and returns whom that may concern.
    #[must_use]
    pub(super) fn retain(&self, mut is_kept: impl FnMut(&Key) -> bool) -> Vec<Key> {
        let gone: Vec<Key> = self.lock().rejections.keys().filter(|key| !is_kept(key)).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// The decision waits until [`Self::watch_recovered`].
    pub(super) fn hold(&self, decision: &ApprovalDecision) {
        self.lock().held.insert(ObjectRef::from_obj(decision));
    }

    /// A broken watch works again. Returns the approvals that waited for it.
    #[must_use]
    pub(super) fn watch_recovered(&self) -> Vec<Key> {
        self.lock().held.drain().collect()
    }

    /// Another watch has listed its decisions, or is not allowed to. Returns the approvals that waited for the last one.
    #[must_use]
    pub fn watch_listed(&self) -> Vec<Key> {
        let mut inner = self.lock();
        inner.unlisted = inner.unlisted.saturating_sub(1);
        if inner.unlisted > 0 { Vec::new() } else { inner.held.drain().collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, key: &Key, name: &(String, String)) -> Vec<Key> {
        let Some(action) = self.rejections.remove(key) else { return Vec::new() };
        let Some(rejected) = self.actions.get_mut(&action) else { return Vec::new() };
        rejected.rejections.remove(name);
        let woken = rejected.held.drain().collect();
        if rejected.rejections.is_empty() {
            self.actions.remove(&action);
        }
        woken
    }
}

fn action(decision: &ApprovalDecision) -> Action {
    let spec = &decision.spec;
    (spec.pipeline_name.clone(), spec.stage_name.clone(), spec.action_name.clone())
}

fn name(decision: &ApprovalDecision) -> (String, String) {
    (decision.namespace().unwrap_or_default(), decision.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, REQUESTED_AT, Reason, Token};
    use crate::decision::test_fixtures::targets::here;
    use crate::decision::{Outcome, RejectedRequests, status};
    use jiff::Timestamp;

    fn decision(name: &str, action: &str, result: ApprovalStatus) -> ApprovalDecision {
        let result = ApprovalResult { status: result, summary: String::new() };
        let spec = ApprovalDecisionSpec {
            token: Some(token()),
            ..ApprovalDecisionSpec::new("shop".to_owned(), "Prod".to_owned(), action.to_owned(), result)
        };
        let mut decision = ApprovalDecision::new(name, spec);
        decision.metadata.namespace = Some("team".to_owned());
        decision.metadata.generation = Some(1);
        decision
    }

    fn token() -> Token {
        Token("0a1b2c3d-0000-4000-8000-00000000000a".to_owned())
    }

    fn approval(action: &str) -> ApprovalDecision {
        decision("go", action, ApprovalStatus::Approved)
    }

    fn rejection(name: &str) -> ApprovalDecision {
        decision(name, "Approve", ApprovalStatus::Rejected)
    }

    fn unknown(_: &ApprovalDecision) -> RejectionLocation {
        RejectionLocation::Unknown
    }

    fn keys(decisions: &[&ApprovalDecision]) -> Vec<Key> {
        decisions.iter().map(|decision| ObjectRef::from_obj(*decision)).collect()
    }

    /// An index whose watches have listed their decisions, and this rejection.
    fn index(rejection: &ApprovalDecision) -> RejectionIndex {
        let index = RejectionIndex::new(0);
        assert_eq!(index.update(rejection), []);
        index
    }

    fn names(index: &RejectionIndex, approval: &ApprovalDecision) -> Vec<String> {
        match index.rejections_for(approval, unknown) {
            Rejections::Listed(rejections) => rejections.into_iter().map(|rejection| rejection.name).collect(),
            Rejections::NotListed => panic!("it is not listed"),
        }
    }

    #[test]
    fn an_approval_that_waits_for_a_broken_watch_is_woken_once() {
        let (index, go) = (RejectionIndex::new(0), approval("Approve"));
        index.hold(&go);
        assert_eq!(index.watch_recovered(), keys(&[&go]));
        assert_eq!(index.watch_recovered(), []);
    }

    #[test]
    fn an_approval_is_held_until_every_watch_has_listed_its_decisions() {
        let (index, go) = (RejectionIndex::new(2), approval("Approve"));
        assert_eq!(index.rejections_for(&go, unknown), Rejections::NotListed);
        assert_eq!(index.clone().watch_listed(), [], "the other watch may still find a rejection");
        assert_eq!(index.rejections_for(&go, unknown), Rejections::NotListed);
        assert_eq!(index.update(&rejection("stop")), []);
        assert_eq!(index.watch_listed(), keys(&[&go]));
        assert_eq!(names(&index, &go), ["stop"]);
        assert_eq!(index.watch_listed(), [], "it is woken once");
    }

    #[test]
    fn an_approval_that_is_deleted_is_not_woken_when_the_watches_have_listed() {
        let (index, go) = (RejectionIndex::new(1), approval("Approve"));
        assert_eq!(index.rejections_for(&go, unknown), Rejections::NotListed);
        assert_eq!(index.remove(&ObjectRef::from_obj(&go)), []);
        assert_eq!(index.watch_listed(), []);
    }

    #[test]
    fn only_rejections_of_the_same_action_are_returned() {
        let index = index(&rejection("stop"));
        assert_eq!(index.update(&approval("Approve")), []);
        assert_eq!(names(&index, &approval("Approve")), ["stop"]);
        assert_eq!(names(&index, &approval("Other")), Vec::<String>::new());
    }

    #[test]
    fn a_decision_does_not_conflict_with_its_own_former_version() {
        let index = index(&rejection("go"));
        assert_eq!(names(&index, &approval("Approve")), Vec::<String>::new());
    }

    #[test]
    fn an_approval_is_woken_when_a_rejection_stops_to_count() {
        let (go, stop) = (approval("Approve"), rejection("stop"));
        let with = |change: &dyn Fn(&mut ApprovalDecision)| {
            let mut changed = stop.clone();
            change(&mut changed);
            changed
        };
        let settled = with(&|decision| {
            let delivered = Outcome::Delivered { approved_at: None, record: None };
            decision.status = Some(status(decision, &delivered, Timestamp::UNIX_EPOCH));
        });
        for (name, changed) in [
            ("suspended", with(&|decision| decision.spec.suspend = true)),
            (
                "being deleted",
                with(&|decision| {
                    decision.metadata.deletion_timestamp =
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
                }),
            ),
            ("settled", settled),
            ("approves now", with(&|decision| decision.spec.result.status = ApprovalStatus::Approved)),
            ("about another action", with(&|decision| decision.spec.action_name = "Other".to_owned())),
        ] {
            let index = index(&stop);
            assert_eq!(names(&index, &go), ["stop"]);
            assert_eq!(index.update(&changed), keys(&[&go]), "{name}");
            assert_eq!(names(&index, &go), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn an_approval_is_woken_when_a_rejection_names_something_else_or_is_deleted() {
        let (go, stop) = (approval("Approve"), rejection("stop"));
        let index = index(&stop);
        assert_eq!(names(&index, &go), ["stop"]);
        let mut other = stop.clone();
        other.spec.token = Some(Token("0a1b2c3d-0000-4000-8000-00000000000b".to_owned()));
        assert_eq!(index.update(&other), keys(&[&go]));
        let Rejections::Listed(rejections) = index.rejections_for(&go, unknown) else { panic!("it is not listed") };
        assert!(rejections.iter().all(|rejection| rejection.requests != RejectedRequests::Token(token())));
        assert_eq!(index.remove(&ObjectRef::from_obj(&stop)), keys(&[&go]));
        assert_eq!(names(&index, &go), Vec::<String>::new());
        assert_eq!(index.remove(&ObjectRef::from_obj(&stop)), [], "it is gone already");
    }

    #[test]
    fn an_approval_is_not_woken_while_nothing_that_counts_changes() {
        let (go, stop) = (approval("Approve"), rejection("stop"));
        let index = index(&stop);
        assert_eq!(names(&index, &go), ["stop"]);
        let mut stalled = stop.clone();
        let outcome = Outcome::Refused {
            refusal: crate::codepipeline::Refusal::InvalidApprovalToken,
            exception: None,
            record: None,
            open: None,
            names: None,
            caveat: None,
        };
        stalled.status = Some(status(&stalled, &outcome, Timestamp::UNIX_EPOCH));
        assert_eq!(outcome.reason(), Reason::InvalidApprovalToken);
        assert_eq!(index.update(&stalled), [], "a Stalled rejection counts");
        assert_eq!(index.update(&rejection("stop, too")), [], "another one holds it back as well");
        assert_eq!(names(&index, &go), ["stop", "stop, too"]);
        assert_eq!(index.remove(&ObjectRef::from_obj(&stop)), keys(&[&go]));
        assert_eq!(names(&index, &go), ["stop, too"]);
    }

    #[test]
    fn rejections_that_a_new_list_does_not_contain_are_forgotten() {
        let (go, stop) = (approval("Approve"), rejection("stop"));
        let index = index(&stop);
        assert_eq!(index.update(&rejection("stay")), []);
        assert_eq!(names(&index, &go), ["stay", "stop"]);
        assert_eq!(index.retain(|key| key.name == "stay"), keys(&[&go]));
        assert_eq!(names(&index, &go), ["stay"]);
    }

    #[test]
    fn an_edit_and_the_annotation_release_a_rejection_from_where_it_found_its_request() {
        let pinned = {
            let mut stop = rejection("stop");
            let outcome = Outcome::Suspended { not_after: None };
            let mut status = status(&stop, &outcome, Timestamp::UNIX_EPOCH);
            status.set_location(Some(here()));
            stop.status = Some(status);
            stop
        };
        let mut edited = pinned.clone();
        edited.metadata.generation = Some(2);
        let mut annotated = pinned.clone();
        annotated.metadata.annotations = Some([(REQUESTED_AT.to_owned(), "now".to_owned())].into());
        let location = |decision: &ApprovalDecision| {
            pinned_location(decision).map_or(RejectionLocation::Unknown, RejectionLocation::At)
        };
        let locations = |index: &RejectionIndex| match index.rejections_for(&approval("Approve"), location) {
            Rejections::Listed(rejections) => rejections.into_iter().map(|rejection| rejection.location).collect(),
            Rejections::NotListed => Vec::new(),
        };
        for released in [edited, annotated] {
            let index = index(&pinned);
            assert!(matches!(locations(&index)[..], [RejectionLocation::At(_)]));
            assert_eq!(index.update(&released), keys(&[&approval("Approve")]));
            assert_eq!(locations(&index), [RejectionLocation::Unknown]);
        }
    }
}
