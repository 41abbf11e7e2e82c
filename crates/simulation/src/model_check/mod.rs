//! A model checker. It visits every state of a small world: one or two operators with a decision, which names a request of one or two
//! executions; crashes, lost messages and old views; an owner who edits, suspends and deletes the decision; another decision that
//! rejects; users who complete approvals, retry stages and stop executions; a target that an administrator deletes, moves to another
//! account and withdraws access to; and another cluster with the same decision. As in Anvil, it checks the operator's own code:
//! `decide`, `status` and the reconcile loop, one effect at a time. Anything may happen between two effects.
//!
//! Each kind of disturbance has a budget, and time passes in jumps that are long enough to matter to `decide`. So the number of
//! states is finite. A poll does not build on the previous one, it reads everything at one moment, the cache of decisions that reject
//! does not lag, the target is verified and keeps or lacks its role, and the difference between clocks is constant; the randomized
//! simulation covers the rest.

mod calls;
mod codepipeline;
mod invariants;
mod loop_mutants;
mod mutants;
mod operator;
mod properties;
mod quiescence;
mod state;
mod targets;
mod users;
mod worlds;

use crate::fixtures;
use approval_operator::api::v1alpha1::ApprovalDecision;
use approval_operator::decision::{Decide, decide};
use codepipeline::{CodePipeline, PipelineChange};
use jiff::SignedDuration;
use local_codepipeline::model::ExecutionMode;
use loop_mutants::Defect;
use state::{Budget, InFlightRequest, Operator, State, Version, Violation};
use stateright::{Model, Property};
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use targets::{TargetChange, TargetState};
use users::{Bound, Edit, OtherResult};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Replica {
    A,
    B,
}

const REPLICAS: [Replica; 2] = [Replica::A, Replica::B];

/// The clusters of the operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Clusters {
    /// Both have the same decision.
    One,
    /// Each has an API server of its own, with a decision that says the same.
    Two,
}

/// How many earlier versions of the decision a watch may still show.
const PAST_VERSIONS: usize = 2;

/// What is checked.
#[derive(Clone, Copy)]
struct Subject {
    /// `decide`, or a mutant of it.
    decide: Decide,
    /// A defect of the reconcile loop.
    defect: Option<Defect>,
}

/// The operator as it is.
const PRODUCT: Subject = Subject { decide, defect: None };

/// What differs between the worlds that are searched.
#[derive(Clone, Debug)]
struct World {
    name: &'static str,
    bound: Bound,
    /// How the decision that rejects names its request, and the execution of that request.
    rejection: (Bound, usize),
    /// The execution that the decision is bound to; the older one is the first.
    execution: usize,
    mode: ExecutionMode,
    /// The revisions of the executions, oldest first.
    revisions: &'static [usize],
    /// Those in the other account, which the target may move to.
    elsewhere: &'static [usize],
    /// The target that the decision names.
    target: TargetState,
    /// What an administrator may do to it.
    target_changes: &'static [TargetChange],
    /// What others may respond.
    other_results: &'static [OtherResult],
    /// What users of the pipeline may do.
    changes: &'static [PipelineChange],
    /// The operators.
    replicas: &'static [Replica],
    /// Where they are.
    clusters: Clusters,
    /// How many seconds the operators' clocks are ahead of CodePipeline's.
    clocks: [i64; 2],
    /// What the owner may do.
    edits: &'static [Edit],
    /// How many seconds may pass at once.
    time_jumps: &'static [i64],
    budget: Budget,
}

/// A failure of the next effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    /// It is not applied, for a transient cause.
    NotApplied,
    /// The API server cannot be reached.
    Unreachable,
    /// It is written, and the response is lost.
    ResponseLost,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// An operator continues its reconcile, or starts one.
    Step(Replica, Fault),
    /// An operator starts a reconcile from a version that is this many writes old.
    StepFromOldView(Replica, usize),
    /// The request of an operator arrives. Its response may be lost.
    Arrive { replica: Replica, response_arrives: bool },
    /// The connection breaks while the request of an operator is in flight.
    Break(Replica),
    /// A request arrives whose sender no longer waits.
    ArriveLate(usize),
    /// The poller of an operator polls the pipeline.
    Poll(Replica, Fault),
    /// An operator loses everything in its memory.
    Crash(Replica),
    /// This many seconds pass.
    JumpTime(i64),
    /// Someone else completes the approval that has been pending longest.
    CompleteByOther(OtherResult),
    /// An administrator changes the target.
    ChangeTarget(TargetChange),
    /// Someone changes an execution.
    Change(PipelineChange),
    /// The owner does something.
    Edit(Edit),
}

