//! The operator's world in memory: the service, the API server, two operators that carry out what `decide` says, and people.
//! Nothing happens, and no time passes, but by a [`Move`]. What must never happen is looked for wherever it could; what must
//! be true in the end is said by [`World::judge`]. The diary of a world is what a failing test prints.

mod operator;
mod service;

use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Reason, Standing, Token};
use crate::decision::fixtures::{self, Given, SETTINGS, SUMMARY};
use crate::decision::limits::{MARGIN, RECORD_PATIENCE};
use crate::decision::status::current_reason;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator::{Round, is_touched};
use service::{Service, State};
use std::collections::HashSet;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Move {
    /// An operator does what comes next; if it has nothing in hand, it begins a round.
    Step(Who, Fault),
    /// An operator that has nothing in hand begins a round from a view that is so many writes old.
    StepFromOldView(Who, usize),
    /// An operator loses all that it has in memory.
    Crash(Who),
    /// So many milliseconds pass.
    Pass(i64),
    /// Somebody else answers a request.
    SomebodyAnswers(Which, ApprovalStatus, Words),
    /// A pending request ends without an answer.
    TimeOut(Which),
    /// A pending request ends because the pipeline is edited.
    Cancel(Which),
    /// A new run takes a finished request's place in the state view.
    NewRun(Which),
    PipelineVanishes,
    Edit(Edit),
    /// A new value of the annotation.
    Annotate,
    /// The decision is deleted.
    Delete,
    /// … and created again as it was, by another uid.
    Restore,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    A,
    B,
}

/// A request, or the token of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    First,
    Second,
    Unknown,
}

/// The summary of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Words {
    Ours,
    Others,
    None,
}

#[derive(Clone, Copy, Debug)]
pub enum Edit {
    Token(Which),
    Answer(ApprovalStatus, Words),
    Suspend(bool),
    NoNotAfter,
    /// So many seconds from now.
    NotAfter(i64),
    /// A date that the schema admits and no calendar has.
    NotAfterInNoCalendar,
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
    /// By how many milliseconds the operators' clocks are ahead of the service's.
    pub clocks: [i64; 2],
    /// By how many milliseconds the service's history lags behind an answer.
    pub lag: i64,
    /// Whether history has nothing of a request until then, instead of calling it pending.
    pub unseen: bool,
}

pub type Checked = Result<(), String>;

pub struct World {
    setting: Setting,
    now: Timestamp,
    service: Service,
    /// Every version that the decision ever had, the live one last.
    versions: Vec<ApprovalDecision>,
    deleted: bool,
    rounds: [Option<Round>; 2],
    /// When each operator wants to look again.
    wake: [Option<Timestamp>; 2],
    /// The resourceVersions of the intents under which a request left.
    sent: HashSet<String>,
    diary: Vec<String>,
}

fn token(which: Which) -> Token {
    Token(format!("0a1b2c3d-0000-4000-8000-00000000000{}", which as usize))
}

fn summary(words: Words) -> &'static str {
    match words {
        Words::Ours => SUMMARY,
        Words::Others => "looks good to me",
        Words::None => "",
    }
}

fn uid(decision: &ApprovalDecision) -> String {
    decision.metadata.uid.clone().unwrap_or_default()
}

impl World {
    pub fn new(setting: Setting) -> Self {
        let mut world = Self {
            setting,
            now: fixtures::at(0),
            service: Service::default(),
            versions: Vec::new(),
            deleted: false,
            rounds: [None, None],
            wake: [None, None],
            sent: HashSet::new(),
            diary: Vec::new(),
        };
        world.store(fixtures::fresh().with(|decision| decision.spec.token = Some(token(Which::First))));
        world
    }

    /// Lives through the moves, and then in peace until the decision is settled; returns its last reason, if it is there.
    pub fn live_through(&mut self, moves: &[Move]) -> Result<Option<Reason>, String> {
        let checked = moves.iter().try_for_each(|next| self.make(next));
        checked
            .and_then(|()| self.come_to_rest())
            .and_then(|()| self.judge())
            .map_err(|wrong| format!("{wrong}\n{}", self.diary.join("\n")))
    }

    /// Whether the diary has these words.
    pub fn tells(&self, words: &str) -> bool {
        self.diary.iter().any(|line| line.contains(words))
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        let seconds = self.now.duration_since(fixtures::at(0)).as_millis() / 1000;
        self.diary.push(format!("{seconds:>8} s  {text}"));
    }

    fn live(&self) -> Option<&ApprovalDecision> {
        self.versions.last().filter(|_| !self.deleted)
    }

