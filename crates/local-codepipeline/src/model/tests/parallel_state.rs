//! What GetPipelineState shows of a pipeline in PARALLEL mode.

use super::*;

fn set_parallel_state(service: &mut Service, parallel_state: ParallelState) {
    service.set_behaviour(Behaviour { parallel_state, ..Default::default() });
}

fn state(service: &mut Service, at: i64) -> GetPipelineStateOutput {
    service.get_pipeline_state(second(at), &GetPipelineStateInput { name: Some("p".into()) }).unwrap()
}

/// The ids and the token of the approval in a state.
fn approval(state: &GetPipelineStateOutput) -> Option<(ActionExecutionId, Option<Token>)> {
    let actions = state.stage_states.iter().flat_map(|stage| &stage.action_states);
    let approval =
        actions.filter(|action| &action.action_name == "Approve").find_map(|action| action.latest_execution.clone());
    approval.map(|execution| (execution.action_execution_id, execution.token))
}

#[test]
fn it_is_empty_or_has_no_token_while_the_history_has_the_token() {
    let definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let mut service = service_with(definition.mode(ExecutionMode::Parallel));
    let opened = service.open_approval(second(1), AT, &[]).unwrap();
    assert_eq!(approval(&state(&mut service, 2)), Some((opened.action_execution_id, None)));
    set_parallel_state(&mut service, ParallelState::Empty);
    assert_eq!(state(&mut service, 2).stage_states, []);
    let shown = history(&mut service, 2)[0].output.execution_result.external_execution_id.clone();
    assert_eq!(shown, Some(opened.token.to_string()));
}

#[test]
fn it_is_stale_from_the_edit_that_changed_the_mode() {
    let mut service = empty_service(Behaviour::default());
    let old = service.open_approval(second(1), AT, &[]).unwrap();
    let parallel = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap().mode(ExecutionMode::Parallel);
    service.put_pipeline(second(2), parallel).unwrap();
    let new = service.open_approval(second(3), AT, &[]).unwrap();
    assert_eq!(approval(&state(&mut service, 4)), Some((new.action_execution_id, None)));
    set_parallel_state(&mut service, ParallelState::Stale);
    for at in [4, 6] {
        let stale = state(&mut service, at);
        assert_eq!((stale.pipeline_version, approval(&stale)), (1, Some((old.action_execution_id, Some(old.token)))));
        service.edit_pipeline(second(at), "p").unwrap();
    }
    let refused = put(&mut service, 7, old.token, ApprovalStatus::Approved, "yes");
    assert_eq!(kind(refused), ExceptionKind::InvalidApprovalToken, "the edit has cancelled it");
    service.put_pipeline(second(8), PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap()).unwrap();
    assert_eq!(state(&mut service, 9).pipeline_version, 5, "only PARALLEL mode is affected");
}

#[test]
fn it_is_stale_from_the_first_definition_if_the_mode_was_never_another() {
    let definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap().mode(ExecutionMode::Parallel);
    let mut service = service_with(definition.clone());
    set_parallel_state(&mut service, ParallelState::Stale);
    service.open_approval(second(1), AT, &[]).unwrap();
    let never_edited = state(&mut service, 2);
    assert_eq!((never_edited.stage_states.len(), approval(&never_edited)), (2, None));
    let later = ActionDefinition::new("Ship", Category::Deploy).unwrap();
    service.put_pipeline(second(3), definition.stage(StageDefinition::new("Later", vec![later]).unwrap())).unwrap();
    let edited = state(&mut service, 4);
    assert_eq!((edited.pipeline_version, edited.stage_states.len()), (1, 2));
}
