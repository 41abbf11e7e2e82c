//! What some messages say besides: doubt about an earlier attempt, and why a wait lasts.

use super::*;
use crate::codepipeline::DisabledTransition;

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
