//! Every branch of [`decide`], as rows of what is given and the exact step that follows. Times are in seconds since the
//! decision was created; an attempt has 10 s for the call, 5 s for the write before it and 5 s for clocks that differ.

use super::{
    Attempt, CallError, Doubt, Earlier, Exception, ExecutionIds, Expiry, Intent, Observed, Outcome, Record,
    RecordReading, Refusal, Step, Submission, Timestamp, decide, next_attempt,
};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Reason, Standing};
use crate::codepipeline::{Cause, Finished};
use crate::decision::fixtures::*;
use crate::decision::limits::MAX_BACK_OFF;
use ApprovalStatus::{Approved, Rejected};
use Earlier::{InDoubt, NotTaken};
use jiff::SignedDuration;

const RECORD_UNREADABLE: &str = "CodePipeline's record of the request cannot be read (the connection broke)";

const WEEK: i64 = 7 * 24 * 3600;

/// What a round knows.
struct Seen {
    decision: ApprovalDecision,
    attempt: Attempt,
    record: Option<RecordReading>,
    now: Timestamp,
}

fn given(decision: ApprovalDecision, seconds: i64) -> Seen {
    Seen { decision, attempt: Attempt::None, record: None, now: at(seconds) }
}

impl Seen {
    /// The record as it was read just now.
    fn record(self, record: Record) -> Self {
        self.reading(Ok(record))
    }

    fn reading(mut self, result: Result<Record, CallError>) -> Self {
        self.record = Some(RecordReading { begun: self.now, result });
        self
    }

    fn unreadable(self) -> Self {
        self.reading(Err(lost()))
    }

    /// Since what was read was read.
    fn after(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    fn step(&self) -> Step {
        let seen =
            Observed { decision: &self.decision, attempt: &self.attempt, record: self.record.as_ref(), sight: None };
        decide(&seen, &SETTINGS, self.now)
    }
}

/// The answer to a first attempt that began at 0, come at 1.
fn answer(earlier: Earlier, result: Result<Option<Timestamp>, CallError>) -> Seen {
    let attempts = if earlier == NotTaken { 1 } else { 2 };
    let decision = fresh().standing(Reason::Submitting).submitted(attempts, 0, 20);
    Seen { attempt: Attempt::Answered(intent(attempts, 0, 20, earlier), result), ..given(decision, 1) }
}

macro_rules! rows {
    ($($name:literal: $given:expr => $expected:expr;)+) => {
        $(assert_eq!($given.step(), $expected, "\n{}\n", $name);)+
    };
}

mod recovery;

fn settle(outcome: Outcome) -> Step {
    Step::Settle(outcome)
}

fn wait(seconds: i64) -> Step {
    Step::WaitUntil(at(seconds))
}

fn first(seconds: i64) -> Step {
    Step::Intend(intent(1, seconds, seconds + 20, NotTaken))
}

fn again(attempts: i64, start: i64, now: i64, ids: ExecutionIds) -> Step {
    let again = intent(attempts, start, now + 20, InDoubt);
    Step::Intend(Intent { ids, ..again })
}

fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<Finished>) -> Step {
    settle(Outcome::Refused { refusal, exception, record })
}

fn already_decided(record: Finished, exception: Option<Exception>) -> Step {
    settle(Outcome::AlreadyDecided { record, exception })
}

fn recorded(record: Finished) -> Step {
    settle(Outcome::Delivered { approved_at: record.at, record: Some(record) })
}

fn unconfirmed(doubt: Doubt, ids: ExecutionIds, next: i64) -> Step {
    settle(Outcome::Unconfirmed { doubt, completed: None, ids, next: at(next) })
}

fn unknown() -> ExecutionIds {
    ExecutionIds::default()
}

fn unreadable() -> Doubt {
    Doubt::Unreadable("the connection broke".to_owned())
}

fn throttled_until(next: i64) -> Step {
    settle(Outcome::Retrying {
        submission: submission(1, 0, 20),
        cause: Cause::Throttled,
        exception: Some(exception("Throttled")),
        detail: "not now".to_owned(),
        next: at(next),
    })
}

