//! Every history of a small world, to an end: two operators over one decision that is bound to one of two runs, with crashes,
//! lost messages and old views, an owner who edits, suspends and deletes, and somebody else who answers. Anvil's method: what
//! is checked is the operator's own `decide` and `status`, called once an effect, and everything between two effects may happen.
//!
//! Each kind of disturbance has a budget, and time passes by jumps that are long enough to matter to `decide`. So there are
//! finitely many states, all of which are visited. Looks are first looks, records are read at once, and clocks differ by a
//! fixed time: what comes of that the random histories beside this module try.

mod mutants;
mod operator;
mod peace;
mod people;
mod properties;
mod service;
mod state;
mod truth;
mod worlds;

use super::{Observed, Step};
use crate::api::v1alpha1::ApprovalStatus;
use crate::decision::decide::histories::Who;
use crate::decision::fixtures::{self};
use crate::decision::limits::Settings;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::ExecutionMode;
use people::{Bound, Edit};
use service::CodePipeline;
use state::{Budget, Letter, Operator, State, Version, Wrong};
use stateright::{Model, Property};
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

const WHO: [Who; 2] = [Who::A, Who::B];

/// How many earlier versions of the decision a watch may still show.
const MEMORY: usize = 2;

/// What is checked: `decide`, or a mutant of it.
type Decide = fn(&Observed<'_>, &Settings, Timestamp) -> Step;

/// What differs between the worlds that are searched.
#[derive(Clone, Debug)]
struct Setting {
    name: &'static str,
    bound: Bound,
    /// To which run, the older one being the first.
    run: usize,
    mode: ExecutionMode,
    /// By how many seconds the operators' clocks are ahead of the service's.
    clocks: [i64; 2],
    /// What the owner may do.
    edits: &'static [Edit],
    /// How many seconds may pass at once.
    jumps: &'static [i64],
    budget: Budget,
}

/// What goes wrong with the next effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    /// It is refused, for a cause that passes.
    NotTaken,
    /// The API server cannot be reached.
    Unreachable,
    /// It is written, and the answer is lost.
    AnswerLost,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// An operator does what comes next; if it has nothing in hand, it begins a round.
    Step(Who, Fault),
    /// … from a version that is so many writes old.
    StepFromOldView(Who, usize),
    /// The request that an operator waits for arrives, and its answer may be lost.
    Arrive(Who, bool),
    /// The connection breaks while the request is on its way.
    Break(Who),
    /// A request arrives that nobody waits for.
    ArriveLate(usize),
    /// An operator looks at the pipeline anew.
    Look(Who),
    /// An operator loses all that it has in memory.
    Crash(Who),
    Pass(i64),
    /// Somebody else answers the request that waits longest.
    Answer(ApprovalStatus),
    /// The owner does something.
    Edit(Edit),
}

/// Two operators over one decision.
struct Replicas {
    setting: Setting,
    decide: Decide,
    /// The service as it is at first.
    service: CodePipeline,
    /// What states come to in peace, as far as that is known.
    peace: Mutex<HashMap<u64, Option<Wrong>>>,
}

impl Replicas {
    fn new(setting: Setting, decide: Decide) -> Self {
        let service = CodePipeline::new(setting.mode);
        Self { setting, decide, service, peace: Mutex::default() }
    }

    fn canonical(&self, state: State) -> State {
        let [a, b] = self.setting.clocks;
        state.canonical(MEMORY, a == b)
    }

    fn is_waiting(&self, state: &State, who: Who) -> bool {
        state.operators[who as usize].round.as_ref().is_some_and(|round| round.waits_for.is_some())
    }

    /// The request that an operator waits for arrives.
    fn hear(&self, state: &mut State, who: Who, answered: bool) -> Option<()> {
        let letter = state.operators[who as usize].round.as_ref()?.waits_for.clone()?;
        let answer = self.arrive(state, &letter);
        let heard = if answered { answer } else { Err(fixtures::lost()) };
        self.answered(state, who, heard).map(drop)
    }

    fn pass(&self, state: &mut State, seconds: i64) -> Option<()> {
        state.now += SignedDuration::from_secs(seconds);
        let late = |letter: &Letter| letter.arrives_by < state.now;
        // An operator hears of its request before that, be it that the time for it is over.
        let waiting = state.operators.iter().filter_map(|operator| operator.round.as_ref()?.waits_for.as_ref());
        if waiting.into_iter().any(late) {
            return None;
        }
        state.adrift.retain(|letter| state.now <= letter.arrives_by);
        Some(())
    }

