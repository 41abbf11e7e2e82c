//! Whole reconciles: each effect in order, driven by the results that a test reports. Times are in seconds since the creation of
//! the decision.

use super::*;
use crate::api::v1alpha1::{ApprovalStatus::Approved, PipelineExecutionId, REQUESTED_AT};
use crate::codepipeline::{ApprovalRecord, ExecutionStatus, Refusal, RetryCause};
use crate::decision::status::status;
use crate::decision::test_fixtures::*;

mod pipeline;

const WEEK: i64 = 7 * 24 * 3600;

/// A reconcile, the time, and the status that the last write carried.
struct Driver {
    reconciliation: Reconciliation,
    seconds: i64,
    status: Option<Box<ApprovalDecisionStatus>>,
}

fn reconcile(decision: ApprovalDecision, seconds: i64) -> Driver {
    Driver { reconciliation: Reconciliation::new(decision), seconds, status: None }
}

impl Driver {
    /// The next effect, in a few words.
    fn next(&mut self) -> String {
        match self.reconciliation.next(&SETTINGS, at(self.seconds)) {
            Effect::ReadPipeline(WakeCondition::Any) => "read any poll".to_owned(),
            Effect::ReadPipeline(WakeCondition::NewerThan { known, recheck_at }) => {
                let recheck = recheck_at.map(|time| format!(", or one of {} s", since_creation(time)));
                let known = since_creation(known.started_at);
                format!("read a poll newer than that of {known} s{}", recheck.unwrap_or_default())
            }
            Effect::ReadRecord { token, ids } => {
                assert_eq!(token, self::token());
                format!("read the history of {}", ids.action.unwrap_or_else(|| "the token".to_owned()))
            }
            Effect::EnsureCredentials => "ensure credentials".to_owned(),
            Effect::RecordIntent(status) => {
                let attempts = status.submission.as_ref().map(|submission| submission.attempts);
                assert_eq!(reason(&status), "Submitting");
                self.status = Some(status);
                format!("record the intent of attempt {}", attempts.expect("a submission"))
            }
            Effect::Send { token, send_deadline } => {
                assert_eq!(token, self::token());
                format!("send before {} s", since_creation(send_deadline))
            }
            Effect::WriteStatus(status) => {
                let reason = reason(&status);
                self.status = Some(status);
                format!("write {reason}")
            }
            Effect::Announce(announcement) => format!("announce {}", announcement.reason.as_str()),
            Effect::Finish(Requeue::AwaitChange) => "finish".to_owned(),
            Effect::Finish(Requeue::At(time)) => format!("finish until {} s", since_creation(time)),
            Effect::Finish(Requeue::OnPipelineChange { recheck_at, until }) => {
                let recheck = recheck_at.map(|time| format!(" or a poll of {} s", since_creation(time)));
                format!("finish until a change{} or {} s", recheck.unwrap_or_default(), since_creation(until))
            }
        }
    }

    /// The effects to the end of the reconcile. None of them has a result.
    fn rest(&mut self) -> Vec<String> {
        let mut effects = vec![self.next()];
        while !effects.last().is_some_and(|effect| effect.starts_with("finish")) {
            assert!(effects.len() < 5, "an effect waits for its result: {effects:?}");
            effects.push(self.next());
        }
        effects
    }

    fn credentials(&mut self) {
        self.reconciliation.on_credentials(Ok(()));
    }

    fn response(&mut self, response: Result<Option<Timestamp>, CallError>) {
        self.reconciliation.on_response(response);
    }

    fn record(&mut self, record: ApprovalRecord) {
        let started_at = at(self.seconds);
        self.reconciliation.on_record(RecordObservation { started_at, result: Ok(record) });
    }

    /// The object with the status of the last write.
    fn written_object(&self) -> ApprovalDecision {
        let status = self.status.as_deref().cloned();
        self.reconciliation.decision().clone().with(|decision| decision.status = status)
    }

    /// The last write lands.
    fn written(&mut self) {
        let written = self.written_object();
        self.reconciliation.on_written(WriteResult::Written(Box::new(written)), at(self.seconds));
    }