#[test]
fn a_decision_begins_rests_or_starts_afresh() {
    let stalled = || fresh().standing(Reason::InvalidApprovalToken).submitted(3, 0, 20);
    let delivered = || fresh().standing(Reason::Delivered).submitted(1, 0, 20);
    let untold =
        |status: &mut ApprovalDecision| status.status = Some(crate::api::v1alpha1::ApprovalDecisionStatus::default());
    let held = || fresh().standing(Reason::Suspended).submitted(3, 0, 20).known(ids());
    rows! {
        "a fresh decision is intended before anything is sent": given(fresh(), 5) => first(5);
        "a status that tells nothing is no progress": given(fresh().with(untold), 5) => first(5);
        "a stalled decision rests": given(stalled(), 5) => Step::Rest;
        "a stalled decision rests past its limits": given(stalled().not_after(at(1)), 5) => Step::Rest;
        "a stalled decision that is edited starts afresh": given(stalled().edited(), 5) => first(5);
        "a stalled decision that is annotated starts afresh": given(stalled().annotated("now"), 5) => first(5);
        "an annotation counts once": given(stalled().annotated("now").handled("now"), 5) => Step::Rest;
        "a new value counts anew": given(stalled().annotated("later").handled("now"), 5) => first(5);
        "an annotation taken away is no new value": given(stalled().handled("now"), 5) => Step::Rest;
        "what is being deleted is left alone": given(fresh().deleted(), 5) => Step::Rest;
        "… also if it was stalled": given(stalled().deleted(), 5) => Step::Rest;
        "an attempt with another token than the spec's, under way by a forged status, is none":
            given(fresh().in_doubt().with(|decision| decision.spec.token = Some(other_token())), 50)
            => Step::Intend(Intent { submission: Submission { token: other_token(), ..submission(1, 50, 70) }, ids: unknown(), earlier: NotTaken });
        "of an annotation that is longer than the status can hold, what the status holds counts":
            given(stalled().annotated(&"é".repeat(1500)).handled(&"é".repeat(1024)), 5) => Step::Rest;
        "a delivered decision rests": given(delivered(), 5) => Step::Rest;
        "… for ever, even if edited": given(delivered().edited().suspended(), 5) => Step::Rest;
        "… for ever, even if annotated": given(delivered().annotated("now"), WEEK + 5) => Step::Rest;
        "suspended, it is told so": given(fresh().suspended(), 5) => settle(Outcome::Suspended);
        "resumed, it starts afresh": given(held(), 5) => first(5);
        "still suspended, it is still told so": given(held().suspended(), 5) => settle(Outcome::Suspended);
        "an answer under way that no submission tells of is asked for again":
            given(fresh().standing(Reason::Submitting), 5) => first(5);
        "a reason that is not the operator's is no progress":
            given(stalled().with_status(|status| status.conditions[0].reason = "Bogus".to_owned()), 5) => first(5);
        "times are told to the millisecond":
            Seen { now: at(5) + SignedDuration::from_nanos(400_000), ..given(fresh(), 0) } => first(5);
    }
}

#[test]
fn every_reason_that_is_over_rests_until_touched_and_every_other_does_not() {
    for reason in Reason::ALL {
        let decision = || fresh().standing(*reason).submitted(1, 0, 20);
        let (untouched, edited) = (given(decision(), 500).step(), given(decision().edited(), 500).step());
        let expected = match reason.standing() {
            Standing::Settled => (Step::Rest, Step::Rest),
            Standing::Stalled => (Step::Rest, first(500)),
            Standing::Suspended | Standing::Waiting => (first(500), first(500)),
            Standing::Retrying => (Step::Intend(intent(2, 500, 520, NotTaken)), first(500)),
            Standing::UnderWay => (Step::ReadRecord(token()), Step::ReadRecord(token())),
        };
        assert_eq!((untouched, edited), expected, "{reason:?}");
    }
}

