//! `spec.sourceRevisions`: the one execution of a revision that is waiting for the approval. If several are, the operator
//! submits nothing.

use super::decided_by;
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Reason, SourceRevision};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::model::{
    ActionDefinition, Category, ExecutionMode, Name, PipelineDefinition, SourceRevision as Revision,
};
use serde_json::json;
use test_support::{
    BOB, TestEnv, for_execution, for_revision, ids, message, pinned, pipeline_with_build, reason, spec,
};

const COMMIT: &str = "4f2e1d0c9b8a7968574635241302f1e0d9c8b7a6";

fn parallel(pipeline: &str) -> PipelineDefinition {
    pipeline_with_build(pipeline).mode(ExecutionMode::Parallel)
}

fn of_action(spec: ApprovalDecisionSpec, action: &str) -> ApprovalDecisionSpec {
    let action_name = Some(action.to_owned());
    let source_revisions =
        spec.source_revisions.iter().map(|entry| SourceRevision { action_name: action_name.clone(), ..entry.clone() });
    ApprovalDecisionSpec { source_revisions: source_revisions.collect(), ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_compared_exactly() {
    let env = TestEnv::new().await;
    let others = ["4f2e1d0", "4f2e1d0c9b8a7968574635241302f1e0d9c8b7a", "4F2E1D0C9B8A7968574635241302F1E0D9C8B7A6"];
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", COMMIT);
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    for (number, other) in others.iter().enumerate() {
        env.create(&format!("other-{number}"), for_revision("web", other)).await;
    }
    let _operator = env.operator().start();
    for (number, other) in others.iter().enumerate() {
        let expected = format!("No execution of pipeline web has the source revisions {other} yet");
        env.wait_for_message(&format!("other-{number}"), &expected).await;
    }
    env.wait_for_polls("web", 3).await;
    assert_eq!(env.pending_approvals("web"), [approval]);
    env.create("exact", for_revision("web", COMMIT)).await;
    env.wait_until_delivered("exact", "web", &approval).await;
    for number in 0..others.len() {
        let other = env.decisions.get(&format!("other-{number}")).await.unwrap();
        assert_eq!(reason(&other), Some(Reason::Waiting));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_covers_every_source_of_an_execution_or_does_not_approve_it() {
    let env = TestEnv::new().await;
    let open = |pipeline: &str| {
        let mut definition = PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap();
        definition.stages[0].actions.push(ActionDefinition::new("Config", Category::Source).unwrap());
        env.put_pipeline(definition);
        let revisions = [("Source", "app-1"), ("Config", "config-1")];
        let revisions = revisions.map(|(action, revision)| Revision {
            action_name: Name::new(action).unwrap(),
            revision_id: Some(revision.to_owned()),
        });
        let at = (pipeline, "Prod", "Approve");
        env.codepipeline.with_service(|service, now| service.open_approval(now, at, &revisions).unwrap())
    };
    let both = |pipeline: &str, config: &str| {
        let mut spec = of_action(for_revision(pipeline, "app-1"), "Source");
        let entry = SourceRevision { action_name: Some("Config".to_owned()), revision_id: Some(config.to_owned()) };
        spec.source_revisions.push(entry);
        spec
    };
    let any_config = |pipeline: &str| {
        let mut spec = both(pipeline, "");
        spec.source_revisions[1].revision_id = None;
        spec
    };
    let rows = [
        ("both-sources", both("both-sources", "config-1"), None),
        ("any-config", any_config("any-config"), None),
        (
            "other-config",
            both("other-config", "config-2"),
            Some("No execution of pipeline other-config has the source revisions"),
        ),
        (
            "first-source",
            for_revision("first-source", "app-1"),
            Some("does not cover its source Config (revision config-1)"),
        ),
        (
            "second-source",
            for_revision("second-source", "config-1"),
            Some("does not cover its source Source (revision app-1)"),
        ),
        (
            "wrong-source",
            of_action(for_revision("wrong-source", "config-1"), "Source"),
            Some("No execution of pipeline"),
        ),
    ];
    let mut approvals = Vec::new();
    for (pipeline, spec, _) in &rows {
        approvals.push(open(pipeline));
        env.create(pipeline, spec.clone()).await;
    }
    let _operator = env.operator().start();
    for ((pipeline, _, expected), approval) in rows.iter().zip(&approvals) {
        match expected {
            None => drop(env.wait_until_delivered(pipeline, pipeline, approval).await),
            Some(expected) => {
                env.wait_for_message(pipeline, expected).await;
                assert_eq!(env.pending_approvals(pipeline), [*approval]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_waits_for_an_execution_that_starts_later() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    for (pipeline, mode) in [("superseded", ExecutionMode::Superseded), ("parallel", ExecutionMode::Parallel)] {
        env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        env.create(pipeline, for_revision(pipeline, COMMIT)).await;
        env.wait_for_message(
            pipeline,
            &format!("No execution of pipeline {pipeline} has the source revisions {COMMIT} yet"),
        )
        .await;
        let execution = env.start_execution(pipeline, COMMIT);
        env.wait_for_message(pipeline, &format!("Execution {execution} is in stage Build (InProgress)")).await;
        env.complete_build(pipeline, execution, true);
        let approval = env.pending_approvals(pipeline)[0];
        env.wait_until_delivered(pipeline, pipeline, &approval).await;
        env.wait_for_events(pipeline, &["Waiting", "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pending_executions_of_one_revision_none_is_delivered_until_the_decision_says_which() {
    let env = TestEnv::new().await;
    env.put_pipeline(parallel("web"));
    let executions = [env.start_execution("web", COMMIT), env.start_execution("web", COMMIT)];
    executions.iter().for_each(|execution| env.complete_build("web", *execution, true));
    let approvals = env.pending_approvals("web");
    env.create("web", for_revision("web", COMMIT)).await;
    let _operator = env.operator().start();
    let decision = env.wait_for_reason("web", Reason::AmbiguousRevision).await;
    for execution in executions {
        assert!(message(&decision).contains(&execution.to_string()), "{}", message(&decision));
    }
    assert_eq!(pinned(&decision), (None, None));
    assert_eq!(
        (env.codepipeline.request_count(Operation::PutApprovalResult), env.pending_approvals("web").len()),
        (0, 2)
    );
    let first = json!({ "spec": { "sourceRevisions": null, "pipelineExecutionId": executions[0] } });
    env.patch("web", first).await.unwrap();
    env.wait_until_delivered("web", "web", &approvals[0]).await;
    assert_eq!(env.pending_approvals("web"), [approvals[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pending_executions_of_different_revisions_each_get_their_own_result() {
    let env = TestEnv::new().await;
    env.put_pipeline(parallel("web"));
    let executions = ["v1", "v2"].map(|revision| env.start_execution("web", revision));
    executions.iter().for_each(|execution| env.complete_build("web", *execution, true));
    let approvals = env.pending_approvals("web");
    let mut rejection = for_revision("web", "v1");
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("first", rejection).await;
    env.create("second", for_revision("web", "v2")).await;
    let _operator = env.operator().start();
    for (name, approval) in ["first", "second"].into_iter().zip(&approvals) {
        assert_eq!(pinned(&env.wait_for_reason(name, Reason::Delivered).await), ids(approval), "{name}");
    }
    let mut accepted: Vec<_> =
        env.accepted_submissions("web").into_iter().map(|entry| (entry.token, entry.status)).collect();
    accepted.sort_by_key(|(_, status)| status.clone());
    let expected = [(&approvals[1], "Approved"), (&approvals[0], "Rejected")];
    assert_eq!(accepted, expected.map(|(approval, status)| (approval.token.to_string(), status.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_to_the_newest_execution_of_the_revision_is_reported_from_history() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let rows = [
        ("approved", ResultStatus::Approved, Reason::AlreadyDecided),
        ("rejected", ResultStatus::Rejected, Reason::ApprovalAlreadyCompleted),
    ];
    for (pipeline, status, expected) in rows {
        env.put_pipeline(pipeline_with_build(pipeline));
        let execution = env.start_execution(pipeline, COMMIT);
        env.complete_build(pipeline, execution, true);
        let approval = env.pending_approvals(pipeline)[0];
        env.respond_as_bob(pipeline, &approval, status);
        env.create(pipeline, for_revision(pipeline, COMMIT)).await;
        let decision = env.wait_for_reason(pipeline, expected).await;
        assert_eq!((decided_by(&decision), pinned(&decision)), (Some(BOB), ids(&approval)), "{pipeline}");
    }
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_waits_for_a_later_execution_of_the_revision_when_the_newest_one_ended() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    let failed = env.start_execution("web", COMMIT);
    env.complete_build("web", failed, false);
    env.create("web", for_revision("web", COMMIT)).await;
    let _operator = env.operator().start();
    let expected = format!(
        "Execution {failed} ended (Failed) before its approval received a response; waiting for a later execution"
    );
    env.wait_for_message("web", &expected).await;
    let other = env.start_execution("web", "another");
    env.complete_build("web", other, true);
    env.wait_for_polls("web", 3).await;
    let approval = env.pending_approvals("web")[0];
    env.respond_as_bob("web", &approval, ResultStatus::Approved);
    let execution = env.start_execution("web", COMMIT);
    env.wait_for_message("web", &format!("Execution {execution} is in stage Build")).await;
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    env.wait_until_delivered("web", "web", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_decision_does_not_respond_to_a_later_execution_of_its_revision() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", COMMIT);
    env.complete_build("web", execution, true);
    let first = env.pending_approvals("web")[0];
    env.create("web", for_revision("web", COMMIT)).await;
    let operator = env.operator().start();
    let delivered = env.wait_until_delivered("web", "web", &first).await;
    let later = env.start_execution("web", COMMIT);
    env.complete_build("web", later, true);
    let second = env.pending_approvals("web");
    // Another waiting decision makes the operator poll the pipeline.
    env.create("other", for_revision("web", "another")).await;
    env.wait_for_reason("other", Reason::Waiting).await;
    env.wait_for_polls("web", 3).await;
    operator.kill();
    let _operator = env.operator().start();
    env.wait_for_polls("web", 3).await;
    env.patch("web", json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": "later" } } }))
        .await
        .unwrap();
    env.create("by-token", spec("other", &env.open_approval("other"))).await;
    env.wait_for_reason("by-token", Reason::Delivered).await;
    env.wait_for_polls("web", 2).await;
    assert_eq!((env.pending_approvals("web"), env.accepted_submissions("web").len()), (second, 1));
    assert_eq!(env.decisions.get("web").await.unwrap().status, delivered.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_an_execution_and_one_for_its_revision_respond_once() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", COMMIT);
    env.create("execution", for_execution("web", execution)).await;
    env.create("revision", for_revision("web", COMMIT)).await;
    let _operator = env.operator().start();
    for name in ["execution", "revision"] {
        env.wait_for_reason(name, Reason::Waiting).await;
    }
    env.complete_build("web", execution, true);
    let mut reasons = Vec::new();
    for name in ["execution", "revision"] {
        let is_settled = |decision: &_| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
        reasons.push(reason(&env.wait_until(name, "settled", is_settled).await).unwrap());
    }
    reasons.sort_by_key(|reason| reason.as_str());
    assert_eq!(reasons, [Reason::AlreadyDecided, Reason::Delivered]);
    assert_eq!(env.accepted_submissions("web").len(), 1);
}
