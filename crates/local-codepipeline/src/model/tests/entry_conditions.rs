//! Entry conditions: executions that skip a stage, fail in front of it, or enter it after an override.

use super::*;
use ExecutionStatus::{Failed, InProgress, Succeeded};

/// The definition with an entry condition of the stage of the approval, and a stage Later after it.
fn conditional(result: EntryResult) -> Service {
    let later = ActionDefinition::new("Ship", Category::Deploy).unwrap();
    let mut definition = definition().stage(StageDefinition::new("Later", vec![later]).unwrap());
    definition.stages[2] = definition.stages[2].clone().before_entry(result);
    service_with(definition)
}

fn entry(service: &mut Service, at: i64) -> (StageExecutionStatus, Option<ConditionExecutionStatus>) {
    let shown = stage(service, at, "Prod");
    let condition = shown.before_entry_condition_state.map(|state| state.latest_execution.status);
    (shown.latest_execution.unwrap().status, condition)
}

#[test]
fn a_skipped_stage_is_passed_without_asking_for_approval() {
    let mut service = conditional(EntryResult::Skip);
    let execution = start(&mut service, 1);
    assert_eq!(stage(&mut service, 1, "Prod").latest_execution, None);
    build(&mut service, 2, execution);
    assert_eq!(statuses(&mut service, 3), [(execution, Succeeded)]);
    assert_eq!(entry(&mut service, 3), (StageExecutionStatus::Skipped, Some(ConditionExecutionStatus::Failed)));
    assert_eq!(approval_state(&mut service, 3), None);
    assert_eq!(history(&mut service, 3), []);
    assert_eq!(stage(&mut service, 3, "Later").latest_execution.unwrap().status, StageExecutionStatus::Succeeded);
}

#[test]
fn beside_a_skipped_stage_the_approval_of_an_earlier_execution_stays_visible() {
    let mut service = conditional(EntryResult::Skip);
    let first = start(&mut service, 1);
    service.override_stage_condition(second(1), "p", "Prod", first).unwrap();
    build(&mut service, 2, first);
    let token = token_of(&mut service, 2, first).unwrap();
    approve(&mut service, 3, token);
    let second_execution = start(&mut service, 4);
    build(&mut service, 5, second_execution);
    assert_eq!(stage(&mut service, 6, "Prod").latest_execution.unwrap().pipeline_execution_id, second_execution);
    assert_eq!(entry(&mut service, 6).0, StageExecutionStatus::Skipped);
    assert_eq!(approval_state(&mut service, 6).unwrap().status, ActionExecutionStatus::Succeeded);
}

#[test]
fn a_condition_that_fails_the_stage_holds_the_execution_until_it_is_overridden() {
    let mut service = conditional(EntryResult::Fail);
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    assert_eq!(statuses(&mut service, 3), [(execution, Failed)]);
    assert_eq!(entry(&mut service, 3), (StageExecutionStatus::Failed, Some(ConditionExecutionStatus::Failed)));
    assert_eq!(history(&mut service, 3), []);
    service.retry_stage(second(4), "p", "Prod", execution, RetryMode::AllActions).unwrap();
    assert_eq!(statuses(&mut service, 4), [(execution, Failed)], "a retry does not override the condition");
    service.override_stage_condition(second(5), "p", "Prod", execution).unwrap();
    assert_eq!(statuses(&mut service, 5), [(execution, InProgress)]);
    assert_eq!(entry(&mut service, 5), (StageExecutionStatus::InProgress, Some(ConditionExecutionStatus::Overridden)));
    let token = token_of(&mut service, 5, execution).unwrap();
    approve(&mut service, 6, token);
    assert_eq!(statuses(&mut service, 7), [(execution, Succeeded)]);
}

#[test]
fn a_condition_is_overridden_only_where_it_holds_the_newest_execution() {
    let mut service = conditional(EntryResult::Fail);
    let unknown = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    let old = start(&mut service, 1);
    let override_condition = |service: &mut Service, at, stage, execution| {
        kind(service.override_stage_condition(second(at), "p", stage, execution))
    };
    assert_eq!(override_condition(&mut service, 1, "Prod", unknown), ExceptionKind::PipelineExecutionNotFound);
    assert_eq!(override_condition(&mut service, 1, "Nowhere", old), ExceptionKind::StageNotFound);
    assert_eq!(override_condition(&mut service, 1, "Build", old), ExceptionKind::ConditionNotOverridable);
    build(&mut service, 2, old);
    let new = start(&mut service, 3);
    build(&mut service, 4, new);
    assert_eq!(override_condition(&mut service, 5, "Prod", old), ExceptionKind::NotLatestPipelineExecution);
    service.override_stage_condition(second(6), "p", "Prod", new).unwrap();
    let token = token_of(&mut service, 6, new).unwrap();
    assert_eq!(override_condition(&mut service, 7, "Prod", new), ExceptionKind::ConditionNotOverridable);
    reject(&mut service, 8, token);
    assert_eq!(override_condition(&mut service, 9, "Prod", new), ExceptionKind::ConditionNotOverridable);
}

#[test]
fn an_execution_of_an_older_definition_does_not_enter_the_stage() {
    let mut service = conditional(EntryResult::Fail);
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    service.edit_pipeline(second(3), "p").unwrap();
    let refused = service.override_stage_condition(second(4), "p", "Prod", execution);
    assert_eq!(kind(refused), ExceptionKind::ConditionNotOverridable);
}

#[test]
fn a_skipped_stage_cannot_be_rolled_back_to() {
    let mut service = conditional(EntryResult::Skip);
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    let refused = service.rollback_stage(second(3), "p", "Prod", execution);
    assert_eq!(kind(refused), ExceptionKind::UnableToRollbackStage);
}

#[test]
fn the_declaration_has_the_condition_and_the_source_stage_cannot_have_one() {
    let mut service = conditional(EntryResult::Skip);
    let output = service.get_pipeline(second(1), &GetPipelineInput { name: Some("p".into()), version: None }).unwrap();
    let json = crate::api::to_json(&output).unwrap();
    let expected = serde_json::json!({ "conditions": [{ "result": "SKIP" }] });
    assert_eq!(json["pipeline"]["stages"][2]["beforeEntry"], expected);
    let mut definition = definition();
    definition.stages[0] = definition.stages[0].clone().before_entry(EntryResult::Skip);
    let refused = empty_service(Behaviour::default()).put_pipeline(second(0), definition).unwrap_err();
    assert!(refused.message.contains("has beforeEntry: remove it"), "{}", refused.message);
}
