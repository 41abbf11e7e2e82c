//! Random histories of one pipeline, in memory: CodePipeline (local-codepipeline's model), decisions at an API server, operator
//! replicas and users. Only a [`Move`] makes something happen or time pass. The replicas use the product's own
//! [`Reconciliation`](approval_operator::decision::Reconciliation),
//! [`PollSchedule`](approval_operator::codepipeline::PollSchedule) and
//! [`RejectionIndex`](approval_operator::controller::RejectionIndex). The simulation records the true states of CodePipeline, from
//! which it judges each request that arrives there, and what each decision reports. A failing test prints the log of its world.

mod acceptance;
mod actual_state;
pub mod aws;
mod checks;
mod final_state;
mod independence;
mod moves;
mod mutants;
mod operator;
mod oracle;
mod polls;
mod properties;
pub mod reader;
mod regressions;
mod rules;
mod scenario;
mod strategies;
mod targets;
mod users;
mod watch;

use crate::fixtures;
use approval_operator::api::v1alpha1::{ApprovalDecision, Location, ReadyClass, Reason};
use approval_operator::decision::{Decide, current_class, current_reason, decide};
use aws::Aws;
use jiff::{SignedDuration, Timestamp};
use moves::{
    ActionChoice, BindTo, DecisionChange, Fault, Move, NewDecision, PipelineChange, PollPlan, Replica, Shape, Summary,
};
use operator::Operator;
use reader::ShownExecution;
use scenario::Scenario;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use targets::Targets;

pub type Checked = Result<(), String>;

/// A decision at the API server.
#[derive(Default)]
struct StoredDecision {
    /// Every version that was ever written, newest last.
    versions: Vec<ApprovalDecision>,
    deleted: bool,
}

impl StoredDecision {
    fn live(&self) -> Option<&ApprovalDecision> {
        self.versions.last().filter(|_| !self.deleted)
    }
}

/// What the world drives.
#[derive(Clone, Copy)]
pub struct Subject {
    pub decide: Decide,
    pub shown: ShownExecution,
}

/// The operator as it is, and not a mutant.
pub const PRODUCT: Subject = Subject { decide, shown: |execution| execution };

pub struct World {
    subject: Subject,
    scenario: Scenario,
    aws: Mutex<Aws>,
    decisions: Vec<StoredDecision>,
    operators: [Operator; 2],
    /// The uids and resourceVersions of the recorded intents under which a request left.
    sent: HashSet<(String, Option<String>)>,
    account: CurrentAccount,
    targets: Targets,
    /// Whether the operators cannot read the labels of the namespace.
    are_labels_hidden: bool,
    /// When the last move was made.
    quiet_since: Option<Timestamp>,
}

/// The account of the replicas' credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CurrentAccount {
    /// It was the first one all the time.
    First,
    /// It is the first one again.
    FirstAgain,
    Other,
}

