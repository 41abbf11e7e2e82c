//! The properties that are checked in each state, and the situations that some state must reach, because otherwise the properties
//! would hold only for lack of events.

use super::state::{Reconcile, State, Version, Violation};
use super::targets::{Place, TargetState};
use super::users::OTHER_USER;
use super::{Replicas, Subject, World};
use approval_operator::api::v1alpha1::{ApprovalDecisionStatus, Reason};
use approval_operator::decision::{Attempt, current_reason, is_edited};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::time::Instant;

pub const BINDING: &str = "only a request that the decision names and that is not used up is answered";
pub const ACCURACY: &str = "a result is submitted once, and the status agrees with CodePipeline";
pub const DOUBT: &str = "nothing replaces a submission in doubt before its outcome is known";
pub const PERMISSION: &str = "no request leaves without permission";
pub const PLACE: &str =
    "a decision stays in the account where its request is, and recovery reads where the result was sent";
pub const ATTRIBUTION: &str = "where a session proves whose result was accepted, the status says whose";
pub const SETTLEMENT: &str = "the decision settles";

pub const DELIVERED_BY_HISTORY: &str = "Delivered, as history shows";
pub const OVERTAKEN: &str = "someone writes over an intent or a response that an operator still holds";
pub const ABANDONED: &str = "an attempt is in flight while an abandoned request is";
pub const RETRIED: &str = "the result is submitted again";
pub const RESTORED: &str = "a restored decision is Delivered";
pub const EDITED_IN_DOUBT: &str = "the decision is edited while a submission is in doubt";
pub const ANSWERED_AFTER_RETRY: &str = "a request is answered that a retried stage opened";
pub const DELIVERED_TWICE: &str = "an edited decision is Delivered again";
pub const DELIVERED_ELSEWHERE: &str = "a decision that was released is Delivered in the other account";
pub const IN_DOUBT_ELSEWHERE: &str = "a submission is in doubt while its target is in another account";
pub const DELIVERED_WITHOUT_ACCESS: &str = "Delivered, as history shows, while access is withdrawn";
pub const BOTH_SAY: &str = "one of two clusters says that its result was accepted, and the other one that it was not";
pub const MISTAKEN: &str = "the result of another cluster is taken for that of the decision";

pub fn all() -> Vec<Property<Replicas>> {
    let mut properties = vec![
        Property::always(BINDING, |model: &Replicas, state| model.is_free_of(state, Violation::Binding)),
        Property::always(ACCURACY, |model: &Replicas, state| model.is_free_of(state, Violation::Accuracy)),
        Property::always(DOUBT, |model: &Replicas, state| model.is_free_of(state, Violation::Doubt)),
        Property::always(PERMISSION, |model: &Replicas, state| model.is_free_of(state, Violation::Permission)),
        Property::always(PLACE, |model: &Replicas, state| {
            model.has_no_target() || model.is_free_of(state, Violation::Place)
        }),
        Property::always(ATTRIBUTION, |model: &Replicas, state| {
            model.has_no_target() || model.is_free_of(state, Violation::Attribution)
        }),
        Property::always(SETTLEMENT, |model: &Replicas, state| model.is_free_of(state, Violation::Settlement)),
        Property::sometimes(DELIVERED_BY_HISTORY, |_, state| {
            is(state, Reason::Delivered) && status(state).is_some_and(|status| status.decided_by.is_some())
        }),
        Property::sometimes(OVERTAKEN, |_, state| reconciles(state).any(|reconcile| is_overtaken(state, reconcile))),
        Property::sometimes(ABANDONED, |_: &Replicas, state: &State| {
            !state.abandoned.is_empty() && reconciles(state).any(is_in_flight)
        }),
        Property::sometimes(RETRIED, |_, state| {
            let submission = status(state).and_then(|status| status.submission.as_ref());
            submission.is_some_and(|submission| submission.attempts > 1)
        }),
        Property::sometimes(RESTORED, |_: &Replicas, state: &State| {
            state.incarnations > 1 && is(state, Reason::Delivered)
        }),
        Property::sometimes(EDITED_IN_DOUBT, |_: &Replicas, state: &State| {
            let live = state.live.as_ref().filter(|live| is_edited(&live.decision));
            live.and_then(Version::submission).is_some_and(|submission| submission.outcome.is_none())
        }),
        Property::sometimes(ANSWERED_AFTER_RETRY, |_: &Replicas, state: &State| {
            let is_by_others = |by: &str| by == OTHER_USER;
            let mut responses = state.codepipeline.responses().iter();
            responses.next().is_some_and(|first| is_by_others(&first.by))
                && responses.any(|response| !is_by_others(&response.by))
                && is(state, Reason::Delivered)
        }),
        Property::sometimes(DELIVERED_TWICE, |_: &Replicas, state: &State| {
            is(state, Reason::Delivered) && status(state).is_some_and(|status| !status.history.is_empty())
        }),
        Property::sometimes(DELIVERED_ELSEWHERE, |_, state| {
            is(state, Reason::Delivered) && place(state) == Some(Place::Elsewhere)
        }),
        Property::sometimes(IN_DOUBT_ELSEWHERE, |_, state| {
            is(state, Reason::Unconfirmed) && place(state) != state.target.place()
        }),
        Property::sometimes(DELIVERED_WITHOUT_ACCESS, |_, state| {
            let is_by_history = status(state).is_some_and(|status| status.decided_by.is_some());
            is(state, Reason::Delivered) && is_by_history && !state.target.admits()
        }),
        Property::sometimes(BOTH_SAY, |_: &Replicas, state: &State| {
            let reasons: Vec<_> = state.decisions().map(|live| current_reason(&live.decision)).collect();
            [Reason::Delivered, Reason::AlreadyDecided].iter().all(|reason| reasons.contains(&Some(*reason)))
        }),
        Property::sometimes(MISTAKEN, |model: &Replicas, state| {
            let by = status(state).and_then(|status| status.decided_by.clone());
            is(state, Reason::Delivered) && by == Some(model.other_cluster())
        }),
    ];
    // Stateright takes function pointers, which cannot capture a reason.
    macro_rules! reasons {
        ($($reason:ident),+) => {
            properties.extend([$(Property::sometimes(stringify!($reason), |_, state| is(state, Reason::$reason))),+])
        };
    }
    reasons!(
        Delivered,
        AlreadyDecided,
        ApprovalAlreadyCompleted,
        InvalidApprovalToken,
        ExecutionEnded,
        AmbiguousRevision,
        Unconfirmed,
        Throttled,
        Expired,
        Suspended,
        Waiting,
        ConflictingDecision,
        TargetNotFound,
        TargetForbidden
    );
    properties
}

