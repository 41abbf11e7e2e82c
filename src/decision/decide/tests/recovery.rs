//! A submission whose outcome is unknown.

use super::*;
use crate::decision::test_fixtures::targets::{elsewhere, here};
use crate::decision::timing::next_history_read;

fn crashed() -> ApprovalDecision {
    fresh().with_reason(Reason::Submitting).submitted(1, 0, 25)
}

/// Another attempt after doubt.
fn next_after_doubt(attempts: i64, start: i64, now: i64) -> Step {
    record(intent(attempts, start, now + 25, InDoubt))
}

/// At the deadline of the only attempt, the pipeline shows this.
fn at_deadline(decision: ApprovalDecision, pipeline: &TestPipeline) -> Case {
    given(decision, 25).polled(pipeline)
}

/// At the deadline of the only attempt, the approval was completed like this.
fn completed_at_deadline(decision: ApprovalDecision, approval: &CompletedApproval) -> Case {
    at_deadline(decision, &completed_request(approval))
}

/// At this second, the outcome of the submission remains unknown, and history is read again after a back-off.
fn still_unconfirmed(cause: UnconfirmedCause, decision: &ApprovalDecision, ids: ExecutionIds, seconds: i64) -> Step {
    let next = next_history_read(decision, &SETTINGS, at(seconds), &submission(1, 0, 25));
    write(Outcome::Unconfirmed { cause, refused: None, ids, next })
}

#[test]
fn nothing_is_concluded_before_the_request_can_no_longer_arrive() {
    let approved = || completed_request(&completed_approval(Approved, 9));
    let forged = || fresh().with_reason(Reason::Unconfirmed).submitted(1, 0, WEEK);
    let later = Step::AwaitSnapshot { recheck_at: Some(at(25)), until: at(90) };
    rows! {
        "nothing is read while the request may still arrive": given(fresh().in_doubt(), 24) => wait(25);
        "… even if there is a poll": given(fresh().in_doubt(), 24).polled(&approved()) => wait(25);
        "then the operator reads the pipeline": given(fresh().in_doubt(), 25) => read_until(85);
        "a crash before the response is the same": given(crashed(), 25) => read_until(85);
        "a poll that started before the deadline says nothing":
            given(fresh().in_doubt(), 24).polled(&approved()).after(6) => later;
        "it does not wait for a deadline that no attempt can have": given(forged(), 25) => read_until(85);
        "… nor for a trace of what was never sent":
            given(forged(), 25).polled(&pipeline()) => next_after_doubt(2, 0, 25);
        "a forged status has a submission in doubt with another token than the spec: history settles it first":
            given(fresh().in_doubt().naming_token(other_token()), 25) => read_until(85);
    }
}

#[test]
fn history_says_whether_a_result_was_ours() {
    let in_doubt = || fresh().in_doubt();
    let approved = |seconds| completed_at_deadline(in_doubt(), &completed_approval(Approved, seconds));
    let with_summary =
        |summary: &str| CompletedApproval { summary: Some(summary.to_owned()), ..completed_approval(Approved, 9) };
    let (other, own) = (with_summary("mine"), with_summary("Approved by ada"));
    let timeless = CompletedApproval { at: None, ..completed_approval(Approved, 9) };
    let unattributed = CompletedApproval { by: None, ..completed_approval(Rejected, 9) };
    let rejection = |summary| fresh().with_result(Rejected, summary).in_doubt();
    let no_summary = || fresh().with_result(Approved, "").in_doubt();
    let completed = |record| refused(Refusal::ApprovalAlreadyCompleted, None, Some(record));
    rows! {
        "our result, during our attempt": approved(9) => delivered_by(completed_approval(Approved, 9));
        "our result, by a clock that is slow": approved(-10) => delivered_by(completed_approval(Approved, -10));
        "our result, at the deadline": approved(25) => delivered_by(completed_approval(Approved, 25));
        "the same result before our attempt": approved(-11) => already_decided(completed_approval(Approved, -11), None);
        "the same result after our attempt": approved(26) => already_decided(completed_approval(Approved, 26), None);
        "another summary": completed_at_deadline(in_doubt(), &other) => already_decided(other.clone(), None);
        "no time in the history":
            completed_at_deadline(in_doubt(), &timeless) => already_decided(timeless.clone(), None);
        "our summary is empty: CodePipeline's own summary does not count":
            completed_at_deadline(no_summary(), &own) => delivered_by(own.clone());
        "… but the result does":
            completed_at_deadline(no_summary(), &completed_approval(Rejected, 9))
            => completed(completed_approval(Rejected, 9));
        "another result":
            completed_at_deadline(in_doubt(), &completed_approval(Rejected, 9))
            => completed(completed_approval(Rejected, 9));
        "our rejection, in a history that does not say who responded":
            completed_at_deadline(rejection(SUMMARY), &unattributed) => delivered_by(unattributed.clone());
        "… and one with another summary":
            completed_at_deadline(rejection("other"), &unattributed) => already_decided(unattributed.clone(), None);
        "no response":
            completed_at_deadline(in_doubt(), &completed_approval(None, 9)) => completed(completed_approval(None, 9));
    }
}

