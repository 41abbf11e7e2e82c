//! What reads show, what they omit, and how long they lag behind changes.

use super::*;

#[test]
fn the_state_shows_the_approval_of_the_previous_execution_until_the_new_one_reaches_it() {
    let mut definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let smoke = ActionDefinition::new("Smoke", Category::Test).unwrap().duration(ActionDuration::UntilCompleted);
    definition.stages[1].actions[0].run_order = 2;
    definition.stages[1].actions.push(smoke);
    let mut service = service_with(definition);
    let old = service.open_approval(second(1), AT, &[]).unwrap();
    approve(&mut service, 2, old.token);
    let new = start(&mut service, 3);
    assert_eq!(stage(&mut service, 4, "Prod").latest_execution.unwrap().pipeline_execution_id, new);
    let shown = approval_state(&mut service, 4).unwrap();
    assert_eq!((shown.action_execution_id, shown.token), (old.action_execution_id, None));
}

#[test]
fn a_new_approval_is_absent_until_the_token_lag_has_passed() {
    let mut service = empty_service(Behaviour { lags: Lags::realistic(), ..Default::default() });
    let approval = service.open_approval(second(0), AT, &[]).unwrap();
    assert_eq!(approval_state(&mut service, 6), None);
    assert_eq!(stage(&mut service, 6, "Prod").latest_execution.unwrap().status, StageExecutionStatus::InProgress);
    assert_eq!(approval_state(&mut service, 7).unwrap().token, Some(approval.token));
}

#[test]
fn the_history_shows_a_start_earlier_than_the_state_and_a_result_later() {
    let mut service = empty_service(Behaviour { lags: Lags::realistic(), ..Default::default() });
    let approval = service.open_approval(second(0), AT, &[]).unwrap();
    assert_eq!(history(&mut service, 0), []);
    assert_eq!(history(&mut service, 1)[0].status, ActionExecutionStatus::InProgress);
    approve(&mut service, 10, approval.token);
    assert_eq!(approval_state(&mut service, 10).unwrap().status, ActionExecutionStatus::Succeeded);
    let behind = history(&mut service, 39).remove(0);
    assert_eq!((behind.status, behind.updated_by), (ActionExecutionStatus::InProgress, None));
    let caught_up = history(&mut service, 40).remove(0);
    assert_eq!((caught_up.status, caught_up.last_update_time.0), (ActionExecutionStatus::Succeeded, second(10)));
}

#[test]
fn in_parallel_mode_only_the_history_has_the_token_after_its_lag() {
    let definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let mut service = service_with(definition.mode(ExecutionMode::Parallel));
    service.set_behaviour(Behaviour { lags: Lags::realistic(), tokens: TokenRule::Independent, ..Default::default() });
    let approvals = [0, 0].map(|at| service.open_approval(second(at), AT, &[]).unwrap());
    assert_eq!(approval_state(&mut service, 60).unwrap().token, None);
    let token = |detail: &ActionExecutionDetail| detail.output.execution_result.external_execution_id.clone();
    assert_eq!(history(&mut service, 6).iter().filter_map(token).count(), 0);
    for (detail, approval) in history(&mut service, 7).iter().zip(approvals.iter().rev()) {
        assert_eq!(detail.pipeline_execution_id, approval.pipeline_execution_id);
        assert_eq!(token(detail), Some(approval.token.to_string()));
    }
}

#[test]
fn in_other_modes_the_history_of_a_pending_approval_has_no_token() {
    let mut service = empty_service(Behaviour::default());
    service.open_approval(second(0), AT, &[]).unwrap();
    assert_eq!(history(&mut service, 60)[0].output.execution_result.external_execution_id, None);
}

#[test]
fn pages_have_the_requested_size_and_are_complete_even_if_executions_start_between_them() {
    let mut service = service_with(definition().mode(ExecutionMode::Parallel));
    let executions: Vec<_> = (0..5).map(|at| start(&mut service, at)).collect();
    let mut seen = Vec::new();
    let mut input =
        ListPipelineExecutionsInput { pipeline_name: Some("p".into()), max_results: Some(2), ..Default::default() };
    loop {
        let page = service.list_pipeline_executions(second(10), &input).unwrap();
        seen.push(
            page.pipeline_execution_summaries
                .iter()
                .map(|execution| execution.pipeline_execution_id)
                .collect::<Vec<_>>(),
        );
        input.next_token = page.next_token;
        if input.next_token.is_none() {
            break;
        }
        start(&mut service, 10);
    }
    assert_eq!(seen, [vec![executions[4], executions[3]], vec![executions[2], executions[1]], vec![executions[0]]]);
}

