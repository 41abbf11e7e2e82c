//! Submissions that CodePipeline refuses, and submissions whose outcome is lost, with a token that the operator found. If
//! CodePipeline refused the result, the operator resolves the request again. If it may have accepted the result, the decision
//! stays pinned to its request.

use super::{decided_by, exception};
use approval_operator::api::v1alpha1::Reason;
use jiff::Timestamp;
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
async fn a_result_that_arrives_after_a_rejection_and_a_retry_is_refused_and_not_submitted_to_the_new_request() {
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
    let new = env.pending_approvals("web");
    let decision = env.wait_for_reason("web", Reason::ApprovalAlreadyCompleted).await;
    assert_eq!(decided_by(&decision), Some(BOB));
    assert!(message(&decision).contains(&execution.to_string()), "{}", message(&decision));
    let tokens: Vec<_> = env.codepipeline.ledger_for("web").into_iter().map(|entry| entry.token).collect();
    assert_eq!(tokens, [&old, &old].map(|approval| approval.token.to_string()), "one by Bob and one by the operator");
    // Anyone who knows of the rejection and wants to answer the new request says so.
    let later = json!({ "spec": { "ignoreResponsesBefore": Timestamp::now().to_string() } });
    env.patch("web", later).await.unwrap();
    env.wait_until_delivered("web", "web", &new[0]).await;
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
async fn an_unconfirmed_submission_is_not_repeated_once_another_execution_of_the_revision_asks_as_well() {
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
    let [(applied, another), _] = approvals.as_slice() else { panic!("{approvals:?}") };
    env.wait_until_delivered("applied", "applied", applied).await;
    let pending = env.pending_approvals("applied");
    assert!(matches!(pending.as_slice(), [one] if one.pipeline_execution_id == *another), "{pending:?}");
    env.wait_for_reason("not-applied", Reason::AmbiguousRevision).await;
    assert_eq!(env.codepipeline.request_count_for(PUT, "not-applied"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_can_be_edited_at_any_time_and_the_submission_in_doubt_is_finished_first() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--aws-timeout=3s").start();
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    env.create("web", for_revision("web", "a-typo")).await;
    env.wait_for_message("web", "No execution of pipeline web has the source revisions a-typo yet").await;
    let to_execution = json!({ "spec": { "sourceRevisions": null, "pipelineExecutionId": execution } });
    env.patch("web", to_execution).await.unwrap();
    let waiting = env.wait_for_message("web", &format!("Execution {execution} is in stage Build")).await;
    assert_eq!(waiting.status.as_ref().unwrap().observed_generation, Some(2), "{}", message(&waiting));
    env.codepipeline.inject(Fault::hang_after_applying().on(PUT).pipeline("web"));
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    env.wait_for_reason("web", Reason::Submitting).await;
    let to_another = json!({ "spec": { "sourceRevisions": [{ "revisionId": "v2" }], "pipelineExecutionId": null } });
    env.patch("web", to_another).await.unwrap();
    // The events say that the first edit was delivered before the second one is acted on.
    let decision = env.wait_for_message("web", "No execution of pipeline web has the source revisions v2 yet").await;
    let settled = decision.status.unwrap().settled.unwrap();
    assert_eq!(settled.pipeline_execution_id, Some(execution.to_string()));
    assert_eq!(env.accepted_submissions("web")[0].token, approval.token.to_string());
    let later = env.start_execution("web", "v2");
    env.complete_build("web", later, true);
    let approval = env.pending_approvals("web")[0];
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(pinned(&decision), ids(&approval));
    assert_eq!(env.accepted_submissions("web").len(), 2);
    let history: Vec<_> =
        decision.status.unwrap().history.into_iter().map(|earlier| earlier.pipeline_execution_id).collect();
    assert_eq!(history, [Some(execution.to_string())]);
}