fn reconciles(state: &State) -> impl Iterator<Item = &Reconcile> {
    state.operators.iter().filter_map(|operator| operator.reconcile.as_ref())
}

fn is_overtaken(state: &State, reconcile: &Reconcile) -> bool {
    let is_newer = |live: &Version| live.number != reconcile.known.number;
    matches!(reconcile.reconciliation.observed().attempt, Attempt::IntentRecorded(_) | Attempt::Submitted(..))
        && state.live.as_ref().is_some_and(is_newer)
}

fn is_in_flight(reconcile: &Reconcile) -> bool {
    match reconcile.reconciliation.observed().attempt {
        Attempt::NotPrepared(..) | Attempt::NotAllowed(..) | Attempt::IntentRecorded(_) => true,
        Attempt::None | Attempt::Submitted(..) => reconcile.in_flight.is_some(),
    }
}

fn status(state: &State) -> Option<&ApprovalDecisionStatus> {
    state.live.as_ref()?.decision.status.as_ref()
}

/// Where the last submission was sent.
fn place(state: &State) -> Option<Place> {
    status(state)?.submission.as_ref().map(Place::of)
}

fn is(state: &State, reason: Reason) -> bool {
    state.live.as_ref().and_then(|live| current_reason(&live.decision)) == Some(reason)
}

impl Replicas {
    fn has_no_target(&self) -> bool {
        self.world.target == TargetState::Unnamed
    }

    /// Whether a state has no such violation, and leads to none without further disturbances.
    fn is_free_of(&self, state: &State, violation: Violation) -> bool {
        state.violation.or_else(|| self.after_quiescence(state)) != Some(violation)
    }
}

/// What a search found.
pub struct SearchResult {
    /// The properties that do not hold.
    pub broken: Vec<&'static str>,
    /// The situations that some state reaches.
    pub reached: Vec<&'static str>,
    /// The number of states.
    pub states: usize,
    /// The number of steps to the most distant state.
    pub depth: usize,
}

/// Visits every state. One thread, because several would not find the shortest paths.
pub fn search(world: &World, subject: Subject, until: HasDiscoveries) -> SearchResult {
    let started = Instant::now();
    let checker = Replicas::new(world.clone(), subject).checker().finish_when(until).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth() - 1);
    println!(
        "{}: {states} states, {} with repetitions, {depth} steps deep, in {:.1?}; {:?}, jumps {:?}, edits {:?}",
        world.name,
        checker.state_count(),
        started.elapsed(),
        world.budget,
        world.time_jumps,
        world.edits,
    );
    assert!(checker.is_done(), "the search ended early");
    let (mut broken, mut reached) = (Vec::new(), Vec::new());
    for (name, path) in checker.discoveries() {
        match checker.model().property(name).expectation {
            Expectation::Always | Expectation::Eventually => {
                println!("broken: {name}, by {:?}", path.into_actions());
                broken.push(name);
            }
            Expectation::Sometimes => reached.push(name),
        }
    }
    SearchResult { broken, reached, states, depth }
}
