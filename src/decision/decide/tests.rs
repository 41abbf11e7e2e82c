//! Every branch of [`decide`], as rows of an observation and the exact next step. Times are in seconds since the creation of the
//! decision.

use super::{
    Attempt, CallError, Intent, Observed, Outcome, PriorAttempts, Refusal, Step, Submission, Timestamp,
    UnconfirmedCause, Wait, decide, next_attempt,
};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalStatus, Exception, InvalidSpec, ReadyClass, Reason, SubmissionOutcome, Unsupported,
};
use crate::codepipeline::{CompletedApproval, ExecutionIds, PipelineObservation, RetryCause};
use crate::decision::conflict::Rejections;
use crate::decision::outcome::Caveat;
use crate::decision::resolve::{Candidates, Missing};
use crate::decision::target::TargetObservation;
use crate::decision::test_fixtures::outcomes::refused_after_doubt;
use crate::decision::test_fixtures::pipeline::*;
use crate::decision::test_fixtures::targets::own;
use crate::decision::test_fixtures::*;
use crate::decision::timing::Expiry;
use ApprovalStatus::{Approved, Rejected};
use PriorAttempts::{InDoubt, NotApplied};
use jiff::SignedDuration;

mod attempts;
mod conflicts;
mod executions;
mod explanations;
mod histories;
mod properties;
mod recovery;
mod targets;

/// What a reconcile knows, and the time. No other decision rejects anything, unless a test says so.
struct Case {
    decision: ApprovalDecision,
    attempt: Attempt,
    target: Option<TargetObservation>,
    pipeline: Option<PipelineObservation>,
    rejections: Option<Rejections>,
    now: Timestamp,
}

fn given(decision: ApprovalDecision, seconds: i64) -> Case {
    let rejections = Some(Rejections::Listed(Vec::new()));
    Case { decision, attempt: Attempt::None, target: Some(own()), pipeline: None, rejections, now: at(seconds) }
}

impl Case {
    /// A poll that starts now finds this.
    fn polled(mut self, pipeline: &TestPipeline) -> Self {
        let seconds = self.now.duration_since(at(0)).as_secs();
        self.pipeline = Some(pipeline.poll_at(seconds, &self.decision));
        self
    }

