//! Every branch of [`decide`], as rows of an observation and the exact next step. Times are in seconds since the creation of
//! the decision. An attempt has 20 s: 5 s to write its intent, 10 s for the call, and 5 s for the difference between clocks.

use super::{
    ApprovalRecord, Attempt, CallError, Caveat, ExecutionIds, Expiry, Intent, Observed, Outcome, PriorAttempts,
    Refusal, Step, Submission, Timestamp, UnconfirmedCause, decide, next_attempt,
};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalStatus, Exception, InvalidSpec, ReadyClass, Reason};
use crate::backoff::SUBMISSION;
use crate::codepipeline::{CompletedApproval, RetryCause};
use crate::decision::step::RecordObservation;
use crate::decision::test_fixtures::outcomes::refused_after_doubt;
use crate::decision::test_fixtures::*;
use ApprovalStatus::{Approved, Rejected};
use PriorAttempts::{InDoubt, NotApplied};
use jiff::SignedDuration;

mod properties;
mod recovery;

const WEEK: i64 = 7 * 24 * 3600;

/// What a reconcile knows, and the time.
struct Case {
    decision: ApprovalDecision,
    attempt: Attempt,
    record: Option<RecordObservation>,
    now: Timestamp,
}

fn given(decision: ApprovalDecision, seconds: i64) -> Case {
    Case { decision, attempt: Attempt::None, record: None, now: at(seconds) }
}

impl Case {
    /// A read of the history that starts now finds this.
    fn record(self, record: ApprovalRecord) -> Self {
        self.observing(Ok(record))
    }

    fn unreadable(self) -> Self {
        self.observing(Err(indeterminate()))
    }

    fn observing(mut self, result: Result<ApprovalRecord, CallError>) -> Self {
        self.record = Some(RecordObservation { started_at: self.now, result });
        self
    }

    /// This many seconds pass after the read.
    fn after(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    fn step(&self) -> Step {
        let observed =
            Observed { decision: &self.decision, attempt: &self.attempt, record: self.record.as_ref(), pipeline: None };
        decide(&observed, &SETTINGS, self.now)
    }
}

/// At second 1, the response to an attempt that started at 0: the first one, or the second one after doubt.
fn response(prior: PriorAttempts, result: Result<Option<Timestamp>, CallError>) -> Case {
    let attempts = if prior == NotApplied { 1 } else { 2 };
    let decision = fresh().with_reason(Reason::Submitting).submitted(attempts, 0, 20);
    Case { attempt: Attempt::Submitted(intent(attempts, 0, 20, prior), result), ..given(decision, 1) }
}

/// The [`response`] to a first attempt, for this decision.
fn response_for(decision: ApprovalDecision, result: Result<Option<Timestamp>, CallError>) -> Case {
    Case { decision, ..response(NotApplied, result) }
}

macro_rules! rows {
    ($($name:literal: $given:expr => $expected:expr;)+) => {
        $(assert_eq!($given.step(), $expected, "\n{}\n", $name);)+
    };
}
use rows;

fn write(outcome: Outcome) -> Step {
    Step::WriteStatus(outcome)
}

fn wait(seconds: i64) -> Step {
    Step::WaitUntil(at(seconds))
}

fn first_attempt(seconds: i64) -> Step {
    Step::RecordIntent(intent(1, seconds, seconds + 20, NotApplied))
}

/// Another attempt after doubt.
fn next_after_doubt(attempts: i64, start: i64, now: i64, ids: ExecutionIds) -> Step {
    let next = intent(attempts, start, now + 20, InDoubt);
    Step::RecordIntent(Intent { ids, ..next })
}

fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<CompletedApproval>) -> Step {
    write(Outcome::Refused { refusal, exception, record, caveat: None })
}

fn already_decided(record: CompletedApproval, exception: Option<Exception>) -> Step {
    write(Outcome::AlreadyDecided { record, exception })
}

/// History shows that our result was accepted.
fn delivered_by(record: CompletedApproval) -> Step {
    write(Outcome::Delivered { approved_at: record.at, record: Some(record) })
}

