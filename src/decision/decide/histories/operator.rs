//! What an operator does: the rounds of `reconcile`, an effect a step, against the API server of the world.

use super::aws::Letter;
use super::reads::{Calls, in_short};
use super::views::Looks;
use super::{Checked, Fault, Who, World, uid};
use crate::api::v1alpha1::{ApprovalDecision, Binding, Reason, Standing, Token};
use crate::codepipeline::{Ask, CallError, Cause, Request, Want, record};
use crate::decision::decide::{Attempt, Observed, RecordReading, Sight, Step, decide};
use crate::decision::fixtures::{self, SETTINGS};
use crate::decision::outcome::{Intent, Next as NextRound, Outcome};
use crate::decision::progress::{execution_ids, requested_at, stands, submission};
use crate::decision::status::{current_reason, is_still_to_tell, is_told, message, status};
use futures::FutureExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What an operator has in memory.
#[derive(Default)]
pub struct Operator {
    pub looks: Looks,
    rounds: BTreeMap<usize, Round>,
    /// The decisions that it has nothing to do about, and until when. About all others there is a round to begin.
    rest: BTreeMap<usize, Option<Timestamp>>,
    /// … and about these, since something happened after the last round over them began.
    woken: BTreeSet<usize>,
}

impl Operator {
    /// There is a round to begin.
    pub fn wake(&mut self, number: usize) {
        self.woken.insert(number);
    }

    /// There is nothing to do about a decision that is gone, but to end what is begun.
    pub fn forget(&mut self, number: usize) {
        self.looks.forget(number);
        self.woken.remove(&number);
        self.rest.insert(number, None);
    }

    pub fn next_wake(&self) -> Option<Timestamp> {
        self.rest.values().flatten().min().copied()
    }

    fn has_to_do(&self, number: usize, now: Timestamp) -> bool {
        let rests = |until: &Option<Timestamp>| until.is_none_or(|until| now < until);
        self.rounds.contains_key(&number) || self.woken.contains(&number) || !self.rest.get(&number).is_some_and(rests)
    }
}

/// What it has in memory about a decision while it works at it.
pub struct Round {
    pub decision: ApprovalDecision,
    pub attempt: Attempt,
    pub record: Option<RecordReading>,
    pub sight: Option<Sight>,
    /// What came of a request that was sent, until it is written.
    unwritten: Option<Outcome>,
}

enum Written {
    Done,
    Outdated,
    Gone,
    Failed,
}

/// Whether there is more to do in this round.
#[allow(clippy::large_enum_variant, reason = "there are few of them at a time")]
enum Next {
    Step(Round),
    /// Nothing, until then or until the decision changes; of the pipeline nothing is to be seen.
    Rest(Option<Timestamp>),
    /// Nothing, until there is something to see, or until then.
    Watch(Timestamp),
}

impl Round {
    fn new(decision: ApprovalDecision) -> Self {
        Self { decision, attempt: Attempt::None, record: None, sight: None, unwritten: None }
    }

    /// What was seen before is seen no more.
    fn blink(mut self) -> Self {
        (self.record, self.sight) = (None, None);
        self
    }
}

impl World {
    /// An operator does all that is due; says whether that was anything.
    pub(super) fn work(&mut self, who: Who) -> Result<bool, String> {
        let mut worked = false;
        for number in 0..self.decisions.len() {
            let now = self.clock(who);
            if !self.operators[who as usize].has_to_do(number, now) {
                continue;
            }
            worked = true;
            for steps in 0.. {
                self.step(who, number, Fault::None)?;
                if !self.operators[who as usize].rounds.contains_key(&number) {
                    break;
                }
                if steps > 40 {
                    return Err(format!("{who:?} comes to no end of its round"));
                }
            }
        }
        Ok(worked)
    }

    pub(super) fn step_from_old_view(&mut self, who: Who, number: usize, age: usize) -> Checked {
        let kept = &self.decisions[number];
        if kept.deleted || self.operators[who as usize].rounds.contains_key(&number) {
            return Ok(());
        }
        let version = kept.versions.len().saturating_sub(1 + age);
        let decision = kept.versions[version].clone();
        self.note(format_args!("{who:?} sees version {version} of decision {number}"));
        self.operators[who as usize].rounds.insert(number, Round::new(decision));
        self.step(who, number, Fault::None)?;
        // The newer version will come to be seen.
        self.operators[who as usize].wake(number);
        Ok(())
    }

    /// An operator does what comes next about a decision, and checks that it may.
    pub(super) fn step(&mut self, who: Who, number: usize, fault: Fault) -> Checked {
        let live = self.decisions[number].live().cloned();
        let operator = &mut self.operators[who as usize];
        let in_hand = operator.rounds.remove(&number);
        if in_hand.is_none() {
            operator.woken.remove(&number);
        }
        let Some(round) = in_hand.or_else(|| live.map(Round::new)) else {
            operator.rest.insert(number, None);
            return Ok(());
        };
        let next = self.step_of(who, number, round, fault)?;
        // About what is gone there is nothing to do.
        let next = match (next, self.decisions[number].live()) {
            (Next::Rest(_) | Next::Watch(_), None) => Next::Rest(None),
            (next, _) => next,
        };
        let operator = &mut self.operators[who as usize];
        match next {
            Next::Step(round) => {
                operator.rounds.insert(number, round);
            }
            Next::Rest(until) => {
                operator.looks.forget(number);
                operator.rest.insert(number, until);
            }
            Next::Watch(until) => {
                operator.rest.insert(number, Some(until));
            }
        }
        Ok(())
    }