#[test]
fn nothing_is_sent_after_a_limit() {
    let due = || fresh().not_after(at(60));
    let expired = || settle(Outcome::Expired { expiry: Expiry::NotAfter(at(60)), unproven: None });
    let waited = || settle(Outcome::Expired { expiry: Expiry::WaitingLimit(at(WEEK)), unproven: None });
    let due_at = |seconds| Expiry::NotAfter(at(seconds));
    let unproven = |expiry, why: &str| settle(Outcome::Expired { expiry, unproven: Some(why.to_owned()) });
    let no_time = |text: &str| {
        let detail =
            format!("spec.notAfter is {text:?}, which is no time: write one in RFC 3339, such as 2026-01-31T17:00:00Z");
        settle(Outcome::Invalid { detail })
    };
    rows! {
        "until notAfter an answer may be sent": given(due(), 59) => first(59);
        "at notAfter the record is read first": given(due(), 60) => Step::ReadRecord(token());
        "a record with nothing to it: expired": given(due(), 60).record(Record::Unseen) => expired();
        "a pending request: expired": given(due(), 60).record(Record::Pending(ids())) => expired();
        "a lagging history: expired": given(due(), 60).record(Record::Lagging(ids())) => expired();
        "a record that cannot be read is tried again, for a minute of a new decision's life":
            given(fresh().not_after(at(-900)), 5).unreadable() => wait(20);
        "… which is not stretched": given(fresh().not_after(at(-900)), 50).unreadable() => wait(60);
        "… then it is expired, and says what it could not see":
            given(due(), 60).unreadable() => unproven(due_at(60), RECORD_UNREADABLE);
        "one that was tried here before is not new":
            given(fresh().not_after(at(5)).standing(Reason::Throttled).submitted(1, 0, 20), 5).unreadable()
            => unproven(due_at(5), RECORD_UNREADABLE);
        "a pipeline that is gone: expired":
            given(due(), 60).record(Record::PipelineNotFound(exception("PipelineNotFound"))) => expired();
        "a restored decision was answered before":
            given(due(), 60).record(over(Approved, -900)) => already_decided(finished(Approved, -900), None);
        "answered otherwise: expired": given(due(), 60).record(over(Rejected, -900)) => expired();
        "ended by nobody: expired": given(due(), 60).record(over(None, -900)) => expired();
        "the waiting limit counts too": given(fresh(), WEEK - 1) => first(WEEK - 1);
        "… and the record is read for it too": given(fresh(), WEEK) => Step::ReadRecord(token());
        "… and it is told apart": given(fresh(), WEEK).record(Record::Unseen) => waited();
        "where both have passed, the one that came first is told":
            given(due(), WEEK).record(Record::Unseen) => expired();
        "a notAfter past the waiting limit does not stretch it":
            given(fresh().not_after(at(WEEK + 60)), WEEK).record(Record::Unseen) => waited();
        "a decision without a creation time has not waited yet":
            given(fresh().with(|decision| decision.metadata.creation_timestamp = None), 2 * WEEK) => first(2 * WEEK);
        "a notAfter in no calendar is told":
            given(fresh().not_after("2026-02-30T00:00:00Z"), 5) => no_time("2026-02-30T00:00:00Z");
        "suspended goes before expired": given(due().suspended(), 60) => settle(Outcome::Suspended);
        "suspended goes before a notAfter that is no time":
            given(fresh().not_after("soon").suspended(), 5) => settle(Outcome::Suspended);
    }
}

#[test]
fn an_answer_that_was_not_taken_is_sent_again_after_a_pause() {
    let throttled = || fresh().standing(Reason::Throttled).submitted(20, 0, 20);
    let next = next_attempt(&throttled(), &submission(20, 0, 20));
    let after = |decision| Seen { now: next, ..given(decision, 0) };
    let fire = Intent {
        submission: Submission {
            attempts: 21,
            start_time: next,
            deadline: next + SignedDuration::from_secs(20),
            token: token(),
        },
        ids: ids(),
        earlier: NotTaken,
    };
    let asked = |decision| answered_by(decision, Err(not_taken(Cause::Throttled)));
    rows! {
        "before the pause is over it waits": given(throttled(), 0) => Step::WaitUntil(next);
        "nor is an attempt waited for that never began":
            given(fresh().standing(Reason::Throttled).submitted(1, WEEK, WEEK), 0) => Step::Intend(intent(2, 0, 20, NotTaken));
        "then it is the next attempt": after(throttled().known(ids())) => Step::Intend(fire);
        "it does not wait past a limit": given(throttled().not_after(at(1)), 0) => wait(1);
        "a limit that passes meanwhile ends it": given(throttled().not_after(at(1)), 1) => Step::ReadRecord(token());
        "suspended, it is not sent again": after(throttled().suspended()) => settle(Outcome::Suspended);
        "edited, it does not wait": given(throttled().edited(), 1) => first(1);
        "annotated, it does not wait": given(throttled().annotated("now"), 1) => first(1);
        "the pause is told, and is a second at least, however long the attempt took": asked(fresh()) => throttled_until(2);
        "the pause ends with the limit": asked(fresh().not_after(at(1))) => throttled_until(1);
    }
}

/// As [`answer`] to a first attempt, of a decision with more to it.
fn answered_by(decision: ApprovalDecision, result: Result<Option<Timestamp>, CallError>) -> Seen {
    Seen { decision, ..answer(NotTaken, result) }
}

