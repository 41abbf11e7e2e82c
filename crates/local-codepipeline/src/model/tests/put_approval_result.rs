//! The responses of PutApprovalResult, and its effects on the ledger and on reads.

use super::*;
use ApprovalStatus::{Approved, Rejected};
use ExceptionKind::{ApprovalAlreadyCompleted, InvalidApprovalToken};

fn open(service: &mut Service) -> OpenApproval {
    service.open_approval(second(1), AT, &[]).unwrap()
}

#[test]
fn the_first_result_is_accepted_and_reads_show_its_summary_its_time_and_its_caller() {
    for (status, recorded) in [(Approved, ActionExecutionStatus::Succeeded), (Rejected, ActionExecutionStatus::Failed)]
    {
        let mut service = empty_service(Behaviour::default());
        let approval = open(&mut service);
        let input = PutApprovalResultInput::new(AT.0, AT.1, AT.2, approval.token, status, "because");
        let output = service.put_approval_result(second(5), ALICE, &input).unwrap();
        assert_eq!(output.approved_at.0, second(5));
        let expected = ActionExecution {
            action_execution_id: approval.action_execution_id,
            status: recorded,
            summary: Some("because".into()),
            last_status_change: Some(output.approved_at),
            token: None,
            last_updated_by: Some(ALICE.into()),
        };
        assert_eq!(approval_state(&mut service, 6), Some(expected));
        let detail = history(&mut service, 6).remove(0);
        assert_eq!((detail.status, detail.updated_by.as_deref()), (recorded, Some(ALICE)));
        assert_eq!(detail.output.execution_result.external_execution_summary.as_deref(), Some("because"));
    }
}

#[test]
fn a_second_result_is_refused_because_the_approval_is_complete() {
    let mut service = empty_service(Behaviour::default());
    let token = open(&mut service).token;
    reject(&mut service, 2, token);
    let second_error = put(&mut service, 3, token, Rejected, "no").unwrap_err();
    assert_eq!(second_error.kind, ApprovalAlreadyCompleted);
    assert!(second_error.message.contains("is already complete or has expired"));
    assert_eq!(service.ledger().iter().filter(|entry| entry.is_accepted()).count(), 1);
}

#[test]
fn a_token_of_an_earlier_request_or_of_another_action_is_invalid() {
    let mut service = empty_service(Behaviour::default());
    let old = open(&mut service).token;
    approve(&mut service, 2, old);
    let new = open(&mut service).token;
    assert_eq!(kind(put(&mut service, 3, old, Approved, "")), InvalidApprovalToken, "of the previous execution");
    let elsewhere = service.open_approval(second(4), ("q", "Prod", "Approve"), &[]).unwrap().token;
    assert_eq!(kind(put(&mut service, 5, elsewhere, Approved, "")), InvalidApprovalToken, "of another pipeline");
    approve(&mut service, 6, new);
}

#[test]
fn the_pipeline_the_stage_and_the_action_must_exist() {
    let mut service = empty_service(Behaviour::default());
    let token = open(&mut service).token;
    let table = [
        (("q", "Prod", "Approve"), ExceptionKind::PipelineNotFound),
        (("p", "Dev", "Approve"), ExceptionKind::StageNotFound),
        (("p", "Prod", "Review"), ExceptionKind::ActionNotFound),
        (("p", "Source", "Source"), InvalidApprovalToken),
    ];
    for ((pipeline, stage, action), expected) in table {
        let input = PutApprovalResultInput::new(pipeline, stage, action, token, Approved, "");
        assert_eq!(kind(service.put_approval_result(second(2), ALICE, &input)), expected);
    }
}

#[test]
fn an_edit_of_the_pipeline_makes_a_pending_request_out_of_date() {
    let mut service = empty_service(Behaviour::default());
    let token = open(&mut service).token;
    service.edit_pipeline(second(2), "p").unwrap();
    let approval = approval_state(&mut service, 3).unwrap();
    assert_eq!((approval.status, approval.token), (ActionExecutionStatus::Failed, None));
    assert_eq!(approval.summary.as_deref(), Some("The approval action has been canceled."));
    assert_eq!(history(&mut service, 70)[0].status, ActionExecutionStatus::InProgress, "a minute later");
    assert_eq!(history(&mut service, 130)[0].status, ActionExecutionStatus::Failed);
    let late = put(&mut service, 4, token, Approved, "").unwrap_err();
    assert_eq!(late.kind, InvalidApprovalToken);
    assert!(late.message.ends_with("is now out of date."), "{}", late.message);
}

