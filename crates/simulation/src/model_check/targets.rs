//! The target of the decision: where it is, and whether it admits the decision. An administrator changes it at any time. There are two
//! places, and each has a pipeline of the same name, whose executions and tokens have the same ids too: whatever goes to the wrong
//! place succeeds there.

use super::codepipeline::CodePipeline;
use super::state::{State, Version, Violation};
use super::{Replicas, World};
use crate::fixtures::{self, Given};
use approval_operator::api::v1alpha1::{
    Access, ApprovalDecision, ApprovalStatus, ApprovalTarget, ApprovalTargetSpec, Location, Namespaces, Reason,
    Submission, TargetRef,
};
use approval_operator::codepipeline::SessionName;
use approval_operator::decision::phase::pinned_location;
use approval_operator::decision::{Phase, TargetObservation, Verification, current_reason};
use std::sync::Arc;

const NAME: &str = "prod";
const OTHER_ACCOUNT: &str = "210987654321";

/// The object of the other cluster, whose decision is the same otherwise.
const OTHER_CLUSTER: &str = "uid-of-the-other-cluster";

/// An account and region.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    Here,
    Elsewhere,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    pub place: Place,
    pub admits: bool,
    pub has_role: bool,
}

/// The target that the decision names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TargetState {
    /// The decision names none: it uses the operator's own identity.
    Unnamed,
    NotFound,
    Found(Target),
}

/// What an administrator does to the target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetChange {
    /// It is created in this place, after it was deleted in the other one.
    Create(Place),
    Delete,
    /// Access is withdrawn, or given back.
    Admit(bool),
}

impl Place {
    pub fn location(self) -> Location {
        let own = fixtures::location();
        match self {
            Self::Here => own,
            Self::Elsewhere => Location { account_id: OTHER_ACCOUNT.to_owned(), ..own },
        }
    }

    /// The place with this account.
    pub fn of_account(account_id: &str) -> Self {
        if account_id == OTHER_ACCOUNT { Self::Elsewhere } else { Self::Here }
    }

    /// Where a submission was sent.
    pub fn of(submission: &Submission) -> Self {
        Self::of_account(&submission.account_id)
    }

    /// Where a decision found its request, according to its status.
    fn of_pin(decision: &ApprovalDecision) -> Option<Self> {
        pinned_location(decision).map(|pinned| Self::of_account(&pinned.account_id))
    }
}

impl Target {
    pub const HERE: Self = Self { place: Place::Here, admits: true, has_role: true };

    fn object(self) -> ApprovalTarget {
        let Location { account_id, region } = self.place.location();
        let spec = ApprovalTargetSpec {
            role_arn: self.has_role.then(|| format!("arn:aws:iam::{account_id}:role/approver")),
            account_id,
            region,
            external_id: None,
            access: if self.admits { full_access() } else { Vec::new() },
            unsupported: None,
        };
        ApprovalTarget::new(NAME, spec)
    }
}

impl TargetState {
    /// Where the operator goes for the decision.
    pub const fn place(self) -> Option<Place> {
        match self {
            Self::Unnamed => Some(Place::Here),
            Self::NotFound => None,
            Self::Found(target) => Some(target.place),
        }
    }

    pub const fn admits(self) -> bool {
        match self {
            Self::Unnamed => true,
            Self::NotFound => false,
            Self::Found(target) => target.admits,
        }
    }

    pub const fn has_role(self) -> bool {
        matches!(self, Self::Found(Target { has_role: true, .. }))
    }

    /// What a reconcile observes.
    pub fn observation(self) -> TargetObservation {
        match self {
            Self::Unnamed => fixtures::own_identity(),
            Self::NotFound => TargetObservation::NotFound,
            Self::Found(target) => TargetObservation::Found {
                target: Arc::new(target.object()),
                namespace_labels: None,
                verification: Verification::Verified,
            },
        }
    }
}

impl State {
    /// CodePipeline in this place.
    pub const fn codepipeline_in(&self, place: Place) -> &CodePipeline {
        match place {
            Place::Here => &self.codepipeline,
            Place::Elsewhere => &self.elsewhere,
        }
    }

    pub const fn codepipeline_in_mut(&mut self, place: Place) -> &mut CodePipeline {
        match place {
            Place::Here => &mut self.codepipeline,
            Place::Elsewhere => &mut self.elsewhere,
        }
    }
}

impl World {
    pub fn target_ref(&self) -> Option<TargetRef> {
        let target = TargetRef { name: NAME.to_owned(), account_id: None, region: None };
        (self.target != TargetState::Unnamed).then_some(target)
    }
}

