//! Reconciles of a decision that names an execution: they read polls of the pipeline.

use super::*;

const READ: &str = "read any poll for execution pipeline-execution of shop";

fn named() -> ApprovalDecision {
    by_id("pipeline-execution")
}

fn newer_than(seconds: i64) -> String {
    format!("read a poll newer than that of {seconds} s for execution pipeline-execution of shop")
}

/// The execution has not reached the approval.
fn in_progress() -> TestPipeline {
    pipeline().execution("pipeline-execution", RUNNING)
}

#[test]
fn a_decision_without_a_poll_waits_for_one() {
    let mut driver = reconcile(named(), 1);
    assert_eq!(driver.next(), READ);
    assert_eq!(driver.next(), READ, "until there is a result");
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or {WEEK} s"));
}

#[test]
fn a_decision_waits_for_a_newer_poll_after_it_reports_what_it_waits_for() {
    let mut driver = reconcile(named(), 2);
    assert_eq!(driver.next(), READ);
    driver.polled(&in_progress());
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), newer_than(2));
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or {WEEK} s"));
    // The next reconcile finds the same: it writes and announces nothing.
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 17);
    assert_eq!(driver.next(), READ);
    driver.polled(&in_progress());
    assert_eq!(driver.next(), newer_than(17));
    driver.seconds = 32;
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
}

#[test]
fn a_pending_request_is_submitted_and_the_poll_that_showed_it_is_dropped() {
    let mut driver = reconcile(named(), 5);
    driver.next();
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    assert!(driver.reconciliation.observed().pipeline.is_some());
    driver.written();
    assert!(driver.reconciliation.observed().pipeline.is_none());
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 10 s");
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
    let status = driver.reconciliation.decision().status.as_ref().expect("a status");
    assert_eq!((&status.pipeline_execution_id, &status.action_execution_id), (&ids().pipeline, &ids().action));
}

#[test]
fn a_conflict_on_the_intent_drops_the_poll() {
    let mut driver = reconcile(named(), 5);
    driver.next();
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.conflict(named().edited());
    assert_eq!(driver.next(), READ, "the edit may name another request");
}

#[test]
fn a_refused_request_is_resolved_again_from_another_poll_once() {
    let refused = |driver: &mut Driver| {
        driver.written();
        driver.rejections(Vec::new());
        assert_eq!(driver.next(), "send before 10 s");
        driver.response(Err(refusal(Refusal::InvalidApprovalToken)));
    };
    let mut driver = reconcile(named(), 5);
    driver.next();
    driver.polled(&pending_request());
    driver.prepare();
    driver.next();
    refused(&mut driver);
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), READ, "the poll before the request is out of date");
    assert!(matches!(driver.reconciliation.observed().attempt, Attempt::None));
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    refused(&mut driver);
    assert_eq!(driver.next(), "write Unconfirmed");
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 5 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 6);
    assert_eq!(driver.next(), READ);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "write InvalidApprovalToken", "the same token refused twice is final");
}

#[test]
fn an_execution_whose_stage_may_be_retried_is_polled_on() {
    let ended = |status| pipeline().execution("pipeline-execution", status);
    let mut driver = reconcile(named(), 20);
    driver.next();
    driver.polled(&ended(FAILED));
    assert_eq!(driver.next(), "write ExecutionEnded");
    driver.written();
    assert_eq!([driver.next(), driver.next()], ["announce ExecutionEnded".to_owned(), newer_than(20)]);
    driver.seconds = 40;
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    let mut driver = reconcile(named(), 20);
    driver.next();
    driver.polled(&ended(SUPERSEDED));
    assert_eq!(driver.next(), "write ExecutionEnded");
    driver.written();
    assert_eq!(driver.rest(), ["announce ExecutionEnded", "finish"]);
}

#[test]
fn a_pipeline_that_does_not_exist_is_polled_on() {
    let mut driver = reconcile(named(), 20);
    driver.next();
    driver.polled(&missing_pipeline());
    assert_eq!(driver.next(), "write PipelineNotFound");
    driver.written();
    assert_eq!([driver.next(), driver.next()], ["announce PipelineNotFound".to_owned(), newer_than(20)]);
}

#[test]
fn a_suspended_decision_wakes_at_not_after_and_is_not_polled_before() {
    let mut driver = reconcile(named().suspended().not_after(at(60)), 5);
    assert_eq!(driver.next(), "write Suspended");
    driver.written();
    assert_eq!(driver.rest(), ["announce Suspended", "finish until 60 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 60);
    assert_eq!(driver.next(), READ);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "write Expired");
}

#[test]
fn an_approval_by_token_reads_the_pipeline_if_a_rejection_may_mean_its_request() {
    let rejection = |execution: &str| {
        let id = crate::api::v1alpha1::PipelineExecutionId(execution.to_owned());
        let (namespace, name) = ("team".to_owned(), "stop".to_owned());
        Rejection {
            namespace,
            name,
            requests: RejectedRequests::PipelineExecution(id),
            not_after: None,
            location: RejectionLocation::Unknown,
        }
    };
    let mut driver = reconcile(fresh(), 5);
    driver.rejections(vec![rejection("other")]);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(vec![rejection("pipeline-execution")]);
    assert_eq!(driver.next(), "write ConflictingDecision", "the execution is known when the request is about to leave");
}
