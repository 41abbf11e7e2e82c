//! Rules between executions of one pipeline, and the effects of stops and edits.

use super::*;
use ExecutionStatus::{Failed, InProgress, Stopped, Stopping, Succeeded, Superseded};

#[test]
fn a_newer_execution_supersedes_one_that_waits_to_enter_the_same_stage() {
    let mut service = service_with(definition());
    let [a, b, c] = [1, 2, 3].map(|at| start(&mut service, at));
    assert_eq!(statuses(&mut service, 4), [(a, InProgress), (b, Superseded), (c, InProgress)]);
    assert_eq!(stage(&mut service, 4, "Build").latest_execution.unwrap().pipeline_execution_id, a);
    assert_eq!(stage(&mut service, 4, "Build").inbound_execution.unwrap().pipeline_execution_id, c);
}

#[test]
fn a_pending_approval_locks_its_stage_and_is_never_superseded() {
    let mut service = service_with(definition());
    let a = start(&mut service, 1);
    build(&mut service, 2, a);
    for at in 3..6 {
        let next = start(&mut service, at);
        build(&mut service, at, next);
    }
    assert_eq!(
        statuses(&mut service, 6).iter().map(|(_, status)| *status).collect::<Vec<_>>(),
        [InProgress, Superseded, Superseded, InProgress]
    );
    let token = token_of(&mut service, 6, a).unwrap();
    approve(&mut service, 7, token);
    let last = statuses(&mut service, 8)[3].0;
    assert_eq!(statuses(&mut service, 8)[0], (a, Succeeded));
    assert!(token_of(&mut service, 8, last).is_some(), "the next execution has entered the stage");
}

#[test]
fn queued_executions_enter_a_stage_in_order_and_none_is_lost() {
    let mut service = service_with(definition().mode(ExecutionMode::Queued));
    let executions = [1, 2, 3].map(|at| start(&mut service, at));
    for (at, execution) in (10..).step_by(10).zip(executions) {
        build(&mut service, at, execution);
        let token = token_of(&mut service, at, execution).unwrap();
        approve(&mut service, at + 1, token);
    }
    assert_eq!(statuses(&mut service, 50), executions.map(|execution| (execution, Succeeded)));
}

#[test]
fn parallel_executions_are_independent_and_each_has_its_own_approval() {
    let mut service = service_with(definition().mode(ExecutionMode::Parallel));
    let executions = [1, 2].map(|at| start(&mut service, at));
    for execution in executions {
        build(&mut service, 3, execution);
    }
    let [first, second_execution] = executions;
    let tokens = executions.map(|execution| token_of(&mut service, 4, execution).unwrap());
    assert_ne!(tokens[0], tokens[1]);
    reject(&mut service, 5, tokens[1]);
    approve(&mut service, 6, tokens[0]);
    assert_eq!(statuses(&mut service, 7), [(first, Succeeded), (second_execution, Failed)]);
}

#[test]
fn a_failed_action_fails_its_execution_and_unlocks_the_stage() {
    let mut service = service_with(definition());
    let [a, b] = [1, 2].map(|at| start(&mut service, at));
    service.complete_action(second(3), "p", a, ("Build", "Make"), false).unwrap();
    assert_eq!(statuses(&mut service, 4), [(a, Failed), (b, InProgress)]);
    assert_eq!(stage(&mut service, 4, "Build").latest_execution.unwrap().pipeline_execution_id, b);
}

#[test]
fn actions_start_after_those_with_a_lower_run_order_have_succeeded() {
    let mut approval_after_tests = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let test = ActionDefinition::new("Smoke", Category::Test).unwrap().duration("30s".parse().unwrap());
    let stage = &mut approval_after_tests.stages[1];
    stage.actions[0].run_order = 2;
    stage.actions.push(test);
    let mut service = service_with(approval_after_tests);
    let execution = start(&mut service, 0);
    assert_eq!(token_of(&mut service, 29, execution), None);
    assert!(token_of(&mut service, 31, execution).is_some());
    assert_eq!(
        history(&mut service, 60)[0].start_time.0,
        second(30),
        "when the tests ended, not when the history was read"
    );
}

#[test]
fn a_stop_that_abandons_actions_ends_the_approval_and_one_that_waits_keeps_it_pending() {
    let mut service = service_with(definition());
    let a = start(&mut service, 1);
    build(&mut service, 2, a);
    let token = token_of(&mut service, 3, a).unwrap();
    service.stop_execution(second(4), "p", a, StopMode::Abandon, "wrong branch").unwrap();
    assert_eq!(statuses(&mut service, 5), [(a, Stopped)]);
    assert_eq!(approval_state(&mut service, 5).unwrap().status, ActionExecutionStatus::Abandoned);
    let late = put(&mut service, 6, token, ApprovalStatus::Approved, "");
    assert_eq!(kind(late), ExceptionKind::ApprovalAlreadyCompleted);

    let b = start(&mut service, 10);
    build(&mut service, 11, b);
    service.stop_execution(second(12), "p", b, StopMode::Wait, "").unwrap();
    assert_eq!(statuses(&mut service, 13)[1], (b, Stopping));
    let token = token_of(&mut service, 13, b).unwrap();
    approve(&mut service, 14, token);
    assert_eq!(statuses(&mut service, 15)[1], (b, Stopped));
    let again = service.stop_execution(second(16), "p", b, StopMode::Wait, "");
    assert_eq!(kind(again), ExceptionKind::PipelineExecutionNotStoppable);
}

