//! Random histories of one pipeline, in memory: CodePipeline (local-codepipeline's model), decisions at an API server, operator
//! replicas and users. Only a [`Move`] makes something happen or time pass. The replicas use the product's own
//! [`Reconciliation`](approval_operator::decision::Reconciliation) and
//! [`PollSchedule`](approval_operator::codepipeline::PollSchedule). The simulation records the true states of CodePipeline, from
//! which the oracle derives what each decision may report. A failing test prints the log of its world.

mod actual_state;
pub mod aws;
mod operator;
mod oracle;
mod polls;
mod properties;
pub mod reader;
mod regressions;
mod users;

use crate::fixtures;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalStatus, ReadyClass, Reason};
use approval_operator::decision::current_reason;
use aws::Aws;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{ExecutionMode, TokenRule};
use operator::Operator;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Move {
    /// A replica performs the next effect of a reconcile. If no reconcile of the decision is in progress, it starts one.
    Step(Replica, usize, Fault),
    /// A replica starts a reconcile from a version of the decision that is this many writes old.
    StepFromOldVersion(Replica, usize, usize),
    /// A replica performs all reconciles that are due.
    ReconcileDue(Replica),
    /// A replica polls the pipeline.
    Poll(Replica, PollPlan),
    /// A replica publishes the poll that it completed earlier.
    Publish(Replica),
    /// A replica loses everything that it has in memory.
    Crash(Replica),
    /// This many milliseconds pass.
    PassTime(i64),
    /// Someone changes the pipeline.
    Pipeline(PipelineChange),
    /// Someone changes a decision.
    Decision(usize, DecisionChange),
}

/// A replica of the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replica {
    A,
    B,
}

/// How a poll goes.
#[derive(Clone, Debug)]
pub struct PollPlan {
    /// How many milliseconds each call takes.
    pub call_milliseconds: i64,
    /// The call that fails.
    pub failing_call: Option<usize>,
    /// Someone changes the pipeline before this call.
    pub change: Option<(usize, PipelineChange)>,
    /// Whether the poll is published only later.
    pub published_later: bool,
}

/// Execution 0 is the newest. Request 0 is the one that has been pending for the longest time.
#[derive(Clone, Debug)]
pub enum PipelineChange {
    /// An execution starts, with a revision of each source.
    Start([usize; 2]),
    /// An action that is in progress, and not an approval, completes.
    Complete { execution: usize, succeeded: bool },
    /// Someone retries the stage in which an execution failed.
    Retry { execution: usize, all: bool },
    /// Someone stops an execution.
    Stop { execution: usize, abandon: bool },
    /// Someone else responds to a request.
    Respond { request: usize, result: ApprovalStatus, summary: Summary },
    /// Someone disables or enables the transition into the stage of the approval.
    SetTransition { is_enabled: bool },
    /// Someone saves the pipeline without changes.
    Save,
    /// Someone edits the pipeline.
    Redefine(Shape),
    /// Someone deletes the pipeline.
    Delete,
}

/// Which parts of the pipeline's definition exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    Whole,
    WithoutApproval,
    WithoutStage,
}

#[derive(Clone, Debug)]
pub enum DecisionChange {
    Bind(BindTo),
    SetResult(ApprovalStatus, Summary),
    Suspend(bool),
    ClearNotAfter,
    /// This many seconds from now.
    SetNotAfter(i64),
    SetAction(ActionChoice),
    /// Set the annotation to a new value.
    Annotate,
    Delete,
    /// Create the decision again as it was, with another uid.
    Restore,
}

/// The action that a decision names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActionChoice {
    Approval,
    /// The pipeline may not have it.
    SecondApproval,
    Unknown,
    NotAnApproval,
    InUnknownStage,
}

/// What a decision is bound to.
#[derive(Clone, Debug)]
pub enum BindTo {
    Execution(usize),
    UnknownExecution,
    /// A revision of one of the two sources, or of any.
    Revision(usize, Option<usize>),
    Token(usize),
}

/// The summary of a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Summary {
    Ours,
    Other,
    Empty,
}