    /// The last write does not land, because the object is this one.
    fn conflict(&mut self, live: ApprovalDecision) {
        self.reconciliation.on_written(WriteResult::Conflict(Box::new(live)), at(self.seconds));
    }

    fn gone(&mut self) {
        self.reconciliation.on_written(WriteResult::Gone, at(self.seconds));
    }
}

fn since_creation(time: Timestamp) -> i64 {
    time.duration_since(at(0)).as_secs()
}

fn reason(status: &ApprovalDecisionStatus) -> String {
    status.conditions.first().expect("a Ready condition").reason.clone()
}

/// A decision with a token, whose request was sent at second 5 under the intent of its first attempt.
fn sent() -> Driver {
    let mut driver = reconcile(fresh(), 5);
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    assert_eq!(driver.next(), "send before 10 s");
    driver
}

#[test]
fn a_decision_with_a_token_is_delivered() {
    let mut driver = sent();
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    let outcome = Outcome::Delivered { approved_at: Some(at(6)), record: None };
    let expected = status(driver.reconciliation.decision(), &outcome, at(5));
    assert_eq!(driver.status.as_deref(), Some(&expected));
    driver.written();
    assert_eq!(driver.next(), "announce Delivered");
    assert_eq!(driver.next(), "finish");
    assert_eq!(driver.next(), "finish", "a finished reconcile stays finished");
}

#[test]
fn an_effect_whose_result_is_not_reported_is_repeated_unless_it_is_the_request() {
    let mut driver = reconcile(fresh(), 5);
    assert_eq!((driver.next().as_str(), driver.next().as_str()), ("ensure credentials", "ensure credentials"));
    driver.credentials();
    let intent = "record the intent of attempt 1";
    assert_eq!((driver.next().as_str(), driver.next().as_str()), (intent, intent));
    driver.written();
    assert_eq!(driver.next(), "send before 10 s");
    for _ in 0..10 {
        assert_eq!(driver.next(), "write Unconfirmed");
    }
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 25 s"]);
    let message = &driver.reconciliation.decision().status.as_ref().expect("a status").conditions[0].message;
    assert!(message.contains("the response was lost (the response was not reported)"), "{message}");
    // The next reconcile does not send anything before the history was read.
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 24);
    assert_eq!(driver.rest(), ["finish until 25 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 25);
    assert_eq!(driver.next(), "read the history of the token");
    assert_eq!(driver.next(), "read the history of the token");
    driver.record(ApprovalRecord::Pending(ids()));
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    driver.written();
    assert_eq!(driver.next(), "send before 30 s");
}

#[test]
fn a_lost_response_is_settled_by_the_history() {
    let mut driver = sent();
    driver.response(Err(indeterminate()));
    assert_eq!(driver.next(), "write Unconfirmed");
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 25 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 25);
    assert_eq!(driver.next(), "read the history of the token");
    driver.record(completed_record(Approved, 6));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
    assert_eq!(driver.reconciliation.decision().status.as_ref().and_then(|status| status.approved_at), Some(at(6)));
}

#[test]
fn without_credentials_no_intent_is_recorded() {
    let mut driver = reconcile(fresh(), 5);
    assert_eq!(driver.next(), "ensure credentials");
    driver.reconciliation.on_credentials(Err(not_applied(RetryCause::CredentialsUnavailable)));
    assert_eq!(driver.next(), "write CredentialsUnavailable");
    driver.written();
    let effects = driver.rest();
    assert_eq!(effects.first().map(String::as_str), Some("announce CredentialsUnavailable"));
    assert!(matches!(driver.reconciliation.stage(), Stage::Finish(Requeue::At(time)) if at(6) <= *time), "{effects:?}");
    assert_eq!(effects.len(), 2, "{effects:?}");
    // After doubt, the doubt remains.
    let mut driver = reconcile(fresh().in_doubt(), 20);
    assert_eq!(driver.next(), "read the history of the token");
    driver.record(ApprovalRecord::Pending(ids()));
    assert_eq!(driver.next(), "ensure credentials");
    driver.reconciliation.on_credentials(Err(not_applied(RetryCause::CredentialsUnavailable)));
    assert!(driver.reconciliation.observed().record.is_none());
    assert_eq!(driver.next(), "write Unconfirmed");
}