#[test]
fn a_request_that_was_not_answered_is_answered_again_with_the_same_token() {
    let in_doubt = || fresh().in_doubt();
    let not_yet = |ids, next| unconfirmed(UnconfirmedCause::NotInHistory, ids, next);
    let with_ids = || in_doubt().with_ids(ids());
    let again = |start, now: i64| record(super::with_ids(intent(2, start, now + 25, InDoubt), ids()));
    rows! {
        "still pending": at_deadline(in_doubt(), &pending_request()) => next_after_doubt(2, 0, 25);
        "… with the ids that are known": at_deadline(with_ids(), &pending_request()) => again(0, 25);
        "not visible: the operator reads again": at_deadline(with_ids(), &pipeline()) => not_yet(ids(), 40);
        "lagging: the operator reads again": at_deadline(in_doubt(), &lagging_request()) => not_yet(ids(), 40);
        "… when the minute is over, if that is sooner":
            given(in_doubt(), 75).polled(&pipeline()) => not_yet(unknown_ids(), 85);
        "not visible for a minute": given(in_doubt(), 85).polled(&pipeline()) => next_after_doubt(2, 0, 85);
        "beyond the history that is read":
            given(in_doubt(), 85).polled(&endless_pipeline()) => next_after_doubt(2, 0, 85);
        "lagging for a minute": given(in_doubt(), 85).polled(&lagging_request()) => next_after_doubt(2, 0, 85);
        "a poll that started before the minute was over is not conclusive":
            given(in_doubt(), 84).polled(&pipeline()).after(60)
            => still_unconfirmed(UnconfirmedCause::NotInHistory, &in_doubt(), unknown_ids(), 144);
        "the history cannot be read: the operator reads again":
            given(with_ids(), 84).polled(&pipeline_without_history(indeterminate()))
            => unconfirmed(history_unreadable(), ids(), 85);
        "so if the pipeline cannot be read":
            given(with_ids(), 84).polled(&unreadable_pipeline(indeterminate()))
            => unconfirmed(history_unreadable(), ids(), 85);
        "the number of attempts saturates":
            given(fresh().with_reason(Reason::Unconfirmed).submitted(i64::MAX, 0, 25), 300).polled(&pending_request())
            => next_after_doubt(i64::MAX, 0, 300);
    }
}

#[test]
fn doubt_remains_where_no_history_can_settle_it() {
    let in_doubt = || fresh().in_doubt();
    let read_in = |location| TestPipeline { location: Some(location), ..pending_request() };
    let no_trace =
        |decision: &ApprovalDecision| still_unconfirmed(UnconfirmedCause::NoTrace, decision, unknown_ids(), 85);
    let (limited, suspended) = (in_doubt().not_after(at(25)), in_doubt().suspended());
    rows! {
        "the pipeline does not exist":
            at_deadline(in_doubt(), &missing_pipeline())
            => unconfirmed(UnconfirmedCause::PipelineNotFound, unknown_ids(), 40);
        "… also after a minute":
            given(in_doubt(), 85).polled(&missing_pipeline())
            => still_unconfirmed(UnconfirmedCause::PipelineNotFound, &in_doubt(), unknown_ids(), 85);
        "the operator has credentials for another account":
            at_deadline(in_doubt(), &read_in(elsewhere()))
            => unconfirmed(UnconfirmedCause::OtherAccount, unknown_ids(), 40);
        "… or for the same": at_deadline(in_doubt(), &read_in(here())) => next_after_doubt(2, 0, 25);
        "a limit passed, and there is no trace of the submission":
            given(limited.clone(), 85).polled(&pipeline()) => no_trace(&limited);
        "the decision is suspended, and there is no trace of the submission":
            given(suspended.clone(), 85).polled(&pipeline()) => no_trace(&suspended);
    }
}