fn unconfirmed(cause: UnconfirmedCause, ids: ExecutionIds, next: i64) -> Step {
    write(Outcome::Unconfirmed { cause, completed: None, ids, next: at(next) })
}

fn unknown_ids() -> ExecutionIds {
    ExecutionIds::default()
}

fn history_unreadable() -> UnconfirmedCause {
    UnconfirmedCause::HistoryUnreadable("the connection broke".to_owned())
}

fn invalid_not_after(text: &str) -> Step {
    write(Outcome::Invalid(InvalidSpec::NotAfter(text.to_owned())))
}

fn throttled_until(next: i64) -> Step {
    write(Outcome::Retrying {
        submission: submission(1, 0, 20),
        cause: RetryCause::Throttled,
        exception: Some(exception("Throttled")),
        detail: "not now".to_owned(),
        next: at(next),
    })
}

#[test]
fn a_decision_starts_waits_for_a_change_or_starts_over() {
    let stalled = || fresh().with_reason(Reason::InvalidApprovalToken).submitted(3, 0, 20);
    let delivered = || fresh().with_reason(Reason::Delivered).submitted(1, 0, 20);
    let with_empty_status = |decision: &mut ApprovalDecision| {
        decision.status = Some(crate::api::v1alpha1::ApprovalDecisionStatus::default())
    };
    let suspended = || fresh().with_reason(Reason::Suspended).submitted(3, 0, 20).with_ids(ids());
    rows! {
        "a fresh decision: the intent is recorded before anything is sent": given(fresh(), 5) => first_attempt(5);
        "an empty status is no progress": given(fresh().with(with_empty_status), 5) => first_attempt(5);
        "a stalled decision waits for a change": given(stalled(), 5) => Step::AwaitChange;
        "… also after its limits": given(stalled().not_after(at(1)), 5) => Step::AwaitChange;
        "a stalled decision that is edited starts over": given(stalled().edited(), 5) => first_attempt(5);
        "a stalled decision that is annotated starts over": given(stalled().annotated("now"), 5) => first_attempt(5);
        "an annotation counts once": given(stalled().annotated("now").handled("now"), 5) => Step::AwaitChange;
        "a new value of the annotation counts":
            given(stalled().annotated("later").handled("now"), 5) => first_attempt(5);
        "removing the annotation is not a new value": given(stalled().handled("now"), 5) => Step::AwaitChange;
        "a decision that is being deleted is not touched": given(fresh().deleted(), 5) => Step::AwaitChange;
        "… also if it was stalled": given(stalled().deleted(), 5) => Step::AwaitChange;
        "a forged status has a submission in flight with another token than the spec: it does not count":
            given(fresh().in_doubt().with(|decision| decision.spec.token = Some(other_token())), 50)
            => Step::RecordIntent(Intent {
                submission: Submission { token: other_token(), ..submission(1, 50, 70) },
                ids: unknown_ids(),
                prior: NotApplied,
            });
        "of an annotation that is longer than the status can hold, the part that it holds counts":
            given(stalled().annotated(&"é".repeat(1500)).handled(&"é".repeat(1024)), 5) => Step::AwaitChange;
        "a delivered decision is final": given(delivered(), 5) => Step::AwaitChange;
        "… even if it is edited": given(delivered().edited().suspended(), 5) => Step::AwaitChange;
        "… even if it is annotated": given(delivered().annotated("now"), WEEK + 5) => Step::AwaitChange;
        "a suspended decision says so": given(fresh().suspended(), 5) => write(Outcome::Suspended);
        "a resumed decision starts over": given(suspended(), 5) => first_attempt(5);
        "a decision that is still suspended still says so":
            given(suspended().suspended(), 5) => write(Outcome::Suspended);
        "a reason in flight without a submission in the status: the result is submitted":
            given(fresh().with_reason(Reason::Submitting), 5) => first_attempt(5);
        "an unknown reason is no progress":
            given(stalled().with_status(|status| status.conditions[0].reason = "Bogus".to_owned()), 5)
            => first_attempt(5);
        "times are rounded to the millisecond":
            Case { now: at(5) + SignedDuration::from_nanos(400_000), ..given(fresh(), 0) } => first_attempt(5);
    }
}

