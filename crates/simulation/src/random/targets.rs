//! Targets: where they are, whom they admit, and whether the operator can access them. Administrators change them at any time. There are two
//! locations: the account of the pipeline, and another one, which has no pipelines.

use super::operator::InProgress;
use super::{Checked, CurrentAccount, Replica, World};
use crate::fixtures;
use approval_operator::api::v1alpha1::{
    Access, ApprovalDecision, ApprovalStatus, ApprovalTarget, ApprovalTargetSpec, Location, NamespaceSelector,
    Namespaces, Reason, Submission,
};
use approval_operator::decision::phase::pinned_location;
use approval_operator::decision::{
    AmbientCredentials, FailureCause, Phase, RejectionLocation, TargetObservation, Unverified, Verification,
    VerifyFailure, rejection_location,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: [&str; 2] = ["prod", "spare"];

/// What an administrator does to one of the targets.
#[derive(Clone, Copy, Debug)]
pub enum TargetChange {
    /// It is created, or created again: here, where the pipeline is, or elsewhere.
    Create {
        is_here: bool,
    },
    Delete,
    Admit(Admitted),
    Verify(bool),
    SetRole(bool),
    /// Whether the operators can read the labels of the namespace.
    ShowLabels(bool),
}

/// How a target admits the namespace of the decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admitted {
    No,
    ByName,
    /// By its labels, which may not be readable.
    ByLabels,
}

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    is_here: bool,
    admitted: Admitted,
    is_verified: bool,
    has_role: bool,
}

/// The targets that exist, by name.
pub type Targets = BTreeMap<&'static str, Target>;

/// What a reconcile observed of its target.
#[derive(Clone, Debug)]
pub struct ObservedTarget {
    /// Whether the rules let the decision use it.
    may_use: bool,
    location: Option<Location>,
}

pub fn name_of(number: usize) -> &'static str {
    NAMES[number % NAMES.len()]
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), "payments".to_owned())])
}

fn elsewhere() -> Location {
    Location { account_id: "210987654321".to_owned(), ..fixtures::location() }
}

impl Target {
    const fn new(is_here: bool) -> Self {
        Self { is_here, admitted: Admitted::ByName, is_verified: true, has_role: true }
    }

    fn location(self) -> Location {
        if self.is_here { fixtures::location() } else { elsewhere() }
    }

    fn object(self, name: &str) -> ApprovalTarget {
        let Location { account_id, region } = self.location();
        let namespaces = match self.admitted {
            Admitted::No => None,
            Admitted::ByName => Some(Namespaces { names: vec!["team".to_owned()], selector: None }),
            Admitted::ByLabels => {
                let selector = NamespaceSelector { match_labels: labels(), match_expressions: Vec::new() };
                Some(Namespaces { names: Vec::new(), selector: Some(selector) })
            }
        };
        let access = namespaces.map(|namespaces| Access {
            namespaces,
            pipelines: vec!["*".to_owned()],
            results: vec![ApprovalStatus::Approved, ApprovalStatus::Rejected],
        });
        let spec = ApprovalTargetSpec {
            role_arn: self.has_role.then(|| format!("arn:aws:iam::{account_id}:role/approver")),
            account_id,
            region,
            external_id: None,
            access: access.into_iter().collect(),
            unsupported: None,
        };
        ApprovalTarget::new(name, spec)
    }
}

fn name(decision: &ApprovalDecision) -> Option<&str> {
    decision.spec.target_ref.as_ref().map(|target| target.name.as_str())
}

impl World {
    pub(super) fn create_targets(&mut self) {
        if let Some(is_here) = self.scenario.target {
            self.targets.insert(NAMES[0], Target::new(is_here));
        }
    }

    /// An administrator changes a target, which wakes every decision.
    pub(super) fn change_target(&mut self, number: usize, change: TargetChange) {
        if self.scenario.target.is_none() {
            return;
        }
        let name = name_of(number);
        match (change, self.targets.get_mut(name)) {
            (TargetChange::Create { is_here }, _) => {
                self.targets.insert(name, Target::new(is_here));
            }
            (TargetChange::Delete, _) => {
                self.targets.remove(name);
            }
            (TargetChange::ShowLabels(are_shown), _) => self.are_labels_hidden = !are_shown,
            (TargetChange::Admit(admitted), Some(target)) => target.admitted = admitted,
            (TargetChange::Verify(is_verified), Some(target)) => target.is_verified = is_verified,
            (TargetChange::SetRole(has_role), Some(target)) => target.has_role = has_role,
            (TargetChange::Admit(_) | TargetChange::Verify(_) | TargetChange::SetRole(_), None) => return,
        }
        self.note(format_args!("an administrator changes target {name}: {change:?}"));
        if matches!(change, TargetChange::Create { .. } | TargetChange::Delete) {
            [Replica::A, Replica::B].into_iter().for_each(|replica| self.operator(replica).polls.drop_target(name));
        }
        self.wake_all();
    }

    /// Every replica reconciles every decision.
    pub(super) fn wake_all(&mut self) {
        let decisions = self.decisions.len();
        for replica in [Replica::A, Replica::B] {
            let operator = self.operator(replica);
            (0..decisions).for_each(|number| operator.wake(number));
        }
    }