#[test]
fn an_approval_without_a_response_fails_after_its_timeout() {
    for (timeout, minutes) in [(None, 7 * 24 * 60), (Some(5), 5)] {
        let mut definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
        definition.stages[1].actions[0].timeout_in_minutes = timeout;
        let mut service = service_with(definition);
        let token = open(&mut service).token;
        let ends = 1 + minutes * 60;
        assert_eq!(service.next_due(), Some(second(ends)));
        assert_eq!(approval_state(&mut service, ends - 1).unwrap().status, ActionExecutionStatus::InProgress);
        let approval = approval_state(&mut service, ends + 9).unwrap();
        assert_eq!((approval.status, approval.last_updated_by), (ActionExecutionStatus::Failed, None));
        assert_eq!(approval.last_status_change, Some(second(ends).into()));
        assert_eq!(kind(put(&mut service, ends + 10, token, Approved, "")), ApprovalAlreadyCompleted);
        for summary in [None, Some("timed out".to_owned())] {
            service.set_behaviour(Behaviour { timeout_summary: summary.clone(), ..Default::default() });
            assert_eq!(approval_state(&mut service, ends + 11).unwrap().summary, summary);
            let shown = history(&mut service, ends + 11).remove(0).output.execution_result.external_execution_summary;
            assert_eq!(shown, summary);
        }
    }
}

#[test]
fn an_empty_summary_is_refused_if_one_is_required_and_the_token_stays_valid() {
    let mut definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let action = &mut definition.stages[1].actions[0];
    *action = action.clone().summary_required();
    let mut service = service_with(definition);
    let token = open(&mut service).token;
    let refused = put(&mut service, 2, token, Approved, "").unwrap_err();
    assert_eq!(refused.kind, InvalidApprovalToken);
    assert!(refused.message.contains("requires a summary"));
    approve(&mut service, 3, token);
}

#[test]
fn an_empty_summary_is_otherwise_replaced_by_the_status_and_the_caller() {
    for (status, expected) in [(Approved, "Approved by "), (Rejected, "Rejected by ")] {
        let mut service = empty_service(Behaviour::default());
        let token = open(&mut service).token;
        put(&mut service, 2, token, status, "").unwrap();
        assert_eq!(approval_state(&mut service, 3).unwrap().summary, Some(format!("{expected}{ALICE}")));
    }
}

#[test]
fn the_ledger_keeps_every_call_as_sent_with_its_outcome() {
    let mut service = empty_service(Behaviour::default());
    let approval = open(&mut service);
    let mut invalid = PutApprovalResultInput::new("a b", AT.1, AT.2, "not a token", Approved, "x");
    invalid.stage_name = None;
    service.put_approval_result(second(2), ALICE, &invalid).unwrap_err();
    approve(&mut service, 3, approval.token);
    let ledger = service.ledger();
    assert_eq!((ledger[0].pipeline_name.as_str(), ledger[0].stage_name.as_str()), ("a b", ""));
    assert_eq!(ledger[0].refusal().map(|exception| exception.kind), Some(ExceptionKind::Validation));
    let accepted = Outcome::Accepted {
        approved_at: second(3),
        pipeline_execution_id: approval.pipeline_execution_id,
        action_execution_id: approval.action_execution_id,
    };
    let expected = LedgerEntry {
        at: second(3),
        caller: ALICE.into(),
        pipeline_name: "p".into(),
        stage_name: "Prod".into(),
        action_name: "Approve".into(),
        token: approval.token.to_string(),
        status: "Approved".into(),
        summary: "yes".into(),
        outcome: accepted,
        fault: None,
    };
    assert_eq!(ledger[1], expected);
    let json = serde_json::to_string(ledger).unwrap();
    assert_eq!(serde_json::from_str::<Vec<LedgerEntry>>(&json).unwrap(), ledger);
}

#[test]
fn the_token_is_the_action_execution_id_unless_configured_otherwise() {
    for (tokens, equal) in [(TokenRule::ActionExecutionId, true), (TokenRule::Independent, false)] {
        let mut service = empty_service(Behaviour { tokens, ..Default::default() });
        let approval = open(&mut service);
        assert_eq!(approval.token.to_string() == approval.action_execution_id.to_string(), equal);
        approve(&mut service, 2, approval.token);
    }
}
