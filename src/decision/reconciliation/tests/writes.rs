//! Writes that conflict, fail, or find the object gone.

use super::*;

/// The intent of a decision with a token is about to be recorded.
fn intended() -> Driver {
    let mut driver = reconcile(fresh(), 5);
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver
}

#[test]
fn a_conflict_on_the_intent_starts_over_from_the_live_object() {
    let mut driver = intended();
    driver.conflict(fresh().edited().suspended());
    assert_eq!(driver.next(), "write Suspended");
    driver.written();
    assert_eq!(driver.rest(), ["announce Suspended", "finish"]);
    let mut driver = intended();
    driver.conflict(fresh().edited());
    assert_eq!(driver.next(), "list rejections", "an edit that still allows it: the intent is recorded over it");
    let mut driver = intended();
    driver.conflict(fresh().deleted());
    assert_eq!(driver.rest(), ["finish"], "it is being deleted");
    let mut driver = intended();
    driver.conflict(fresh().with_reason(Reason::Submitting).submitted(1, 4, 29));
    assert_eq!(driver.rest(), ["finish until 29 s"], "another replica has recorded an intent");
}

#[test]
fn a_conflict_on_an_unrecorded_outcome_writes_it_over_the_live_object() {
    let mut driver = sent();
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    let labels = [("team".to_owned(), "payments".to_owned())];
    let live = driver.reconciliation.decision().clone();
    driver.conflict(live.with(|decision| decision.metadata.labels = Some(labels.into())));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
    assert!(driver.reconciliation.decision().metadata.labels.is_some());
}

#[test]
fn a_conflict_with_what_a_successor_found_out_drops_the_outcome() {
    let mut driver = sent();
    let live = driver.reconciliation.decision().clone();
    driver.response(Err(indeterminate()));
    assert_eq!(driver.next(), "write Unconfirmed");
    let found = Outcome::Delivered { approved_at: Some(at(6)), record: Some(completed_approval(Approved, 6)) };
    driver.conflict(live.with(|decision| decision.status = Some(status(decision, &found, at(30)))));
    assert_eq!(driver.rest(), ["finish"]);
}

#[test]
fn a_failed_write_is_retried_only_if_it_carries_the_outcome_of_a_request() {
    let mut suspended = reconcile(fresh().suspended(), 5);
    assert_eq!(suspended.next(), "write Suspended");
    assert_eq!(suspended.reconciliation.on_write_failed(), None);
    assert_eq!(intended().reconciliation.on_write_failed(), None);
    let mut driver = sent();
    driver.response(Ok(Some(at(6))));
    for delay in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        assert_eq!(driver.next(), "write Delivered");
        assert_eq!(driver.reconciliation.on_write_failed(), Some(Duration::from_millis(delay)));
    }
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
}

#[test]
fn an_outcome_that_is_in_the_status_already_is_not_written_again() {
    let outcome = Outcome::Suspended { not_after: None };
    let suspended = fresh().suspended();
    let suspended = suspended.with(|decision| decision.status = Some(status(decision, &outcome, at(4))));
    assert_eq!(reconcile(suspended, 5).rest(), ["finish"]);
    // The write landed, and its response was lost: the changed reason is announced once.
    let mut driver = sent();
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    let written = driver.written_object();
    assert!(driver.reconciliation.on_write_failed().is_some());
    assert_eq!(driver.next(), "write Delivered");
    driver.conflict(written);
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
}

#[test]
fn an_object_that_is_gone_ends_the_reconcile() {
    let mut driver = intended();
    driver.gone();
    assert_eq!(driver.rest(), ["finish"]);
    let mut driver = sent();
    driver.response(Ok(None));
    assert_eq!(driver.next(), "write Delivered");
    driver.gone();
    assert_eq!(driver.rest(), ["finish"]);
}