/// What goes wrong with the next call, to CodePipeline or to the API server.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// It is refused, for a temporary cause.
    NotApplied,
    /// The request is lost.
    RequestLost,
    /// The request arrives, and the response is lost.
    ResponseLost,
    /// As [`Self::ResponseLost`], but a submission arrives this many milliseconds later.
    Slow(i64),
}

/// What differs between worlds.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub mode: ExecutionMode,
    /// Whether there is a stage before that of the approval.
    pub build: bool,
    /// Whether there is an action in parallel to the approval.
    pub check: bool,
    /// The action after the approval.
    pub ship: Option<ShipAction>,
    /// How long the source actions take.
    pub source_seconds: i64,
    /// Another approval.
    pub second_approval: Option<SecondApproval>,
    /// The timeout of the approvals.
    pub timeout_minutes: u32,
    pub summary_required: bool,
    /// In milliseconds: of tokens, starts, decisions and cancellations.
    pub lags: [i64; 4],
    pub tokens: TokenRule,
    /// Entries per page of a list.
    pub page_size: i64,
    /// By how many milliseconds the clock of each replica is ahead of CodePipeline's.
    pub clock_offsets: [i64; 2],
    /// Whether there is a second replica.
    pub has_second_replica: bool,
    /// The decisions at the start.
    pub decisions: Vec<NewDecision>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShipAction {
    InTheSameStage,
    InALaterStage,
}

/// Where the second approval is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecondApproval {
    InAnEarlierStage,
    BesideTheFirst,
}

/// A decision that someone creates.
#[derive(Clone, Debug)]
pub struct NewDecision {
    pub bind_to: BindTo,
    pub action: ActionChoice,
    pub result: ApprovalStatus,
    pub summary: Summary,
}

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

pub struct World {
    scenario: Scenario,
    aws: Mutex<Aws>,
    decisions: Vec<StoredDecision>,
    operators: [Operator; 2],
    /// The uids and resourceVersions of the recorded intents under which a request left.
    sent: HashSet<(String, Option<String>)>,
    /// When the last move was made.
    quiet_since: Option<Timestamp>,
}

fn uid(decision: &ApprovalDecision) -> String {
    decision.metadata.uid.clone().unwrap_or_default()
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let mut world = Self {
            aws: Mutex::new(Aws::new(&scenario)),
            decisions: Vec::new(),
            operators: [Operator::default(), Operator::default()],
            sent: HashSet::new(),
            quiet_since: None,
            scenario,
        };
        world.start([0, 0]);
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
            Move::Crash(replica) => {
                let replica = self.existing(*replica);
                self.note(format_args!("{replica:?} crashes"));
                *self.operator(replica) = Operator::default();
            }
            Move::PassTime(milliseconds) => self.aws().advance(SignedDuration::from_millis(*milliseconds)),
            Move::Pipeline(change) => self.aws().apply(change),
            Move::Decision(number, change) => self.change(self.decision_number(*number), change),
        }
        self.aws().violation.take().map_or(Ok(()), Err)
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
        // Every lag and every back-off ends within this time.
        let earliest_end = start + SignedDuration::from_mins(15);
        for replica in self.replicas() {
            self.publish(*replica);
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
            let is_quiescent = self.decisions.iter().filter_map(StoredDecision::live).all(|decision| {
                current_reason(decision)
                    .is_some_and(|reason| !matches!(reason.ready_class(), ReadyClass::Retrying | ReadyClass::InFlight))
            });
            // Approvals time out, and then other executions continue. The replicas must see that too.
            let changed_at = self.aws().newest().map_or(start, |newest| newest.at);
            if now > earliest_end.max(changed_at + SignedDuration::from_mins(6)) && is_quiescent {
                return Ok(());
            }
            let next = self.replicas().iter().filter_map(|replica| self.next_due(*replica)).min();
            let next = next.unwrap_or(Timestamp::MAX).min(now + SignedDuration::from_mins(1));
            self.aws().advance(next.max(now + SignedDuration::from_millis(100)).duration_since(now));
        }
        Ok(())
    }
}

fn seconds(time: Timestamp) -> i128 {
    time.duration_since(fixtures::at(0)).as_millis() / 1000
}