/// Two operators with one decision.
struct Replicas {
    world: World,
    subject: Subject,
    /// The initial state of CodePipeline, and that of CodePipeline in the other account.
    codepipeline: CodePipeline,
    elsewhere: CodePipeline,
    /// The verdicts of [`Replicas::after_quiescence`] so far, by state.
    verdicts: Mutex<HashMap<u64, Option<Violation>>>,
}

impl Replicas {
    fn new(world: World, subject: Subject) -> Self {
        let codepipeline = CodePipeline::new(world.mode, world.revisions);
        let elsewhere = CodePipeline::new(world.mode, world.elsewhere);
        Self { world, subject, codepipeline, elsewhere, verdicts: Mutex::default() }
    }

    fn canonical(&self, state: State) -> State {
        let [a, b] = self.world.clocks;
        let are_alike = a == b && self.world.replicas == REPLICAS && self.world.clusters == Clusters::One;
        state.canonical(PAST_VERSIONS, are_alike)
    }

    fn is_waiting(&self, state: &State, replica: Replica) -> bool {
        state.operators[replica as usize].reconcile.as_ref().is_some_and(|reconcile| reconcile.in_flight.is_some())
    }

    /// The request of an operator arrives.
    fn arrive_and_respond(&self, state: &mut State, replica: Replica, response_arrives: bool) -> Option<()> {
        let request = state.operators[replica as usize].reconcile.as_ref()?.in_flight.clone()?;
        let response = self.arrive(state, &request);
        let received = if response_arrives { response } else { Err(fixtures::indeterminate()) };
        self.respond(state, replica, received).map(drop)
    }

    fn jump_time(&self, state: &mut State, seconds: i64) -> Option<()> {
        state.now += SignedDuration::from_secs(seconds);
        let is_late = |request: &InFlightRequest| request.arrives_by < state.now;
        // By then, the client has returned a response or a timeout.
        let mut waiting = state.operators.iter().filter_map(|operator| operator.reconcile.as_ref()?.in_flight.as_ref());
        if waiting.any(is_late) {
            return None;
        }
        state.abandoned.retain(|request| state.now <= request.arrives_by);
        Some(())
    }

    /// Lets an operator act on the API server of its cluster.
    fn in_cluster_of<T>(&self, state: &mut State, replica: Replica, act: impl FnOnce(&mut State) -> T) -> T {
        let is_other = self.world.clusters == Clusters::Two && replica == Replica::B;
        if is_other {
            std::mem::swap(&mut state.live, &mut state.other_live);
        }
        let acted = act(state);
        if is_other {
            std::mem::swap(&mut state.live, &mut state.other_live);
        }
        acted
    }

    fn perform(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Step(replica, fault) => {
                self.in_cluster_of(state, replica, |state| self.step(state, replica, None, fault)).map(drop)
            }
            Action::StepFromOldView(replica, age) => {
                let old = state.past.get(age)?.clone();
                self.in_cluster_of(state, replica, |state| self.step(state, replica, Some(old), Fault::None)).map(drop)
            }
            Action::Arrive { replica, response_arrives } => self.arrive_and_respond(state, replica, response_arrives),
            Action::Break(replica) => {
                let request = self.respond(state, replica, Err(fixtures::indeterminate()))?;
                state.abandoned.push(request);
                Some(())
            }
            Action::ArriveLate(index) => {
                let request = state.abandoned.remove(index);
                self.arrive(state, &request).ok();
                Some(())
            }
            Action::Poll(replica, fault) => self.in_cluster_of(state, replica, |state| {
                state.live.as_ref()?;
                self.poll(state, replica, fault)
            }),
            Action::Crash(replica) => {
                let operator = std::mem::take(&mut state.operators[replica as usize]);
                state.abandoned.extend(operator.reconcile.and_then(|reconcile| reconcile.in_flight));
                Some(())
            }
            Action::JumpTime(seconds) => self.jump_time(state, seconds),
            Action::CompleteByOther(result) => self.complete_by_other(state, result),
            Action::ChangeTarget(change) => self.change_target(state, change),
            Action::Change(change) => {
                // Nothing else happens at the same time.
                state.now += SignedDuration::from_millis(1);
                state.codepipeline.change(state.now, change)
            }
            Action::Edit(edit) => self.edit(state, edit),
        }
    }
}

