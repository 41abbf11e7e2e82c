//! A submission whose outcome is unknown, and a request that was completed before the result arrived.

use super::*;
use crate::codepipeline::{ActionCompletion, CompletionStatus};

#[test]
fn a_submission_with_an_unknown_outcome_is_looked_up_in_the_history() {
    let in_doubt = || fresh().in_doubt();
    let forged = || fresh().with_reason(Reason::Unconfirmed).submitted(1, 0, WEEK);
    let approved = |seconds| at_deadline(in_doubt(), completed_record(Approved, seconds));
    let with_summary = |summary: &str| {
        let approval = CompletedApproval { summary: Some(summary.to_owned()), ..completed_approval(Approved, 9) };
        (ApprovalRecord::Completed(approval.clone()), approval)
    };
    let ((other_record, other), (own_record, own)) = (with_summary("mine"), with_summary("Approved by ada"));
    let timeless = CompletedApproval { at: None, ..completed_approval(Approved, 9) };
    let gone = exception("PipelineNotFound");
    let completed = |record| refused(Refusal::ApprovalAlreadyCompleted, None, Some(record));
    let not_yet = |ids, next| unconfirmed(UnconfirmedCause::NotInHistory, ids, next);
    let expired_at_20 = |caveat| write(Outcome::Expired { expiry: Expiry::NotAfter(at(20)), caveat });
    rows! {
        "nothing is read while the request may still arrive": given(in_doubt(), 19) => wait(20);
        "… even if the history was read": given(in_doubt(), 19).record(completed_record(Approved, 9)) => wait(20);
        "then the operator reads the history": given(in_doubt(), 20) => Step::ReadRecord(token());
        "it does not wait for a deadline that no attempt can have": given(forged(), 20) => Step::ReadRecord(token());
        "… nor for a trace of what was never sent":
            given(forged(), 20).record(ApprovalRecord::NotVisible) => next_after_doubt(2, 0, 20, unknown_ids());
        "a crash before the response is the same": given(crashed(), 20) => Step::ReadRecord(token());
        "our result, during our attempt": approved(9) => delivered_by(completed_approval(Approved, 9));
        "our result, by a clock that is slow": approved(-5) => delivered_by(completed_approval(Approved, -5));
        "our result, at the deadline": approved(20) => delivered_by(completed_approval(Approved, 20));
        "the same result before our attempt": approved(-6) => already_decided(completed_approval(Approved, -6), None);
        "the same result after our attempt": approved(21) => already_decided(completed_approval(Approved, 21), None);
        "another summary": at_deadline(in_doubt(), other_record) => already_decided(other, None);
        "no time in the history":
            at_deadline(in_doubt(), ApprovalRecord::Completed(timeless.clone())) => already_decided(timeless, None);
        "our summary is empty: CodePipeline's own summary does not count":
            at_deadline(in_doubt().with_result(Approved, ""), own_record) => delivered_by(own);
        "… but the result does":
            at_deadline(in_doubt().with_result(Approved, ""), completed_record(Rejected, 9))
            => completed(completed_approval(Rejected, 9));
        "another result":
            at_deadline(in_doubt(), completed_record(Rejected, 9)) => completed(completed_approval(Rejected, 9));
        "our rejection, in a history that does not say who responded":
            at_deadline(in_doubt().with_result(Rejected, SUMMARY), ApprovalRecord::Completed(unattributed(SUMMARY)))
            => delivered_by(unattributed(SUMMARY));
        "… and one with another summary":
            at_deadline(in_doubt().with_result(Rejected, "other"), ApprovalRecord::Completed(unattributed(SUMMARY)))
            => already_decided(unattributed(SUMMARY), None);
        "no response": at_deadline(in_doubt(), completed_record(None, 9)) => completed(completed_approval(None, 9));
        "the pipeline does not exist":
            at_deadline(in_doubt(), ApprovalRecord::PipelineNotFound(gone))
            => write(refused_after_doubt(Refusal::PipelineNotFound));
        "still pending: the result is submitted again":
            at_deadline(in_doubt(), ApprovalRecord::Pending(ids())) => next_after_doubt(2, 0, 20, ids());
        "not visible: the operator reads again":
            at_deadline(in_doubt().with_ids(ids()), ApprovalRecord::NotVisible) => not_yet(ids(), 35);
        "lagging: the operator reads again":
            at_deadline(in_doubt(), ApprovalRecord::Lagging(ids())) => not_yet(ids(), 35);
        "… when the minute is over, if that is sooner":
            given(in_doubt(), 70).record(ApprovalRecord::NotVisible) => not_yet(unknown_ids(), 80);
        "not visible for a minute: the result is submitted again":
            given(in_doubt(), 80).record(ApprovalRecord::NotVisible) => next_after_doubt(2, 0, 80, unknown_ids());
        "beyond the history that is read: the same token is submitted again":
            given(in_doubt(), 80).record(ApprovalRecord::BeyondHistory) => next_after_doubt(2, 0, 80, unknown_ids());
        "lagging for a minute: the result is submitted again":
            given(in_doubt(), 80).record(ApprovalRecord::Lagging(ids())) => next_after_doubt(2, 0, 80, ids());
        "a read that started before the minute was over is not conclusive":
            given(in_doubt(), 79).record(ApprovalRecord::NotVisible).after(60) => not_yet(unknown_ids(), 80);
        "the history cannot be read: the operator reads again":
            given(in_doubt().with_ids(ids()), 79).unreadable() => unconfirmed(history_unreadable(), ids(), 94);
        "nothing is submitted again during a deletion":
            given(in_doubt().deleted(), 20).record(ApprovalRecord::Pending(ids())) => Step::AwaitChange;
        "… but the outcome is reported":
            given(in_doubt().deleted(), 20).record(completed_record(Approved, 9))
            => delivered_by(completed_approval(Approved, 9));
        "nothing is submitted again after a limit":
            given(in_doubt().not_after(at(20)), 20).record(ApprovalRecord::Pending(ids())) => expired_at_20(None);
        "after a limit and without a trace, the outcome does not claim that no result was accepted":
            given(in_doubt().not_after(at(20)), 80).record(ApprovalRecord::NotVisible)
            => expired_at_20(Some(Caveat::NoTraceOfAttempt));
        "… nor that history shows no trace, if only a part of it was read":
            given(in_doubt().not_after(at(20)), 80).record(ApprovalRecord::BeyondHistory)
            => expired_at_20(Some(Caveat::BeyondHistory));
        "after a limit, the history comes first":
            given(in_doubt().not_after(at(20)), 20).record(completed_record(Approved, 9))
            => delivered_by(completed_approval(Approved, 9));
        "nothing is submitted again while the decision is suspended":
            given(in_doubt().suspended(), 20).record(ApprovalRecord::Pending(ids())) => write(Outcome::Suspended);
        "the number of attempts saturates":
            given(fresh().with_reason(Reason::Unconfirmed).submitted(i64::MAX, 0, 20), 300)
                .record(ApprovalRecord::Pending(ids()))
            => next_after_doubt(i64::MAX, 0, 300, ids());
    }
}

