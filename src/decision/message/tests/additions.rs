//! What some messages say besides: doubt about an earlier attempt, and why a wait lasts.

use super::*;
use crate::api::v1alpha1::ApprovalDecisionStatus;
use crate::codepipeline::DisabledTransition;
use crate::decision::status::{status, status_matches};

#[test]
fn a_refusal_after_doubt() {
    let remedy = "Name the request that is pending, and set spec.result.summary if the action requires one.";
    let expected = "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline; an earlier attempt may \
                    have been accepted: its outcome is unknown";
    check(Reason::InvalidApprovalToken, remedy, [(refused_after_doubt(Refusal::InvalidApprovalToken), expected)]);
    let remedy = "If the result is still wanted, create a new decision with a later spec.notAfter, or without one.";
    let expected = "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                    been accepted: its outcome is unknown";
    let outcome = expired(Expiry::NotAfter(at(60)), Some(Caveat::AttemptInDoubt));
    check(Reason::Expired, remedy, [(outcome, expected)]);
}

#[test]
fn doubt_is_not_cut_from_a_message_that_is_too_long() {
    let exception = Exception { message: "long. ".repeat(1000), ..exception("InvalidApprovalToken") };
    let (refusal, caveat) = (Refusal::InvalidApprovalToken, Some(Caveat::AttemptInDoubt));
    let outcome = Outcome::Refused { refusal, exception: Some(exception), record: None, caveat };
    let message = Message::new(&fresh(), &outcome).within(500);
    assert!(message.len() <= 500 && message.contains("; an earlier attempt may have been accepted"), "{message}");
}

#[test]
fn an_execution_in_front_of_a_stage() {
    let before = |disabled: Option<Option<&str>>| {
        let disabled = disabled.map(|reason| DisabledTransition { reason: reason.map(str::to_owned) });
        let position = ExecutionPosition::BeforeStage { stage: "Prod".to_owned(), disabled };
        waiting_for(ExecutionWait::Execution { execution: "4f1a9c2e".to_owned(), position })
    };
    let disabled = "Execution 4f1a9c2e is waiting to enter stage Prod, whose inbound transition is disabled";
    check(
        Reason::Waiting,
        WAITING,
        [
            (before(None), "Execution 4f1a9c2e is waiting to enter stage Prod"),
            (before(Some(Some("freeze"))), &format!("{disabled} (freeze)")),
            (before(Some(Some(""))), disabled),
            (before(Some(None)), disabled),
        ],
    );
}

/// A decision for an abbreviated commit id, and the outcome where the newest execution has these revisions.
fn no_execution(newest: &[(&str, Option<&str>)]) -> (ApprovalDecision, Outcome) {
    let decision = fresh().with(|decision| {
        decision.spec.token = None;
        decision.spec.source_revision = Some(SourceRevision { revision_id: "4f1a9c2".to_owned(), action_name: None });
    });
    let newest = newest
        .iter()
        .map(|(id, action)| SourceRevision { revision_id: (*id).to_owned(), action_name: action.map(str::to_owned) });
    (decision, waiting_for(ExecutionWait::NoExecution { newest: newest.collect() }))
}

#[test]
fn the_revisions_of_the_newest_execution() {
    let long = "é".repeat(33);
    let cut = format!("{}… (B), b, c (D), …", "é".repeat(32));
    for (newest, expected) in [
        (&[("4f1a9c2e", Some("Source"))][..], "4f1a9c2e (Source)"),
        (&[("4f1a9c2e", None), (&"a".repeat(64), Some("Image"))], &format!("4f1a9c2e, {} (Image)", "a".repeat(64))),
        (&[(&long, Some("B")), ("b", None), ("c", Some("D")), ("e", None)], &cut),
    ] {
        let (decision, outcome) = no_execution(newest);
        let expected = format!(
            "No execution of pipeline shop has the source revision 4f1a9c2 yet; the newest execution has {expected}"
        );
        check_for(&decision, Reason::Waiting, WAITING, [(outcome, &expected)]);
    }
}

#[test]
fn a_status_is_not_written_only_because_another_execution_is_the_newest() {
    let (decision, none) = no_execution(&[]);
    let (_, first) = no_execution(&[("a", None)]);
    let (_, second) = no_execution(&[("b", None)]);
    let reporting = |outcome| decision.clone().with(|it| it.status = Some(status(&decision, outcome, at(1))));
    let writes = |shown, outcome| !status_matches(&reporting(shown), outcome, at(2));
    assert!(writes(&none, &first), "the first one that there is");
    assert!(!writes(&first, &second));
    assert!(writes(&first, &waiting(Wait::RequestRefused)));
    let edited = reporting(&first).edited();
    assert!(message_in(&status(&edited, &second, at(2))).contains("the newest execution has b"));
}

fn message_in(status: &ApprovalDecisionStatus) -> &str {
    &status.conditions[0].message
}