    fn clock(&self, who: Who) -> Timestamp {
        self.now + SignedDuration::from_millis(self.setting.clocks[who as usize])
    }

    fn make(&mut self, next: &Move) -> Checked {
        match *next {
            Move::Step(who, fault) => return self.step(who, fault),
            Move::StepFromOldView(who, age) => {
                if self.rounds[who as usize].is_none() && !self.deleted {
                    let version = self.versions.len().saturating_sub(1 + age);
                    self.note(format_args!("{who:?} sees version {version}"));
                    self.rounds[who as usize] = Some(Round::new(self.versions[version].clone()));
                    return self.step(who, Fault::None);
                }
            }
            Move::Crash(who) => {
                self.note(format_args!("{who:?} crashes"));
                self.rounds[who as usize] = None;
            }
            Move::Pass(milliseconds) => return self.pass(SignedDuration::from_millis(milliseconds)),
            Move::SomebodyAnswers(which, result, words) => {
                if self.put(&token(which), result, summary(words), "ada").is_ok() {
                    self.note(format_args!("somebody else answers the {which:?} request: {result}, {words:?}"));
                }
            }
            Move::TimeOut(which) => self.time_out(which),
            Move::Cancel(which) => self.cancel(which),
            Move::NewRun(which) => self.new_run(which),
            Move::PipelineVanishes => {
                self.note("the pipeline is deleted");
                self.service.vanished = true;
            }
            Move::Edit(edit) => self.edit(edit),
            Move::Annotate => {
                let value = self.versions.len().to_string();
                self.change("annotates the decision", |decision| decision.annotated(&value));
            }
            Move::Delete => {
                self.note("somebody deletes the decision");
                self.deleted = true;
            }
            Move::Restore => {
                self.note("somebody restores the decision");
                let (number, created) = (self.versions.len(), Time(self.now));
                self.deleted = false;
                self.change("has it", |decision| {
                    decision.with(|decision| {
                        decision.metadata.uid = Some(format!("uid-{number}"));
                        decision.metadata.creation_timestamp = Some(created);
                        decision.status = None;
                    })
                });
            }
        }
        Ok(())
    }

    /// Writes a version of the decision.
    fn store(&mut self, mut decision: ApprovalDecision) -> ApprovalDecision {
        decision.metadata.resource_version = Some(self.versions.len().to_string());
        self.versions.push(decision.clone());
        decision
    }

    fn change(&mut self, what: &str, change: impl FnOnce(ApprovalDecision) -> ApprovalDecision) {
        if let Some(decision) = self.live().cloned() {
            self.note(format_args!("somebody {what}"));
            self.store(change(decision));
        }
    }

    /// Edits the spec, unless it is locked as the CRD's rules have it.
    fn edit(&mut self, edit: Edit) {
        let Some(old) = self.live() else { return };
        let locked = current_reason(old)
            .is_some_and(|reason| matches!(reason.standing(), Standing::UnderWay | Standing::Settled));
        let mut spec = old.spec.clone();
        match edit {
            Edit::Token(which) => spec.token = Some(token(which)),
            Edit::Answer(status, words) => {
                spec.result.status = status;
                spec.result.summary = summary(words).to_owned();
            }
            Edit::Suspend(suspend) => spec.suspend = suspend,
            Edit::NoNotAfter => spec.not_after = None,
            Edit::NotAfter(seconds) => {
                spec = old.clone().not_after(self.now + SignedDuration::from_secs(seconds)).spec;
            }
            Edit::NotAfterInNoCalendar => spec = old.clone().not_after("2026-02-30T00:00:00Z").spec,
        }
        if spec != old.spec && !locked {
            let edited = |decision: ApprovalDecision| decision.with(|decision| decision.spec = spec).edited();
            self.change(&format!("edits the spec: {edit:?}"), edited);
        }
    }

    /// From now on nothing goes wrong, and time passes as the operators want it to.
    fn come_to_rest(&mut self) -> Checked {
        self.note("from now on nothing goes wrong");
        let end = self.now + SignedDuration::from_mins(30);
        // What operators had in hand before may be about an older version: only then do they look at the last.
        let mut idle = 0;
        while self.now < end {
            let written = self.versions.len();
            let mut pause = None;
            for who in [Who::A, Who::B] {
                for _ in 0..30 {
                    self.step(who, Fault::None)?;
                    if self.rounds[who as usize].is_none() {
                        break;
                    }
                }
                if self.rounds[who as usize].is_some() {
                    return Err(format!("{who:?} comes to no end of its round"));
                }
                let wake = self.wake[who as usize].map(|wake| wake.duration_since(self.clock(who)));
                pause = [pause, wake].into_iter().flatten().min();
            }
            match pause {
                Some(pause) => self.pass(pause.max(SignedDuration::from_millis(100)))?,
                None if written < self.versions.len() => idle = 0,
                None if idle < 2 => idle += 1,
                None => return self.pass(SETTINGS.aws_timeout),
            }
        }
        Err("the decision does not settle within half an hour in which nothing goes wrong".to_owned())
    }

