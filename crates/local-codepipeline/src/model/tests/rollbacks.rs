//! Rollbacks of a stage, by a command and automatic ones.

use super::*;
use ExecutionStatus::{Failed, InProgress, Succeeded};
use serde_json::{Value, json};

/// The definition with a rollback on failure in the stage of the approval.
fn rolling_back() -> PipelineDefinition {
    let mut definition = definition();
    definition.stages[2].on_failure = Some(OnFailure::Rollback);
    definition
}

/// Starts an execution with this revision, which reaches the approval.
fn reach_approval(service: &mut Service, at: i64, revision: &str) -> (PipelineExecutionId, Token) {
    let action_name = Name::new("Source").unwrap();
    let revision = SourceRevision { action_name, revision_id: Some(revision.to_owned()) };
    let execution = service.start_execution(second(at), "p", &[revision]).unwrap();
    build(service, at, execution);
    (execution, token_of(service, at, execution).unwrap())
}

/// The executions as ListPipelineExecutions shows them, newest first.
fn summaries(service: &mut Service, at: i64) -> Vec<Value> {
    let input = ListPipelineExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
    let output = service.list_pipeline_executions(second(at), &input).unwrap();
    crate::api::to_json(&output).unwrap()["pipelineExecutionSummaries"].as_array().unwrap().clone()
}

/// The actions of an execution, newest first.
fn actions(service: &mut Service, at: i64, execution: PipelineExecutionId) -> Vec<String> {
    let filter = ActionExecutionFilter {
        pipeline_execution_id: Some(execution.to_string()),
        latest_in_pipeline_execution: None,
    };
    let input =
        ListActionExecutionsInput { pipeline_name: Some("p".into()), filter: Some(filter), ..Default::default() };
    let details = service.list_action_executions(second(at), &input).unwrap().action_execution_details;
    details.iter().map(|detail| detail.action_name.to_string()).collect()
}