    /// This many seconds pass after the poll.
    fn after(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    fn step(&self) -> Step {
        let observed = Observed {
            decision: &self.decision,
            attempt: &self.attempt,
            target: self.target.as_ref(),
            pipeline: self.pipeline.as_ref(),
            rejections: self.rejections.as_ref(),
        };
        decide(&observed, &SETTINGS, self.now)
    }
}

/// At second 1, the response to an attempt that started at 0: the first one, or the second one after others.
fn response(prior: PriorAttempts, result: Result<Option<Timestamp>, CallError>) -> Case {
    response_for(fresh(), prior, result)
}

/// The [`response`] for this decision.
fn response_for(
    decision: ApprovalDecision,
    prior: PriorAttempts,
    result: Result<Option<Timestamp>, CallError>,
) -> Case {
    let attempts = if prior == NotApplied { 1 } else { 2 };
    let decision = decision.with_reason(Reason::Submitting).submitted(attempts, 0, 25);
    Case { attempt: Attempt::Submitted(intent(attempts, 0, 25, prior), result), ..given(decision, 1) }
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

fn read_until(seconds: i64) -> Step {
    Step::ReadPipeline(at(seconds))
}

/// The account and the region of an intent are filled in when there are credentials.
fn record(intent: Intent) -> Step {
    let (account_id, region) = (String::new(), String::new());
    Step::RecordIntent(Intent { submission: Submission { account_id, region, ..intent.submission }, ..intent })
}

fn first_attempt(seconds: i64) -> Step {
    record(intent(1, seconds, seconds + 25, NotApplied))
}

fn with_ids(intent: Intent, ids: ExecutionIds) -> Intent {
    let ExecutionIds { pipeline: pipeline_execution_id, action: action_execution_id } = ids;
    Intent { submission: Submission { pipeline_execution_id, action_execution_id, ..intent.submission }, ..intent }
}

fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<CompletedApproval>) -> Step {
    write(Outcome::Refused { refusal, exception, record, open: None, names: None, caveat: None })
}

fn already_decided(record: CompletedApproval, exception: Option<Exception>) -> Step {
    write(Outcome::AlreadyDecided { record, open: None, exception })
}

/// History shows that our result was accepted.
fn delivered_by(record: CompletedApproval) -> Step {
    write(Outcome::Delivered { approved_at: record.at, record: Some(record) })
}

fn unconfirmed(cause: UnconfirmedCause, ids: ExecutionIds, next: i64) -> Step {
    write(Outcome::Unconfirmed { cause, refused: None, ids, next: at(next) })
}

fn unknown_ids() -> ExecutionIds {
    ExecutionIds::default()
}

fn history_unreadable() -> UnconfirmedCause {
    UnconfirmedCause::HistoryUnreadable("the connection broke".to_owned())
}

fn not_a_time(field: &'static str, text: &str) -> Step {
    write(Outcome::Invalid(InvalidSpec::NotATime { field, found: text.to_owned() }))
}

fn suspended_until(not_after: Option<i64>) -> Step {
    write(Outcome::Suspended { not_after: not_after.map(at) })
}

fn expired(caveat: Option<Caveat>) -> Step {
    write(Outcome::Expired { expiry: Expiry::NotAfter(at(60)), caveat })
}

#[test]
fn a_decision_starts_waits_for_a_change_or_starts_over() {
    let stalled = || fresh().with_reason(Reason::InvalidApprovalToken).submitted(3, 0, 25);
    let with_empty_status = |decision: &mut ApprovalDecision| {
        decision.status = Some(crate::api::v1alpha1::ApprovalDecisionStatus::default())
    };
    let suspended = || fresh().with_reason(Reason::Suspended).submitted(3, 0, 25);
    let bogus = |decision: ApprovalDecision| {
        decision.with_status(|status| {
            status.conditions.iter_mut().for_each(|condition| condition.reason = "Bogus".to_owned());
        })
    };
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
        "of an annotation that is longer than the status can hold, the part that it holds counts":
            given(stalled().annotated(&"é".repeat(1500)).handled(&"é".repeat(1024)), 5) => Step::AwaitChange;
        "a decision that is being deleted is not touched": given(fresh().deleted(), 5) => Step::AwaitChange;
        "… also if it was stalled": given(stalled().deleted(), 5) => Step::AwaitChange;
        "a suspended decision says so": given(fresh().suspended(), 5) => suspended_until(None);
        "a resumed decision starts over": given(suspended().edited(), 5) => first_attempt(5);
        "a decision that is still suspended still says so":
            given(suspended().suspended(), 5) => suspended_until(None);
        "a reason in flight without a submission in the status: the result is submitted":
            given(fresh().with_reason(Reason::Submitting), 5) => first_attempt(5);
        "an unknown reason of a stalled decision: it stays final": given(bogus(stalled()), 5) => Step::AwaitChange;
        "… of a submission without an outcome: it is in doubt": given(bogus(fresh().in_doubt()), 25) => read_until(85);
        "… and of one that was not applied: it is not final":
            given(bogus(fresh().with_reason(Reason::Throttled).submitted(3, 0, 25)), 5) => first_attempt(5);
        "times are rounded to the millisecond":
            Case { now: at(5) + SignedDuration::from_nanos(400_000), ..given(fresh(), 0) } => first_attempt(5);
    }
}

#[test]
fn a_delivered_decision_is_final_until_an_edit() {
    let delivered = || fresh().with_reason(Reason::Delivered).submitted(1, 0, 25);
    let same = || write(Outcome::Delivered { approved_at: None, record: None });
    let other = Intent {
        submission: Submission { token: other_token(), attempts: 2, ..submission(1, 5, 30) },
        ..intent(1, 5, 30, NotApplied)
    };
    let other = Intent { submission: Submission { attempts: 1, ..other.submission.clone() }, ..other };
    let approved = CompletedApproval { at: None, by: None, ids: unknown_ids(), ..completed_approval(Approved, 0) };
    rows! {
        "it waits for a change": given(delivered(), 5) => Step::AwaitChange;
        "also after an annotation": given(delivered().annotated("now"), WEEK + 5) => Step::AwaitChange;
        "an edit that names the same request sends nothing": given(delivered().edited(), 5) => same();
        "… also if it suspends the decision": given(delivered().edited().suspended(), 5) => same();
        "… or sets a limit that has passed": given(delivered().edited().not_after(at(1)), 5) => same();
        "another result comes too late":
            given(delivered().edited().with_result(Rejected, "no"), 5)
            => refused(Refusal::ApprovalAlreadyCompleted, None, Some(approved));
        "another token is another request":
            given(delivered().edited().naming_token(other_token()), 5) => record(other);
    }
}

