//! What a decision says about what holds it up, and about who settled it.

use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
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
async fn a_decision_for_an_abbreviated_commit_id_names_the_execution_of_that_commit() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    env.create("web", for_revision("web", "4f1a9c2")).await;
    let _operator = env.operator().arg("--poll-interval=1s").start();
    env.wait_for_message("web", "No execution of pipeline web has the source revisions 4f1a9c2 yet. ").await;
    // The execution that the decision means starts after the decision waits.
    let execution = env.start_execution("web", "4f1a9c2e0b7d");
    let expected =
        format!("yet; execution {execution} has 4f1a9c2e0b7d (Source), and ids are compared in full. If you mean");
    env.wait_for_message("web", &expected).await;
    let mut misspelled = for_revision("web", "51d2aa60cf93");
    misspelled.source_revisions[0].action_name = Some("Sorce".to_owned());
    env.create("misspelled", misspelled).await;
    let expected = r#"no execution has a source action "Sorce", and the source actions are Source. Correct actionName"#;
    env.wait_for_message("misspelled", expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_another_one_of_its_namespace_settled_names_it() {
    let [env, other] = [TestEnv::new().await, TestEnv::new().await];
    let _operator = env.operator().namespace(&other.namespace).start();
    let approval = env.open_approval("web");
    let by_execution = for_execution("web", approval.pipeline_execution_id);
    env.create("first", by_execution.clone()).await;
    env.wait_until_delivered("first", "web", &approval).await;
    for (env, is_named) in [(&env, true), (&other, false)] {
        env.create("second", by_execution.clone()).await;
        let second = env.wait_for_reason("second", Reason::AlreadyDecided).await;
        let names_it = message(&second).contains("approved by decision first of this namespace (");
        assert_eq!(names_it, is_named, "{}", message(&second));
        assert!(is_named || !message(&second).contains("first"), "{}", message(&second));
    }
    let mut rejection = by_execution;
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("third", rejection).await;
    let third = env.wait_for_reason("third", Reason::ApprovalAlreadyCompleted).await;
    assert!(message(&third).contains("approved by decision first of this namespace ("), "{}", message(&third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_an_unknown_commit_shows_how_the_pipeline_writes_revisions() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    env.start_execution("web", "4f1a9c2e0b7d");
    env.create("web", for_revision("web", "7d20b1c")).await;
    let _operator = env.operator().arg("--poll-interval=1s").start();
    let expected = "No execution of pipeline web has the source revisions 7d20b1c yet; the newest execution has \
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
