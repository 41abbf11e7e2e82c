//! Whole reconciles: each effect in order, driven by the results that a test reports. Times are in seconds since the creation of
//! the decision.

use super::*;
use crate::api::v1alpha1::{ApprovalDecisionStatus, ApprovalStatus::Approved, ApprovalStatus::Rejected, REQUESTED_AT};
use crate::codepipeline::{ExecutionSelector, Refusal, RetryCause};
use crate::decision::conflict::{RejectedRequests, Rejection};
use crate::decision::status::status;
use crate::decision::target::RejectionLocation;
use crate::decision::test_fixtures::pipeline::*;
use crate::decision::test_fixtures::targets::{here, own};
use crate::decision::test_fixtures::*;

mod edits;
mod pipeline;
mod targets;
mod writes;

/// A reconcile, the time, and the status that the last write carried.
struct Driver {
    reconciliation: Reconciliation,
    seconds: i64,
    target: TargetObservation,
    status: Option<Box<ApprovalDecisionStatus>>,
}

fn reconcile(decision: ApprovalDecision, seconds: i64) -> Driver {
    Driver { reconciliation: Reconciliation::new(decision), seconds, target: own(), status: None }
}

impl Driver {
    /// The next effect, in a few words.
    fn next(&mut self) -> String {
        match self.reconciliation.next(&SETTINGS, at(self.seconds)) {
            Effect::FindTarget { .. } => {
                self.reconciliation.on_target(self.target.clone());
                self.next()
            }
            Effect::ReadPipeline { pipeline, query, condition, .. } => {
                let what = match query.executions {
                    ExecutionSelector::PipelineExecution(id) => format!("execution {id}"),
                    ExecutionSelector::SourceRevisions(_) => "the revisions".to_owned(),
                    ExecutionSelector::Request { .. } => "the request".to_owned(),
                };
                let poll = match condition {
                    WakeCondition::Any => "any poll".to_owned(),
                    WakeCondition::NewerThan { known, recheck_at } => {
                        let recheck = recheck_at.map(|time| format!(", or one of {} s", since_creation(time)));
                        let known = since_creation(known.started_at);
                        format!("a poll newer than that of {known} s{}", recheck.unwrap_or_default())
                    }
                };
                format!("read {poll} for {what} of {pipeline}")
            }
            Effect::ListRejections => "list rejections".to_owned(),
            Effect::FindAccepted { ids } => {
                self.reconciliation.on_accepted(ids.first().map(|id| format!("of-{id}")));
                self.next()
            }
            Effect::EnsureCredentials { .. } => "ensure credentials".to_owned(),
            Effect::RecordIntent(status) => {
                let attempts = status.submission.as_ref().map(|submission| submission.attempts);
                assert_eq!(reason(&status), "Submitting");
                self.status = Some(status);
                format!("record the intent of attempt {}", attempts.expect("a submission"))
            }
            Effect::Send { submission, send_deadline } => {
                let recorded = self.reconciliation.decision().status.as_ref();
                assert_eq!(Some(&*submission), recorded.and_then(|status| status.submission.as_ref()));
                assert_eq!(submission.location(), here());
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

    /// The next effect lists the rejections, and there are these.
    fn rejections(&mut self, rejections: Vec<Rejection>) {
        assert_eq!(self.next(), "list rejections");
        self.reconciliation.on_rejections(Rejections::Listed(rejections));
    }

    /// The next effects list the rejections, of which there are none, and ensure that there are credentials.
    fn prepare(&mut self) {
        self.rejections(Vec::new());
        assert_eq!(self.next(), "ensure credentials");
        self.credentials();
    }

    fn credentials(&mut self) {
        self.reconciliation.on_credentials(Ok(here()));
    }

    fn response(&mut self, response: Result<Option<Timestamp>, CallError>) {
        self.reconciliation.on_response(response);
    }

    /// The newest poll started this second.
    fn polled(&mut self, pipeline: &TestPipeline) {
        let poll = pipeline.poll_at(self.seconds, self.reconciliation.decision());
        self.reconciliation.on_snapshot(Some(poll));
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
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 10 s");
    driver
}

const READ_REQUEST: &str = "read any poll for the request of shop";

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
    assert_eq!((driver.next().as_str(), driver.next().as_str()), ("list rejections", "list rejections"));
    driver.rejections(Vec::new());
    assert_eq!((driver.next().as_str(), driver.next().as_str()), ("ensure credentials", "ensure credentials"));
    driver.credentials();
    let intent = "record the intent of attempt 1";
    assert_eq!((driver.next().as_str(), driver.next().as_str()), (intent, intent));
    driver.written();
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 10 s");
    for _ in 0..10 {
        assert_eq!(driver.next(), "write Unconfirmed");
    }
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 30 s"]);
    let message = &driver.reconciliation.decision().status.as_ref().expect("a status").conditions[0].message;
    assert!(message.contains("the response was lost (the response was not reported)"), "{message}");
    // The next reconcile does not send anything before the history was read.
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 29);
    assert_eq!(driver.rest(), ["finish until 30 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 30);
    assert_eq!((driver.next().as_str(), driver.next().as_str()), (READ_REQUEST, READ_REQUEST));
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    driver.written();
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 35 s");
}

#[test]
fn a_lost_response_is_settled_by_the_history() {
    let mut driver = sent();
    driver.response(Err(indeterminate()));
    assert_eq!(driver.next(), "write Unconfirmed");
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 30 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 30);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&completed_request(&completed_approval(Approved, 6)));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
    assert_eq!(driver.reconciliation.decision().status.as_ref().and_then(|status| status.approved_at), Some(at(6)));
}

#[test]
fn a_refused_token_is_explained_by_the_history() {
    let mut driver = sent();
    driver.response(Err(refusal(Refusal::ApprovalAlreadyCompleted)));
    assert_eq!(driver.next(), "write Unconfirmed");
    driver.written();
    assert_eq!(driver.rest(), ["announce Unconfirmed", "finish until 5 s"]);
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 6);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&completed_request(&completed_approval(Approved, -900)));
    assert_eq!(driver.next(), "write AlreadyDecided");
    let written = driver.status.as_ref().map(|status| status.conditions[0].message.clone()).unwrap_or_default();
    assert!(written.contains("by decision of-action-execution of this namespace"), "{written}");
    driver.written();
    assert_eq!(driver.rest(), ["announce AlreadyDecided", "finish"]);
}

