//! What is done about an answer of unknown fate, and about a request that was completed before.

use super::*;

#[test]
fn an_answer_of_unknown_fate_is_looked_for_in_the_record() {
    let doubt = || fresh().in_doubt();
    let forged = || fresh().standing(Reason::Unconfirmed).submitted(1, 0, WEEK);
    let mine = |seconds| doubt_about(doubt(), over(Approved, seconds));
    let silent = |summary: &str| {
        let record = Finished { summary: Some(summary.to_owned()), ..finished(Approved, 9) };
        (Record::Finished(record.clone()), record)
    };
    let ((other_words, other_record), (service_words, service_record)) = (silent("mine"), silent("Approved by ada"));
    let timeless = Finished { at: None, ..finished(Approved, 9) };
    let gone = exception("PipelineNotFound");
    let completed = |record| refused(Refusal::ApprovalAlreadyCompleted, None, Some(record));
    let not_yet = |ids, next| unconfirmed(Doubt::NotInRecord, ids, next);
    rows! {
        "nothing is read while the request may still arrive": given(doubt(), 19) => wait(20);
        "… even if the record was read": given(doubt(), 19).record(over(Approved, 9)) => wait(20);
        "then the record is read": given(doubt(), 20) => Step::ReadRecord(token());
        "a deadline that no attempt has is nothing to wait for": given(forged(), 20) => Step::ReadRecord(token());
        "… nor is a trace of what was never sent":
            given(forged(), 20).record(Record::Unseen) => again(2, 0, 20, unknown());
        "a crash before the answer is no different": given(crashed(), 20) => Step::ReadRecord(token());
        "our answer, while we asked": mine(9) => recorded(finished(Approved, 9));
        "our answer, by a clock that is behind": mine(-5) => recorded(finished(Approved, -5));
        "our answer, at the deadline": mine(20) => recorded(finished(Approved, 20));
        "the same answer before we asked": mine(-6) => already_decided(finished(Approved, -6), None);
        "the same answer after we asked": mine(21) => already_decided(finished(Approved, 21), None);
        "other words": doubt_about(doubt(), other_words) => already_decided(other_record, None);
        "no time in the record":
            doubt_about(doubt(), Record::Finished(timeless.clone())) => already_decided(timeless, None);
        "where we had no words, the service's own do not count":
            doubt_about(doubt().answering(Approved, ""), service_words) => recorded(service_record);
        "… but the result does":
            doubt_about(doubt().answering(Approved, ""), over(Rejected, 9)) => completed(finished(Rejected, 9));
        "another result": doubt_about(doubt(), over(Rejected, 9)) => completed(finished(Rejected, 9));
        "nobody's answer": doubt_about(doubt(), over(None, 9)) => completed(finished(None, 9));
        "a pipeline that is gone":
            doubt_about(doubt(), Record::PipelineNotFound(gone.clone()))
            => refused(Refusal::PipelineNotFound, Some(gone), None);
        "still pending: asked again": doubt_about(doubt(), Record::Pending(ids())) => again(2, 0, 20, ids());
        "unseen: looked for again": doubt_about(doubt().known(ids()), Record::Unseen) => not_yet(ids(), 35);
        "lagging: looked for again": doubt_about(doubt(), Record::Lagging(ids())) => not_yet(ids(), 35);
        "… when the minute is over, if that is sooner":
            given(doubt(), 70).record(Record::Unseen) => not_yet(unknown(), 80);
        "unseen for a minute: asked again": given(doubt(), 80).record(Record::Unseen) => again(2, 0, 80, unknown());
        "lagging for a minute: asked again":
            given(doubt(), 80).record(Record::Lagging(ids())) => again(2, 0, 80, ids());
        "what was read before the minute was over counts as of then":
            given(doubt(), 79).record(Record::Unseen).after(60) => not_yet(unknown(), 80);
        "unreadable: for as long as it takes":
            given(doubt().known(ids()), WEEK + 100).unreadable() => unconfirmed(unreadable(), ids(), WEEK + 115);
        "not asked again while it is being deleted": given(doubt().deleted(), 20).record(Record::Pending(ids())) => Step::Rest;
        "… but what became of it is told": given(doubt().deleted(), 20).record(over(Approved, 9)) => recorded(finished(Approved, 9));
        "not asked again past a limit":
            given(doubt().not_after(at(20)), 20).record(Record::Pending(ids()))
            => settle(Outcome::Expired { expiry: Expiry::NotAfter(at(20)), unproven: None });
        "past a limit and without a trace, it is not said that nothing was taken":
            given(doubt().not_after(at(20)), 80).record(Record::Unseen)
            => settle(Outcome::Expired {
                expiry: Expiry::NotAfter(at(20)),
                unproven: Some("an answer was sent, and CodePipeline's record shows no trace of it".to_owned()),
            });
        "past a limit, doubt comes first":
            given(doubt().not_after(at(20)), 20).record(over(Approved, 9)) => recorded(finished(Approved, 9));
        "not asked again while suspended":
            given(doubt().suspended(), 20).record(Record::Pending(ids())) => settle(Outcome::Suspended);
        "attempts are counted to the end of numbers":
            given(fresh().standing(Reason::Unconfirmed).submitted(i64::MAX, 0, 20), 20).record(Record::Pending(ids()))
            => again(i64::MAX, 0, 20, ids());
    }
}

