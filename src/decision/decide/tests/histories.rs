//! Histories of a decision: edits, restarts, deletions and lost responses, beside what people and CodePipeline do. Each test is a
//! history. What a decision does after it follows from the spec and from CodePipeline's history alone.

use super::*;
use crate::decision::conflict::Rejection;
use crate::decision::message::Message;
use crate::decision::status::status;
use crate::decision::subject::subject;

impl Case {
    /// The decision after what this step writes.
    fn written(self) -> ApprovalDecision {
        let outcome = match self.step() {
            Step::WriteStatus(outcome) => outcome,
            Step::RecordIntent(intent) => Outcome::Submitting(intent),
            step => panic!("nothing is written: {step:?}"),
        };
        let status = status(&subject(&self.decision), &outcome, self.now);
        self.decision.with(|decision| decision.status = Some(status))
    }

    /// The reason and the message of what this step writes.
    fn reports(&self) -> (Reason, String) {
        match self.step() {
            Step::WriteStatus(outcome) => {
                (outcome.reason(), Message::new(&subject(&self.decision), &outcome).within(4096))
            }
            step => panic!("nothing is written: {step:?}"),
        }
    }

    /// The action execution whose request this step starts to answer.
    fn answers(&self) -> Option<String> {
        match self.step() {
            Step::RecordIntent(intent) => intent.submission.action_execution_id,
            _ => None,
        }
    }
}

fn assert_reports(case: &Case, reason: Reason, words: &[&str]) {
    let (reported, message) = case.reports();
    assert_eq!(reported, reason, "{message}");
    words.iter().for_each(|words| assert!(message.contains(words), "{words:?} is not in {message:?}"));
}

fn reason_of(decision: &ApprovalDecision) -> Option<Reason> {
    crate::decision::phase::current_reason(decision)
}

/// An execution E2 asks, after an execution E1 of the same revision, whose request ended like this.
fn e2_after(e1: crate::codepipeline::ActionProgress) -> TestPipeline {
    let pipeline = pipeline().execution("E2", RUNNING).execution("E1", FAILED);
    let pipeline = pipeline.entry("A2", "E2", IN_PROGRESS).shows("A2", Some(token()), IN_PROGRESS);
    pipeline.entry("A1", "E1", e1).started(-200)
}

/// The execution E1 asks a second time, after its first request ended like this.
fn retried(first: crate::codepipeline::ActionProgress) -> TestPipeline {
    let pipeline = pipeline().execution("E1", RUNNING);
    let pipeline = pipeline.entry("A2", "E1", IN_PROGRESS).shows("A2", Some(token()), IN_PROGRESS);
    pipeline.entry("A1", "E1", first).started(-200)
}

/// The result of a decision was accepted for the request of this execution.
fn delivered_to(decision: ApprovalDecision, execution: &str) -> ApprovalDecision {
    let sent = decision.with_reason(Reason::Submitting).submitted(1, -150, -125).with_ids(ids_of(execution, "A1"));
    let attempt = Attempt::Submitted(intent(1, -150, -125, NotApplied), Ok(Some(at(-140))));
    Case { attempt, ..given(sent, -140) }.written()
}

const LATE: i64 = 100;

#[test]
fn a_decision_waits_is_suspended_or_the_operator_is_down_someone_responds_to_e1_and_e2_asks() {
    let waiting = || given(by_revision("main"), 1).polled(&pipeline()).written();
    let suspended = || given(by_revision("main").suspended(), 1).written();
    let released = || suspended().edited().with(|decision| decision.spec.suspend = false);
    assert_eq!((reason_of(&waiting()), reason_of(&suspended())), (Some(Reason::Waiting), Some(Reason::Suspended)));
    for decision in [by_revision("main"), waiting(), released()] {
        let case = |response| given(decision.clone(), LATE).polled(&e2_after(response));
        let open = "that response used up this decision, and execution E2 waits for a response";
        assert_reports(
            &case(rejected_at(-100)),
            Reason::ApprovalAlreadyCompleted,
            &["already been rejected by ada", open],
        );
        assert_reports(&case(approved_at(-100)), Reason::AlreadyDecided, &["already been approved by ada", open]);
        assert_eq!(case(timed_out_at(-100)).answers().as_deref(), Some("A2"), "nobody responded");
    }
    let suspended = given(suspended(), LATE).polled(&e2_after(timed_out_at(-100)));
    assert_reports(&suspended, Reason::Suspended, &[]);
}