#[test]
fn pauses_grow_from_a_second_to_five_minutes_and_do_not_depend_on_when_they_are_reckoned() {
    let mut drawn = std::collections::HashSet::new();
    for attempts in [i64::MIN, 0, 1, 2, 3, 4, 8, 9, 20, 63, 64, i64::MAX] {
        let ceiling = SignedDuration::from_secs(if attempts < 1 { 1 } else { MAX_BACK_OFF.min(1 << attempts.min(9)) });
        let mut longest = SignedDuration::ZERO;
        for number in 0..200 {
            let decision = fresh().with(|decision| decision.metadata.uid = Some(number.to_string()));
            let last = submission(attempts, 0, 20);
            let pause = next_attempt(&decision, &last).duration_since(at(0));
            assert!(SignedDuration::from_secs(1) <= pause && pause <= ceiling, "{attempts}: {pause:?}");
            assert_eq!(next_attempt(&decision.suspended(), &last).duration_since(at(0)), pause);
            drawn.insert(pause);
            longest = longest.max(pause);
        }
        assert!(longest * 10 > ceiling * 9, "{attempts}: of 200 pauses the longest is {longest:?} of {ceiling:?}");
    }
    assert!(drawn.len() > 1000, "the jitter is drawn from {} values only", drawn.len());
}

#[test]
fn an_intent_that_stands_is_sent_once_if_it_still_may_be() {
    let intended = |decision, attempts, earlier, now| Seen {
        attempt: Attempt::Intended(intent(attempts, 0, 20, earlier)),
        ..given(decision, now)
    };
    let on_time = |decision| intended(decision, 1, NotTaken, 1);
    let rewritten = |earlier, start| Step::Intend(intent(1, start, 26, earlier));
    rows! {
        "what is intended is sent": on_time(fresh()) => Step::Send { intent: intent(1, 0, 20, NotTaken), latest: at(5) };
        "it may be almost 5 s late": intended(fresh(), 1, NotTaken, 4) => Step::Send { intent: intent(1, 0, 20, NotTaken), latest: at(5) };
        "later, it is intended anew": intended(fresh(), 1, NotTaken, 6) => rewritten(NotTaken, 6);
        "until notAfter, if that is sooner":
            on_time(fresh().not_after(at(3))) => Step::Send { intent: intent(1, 0, 20, NotTaken), latest: at(3) };
        "after doubt, the doubt keeps its beginning": intended(fresh(), 1, InDoubt, 6) => rewritten(InDoubt, 0);
        "suspended meanwhile, it is not sent": on_time(fresh().suspended()) => settle(Outcome::Suspended);
        "expired meanwhile, the record is read": on_time(fresh().not_after(at(1))) => Step::ReadRecord(token());
        "… and it is not sent":
            on_time(fresh().not_after(at(1))).record(Record::Pending(ids()))
            => settle(Outcome::Expired { expiry: Expiry::NotAfter(at(1)), unproven: None });
        "a notAfter that is no time is told here too":
            on_time(fresh().not_after(""))
            => settle(Outcome::Invalid { detail: "spec.notAfter is \"\", which is no time: write one in RFC 3339, such as 2026-01-31T17:00:00Z" .to_owned() });
    }
}

#[test]
fn an_answer_settles_what_it_can() {
    let delivered = |approved_at| settle(Outcome::Delivered { approved_at, record: None });
    let sent_late = |doubt| unconfirmed(doubt, unknown(), 20);
    rows! {
        "taken": answer(NotTaken, Ok(Some(at(1)))) => delivered(Some(at(1)));
        "taken, without approvedAt": answer(NotTaken, Ok(None)) => delivered(None);
        "taken, after doubt": answer(InDoubt, Ok(Some(at(1)))) => delivered(Some(at(1)));
        "lost: the record is looked at when nothing can reach the service any more":
            answer(NotTaken, Err(lost())) => sent_late(Doubt::Lost("the connection broke".to_owned()));
        "lost, after doubt": answer(InDoubt, Err(lost())) => sent_late(Doubt::Lost("the connection broke".to_owned()));
        "not taken, after doubt: the doubt stays":
            answer(InDoubt, Err(not_taken(Cause::Throttled))) => sent_late(Doubt::NotAsked("not now".to_owned()));
    }
    for cause in [Cause::Throttled, Cause::AccessDenied, Cause::CredentialsUnavailable, Cause::ServiceUnavailable] {
        let expected = settle(Outcome::Retrying {
            submission: submission(1, 0, 20),
            cause,
            exception: Some(exception(Reason::from(cause).as_str())),
            detail: "not now".to_owned(),
            // The back-off would have it at 1.317 s, but a failure that took its time is not followed at once.
            next: at(2),
        });
        assert_eq!(answer(NotTaken, Err(not_taken(cause))).step(), expected);
    }
    for refusal in [
        Refusal::InvalidApprovalToken,
        Refusal::PipelineNotFound,
        Refusal::StageNotFound,
        Refusal::ActionNotFound,
        Refusal::ValidationFailed,
    ] {
        let expected = refused(refusal, Some(exception(Reason::from(refusal).as_str())), None);
        for earlier in [NotTaken, InDoubt] {
            assert_eq!(answer(earlier, Err(self::refusal(refusal))).step(), expected);
        }
    }
}
