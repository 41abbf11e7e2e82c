//! Whole reconciles with targets: what is read when, which target each effect names, and where the status pins the decision.

use super::*;
use crate::api::v1alpha1::{Reason, TargetRef};
use crate::codepipeline::PipelineObservation;
use crate::decision::test_fixtures::targets::{elsewhere, found, here, own_as, reference, target};

fn through_target(decision: ApprovalDecision) -> ApprovalDecision {
    decision.with(|decision| decision.spec.target_ref = Some(reference()))
}

impl Driver {
    /// The next effect, which names this target, if it names any.
    fn next_at(&mut self, expected: Option<&str>) -> String {
        let effect = self.reconciliation.next(&SETTINGS, at(self.seconds));
        let (name, target) = match &effect {
            Effect::FindTarget { target } => ("find target", target.as_deref()),
            Effect::ReadPipeline { target, .. } => ("read", target.as_deref()),
            Effect::EnsureCredentials { target } => ("ensure credentials", target.as_deref()),
            Effect::Send { submission, .. } => ("send", submission.target.as_deref()),
            Effect::RecordIntent(status) | Effect::WriteStatus(status) => {
                self.status = Some(status.clone());
                ("write", expected)
            }
            Effect::ListRejections => ("list rejections", expected),
            Effect::FindAccepted { .. } => ("find accepted", expected),
            Effect::Announce(_) => ("announce", expected),
            Effect::Finish(_) => ("finish", expected),
        };
        assert_eq!(target, expected, "{name}");
        name.to_owned()
    }

    fn found(&mut self, name: Option<&str>, observation: TargetObservation) {
        assert_eq!(self.next_at(name), "find target");
        self.reconciliation.on_target(observation);
    }

    fn pinned(&self) -> Option<Location> {
        self.status.as_deref()?.location()
    }

    fn credentials_of(&mut self, found: Location) {
        self.reconciliation.on_credentials(Ok(found));
    }
}

#[test]
fn a_target_is_looked_for_first_and_again_once_the_intent_is_recorded() {
    let mut driver = reconcile(through_target(fresh()), 0);
    let prod = Some("prod");
    driver.found(prod, found(target(here())));
    assert_eq!(driver.next_at(prod), "list rejections");
    driver.reconciliation.on_rejections(Rejections::Listed(Vec::new()));
    assert_eq!(driver.next_at(prod), "ensure credentials");
    driver.credentials_of(here());
    assert_eq!(driver.next_at(prod), "write");
    let submission = driver.status.clone().and_then(|status| status.submission).expect("a submission");
    assert_eq!(submission.session_name.as_deref(), Some("team.release.4a49acf8a6"));
    assert_eq!(driver.pinned(), Some(here()));
    driver.written();
    driver.found(prod, found(target(here())));
    assert_eq!(driver.next_at(prod), "list rejections");
    driver.reconciliation.on_rejections(Rejections::Listed(Vec::new()));
    assert_eq!(driver.next_at(prod), "send");
}

#[test]
fn nothing_is_read_for_a_decision_that_its_target_does_not_admit() {
    let mut closed = target(here());
    closed.spec.access.clear();
    for decision in [fresh(), by_id("E1"), by_revision("main")] {
        let mut driver = reconcile(through_target(decision), 0);
        driver.target = found(closed.clone());
        assert_eq!(driver.next(), "write TargetForbidden");
        assert_eq!(driver.pinned(), None);
        driver.written();
        assert_eq!(driver.rest(), ["announce TargetForbidden", "finish"]);
        // It is evaluated again, and writes nothing while nothing changes.
        let mut again = reconcile(driver.reconciliation.decision().clone(), 60);
        again.target = found(closed.clone());
        assert_eq!(again.rest(), ["finish"]);
    }
}

#[test]
fn a_waiting_decision_is_pinned_by_its_first_status_and_stays_where_it_is() {
    let mut driver = reconcile(through_target(by_id("E1")), 0);
    driver.found(Some("prod"), found(target(here())));
    assert_eq!(driver.next_at(Some("prod")), "read");
    driver.polled(&pipeline().execution("E1", RUNNING));
    assert_eq!(driver.next(), "write Waiting");
    assert_eq!(driver.pinned(), Some(here()));
    driver.written();
    let waiting = driver.reconciliation.decision().clone();
    let mut moved = reconcile(waiting.clone(), 60);
    moved.target = found(target(elsewhere()));
    assert_eq!(moved.next(), "write TargetForbidden");
    assert_eq!(moved.pinned(), Some(here()), "it is not forgotten");
    moved.written();
    assert_eq!(moved.rest(), ["announce TargetForbidden", "finish"]);
    let mut restarted = reconcile(moved.reconciliation.decision().clone().annotated("now"), 120);
    restarted.target = found(target(elsewhere()));
    assert!(restarted.next().starts_with("read"));
    restarted.polled(&pipeline().execution("E1", RUNNING));
    assert_eq!(restarted.next(), "write Waiting");
    assert_eq!(restarted.pinned(), Some(elsewhere()));
}