#[test]
fn without_credentials_no_intent_is_recorded() {
    let mut driver = reconcile(fresh(), 5);
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "ensure credentials");
    driver.reconciliation.on_credentials(Err(not_applied(RetryCause::CredentialsUnavailable)));
    assert_eq!(driver.next(), "write CredentialsUnavailable");
    driver.written();
    let effects = driver.rest();
    assert_eq!(effects.first().map(String::as_str), Some("announce CredentialsUnavailable"));
    assert!(matches!(driver.reconciliation.stage(), Stage::Finish(Requeue::At(time)) if at(6) <= *time), "{effects:?}");
    assert_eq!(effects.len(), 2, "{effects:?}");
    // After doubt, the doubt remains.
    let mut driver = reconcile(fresh().in_doubt(), 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "ensure credentials");
    driver.reconciliation.on_credentials(Err(not_applied(RetryCause::CredentialsUnavailable)));
    assert!(driver.reconciliation.observed().pipeline.is_none());
    assert_eq!(driver.next(), "write Unconfirmed");
}

#[test]
fn a_rejection_of_the_same_request_goes_first() {
    let rejection = || {
        let (namespace, name) = ("team".to_owned(), "stop".to_owned());
        Rejection {
            namespace,
            name,
            requests: RejectedRequests::Token(token()),
            not_after: None,
            location: RejectionLocation::Unknown,
        }
    };
    let held = ["announce ConflictingDecision", READ_REQUEST];
    let mut driver = reconcile(fresh(), 5);
    driver.rejections(vec![rejection()]);
    assert_eq!(driver.next(), "write ConflictingDecision");
    driver.written();
    assert_eq!([driver.next(), driver.next()], held);
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or {WEEK} s"));
    // It was created while the intent was recorded.
    let mut driver = reconcile(fresh(), 5);
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(vec![rejection()]);
    assert_eq!(driver.next(), "write ConflictingDecision");
    driver.written();
    assert_eq!([driver.next(), driver.next()], held);
    // A rejection does not wait for others.
    let mut driver = reconcile(fresh().with_result(Rejected, SUMMARY), 5);
    assert_eq!(driver.next(), "ensure credentials");
}

#[test]
fn a_decision_waits_until_all_decisions_are_listed() {
    let mut driver = reconcile(fresh(), 5);
    assert_eq!(driver.next(), "list rejections");
    driver.reconciliation.on_rejections(Rejections::NotListed);
    assert_eq!(driver.rest(), ["finish"]);
}

#[test]
fn a_reason_that_does_not_change_is_not_announced() {
    let throttled = fresh().with_reason(Reason::Throttled).submitted(1, 0, 25);
    let mut driver = reconcile(throttled, 100);
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    driver.written();
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 105 s");
    driver.response(Err(not_applied(RetryCause::Throttled)));
    assert_eq!(driver.next(), "write Throttled");
    driver.written();
    assert_eq!(driver.rest().len(), 1, "Submitting is not announced, so Throttled is not a change");
}

#[test]
fn observations_are_dropped_once_an_intent_is_recorded_and_once_a_request_is_sent() {
    let mut driver = reconcile(fresh().in_doubt().with_ids(ids()), 25);
    assert_eq!(driver.next(), READ_REQUEST);
    driver.polled(&pending_request());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 2");
    let observed = |driver: &Driver| {
        let observed = driver.reconciliation.observed();
        (observed.pipeline.is_some(), observed.rejections.is_some())
    };
    assert_eq!(observed(&driver), (true, true));
    driver.written();
    assert_eq!(observed(&driver), (false, false));
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 30 s");
    assert_eq!(observed(&driver), (false, false));
    driver.response(Err(refusal(Refusal::ApprovalAlreadyCompleted)));
    assert_eq!(driver.next(), "write Unconfirmed", "history says whether the first attempt was accepted");
}
