//! The version of the definition in the reads.

use super::*;

#[test]
fn each_execution_keeps_the_version_that_it_started_from() {
    let mut service = service_with(definition().mode(ExecutionMode::Queued));
    let [old, new] = [1, 2].map(|version| {
        if version == 2 {
            service.edit_pipeline(second(5), "p").unwrap();
        }
        let execution = start(&mut service, 4 + version);
        build(&mut service, 4 + version, execution);
        execution
    });
    let state = service.get_pipeline_state(second(9), &GetPipelineStateInput { name: Some("p".into()) }).unwrap();
    assert_eq!(state.pipeline_version, 2);
    for (execution, version) in [(old, 1), (new, 2)] {
        let input = GetPipelineExecutionInput {
            pipeline_name: Some("p".into()),
            pipeline_execution_id: Some(execution.to_string()),
        };
        let shown = service.get_pipeline_execution(second(9), &input).unwrap().pipeline_execution;
        assert_eq!(shown.pipeline_version, version);
        let requests = history(&mut service, 9);
        let request = requests.iter().find(|request| request.pipeline_execution_id == execution).unwrap();
        assert_eq!(request.pipeline_version, version);
    }
}

#[test]
fn every_edit_raises_the_version_even_if_it_changes_nothing() {
    let mut service = service_with(definition());
    for version in 2..5 {
        service.edit_pipeline(second(version), "p").unwrap();
        let input = GetPipelineInput { name: Some("p".into()), version: None };
        assert_eq!(i64::from(service.get_pipeline(second(version), &input).unwrap().pipeline.version), version);
    }
}
