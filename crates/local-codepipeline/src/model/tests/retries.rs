//! Retries of a stage, by a command and automatic ones.

use super::*;
use ExecutionStatus::{Failed, InProgress, Stopped, Succeeded};

/// The definition with this mode of an automatic retry in the stage of the approval, and an action `Warm` beside it.
fn retrying(mode: RetryMode) -> Service {
    let mut definition = definition();
    definition.stages[2].actions.push(ActionDefinition::new("Warm", Category::Invoke).unwrap());
    definition.stages[2].on_failure = Some(OnFailure::Retry(mode));
    service_with(definition)
}

fn counts(service: &mut Service, at: i64) -> Option<(Option<u32>, Option<u32>, RetryTrigger)> {
    let metadata = stage(service, at, "Prod").retry_stage_metadata?;
    Some((metadata.auto_stage_retry_attempt, metadata.manual_stage_retry_attempt, metadata.latest_retry_trigger))
}

fn attempts_at(service: &mut Service, at: i64, action: &str) -> usize {
    let input = ListActionExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
    let details = service.list_action_executions(second(at), &input).unwrap().action_execution_details;
    details.iter().filter(|detail| &detail.action_name == action).count()
}

fn retry(service: &mut Service, at: i64, execution: PipelineExecutionId) -> Result<(), Exception> {
    service.retry_stage(second(at), "p", "Prod", execution, RetryMode::FailedActions)
}

#[test]
fn a_retried_stage_keeps_the_execution_id_and_creates_a_request_with_a_new_token() {
    let mut service = service_with(definition());
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    let old = token_of(&mut service, 3, execution).unwrap();
    reject(&mut service, 4, old);
    assert_eq!(statuses(&mut service, 5), [(execution, Failed)]);
    service.retry_stage(second(6), "p", "Prod", execution, RetryMode::FailedActions).unwrap();
    let new = token_of(&mut service, 7, execution).unwrap();
    assert_ne!(old, new);
    assert_eq!(kind(put(&mut service, 8, old, ApprovalStatus::Approved, "")), ExceptionKind::InvalidApprovalToken);
    approve(&mut service, 9, new);
    assert_eq!(statuses(&mut service, 10), [(execution, Succeeded)]);
    let executions: Vec<_> = history(&mut service, 11).iter().map(|detail| detail.pipeline_execution_id).collect();
    assert_eq!(executions, [execution, execution]);
}

#[test]
fn a_retry_repeats_failed_actions_or_all_actions() {
    for (mode, attempts) in [(RetryMode::FailedActions, 1), (RetryMode::AllActions, 2)] {
        let mut definition = definition();
        definition.stages[2].actions.push(ActionDefinition::new("Warm", Category::Invoke).unwrap());
        let mut service = service_with(definition);
        let execution = start(&mut service, 1);
        build(&mut service, 2, execution);
        let token = token_of(&mut service, 3, execution).unwrap();
        reject(&mut service, 4, token);
        service.retry_stage(second(5), "p", "Prod", execution, mode).unwrap();
        assert_eq!(attempts_at(&mut service, 6, "Warm"), attempts, "{mode:?}");
    }
}

#[test]
fn a_stage_is_not_retried_if_it_did_not_fail_or_was_edited_or_a_newer_execution_entered_it() {
    let mut service = service_with(definition());
    let a = start(&mut service, 1);
    let retry = |service: &mut Service, at, stage| {
        kind(service.retry_stage(second(at), "p", stage, a, RetryMode::FailedActions))
    };
    assert_eq!(retry(&mut service, 2, "Build"), ExceptionKind::StageNotRetryable);
    assert_eq!(retry(&mut service, 2, "Nowhere"), ExceptionKind::StageNotFound);
    service.complete_action(second(3), "p", a, ("Build", "Make"), false).unwrap();
    assert_eq!(retry(&mut service, 4, "Prod"), ExceptionKind::StageNotRetryable);
    let b = start(&mut service, 5);
    assert_eq!(retry(&mut service, 6, "Build"), ExceptionKind::NotLatestPipelineExecution);
    build(&mut service, 7, b);
    service.edit_pipeline(second(8), "p").unwrap();
    assert_eq!(retry(&mut service, 9, "Build"), ExceptionKind::StageNotRetryable);
}