fn crashed() -> ApprovalDecision {
    fresh().standing(Reason::Submitting).submitted(1, 0, 20)
}

/// As the deadline of the only attempt passes.
fn doubt_about(decision: ApprovalDecision, record: Record) -> Seen {
    given(decision, 20).record(record)
}

#[test]
fn a_request_that_was_completed_before_is_looked_up() {
    let told = |earlier| answer(earlier, Err(refusal(Refusal::ApprovalAlreadyCompleted)));
    let by = |record| refused(Refusal::ApprovalAlreadyCompleted, Some(already_completed()), record);
    let still = |doubt, completed: Option<Exception>, ids, next| {
        settle(Outcome::Unconfirmed { doubt, completed, ids, next: at(next) })
    };
    let late = |earlier, seconds| Seen { now: at(seconds), ..told(earlier) };
    let remembered = || crashed().raised(already_completed()).known(ids());
    let lag = || Record::Lagging(ids());
    rows! {
        "a first attempt reads the record": told(NotTaken) => Step::ReadRecord(token());
        "so does one after doubt": told(InDoubt) => Step::ReadRecord(token());
        "a first attempt cannot have done it":
            told(NotTaken).record(over(Approved, 0))
            => already_decided(finished(Approved, 0), Some(already_completed()));
        "one before it can": told(InDoubt).record(over(Approved, 0)) => recorded(finished(Approved, 0));
        "… unless it was before our time":
            told(InDoubt).record(over(Approved, -6))
            => already_decided(finished(Approved, -6), Some(already_completed()));
        "another result": told(NotTaken).record(over(Rejected, 0)) => by(Some(finished(Rejected, 0)));
        "another result, after doubt": told(InDoubt).record(over(Rejected, 0)) => by(Some(finished(Rejected, 0)));
        "nobody's answer": told(NotTaken).record(over(None, 0)) => by(Some(finished(None, 0)));
        "no trace proves nothing": told(NotTaken).record(Record::Unseen) => by(None);
        "no trace after doubt": told(InDoubt).record(Record::Unseen) => by(None);
        "a pipeline that is gone proves nothing":
            told(NotTaken).record(Record::PipelineNotFound(exception("PipelineNotFound"))) => by(None);
        "a record that lags is read again, and the exception is kept":
            told(NotTaken).record(lag()) => still(Doubt::NotInRecord, Some(already_completed()), ids(), 16);
        "so is one that calls it pending":
            told(NotTaken).record(Record::Pending(ids()))
            => still(Doubt::NotInRecord, Some(already_completed()), ids(), 16);
        "so is one that cannot be read":
            told(NotTaken).unreadable() => still(unreadable(), Some(already_completed()), unknown(), 16);
        "after doubt the exception is not kept: our own answer may be what completed it":
            told(InDoubt).record(lag()) => still(Doubt::NotInRecord, None, ids(), 16);
        "ten minutes of contradiction past the deadline are enough": late(NotTaken, 620).record(lag()) => by(None);
        "… after doubt too": late(InDoubt, 620).record(lag()) => by(None);
        "… and of an unreadable record, for a first attempt": late(NotTaken, 620).unreadable() => by(None);
        "… but not after doubt, where the record alone can tell":
            late(InDoubt, 620).unreadable() => still(unreadable(), None, unknown(), 635);
        "less are not":
            late(NotTaken, 619).record(lag()) => still(Doubt::NotInRecord, Some(already_completed()), ids(), 634);
        "in a later round the record is read at once": given(remembered(), 5) => Step::ReadRecord(token());
        "… and by others it remains, though in our time and words":
            given(remembered(), 5).record(over(Approved, 0))
            => already_decided(finished(Approved, 0), Some(already_completed()));
        "… or stays open, with what was known":
            given(remembered(), 5).unreadable() => still(unreadable(), Some(already_completed()), ids(), 20);
    }
}