#[test]
fn nothing_is_sent_again_that_the_decision_does_not_ask_for_any_more() {
    let in_doubt = || fresh().in_doubt();
    let limited = || in_doubt().not_after(at(25));
    let expired = write(Outcome::Expired { expiry: Expiry::NotAfter(at(25)), caveat: None });
    let accepted = || completed_request(&completed_approval(Approved, 9));
    rows! {
        "after a limit": at_deadline(limited(), &pending_request()) => expired;
        "… but history comes first":
            at_deadline(limited(), &accepted()) => delivered_by(completed_approval(Approved, 9));
        "while the decision is suspended":
            at_deadline(in_doubt().suspended(), &pending_request()) => suspended_until(None);
        "… but history comes first":
            at_deadline(in_doubt().suspended(), &accepted()) => delivered_by(completed_approval(Approved, 9));
    }
}

#[test]
fn a_submission_to_an_execution_recovers_from_the_poll_of_its_execution() {
    let named = || by_id("pipeline-execution").in_doubt().with_ids(ids());
    let parallel = || lagging_request().parallel();
    let intent = |now: i64| Intent {
        execution: parallel().executions.first().cloned(),
        ..with_ids(intent(2, 0, now + 25, InDoubt), ids())
    };
    rows! {
        "PARALLEL mode, where no view shows that it is pending: history may lag":
            at_deadline(named(), &parallel()) => unconfirmed(UnconfirmedCause::NotInHistory, ids(), 40);
        "… and shows it after a minute": given(named(), 85).polled(&parallel()) => record(intent(85));
        "history cannot be read":
            given(named(), 85).polled(&TestPipeline { history_error: Some(indeterminate()), ..parallel() })
            => still_unconfirmed(history_unreadable(), &named(), ids(), 85);
        "someone else responded":
            at_deadline(named(), &completed_request(&completed_approval(Rejected, 9)))
            => refused(Refusal::ApprovalAlreadyCompleted, None, Some(completed_approval(Rejected, 9)));
    }
}

/// The delay after a read of an unreadable history, this many seconds after history should show the outcome.
fn delay_of_next_read(given: impl Fn(i64) -> Case, seconds: i64) -> SignedDuration {
    let case = given(seconds).polled(&unreadable_pipeline(indeterminate()));
    match case.step() {
        Step::WriteStatus(Outcome::Unconfirmed { next, .. }) => next.duration_since(case.now),
        step => panic!("not unconfirmed: {step:?}"),
    }
}

#[test]
fn reads_of_a_history_that_stays_unreadable_back_off_to_five_minutes() {
    let (interval, longest) = (SETTINGS.poll_interval, SignedDuration::from_mins(5));
    let recovering = |seconds: i64| given(fresh().in_doubt(), 85 + seconds);
    // After doubt only history can say, also after ten minutes.
    let refused = |seconds: i64| given(fresh().in_doubt().raised(already_completed()), 85 + seconds);
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
        let decision = fresh().with_reason(Reason::Unconfirmed).submitted(attempts, 0, 25);
        (next_attempt(&decision, &submission(attempts, 0, 25)), given(decision, seconds).polled(&pending_request()))
    };
    let waits = (1..40).filter(|attempts| {
        let (next, case) = pending_after(*attempts, 25);
        let expected = if next <= at(25) { next_after_doubt(attempts + 1, 0, 25) } else { Step::WaitUntil(next) };
        assert_eq!(case.step(), expected, "attempt {attempts}");
        assert_eq!(pending_after(*attempts, 300).1.step(), next_after_doubt(attempts + 1, 0, 300));
        next > at(25)
    });
    assert!(waits.count() > 20);
}
