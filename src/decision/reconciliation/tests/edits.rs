//! Edits that arrive while a submission is in flight or in doubt: it is finished first, and then the edit is acted on.

use super::*;

/// The submission of the driver as it was recorded, and the decision with this edit.
fn edited(driver: &Driver, edit: impl FnOnce(ApprovalDecision) -> ApprovalDecision) -> ApprovalDecision {
    edit(driver.reconciliation.decision().clone().edited())
}

/// What the last write said about which generation.
fn observed_generation(driver: &Driver) -> Option<i64> {
    driver.status.as_ref().and_then(|status| status.observed_generation)
}

#[test]
fn an_annotation_that_arrives_during_a_submission_restarts_the_decision_at_once() {
    let mut driver = sent();
    driver.response(Err(refusal(Refusal::ValidationFailed)));
    assert_eq!(driver.next(), "write ValidationFailed");
    let written = driver.written_object().annotated("now");
    assert!(written.metadata.annotations.as_ref().is_some_and(|known| known.contains_key(REQUESTED_AT)));
    driver.reconciliation.on_written(WriteResult::Written(Box::new(written)), at(7));
    assert_eq!(driver.next(), "announce ValidationFailed");
    assert_eq!(driver.next(), "list rejections");
}

#[test]
fn the_response_is_recorded_over_an_edit_and_then_the_edit_is_acted_on() {
    let mut driver = sent();
    let live = edited(&driver, |decision| decision.naming_token(other_token()));
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    driver.conflict(live);
    assert_eq!(driver.next(), "write Delivered");
    assert_eq!(observed_generation(&driver), Some(1), "it says what was submitted");
    driver.written();
    assert_eq!(driver.next(), "announce Delivered");
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    assert_eq!(observed_generation(&driver), Some(2));
    let status = driver.status.as_ref().expect("a status");
    assert_eq!(status.submission.as_ref().map(|submission| &submission.token), Some(&other_token()));
    assert_eq!(status.settled.as_ref().and_then(|settled| settled.approved_at), Some(at(6)));
}

#[test]
fn an_edit_of_the_result_that_arrives_during_the_submission_comes_too_late() {
    let mut driver = sent();
    let live = edited(&driver, |decision| decision.with_result(Rejected, "no"));
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    driver.conflict(live);
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.next(), "announce Delivered");
    assert_eq!(driver.next(), "write ApprovalAlreadyCompleted");
    let message = &driver.status.as_ref().expect("a status").conditions[0].message;
    let words = "Approved was accepted at 2026-07-01T12:00:06Z; the change to Rejected came too late";
    assert!(message.starts_with(words), "{message}");
    driver.written();
    assert_eq!(driver.rest(), ["announce ApprovalAlreadyCompleted", "finish"]);
}

#[test]
fn suspend_that_is_merged_in_doubt_sends_nothing_more() {
    let lost = |seconds| {
        let mut driver = sent();
        driver.response(Err(indeterminate()));
        assert_eq!(driver.next(), "write Unconfirmed");
        driver.written();
        assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 30 s"]);
        let mut driver = reconcile(edited(&driver, DecisionExt::suspended), seconds);
        assert_eq!(driver.next(), READ_REQUEST);
        driver
    };
    let mut driver = lost(30);
    driver.polled(&lagging_request());
    assert_eq!(driver.next(), "write Unconfirmed", "history lags");
    assert_eq!(observed_generation(&driver), Some(1));
    driver.written();
    assert_eq!(driver.rest(), ["finish until 45 s"]);
    // It was not accepted.
    let mut driver = lost(90);
    driver.polled(&lagging_request());
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), "write Suspended");
    driver.written();
    assert_eq!(driver.rest(), ["announce Suspended", "finish"]);
    // It was.
    let mut driver = lost(30);
    driver.polled(&completed_request(&completed_approval(Approved, 6)));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!([driver.next(), driver.next()], ["announce Delivered", "write Delivered"], "about the edit as well");
    assert_eq!(observed_generation(&driver), Some(2));
    driver.written();
    assert_eq!(driver.rest(), ["finish"]);
}

#[test]
fn an_edit_in_doubt_to_a_spec_that_names_nothing_is_reported_once_the_doubt_is_over() {
    let edited = fresh().in_doubt().edited().naming_nothing();
    let mut driver = reconcile(edited, 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), "write ValidationFailed");
    driver.written();
    assert_eq!(driver.rest(), ["announce ValidationFailed", "finish"]);
}

#[test]
fn an_edit_in_doubt_to_another_pipeline_reads_that_one_once_the_doubt_is_over() {
    let edited = fresh().in_doubt().edited().naming_execution("E1");
    let mut driver = reconcile(edited.with(|decision| decision.spec.pipeline_name = "other".to_owned()), 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), "read any poll for execution E1 of other");
}

#[test]
fn a_deletion_in_doubt_records_the_outcome_and_sends_nothing() {
    let mut driver = reconcile(fresh().in_doubt().deleted(), 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.rest(), ["announce Waiting", "finish"]);
    let mut driver = reconcile(fresh().in_doubt().deleted(), 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&completed_request(&completed_approval(Approved, 6)));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
}
