//! Pipelines with as many actions as AWS allows, whose history has several pages for one execution.

use super::*;
use std::collections::BTreeSet;

/// A pipeline with this number of actions, of which the last is the approval.
fn pipeline_with(actions: usize) -> PipelineDefinition {
    let mut definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    let names: Vec<String> = (0..actions - 2).map(|number| format!("Action-{number}")).collect();
    let stages = names.chunks(100).enumerate().map(|(number, names)| {
        let actions = names.iter().map(|name| ActionDefinition::new(name, Category::Build).unwrap()).collect();
        StageDefinition::new(&format!("Stage-{number}"), actions).unwrap()
    });
    definition.stages.splice(1..1, stages);
    definition
}

/// The pages of the history of one execution, as sets of action execution ids.
fn pages(service: &mut Service, execution: PipelineExecutionId, size: Option<i64>) -> Vec<BTreeSet<ActionExecutionId>> {
    let filter = ActionExecutionFilter {
        pipeline_execution_id: Some(execution.to_string()),
        latest_in_pipeline_execution: None,
    };
    let mut input = ListActionExecutionsInput {
        pipeline_name: Some("p".into()),
        filter: Some(filter),
        max_results: size,
        next_token: None,
    };
    let mut pages = Vec::new();
    loop {
        let output = service.list_action_executions(second(9), &input).unwrap();
        pages.push(output.action_execution_details.iter().map(|detail| detail.action_execution_id).collect());
        input.next_token = output.next_token;
        if input.next_token.is_none() {
            return pages;
        }
    }
}

#[test]
fn the_history_of_an_execution_with_1000_actions_is_complete_over_its_pages() {
    let mut service = service_with(pipeline_with(1000));
    let [old, new] = [1, 2].map(|at| start(&mut service, at));
    for (execution, actions) in [(old, 1000), (new, 999)] {
        for (size, expected) in [(None, 10), (Some(100), 10), (Some(7), 143)] {
            let pages = pages(&mut service, execution, size);
            assert_eq!(pages.len(), expected);
            let all: BTreeSet<_> = pages.iter().flatten().collect();
            assert_eq!((all.len(), pages.iter().map(BTreeSet::len).sum::<usize>()), (actions, actions));
        }
    }
    assert!(token_of(&mut service, 9, old).is_some());
}

#[test]
fn a_pipeline_with_more_actions_than_aws_allows_is_refused() {
    let refused = |definition| empty_service(Behaviour::default()).put_pipeline(second(0), definition).unwrap_err();
    let message = refused(pipeline_with(1001)).message;
    assert!(message.contains("has 1001 actions: define at most 1000"), "{message}");
    let mut crowded = definition();
    crowded.stages[1].actions =
        (0..101).map(|number| ActionDefinition::new(&format!("Make-{number}"), Category::Build).unwrap()).collect();
    let message = refused(crowded).message;
    assert!(message.contains("stage `Build` has 101 actions: define at most 100"), "{message}");
}