impl Replicas {
    /// An administrator changes the target. A target in another place has another poller, without subscribers.
    pub fn change_target(&self, state: &mut State, change: TargetChange) -> Option<()> {
        let initial = match self.world.target {
            TargetState::Found(initial) => initial,
            TargetState::Unnamed | TargetState::NotFound => return None,
        };
        let changed = match (change, state.target) {
            (TargetChange::Create(place), _) => TargetState::Found(Target { place, ..initial }),
            (TargetChange::Delete, _) => TargetState::NotFound,
            (TargetChange::Admit(admits), TargetState::Found(target)) => {
                TargetState::Found(Target { admits, ..target })
            }
            (TargetChange::Admit(_), TargetState::Unnamed | TargetState::NotFound) => return None,
        };
        if changed.place() != state.target.place() {
            state.operators.iter_mut().for_each(|operator| operator.subscription = None);
        }
        let is_change = std::mem::replace(&mut state.target, changed) != changed;
        is_change.then_some(())
    }

    /// As whom CodePipeline sees the sender of an object's result. Without a role, the operator does not know this name.
    pub fn caller(&self, uid: &str) -> String {
        if self.world.target.has_role() {
            format!("arn:aws:sts::123456789012:assumed-role/approver/{}", session_name(uid))
        } else {
            uid.to_owned()
        }
    }

    /// The decision of the other cluster.
    pub fn create_in_other_cluster(&self) -> Option<ApprovalDecision> {
        let created = self.create(&self.codepipeline)?;
        Some(created.with(|decision| decision.metadata.uid = Some(OTHER_CLUSTER.to_owned())))
    }

    /// As whom CodePipeline sees the operator of the other cluster.
    pub fn other_cluster(&self) -> String {
        self.caller(OTHER_CLUSTER)
    }

    /// A poll may read only where the decision may go; recovery, only where the submission was sent.
    pub fn may_read(&self, decision: &ApprovalDecision, target: Option<TargetState>) -> Result<(), Violation> {
        if self.world.target == TargetState::Unnamed {
            return Ok(());
        }
        let target = target.ok_or(Violation::Permission)?;
        match Phase::of(decision) {
            Phase::InDoubt(submission) | Phase::Unexplained(submission, _) => {
                if target.place() == Some(Place::of(submission)) { Ok(()) } else { Err(Violation::Place) }
            }
            Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) | Phase::Done => {
                if target.admits() {
                    Ok(())
                } else {
                    Err(Violation::Permission)
                }
            }
        }
    }

    /// Whether the target admits the decision, and is where the decision found its request.
    pub fn may_go(
        &self,
        state: &State,
        decision: &ApprovalDecision,
        polled_in: Option<Place>,
    ) -> Result<(), Violation> {
        if !state.target.admits() {
            return Err(Violation::Permission);
        }
        let is_other = |place: Place| state.target.place() != Some(place);
        let is_moved = Place::of_pin(decision).is_some_and(is_other) || polled_in.is_some_and(is_other);
        if is_moved { Err(Violation::Place) } else { Ok(()) }
    }

    /// The target reason that a decision must have in the end.
    pub fn target_reason(&self, state: &State, decision: &ApprovalDecision) -> Option<Reason> {
        match state.target {
            TargetState::Unnamed => None,
            TargetState::NotFound => Some(Reason::TargetNotFound),
            TargetState::Found(target) => {
                let is_moved = Place::of_pin(decision).is_some_and(|pinned| pinned != target.place);
                (!target.admits || is_moved).then_some(Reason::TargetForbidden)
            }
        }
    }

    /// Whether the history of a submission cannot be read.
    pub fn is_unrecoverable(&self, state: &State, live: &Version) -> bool {
        live.submission().is_some_and(|submission| state.target.place() != Some(Place::of(submission)))
    }

    /// Whether a decision that waits says where, so that it stays there.
    pub fn place_is_known(&self, live: &Version) -> bool {
        self.world.target == TargetState::Unnamed
            || current_reason(&live.decision) != Some(Reason::Waiting)
            || live.decision.status.as_ref().is_some_and(|status| status.account_id.is_some())
    }
}

pub fn full_access() -> Vec<Access> {
    vec![Access {
        namespaces: Namespaces { names: vec!["team".to_owned()], selector: None },
        pipelines: vec!["*".to_owned()],
        results: vec![ApprovalStatus::Approved, ApprovalStatus::Rejected],
    }]
}

/// Whether a response is by the operator of the object with this uid.
pub fn is_by(caller: &str, uid: &str) -> bool {
    caller == uid || SessionName::of_arn(caller).is_some_and(|session| session == session_name(uid))
}

fn session_name(uid: &str) -> String {
    let name = fixtures::fresh().metadata.name.unwrap_or_default();
    SessionName::of("team", &name, uid).to_string()
}
