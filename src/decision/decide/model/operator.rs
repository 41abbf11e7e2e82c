//! What an operator does: the rounds of `reconcile`, one effect on the world a step. What it does in memory alone belongs
//! to the step, for nobody can tell in which order it came with what others did.

use super::service::Calls;
use super::state::{Letter, Question, Round, Seen, State, Version, Wrong, digest};
use super::{Fault, Replicas, Who};
use crate::api::v1alpha1::{ApprovalDecision, Binding};
use crate::codepipeline::{Ask, CallError, Cause, Reading, Request, look, record};
use crate::decision::decide::{Attempt, Observed, RecordReading, Step};
use crate::decision::fixtures::{self, SETTINGS};
use crate::decision::outcome::{Intent, Next, Outcome};
use crate::decision::progress::{acted_on, execution_ids};
use crate::decision::status::{is_still_to_tell, is_told, status};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;

/// The time that statuses are written at, of which `decide` sees nothing: it would tell states apart by their past.
const STILL: Timestamp = Timestamp::UNIX_EPOCH;

/// What a step came to.
pub enum Done {
    /// It did something.
    Something,
    /// It wrote what became of the decision.
    ForNow,
    /// The round ended: the next begins then.
    Until(Next),
}

enum Written {
    Done,
    Outdated,
    Gone,
    Failed,
}

impl Replicas {
    /// An operator goes on with its round, or begins one from a version of the decision. Returns nothing if that cannot be, or
    /// cannot go wrong in this way.
    pub fn step(&self, state: &mut State, who: Who, from: Option<Version>, fault: Fault) -> Option<Done> {
        let done = self.go_on(state, who, from, fault)?;
        if let Done::Until(Next::AtChange | Next::At(_)) | Done::ForNow = done {
            // Nothing is to be seen of the pipeline.
            state.operators[who as usize].question = None;
        }
        Some(done)
    }

    fn go_on(&self, state: &mut State, who: Who, from: Option<Version>, fault: Fault) -> Option<Done> {
        let clock = self.clock(state, who);
        let in_hand = state.operators[who as usize].round.take();
        let mut round = in_hand.or_else(|| from.or_else(|| state.live.clone()).map(Round::new))?;
        loop {
            let sight = round.seen();
            let seen = Observed {
                decision: &round.known.decision,
                attempt: &round.attempt,
                record: round.record.as_ref(),
                sight: sight.as_ref(),
            };
            let wait = match (self.decide)(&seen, &SETTINGS, clock) {
                Step::Rest => Next::AtChange,
                Step::WaitUntil(time) => Next::At(time),
                Step::WaitForNews { again, until } => Next::AtNews { again, until },
                Step::Look(until) => match self.known_sight(state, who, &round.known, clock) {
                    Some(sight) if round.sight.is_none() => {
                        round.sight = Some(sight);
                        continue;
                    }
                    Some(_) => Next::AtNews { again: None, until },
                    None => {
                        round.sight = Some(self.look(state, who, &round.known.decision, fault)?);
                        state.operators[who as usize].round = Some(round);
                        return Some(Done::Something);
                    }
                },
                Step::ReadRecord(token) => {
                    let ids = execution_ids(&round.known.decision);
                    let calls = Calls { service: &state.service, now: state.now };
                    let request = Request { spec: &round.known.decision.spec, token: &token, ids: &ids };
                    let result = match fault {
                        Fault::None => record(&calls, request).now_or_never()?,
                        Fault::NotTaken => Err(fixtures::not_taken(Cause::Throttled)),
                        Fault::Unreachable | Fault::AnswerLost => return None,
                    };
                    round.record = Some(RecordReading { begun: clock, result });
                    state.operators[who as usize].round = Some(round);
                    return Some(Done::Something);
                }
                Step::Intend(intent) => return self.intend(state, who, round, intent, fault),
                Step::Send { intent, latest } => return self.send(state, who, round, intent, latest, fault),
                Step::Settle(outcome) => return self.settle(state, who, round, &outcome, fault),
            };
            return (fault == Fault::None).then_some(Done::Until(wait));
        }
    }