#[test]
fn a_rejected_approval_is_retried_automatically_once_and_by_commands_after_that() {
    let mut service = retrying(RetryMode::FailedActions);
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    let first = token_of(&mut service, 3, execution).unwrap();
    assert_eq!(counts(&mut service, 3), None);
    reject(&mut service, 4, first);
    assert_eq!(statuses(&mut service, 4), [(execution, InProgress)]);
    assert_eq!(counts(&mut service, 4), Some((Some(1), None, RetryTrigger::AutomatedStageRetry)));
    let second_token = token_of(&mut service, 4, execution).unwrap();
    assert_ne!(first, second_token);
    reject(&mut service, 5, second_token);
    assert_eq!(statuses(&mut service, 5), [(execution, Failed)]);
    for (at, manual) in [(6, 1), (8, 2)] {
        retry(&mut service, at, execution).unwrap();
        assert_eq!(statuses(&mut service, at), [(execution, InProgress)]);
        let expected = (Some(1), Some(manual), RetryTrigger::ManualStageRetry);
        assert_eq!(counts(&mut service, at), Some(expected));
        let token = token_of(&mut service, at, execution).unwrap();
        reject(&mut service, at + 1, token);
        assert_eq!(statuses(&mut service, at + 1), [(execution, Failed)]);
    }
    let requests: Vec<_> = history(&mut service, 20).iter().map(|detail| detail.pipeline_execution_id).collect();
    assert_eq!(requests, [execution; 4]);
}

#[test]
fn an_automatic_retry_repeats_failed_actions_or_all_actions() {
    for (mode, attempts) in [(RetryMode::FailedActions, 1), (RetryMode::AllActions, 2)] {
        let mut service = retrying(mode);
        let execution = start(&mut service, 1);
        build(&mut service, 2, execution);
        let token = token_of(&mut service, 3, execution).unwrap();
        reject(&mut service, 4, token);
        assert_eq!(attempts_at(&mut service, 5, "Warm"), attempts, "{mode:?}");
        assert_eq!(attempts_at(&mut service, 5, "Approve"), 2, "{mode:?}");
    }
}

#[test]
fn an_approval_that_times_out_is_retried_at_that_time() {
    let mut service = retrying(RetryMode::FailedActions);
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    let week = 7 * 24 * 3600;
    let requests = history(&mut service, week + 60);
    assert_eq!(requests.iter().map(|request| request.start_time.0).collect::<Vec<_>>(), [second(week + 2), second(2)]);
    assert_eq!(statuses(&mut service, 2 * week + 60), [(execution, Failed)]);
}

#[test]
fn a_stopping_execution_and_one_of_an_older_definition_are_not_retried_automatically() {
    let mut service = retrying(RetryMode::FailedActions);
    let stopped = start(&mut service, 1);
    build(&mut service, 2, stopped);
    service.stop_execution(second(3), "p", stopped, StopMode::Wait, "").unwrap();
    let token = token_of(&mut service, 3, stopped).unwrap();
    reject(&mut service, 4, token);
    assert_eq!(statuses(&mut service, 5), [(stopped, Failed)]);
    let edited = start(&mut service, 6);
    build(&mut service, 7, edited);
    service.edit_pipeline(second(8), "p").unwrap();
    assert_eq!(statuses(&mut service, 9), [(stopped, Failed), (edited, Failed)]);
    assert_eq!(counts(&mut service, 9), None);
}

#[test]
fn an_execution_that_was_stopped_can_be_retried_later_and_is_in_progress_again() {
    for mode in [StopMode::Wait, StopMode::Abandon] {
        let mut service = service_with(definition());
        let execution = start(&mut service, 1);
        build(&mut service, 2, execution);
        let old = token_of(&mut service, 3, execution).unwrap();
        service.stop_execution(second(4), "p", execution, mode, "").unwrap();
        if mode == StopMode::Wait {
            approve(&mut service, 5, old);
        }
        assert_eq!(statuses(&mut service, 6), [(execution, Stopped)]);
        service.retry_stage(second(7), "p", "Prod", execution, RetryMode::AllActions).unwrap();
        assert_eq!(statuses(&mut service, 8), [(execution, InProgress)]);
        let new = token_of(&mut service, 8, execution).unwrap();
        assert_eq!(kind(put(&mut service, 9, old, ApprovalStatus::Approved, "")), ExceptionKind::InvalidApprovalToken);
        approve(&mut service, 9, new);
        assert_eq!(statuses(&mut service, 10), [(execution, Succeeded)]);
    }
}

#[test]
fn the_declaration_has_the_retry_as_in_the_api_model() {
    let mut service = retrying(RetryMode::AllActions);
    let output = service.get_pipeline(second(1), &GetPipelineInput { name: Some("p".into()), version: None }).unwrap();
    let json = crate::api::to_json(&output).unwrap();
    let expected = serde_json::json!({ "result": "RETRY", "retryConfiguration": { "retryMode": "ALL_ACTIONS" } });
    assert_eq!(json["pipeline"]["stages"][2]["onFailure"], expected);
    let parsed: OnFailure = serde_json::from_value(expected).unwrap();
    assert_eq!(parsed, OnFailure::Retry(RetryMode::AllActions));
}