#[test]
fn delivered_the_stage_is_retried_with_all_actions_and_the_decision_is_deleted_and_applied_again() {
    for applied_again in [by_id("E1"), by_revision("main")] {
        let case = given(applied_again, LATE).polled(&retried(approved_at(-140)));
        assert_reports(&case, Reason::AlreadyDecided, &["execution E1 asks again", "name it with spec.token"]);
    }
}

#[test]
fn delivered_to_e1_and_the_cluster_is_restored_with_another_summary_while_e2_asks() {
    for summary in [SUMMARY, "reworded", ""] {
        let restored = by_revision("main").with_result(Approved, summary);
        let case = given(restored, LATE).polled(&e2_after(approved_at(-140)));
        assert_reports(&case, Reason::AlreadyDecided, &["execution E2 waits for a response"]);
    }
}

#[test]
fn another_revision_is_merged_while_the_operator_is_down_and_its_request_is_rejected_and_retried() {
    let edited = delivered_to(by_revision("X"), "E1").edited().naming_revisions(vec![entry(None, Some("Y"))]);
    let pipeline = |response| {
        let TestPipeline { mut executions, entries, latest, .. } = retried(response);
        executions.iter_mut().for_each(|execution| execution.source_revisions = vec![source("Git", Some("Y"))]);
        TestPipeline { executions, entries, latest, ..super::pipeline() }
    };
    let case = |response| given(edited.clone(), LATE).polled(&pipeline(response));
    assert_reports(&case(rejected_at(-100)), Reason::ApprovalAlreadyCompleted, &["rejected by ada", "asks again"]);
    assert_eq!(case(timed_out_at(-100)).answers().as_deref(), Some("A2"), "nobody responded");
}

#[test]
fn a_revision_is_raised_and_reverted() {
    let x = delivered_to(by_revision("main"), "E1");
    let y = x.edited().naming_revisions(vec![entry(None, Some("Y"))]);
    let y = given(y, 1).polled(&pipeline()).written();
    assert_eq!(reason_of(&y), Some(Reason::Waiting));
    let x = y.edited().naming_revisions(vec![entry(None, Some("main"))]);
    let settled = given(x.clone(), LATE).polled(&e2_after(approved_at(-140)));
    assert_reports(&settled, Reason::AlreadyDecided, &["execution E2 waits for a response"]);
    let ignoring = x.ignoring_responses_before(at(-100));
    assert_eq!(given(ignoring, LATE).polled(&e2_after(approved_at(-140))).answers().as_deref(), Some("A2"));
}

#[test]
fn a_stage_is_retried_after_a_rejection_and_ignore_responses_before_is_set() {
    let used_up = given(by_id("E1"), LATE).polled(&retried(rejected_at(-100))).written();
    assert_eq!(reason_of(&used_up), Some(Reason::ApprovalAlreadyCompleted));
    let edited = used_up.edited().ignoring_responses_before(at(-99));
    assert_eq!(given(edited.clone(), LATE).polled(&retried(rejected_at(-100))).answers().as_deref(), Some("A2"));
    // What it set aside is a response to the retry, too, once there is one.
    let approved = retried(rejected_at(-100)).shows("A2", None, approved_at(-5));
    assert_reports(&given(edited, LATE).polled(&approved), Reason::AlreadyDecided, &["approved by ada"]);
}