/// The delay after a read of an unreadable history, this many seconds after history should show the outcome.
fn delay_of_next_read(given: impl Fn(i64) -> Case, seconds: i64) -> SignedDuration {
    let case = given(seconds).unreadable();
    match case.step() {
        Step::WriteStatus(Outcome::Unconfirmed { next, .. }) => next.duration_since(case.now),
        step => panic!("not unconfirmed: {step:?}"),
    }
}

#[test]
fn reads_of_a_history_that_stays_unreadable_back_off_to_five_minutes() {
    let (interval, longest) = (SETTINGS.poll_interval, SignedDuration::from_mins(5));
    let recovering = |seconds: i64| given(fresh().in_doubt(), 80 + seconds);
    // After doubt only history can say, also after ten minutes.
    let refused = |seconds: i64| {
        let refusal = Err(refusal(Refusal::ApprovalAlreadyCompleted));
        Case { now: at(80 + seconds), ..response(InDoubt, refusal) }
    };
    let average = |given: &dyn Fn(i64) -> Case, from: i64| {
        let delays = (from..from + 200).map(|seconds| delay_of_next_read(given, seconds));
        let delays: Vec<_> = delays.inspect(|delay| assert!((interval..=longest).contains(delay), "{delay}")).collect();
        assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter");
        delays.iter().sum::<SignedDuration>().as_secs() / 200
    };
    for given in [&recovering as &dyn Fn(i64) -> Case, &refused] {
        assert!(delay_of_next_read(given, 0) < interval * 2);
        let averages = [average(given, 60), average(given, 700), average(given, WEEK)];
        assert!(
            averages[0] < 110 && (120..180).contains(&averages[1]) && (120..180).contains(&averages[2]),
            "{averages:?}"
        );
        assert_eq!(delay_of_next_read(given, WEEK), delay_of_next_read(given, WEEK), "a restart changes nothing");
    }
}

#[test]
fn attempts_after_doubt_back_off() {
    let pending_after = |attempts: i64, seconds: i64| {
        let decision = fresh().with_reason(Reason::Unconfirmed).submitted(attempts, 0, 20);
        (
            next_attempt(&decision, &submission(attempts, 0, 20)),
            given(decision, seconds).record(ApprovalRecord::Pending(ids())),
        )
    };
    let waits = (1..40).filter(|attempts| {
        let (next, case) = pending_after(*attempts, 20);
        let expected =
            if next <= at(20) { next_after_doubt(attempts + 1, 0, 20, ids()) } else { Step::WaitUntil(next) };
        assert_eq!(case.step(), expected, "attempt {attempts}");
        assert_eq!(pending_after(*attempts, 300).1.step(), next_after_doubt(attempts + 1, 0, 300, ids()));
        next > at(20)
    });
    assert!(waits.count() > 20);
}