#[test]
fn each_final_reason_waits_for_a_change_and_no_other_does() {
    for reason in Reason::ALL {
        let decision = || fresh().with_reason(*reason).submitted(1, 0, 25);
        let (unchanged, edited) = (given(decision(), 500).step(), given(decision().edited(), 500).step());
        let expected = match reason.ready_class() {
            ReadyClass::Settled if *reason == Reason::Delivered => {
                (Step::AwaitChange, write(Outcome::Delivered { approved_at: None, record: None }))
            }
            // These are evaluated again when the target changes.
            ReadyClass::Stalled if matches!(reason, Reason::TargetForbidden | Reason::TargetRequired) => {
                (first_attempt(500), first_attempt(500))
            }
            ReadyClass::Settled | ReadyClass::Stalled => (Step::AwaitChange, first_attempt(500)),
            ReadyClass::Suspended | ReadyClass::Pending | ReadyClass::Waiting => {
                (first_attempt(500), first_attempt(500))
            }
            ReadyClass::Retrying => (record(intent(2, 500, 525, NotApplied)), first_attempt(500)),
            ReadyClass::InFlight => (read_until(560), read_until(560)),
        };
        assert_eq!((unchanged, edited), expected, "{reason:?}");
    }
}

#[test]
fn what_this_version_does_not_know_is_not_acted_on() {
    let unsupported = |unsupported: Unsupported| fresh().with(|decision| decision.spec.unsupported = Some(unsupported));
    let (field, value) =
        (Unsupported::SpecField("targetRef".to_owned()), Unsupported::SpecValue("Postponed".to_owned()));
    let invalid = |unsupported| write(Outcome::Invalid(InvalidSpec::Unsupported(unsupported)));
    rows! {
        "a field of the spec": given(unsupported(field.clone()), 5) => invalid(field.clone());
        "… also while suspended": given(unsupported(field.clone()).suspended(), 5) => invalid(field);
        "a value in the spec": given(unsupported(value.clone()).naming_nothing(), 5) => invalid(value);
        "a status of a newer version, which must not be overwritten":
            given(unsupported(Unsupported::Status("unknown".to_owned())), 5) => Step::AwaitChange;
        "neither exactly one binding":
            given(fresh().naming_nothing(), 5) => write(Outcome::Invalid(InvalidSpec::Binding));
        "… after it was throttled":
            given(fresh().with_reason(Reason::Throttled).submitted(1, 0, 25).naming_nothing(), 5)
            => write(Outcome::Invalid(InvalidSpec::Binding));
        "a notAfter that is in no calendar":
            given(fresh().not_after("2026-02-30T00:00:00Z"), 5) => not_a_time("notAfter", "2026-02-30T00:00:00Z");
        "… also while suspended": given(fresh().not_after("soon").suspended(), 5) => not_a_time("notAfter", "soon");
        "an ignoreResponsesBefore that is in no calendar":
            given(fresh().ignoring_responses_before("soon"), 5) => not_a_time("ignoreResponsesBefore", "soon");
        "an ignoreResponsesBefore in the future":
            given(fresh().ignoring_responses_before(at(16)), 5)
            => write(Outcome::Invalid(InvalidSpec::FutureTime(at(16))));
        "… by no more than clocks differ": given(fresh().ignoring_responses_before(at(15)), 5) => Step::WaitUntil(at(15));
        "… which has passed": given(fresh().ignoring_responses_before(at(5)), 5) => first_attempt(5);
    }
}