#[test]
fn each_final_reason_waits_for_a_change_and_no_other_does() {
    for reason in Reason::ALL {
        let decision = || fresh().with_reason(*reason).submitted(1, 0, 20);
        let (unchanged, edited) = (given(decision(), 500).step(), given(decision().edited(), 500).step());
        let expected = match reason.ready_class() {
            ReadyClass::Settled => (Step::AwaitChange, Step::AwaitChange),
            ReadyClass::Stalled => (Step::AwaitChange, first_attempt(500)),
            ReadyClass::Suspended | ReadyClass::Waiting => (first_attempt(500), first_attempt(500)),
            ReadyClass::Retrying => (Step::RecordIntent(intent(2, 500, 520, NotApplied)), first_attempt(500)),
            ReadyClass::InFlight => (Step::ReadRecord(token()), Step::ReadRecord(token())),
        };
        assert_eq!((unchanged, edited), expected, "{reason:?}");
    }
}

#[test]
fn nothing_is_sent_after_a_limit() {
    let limited = || fresh().not_after(at(60));
    let expired = || write(Outcome::Expired { expiry: Expiry::NotAfter(at(60)), caveat: None });
    let expired_by_waiting_limit = || write(Outcome::Expired { expiry: Expiry::WaitingLimit(at(WEEK)), caveat: None });
    let expired_unread = |seconds| {
        let caveat = Some(Caveat::HistoryUnreadable("the connection broke".to_owned()));
        write(Outcome::Expired { expiry: Expiry::NotAfter(at(seconds)), caveat })
    };
    rows! {
        "until notAfter a result may be sent": given(limited(), 59) => first_attempt(59);
        "at notAfter the operator first reads the history": given(limited(), 60) => Step::ReadRecord(token());
        "the request is not in it: expired": given(limited(), 60).record(ApprovalRecord::NotVisible) => expired();
        "history is longer than what is read: the outcome does not claim that no result was accepted":
            given(limited(), 60).record(ApprovalRecord::BeyondHistory)
            => write(Outcome::Expired { expiry: Expiry::NotAfter(at(60)), caveat: Some(Caveat::BeyondHistory) });
        "the request is pending: expired": given(limited(), 60).record(ApprovalRecord::Pending(ids())) => expired();
        "the history lags: expired": given(limited(), 60).record(ApprovalRecord::Lagging(ids())) => expired();
        "a history that cannot be read is read again during the first minute of a new decision":
            given(fresh().not_after(at(-900)), 5).unreadable() => wait(20);
        "… and not after it": given(fresh().not_after(at(-900)), 50).unreadable() => wait(60);
        "… then the decision is expired, and reports that the history could not be read":
            given(limited(), 60).unreadable() => expired_unread(60);
        "a decision with an attempt is not new":
            given(fresh().not_after(at(5)).with_reason(Reason::Throttled).submitted(1, 0, 20), 5).unreadable()
            => expired_unread(5);
        "the pipeline does not exist: expired":
            given(limited(), 60).record(ApprovalRecord::PipelineNotFound(exception("PipelineNotFound"))) => expired();
        "a restored decision was delivered before":
            given(limited(), 60).record(completed_record(Approved, -900))
            => already_decided(completed_approval(Approved, -900), None);
        "the approval received another result: expired":
            given(limited(), 60).record(completed_record(Rejected, -900)) => expired();
        "the approval ended without a response: expired":
            given(limited(), 60).record(completed_record(None, -900)) => expired();
        "until the waiting limit a result may be sent": given(fresh(), WEEK - 1) => first_attempt(WEEK - 1);
        "at the waiting limit the operator first reads the history": given(fresh(), WEEK) => Step::ReadRecord(token());
        "the outcome names the waiting limit":
            given(fresh(), WEEK).record(ApprovalRecord::NotVisible) => expired_by_waiting_limit();
        "after both limits, the outcome names the first":
            given(limited(), WEEK).record(ApprovalRecord::NotVisible) => expired();
        "a notAfter after the waiting limit does not extend it":
            given(fresh().not_after(at(WEEK + 60)), WEEK).record(ApprovalRecord::NotVisible)
            => expired_by_waiting_limit();
        "a decision without a creation time has not waited yet":
            given(fresh().with(|decision| decision.metadata.creation_timestamp = None), 2 * WEEK)
            => first_attempt(2 * WEEK);
        "a notAfter that is in no calendar is reported":
            given(fresh().not_after("2026-02-30T00:00:00Z"), 5) => invalid_not_after("2026-02-30T00:00:00Z");
        "Suspended comes before Expired": given(limited().suspended(), 60) => write(Outcome::Suspended);
        "Suspended comes before an invalid notAfter":
            given(fresh().not_after("soon").suspended(), 5) => write(Outcome::Suspended);
    }
}

