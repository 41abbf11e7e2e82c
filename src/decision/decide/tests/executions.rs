//! Decisions that name executions: what a poll of the pipeline becomes, besides the histories of `resolve`.

use super::*;
use crate::codepipeline::ExecutionEnd;
use crate::decision::resolve::{ExecutionPosition, ExecutionWait, Missing};
use crate::decision::test_fixtures::outcomes::unknown_execution;
use crate::decision::test_fixtures::targets::here;
use std::sync::Arc;

fn named() -> ApprovalDecision {
    by_id("pipeline-execution")
}

fn waiting(wait: Wait, recheck_at: Option<i64>) -> Step {
    write(Outcome::Waiting { wait, exception: None, recheck_at: recheck_at.map(at), until: at(WEEK) })
}

fn waiting_for(wait: ExecutionWait, recheck_at: Option<i64>) -> Step {
    waiting(Wait::Execution(wait), recheck_at)
}

/// The intent to answer the request of [`ids`], whose execution was read.
fn found(intent: Intent, pipeline: &TestPipeline) -> Step {
    record(Intent { execution: pipeline.executions.first().cloned(), ..with_ids(intent, ids()) })
}

fn stopping() -> TestPipeline {
    pending_request().with_execution(|execution| execution.status = STOPPING)
}

fn execution() -> String {
    "pipeline-execution".to_owned()
}

#[test]
fn a_pending_request_is_answered_if_the_spec_still_allows_it() {
    let first = || intent(1, 5, 30, NotApplied);
    let rejecting = || named().with_result(Rejected, SUMMARY);
    let mut rejection = first();
    rejection.submission.result.status = Rejected;
    rows! {
        "a poll is needed": given(named(), 5) => read_until(WEEK);
        "it is answered": given(named(), 5).polled(&pending_request()) => found(first(), &pending_request());
        "an execution that is being stopped is not approved":
            given(named(), 5).polled(&stopping()) => waiting_for(ExecutionWait::Stopping { execution: execution() }, None);
        "… but may be rejected": given(rejecting(), 5).polled(&stopping()) => found(rejection, &stopping());
        "suspended": given(named().suspended(), 5).polled(&pending_request()) => suspended_until(None);
        "deleted": given(named().deleted(), 5).polled(&pending_request()) => Step::AwaitChange;
    }
}

#[test]
fn the_same_token_refused_twice_is_not_sent_a_third_time() {
    let refused =
        |exception| named().with_reason(Reason::Waiting).submitted(1, 0, 25).with_ids(ids()).raised(exception);
    let again = || Intent { prior: PriorAttempts::Refused, ..intent(2, 5, 30, NotApplied) };
    let other = pending_request().shows("action-execution", Some(other_token()), IN_PROGRESS);
    let to_other = |submission| Submission { token: other_token(), ..submission };
    let new = intent(2, 5, 30, NotApplied);
    let new = Intent { submission: to_other(new.submission), ..new };
    rows! {
        "the same request: another attempt, which is the last":
            given(refused(exception("InvalidApprovalToken")), 5).polled(&pending_request())
            => found(again(), &pending_request());
        "another request": given(refused(exception("InvalidApprovalToken")), 5).polled(&other) => found(new, &other);
        "the request timed out according to history, but CodePipeline refused the token as completed":
            given(refused(already_completed()), 5).polled(&completed_request(&completed_approval(None, 2)))
            => refused_step(completed_approval(None, 2));
    }
}

/// Someone rejected the request: only a response completes it before its time.
fn refused_step(record: CompletedApproval) -> Step {
    let record = CompletedApproval { result: Some(Rejected), ..record };
    refused(Refusal::ApprovalAlreadyCompleted, Some(already_completed()), Some(record))
}

#[test]
fn after_a_limit_only_a_response_counts() {
    let limited = || named().not_after(at(60));
    let ended = |status| pipeline().execution("pipeline-execution", status);
    let caveat = || Some(Caveat::OutcomeNotInHistory { execution: execution() });
    let unreadable = || Some(Caveat::PipelineUnreadable("the connection broke".to_owned()));
    let entered = |status| ended(status).entry("action-execution", "pipeline-execution", IN_PROGRESS);
    rows! {
        "one poll is needed": given(limited(), 60) => read_until(75);
        "… that starts after it": given(limited(), 59).polled(&pending_request()).after(1)
            => Step::AwaitSnapshot { recheck_at: Some(at(60)), until: at(75) };
        "the request is pending": given(limited(), 60).polled(&pending_request()) => expired(None);
        "it had been approved":
            given(limited(), 60).polled(&completed_request(&completed_approval(Approved, 9)))
            => already_decided(completed_approval(Approved, 9), None);
        "the execution has not reached it": given(limited(), 60).polled(&ended(RUNNING)) => expired(None);
        "the execution ended": given(limited(), 60).polled(&ended(FAILED)) => expired(None);
        "history does not show the outcome yet":
            given(named().not_after(at(59)), 59).polled(&entered(FAILED))
            => write(Outcome::Expired { expiry: Expiry::NotAfter(at(59)), caveat: caveat() });
        "history cannot be read":
            given(limited(), 60).polled(&TestPipeline { history_error: Some(indeterminate()), ..entered(RUNNING) })
            => expired(Some(Caveat::PipelineUnreadable("the connection broke".to_owned())));
        "the pipeline cannot be read, in the first minute":
            given(named().not_after(at(5)), 5).polled(&unreadable_pipeline(indeterminate()))
            => Step::AwaitSnapshot { recheck_at: None, until: at(60) };
        "… and after it": given(limited(), 60).polled(&unreadable_pipeline(indeterminate())) => expired(unreadable());
        "the pipeline does not exist": given(limited(), 60).polled(&missing_pipeline()) => expired(None);
    }
}