#[test]
fn a_rejection_lacks_a_required_summary_beside_an_approval_of_the_same_request() {
    let rejection = by_id("pipeline-execution").with_result(Rejected, "");
    let sent = rejection.with_reason(Reason::Submitting).submitted(1, 0, 25).with_ids(ids());
    let attempt =
        Attempt::Submitted(intent(2, 0, 25, PriorAttempts::Refused), Err(refusal(Refusal::InvalidApprovalToken)));
    let refused = Case { attempt, ..given(sent, 1) }.written();
    let refused = given(refused, 2).polled(&pending_request()).written();
    assert_eq!(reason_of(&refused), Some(Reason::InvalidApprovalToken));
    let rejections = Some(Rejections::Listed(vec![Rejection::of(&refused).expect("a rejection")]));
    for approval in [fresh(), by_id("pipeline-execution"), by_revision("main")] {
        let case = Case { rejections: rejections.clone(), ..given(approval, 5).polled(&pending_request()) };
        assert_reports(&case, Reason::ConflictingDecision, &["Decision release of this namespace rejects"]);
    }
}

/// The first attempt was lost, and CodePipeline throttled the second.
fn lost_and_throttled(decision: ApprovalDecision) -> ApprovalDecision {
    let response = |decision: ApprovalDecision, prior, attempts, seconds: i64, error| {
        let sent = intent(attempts, 0, seconds + 25, prior);
        Case { attempt: Attempt::Submitted(sent, Err(error)), ..given(decision, seconds + 1) }.written()
    };
    let first = decision.with_reason(Reason::Submitting).submitted(1, 0, 25).with_ids(ids());
    let lost = response(first, NotApplied, 1, 0, indeterminate());
    assert_eq!(reason_of(&lost), Some(Reason::Unconfirmed));
    let again = given(lost, 25).polled(&pending_request()).written();
    assert_eq!(reason_of(&again), Some(Reason::Submitting));
    let throttled = response(again, InDoubt, 2, 25, not_applied(RetryCause::Throttled));
    assert_eq!(reason_of(&throttled), Some(Reason::Unconfirmed));
    throttled
}

#[test]
fn the_first_attempt_is_lost_the_second_is_throttled_and_the_decision_is_suspended() {
    for decision in [fresh(), by_id("pipeline-execution"), by_revision("main")] {
        let merged = || lost_and_throttled(decision.clone()).edited().suspended();
        let in_doubt = given(merged(), 50).polled(&pipeline_without_history(indeterminate()));
        assert_reports(&in_doubt, Reason::Unconfirmed, &["history could not be read"]);
        // It was accepted: the status says so first, and what was delivered is not held back.
        let accepted = completed_request(&completed_approval(Approved, 9));
        let delivered = given(merged(), 50).polled(&accepted).written();
        assert_eq!(reason_of(&delivered), Some(Reason::Delivered));
        let after = given(delivered, 51).polled(&accepted);
        assert!(matches!(after.reports().0, Reason::Delivered | Reason::AlreadyDecided), "{:?}", after.reports());
        // It was not: nothing is sent.
        let not_accepted = given(merged(), 50).polled(&pending_request()).written();
        assert_eq!(reason_of(&not_accepted), Some(Reason::Waiting));
        let after = given(not_accepted, 51).polled(&pending_request()).written();
        assert_eq!(reason_of(&after), Some(Reason::Suspended));
        assert_eq!(given(after, 52).polled(&pending_request()).step(), suspended_until(None));
    }
}

#[test]
fn another_result_is_merged_after_delivery() {
    for decision in [fresh(), by_id("E1"), by_revision("main")] {
        let edited = delivered_to(decision, "E1").edited().with_result(Rejected, "no");
        let approved = pipeline().execution("E1", RUNNING).entry("A1", "E1", approved_at(-140));
        let case = given(edited, LATE).polled(&approved);
        let words = "Approved was accepted at 2026-07-01T11:57:40Z; the change to Rejected came too late";
        assert_reports(&case, Reason::ApprovalAlreadyCompleted, &[words]);
    }
}