#[test]
fn a_spec_without_exactly_one_binding_is_reported() {
    let neither = || fresh().with(|decision| decision.spec.token = None);
    rows! {
        "a fresh decision": given(neither(), 5) => write(Outcome::Invalid(InvalidSpec::Binding));
        "one that was throttled":
            given(neither().with_reason(Reason::Throttled).submitted(1, 0, 20), 5)
            => write(Outcome::Invalid(InvalidSpec::Binding));
    }
}

#[test]
fn an_attempt_that_was_not_applied_is_retried_after_a_delay() {
    let throttled = || fresh().with_reason(Reason::Throttled).submitted(20, 0, 20);
    let next = next_attempt(&throttled(), &submission(20, 0, 20));
    let after = |decision| Case { now: next, ..given(decision, 0) };
    let retry = Intent {
        submission: Submission {
            attempts: 21,
            start_time: next,
            deadline: next + SignedDuration::from_secs(20),
            token: token(),
        },
        ids: ids(),
        prior: NotApplied,
    };
    let was_throttled = |decision| response_for(decision, Err(not_applied(RetryCause::Throttled)));
    rows! {
        "before the delay is over, it waits": given(throttled(), 0) => Step::WaitUntil(next);
        "it does not wait for a forged attempt in the future":
            given(fresh().with_reason(Reason::Throttled).submitted(1, WEEK, WEEK), 0)
            => Step::RecordIntent(intent(2, 0, 20, NotApplied));
        "after the delay, the next attempt starts": after(throttled().with_ids(ids())) => Step::RecordIntent(retry);
        "it does not wait past a limit": given(throttled().not_after(at(1)), 0) => wait(1);
        "a limit that passes during the delay ends it":
            given(throttled().not_after(at(1)), 1) => Step::ReadRecord(token());
        "a suspended decision is not retried": after(throttled().suspended()) => write(Outcome::Suspended);
        "an edited decision does not wait": given(throttled().edited(), 1) => first_attempt(1);
        "an annotated decision does not wait": given(throttled().annotated("now"), 1) => first_attempt(1);
        "the delay is at least a second, however long the attempt took": was_throttled(fresh()) => throttled_until(2);
        "the delay ends with the limit": was_throttled(fresh().not_after(at(1))) => throttled_until(1);
    }
}

#[test]
fn delays_grow_from_a_second_to_five_minutes_and_do_not_depend_on_when_they_are_computed() {
    let max = i64::try_from(SUBMISSION.max.as_secs()).expect("seconds");
    assert_eq!(max, 300);
    let mut drawn = std::collections::HashSet::new();
    for attempts in [i64::MIN, 0, 1, 2, 3, 4, 8, 9, 20, 63, 64, i64::MAX] {
        let ceiling = SignedDuration::from_secs(if attempts < 1 { 1 } else { max.min(1 << attempts.min(9)) });
        let mut longest = SignedDuration::ZERO;
        for number in 0..200 {
            let decision = fresh().with(|decision| decision.metadata.uid = Some(number.to_string()));
            let last = submission(attempts, 0, 20);
            let delay = next_attempt(&decision, &last).duration_since(at(0));
            assert!(SignedDuration::from_secs(1) <= delay && delay <= ceiling, "{attempts}: {delay:?}");
            assert_eq!(next_attempt(&decision.suspended(), &last).duration_since(at(0)), delay);
            drawn.insert(delay);
            longest = longest.max(delay);
        }
        assert!(longest * 10 > ceiling * 9, "{attempts}: the longest of 200 delays is {longest:?} of {ceiling:?}");
    }
    assert!(drawn.len() > 1000, "the jitter has only {} values", drawn.len());
}

