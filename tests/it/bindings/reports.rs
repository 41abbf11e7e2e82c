//! What a waiting decision says about what holds it up.

use local_codepipeline::api::Operation;
use local_codepipeline::model::ExecutionMode;
use std::time::Duration;
use test_support::{TestEnv, for_execution, for_revision, message, pipeline_with_build};

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_says_that_a_transition_is_disabled_and_is_delivered_after_it_is_enabled() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--poll-interval=1s").start();
    for (pipeline, mode) in [("superseded", ExecutionMode::Superseded), ("queued", ExecutionMode::Queued)] {
        env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        env.codepipeline.with_service(|service, now| {
            service.disable_stage_transition(now, pipeline, "Prod", "freeze").unwrap();
        });
        let execution = env.start_execution(pipeline, "v1");
        env.create(pipeline, for_execution(pipeline, execution)).await;
        env.wait_for_message(pipeline, "is in stage Build").await;
        env.complete_build(pipeline, execution, true);
        let waiting = env.wait_for_message(pipeline, "is waiting to enter stage Prod").await;
        let expected = format!(
            "Execution {execution} is waiting to enter stage Prod, whose inbound transition is disabled (freeze). "
        );
        assert!(message(&waiting).starts_with(&expected), "{}", message(&waiting));
        env.codepipeline.with_service(|service, now| service.enable_stage_transition(now, pipeline, "Prod").unwrap());
        let approval = env.pending_approvals(pipeline)[0];
        env.wait_until_delivered(pipeline, pipeline, &approval).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_an_abbreviated_commit_id_shows_how_the_pipeline_writes_revisions() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    env.start_execution("web", "4f1a9c2e0b7d");
    env.create("web", for_revision("web", "4f1a9c2")).await;
    let _operator = env.operator().arg("--poll-interval=1s").start();
    let expected = "No execution of pipeline web has the source revisions 4f1a9c2 yet; the newest execution has \
                    4f1a9c2e0b7d (Source). ";
    let shown = env.wait_for_message("web", expected).await;
    // Another execution starts, and the decision is not written again.
    env.start_execution("web", "51d2aa60cf93");
    let polls = || env.codepipeline.request_count(Operation::ListPipelineExecutions);
    let before = polls();
    while polls() < before + 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let unchanged = env.decisions.get("web").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version, shown.metadata.resource_version);
}
