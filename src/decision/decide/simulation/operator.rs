//! What an operator does: the rounds of `reconcile`, an effect a step, against the API server of the world.

use super::{Checked, Fault, Who, World, uid};
use crate::api::v1alpha1::{ApprovalDecision, REQUESTED_AT, Reason, Standing, Token};
use crate::codepipeline::{CallError, Cause, Record};
use crate::decision::decide::{Attempt, Observed, RecordReading, Step, decide};
use crate::decision::fixtures::{self, SETTINGS};
use crate::decision::outcome::{Intent, Next as NextRound, Outcome};
use crate::decision::progress::{execution_ids, submission};
use crate::decision::status::{current_reason, is_still_to_tell, is_told, message, status};
use jiff::Timestamp;
use kube::ResourceExt;

/// What an operator has in memory about a decision.
pub struct Round {
    decision: ApprovalDecision,
    attempt: Attempt,
    record: Option<RecordReading>,
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
#[allow(clippy::large_enum_variant, reason = "there are two of them at a time")]
enum Next {
    Step(Round),
    /// Nothing, until then or until the decision changes.
    Rest(Option<Timestamp>),
}

impl Round {
    pub fn new(decision: ApprovalDecision) -> Self {
        Self { decision, attempt: Attempt::None, record: None, unwritten: None }
    }
}

impl World {
    /// An operator does what comes next, and checks that it may.
    pub(super) fn step(&mut self, who: Who, fault: Fault) -> Checked {
        let Some(round) = self.rounds[who as usize].take().or_else(|| self.live().cloned().map(Round::new)) else {
            self.wake[who as usize] = None;
            return Ok(());
        };
        match self.step_of(who, round, fault)? {
            Next::Step(round) => self.rounds[who as usize] = Some(round),
            Next::Rest(wake) => self.wake[who as usize] = wake,
        }
        Ok(())
    }

    fn step_of(&mut self, who: Who, mut round: Round, fault: Fault) -> Result<Next, String> {
        let now = self.clock(who);
        if let Some(outcome) = round.unwritten.take() {
            return Ok(self.settle(who, round, outcome, fault));
        }
        let seen =
            Observed { decision: &round.decision, attempt: &round.attempt, record: round.record.as_ref(), sight: None };
        match decide(&seen, &SETTINGS, now) {
            Step::Rest => return Ok(Next::Rest(None)),
            Step::WaitUntil(time) => return Ok(Next::Rest(Some(time))),
            Step::Look(_) | Step::WaitForNews { .. } => return Err("a token is looked for".to_owned()),
            Step::ReadRecord(token) => {
                let record = self.read_record(&token, &round.decision, fault);
                self.note(format_args!("{who:?} reads the record: {}", in_short(&record)));
                round.record = Some(RecordReading { begun: now, result: record });
            }
            Step::Intend(intent) if matches!(fault, Fault::NotTaken) => {
                self.note(format_args!("{who:?} finds no credentials"));
                round.attempt = Attempt::NotPrepared(intent, fixtures::not_taken(Cause::CredentialsUnavailable));
                round.record = None;
            }
            Step::Intend(intent) => {
                self.check_intent(&round.decision)?;
                self.note(format_args!("{who:?} intends attempt {}", intent.submission.attempts));
                match self.write(who, &mut round, &Outcome::Submitting(intent.clone()), fault) {
                    Written::Done => round.attempt = Attempt::Intended(intent),
                    Written::Outdated => round.attempt = Attempt::None,
                    Written::Gone | Written::Failed => return Ok(Next::Rest(Some(now))),
                }
                round.record = None;
            }
            Step::Send { intent, latest: _ } => {
                self.check_send(&round.decision, &intent, now)?;
                let answer = self.send(who, &round.decision, fault)?;
                round.attempt = Attempt::Answered(intent, answer);
                round.record = None;
            }
            Step::Settle(outcome) => return Ok(self.settle(who, round, outcome, fault)),
        }
        Ok(Next::Step(round))
    }

    fn read_record(&self, token: &Token, decision: &ApprovalDecision, fault: Fault) -> Result<Record, CallError> {
        match fault {
            Fault::None => Ok(self.record(token, &execution_ids(decision))),
            Fault::NotTaken => Err(fixtures::not_taken(Cause::AccessDenied)),
            Fault::Lost | Fault::AnswerLost | Fault::Slow(_) => Err(fixtures::lost()),
        }
    }

    /// Nothing is begun over a decision that is over, if this write could land.
    fn check_intent(&self, decision: &ApprovalDecision) -> Checked {
        let version = |decision: &ApprovalDecision| decision.metadata.resource_version.clone();
        let Some(live) = self.live().filter(|live| version(live) == version(decision)) else {
            return Ok(());
        };
        match current_reason(live).map(Reason::standing) {
            Some(Standing::Settled) => Err("an answer was intended though Ready is True".to_owned()),
            Some(Standing::Stalled) if !is_touched(live) => {
                Err("an answer was intended though nobody mended what it is Stalled for".to_owned())
            }
            Some(
                Standing::Stalled | Standing::Retrying | Standing::UnderWay | Standing::Waiting | Standing::Suspended,
            )
            | None => Ok(()),
        }
    }