    fn make(&self, state: &mut State, action: &Action) -> Option<()> {
        match *action {
            Action::Step(who, fault) => self.step(state, who, None, fault).map(drop),
            Action::StepFromOldView(who, age) => {
                let old = state.past.get(age)?.clone();
                self.step(state, who, Some(old), Fault::None).map(drop)
            }
            Action::Arrive(who, answered) => self.hear(state, who, answered),
            Action::Break(who) => {
                let letter = self.answered(state, who, Err(fixtures::lost()))?;
                state.adrift.push(letter);
                Some(())
            }
            Action::ArriveLate(which) => {
                let letter = state.adrift.remove(which);
                self.arrive(state, &letter).ok();
                Some(())
            }
            Action::Look(who) => {
                let live = state.live.clone()?;
                self.look(state, who, &live.decision, Fault::None).map(drop)
            }
            Action::Crash(who) => {
                let operator = std::mem::take(&mut state.operators[who as usize]);
                state.adrift.extend(operator.round.and_then(|round| round.waits_for));
                Some(())
            }
            Action::Pass(seconds) => self.pass(state, seconds),
            Action::Answer(status) => self.answer(state, status),
            Action::Edit(edit) => self.edit(state, edit),
        }
    }
}

/// Takes one from a budget.
fn spend(budget: &mut Budget, action: &Action) {
    let purse = match action {
        Action::Step(_, Fault::None) | Action::Arrive(_, true) | Action::ArriveLate(_) | Action::Look(_) => return,
        Action::Step(..) | Action::Arrive(_, false) | Action::Break(_) => &mut budget.faults,
        Action::StepFromOldView(..) => &mut budget.old_views,
        Action::Crash(_) => &mut budget.crashes,
        Action::Pass(_) => &mut budget.passes,
        Action::Answer(_) => &mut budget.answers,
        Action::Edit(_) => &mut budget.edits,
    };
    *purse = purse.saturating_sub(1);
}

impl Model for Replicas {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let live = self.create(&self.service).map(|decision| Version { number: 0, decision: decision.into() });
        vec![State {
            now: fixtures::at(0),
            service: self.service.clone(),
            live,
            past: Vec::new(),
            lives: 1,
            operators: [Operator::default(), Operator::default()],
            adrift: Vec::new(),
            posted: BTreeSet::new(),
            left: self.setting.budget,
            wrong: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes of a wrong is not looked at: the first thing that breaks is what is told.
        if state.wrong.is_some() {
            return;
        }
        let left = state.left;
        for who in WHO {
            let operator = &state.operators[who as usize];
            if self.is_waiting(state, who) {
                actions.push(Action::Arrive(who, true));
                if left.faults > 0 {
                    actions.extend([Action::Arrive(who, false), Action::Break(who)]);
                }
            } else {
                actions.push(Action::Step(who, Fault::None));
                if left.faults > 0 {
                    let faults = [Fault::NotTaken, Fault::Unreachable, Fault::AnswerLost];
                    actions.extend(faults.map(|fault| Action::Step(who, fault)));
                }
                if left.old_views > 0 && operator.round.is_none() {
                    actions.extend((0..state.past.len()).map(|age| Action::StepFromOldView(who, age)));
                }
            }
            if operator.question.is_some() {
                actions.push(Action::Look(who));
            }
            if left.crashes > 0 && *operator != Operator::default() {
                actions.push(Action::Crash(who));
            }
        }
        actions.extend((0..state.adrift.len()).map(Action::ArriveLate));
        if left.passes > 0 {
            actions.extend(self.setting.jumps.iter().map(|seconds| Action::Pass(*seconds)));
        }
        if left.answers > 0 {
            actions.extend([ApprovalStatus::Approved, ApprovalStatus::Rejected].map(Action::Answer));
        }
        if left.edits > 0 {
            actions.extend(self.setting.edits.iter().map(|edit| Action::Edit(*edit)));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.make(&mut state, &action)?;
        spend(&mut state.left, &action);
        state.wrong = self.judge(&state);
        let state = self.canonical(state);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