    fn step_of(&mut self, who: Who, number: usize, mut round: Round, fault: Fault) -> Result<Next, String> {
        let now = self.clock(who);
        if let Some(outcome) = round.unwritten.take() {
            return self.settle(who, number, round, outcome, fault);
        }
        let seen = Observed {
            decision: &round.decision,
            attempt: &round.attempt,
            record: round.record.as_ref(),
            sight: round.sight.as_ref(),
        };
        match decide(&seen, &SETTINGS, now) {
            Step::Rest => Ok(Next::Rest(None)),
            Step::WaitUntil(time) => Ok(Next::Rest(Some(time))),
            Step::WaitForNews { again, until } => Ok(self.look_for(who, number, round, again, until)),
            Step::Look(until) => {
                round.sight = None;
                Ok(self.look_for(who, number, round, None, until))
            }
            Step::ReadRecord(token) => {
                let ids = execution_ids(&round.decision);
                let calls = Calls::under(&self.aws, self.setting.page, fault);
                let request = Request { spec: &round.decision.spec, token: &token, ids: &ids };
                let result = record(&calls, request).now_or_never().ok_or("the record comes to no end")?;
                self.note(format_args!("{who:?} reads the record: {}", in_short(&result)));
                round.record = Some(RecordReading { begun: now, result });
                Ok(Next::Step(round))
            }
            Step::Intend(intent) if matches!(fault, Fault::NotTaken) => {
                self.note(format_args!("{who:?} finds no credentials"));
                round.attempt = Attempt::NotPrepared(intent, fixtures::not_taken(Cause::CredentialsUnavailable));
                Ok(Next::Step(round.blink()))
            }
            Step::Intend(intent) => self.intend(who, number, round, intent, fault),
            Step::Send { intent, latest: _ } => {
                self.check_send(number, &round.decision, &intent, now)?;
                let answer = self.send(who, &round.decision, &intent.submission.token, fault);
                let sent = self.clock(who);
                self.operators[who as usize].looks.outdate(sent);
                round.attempt = Attempt::Answered(intent, answer);
                Ok(Next::Step(round.blink()))
            }
            Step::Settle(outcome) => self.settle(who, number, round, outcome, fault),
        }
    }

    /// Looks at what was seen, if it is new.
    fn look_for(
        &mut self,
        who: Who,
        number: usize,
        mut round: Round,
        again: Option<Timestamp>,
        until: Timestamp,
    ) -> Next {
        let want = round.sight.as_ref().map_or(Want::Any, |sight| Want::NewTo(sight.reading.clone(), again));
        let (spec, now) = (&round.decision.spec, self.clock(who));
        let run = match spec.binding() {
            Ok(Binding::Run(run)) => run.into(),
            Ok(Binding::Token(_)) | Err(_) => return Next::Watch(until),
        };
        let ask = Ask { stage: spec.stage_name.clone(), action: spec.action_name.clone(), run };
        let question = (uid(&round.decision), round.decision.metadata.generation, requested_at(&round.decision));
        let (asked, reading) = self.operators[who as usize].looks.ask(number, question, ask, want, now);
        match reading {
            Some(reading) => {
                round.sight = Some(Sight { asked, reading });
                round.record = None;
                Next::Step(round)
            }
            None => Next::Watch(until),
        }
    }

    fn intend(
        &mut self,
        who: Who,
        number: usize,
        mut round: Round,
        intent: Intent,
        fault: Fault,
    ) -> Result<Next, String> {
        self.check_intent(number, &round.decision)?;
        self.check_choice(who, &round)?;
        let (attempts, earlier) = (intent.submission.attempts, intent.earlier);
        self.note(format_args!("{who:?} intends attempt {attempts} of decision {number} ({earlier:?})"));
        match self.write(who, number, &mut round, &Outcome::Submitting(intent.clone()), fault) {
            Written::Done => round.attempt = Attempt::Intended(intent),
            Written::Outdated => round.attempt = Attempt::None,
            Written::Gone => return Ok(Next::Rest(None)),
            Written::Failed => return Ok(Next::Watch(self.clock(who))),
        }
        Ok(Next::Step(round.blink()))
    }

    /// Nothing is begun over a decision that is over, if this write could land.
    fn check_intent(&self, number: usize, decision: &ApprovalDecision) -> Checked {
        let version = |decision: &ApprovalDecision| decision.metadata.resource_version.clone();
        let Some(live) = self.decisions[number].live().filter(|live| version(live) == version(decision)) else {
            return Ok(());
        };
        match current_reason(live).map(Reason::standing) {
            Some(Standing::Settled) => Err("an answer was intended though Ready is True".to_owned()),
            Some(Standing::Stalled) if stands(live) => {
                Err("an answer was intended though nobody mended what it is Stalled for".to_owned())
            }
            Some(
                Standing::Stalled | Standing::Retrying | Standing::UnderWay | Standing::Waiting | Standing::Suspended,
            )
            | None => Ok(()),
        }
    }