/// Takes one from a budget.
fn spend(budget: &mut Budget, action: Action) {
    let spent = match action {
        Action::Step(_, Fault::None)
        | Action::Poll(_, Fault::None)
        | Action::Arrive { response_arrives: true, .. }
        | Action::ArriveLate(_) => return,
        Action::Step(..) | Action::Poll(..) | Action::Arrive { .. } | Action::Break(_) => &mut budget.faults,
        Action::StepFromOldView(..) => &mut budget.old_views,
        Action::Crash(_) => &mut budget.crashes,
        Action::JumpTime(_) => &mut budget.time_jumps,
        Action::CompleteByOther(_) => &mut budget.other_results,
        Action::ChangeTarget(_) => &mut budget.target_changes,
        Action::Change(_) => &mut budget.pipeline_changes,
        Action::Edit(_) => &mut budget.edits,
    };
    *spent = spent.saturating_sub(1);
}

impl Model for Replicas {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let version = |number, decision: ApprovalDecision| Version { number, decision: decision.into() };
        let live = self.create(&self.codepipeline).map(|decision| version(0, decision));
        let other_live = match self.world.clusters {
            Clusters::One => None,
            Clusters::Two => self.create_in_other_cluster().map(|decision| version(1, decision)),
        };
        vec![State {
            now: fixtures::at(0),
            codepipeline: self.codepipeline.clone(),
            elsewhere: self.elsewhere.clone(),
            target: self.world.target,
            live,
            other_live,
            past: Vec::new(),
            rejection: None,
            incarnations: 1,
            operators: [Operator::default(), Operator::default()],
            abandoned: Vec::new(),
            sent: BTreeSet::new(),
            left: self.world.budget,
            violation: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Only the first violation is reported.
        if state.violation.is_some() {
            return;
        }
        let left = state.left;
        for replica in self.world.replicas.iter().copied() {
            let operator = &state.operators[replica as usize];
            if self.is_waiting(state, replica) {
                actions.push(Action::Arrive { replica, response_arrives: true });
                if left.faults > 0 {
                    actions.extend([Action::Arrive { replica, response_arrives: false }, Action::Break(replica)]);
                }
            } else {
                actions.push(Action::Step(replica, Fault::None));
                if left.faults > 0 {
                    let faults = [Fault::NotApplied, Fault::Unreachable, Fault::ResponseLost];
                    actions.extend(faults.map(|fault| Action::Step(replica, fault)));
                }
                if left.old_views > 0 && operator.reconcile.is_none() {
                    actions.extend((0..state.past.len()).map(|age| Action::StepFromOldView(replica, age)));
                }
            }
            if operator.subscription.is_some() {
                actions.push(Action::Poll(replica, Fault::None));
                if left.faults > 0 {
                    actions.push(Action::Poll(replica, Fault::NotApplied));
                }
            }
            if left.crashes > 0 && *operator != Operator::default() {
                actions.push(Action::Crash(replica));
            }
        }
        actions.extend((0..state.abandoned.len()).map(Action::ArriveLate));
        if left.time_jumps > 0 {
            actions.extend(self.world.time_jumps.iter().map(|seconds| Action::JumpTime(*seconds)));
        }
        if left.other_results > 0 {
            actions.extend(self.world.other_results.iter().map(|result| Action::CompleteByOther(*result)));
        }
        if left.target_changes > 0 {
            actions.extend(self.world.target_changes.iter().map(|change| Action::ChangeTarget(*change)));
        }
        if left.pipeline_changes > 0 {
            actions.extend(self.world.changes.iter().map(|change| Action::Change(*change)));
        }
        if left.edits > 0 {
            actions.extend(self.world.edits.iter().map(|edit| Action::Edit(*edit)));
        }
    }

    fn next_state(&self, previous: &State, action: Action) -> Option<State> {
        let mut state = previous.clone();
        self.perform(&mut state, action)?;
        spend(&mut state.left, action);
        state.violation = self.check(&state);
        let state = self.canonical(state);
        (state != *previous).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