#[test]
fn a_conflict_on_the_intent_starts_over_from_the_live_object() {
    let intended = || {
        let mut driver = reconcile(fresh(), 5);
        driver.next();
        driver.credentials();
        assert_eq!(driver.next(), "record the intent of attempt 1");
        driver
    };
    let mut driver = intended();
    driver.conflict(fresh().edited().suspended());
    assert_eq!(driver.next(), "write Suspended");
    driver.written();
    assert_eq!(driver.rest(), ["announce Suspended", "finish"]);
    let mut driver = intended();
    driver.conflict(fresh().edited());
    assert_eq!(driver.next(), "ensure credentials", "an edit that still allows it: the intent is recorded over it");
    let mut driver = intended();
    driver.conflict(fresh().with_reason(Reason::Submitting).submitted(1, 4, 24));
    assert_eq!(driver.rest(), ["finish until 24 s"], "another replica has recorded an intent");
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
    let mut driver = reconcile(fresh(), 5);
    driver.next();
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    assert_eq!(driver.reconciliation.on_write_failed(), None);
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
    let outcome = |decision: &ApprovalDecision| status(decision, &Outcome::Suspended, at(4));
    let suspended = fresh().suspended().with(|decision| decision.status = Some(outcome(decision)));
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
fn a_reason_that_does_not_change_is_not_announced() {
    let throttled = fresh().with_reason(Reason::Throttled).submitted(1, 0, 20);
    let mut driver = reconcile(throttled, 100);
    driver.next();
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    driver.written();
    assert_eq!(driver.next(), "send before 105 s");
    driver.response(Err(not_applied(RetryCause::Throttled)));
    assert_eq!(driver.next(), "write Throttled");
    driver.written();
    assert_eq!(driver.rest().len(), 1, "Submitting is not announced, so Throttled is not a change");
}

#[test]
fn an_object_that_is_gone_ends_the_reconcile() {
    let mut driver = reconcile(fresh(), 5);
    driver.next();
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.gone();
    assert_eq!(driver.rest(), ["finish"]);
    let mut driver = sent();
    driver.response(Ok(None));
    assert_eq!(driver.next(), "write Delivered");
    driver.gone();
    assert_eq!(driver.rest(), ["finish"]);
}

#[test]
fn an_annotation_that_arrives_during_a_submission_restarts_the_decision_at_once() {
    let mut driver = sent();
    driver.response(Err(refusal(Refusal::InvalidApprovalToken)));
    assert_eq!(driver.next(), "write InvalidApprovalToken");
    let written = driver.written_object().annotated("now");
    assert!(written.metadata.annotations.as_ref().is_some_and(|known| known.contains_key(REQUESTED_AT)));
    driver.reconciliation.on_written(WriteResult::Written(Box::new(written)), at(7));
    assert_eq!(driver.next(), "announce InvalidApprovalToken");
    assert_eq!(driver.next(), "ensure credentials");
}

#[test]
fn observations_are_dropped_once_an_intent_is_recorded_and_once_a_request_is_sent() {
    let mut driver = reconcile(fresh().in_doubt().with_ids(ids()), 20);
    assert_eq!(driver.next(), "read the history of action-execution");
    driver.record(ApprovalRecord::Pending(ids()));
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    assert!(driver.reconciliation.observed().record.is_some());
    driver.written();
    assert!(driver.reconciliation.observed().record.is_none());
    driver.record(ApprovalRecord::NotVisible);
    assert_eq!(driver.next(), "send before 25 s");
    assert!(driver.reconciliation.observed().record.is_none());
    driver.response(Err(refusal(Refusal::ApprovalAlreadyCompleted)));
    assert_eq!(driver.next(), "read the history of action-execution");
    driver.record(completed_record(Approved, 9));
    assert_eq!(driver.next(), "write Delivered");
}