#[test]
fn credentials_that_turn_out_to_be_for_another_account_record_no_intent() {
    let ready = |decision: ApprovalDecision, target: TargetObservation, found: Location| {
        let mut driver = reconcile(decision, 0);
        driver.target = target;
        driver.rejections(Vec::new());
        assert_eq!(driver.next(), "ensure credentials");
        driver.credentials_of(found);
        let next = driver.next();
        (next, driver.status.map(|status| status.conditions[0].message.clone()).unwrap_or_default())
    };
    let (next, message) = ready(fresh(), own_as(Some(elsewhere()), &[here()]), here());
    assert_eq!(next, "write TargetRequired", "{message}");
    let (next, message) = ready(through_target(fresh()), found(target(here())), elsewhere());
    assert_eq!(next, "write TargetNotReady", "{message}");
    let pinned = fresh().with_reason(Reason::Waiting).with_status(|status| {
        status.set_location(Some(here()));
    });
    let (next, message) = ready(pinned, own(), elsewhere());
    assert_eq!(next, "write TargetForbidden", "{message}");
    let (next, _) = ready(fresh(), own(), here());
    assert_eq!(next, "record the intent of attempt 1");
}

#[test]
fn a_request_that_was_found_in_another_account_than_the_credentials_have_is_retried() {
    let mut driver = reconcile(by_revision("main"), 0);
    assert!(driver.next().starts_with("read"));
    let request = TestPipeline { location: Some(elsewhere()), ..pending() };
    let poll: PipelineObservation = request.poll_at(0, driver.reconciliation.decision());
    driver.reconciliation.on_snapshot(Some(poll));
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials_of(here());
    assert_eq!(driver.next(), "write CredentialsUnavailable");
}

/// The execution of the decision waits for a response.
fn pending() -> TestPipeline {
    pipeline().execution("E1", RUNNING).entry("A1", "E1", IN_PROGRESS).shows("A1", Some(token()), IN_PROGRESS)
}

#[test]
fn after_a_refusal_the_target_is_looked_for_before_the_pipeline_is_read_again() {
    let mut driver = reconcile(through_target(by_revision("main")), 0);
    driver.target = found(target(here()));
    assert!(driver.next().starts_with("read"));
    driver.polled(&pending());
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(Vec::new());
    assert!(driver.next().starts_with("send"));
    driver.response(Err(refusal(Refusal::InvalidApprovalToken)));
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next_at(Some("prod")), "announce");
    driver.found(Some("prod"), TargetObservation::NotFound);
    assert_eq!(driver.next(), "write TargetNotFound");
}

#[test]
fn an_edit_in_doubt_to_another_target_recovers_through_the_first_and_then_looks_for_the_second() {
    let other = TargetRef { name: "spare".to_owned(), account_id: None, region: None };
    let in_doubt = through_target(fresh().in_doubt()).with_status(|status| {
        if let Some(submission) = &mut status.submission {
            submission.target = Some("prod".to_owned());
        }
    });
    let edited = in_doubt.edited().with(|decision| decision.spec.target_ref = Some(other));
    let mut driver = reconcile(edited, 25);
    let without_trace = pipeline();
    driver.found(Some("prod"), found(target(here())));
    assert_eq!(driver.next_at(Some("prod")), "read");
    driver.seconds = 90;
    driver.polled(&without_trace);
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next_at(Some("spare")), "announce");
    driver.found(Some("spare"), TargetObservation::NotFound);
    assert_eq!(driver.next(), "write TargetNotFound");
}

#[test]
fn where_no_target_exists_nothing_is_read_or_written_for_it() {
    let mut driver = reconcile(fresh(), 0);
    driver.prepare();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(Vec::new());
    assert!(driver.next().starts_with("send"));
    driver.response(Ok(Some(at(1))));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
    let suspended = fresh().suspended();
    let mut driver = reconcile(suspended, 0);
    assert_eq!(driver.next(), "write Suspended");
    assert_eq!(driver.pinned(), None);
    driver.written();
    let mut again = reconcile(driver.reconciliation.decision().clone(), 60);
    again.target = own_as(Some(here()), &[]);
    assert_eq!(again.rest(), ["finish"], "that the account became known is no reason to write");
}

#[test]
fn a_session_that_takes_longer_than_an_attempt_has_to_leave_is_used() {
    let mut driver = reconcile(through_target(fresh()), 0);
    driver.target = found(target(here()));
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "ensure credentials");
    driver.seconds = 9;
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.written();
    driver.rejections(Vec::new());
    assert_eq!(driver.next(), "send before 14 s");
}