/// A failed approval, as history shows it without `updatedBy`.
fn unattributed(summary: &str) -> CompletedApproval {
    let (status, summary) = (CompletionStatus::Failed, Some(summary.to_owned()));
    CompletedApproval::new(&ActionCompletion { status, summary, at: Some(at(9)), by: None }, ids())
}

fn crashed() -> ApprovalDecision {
    fresh().with_reason(Reason::Submitting).submitted(1, 0, 20)
}

/// At the deadline of the only attempt, the history shows this.
fn at_deadline(decision: ApprovalDecision, record: ApprovalRecord) -> Case {
    given(decision, 20).record(record)
}

#[test]
fn a_request_that_was_completed_before_is_looked_up_in_the_history() {
    let response = |prior| response(prior, Err(refusal(Refusal::ApprovalAlreadyCompleted)));
    let by_others = |record| refused(Refusal::ApprovalAlreadyCompleted, Some(already_completed()), record);
    let still_unknown = |cause, completed: Option<Exception>, ids, next| {
        write(Outcome::Unconfirmed { cause, completed, ids, next: at(next) })
    };
    let after_doubt = || write(refused_after_doubt(Refusal::ApprovalAlreadyCompleted));
    let response_at = |prior, seconds| Case { now: at(seconds), ..response(prior) };
    let remembered = || crashed().raised(already_completed()).with_ids(ids());
    let lagging = || ApprovalRecord::Lagging(ids());
    let not_in_history = || UnconfirmedCause::NotInHistory;
    rows! {
        "after a first attempt the operator reads the history": response(NotApplied) => Step::ReadRecord(token());
        "… after doubt too": response(InDoubt) => Step::ReadRecord(token());
        "a first attempt cannot have completed it":
            response(NotApplied).record(completed_record(Approved, 0))
            => already_decided(completed_approval(Approved, 0), Some(already_completed()));
        "an attempt before it can":
            response(InDoubt).record(completed_record(Approved, 0)) => delivered_by(completed_approval(Approved, 0));
        "… unless it was completed before our first attempt":
            response(InDoubt).record(completed_record(Approved, -6))
            => already_decided(completed_approval(Approved, -6), Some(already_completed()));
        "another result":
            response(NotApplied).record(completed_record(Rejected, 0))
            => by_others(Some(completed_approval(Rejected, 0)));
        "another result, after doubt":
            response(InDoubt).record(completed_record(Rejected, 0)) => by_others(Some(completed_approval(Rejected, 0)));
        "no response":
            response(NotApplied).record(completed_record(None, 0)) => by_others(Some(completed_approval(None, 0)));
        "no trace proves nothing": response(NotApplied).record(ApprovalRecord::NotVisible) => by_others(None);
        "no trace after doubt": response(InDoubt).record(ApprovalRecord::NotVisible) => after_doubt();
        "… nor a pipeline, after doubt":
            response(InDoubt).record(ApprovalRecord::PipelineNotFound(exception("PipelineNotFound")))
            => after_doubt();
        "a pipeline that does not exist proves nothing":
            response(NotApplied).record(ApprovalRecord::PipelineNotFound(exception("PipelineNotFound")))
            => by_others(None);
        "a history that lags is read again, and the exception is kept":
            response(NotApplied).record(lagging())
            => still_unknown(not_in_history(), Some(already_completed()), ids(), 16);
        "so is one that shows the request as pending":
            response(NotApplied).record(ApprovalRecord::Pending(ids()))
            => still_unknown(not_in_history(), Some(already_completed()), ids(), 16);
        "so is one that cannot be read":
            response(NotApplied).unreadable()
            => still_unknown(history_unreadable(), Some(already_completed()), unknown_ids(), 16);
        "after doubt the exception is not kept, because our own result may have completed the request":
            response(InDoubt).record(lagging()) => still_unknown(not_in_history(), None, ids(), 16);
        "ten minutes of contradiction after the deadline are enough":
            response_at(NotApplied, 620).record(lagging()) => by_others(None);
        "… after doubt too": response_at(InDoubt, 620).record(lagging()) => after_doubt();
        "… and of an unreadable history, for a first attempt":
            response_at(NotApplied, 620).unreadable() => by_others(None);
        "less than ten minutes are not":
            response_at(NotApplied, 619).record(lagging())
            => still_unknown(not_in_history(), Some(already_completed()), ids(), 620);
        "in a later reconcile the operator reads the history at once":
            given(remembered(), 5) => Step::ReadRecord(token());
        "… someone else completed the request, although the time and the summary are ours":
            given(remembered(), 5).record(completed_record(Approved, 0))
            => already_decided(completed_approval(Approved, 0), Some(already_completed()));
        "… or its outcome stays unknown, with the known ids":
            given(remembered(), 5).unreadable()
            => still_unknown(history_unreadable(), Some(already_completed()), ids(), 20);
    }
}