fn uid(decision: &ApprovalDecision) -> String {
    decision.metadata.uid.clone().unwrap_or_default()
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        Self::of(PRODUCT, scenario)
    }

    pub fn of(subject: Subject, scenario: Scenario) -> Self {
        let mut world = Self {
            subject,
            aws: Mutex::new(Aws::new(&scenario)),
            decisions: Vec::new(),
            operators: [Operator::default(), Operator::default()],
            sent: HashSet::new(),
            account: CurrentAccount::First,
            targets: Targets::new(),
            are_labels_hidden: false,
            quiet_since: None,
            scenario,
        };
        world.replicas().iter().for_each(|replica| world.complete_list(*replica));
        world.start([0, 0]);
        world.create_targets();
        for (number, decision) in world.scenario.decisions.clone().iter().enumerate() {
            world.create(number, decision);
        }
        world
    }

    /// Makes the moves, and then lets the replicas complete their work without faults. Returns the last reasons of the decisions.
    pub fn run(&mut self, moves: &[Move]) -> Result<Vec<Option<Reason>>, String> {
        let checked = moves.iter().try_for_each(|next| self.make(next));
        checked
            .and_then(|()| self.run_until_quiescent())
            .and_then(|()| self.check_final_state())
            .map_err(|violation| format!("{violation}\n{}", self.aws().log.join("\n")))
    }

    pub fn log_contains(&mut self, text: &str) -> bool {
        self.aws().log.iter().any(|line| line.contains(text))
    }

    fn aws(&mut self) -> &mut Aws {
        self.aws.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn operator(&mut self, replica: Replica) -> &mut Operator {
        &mut self.operators[replica as usize]
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        self.aws().note(text);
    }

    fn now(&mut self) -> Timestamp {
        self.aws().now
    }

    fn clock(&mut self, replica: Replica) -> Timestamp {
        let offset = SignedDuration::from_millis(self.scenario.clock_offsets[replica as usize]);
        self.now() + offset
    }

    fn make(&mut self, next: &Move) -> Checked {
        match next {
            Move::Step(replica, number, fault) => {
                self.step(self.existing(*replica), self.decision_number(*number), *fault)?;
            }
            Move::StepFromOldVersion(replica, number, age) => {
                self.step_from_old_version(self.existing(*replica), self.decision_number(*number), *age)?;
            }
            Move::ReconcileDue(replica) => {
                self.reconcile_due(self.existing(*replica))?;
            }
            Move::Poll(replica, plan) => self.poll(self.existing(*replica), plan),
            Move::Publish(replica) => self.publish(self.existing(*replica)),
            Move::Crash(replica) => self.crash(self.existing(*replica)),
            Move::DelayWatch(replica) => self.delay_watch(self.existing(*replica)),
            Move::ResumeWatch(replica) => self.resume_watch(self.existing(*replica)),
            Move::SwitchAccount => self.switch_account(),
            Move::Target(number, change) => self.change_target(*number, *change),
            Move::PassTime(milliseconds) => {
                self.replicas().iter().for_each(|replica| self.complete_list(*replica));
                self.aws().advance(SignedDuration::from_millis(*milliseconds));
            }
            Move::Pipeline(change) => self.aws().apply(change),
            Move::Decision(number, change) => self.change(self.decision_number(*number), change),
        }
        self.aws().violation.take().map_or(Ok(()), Err)
    }

    fn switch_account(&mut self) {
        self.account = match self.account {
            CurrentAccount::First | CurrentAccount::FirstAgain => CurrentAccount::Other,
            CurrentAccount::Other => CurrentAccount::FirstAgain,
        };
        let account = self.account;
        self.note(format_args!("the credentials are for another account: {account:?}"));
        if self.scenario.target.is_some() {
            // The operator verifies its own identity from time to time.
            self.wake_all();
        }
    }

    fn own_location(&self) -> Location {
        match self.account {
            CurrentAccount::First | CurrentAccount::FirstAgain => fixtures::location(),
            CurrentAccount::Other => Location { account_id: "210987654321".to_owned(), ..fixtures::location() },
        }
    }

    fn decision_number(&self, number: usize) -> usize {
        number % self.decisions.len()
    }

    /// The first replica stands in for a second one that does not exist.
    fn existing(&self, replica: Replica) -> Replica {
        if self.scenario.has_second_replica { replica } else { Replica::A }
    }

    fn replicas(&self) -> &'static [Replica] {
        if self.scenario.has_second_replica { &[Replica::A, Replica::B] } else { &[Replica::A] }
    }

    /// From here on there are no faults and no changes, and time passes to when the replicas have something to do.
    fn run_until_quiescent(&mut self) -> Checked {
        self.note("from now on nothing goes wrong");
        let start = self.now();
        self.quiet_since = Some(start);
        if self.account == CurrentAccount::Other {
            self.switch_account();
        }
        // Every lag and every back-off ends within this time.
        let earliest_end = start + SignedDuration::from_mins(15);
        for replica in self.replicas() {
            self.publish(*replica);
            self.resume_watch(*replica);
            self.complete_list(*replica);
        }
        for iteration in 0.. {
            if iteration > 10_000 {
                return Err("the replicas do not become quiescent".to_owned());
            }
            let mut worked = false;
            for replica in self.replicas() {
                worked |= self.reconcile_due(*replica)?;
                worked |= self.poll_if_due(*replica);
            }
            if let Some(violation) = self.aws().violation.take() {
                return Err(violation);
            }
            if worked {
                continue;
            }
            let now = self.now();
            let is_quiescent = self.decisions.iter().filter_map(StoredDecision::live).all(is_quiescent);
            // Approvals time out, and then other executions continue. The replicas must see that too.
            let changed_at = self.aws().newest().map_or(start, |newest| newest.at);
            let end = earliest_end.max(changed_at + SignedDuration::from_mins(6));
            // Some doubt never ends.
            if now > end && (is_quiescent || now > end + SignedDuration::from_hours(1)) {
                return Ok(());
            }
            let next = self.replicas().iter().filter_map(|replica| self.next_due(*replica)).min();
            let next = next.unwrap_or(Timestamp::MAX).min(now + SignedDuration::from_mins(1));
            self.aws().advance(next.max(now + SignedDuration::from_millis(100)).duration_since(now));
        }
        Ok(())
    }
}

/// Whether the operator has nothing in flight and retries nothing.
fn is_quiescent(decision: &ApprovalDecision) -> bool {
    match (current_reason(decision), current_class(decision)) {
        (Some(reason), _) => !matches!(reason.ready_class(), ReadyClass::Retrying | ReadyClass::InFlight),
        (None, class) => matches!(class, Some(ReadyClass::Settled | ReadyClass::Stalled)),
    }
}

fn seconds(time: Timestamp) -> i128 {
    time.duration_since(fixtures::at(0)).as_millis() / 1000
}
