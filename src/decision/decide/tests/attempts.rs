//! Attempts: their delays, what may still be sent under a recorded intent, and responses.

use super::*;
use crate::backoff::SUBMISSION;

fn throttled_until(next: i64, until: i64) -> Step {
    write(Outcome::Retrying {
        submission: submission(1, 0, 25),
        cause: RetryCause::Throttled,
        exception: Some(exception("Throttled")),
        detail: "not now".to_owned(),
        next: at(next),
        until: at(until),
    })
}

#[test]
fn an_attempt_that_was_not_applied_is_retried_after_a_delay() {
    let throttled = || fresh().with_reason(Reason::Throttled).submitted(20, 0, 25);
    let next = next_attempt(&throttled(), &submission(20, 0, 25));
    let after = |decision| Case { now: next, ..given(decision, 0) };
    let retry = || Intent {
        submission: Submission {
            attempts: 21,
            start_time: next,
            deadline: next + SignedDuration::from_secs(25),
            ..submission(1, 0, 25)
        },
        execution: None,
        prior: NotApplied,
    };
    let was_throttled = |decision| response_for(decision, NotApplied, Err(not_applied(RetryCause::Throttled)));
    rows! {
        "before the delay is over, it waits": given(throttled(), 0) => Step::WaitUntil(next);
        "it does not wait for a forged attempt in the future":
            given(fresh().with_reason(Reason::Throttled).submitted(1, WEEK, WEEK), 0)
            => record(intent(2, 0, 25, NotApplied));
        "after the delay, the next attempt starts":
            after(throttled().with_ids(ids())) => record(with_ids(retry(), ids()));
        "it does not wait past a limit": given(throttled().not_after(at(1)), 0) => wait(1);
        "a limit that passes during the delay ends it": given(throttled().not_after(at(1)), 1) => read_until(16);
        "a suspended decision is not retried": after(throttled().edited().suspended()) => suspended_until(None);
        "an edited decision does not wait": given(throttled().edited(), 1) => first_attempt(1);
        "an annotated decision does not wait": given(throttled().annotated("now"), 1) => first_attempt(1);
        "the delay is at least a second, however long the attempt took": was_throttled(fresh()) => throttled_until(2, WEEK);
        "the delay ends with the limit": was_throttled(fresh().not_after(at(1))) => throttled_until(2, 1);
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
            let last = submission(attempts, 0, 25);
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

/// The decision as the write of its intent returned it.
fn recorded(decision: ApprovalDecision, prior: PriorAttempts, seconds: i64) -> Case {
    Case { attempt: Attempt::IntentRecorded(intent(1, 0, 25, prior)), ..given(decision, seconds) }
}

#[test]
fn a_recorded_intent_is_sent_once_if_that_is_still_allowed() {
    let in_time = |decision| recorded(decision, NotApplied, 1);
    let after_doubt = |decision| recorded(decision, InDoubt, 1);
    let send = |seconds| Step::Send { intent: intent(1, 0, 25, NotApplied), send_deadline: at(seconds) };
    let renewed = |prior, start| Step::RecordIntent(intent(1, start, 31, prior));
    let expired = || write(Outcome::Expired { expiry: Expiry::NotAfter(at(1)), caveat: None });
    rows! {
        "the request is sent": in_time(fresh()) => send(5);
        "it may be almost 5 s late": recorded(fresh(), NotApplied, 4) => send(5);
        "later, the intent is recorded again": recorded(fresh(), NotApplied, 6) => renewed(NotApplied, 6);
        "the request must leave before notAfter, if that is sooner": in_time(fresh().not_after(at(3))) => send(3);
        "after doubt, the intent keeps the time of the first attempt":
            recorded(fresh(), InDoubt, 6) => renewed(InDoubt, 0);
        "suspended meanwhile: nothing is sent": in_time(fresh().suspended()) => suspended_until(None);
        "… and after doubt, the doubt remains": after_doubt(fresh().suspended()) => wait(25);
        "deleted meanwhile: nothing is sent": in_time(fresh().deleted()) => Step::AwaitChange;
        "… and after doubt, the doubt remains": after_doubt(fresh().deleted()) => wait(25);
        "expired meanwhile: the operator reads the history": in_time(fresh().not_after(at(1))) => read_until(16);
        "… and nothing is sent": in_time(fresh().not_after(at(1))).polled(&pending_request()) => expired();
        "… and after doubt, the doubt remains": after_doubt(fresh().not_after(at(1))) => wait(25);
        "an invalid notAfter is reported here too": in_time(fresh().not_after("")) => not_a_time("notAfter", "");
        "… but not after doubt": after_doubt(fresh().not_after("")) => wait(25);
        "an ignoreResponsesBefore that clocks explain is waited for here too":
            in_time(fresh().ignoring_responses_before(at(9))) => wait(9);
    }
}

#[test]
fn a_response_settles_what_it_can() {
    let delivered = |approved_at| write(Outcome::Delivered { approved_at, record: None });
    let in_doubt = |cause| unconfirmed(cause, unknown_ids(), 25);
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
    for cause in RetryCause::ALL.iter().copied() {
        let expected = write(Outcome::Retrying {
            submission: submission(1, 0, 25),
            cause,
            exception: Some(exception(Reason::from(cause).as_str())),
            detail: "not now".to_owned(),
            // The back-off alone gives 1.317 s, but a failure that took long is not followed at once.
            next: at(2),
            until: at(WEEK),
        });
        assert_eq!(response(NotApplied, Err(not_applied(cause))).step(), expected);
    }
    for refusal in [Refusal::PipelineNotFound, Refusal::ValidationFailed] {
        let expected = refused(refusal, Some(exception(Reason::from(refusal).as_str())), None);
        let step = |prior| response(prior, Err(self::refusal(refusal))).step();
        assert_eq!((step(NotApplied), step(InDoubt)), (expected, write(refused_after_doubt(refusal))));
    }
}

#[test]
fn a_refused_token_is_explained_or_resolved_again() {
    let raised = |refusal: Refusal| exception(Reason::from(refusal).as_str());
    for refusal in [Refusal::InvalidApprovalToken, Refusal::ApprovalAlreadyCompleted] {
        let step = |decision, prior| response_for(decision, prior, Err(self::refusal(refusal))).step();
        let unexplained = |prior| {
            let (cause, refused) = (UnconfirmedCause::NotInHistory, Some((raised(refusal), prior)));
            write(Outcome::Unconfirmed { cause, refused, ids: unknown_ids(), next: at(1) })
        };
        let again = write(Outcome::Waiting {
            wait: Wait::RequestRefused,
            exception: Some(raised(refusal)),
            recheck_at: None,
            until: at(WEEK),
        });
        let found = || by_id("pipeline-execution");
        assert_eq!(step(fresh(), NotApplied), unexplained(NotApplied), "the token of the spec");
        assert_eq!(step(fresh(), InDoubt), unexplained(InDoubt), "after doubt");
        assert_eq!(step(found(), NotApplied), again, "the operator found the token");
        let twice = unexplained(PriorAttempts::Refused);
        assert_eq!(step(found(), PriorAttempts::Refused), twice, "the same token again");
        assert_eq!(step(found(), InDoubt), unexplained(InDoubt), "after doubt");
    }
}

#[test]
fn a_refused_name_is_compared_with_those_that_the_pipeline_has() {
    for refusal in [Refusal::StageNotFound, Refusal::ActionNotFound] {
        for (decision, prior) in [(fresh(), NotApplied), (fresh(), InDoubt), (by_id("pipeline-execution"), NotApplied)]
        {
            let refused = Some((exception(Reason::from(refusal).as_str()), prior));
            let (cause, ids) = (UnconfirmedCause::NamesNotRead, unknown_ids());
            let expected = write(Outcome::Unconfirmed { cause, refused, ids, next: at(1) });
            assert_eq!(response_for(decision, prior, Err(self::refusal(refusal))).step(), expected);
        }
    }
}

#[test]
fn without_credentials_nothing_was_recorded() {
    let unprepared = |prior| {
        let error = not_applied(RetryCause::CredentialsUnavailable);
        Case { attempt: Attempt::NotPrepared(intent(1, 0, 25, prior), error), ..given(fresh(), 1) }
    };
    let step = unprepared(NotApplied).step();
    let Step::WriteStatus(outcome @ Outcome::Retrying { .. }) = step else { panic!("{step:?}") };
    assert_eq!(outcome.reason(), Reason::CredentialsUnavailable);
    let failed = UnconfirmedCause::RetryFailed("not now".to_owned());
    assert_eq!(unprepared(InDoubt).step(), unconfirmed(failed, unknown_ids(), 25), "the doubt remains");
}
