//! Which source revisions an execution has, and when reads show them.

use super::*;

fn revision(source: &str, id: Option<&str>) -> SourceRevision {
    SourceRevision { action_name: Name::new(source).unwrap(), revision_id: id.map(str::to_owned) }
}

/// A pipeline with the sources Source and Image.
fn two_sources() -> Service {
    let mut definition = definition();
    definition.stages[0].actions.push(ActionDefinition::new("Image", Category::Source).unwrap());
    service_with(definition)
}

/// The source revisions of the newest execution.
fn shown(service: &mut Service, at: i64) -> Vec<(String, Option<String>)> {
    let input = ListPipelineExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
    let list = service.list_pipeline_executions(second(at), &input).unwrap().pipeline_execution_summaries;
    let revisions = list[0].source_revisions.iter();
    revisions.map(|found| (found.action_name.to_string(), found.revision_id.clone())).collect()
}

#[test]
fn an_execution_shows_its_source_revisions_once_its_source_action_has_succeeded() {
    let mut definition = definition();
    definition.stages[0].actions[0].duration = Some(ActionDuration::UntilCompleted);
    let mut service = service_with(definition);
    let revision = revision("Source", Some("4f2e"));
    let execution = service.start_execution(second(1), "p", std::slice::from_ref(&revision)).unwrap();
    let source_revisions = |service: &mut Service, at| {
        let input = ListPipelineExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
        let list = service.list_pipeline_executions(second(at), &input).unwrap();
        list.pipeline_execution_summaries[0].source_revisions.clone()
    };
    assert_eq!(source_revisions(&mut service, 2), []);
    service.complete_action(second(3), "p", execution, ("Source", "Source"), true).unwrap();
    let expected = SourceRevisionOutput { action_name: revision.action_name.clone(), revision_id: Some("4f2e".into()) };
    assert_eq!(source_revisions(&mut service, 4), [expected]);
    let stray = SourceRevision { action_name: Name::new("Make").unwrap(), ..revision };
    assert_eq!(kind(service.start_execution(second(5), "p", &[stray])), ExceptionKind::Validation);
}

#[test]
fn a_change_of_one_source_starts_an_execution_with_the_newest_revisions_of_the_others() {
    let mut service = two_sources();
    let all = [revision("Source", Some("v1")), revision("Image", Some("sha256:1"))];
    service.start_execution(second(1), "p", &all).unwrap();
    service.start_execution(second(2), "p", &[revision("Image", Some("sha256:2"))]).unwrap();
    let pair = |source: &str, id: &str| (source.to_owned(), Some(id.to_owned()));
    assert_eq!(shown(&mut service, 3), [pair("Source", "v1"), pair("Image", "sha256:2")]);
    service.start_execution(second(4), "p", &[revision("Source", Some("v2"))]).unwrap();
    assert_eq!(shown(&mut service, 5), [pair("Source", "v2"), pair("Image", "sha256:2")]);
    start(&mut service, 6);
    let generated = shown(&mut service, 7);
    assert!(generated.iter().all(|(_, id)| id.as_ref().is_some_and(|id| id.len() == 40)), "{generated:?}");
}

#[test]
fn a_rollback_does_not_change_the_newest_known_revisions() {
    let mut service = two_sources();
    let all = |id: &str| [revision("Source", Some(id)), revision("Image", Some(id))];
    let old = service.start_execution(second(1), "p", &all("v1")).unwrap();
    build(&mut service, 1, old);
    let new = service.start_execution(second(2), "p", &all("v2")).unwrap();
    service.stop_execution(second(2), "p", new, StopMode::Abandon, "").unwrap();
    service.rollback_stage(second(3), "p", "Build", old).unwrap();
    service.start_execution(second(4), "p", &[revision("Source", Some("v3"))]).unwrap();
    let pair = |source: &str, id: &str| (source.to_owned(), Some(id.to_owned()));
    assert_eq!(shown(&mut service, 5), [pair("Source", "v3"), pair("Image", "v2")]);
}

#[test]
fn a_source_without_a_known_revision_gets_a_generated_one() {
    let mut service = two_sources();
    service.start_execution(second(1), "p", &[revision("Source", Some("v1"))]).unwrap();
    let [(source, given), (image, generated)] = &shown(&mut service, 2)[..] else { panic!("two sources") };
    assert_eq!((source.as_str(), given.as_deref(), image.as_str()), ("Source", Some("v1"), "Image"));
    assert_eq!(generated.as_ref().map(String::len), Some(40));
}

#[test]
fn a_source_revision_without_an_id_is_shown_without_one() {
    let mut service = service_with(definition());
    let execution = service.start_execution(second(1), "p", &[revision("Source", None)]).unwrap();
    assert_eq!(shown(&mut service, 2), [("Source".to_owned(), None)]);
    let input = GetPipelineExecutionInput {
        pipeline_name: Some("p".into()),
        pipeline_execution_id: Some(execution.to_string()),
    };
    let output = service.get_pipeline_execution(second(3), &input).unwrap();
    let json = crate::api::to_json(&output).unwrap();
    assert_eq!(json["pipelineExecution"]["artifactRevisions"], serde_json::json!([{ "name": "Source" }]));
    let source = stage(&mut service, 4, "Source").action_states.remove(0);
    assert_eq!(source.current_revision, None, "the API model requires its id");
}
