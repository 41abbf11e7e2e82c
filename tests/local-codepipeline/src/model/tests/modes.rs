//! What runs of one pipeline do to each other, and what stops, retries and edits do to a run.

use super::*;
use ExecutionStatus::{Failed, InProgress, Stopped, Stopping, Succeeded, Superseded};

#[test]
fn a_superseded_run_is_one_that_waited_in_front_of_a_stage_when_a_newer_one_came() {
    let mut service = with(definition());
    let [a, b, c] = [1, 2, 3].map(|at| start(&mut service, at));
    assert_eq!(statuses(&mut service, 4), [(a, InProgress), (b, Superseded), (c, InProgress)]);
    assert_eq!(stage(&mut service, 4, "Build").latest_execution.unwrap().pipeline_execution_id, a);
    assert_eq!(stage(&mut service, 4, "Build").inbound_execution.unwrap().pipeline_execution_id, c);
}

#[test]
fn a_pending_approval_holds_its_stage_and_is_never_superseded() {
    let mut service = with(definition());
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
    assert!(token_of(&mut service, 8, last).is_some(), "the run behind it has got its turn");
}

#[test]
fn queued_runs_wait_in_their_order_and_none_is_lost() {
    let mut service = with(definition().mode(ExecutionMode::Queued));
    let runs = [1, 2, 3].map(|at| start(&mut service, at));
    for (at, run) in (10..).step_by(10).zip(runs) {
        build(&mut service, at, run);
        let token = token_of(&mut service, at, run).unwrap();
        approve(&mut service, at + 1, token);
    }
    assert_eq!(statuses(&mut service, 50), runs.map(|run| (run, Succeeded)));
}

#[test]
fn parallel_runs_do_not_meet_and_each_has_an_approval_of_its_own() {
    let mut service = with(definition().mode(ExecutionMode::Parallel));
    let runs = [1, 2].map(|at| start(&mut service, at));
    for run in runs {
        build(&mut service, 3, run);
    }
    let [first, second_run] = runs;
    let tokens = runs.map(|run| token_of(&mut service, 4, run).unwrap());
    assert_ne!(tokens[0], tokens[1]);
    reject(&mut service, 5, tokens[1]);
    approve(&mut service, 6, tokens[0]);
    assert_eq!(statuses(&mut service, 7), [(first, Succeeded), (second_run, Failed)]);
}

#[test]
fn a_failed_action_fails_its_run_and_frees_the_stage() {
    let mut service = with(definition());
    let [a, b] = [1, 2].map(|at| start(&mut service, at));
    service.complete_action(second(3), "p", a, ("Build", "Make"), false).unwrap();
    assert_eq!(statuses(&mut service, 4), [(a, Failed), (b, InProgress)]);
    assert_eq!(stage(&mut service, 4, "Build").latest_execution.unwrap().pipeline_execution_id, b);
}

#[test]
fn actions_of_a_higher_run_order_start_when_those_of_the_lower_have_succeeded() {
    let mut approval_after_tests = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let test = ActionDefinition::new("Smoke", Category::Test).unwrap().takes("30s".parse().unwrap());
    let stage = &mut approval_after_tests.stages[1];
    stage.actions[0].run_order = 2;
    stage.actions.push(test);
    let mut service = with(approval_after_tests);
    let run = start(&mut service, 0);
    assert_eq!(token_of(&mut service, 29, run), None);
    assert!(token_of(&mut service, 31, run).is_some());
    assert_eq!(history(&mut service, 60)[0].start_time.0, second(30), "when the tests ended, not when somebody looked");
}