    /// What a reconcile observes of a target, and whether it may use it.
    pub(super) fn observe(&self, target: Option<&str>) -> (TargetObservation, ObservedTarget) {
        let Some(name) = target else {
            let targets = self.targets.iter().map(|(name, target)| ((*name).to_owned(), target.location()));
            let (location, ambient) = (Some(self.own_location()), AmbientCredentials::Enabled);
            let observed = ObservedTarget { may_use: self.is_own_allowed(), location: location.clone() };
            return (TargetObservation::Own { ambient, location, targets: Arc::new(targets.collect()) }, observed);
        };
        let Some(target) = self.targets.get(name) else {
            return (TargetObservation::NotFound, ObservedTarget { may_use: false, location: None });
        };
        let verification = if target.is_verified {
            Verification::Verified
        } else {
            let (cause, message) = (FailureCause::AssumeRoleDenied, "not trusted".to_owned());
            Verification::Unverified(Unverified::Failed(VerifyFailure { cause, message }))
        };
        let observation = TargetObservation::Found {
            target: Arc::new(target.object(name)),
            namespace_labels: (!self.are_labels_hidden).then(labels),
            verification,
        };
        let is_admitted = match target.admitted {
            Admitted::No => false,
            Admitted::ByName => true,
            Admitted::ByLabels => !self.are_labels_hidden,
        };
        let may_use = is_admitted && target.is_verified;
        (observation, ObservedTarget { may_use, location: Some(target.location()) })
    }

    fn is_own_allowed(&self) -> bool {
        self.targets.values().all(|target| target.location() != self.own_location())
    }

    /// The account and region of a target, or the operator's own; none if nothing can be read there.
    pub(super) fn location_of(&self, target: Option<&str>) -> Option<Location> {
        match target {
            None => Some(self.own_location()),
            Some(name) => self.targets.get(name).filter(|target| target.is_verified).map(|target| target.location()),
        }
    }

    /// Where the request of a decision is that rejects, as the product sees it.
    pub(super) fn observed_location(&self, decision: &ApprovalDecision) -> RejectionLocation {
        rejection_location(decision, &self.observe(name(decision)).0)
    }

    /// Where the request of a rejection is; none if its target does not admit it. One that may be admitted counts.
    pub(super) fn location_of_rejection(&self, decision: &ApprovalDecision) -> Option<Location> {
        let found = match name(decision) {
            None => self.is_own_allowed().then(|| self.own_location()),
            Some(name) => match self.targets.get(name) {
                None => return pinned_location(decision),
                Some(target) => (target.admitted != Admitted::No).then(|| target.location()),
            },
        };
        found.map(|found| pinned_location(decision).unwrap_or(found))
    }

    /// A poll may read only where the decision may go; recovery, only where the submission was sent.
    pub(super) fn check_read(&self, reconcile: &InProgress) -> Checked {
        let observed = reconcile.target.as_ref().ok_or("a pipeline was read before its target was looked for")?;
        match Phase::of(reconcile.reconciliation.decision()) {
            Phase::InDoubt(submission) | Phase::Unexplained(submission, _) => {
                let is_other = |location: &Location| *location != submission.location();
                if submission.target.is_some() && observed.location.as_ref().is_none_or(is_other) {
                    return Err("recovery read another account".to_owned());
                }
            }
            Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) | Phase::Done if !observed.may_use => {
                return Err("a pipeline was read although the target does not admit the decision".to_owned());
            }
            Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) | Phase::Done => {}
        }
        Ok(())
    }

    /// A result goes only where the target admits it, and where the decision found its request.
    pub(super) fn check_location(&self, reconcile: &InProgress, submission: &Submission) -> Checked {
        let observed = reconcile.target.as_ref().ok_or("a result was prepared before its target was looked for")?;
        if !observed.may_use {
            return Err("a result was prepared although the target does not admit it".to_owned());
        }
        let is_other = |location: &Location| *location != submission.location();
        // The credentials of the operator itself may be others a moment later.
        if submission.target.is_some() && observed.location.as_ref().is_none_or(is_other) {
            return Err("a result was prepared for another account than the target's".to_owned());
        }
        if pinned_location(reconcile.reconciliation.decision()).as_ref().is_some_and(is_other) {
            return Err("a waiting decision was moved to another account".to_owned());
        }
        Ok(())
    }

    /// The target reason that a decision must have in the end.
    pub(super) fn target_reason(&self, decision: &ApprovalDecision) -> Option<Reason> {
        let is_moved = |location: Location| pinned_location(decision).is_some_and(|pinned| pinned != location);
        match name(decision) {
            None if !self.is_own_allowed() => Some(Reason::TargetRequired),
            None => is_moved(self.own_location()).then_some(Reason::TargetForbidden),
            Some(name) => match self.targets.get(name) {
                None => Some(Reason::TargetNotFound),
                Some(target) if target.admitted == Admitted::No => Some(Reason::TargetForbidden),
                Some(target) if target.admitted == Admitted::ByLabels && self.are_labels_hidden => {
                    Some(Reason::TargetNotReady)
                }
                Some(target) if is_moved(target.location()) => Some(Reason::TargetForbidden),
                Some(target) => (!target.is_verified).then_some(Reason::TargetNotReady),
            },
        }
    }

    /// Whether the history of a submission can be read.
    pub(super) fn is_recoverable(&self, submission: &Submission) -> bool {
        let here = fixtures::location();
        submission.location() == here && self.location_of(submission.target.as_deref()) == Some(here)
    }

    /// Whether a decision goes where the pipeline is.
    pub(super) fn is_here(&self, decision: &ApprovalDecision) -> bool {
        self.location_of(name(decision)).is_none_or(|location| location == fixtures::location())
    }

    /// Whether decisions may have gone elsewhere.
    pub(super) fn was_elsewhere(&self) -> bool {
        self.account != CurrentAccount::First || self.scenario.target.is_some()
    }

    /// As whom CodePipeline sees the sender of a submission.
    pub(super) fn caller(&self, uid: &str, submission: &Submission) -> String {
        match &submission.session_name {
            Some(session) => format!("arn:aws:sts::{}:assumed-role/approver/{session}", submission.account_id),
            None => uid.to_owned(),
        }
    }
}
