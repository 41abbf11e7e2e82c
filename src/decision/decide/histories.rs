//! The operator's world around one pipeline, in memory: the local endpoint's model of CodePipeline with its runs, decisions
//! that are bound to them, operators that look, decide and send, and people. Nothing happens, and no time passes, but by a
//! [`Move`]; what the service did is written down in a chronicle, from which the oracle says what each decision had to
//! come to. The diary of a world is what a failing test prints.

pub mod aws;
mod operator;
mod oracle;
mod people;
mod properties;
pub mod reads;
mod views;

use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Reason, Standing};
use crate::decision::fixtures;
use crate::decision::status::current_reason;
use aws::Aws;
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::model::{ExecutionMode, TokenRule};
use operator::Operator;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Move {
    /// An operator does what comes next about a decision; if it has nothing in hand, it begins a round.
    Step(Who, usize, Fault),
    /// An operator that has nothing in hand begins a round from a view of the decision that is so many writes old.
    StepFromOldView(Who, usize, usize),
    /// An operator does all that is due, and what comes of it.
    Work(Who),
    /// An operator looks at the pipeline.
    Look(Who, Glance),
    /// What it saw comes to those who asked.
    Publish(Who),
    /// An operator loses all that it has in memory.
    Crash(Who),
    /// So many milliseconds pass.
    Pass(i64),
    /// Somebody does something to the pipeline.
    Pipeline(Deed),
    /// Somebody does something to a decision.
    Decision(usize, Change),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    A,
    B,
}

/// How a look goes.
#[derive(Clone, Debug)]
pub struct Glance {
    /// So many milliseconds pass before each of its calls.
    pub pace: i64,
    /// This call fails.
    pub fails: Option<usize>,
    /// What happens in front of a call of it.
    pub meanwhile: Option<(usize, Deed)>,
    /// Whether what it saw comes to those who asked only later.
    pub late: bool,
}

/// Runs are counted from the newest, requests from the one that waits longest.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A run begins, with a revision of each source.
    Start([usize; 2]),
    /// What is under way in a run, and is no approval, ends.
    Complete { run: usize, succeeded: bool },
    /// The stage is retried in which a run ended.
    Retry { run: usize, all: bool },
    /// A run is stopped.
    Stop { run: usize, abandon: bool },
    /// Somebody else answers a request.
    Answer { request: usize, result: ApprovalStatus, words: Words },
    /// The pipeline is saved as it is.
    Save,
    /// The approval's stage, or the approval alone, is taken out of the pipeline, or everything is put back.
    Redefine(Shape),
    /// The pipeline is deleted.
    Vanish,
}

/// What is left of a pipeline's definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    Whole,
    WithoutApproval,
    WithoutStage,
}

#[derive(Clone, Debug)]
pub enum Change {
    Bind(Bind),
    Answer(ApprovalStatus, Words),
    Suspend(bool),
    NoNotAfter,
    /// So many seconds from now.
    NotAfter(i64),
    /// The name of another action.
    OtherAction(Target),
    /// A new value of the annotation.
    Annotate,
    Delete,
    /// It is created again as it was, by another uid.
    Restore,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    Approval,
    NoSuchAction,
    NoApproval,
    NoSuchStage,
}

/// What a decision is bound to.
#[derive(Clone, Debug)]
pub enum Bind {
    Run(usize),
    UnknownRun,
    /// A revision, of one of the two sources or of any.
    Revision(usize, Option<usize>),
    Token(usize),
}

/// The summary of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Words {
    Ours,
    Others,
    None,
}

/// What goes wrong with the next call, be it to the service or to the API server.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// It is refused, for a cause that passes.
    NotTaken,
    /// It is lost on the way there.
    Lost,
    /// It arrives, and its answer is lost.
    AnswerLost,
    /// As [`Self::AnswerLost`], and an answer to an approval arrives so many milliseconds later.
    Slow(i64),
}

/// What differs between worlds.
#[derive(Clone, Debug)]
pub struct Setting {
    pub mode: ExecutionMode,
    /// A stage in front of the approval's.
    pub build: bool,
    /// An action beside the approval.
    pub check: bool,
    /// An action behind the approval.
    pub ship: Option<Ship>,
    /// How many seconds the sources take.
    pub source: i64,
    /// Of the approval, in minutes.
    pub timeout: u32,
    pub summary_required: bool,
    /// Milliseconds: of tokens, starts, decisions and cancellations.
    pub lags: [i64; 4],
    pub tokens: TokenRule,
    /// How many entries are on a page.
    pub page: i64,
    /// By how many milliseconds the operators' clocks are ahead of the service's.
    pub clocks: [i64; 2],
    /// Whether there is a second operator.
    pub second: bool,
    /// What the decisions are bound to at first, and when they answer how.
    pub decisions: Vec<(Bind, ApprovalStatus, Words)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ship {
    InTheSameStage,
    InALaterStage,
}

pub type Checked = Result<(), String>;

/// A decision at the API server.
#[derive(Default)]
struct Kept {
    /// Every version that it ever had, the live one last.
    versions: Vec<ApprovalDecision>,
    deleted: bool,
}

impl Kept {
    fn live(&self) -> Option<&ApprovalDecision> {
        self.versions.last().filter(|_| !self.deleted)
    }
}

pub struct World {
    setting: Setting,
    aws: Mutex<Aws>,
    decisions: Vec<Kept>,
    operators: [Operator; 2],
    /// The uids and resourceVersions of the intents under which a request left.
    sent: HashSet<(String, Option<String>)>,
}

fn uid(decision: &ApprovalDecision) -> String {
    decision.metadata.uid.clone().unwrap_or_default()
}

impl World {
    pub fn new(setting: Setting) -> Self {
        let mut world = Self {
            aws: Mutex::new(Aws::new(&setting)),
            decisions: Vec::new(),
            operators: [Operator::default(), Operator::default()],
            sent: HashSet::new(),
            setting,
        };
        world.start([0, 0]);
        for (number, (bind, result, words)) in world.setting.decisions.clone().into_iter().enumerate() {
            world.create(number, &bind, result, words);
        }
        world
    }