    /// Whether the reason is what the history of this world has it, and whether Ready stayed True once it was.
    fn judge(&self) -> Result<Option<Reason>, String> {
        let Some(decision) = self.live() else { return Ok(None) };
        let is_settled =
            |decision| current_reason(decision).is_some_and(|reason| reason.standing() == Standing::Settled);
        if self
            .versions
            .windows(2)
            .any(|two| uid(&two[0]) == uid(&two[1]) && is_settled(&two[0]) && !is_settled(&two[1]))
        {
            return Err("Ready did not stay True".to_owned());
        }
        let reason = current_reason(decision).ok_or("the decision came to nothing")?;
        let (spec, status) = (&decision.spec, decision.status.clone().unwrap_or_default());
        let vanished = self.service.vanished;
        let request = spec
            .token
            .as_ref()
            .and_then(|token| self.service.find(token))
            .map(|number| &self.service.requests[number].state);
        let finished = match request {
            Some(State::Finished(finished)) => Some(finished),
            Some(State::Pending | State::Cancelled) | None => None,
        };
        let ours = self.service.taken.contains(&uid(decision));
        let same_result = finished.is_some_and(|finished| finished.result == Some(spec.result.status));
        // What the record cannot tell from our own answer.
        let twin = finished.is_some_and(|finished| {
            let in_time = status
                .submission
                .as_ref()
                .zip(finished.at)
                .is_some_and(|(submission, at)| submission.start_time - MARGIN <= at && at <= submission.deadline);
            let words = spec.result.summary.is_empty() || finished.summary.as_ref() == Some(&spec.result.summary);
            in_time && words && same_result
        });
        let proof_missing = vanished || self.setting.unseen || {
            let told = status.conditions.first().map(|ready| ready.last_transition_time);
            let began = status.submission.as_ref().map(|submission| submission.start_time);
            told.zip(began).is_some_and(|(told, began)| {
                told.duration_since(began) >= RECORD_PATIENCE - SignedDuration::from_secs(1)
            })
        };
        let not_after = spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let true_to_history = match reason {
            Reason::Delivered => (ours || twin) && finished.is_some_and(|finished| finished.at == status.approved_at),
            Reason::PipelineNotFound => vanished,
            _ if ours && !vanished => false,
            Reason::AlreadyDecided => same_result,
            Reason::ApprovalAlreadyCompleted => match request {
                Some(State::Finished(_)) => !same_result || proof_missing,
                Some(State::Cancelled) => true,
                Some(State::Pending) | None => false,
            },
            Reason::InvalidApprovalToken => matches!(request, None | Some(State::Cancelled)),
            Reason::Expired => {
                let latest = [Who::A, Who::B].map(|who| self.clock(who)).into_iter().max();
                not_after.is_some_and(|time| time.is_ok_and(|time| Some(time) <= latest))
                    || Some(fixtures::at(0) + SETTINGS.waiting_limit) <= latest
            }
            Reason::ValidationFailed => not_after.is_some_and(|time| time.is_err()),
            Reason::Suspended => spec.suspend,
            Reason::StageNotFound
            | Reason::ActionNotFound
            | Reason::Throttled
            | Reason::AccessDenied
            | Reason::ExecutionEnded
            | Reason::PipelineExecutionNotFound
            | Reason::AmbiguousRevision
            | Reason::Waiting
            | Reason::CredentialsUnavailable
            | Reason::ServiceUnavailable
            | Reason::Submitting
            | Reason::Unconfirmed => false,
        };
        if reason.standing() == Standing::Stalled && is_touched(decision) {
            return Err(format!("{} stayed though somebody mended the decision", reason.as_str()));
        }
        if true_to_history {
            Ok(Some(reason))
        } else {
            let seen = format!("ours was taken: {ours}, the request: {request:?}, the pipeline is gone: {vanished}");
            Err(format!("{} is not true ({seen})", reason.as_str()))
        }
    }
}