#[test]
fn a_rollback_runs_one_stage_with_the_revisions_of_its_target_and_asks_for_approval() {
    let mut service = service_with(definition());
    let (old, token) = reach_approval(&mut service, 1, "v1");
    approve(&mut service, 2, token);
    let (new, token) = reach_approval(&mut service, 3, "v2");
    approve(&mut service, 4, token);
    let rollback = service.rollback_stage(second(5), "p", "Prod", old).unwrap();
    assert_eq!(statuses(&mut service, 6), [(old, Succeeded), (new, Succeeded), (rollback, InProgress)]);
    assert_eq!(actions(&mut service, 6, rollback), ["Approve"]);

    let summary = summaries(&mut service, 6).remove(0);
    assert_eq!(summary["executionType"], "ROLLBACK");
    assert_eq!(summary["rollbackMetadata"], json!({ "rollbackTargetPipelineExecutionId": old }));
    assert_eq!(summary["sourceRevisions"], json!([{ "actionName": "Source", "revisionId": "v1" }]));
    assert_eq!(summary["trigger"]["triggerType"], "ManualRollback");
    let standard = summaries(&mut service, 6).remove(1);
    assert_eq!((&standard["executionType"], standard.get("rollbackMetadata")), (&json!("STANDARD"), None));
    let input = GetPipelineExecutionInput {
        pipeline_name: Some("p".into()),
        pipeline_execution_id: Some(rollback.to_string()),
    };
    let output = service.get_pipeline_execution(second(6), &input).unwrap().pipeline_execution;
    assert_eq!(output.execution_type, ExecutionType::Rollback);
    assert_eq!(output.rollback_metadata.unwrap().rollback_target_pipeline_execution_id, old);
    assert_eq!(output.artifact_revisions[0].revision_id.as_deref(), Some("v1"));
    let shown = stage(&mut service, 6, "Prod").latest_execution.unwrap();
    assert_eq!((shown.pipeline_execution_id, shown.r#type), (rollback, ExecutionType::Rollback));
    let before = stage(&mut service, 6, "Build").latest_execution.unwrap();
    assert_eq!((before.pipeline_execution_id, before.r#type), (new, ExecutionType::Standard));

    let of_rollback = token_of(&mut service, 6, rollback).unwrap();
    assert_ne!(of_rollback, token);
    approve(&mut service, 7, of_rollback);
    assert_eq!(statuses(&mut service, 8)[2], (rollback, Succeeded));
}

#[test]
fn a_rollback_runs_none_of_the_later_stages() {
    let later = ActionDefinition::new("Ship", Category::Deploy).unwrap();
    let mut service = service_with(definition().stage(StageDefinition::new("Later", vec![later]).unwrap()));
    let (old, token) = reach_approval(&mut service, 1, "v1");
    approve(&mut service, 2, token);
    assert_eq!(actions(&mut service, 3, old), ["Ship", "Approve", "Make", "Source"]);
    let rollback = service.rollback_stage(second(4), "p", "Prod", old).unwrap();
    let token = token_of(&mut service, 4, rollback).unwrap();
    approve(&mut service, 5, token);
    assert_eq!(statuses(&mut service, 6), [(old, Succeeded), (rollback, Succeeded)]);
    assert_eq!(actions(&mut service, 6, rollback), ["Approve"]);
}

#[test]
fn a_stage_is_rolled_back_only_to_a_standard_execution_that_succeeded_in_it() {
    let mut service = service_with(definition());
    let unknown = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    let (succeeded, token) = reach_approval(&mut service, 1, "v1");
    let roll_back =
        |service: &mut Service, at, stage, target| kind(service.rollback_stage(second(at), "p", stage, target));
    assert_eq!(roll_back(&mut service, 2, "Prod", succeeded), ExceptionKind::UnableToRollbackStage, "it is pending");
    approve(&mut service, 2, token);
    let (failed, token) = reach_approval(&mut service, 3, "v2");
    assert_eq!(roll_back(&mut service, 3, "Prod", succeeded), ExceptionKind::UnableToRollbackStage, "it is locked");
    reject(&mut service, 4, token);
    assert_eq!(roll_back(&mut service, 5, "Prod", failed), ExceptionKind::UnableToRollbackStage);
    assert_eq!(roll_back(&mut service, 5, "Source", succeeded), ExceptionKind::UnableToRollbackStage);
    assert_eq!(roll_back(&mut service, 5, "Nowhere", succeeded), ExceptionKind::StageNotFound);
    assert_eq!(roll_back(&mut service, 5, "Prod", unknown), ExceptionKind::PipelineExecutionNotFound);
    let rollback = service.rollback_stage(second(6), "p", "Prod", succeeded).unwrap();
    let token = token_of(&mut service, 6, rollback).unwrap();
    approve(&mut service, 7, token);
    assert_eq!(roll_back(&mut service, 8, "Prod", rollback), ExceptionKind::UnableToRollbackStage, "it is a rollback");
    service.edit_pipeline(second(9), "p").unwrap();
    assert_eq!(roll_back(&mut service, 10, "Prod", succeeded), ExceptionKind::UnableToRollbackStage, "it is outdated");
}

#[test]
fn a_rejected_approval_rolls_its_stage_back_to_the_last_execution_that_succeeded_in_it() {
    let mut service = service_with(rolling_back());
    let (first, token) = reach_approval(&mut service, 1, "v1");
    approve(&mut service, 2, token);
    let (last, token) = reach_approval(&mut service, 3, "v2");
    approve(&mut service, 4, token);
    let (failed, token) = reach_approval(&mut service, 5, "v3");
    let waiting = start(&mut service, 6);
    build(&mut service, 6, waiting);
    reject(&mut service, 7, token);
    let all = statuses(&mut service, 8);
    assert_eq!(all[..3], [(first, Succeeded), (last, Succeeded), (failed, Failed)]);
    let (rollback, status) = all[4];
    assert_eq!((all[3], status), ((waiting, InProgress), InProgress));
    let summary = summaries(&mut service, 8).remove(0);
    assert_eq!(summary["rollbackMetadata"]["rollbackTargetPipelineExecutionId"], json!(last));
    assert_eq!(summary["trigger"]["triggerType"], "AutomatedRollback");
    assert_eq!(token_of(&mut service, 8, waiting), None, "the rollback is in the stage");

    let token = token_of(&mut service, 8, rollback).unwrap();
    reject(&mut service, 9, token);
    assert_eq!(statuses(&mut service, 10).len(), 5, "a rollback that fails is not rolled back");
    assert_eq!(statuses(&mut service, 10)[4], (rollback, Failed));
    assert!(token_of(&mut service, 10, waiting).is_some());
}

#[test]
fn a_stage_in_which_no_execution_succeeded_stays_failed() {
    let mut service = service_with(rolling_back());
    let (failed, token) = reach_approval(&mut service, 1, "v1");
    reject(&mut service, 2, token);
    assert_eq!(statuses(&mut service, 3), [(failed, Failed)]);
}

#[test]
fn a_failed_rollback_can_be_retried() {
    let mut service = service_with(definition());
    let (old, token) = reach_approval(&mut service, 1, "v1");
    approve(&mut service, 2, token);
    let rollback = service.rollback_stage(second(3), "p", "Prod", old).unwrap();
    let token = token_of(&mut service, 3, rollback).unwrap();
    reject(&mut service, 4, token);
    service.retry_stage(second(5), "p", "Prod", rollback, RetryMode::FailedActions).unwrap();
    let token = token_of(&mut service, 5, rollback).unwrap();
    approve(&mut service, 6, token);
    assert_eq!(statuses(&mut service, 7), [(old, Succeeded), (rollback, Succeeded)]);
}

#[test]
fn parallel_pipelines_and_source_stages_have_no_rollback() {
    let refused = |definition| empty_service(Behaviour::default()).put_pipeline(second(0), definition).unwrap_err();
    assert!(
        refused(rolling_back().mode(ExecutionMode::Parallel)).message.contains("cannot roll back in PARALLEL mode")
    );
    let mut at_source = definition();
    at_source.stages[0].on_failure = Some(OnFailure::Rollback);
    assert!(refused(at_source).message.contains("the first stage of pipeline `p` cannot roll back"));
    let mut service = service_with(definition().mode(ExecutionMode::Parallel));
    let (execution, token) = reach_approval(&mut service, 1, "v1");
    approve(&mut service, 2, token);
    let refused = service.rollback_stage(second(3), "p", "Prod", execution);
    assert_eq!(kind(refused), ExceptionKind::UnableToRollbackStage);
}