    /// The newest look, if it was made after this was first asked.
    fn known_sight(&self, state: &mut State, who: Who, known: &Version, clock: Timestamp) -> Option<(Timestamp, Seen)> {
        let by = digest(&acted_on(&known.decision));
        let question = &mut state.operators[who as usize].question;
        if question.as_ref().is_none_or(|question| question.by != by) {
            *question = Some(Question { by, asked: clock, newest: None });
        }
        let question = question.as_ref()?;
        Some((question.asked, question.newest.clone()?))
    }

    /// An operator looks at the pipeline for a decision that asks about it.
    pub fn look(
        &self,
        state: &mut State,
        who: Who,
        decision: &ApprovalDecision,
        fault: Fault,
    ) -> Option<(Timestamp, Seen)> {
        let (begun, by) = (self.clock(state, who), digest(&acted_on(decision)));
        let spec = &decision.spec;
        let Ok(Binding::Run(run)) = spec.binding() else { return None };
        let ask = Ask { stage: spec.stage_name.clone(), action: spec.action_name.clone(), run: run.into() };
        let calls = Calls { service: &state.service, now: state.now };
        let result = match fault {
            Fault::None => look(&calls, begun, HashSet::from([ask]), None).now_or_never()?,
            Fault::NotTaken => Err(fixtures::not_taken(Cause::Throttled)),
            Fault::Unreachable | Fault::AnswerLost => return None,
        };
        let service = result.is_ok().then(|| state.service.clone());
        let question = state.operators[who as usize].question.as_mut().filter(|question| question.by == by)?;
        let before = question.newest.as_ref().and_then(|seen| seen.reading.failing_since);
        let failing_since = result.is_err().then_some(before.unwrap_or(begun));
        let reading = Reading { begun, result: result.map(Arc::new), failing_since };
        let seen = Seen { service, reading: Arc::new(reading) };
        question.newest = Some(seen.clone());
        Some((question.asked, seen))
    }

    fn intend(&self, state: &mut State, who: Who, mut round: Round, intent: Intent, fault: Fault) -> Option<Done> {
        if fault == Fault::NotTaken {
            round.attempt = Attempt::NotPrepared(intent, fixtures::not_taken(Cause::CredentialsUnavailable));
            round.blink();
            state.operators[who as usize].round = Some(round);
            return Some(Done::Something);
        }
        match self.write(state, &mut round, &Outcome::Submitting(intent.clone()), fault)? {
            Written::Done => {
                round.attempt = Attempt::Intended(intent);
                round.blink();
                state.operators[who as usize].round = Some(round);
            }
            // From here on it is a round from the beginning.
            Written::Outdated | Written::Gone | Written::Failed => {}
        }
        Some(Done::Something)
    }

    fn send(
        &self,
        state: &mut State,
        who: Who,
        mut round: Round,
        intent: Intent,
        latest: Timestamp,
        fault: Fault,
    ) -> Option<Done> {
        let clock = self.clock(state, who);
        // The client lets nothing leave later than that.
        let refused = match fault {
            Fault::None => latest <= clock,
            Fault::NotTaken => true,
            Fault::Unreachable | Fault::AnswerLost => return None,
        };
        if refused {
            round.attempt = Attempt::Answered(intent, Err(fixtures::not_taken(Cause::Throttled)));
            round.blink();
        } else {
            if !self.may_leave(state, &round.known, &intent, clock) {
                state.wrong = Some(Wrong::Open);
            }
            if !state.posted.insert(round.known.number) {
                state.wrong.get_or_insert(Wrong::Truth);
            }
            let ahead = clock.duration_since(state.now);
            let arrives_by = latest + SETTINGS.aws_timeout - ahead;
            round.waits_for = Some(Letter { of: round.known.clone(), intent, arrives_by });
        }
        state.operators[who as usize].round = Some(round);
        Some(Done::Something)
    }