#[test]
fn a_next_token_of_another_list_is_invalid() {
    let mut service = service_with(definition().mode(ExecutionMode::Parallel));
    for at in 0..3 {
        start(&mut service, at);
    }
    let mut executions =
        ListPipelineExecutionsInput { pipeline_name: Some("p".into()), max_results: Some(1), ..Default::default() };
    let next_token = service.list_pipeline_executions(second(9), &executions).unwrap().next_token;
    assert!(next_token.is_some());
    let actions = ListActionExecutionsInput { pipeline_name: Some("p".into()), next_token, ..Default::default() };
    assert_eq!(kind(service.list_action_executions(second(9), &actions)), ExceptionKind::InvalidNextToken);
    executions.next_token = Some("made up".into());
    assert_eq!(kind(service.list_pipeline_executions(second(9), &executions)), ExceptionKind::InvalidNextToken);
}

#[test]
fn action_executions_can_be_filtered_by_execution_and_to_the_newest_attempts() {
    let mut service = service_with(definition());
    let execution = start(&mut service, 1);
    build(&mut service, 2, execution);
    let token = token_of(&mut service, 3, execution).unwrap();
    reject(&mut service, 4, token);
    service.retry_stage(second(5), "p", "Prod", execution, RetryMode::FailedActions).unwrap();
    let other = start(&mut service, 6);
    let mut list = |filter: Option<ActionExecutionFilter>| {
        let input = ListActionExecutionsInput { pipeline_name: Some("p".into()), filter, ..Default::default() };
        let details = service.list_action_executions(second(9), &input)?.action_execution_details;
        Ok(details.iter().map(|detail| detail.action_name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(list(None), Ok(["Make", "Source", "Approve", "Approve", "Make", "Source"].map(String::from).to_vec()));
    let of = |id: &PipelineExecutionId, range: Option<&str>| ActionExecutionFilter {
        pipeline_execution_id: range.is_none().then(|| id.to_string()),
        latest_in_pipeline_execution: range.map(|range| LatestInPipelineExecution {
            pipeline_execution_id: Some(id.to_string()),
            start_time_range: Some(range.to_owned()),
        }),
    };
    assert_eq!(list(Some(of(&other, None))).unwrap(), ["Make", "Source"]);
    assert_eq!(list(Some(of(&execution, Some("All")))).unwrap(), ["Approve", "Approve", "Make", "Source"]);
    assert_eq!(list(Some(of(&execution, Some("Latest")))).unwrap(), ["Approve", "Make", "Source"]);
    let unknown = "00000000-0000-0000-0000-000000000000".parse().unwrap();
    assert_eq!(kind(list(Some(of(&unknown, None)))), ExceptionKind::PipelineExecutionNotFound);
}

#[test]
fn an_execution_is_not_found_until_its_start_lag_has_passed() {
    let mut service = service_with(definition());
    service.set_behaviour(Behaviour { lags: Lags::realistic(), ..Default::default() });
    let execution = start(&mut service, 1);
    let input = GetPipelineExecutionInput {
        pipeline_name: Some("p".into()),
        pipeline_execution_id: Some(execution.to_string()),
    };
    let at = |service: &mut Service, at| service.get_pipeline_execution(second(at), &input);
    assert_eq!(kind(at(&mut service, 1)), ExceptionKind::PipelineExecutionNotFound);
    assert_eq!(at(&mut service, 2).unwrap().pipeline_execution.status, ExecutionStatus::InProgress);
}

#[test]
fn a_declaration_has_the_members_that_the_api_model_requires() {
    let mut service = service_with(definition());
    service.edit_pipeline(second(1), "p").unwrap();
    let mut input = GetPipelineInput { name: Some("p".into()), version: None };
    let output = service.get_pipeline(second(2), &input).unwrap();
    let json = crate::api::to_json(&output).unwrap();
    let pipeline = &json["pipeline"];
    assert_eq!(pipeline["version"], 2);
    assert_eq!(pipeline["executionMode"], "SUPERSEDED");
    assert_eq!(pipeline["roleArn"], "arn:aws:iam::123456789012:role/p");
    assert_eq!(pipeline["artifactStore"]["type"], "S3");
    let approval = &pipeline["stages"][2]["actions"][0];
    let type_id = serde_json::json!({ "category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1" });
    assert_eq!(approval["actionTypeId"], type_id);
    assert!(approval.get("timeoutInMinutes").is_none(), "members without a value are omitted");
    input.version = Some(1);
    assert_eq!(kind(service.get_pipeline(second(3), &input)), ExceptionKind::PipelineVersionNotFound);
}

#[test]
fn times_are_encoded_as_seconds_with_a_fraction() {
    let at = EpochSeconds(Timestamp::from_millisecond(1_800_000_000_123).unwrap());
    assert_eq!(serde_json::to_string(&at).unwrap(), "1800000000.123");
}
