//! Consecutive executions that reach the same approval. GetPipelineState does not say to which execution an action execution
//! belongs, and it shows the previous result until the next execution arrives. The operator never assigns that result to the
//! wrong execution.

use super::decided_by;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId as ExecutionId, RetryMode};
use serde_json::json;
use test_support::{BOB, TestEnv, for_execution, for_revision, ids, message, pinned, pipeline_with_build, reason};

/// The two bindings, each with a decision that uses it.
fn specs(pipeline: &str, execution: ExecutionId, revision: &str) -> [(&'static str, ApprovalDecisionSpec); 2] {
    [("execution", for_execution(pipeline, execution)), ("revision", for_revision(pipeline, revision))]
}

fn history_lags(env: &TestEnv) {
    env.codepipeline.with_service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.decision = SignedDuration::from_secs(6);
        service.set_behaviour(behaviour);
    });
}

/// An execution that Bob rejected and that was retried, with its old and its new request.
fn retried(env: &TestEnv, pipeline: &str) -> (ExecutionId, OpenApproval, OpenApproval) {
    env.put_pipeline(pipeline_with_build(pipeline));
    let execution = env.start_execution(pipeline, "v1");
    env.complete_build(pipeline, execution, true);
    let old = env.pending_approvals(pipeline)[0];
    env.respond_as_bob(pipeline, &old, ResultStatus::Rejected);
    retry(env, pipeline, execution);
    (execution, old, env.pending_approvals(pipeline)[0])
}

fn retry(env: &TestEnv, pipeline: &str, execution: ExecutionId) {
    let retried = env
        .codepipeline
        .with_service(|service, now| service.retry_stage(now, pipeline, "Prod", execution, RetryMode::FailedActions));
    retried.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_does_not_inherit_the_result_of_the_previous_execution() {
    for lag in [false, true] {
        let env = TestEnv::new().await;
        if lag {
            history_lags(&env);
        }
        let _operator = env.operator().start();
        for status in [ResultStatus::Approved, ResultStatus::Rejected] {
            for binding in [0, 1] {
                let pipeline = format!("{}-{binding}", status.as_str());
                let pipeline = pipeline.as_str();
                env.put_pipeline(pipeline_with_build(pipeline));
                let first = env.start_execution(pipeline, "v1");
                env.complete_build(pipeline, first, true);
                let previous = env.pending_approvals(pipeline)[0];
                env.respond_as_bob(pipeline, &previous, status);
                let second = env.start_execution(pipeline, "v2");
                let (_, spec) = specs(pipeline, second, "v2")[binding].clone();
                env.create(&pipeline.to_lowercase(), spec).await;
            }
        }
        for status in [ResultStatus::Approved, ResultStatus::Rejected] {
            for binding in [0, 1] {
                let pipeline = format!("{}-{binding}", status.as_str());
                let (pipeline, name) = (pipeline.as_str(), pipeline.to_lowercase());
                let waiting = env.wait_for_message(&name, "is in stage Build (InProgress)").await;
                let second = message(&waiting).split(' ').nth(1).unwrap();
                assert_eq!(pinned(&waiting), (Some(second.to_owned()), None), "{name}");
                env.wait_for_polls(pipeline, 2).await;
                assert!(env.accepted_submissions(pipeline).is_empty(), "{name}");
                env.complete_build(pipeline, second.parse().unwrap(), true);
                let approval = env.pending_approvals(pipeline)[0];
                let delivered = env.wait_until_delivered(&name, pipeline, &approval).await;
                assert_eq!(decided_by(&delivered), None, "{name}");
                env.wait_for_events(&name, &["Waiting", "Delivered"]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_the_next_execution_does_not_respond_to_the_pending_one() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    for mode in [ExecutionMode::Superseded, ExecutionMode::Queued] {
        for binding in [0, 1] {
            let pipeline = format!("{mode:?}-{binding}");
            let (pipeline, name) = (pipeline.as_str(), pipeline.to_lowercase());
            env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
            let first = env.start_execution(pipeline, "v1");
            env.complete_build(pipeline, first, true);
            let previous = env.pending_approvals(pipeline)[0];
            let second = env.start_execution(pipeline, "v2");
            let (_, spec) = specs(pipeline, second, "v2")[binding].clone();
            env.create(&name, spec).await;
            env.wait_for_message(&name, &format!("Execution {second} is in stage Build (InProgress)")).await;
            env.wait_for_polls(pipeline, 2).await;
            assert_eq!(env.pending_approvals(pipeline), [previous], "{name}");
            env.complete_build(pipeline, second, true);
            env.wait_for_message(&name, &format!("Execution {second} is waiting to enter stage Prod")).await;
            env.wait_for_polls(pipeline, 2).await;
            assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline), 0, "{name}");
            env.respond_as_bob(pipeline, &previous, ResultStatus::Approved);
            let own = env.pending_approvals(pipeline)[0];
            assert_eq!(own.pipeline_execution_id, second, "{name}");
            env.wait_until_delivered(&name, pipeline, &own).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_uses_up_a_decision_unless_it_says_that_earlier_responses_do_not_count() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    for lag in [false, true] {
        if lag {
            history_lags(&env);
        }
        for binding in [0, 1] {
            let pipeline = format!("retried-{lag}-{binding}");
            let (execution, old, new) = retried(&env, &pipeline);
            assert_ne!(old.token, new.token);
            let (_, spec) = specs(&pipeline, execution, "v1")[binding].clone();
            env.create(&pipeline, spec).await;
            let used_up = env.wait_for_reason(&pipeline, Reason::ApprovalAlreadyCompleted).await;
            assert_eq!((decided_by(&used_up), pinned(&used_up)), (Some(BOB), ids(&old)), "{pipeline}");
            assert!(message(&used_up).contains("spec.ignoreResponsesBefore"), "{pipeline}: {}", message(&used_up));
            let requested_at =
                json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": "now" } } });
            env.patch(&pipeline, requested_at).await.unwrap();
            let is_handled = |decision: &ApprovalDecision| {
                let status = decision.status.as_ref();
                reason(decision) == Some(Reason::ApprovalAlreadyCompleted)
                    && status.is_some_and(|status| status.last_handled_requested_at.as_deref() == Some("now"))
            };
            env.wait_until(&pipeline, "used up still", is_handled).await;
            assert_eq!(env.pending_approvals(&pipeline), [new], "{pipeline}");
            let ignoring = json!({ "spec": { "ignoreResponsesBefore": Timestamp::now().to_string() } });
            env.patch(&pipeline, ignoring).await.unwrap();
            let delivered = env.wait_until_delivered(&pipeline, &pipeline, &new).await;
            assert_eq!((reason(&delivered), decided_by(&delivered)), (Some(Reason::Delivered), None), "{pipeline}");
        }
    }
}