#[test]
fn nothing_is_sent_after_a_limit() {
    let limited = || fresh().not_after(at(60));
    let unread = || Some(Caveat::HistoryUnreadable("the connection broke".to_owned()));
    let waiting_limit = |seconds| write(Outcome::Expired { expiry: Expiry::WaitingLimit(at(seconds)), caveat: None });
    let until_60 = || Step::AwaitSnapshot { recheck_at: None, until: at(60) };
    let new = || fresh().not_after(at(-900));
    let approved = || completed_request(&completed_approval(Approved, -900));
    let rejected = || completed_request(&completed_approval(Rejected, -900));
    let restarted = |seconds| {
        let waiting = fresh().with_reason(Reason::Waiting);
        waiting.with_status(|status| status.waiting_since = Some(at(seconds)))
    };
    rows! {
        "until notAfter a result may be sent": given(limited(), 59) => first_attempt(59);
        "at notAfter the operator first reads the history": given(limited(), 60) => read_until(75);
        "a poll that started before shows no response: another is needed": given(limited(), 59).polled(&pipeline()).after(1)
            => Step::AwaitSnapshot { recheck_at: Some(at(60)), until: at(75) };
        "the request is not in it: expired": given(limited(), 60).polled(&pipeline()) => expired(None);
        "history is longer than what is read: the outcome does not claim that no result was accepted":
            given(limited(), 60).polled(&endless_pipeline()) => expired(Some(Caveat::BeyondHistory));
        "the request is pending: expired": given(limited(), 60).polled(&pending_request()) => expired(None);
        "the history lags: expired": given(limited(), 60).polled(&lagging_request()) => expired(None);
        "a history that cannot be read is read again during the first minute of a new decision":
            given(new(), 5).polled(&pipeline_without_history(indeterminate())) => until_60();
        "… and a pipeline": given(new(), 5).polled(&unreadable_pipeline(indeterminate())) => until_60();
        "after that, the decision reports that the history could not be read":
            given(limited(), 60).polled(&pipeline_without_history(indeterminate())) => expired(unread());
        "… or the pipeline": given(limited(), 60).polled(&unreadable_pipeline(indeterminate())) => expired(unread());
        "the pipeline does not exist: expired": given(limited(), 60).polled(&missing_pipeline()) => expired(None);
        "a restored decision was delivered before":
            given(limited(), 60).polled(&approved()) => already_decided(completed_approval(Approved, -900), None);
        "… with the ids of an earlier attempt":
            given(limited().with_reason(Reason::Throttled).submitted(1, 0, 25).with_ids(ids()), 60).polled(&approved())
            => already_decided(completed_approval(Approved, -900), None);
        "… and history shows nothing of it":
            given(limited().with_reason(Reason::Throttled).submitted(1, 0, 25).with_ids(ids()), 60).polled(&pipeline())
            => expired(None);
        "a response comes before the limit":
            given(limited(), 60).polled(&rejected())
            => refused(Refusal::ApprovalAlreadyCompleted, None, Some(completed_approval(Rejected, -900)));
        "the approval ended without a response: expired":
            given(limited(), 60).polled(&completed_request(&completed_approval(None, -900))) => expired(None);
        "until the waiting limit a result may be sent": given(fresh(), WEEK - 1) => first_attempt(WEEK - 1);
        "at the waiting limit the operator first reads the history": given(fresh(), WEEK) => read_until(WEEK + 15);
        "the outcome names the waiting limit": given(fresh(), WEEK).polled(&pipeline()) => waiting_limit(WEEK);
        "a notAfter in three weeks does not end after seven days":
            given(fresh().not_after(at(3 * WEEK)), WEEK + 5) => first_attempt(WEEK + 5);
        "the waiting limit counts from waitingSince": given(restarted(WEEK), WEEK + 5) => first_attempt(WEEK + 5);
        "… and passes": given(restarted(5), WEEK + 5).polled(&pipeline()) => waiting_limit(WEEK + 5);
        "… but not from a time in the future": given(restarted(3 * WEEK), 5) => first_attempt(5);
        "it counts from an edit":
            given(fresh().with_reason(Reason::Expired).edited(), 2 * WEEK) => first_attempt(2 * WEEK);
        "… from a new value of the annotation":
            given(fresh().with_reason(Reason::Expired).annotated("now"), 2 * WEEK) => first_attempt(2 * WEEK);
        "… and from the release of a decision that was suspended for more than seven days":
            given(fresh().with_reason(Reason::Suspended).edited(), 2 * WEEK) => first_attempt(2 * WEEK);
        "a decision without a creation time has not waited yet":
            given(fresh().with(|decision| decision.metadata.creation_timestamp = None), 2 * WEEK)
            => first_attempt(2 * WEEK);
        "a suspended decision wakes at notAfter": given(limited().suspended(), 59) => suspended_until(Some(60));
        "… and is expired then": given(limited().suspended(), 60).polled(&pipeline()) => expired(None);
    }
}