    /// A request comes to the service.
    pub fn arrive(&self, state: &mut State, letter: &Letter) -> Result<Timestamp, CallError> {
        let (spec, token) = (&letter.of.decision.spec, &letter.intent.submission.token);
        let at = state.service.put(state.now, token, &spec.result, letter.of.uid())?;
        let (mut times, mut named) = (0, true);
        for (entry, run) in state.service.taken().filter(|(entry, _)| entry.caller == letter.of.uid()) {
            times += 1;
            named &= entry.token != token.0 || state.service.names(spec, &entry.token, &run);
        }
        if !named {
            state.wrong = Some(Wrong::Run);
        } else if times > 1 {
            state.wrong = Some(Wrong::Truth);
        } else if letter.intent.submission.deadline < state.now {
            state.wrong = Some(Wrong::Open);
        }
        Ok(at)
    }

    /// What became of a request is known to who sent it.
    pub fn answered(&self, state: &mut State, who: Who, answer: Result<Timestamp, CallError>) -> Option<Letter> {
        let operator = &mut state.operators[who as usize];
        let round = operator.round.as_mut()?;
        let letter = round.waits_for.take()?;
        round.attempt = Attempt::Answered(letter.intent.clone(), answer.map(Some));
        round.blink();
        // A request that was sent makes the looks before it out of date.
        operator.question.iter_mut().for_each(|question| question.newest = None);
        Some(letter)
    }

    fn settle(&self, state: &mut State, who: Who, mut round: Round, outcome: &Outcome, fault: Fault) -> Option<Done> {
        let unchanged = is_told(&round.known.decision, outcome, STILL);
        if unchanged && fault != Fault::None {
            return None;
        }
        loop {
            let written = self.write(state, &mut round, outcome, fault)?;
            let sent = match &round.attempt {
                Attempt::Answered(intent, _) => Some(&intent.submission),
                Attempt::None | Attempt::NotPrepared(..) | Attempt::Intended(_) => None,
            };
            return Some(match (written, sent, outcome.next()) {
                // An edit may have come in meanwhile: that is a round from the beginning.
                (Written::Done, _, Next::AtChange) if !unchanged => Done::ForNow,
                (Written::Done, _, next) => Done::Until(next),
                (Written::Outdated, Some(sent), _) if is_still_to_tell(&round.known.decision, sent, outcome, STILL) => {
                    continue;
                }
                // It is written until it lands.
                (Written::Failed, Some(_), _) => {
                    state.operators[who as usize].round = Some(round);
                    Done::Something
                }
                (Written::Outdated | Written::Gone | Written::Failed, ..) => Done::Something,
            });
        }
    }

    /// Writes a status over the version that the operator knows, or reads the decision anew.
    fn write(&self, state: &mut State, round: &mut Round, outcome: &Outcome, fault: Fault) -> Option<Written> {
        let status = Some(status(&round.known.decision, outcome, STILL));
        if round.known.decision.status == status {
            return Some(Written::Done);
        }
        match fault {
            Fault::None | Fault::AnswerLost => {}
            Fault::Unreachable => return Some(Written::Failed),
            Fault::NotTaken => return None,
        }
        let Some(live) = state.live.clone().filter(|live| live.uid() == round.known.uid()) else {
            return Some(Written::Gone);
        };
        if live.number != round.known.number {
            round.known = live;
            return Some(Written::Outdated);
        }
        let written = self.store(state, ApprovalDecision { status, ..ApprovalDecision::clone(&live.decision) });
        if matches!(outcome, Outcome::Submitting(_)) {
            // No two attempts begin within the same millisecond: between them there are calls.
            state.now += SignedDuration::from_millis(1);
        }
        if fault == Fault::AnswerLost {
            return Some(Written::Failed);
        }
        round.known = written;
        Some(Written::Done)
    }

    pub fn clock(&self, state: &State, who: Who) -> Timestamp {
        state.now + SignedDuration::from_secs(self.setting.clocks[who as usize])
    }
}