    /// What may be sent, by the object as it stands at the API server.
    fn check_send(&mut self, decision: &ApprovalDecision, intent: &Intent, now: Timestamp) -> Checked {
        if !self.sent.insert(decision.metadata.resource_version.clone().unwrap_or_default()) {
            return Err("two requests left under one written intent".to_owned());
        }
        let Some(live) = self.live().filter(|live| uid(live) == uid(decision)) else {
            return Ok(());
        };
        let not_after = live.spec.not_after.as_ref().map(|time| time.0.parse::<Timestamp>());
        let intended = submission(live) == Some(&intent.submission) && current_reason(live) == Some(Reason::Submitting);
        let wrong = [
            (!intended, "without its intent being written"),
            (
                Some(&intent.submission.token) != live.spec.token.as_ref(),
                "with a token that the decision does not name",
            ),
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
        fault: Fault,
    ) -> Result<Result<Option<Timestamp>, CallError>, String> {
        self.note(format_args!("{who:?} sends the answer ({fault:?})"));
        match fault {
            Fault::None => return Ok(self.arrive(decision)?.map(Some)),
            Fault::NotTaken => return Ok(Err(fixtures::not_taken(Cause::Throttled))),
            Fault::AnswerLost => drop(self.arrive(decision)?),
            Fault::Slow(milliseconds) => self.delay(milliseconds, decision.clone()),
            Fault::Lost => {}
        }
        Ok(Err(fixtures::lost()))
    }

    fn settle(&mut self, who: Who, mut round: Round, outcome: Outcome, fault: Fault) -> Next {
        self.note(format_args!(
            "{who:?} settles {}: {}",
            outcome.reason().as_str(),
            message(&round.decision, &outcome)
        ));
        let unchanged = is_told(&round.decision, &outcome, self.clock(who));
        loop {
            let written = self.write(who, &mut round, &outcome, fault);
            let sent = match &round.attempt {
                Attempt::Answered(intent, _) => Some(&intent.submission),
                Attempt::None | Attempt::NotPrepared(..) | Attempt::Intended(_) => None,
            };
            match (written, sent) {
                (Written::Done, _) if unchanged || outcome.next() != NextRound::AtChange => {
                    return Next::Rest(match outcome.next() {
                        NextRound::AtChange => None,
                        NextRound::At(time) | NextRound::AtNews { until: time, .. } => Some(time),
                    });
                }
                (Written::Outdated, Some(sent))
                    if is_still_to_tell(&round.decision, sent, &outcome, self.clock(who)) => {}
                (Written::Done | Written::Outdated, _) => return Next::Step(Round::new(round.decision)),
                (Written::Failed, Some(_)) => {
                    round.unwritten = Some(outcome);
                    return Next::Step(round);
                }
                (Written::Gone, _) | (Written::Failed, None) => return Next::Rest(Some(self.clock(who))),
            }
        }
    }

    /// Writes a status over the version that the operator knows, or reads the decision anew.
    fn write(&mut self, who: Who, round: &mut Round, outcome: &Outcome, fault: Fault) -> Written {
        let status = status(&round.decision, outcome, self.clock(who));
        if round.decision.status.as_ref() == Some(&status) {
            return Written::Done;
        }
        if matches!(fault, Fault::NotTaken | Fault::Lost) {
            self.note(format_args!("{who:?} cannot reach the API server"));
            return Written::Failed;
        }
        let Some(live) = self.live().filter(|live| uid(live) == uid(&round.decision)).cloned() else {
            return Written::Gone;
        };
        if live.metadata.resource_version != round.decision.metadata.resource_version {
            self.note(format_args!("{who:?} is told that somebody else wrote first"));
            round.decision = live;
            return Written::Outdated;
        }
        let mut written = live;
        written.status = Some(status);
        let written = self.store(written);
        if matches!(fault, Fault::AnswerLost | Fault::Slow(_)) {
            self.note(format_args!("{who:?} is not told that it was written"));
            return Written::Failed;
        }
        round.decision = written;
        Written::Done
    }
}

/// Whether somebody edited or annotated a decision since the operator last wrote about it.
pub fn is_touched(decision: &ApprovalDecision) -> bool {
    let status = decision.status.clone().unwrap_or_default();
    status.observed_generation != decision.metadata.generation
        || status.last_handled_requested_at.as_ref() != decision.annotations().get(REQUESTED_AT)
}

fn in_short(record: &Result<Record, CallError>) -> String {
    match record {
        Ok(Record::Finished(finished)) => format!("finished, {:?} by {:?}", finished.result, finished.by),
        Ok(Record::Pending(_)) => "pending".to_owned(),
        Ok(Record::Lagging(_)) => "pending, says history".to_owned(),
        Ok(Record::Unseen) => "nothing".to_owned(),
        Ok(Record::PipelineNotFound(_)) => "no pipeline".to_owned(),
        Err(error) => format!("unreadable, {}", error.detail()),
    }
}