#[test]
fn what_may_still_appear_is_not_final() {
    let missing = |missing| write(Outcome::Missing { missing, until: at(WEEK) });
    let ended = |end| write(Outcome::ExecutionEnded { execution: execution(), end, until: at(WEEK) });
    let over = |status| pipeline().execution("pipeline-execution", status);
    let elsewhere = || named().with(|decision| decision.spec.stage_name = "Nowhere".to_owned());
    let retried = || {
        let ended = given(named(), 70).polled(&over(FAILED));
        let Step::WriteStatus(outcome) = ended.step() else { panic!("nothing is written") };
        let status = crate::decision::status::status(&ended.decision, &outcome, at(70));
        ended.decision.with(|decision| decision.status = Some(status))
    };
    let not_there = || Missing::Pipeline { exception: exception("PipelineNotFound"), location: None };
    rows! {
        "a pipeline that does not exist": given(named(), 70).polled(&missing_pipeline()) => missing(not_there());
        "a stage that does not exist": given(elsewhere(), 70).polled(&over(RUNNING))
            => missing(Missing::Stage { stages: vec!["Build".to_owned(), "Production".to_owned()] });
        "an execution that failed": given(named(), 70).polled(&over(FAILED)) => ended(ExecutionEnd::Failed);
        "its stage is retried, and it asks":
            given(retried(), 80).polled(&pending_request()) => found(intent(1, 80, 105, NotApplied), &pending_request());
        "an execution that went on without the approval":
            given(named(), 70).polled(&over(SUCCEEDED)) => ended(ExecutionEnd::Succeeded);
    }
    let step = |pipeline: &TestPipeline| match given(named(), 70).polled(pipeline).step() {
        Step::WriteStatus(outcome) => outcome.ready_class(),
        step => panic!("nothing is written: {step:?}"),
    };
    assert_eq!(step(&missing_pipeline()), ReadyClass::Retrying);
    assert_eq!((step(&over(FAILED)), step(&over(STOPPED))), (ReadyClass::Retrying, ReadyClass::Retrying));
    assert_eq!((step(&over(SUCCEEDED)), step(&over(SUPERSEDED))), (ReadyClass::Stalled, ReadyClass::Stalled));
}

#[test]
fn an_execution_that_codepipeline_does_not_know_is_final_after_a_minute() {
    let subscribed_at_5 = |seconds| {
        let mut case = given(named(), seconds).polled(&TestPipeline { location: Some(here()), ..pipeline() });
        if let Some(pipeline) = &mut case.pipeline {
            pipeline.subscribed_at = at(5);
        }
        case
    };
    rows! {
        "it may be too new": subscribed_at_5(64) => waiting_for(ExecutionWait::UnknownExecution, Some(65));
        "it is not": subscribed_at_5(65)
            => write(unknown_execution(Some(here())));
    }
}

#[test]
fn a_pipeline_that_stays_unreadable_is_reported_after_a_minute() {
    let failing_since = |decision, since, seconds| {
        let mut case = given(decision, seconds).polled(&unreadable_pipeline(not_applied(RetryCause::AccessDenied)));
        if let Some(pipeline) = &mut case.pipeline {
            Arc::get_mut(&mut pipeline.poll).expect("no one else has the poll").failing_since = Some(at(since));
        }
        case
    };
    let waiting_decision = || named().with_reason(Reason::Waiting);
    let readable = Wait::ReadablePipeline { detail: "not now".to_owned(), since: at(5) };
    let new = write(Outcome::Waiting { wait: readable, exception: None, recheck_at: None, until: at(65) });
    let reported = write(Outcome::Unreadable {
        cause: RetryCause::AccessDenied,
        exception: Some(exception("AccessDenied")),
        detail: "not now".to_owned(),
        since: at(5),
        until: at(WEEK),
    });
    rows! {
        "a new decision says so at once": failing_since(named(), 5, 10) => new;
        "one that waits does not change its status":
            failing_since(waiting_decision(), 5, 64) => Step::AwaitSnapshot { recheck_at: None, until: at(65) };
        "… for a minute": failing_since(waiting_decision(), 5, 65) => reported;
    }
}

#[test]
fn a_decision_says_how_far_its_execution_has_come() {
    let in_build =
        pipeline().execution("pipeline-execution", RUNNING).in_stages([Some("pipeline-execution"), None, None]);
    let position = ExecutionPosition::InStage { stage: "Build".to_owned(), status: "InProgress".to_owned() };
    let wait = ExecutionWait::Execution { execution: execution(), position };
    rows! {
        "it is in an earlier stage": given(named(), 5).polled(&in_build) => waiting_for(wait, None);
    }
}