#[test]
fn an_edit_fails_older_executions_after_their_running_actions_complete() {
    let mut service = service_with(definition().mode(ExecutionMode::Queued));
    let [building, waiting] = [1, 2].map(|at| start(&mut service, at));
    service.edit_pipeline(second(3), "p").unwrap();
    assert_eq!(statuses(&mut service, 4), [(building, InProgress), (waiting, Failed)]);
    let new = start(&mut service, 5);
    assert_eq!(stage(&mut service, 6, "Build").inbound_execution.unwrap().pipeline_execution_id, new);
    build(&mut service, 7, building);
    assert_eq!(statuses(&mut service, 8), [(building, Failed), (waiting, Failed), (new, InProgress)]);
    assert_eq!(stage(&mut service, 8, "Build").latest_execution.unwrap().pipeline_execution_id, new);
}

#[test]
fn an_invalid_definition_is_refused() {
    let good = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let change = |change: &dyn Fn(&mut PipelineDefinition)| {
        let mut definition = good.clone();
        change(&mut definition);
        empty_service(Behaviour::default()).put_pipeline(second(0), definition).unwrap_err().message
    };
    let approval = |change: fn(ActionDefinition) -> ActionDefinition| {
        move |definition: &mut PipelineDefinition| {
            let action = &mut definition.stages[1].actions[0];
            *action = change(action.clone());
        }
    };
    let table = [
        (change(&|p| p.stages.truncate(1)), "has 1 stages"),
        (change(&|p| p.stages.swap(0, 1)), "may contain only Source actions"),
        (change(&|p| p.stages.push(p.stages[1].clone())), "two stages named `Prod`"),
        (change(&|p| p.stages[1].actions.clear()), "has no actions"),
        (change(&|p| p.stages[1].actions.extend(good.stages[1].actions.clone())), "two actions named `Approve`"),
        (change(&|p| p.stages[1].actions[0].category = Category::Source), "after its first stage"),
        (change(&approval(|a| a.duration(ActionDuration::UntilCompleted))), "has `duration`"),
        (change(&approval(|a| a.timeout_in_minutes(4))), "use 5 to 86400"),
        (change(&|p| p.stages[0].actions[0].timeout_in_minutes = Some(5)), "use `duration`"),
    ];
    for (message, expected) in table {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_same_calls_generate_the_same_identifiers_and_another_seed_generates_others() {
    let play = |seed| {
        let mut service = Service::new(Account::default(), Behaviour::default(), Uuid::from_u128(seed));
        service.open_approval(second(0), AT, &[]).unwrap()
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2));
    let token = play(1).token.to_string();
    assert_eq!(token.to_lowercase(), token);
    assert_eq!(token.len(), 36);
}

#[test]
fn open_approval_completes_earlier_actions_and_fails_if_another_execution_locks_a_stage() {
    let mut definition = definition();
    let earlier = ActionDefinition::new("Review", Category::Approval).unwrap();
    definition.stages.insert(1, StageDefinition::new("Staging", vec![earlier]).unwrap());
    let mut service = service_with(definition);
    let open = service.open_approval(second(1), AT, &[]).unwrap();
    assert_eq!(token_of(&mut service, 2, open.pipeline_execution_id), Some(open.token));
    let blocked = service.open_approval(second(3), AT, &[]).unwrap_err();
    assert_eq!(blocked.kind, ExceptionKind::Conflict);
    assert_eq!(kind(service.open_approval(second(4), ("p", "Build", "Make"), &[])), ExceptionKind::ActionNotFound);
    assert_eq!(kind(service.open_approval(second(4), ("a b", "S", "A"), &[])), ExceptionKind::InvalidStructure);
}

#[test]
fn executions_wait_in_front_of_a_stage_while_the_transition_into_it_is_disabled() {
    for (mode, waiting) in [(ExecutionMode::Superseded, 1), (ExecutionMode::Queued, 2), (ExecutionMode::Parallel, 2)] {
        let mut service = service_with(definition().mode(mode));
        service.disable_stage_transition(second(1), "p", "Prod", "freeze").unwrap();
        let executions = [2, 3].map(|at| {
            let execution = start(&mut service, at);
            build(&mut service, at, execution);
            execution
        });
        let [build, prod] = ["Build", "Prod"].map(|name| stage(&mut service, 4, name));
        assert_eq!((prod.inbound_executions.len(), prod.latest_execution), (waiting, None), "{mode:?}");
        let freeze = TransitionState { enabled: false, disabled_reason: Some("freeze".to_owned()) };
        let enabled = TransitionState { enabled: true, disabled_reason: None };
        assert_eq!((prod.inbound_transition_state, build.inbound_transition_state), (freeze, enabled.clone()));
        let pending = |service: &mut Service| executions.map(|execution| token_of(service, 5, execution).is_some());
        assert_eq!(pending(&mut service), [false, false], "{mode:?}");
        service.enable_stage_transition(second(5), "p", "Prod").unwrap();
        let expected = [mode != ExecutionMode::Superseded, mode != ExecutionMode::Queued];
        assert_eq!(pending(&mut service), expected, "{mode:?}");
        assert_eq!(stage(&mut service, 5, "Prod").inbound_transition_state, enabled);
        service.disable_stage_transition(second(6), "p", "Prod", "freeze").unwrap();
        service.edit_pipeline(second(7), "p").unwrap();
        assert!(!stage(&mut service, 7, "Prod").inbound_transition_state.enabled, "an edit does not enable it");
        for stage in ["Source", "Nowhere"] {
            let refused = service.disable_stage_transition(second(8), "p", stage, "freeze");
            assert_eq!(kind(refused), ExceptionKind::StageNotFound);
        }
    }
}
