//! Submissions that CodePipeline refuses, and submissions whose outcome is lost, with a token that the operator found. If
//! CodePipeline refused the result, the operator resolves the request again. If it may have accepted the result, the decision
//! stays pinned to its request.

use super::{decided_by, exception};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{ExecutionMode, OpenApproval, RetryMode};
use serde_json::json;
use std::time::Duration;
use test_support::{
    BOB, TestEnv, for_execution, for_revision, ids, message, pinned, pipeline_with_build, reason, spec,
};

const PUT: Operation = Operation::PutApprovalResult;

fn invalid_token() -> Fault {
    Fault::error(400, "InvalidApprovalTokenException", "The approval token is not valid").on(PUT)
}

/// Starts an execution and completes its build, so that its approval is pending.
fn open(env: &TestEnv, pipeline: &str, mode: ExecutionMode) -> OpenApproval {
    env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
    let execution = env.start_execution(pipeline, "v1");
    env.complete_build(pipeline, execution, true);
    env.pending_approvals(pipeline)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_found_token_that_is_refused_once_is_found_again_and_resubmitted() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    for binding in ["execution", "revision"] {
        env.codepipeline.inject(invalid_token().pipeline(binding));
        let approval = open(&env, binding, ExecutionMode::Superseded);
        let spec = match binding {
            "execution" => for_execution(binding, approval.pipeline_execution_id),
            _ => for_revision(binding, "v1"),
        };
        env.create(binding, spec).await;
        let decision = env.wait_until_delivered(binding, binding, &approval).await;
        assert_eq!((env.codepipeline.request_count_for(PUT, binding), exception(&decision)), (2, None), "{binding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_found_token_that_is_refused_twice_is_invalid() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(invalid_token().pipeline("web").always());
    let approval = open(&env, "web", ExecutionMode::Superseded);
    env.create("web", for_execution("web", approval.pipeline_execution_id)).await;
    // A token in the spec is not searched for again.
    env.create("by-token", spec("web", &approval)).await;
    let operator = env.operator().start();
    for name in ["web", "by-token"] {
        let decision = env.wait_for_reason(name, Reason::InvalidApprovalToken).await;
        assert_eq!(exception(&decision), Some("InvalidApprovalTokenException"), "{name}");
    }
    assert_eq!(env.codepipeline.request_count_for(PUT, "web"), 2 + 1, "{}", operator.log());
    // A restart does not try it again either.
    operator.kill();
    let _operator = env.operator().start();
    env.open_and_approve("other").await;
    env.wait_for_reason("other", Reason::Delivered).await;
    assert_eq!((env.codepipeline.request_count_for(PUT, "web"), env.pending_approvals("web")), (3, vec![approval]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_arrives_after_a_retry_of_the_stage_is_refused_and_submitted_to_the_new_request() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--aws-timeout=20s").start();
    env.codepipeline.inject(Fault::delayed().delay_before(Duration::from_secs(2)).on(PUT));
    let old = open(&env, "web", ExecutionMode::Superseded);
    let execution = old.pipeline_execution_id;
    env.create("web", for_execution("web", execution)).await;
    env.wait_for_submissions("web", 1).await;
    env.respond_as_bob("web", &old, ResultStatus::Rejected);
    env.codepipeline.with_service(|service, now| {
        service.retry_stage(now, "web", "Prod", execution, RetryMode::FailedActions).unwrap();
    });
    let new = env.pending_approvals("web")[0];
    env.wait_until_delivered("web", "web", &new).await;
    let tokens: Vec<_> = env.codepipeline.ledger_for("web").into_iter().map(|entry| entry.token).collect();
    assert_eq!(
        tokens,
        [&old, &old, &new].map(|approval| approval.token.to_string()),
        "one submission by Bob and two by the operator"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_arrives_after_another_response_is_reported_from_history() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--aws-timeout=20s").start();
    let rows = [
        ("same", ResultStatus::Approved, Reason::AlreadyDecided),
        ("other", ResultStatus::Rejected, Reason::ApprovalAlreadyCompleted),
    ];
    for (pipeline, status, expected) in rows {
        env.codepipeline.inject(Fault::delayed().delay_before(Duration::from_secs(2)).on(PUT).pipeline(pipeline));
        let approval = open(&env, pipeline, ExecutionMode::Superseded);
        env.create(pipeline, for_revision(pipeline, "v1")).await;
        env.wait_for_submissions(pipeline, 1).await;
        env.respond_as_bob(pipeline, &approval, status);
        let decision = env.wait_for_reason(pipeline, expected).await;
        assert_eq!((decided_by(&decision), pinned(&decision)), (Some(BOB), ids(&approval)), "{pipeline}");
        assert_eq!(exception(&decision), Some("ApprovalAlreadyCompletedException"), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_stays_pinned_when_the_operator_is_killed_and_the_next_start_recovers_its_submission() {
    let env = TestEnv::new().await;
    let rows = [
        ("applied", Fault::hang_after_applying(), ExecutionMode::Superseded, 1),
        ("not-applied", Fault::hang_before_applying(), ExecutionMode::Superseded, 2),
        ("applied-in-parallel", Fault::hang_after_applying(), ExecutionMode::Parallel, 1),
    ];
    let operator = env.operator().start();
    let mut approvals = Vec::new();
    for (pipeline, fault, mode, _) in &rows {
        env.codepipeline.inject(fault.clone().on(PUT).pipeline(*pipeline));
        let approval = open(&env, pipeline, *mode);
        env.create(&format!("{pipeline}-execution"), for_execution(pipeline, approval.pipeline_execution_id)).await;
        approvals.push(approval);
    }
    for ((pipeline, ..), approval) in rows.iter().zip(&approvals) {
        env.wait_for_submissions(pipeline, 1).await;
        let decision = env.decisions.get(&format!("{pipeline}-execution")).await.unwrap();
        assert!(matches!(reason(&decision), Some(Reason::Submitting | Reason::Unconfirmed)), "{pipeline}");
        assert_eq!(pinned(&decision), ids(approval), "{pipeline}: the intent pins the decision");
        let submission = decision.status.unwrap().submission.unwrap();
        assert_eq!(submission.token.0, approval.token.to_string(), "{pipeline}");
    }
    operator.kill();
    let _operator = env.operator().start();
    for ((pipeline, .., requests), approval) in rows.iter().zip(&approvals) {
        env.wait_until_delivered(&format!("{pipeline}-execution"), pipeline, approval).await;
        assert_eq!(env.codepipeline.request_count_for(PUT, pipeline), *requests, "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_submission_stays_with_its_execution_when_another_of_the_revision_reaches_the_approval() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    let rows = [("applied", Fault::disconnect_after_applying()), ("not-applied", Fault::disconnect_before_applying())];
    let mut approvals = Vec::new();
    for (pipeline, fault) in &rows {
        env.codepipeline.inject(fault.clone().on(PUT).pipeline(*pipeline));
        let approval = open(&env, pipeline, ExecutionMode::Parallel);
        env.create(pipeline, for_revision(pipeline, "v1")).await;
        let decision = env.wait_for_reason(pipeline, Reason::Unconfirmed).await;
        assert_eq!(pinned(&decision), ids(&approval), "{pipeline}");
        let another = env.start_execution(pipeline, "v1");
        env.complete_build(pipeline, another, true);
        approvals.push((approval, another));
    }
    operator.kill();
    let _operator = env.operator().start();
    for ((pipeline, _), (approval, another)) in rows.iter().zip(&approvals) {
        env.wait_until_delivered(pipeline, pipeline, approval).await;
        let pending = env.pending_approvals(pipeline);
        assert!(matches!(pending.as_slice(), [one] if one.pipeline_execution_id == *another), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_can_be_edited_while_the_decision_waits_but_not_while_a_submission_is_in_flight() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--aws-timeout=3s").start();
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    env.create("web", for_revision("web", "a-typo")).await;
    env.wait_for_message("web", "No execution of pipeline web has the source revision a-typo yet").await;
    let to_execution = json!({ "spec": { "sourceRevision": null, "pipelineExecutionId": execution } });
    env.patch("web", to_execution).await.unwrap();
    let waiting = env.wait_for_message("web", &format!("Execution {execution} is in stage Build")).await;
    assert_eq!(waiting.status.as_ref().unwrap().observed_generation, Some(2), "{}", message(&waiting));
    let to_revision = json!({ "spec": { "sourceRevision": { "revisionId": "v1" }, "pipelineExecutionId": null } });
    env.patch("web", to_revision.clone()).await.unwrap();
    env.codepipeline.inject(Fault::hang_before_applying().on(PUT).pipeline("web"));
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    for expected in [Reason::Submitting, Reason::Unconfirmed] {
        env.wait_for_reason("web", expected).await;
        let to_token = json!({ "spec": { "sourceRevision": null, "token": approval.token } });
        let refused = env.patch("web", to_token).await.unwrap_err().to_string();
        assert!(refused.contains("spec cannot change while a submission is in flight"), "{expected:?}: {refused}");
    }
    env.wait_until_delivered("web", "web", &approval).await;
}