#[test]
fn a_recorded_intent_is_sent_once_if_that_is_still_allowed() {
    let recorded = |decision, attempts, prior, now| Case {
        attempt: Attempt::IntentRecorded(intent(attempts, 0, 20, prior)),
        ..given(decision, now)
    };
    let in_time = |decision| recorded(decision, 1, NotApplied, 1);
    let send = |seconds| Step::Send { intent: intent(1, 0, 20, NotApplied), send_deadline: at(seconds) };
    let renewed = |prior, start| Step::RecordIntent(intent(1, start, 26, prior));
    rows! {
        "the request is sent": in_time(fresh()) => send(5);
        "it may be almost 5 s late": recorded(fresh(), 1, NotApplied, 4) => send(5);
        "later, the intent is recorded again": recorded(fresh(), 1, NotApplied, 6) => renewed(NotApplied, 6);
        "the request must leave before notAfter, if that is sooner": in_time(fresh().not_after(at(3))) => send(3);
        "after doubt, the intent keeps the time of the first attempt":
            recorded(fresh(), 1, InDoubt, 6) => renewed(InDoubt, 0);
        "suspended meanwhile: nothing is sent": in_time(fresh().suspended()) => write(Outcome::Suspended);
        "expired meanwhile: the operator reads the history":
            in_time(fresh().not_after(at(1))) => Step::ReadRecord(token());
        "… and nothing is sent":
            in_time(fresh().not_after(at(1))).record(ApprovalRecord::Pending(ids()))
            => write(Outcome::Expired { expiry: Expiry::NotAfter(at(1)), caveat: None });
        "an invalid notAfter is reported here too": in_time(fresh().not_after("")) => invalid_not_after("");
    }
}

#[test]
fn a_response_settles_what_it_can() {
    let delivered = |approved_at| write(Outcome::Delivered { approved_at, record: None });
    let in_doubt = |cause| unconfirmed(cause, unknown_ids(), 20);
    let lost = || UnconfirmedCause::ResponseLost("the connection broke".to_owned());
    rows! {
        "accepted": response(NotApplied, Ok(Some(at(1)))) => delivered(Some(at(1)));
        "accepted, without approvedAt": response(NotApplied, Ok(None)) => delivered(None);
        "accepted, after doubt": response(InDoubt, Ok(Some(at(1)))) => delivered(Some(at(1)));
        "lost: the operator reads the history once no request can reach CodePipeline any more":
            response(NotApplied, Err(indeterminate())) => in_doubt(lost());
        "lost, after doubt": response(InDoubt, Err(indeterminate())) => in_doubt(lost());
        "not applied, after doubt: the doubt remains":
            response(InDoubt, Err(not_applied(RetryCause::Throttled)))
            => in_doubt(UnconfirmedCause::RetryFailed("not now".to_owned()));
    }
    for cause in [
        RetryCause::Throttled,
        RetryCause::AccessDenied,
        RetryCause::CredentialsUnavailable,
        RetryCause::ServiceUnavailable,
    ] {
        let expected = write(Outcome::Retrying {
            submission: submission(1, 0, 20),
            cause,
            exception: Some(exception(Reason::from(cause).as_str())),
            detail: "not now".to_owned(),
            // The back-off alone gives 1.317 s, but a failure that took long is not followed at once.
            next: at(2),
        });
        assert_eq!(response(NotApplied, Err(not_applied(cause))).step(), expected);
    }
    for refusal in [
        Refusal::InvalidApprovalToken,
        Refusal::PipelineNotFound,
        Refusal::StageNotFound,
        Refusal::ActionNotFound,
        Refusal::ValidationFailed,
    ] {
        let expected = refused(refusal, Some(exception(Reason::from(refusal).as_str())), None);
        let step = |prior| response(prior, Err(self::refusal(refusal))).step();
        assert_eq!((step(NotApplied), step(InDoubt)), (expected, write(refused_after_doubt(refusal))));
    }
}
