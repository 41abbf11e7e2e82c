//! The properties that are checked in each state, and what has to happen in some state, or else they would hold for want of
//! anything happening.

use super::state::{Round, State, Version, Wrong};
use super::{Decide, Replicas, Setting};
use crate::api::v1alpha1::{ApprovalDecisionStatus, Reason};
use crate::decision::decide::Attempt;
use crate::decision::status::current_reason;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::time::Instant;

pub const RUN: &str = "nothing but the request that it names is answered";
pub const TRUTH: &str = "it is answered once, and the status says what the service has on record";
pub const CLOSED: &str = "nothing leaves that may not";
pub const SETTLES: &str = "it settles";

pub const BY_RECORD: &str = "Delivered, as the record tells";
pub const OVERTAKEN: &str = "somebody writes over an intent or an answer that an operator has in hand";
pub const ADRIFT: &str = "an attempt is under way beside a request that nobody waits for";
pub const AGAIN: &str = "it is asked again";
pub const RESTORED: &str = "it is answered after it was created anew";

pub fn all() -> Vec<Property<Replicas>> {
    let mut properties = vec![
        Property::always(RUN, |model: &Replicas, state| model.is_free_of(state, Wrong::Run)),
        Property::always(TRUTH, |model: &Replicas, state| model.is_free_of(state, Wrong::Truth)),
        Property::always(CLOSED, |model: &Replicas, state| model.is_free_of(state, Wrong::Open)),
        Property::always(SETTLES, |model: &Replicas, state| model.is_free_of(state, Wrong::Unsettled)),
        Property::sometimes(BY_RECORD, |_, state| {
            is(state, Reason::Delivered) && status(state).is_some_and(|status| status.decided_by.is_some())
        }),
        Property::sometimes(OVERTAKEN, |_, state| rounds(state).any(|round| is_overtaken(state, round))),
        Property::sometimes(ADRIFT, |_: &Replicas, state: &State| {
            let is_under_way = |round: &Round| !matches!(round.attempt, Attempt::None | Attempt::Answered(..));
            !state.adrift.is_empty() && rounds(state).any(is_under_way)
        }),
        Property::sometimes(AGAIN, |_, state| {
            let submission = status(state).and_then(|status| status.submission.as_ref());
            submission.is_some_and(|submission| submission.attempts > 1)
        }),
        Property::sometimes(RESTORED, |_: &Replicas, state: &State| state.lives > 1 && is(state, Reason::Delivered)),
    ];
    // One each, for what is checked has no memory of its own.
    macro_rules! reasons {
        ($($reason:ident),+) => {
            properties.extend([$(Property::sometimes(stringify!($reason), |_, state| is(state, Reason::$reason))),+])
        };
    }
    reasons!(Delivered, AlreadyDecided, ApprovalAlreadyCompleted, Unconfirmed, Throttled, Expired, Suspended, Waiting);
    properties
}

fn rounds(state: &State) -> impl Iterator<Item = &Round> {
    state.operators.iter().filter_map(|operator| operator.round.as_ref())
}

fn is_overtaken(state: &State, round: &Round) -> bool {
    let is_newer = |live: &Version| live.number != round.known.number;
    matches!(round.attempt, Attempt::Intended(_) | Attempt::Answered(..)) && state.live.as_ref().is_some_and(is_newer)
}

fn status(state: &State) -> Option<&ApprovalDecisionStatus> {
    state.live.as_ref()?.decision.status.as_ref()
}

fn is(state: &State, reason: Reason) -> bool {
    state.live.as_ref().and_then(|live| current_reason(&live.decision)) == Some(reason)
}

impl Replicas {
    /// Whether something is not wrong with a state, nor comes to be by itself.
    fn is_free_of(&self, state: &State, wrong: Wrong) -> bool {
        state.wrong.or_else(|| self.in_peace(state)) != Some(wrong)
    }
}

/// What a search found.
pub struct Found {
    /// The properties that do not hold.
    pub broken: Vec<&'static str>,
    /// What happens in some state.
    pub reached: Vec<&'static str>,
    /// How many states there are.
    pub states: usize,
    /// How many steps the state is away that takes the most.
    pub depth: usize,
}

/// Visits every state, on a thread of its own for the sake of the depth: more of them would not take the shortest way.
pub fn search(setting: &Setting, decide: Decide, until: HasDiscoveries) -> Found {
    let begin = Instant::now();
    let checker = Replicas::new(setting.clone(), decide).checker().finish_when(until).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth() - 1);
    println!(
        "{}: {states} states, {} with repetitions, {depth} steps deep, in {:.1?}; {:?}, jumps {:?}, edits {:?}",
        setting.name,
        checker.state_count(),
        begin.elapsed(),
        setting.budget,
        setting.jumps,
        setting.edits,
    );
    assert!(checker.is_done(), "the search ended before its time");
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
    Found { broken, reached, states, depth }
}