    /// Lives through the moves, and then in peace until nothing is left to do; returns the last reasons of the decisions.
    pub fn live_through(&mut self, moves: &[Move]) -> Result<Vec<Option<Reason>>, String> {
        let checked = moves.iter().try_for_each(|next| self.make(next));
        checked
            .and_then(|()| self.come_to_rest())
            .and_then(|()| self.judge())
            .map_err(|wrong| format!("{wrong}\n{}", self.aws().diary.join("\n")))
    }

    /// Whether the diary has these words.
    pub fn tells(&mut self, words: &str) -> bool {
        self.aws().diary.iter().any(|line| line.contains(words))
    }

    fn aws(&mut self) -> &mut Aws {
        self.aws.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        self.aws().note(text);
    }

    fn now(&mut self) -> Timestamp {
        self.aws().now
    }

    fn clock(&mut self, who: Who) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.setting.clocks[who as usize]);
        self.now() + ahead
    }

    fn make(&mut self, next: &Move) -> Checked {
        match next {
            Move::Step(who, number, fault) => self.step(self.second(*who), self.which(*number), *fault)?,
            Move::StepFromOldView(who, number, age) => {
                self.step_from_old_view(self.second(*who), self.which(*number), *age)?;
            }
            Move::Work(who) => {
                self.work(self.second(*who))?;
            }
            Move::Look(who, glance) => self.look_at_pipeline(self.second(*who), glance),
            Move::Publish(who) => self.publish(self.second(*who)),
            Move::Crash(who) => {
                let who = self.second(*who);
                self.note(format_args!("{who:?} crashes"));
                self.operators[who as usize] = Operator::default();
            }
            Move::Pass(milliseconds) => self.aws().pass(SignedDuration::from_millis(*milliseconds)),
            Move::Pipeline(deed) => self.aws().perform(deed),
            Move::Decision(number, change) => self.change(self.which(*number), change),
        }
        self.aws().wrong.take().map_or(Ok(()), Err)
    }

    fn which(&self, number: usize) -> usize {
        number % self.decisions.len()
    }

    /// What the second operator would do, the only one does.
    fn second(&self, who: Who) -> Who {
        if self.setting.second { who } else { Who::A }
    }

    fn whos(&self) -> &'static [Who] {
        if self.setting.second { &[Who::A, Who::B] } else { &[Who::A] }
    }

    /// From now on nothing goes wrong and nobody does anything, and time passes as the operators want it to.
    fn come_to_rest(&mut self) -> Checked {
        self.note("from now on nothing goes wrong");
        let begin = self.now();
        // As long as a lag or a patience of anybody's may last, and then until nothing is left to do.
        let least = begin + SignedDuration::from_mins(15);
        for who in self.whos() {
            self.publish(*who);
        }
        for rounds in 0.. {
            if rounds > 10_000 {
                return Err("the operators come to no rest".to_owned());
            }
            let mut worked = false;
            for who in self.whos() {
                worked |= self.work(*who)?;
                worked |= self.look_if_due(*who, begin);
            }
            if let Some(wrong) = self.aws().wrong.take() {
                return Err(wrong);
            }
            if worked {
                continue;
            }
            let now = self.now();
            let is_at_rest = self.decisions.iter().filter_map(Kept::live).all(|decision| {
                current_reason(decision)
                    .is_some_and(|reason| !matches!(reason.standing(), Standing::Retrying | Standing::UnderWay))
            });
            // Approvals time out, and the runs behind them move on: that is to be seen too.
            let moved = self.aws().newest().map_or(begin, |newest| newest.at);
            if now > least.max(moved + SignedDuration::from_mins(6)) && is_at_rest {
                return Ok(());
            }
            let next = self.whos().iter().filter_map(|who| self.next_due(*who, begin)).min();
            let next = next.unwrap_or(Timestamp::MAX).min(now + SignedDuration::from_mins(1));
            self.aws().pass(next.max(now + SignedDuration::from_millis(100)).duration_since(now));
        }
        Ok(())
    }
}

fn seconds(time: Timestamp) -> i128 {
    time.duration_since(fixtures::at(0)).as_millis() / 1000
}