    /// What may be sent, by the object as it stands at the API server.
    fn check_send(&mut self, number: usize, decision: &ApprovalDecision, intent: &Intent, now: Timestamp) -> Checked {
        if !self.sent.insert((uid(decision), decision.metadata.resource_version.clone())) {
            return Err("two requests left under one written intent".to_owned());
        }
        let Some(live) = self.decisions[number].live().filter(|live| uid(live) == uid(decision)) else {
            return Ok(());
        };
        let not_after = live.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let intended = submission(live) == Some(&intent.submission) && current_reason(live) == Some(Reason::Submitting);
        let wrong = [
            (!intended, "without its intent being written"),
            (live.spec != decision.spec, "by an older edit of the decision"),
            (live.spec.suspend, "though the decision was suspended"),
            (not_after.is_some_and(|time| time.map_or(true, |time| time <= now)), "after notAfter"),
        ];
        match wrong.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(format!("an answer was sent {why}")),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        who: Who,
        decision: &ApprovalDecision,
        token: &Token,
        fault: Fault,
    ) -> Result<Option<Timestamp>, CallError> {
        let letter = Letter { uid: uid(decision), spec: decision.spec.clone(), token: token.clone() };
        self.note(format_args!("{who:?} sends the answer of {} ({fault:?})", letter.uid));
        match fault {
            Fault::None => return self.aws().arrive(&letter).map(Some),
            Fault::NotTaken => return Err(fixtures::not_taken(Cause::Throttled)),
            Fault::AnswerLost => drop(self.aws().arrive(&letter)),
            Fault::Slow(milliseconds) => self.aws().delay(milliseconds, letter),
            Fault::Lost => {}
        }
        Err(fixtures::lost())
    }

    fn settle(
        &mut self,
        who: Who,
        number: usize,
        mut round: Round,
        outcome: Outcome,
        fault: Fault,
    ) -> Result<Next, String> {
        let (reason, told) = (outcome.reason().as_str(), message(&round.decision, &outcome));
        let unchanged = is_told(&round.decision, &outcome, self.clock(who));
        if !unchanged {
            self.note(format_args!("{who:?} settles decision {number} {reason}: {told}"));
        }
        loop {
            if !unchanged {
                self.check_claim(who, number, &round, &outcome)?;
            }
            let written = self.write(who, number, &mut round, &outcome, fault);
            let sent = match &round.attempt {
                Attempt::Answered(intent, _) => Some(&intent.submission),
                Attempt::None | Attempt::NotPrepared(..) | Attempt::Intended(_) => None,
            };
            match (written, sent) {
                (Written::Done, _) => {
                    return Ok(match outcome.next() {
                        NextRound::AtNews { again, until } => {
                            round.attempt = Attempt::None;
                            self.look_for(who, number, round, again, until)
                        }
                        NextRound::At(time) => Next::Rest(Some(time)),
                        NextRound::AtChange if unchanged => Next::Rest(None),
                        NextRound::AtChange => Next::Step(Round::new(round.decision)),
                    });
                }
                (Written::Outdated, Some(sent))
                    if is_still_to_tell(&round.decision, sent, &outcome, self.clock(who)) => {}
                (Written::Outdated, _) => return Ok(Next::Step(Round::new(round.decision))),
                (Written::Failed, Some(_)) => {
                    round.unwritten = Some(outcome);
                    return Ok(Next::Step(round));
                }
                (Written::Gone, _) => return Ok(Next::Rest(None)),
                (Written::Failed, None) => return Ok(Next::Watch(self.clock(who))),
            }
        }
    }

    /// Writes a status over the version that the operator knows, or reads the decision anew.
    fn write(&mut self, who: Who, number: usize, round: &mut Round, outcome: &Outcome, fault: Fault) -> Written {
        let status = status(&round.decision, outcome, self.clock(who));
        if round.decision.status.as_ref() == Some(&status) {
            return Written::Done;
        }
        if matches!(fault, Fault::NotTaken | Fault::Lost) {
            self.note(format_args!("{who:?} cannot reach the API server"));
            return Written::Failed;
        }
        let live = self.decisions[number].live().filter(|live| uid(live) == uid(&round.decision));
        let Some(live) = live.cloned() else { return Written::Gone };
        if live.metadata.resource_version != round.decision.metadata.resource_version {
            self.note(format_args!("{who:?} is told that somebody else wrote first"));
            round.decision = live;
            return Written::Outdated;
        }
        let mut written = live;
        written.status = Some(status);
        let written = self.store(number, written);
        if matches!(fault, Fault::AnswerLost | Fault::Slow(_)) {
            self.note(format_args!("{who:?} is not told that it was written"));
            return Written::Failed;
        }
        round.decision = written;
        Written::Done
    }
}