#[test]
fn a_stop_that_abandons_ends_the_approval_and_one_that_waits_lets_it_be_answered() {
    let mut service = with(definition());
    let a = start(&mut service, 1);
    build(&mut service, 2, a);
    let token = token_of(&mut service, 3, a).unwrap();
    service.stop_execution(second(4), "p", a, StopMode::Abandon, "wrong branch").unwrap();
    assert_eq!(statuses(&mut service, 5), [(a, Stopped)]);
    assert_eq!(shown(&mut service, 5).unwrap().status, ActionExecutionStatus::Abandoned);
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
fn a_retried_stage_keeps_the_run_and_opens_a_new_request_with_a_new_token() {
    let mut service = with(definition());
    let run = start(&mut service, 1);
    build(&mut service, 2, run);
    let old = token_of(&mut service, 3, run).unwrap();
    reject(&mut service, 4, old);
    assert_eq!(statuses(&mut service, 5), [(run, Failed)]);
    service.retry_stage(second(6), "p", "Prod", run, RetryMode::FailedActions).unwrap();
    let new = token_of(&mut service, 7, run).unwrap();
    assert_ne!(old, new);
    assert_eq!(kind(put(&mut service, 8, old, ApprovalStatus::Approved, "")), ExceptionKind::InvalidApprovalToken);
    approve(&mut service, 9, new);
    assert_eq!(statuses(&mut service, 10), [(run, Succeeded)]);
    let runs: Vec<_> = history(&mut service, 11).iter().map(|detail| detail.pipeline_execution_id).collect();
    assert_eq!(runs, [run, run]);
}

#[test]
fn a_retry_repeats_what_failed_or_everything() {
    for (mode, attempts) in [(RetryMode::FailedActions, 1), (RetryMode::AllActions, 2)] {
        let mut definition = definition();
        definition.stages[2].actions.push(ActionDefinition::new("Warm", Category::Invoke).unwrap());
        let mut service = with(definition);
        let run = start(&mut service, 1);
        build(&mut service, 2, run);
        let token = token_of(&mut service, 3, run).unwrap();
        reject(&mut service, 4, token);
        service.retry_stage(second(5), "p", "Prod", run, mode).unwrap();
        let input = ListActionExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
        let details = service.list_action_executions(second(6), &input).unwrap().action_execution_details;
        assert_eq!(details.iter().filter(|detail| &detail.action_name == "Warm").count(), attempts, "{mode:?}");
    }
}

#[test]
fn a_stage_is_not_retried_that_did_not_fail_that_was_edited_or_that_a_newer_run_has_entered() {
    let mut service = with(definition());
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
fn an_edit_fails_what_is_on_its_way_once_its_running_actions_have_ended() {
    let mut service = with(definition().mode(ExecutionMode::Queued));
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
fn a_definition_that_the_service_would_not_take_is_refused() {
    let good = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let change = |change: &dyn Fn(&mut PipelineDefinition)| {
        let mut definition = good.clone();
        change(&mut definition);
        empty(Behaviour::default()).put_pipeline(second(0), definition).unwrap_err().message
    };
    let approval = |change: fn(ActionDefinition) -> ActionDefinition| {
        move |definition: &mut PipelineDefinition| {
            let action = &mut definition.stages[1].actions[0];
            *action = change(action.clone());
        }
    };
    let table = [
        (change(&|p| p.stages.truncate(1)), "has 1 stages"),
        (change(&|p| p.stages.swap(0, 1)), "may hold Source actions only"),
        (change(&|p| p.stages.push(p.stages[1].clone())), "two stages named `Prod`"),
        (change(&|p| p.stages[1].actions.clear()), "has no actions"),
        (change(&|p| p.stages[1].actions.extend(good.stages[1].actions.clone())), "two actions named `Approve`"),
        (change(&|p| p.stages[1].actions[0].category = Category::Source), "behind its first stage"),
        (change(&approval(|a| a.takes(Takes::UntilTold))), "has `takes`"),
        (change(&approval(|a| a.timeout_in_minutes(4))), "use 5 to 86400"),
        (change(&|p| p.stages[0].actions[0].timeout_in_minutes = Some(5)), "use `takes`"),
    ];
    for (message, expected) in table {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_same_history_gives_the_same_identifiers_and_another_seed_gives_others() {
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
fn opening_an_approval_clears_the_way_to_it_and_says_when_another_run_is_in_the_way() {
    let mut definition = definition();
    let earlier = ActionDefinition::new("Review", Category::Approval).unwrap();
    definition.stages.insert(1, StageDefinition::new("Staging", vec![earlier]).unwrap());
    let mut service = with(definition);
    let open = service.open_approval(second(1), AT, &[]).unwrap();
    assert_eq!(token_of(&mut service, 2, open.pipeline_execution_id), Some(open.token));
    let blocked = service.open_approval(second(3), AT, &[]).unwrap_err();
    assert_eq!(blocked.kind, ExceptionKind::Conflict);
    assert_eq!(kind(service.open_approval(second(4), ("p", "Build", "Make"), &[])), ExceptionKind::ActionNotFound);
    assert_eq!(kind(service.open_approval(second(4), ("a b", "S", "A"), &[])), ExceptionKind::InvalidStructure);
}
