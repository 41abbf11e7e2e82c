//! The response that settled a decision last, and those before it.

use super::*;
use crate::api::v1alpha1::{SettledRequest, SourceRevision};

/// The decision was settled by this response to the request of an execution, and then edited.
fn settled_by(decision: ApprovalDecision, execution: &str, approved_at: i64) -> ApprovalDecision {
    let ids = ids_of(execution, "request");
    let record = CompletedApproval { ids, ..completed_approval(Approved, approved_at) };
    reporting(decision, &Outcome::AlreadyDecided { record, open: None, exception: None }).edited()
}

/// The result of our submission to the request of an execution was accepted, and then the decision was edited.
fn delivered_to(decision: ApprovalDecision, execution: &str, approved_at: i64) -> ApprovalDecision {
    let sent = decision.with_reason(Reason::Submitting).submitted(1, 0, 25).with_ids(ids_of(execution, "request"));
    reporting(sent, &Outcome::Delivered { approved_at: Some(at(approved_at)), record: None }).edited()
}

fn revision(id: &str) -> Vec<SourceRevision> {
    vec![entry(None, Some(id))]
}

fn executions(requests: &[SettledRequest]) -> Vec<&str> {
    requests.iter().filter_map(|request| request.pipeline_execution_id.as_deref()).collect()
}

fn history(decision: &ApprovalDecision) -> Vec<&str> {
    executions(&decision.status.as_ref().expect("a status").history)
}

fn settled(decision: &ApprovalDecision) -> &SettledRequest {
    decision.status.as_ref().and_then(|status| status.settled.as_ref()).expect("a settled request")
}

#[test]
fn a_delivered_decision_notes_what_settled_it() {
    let delivered = delivered_to(by_revision("X"), "E1", 6);
    let expected = SettledRequest {
        pipeline_name: "shop".to_owned(),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        pipeline_execution_id: Some("E1".to_owned()),
        result: Approved,
        reason: "Delivered".to_owned(),
        approved_at: Some(at(6)),
        decided_by: None,
    };
    assert_eq!((settled(&delivered), history(&delivered)), (&expected, vec![]));
}

#[test]
fn another_request_moves_the_former_one_to_the_history() {
    let x = delivered_to(by_revision("X"), "E1", 6);
    let y = delivered_to(x.naming_revisions(revision("Y")), "E2", 60);
    assert_eq!((settled(&y).approved_at, history(&y)), (Some(at(60)), vec!["E1"]));
    let z = settled_by(y.naming_revisions(revision("Z")), "E3", 90);
    assert_eq!((settled(&z).reason.as_str(), history(&z)), ("AlreadyDecided", vec!["E2", "E1"]));
}

#[test]
fn a_reworded_summary_adds_nothing() {
    let x = delivered_to(by_revision("X"), "E1", 6);
    let reworded = settled_by(x.with_result(Approved, "checked twice"), "E1", 6);
    assert_eq!((settled(&reworded).reason.as_str(), history(&reworded)), ("AlreadyDecided", vec![]));
}

#[test]
fn a_revert_and_its_revert_have_no_duplicate() {
    let x = delivered_to(by_revision("X"), "E1", 6);
    let y = delivered_to(x.naming_revisions(revision("Y")), "E2", 60);
    let x = settled_by(y.naming_revisions(revision("X")), "E1", 6);
    assert_eq!((executions(std::slice::from_ref(settled(&x))), history(&x)), (vec!["E1"], vec!["E2"]));
    let y = settled_by(x.naming_revisions(revision("Y")), "E2", 60);
    assert_eq!((executions(std::slice::from_ref(settled(&y))), history(&y)), (vec!["E2"], vec!["E1"]));
}

#[test]
fn a_token_whose_execution_becomes_known_later_has_no_duplicate() {
    let sent = fresh().with_reason(Reason::Submitting).submitted(1, 0, 25);
    let delivered = reporting(sent, &Outcome::Delivered { approved_at: Some(at(6)), record: None }).edited();
    let settled = settled_by(delivered, "E1", 6);
    assert!(history(&settled).is_empty());
}

#[test]
fn a_retried_stage_whose_second_response_counts_is_another_request() {
    let x = settled_by(by_revision("X"), "E1", 6);
    let again = delivered_to(x.ignoring_responses_before(at(7)), "E1", 60);
    assert_eq!((settled(&again).approved_at, history(&again)), (Some(at(60)), vec!["E1"]));
}

#[test]
fn the_history_has_five_entries() {
    let ids = ["E1", "E2", "E3", "E4", "E5", "E6", "E7"];
    let decision = ids.into_iter().enumerate().fold(by_revision("X"), |decision, (age, execution)| {
        settled_by(decision, execution, i64::try_from(age).expect("a small number"))
    });
    assert_eq!(history(&decision), ["E6", "E5", "E4", "E3", "E2"]);
}

#[test]
fn only_a_response_settles() {
    let no_response = refused(Refusal::ApprovalAlreadyCompleted, None, Some(completed_approval(None, 6)));
    for outcome in [no_response, invalid_token(), suspended(), waiting(Wait::RequestRefused), submitting()] {
        let x = delivered_to(by_revision("X"), "E1", 6);
        let after = report(&x, &outcome);
        assert_eq!((after.settled.as_ref(), after.history.len()), (Some(settled(&x)), 0), "{outcome:?}");
    }
    let rejected = refused(Refusal::ApprovalAlreadyCompleted, None, Some(completed_approval(Rejected, 60)));
    let rejected = reporting(delivered_to(by_revision("X"), "E1", 6), &rejected);
    assert_eq!((settled(&rejected).reason.as_str(), history(&rejected)), ("ApprovalAlreadyCompleted", vec!["E1"]));
}

#[test]
fn a_delivery_outweighs_what_a_successor_found_of_the_submission() {
    let decision = fresh().in_doubt().with_status(|status| {
        let submission = status.submission.as_mut().expect("a submission");
        submission.outcome = Some(SubmissionOutcome::NotAccepted);
    });
    let submission = crate::decision::status(&decision, &delivered(), at(2)).submission.expect("a submission");
    assert_eq!(submission.outcome, Some(SubmissionOutcome::Accepted));
}