#[test]
fn a_token_that_was_delivered_is_named_again_after_another_request_settled_the_decision() {
    let other = delivered_to(fresh(), "E1").edited().naming_execution("E2");
    let other = given(other, LATE).polled(&e2_after(approved_at(-140)).shows("A2", None, approved_at(-100))).written();
    assert_eq!(reason_of(&other), Some(Reason::AlreadyDecided));
    let back = other.edited().naming_token(token());
    let delivered = given(back.clone(), LATE).written();
    let status = delivered.status.as_ref().expect("a status");
    assert_eq!((reason_of(&delivered), status.approved_at), (Some(Reason::Delivered), Some(at(-140))));
    let settled = status.settled.as_ref().expect("a response");
    assert_eq!((settled.approved_at, settled.decided_by.as_ref(), status.history.len()), (Some(at(-140)), None, 1));
    let case = given(back.with_result(Rejected, "no"), LATE);
    let words = "Approved was accepted at 2026-07-01T11:57:40Z; the change to Rejected came too late";
    assert_reports(&case, Reason::ApprovalAlreadyCompleted, &[words]);
}

#[test]
fn an_edit_of_any_field_waits_until_the_submission_in_doubt_is_finished() {
    type Edit = fn(ApprovalDecision) -> ApprovalDecision;
    let edits: [Edit; 10] = [
        |decision| decision.naming_token(other_token()),
        |decision| decision.naming_execution("E9"),
        |decision| decision.naming_revisions(vec![entry(None, Some("Y"))]),
        DecisionExt::naming_nothing,
        |decision| decision.with_result(Rejected, "no"),
        |decision| decision.with(|decision| decision.spec.pipeline_name = "other".to_owned()),
        |decision| decision.with(|decision| decision.spec.action_name = "Other".to_owned()),
        |decision| decision.not_after(at(-5)),
        |decision| decision.with(|decision| decision.spec.unsupported = Some(Unsupported::SpecField("new".to_owned()))),
        DecisionExt::deleted,
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let edited = || edit(fresh().in_doubt().edited());
        assert_eq!(given(edited(), 24).step(), wait(25), "edit {number}: the request may still arrive");
        assert_eq!(given(edited(), 25).step(), read_until(85), "edit {number}: history is read");
        let accepted = completed_request(&completed_approval(Approved, 9));
        let delivered = given(edited(), 25).polled(&accepted).written();
        let status = delivered.status.as_ref().expect("a status");
        assert_eq!(reason_of(&delivered), Some(Reason::Delivered), "edit {number}");
        assert_eq!(status.observed_generation, Some(1), "edit {number}: it says what was submitted");
        assert_eq!(status.submission.as_ref().and_then(|sent| sent.outcome), Some(SubmissionOutcome::Accepted));
        for (seconds, pipeline) in [(25, pending_request()), (85, super::pipeline())] {
            let not_accepted = given(edited(), seconds).polled(&pipeline).written();
            let status = not_accepted.status.as_ref().expect("a status");
            assert_eq!(status.observed_generation, Some(1), "edit {number}: the edit is acted on next");
            assert_eq!(status.submission.as_ref().and_then(|sent| sent.outcome), Some(SubmissionOutcome::NotAccepted));
        }
        let still = given(edited(), 84).polled(&lagging_request()).written();
        let submission = still.status.as_ref().and_then(|status| status.submission.as_ref());
        assert_eq!(submission.map(|sent| sent.outcome), Some(None), "edit {number}: doubt is never dropped");
    }
}

#[test]
fn a_token_decision_is_created_again_after_the_pipeline_moved_on() {
    for refusal in [Refusal::InvalidApprovalToken, Refusal::ApprovalAlreadyCompleted] {
        let refused = response(NotApplied, Err(self::refusal(refusal))).written();
        assert_eq!(reason_of(&refused), Some(Reason::Unconfirmed));
        let approved = completed_request(&completed_approval(Approved, -900));
        assert_reports(&given(refused, 5).polled(&approved), Reason::AlreadyDecided, &["approved by arn:aws:iam"]);
    }
}
