//! `spec.pipelineExecutionId`: the decision follows the execution with this id, whatever other executions do.

use super::{decided_by, exception};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, PipelineExecutionId, Reason};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation, PutApprovalResultInput};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{
    Behaviour, ExecutionMode, Lags, PipelineDefinition, PipelineExecutionId as ExecutionId, RetryMode, StopMode,
};
use test_support::{BOB, TestEnv, condition, for_execution, message, pinned, pipeline_with_build, ready, reason};

const MODES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];

/// Ends an execution of a pipeline.
type End<'a> = &'a dyn Fn(&str, ExecutionId);

fn rejecting(mut spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
    spec.result.status = ApprovalStatus::Rejected;
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_an_execution_with_a_pending_approval_is_delivered_at_once() {
    let env = TestEnv::new().await;
    // The operator does not wait for a poll.
    let _operator = env.operator().arg("--poll-interval=1h").start();
    for (pipeline, mode) in MODES {
        env.put_pipeline(PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap().mode(mode));
        let approval = env.open_approval(pipeline);
        env.create(pipeline, for_execution(pipeline, approval.pipeline_execution_id)).await;
        let decision = env.wait_until_delivered(pipeline, pipeline, &approval).await;
        assert!(decision.status.unwrap().approved_at.is_some(), "{pipeline}");
        // The decision never waited.
        env.wait_for_events(pipeline, &["Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_decision_says_where_its_execution_is_and_is_delivered_when_it_reaches_the_approval() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    for (pipeline, mode) in MODES {
        env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        let execution = env.start_execution(pipeline, "v1");
        env.create(pipeline, for_execution(pipeline, execution)).await;
        let waiting = env.wait_for_reason(pipeline, Reason::Waiting).await;
        let expected = format!("Execution {execution} is in stage Build (InProgress). ");
        assert!(message(&waiting).starts_with(&expected), "{pipeline}: {}", message(&waiting));
        assert_eq!(ready(&waiting), Some(ConditionStatus::Unknown), "{pipeline}");
        assert!(condition(&waiting, "Reconciling").is_some(), "{pipeline}");
        env.wait_for_polls(pipeline, 2).await;
        assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline), 0, "{pipeline}");
        env.complete_build(pipeline, execution, true);
        let pending = env.pending_approvals(pipeline);
        env.wait_until_delivered(pipeline, pipeline, &pending[0]).await;
        env.wait_for_events(pipeline, &["Waiting", "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_realistic_lags_a_decision_is_delivered_when_the_token_becomes_visible() {
    let env = TestEnv::new().await;
    let behaviour = Behaviour { lags: Lags::realistic(), ..Behaviour::default() };
    env.codepipeline.with_service(|service, _| service.set_behaviour(behaviour));
    let _operator = env.operator().start();
    let mut executions = Vec::new();
    for (pipeline, mode) in MODES {
        env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        let execution = env.start_execution(pipeline, "v1");
        env.create(pipeline, for_execution(pipeline, execution)).await;
        env.wait_for_message(pipeline, "is in stage Build").await;
        env.complete_build(pipeline, execution, true);
        executions.push(execution);
    }
    for ((pipeline, _), execution) in MODES.into_iter().zip(executions) {
        env.wait_for_message(
            pipeline,
            &format!("Execution {execution} has reached the approval, but its token is not visible yet"),
        )
        .await;
        let approval = env.pending_approvals(pipeline)[0];
        env.wait_until_delivered(pipeline, pipeline, &approval).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_ends_when_its_execution_ends_without_a_response() {
    let env = TestEnv::new().await;
    let stop = |pipeline: &str, execution: ExecutionId| {
        let mode = StopMode::Abandon;
        env.codepipeline
            .with_service(|service, now| service.stop_execution(now, pipeline, execution, mode, "enough").unwrap());
    };
    // A newer execution that waits to enter the stage supersedes the one that waits there already.
    let supersede = |pipeline: &str, execution: ExecutionId| {
        env.complete_build(pipeline, execution, true);
        let next = env.start_execution(pipeline, "v3");
        env.complete_build(pipeline, next, true);
    };
    let rows: [(&str, &str, End<'_>); 6] = [
        ("failed", "Failed", &|pipeline, execution| env.complete_build(pipeline, execution, false)),
        ("stopped", "Stopped", &stop),
        ("stopped-at-the-approval", "Stopped", &|pipeline, execution| {
            env.complete_build(pipeline, execution, true);
            stop(pipeline, execution);
        }),
        ("edited", "Failed", &|pipeline, execution| {
            env.complete_build(pipeline, execution, true);
            env.codepipeline.with_service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
        }),
        ("edited-on-its-way", "Failed", &|pipeline, execution| {
            env.codepipeline.with_service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
            env.complete_build(pipeline, execution, true);
        }),
        ("superseded", "Superseded", &supersede),
    ];
    let _operator = env.operator().start();
    let mut executions = Vec::new();
    for (pipeline, ..) in &rows {
        env.put_pipeline(pipeline_with_build(pipeline));
        if *pipeline == "superseded" {
            let first = env.start_execution(pipeline, "v1");
            env.complete_build(pipeline, first, true);
        }
        let execution = env.start_execution(pipeline, "v2");
        env.create(pipeline, for_execution(pipeline, execution)).await;
        executions.push(execution);
    }
    for ((pipeline, _, end), execution) in rows.iter().zip(&executions) {
        env.wait_for_message(pipeline, "is in stage Build").await;
        // The operator does not see the steps in between.
        let fault = Fault::access_denied().on(Operation::GetPipelineState);
        env.codepipeline.inject(fault.pipeline(*pipeline).always());
        end(pipeline, *execution);
        env.create(&format!("{pipeline}-afterwards"), for_execution(pipeline, *execution)).await;
        env.codepipeline.clear_faults_for(pipeline);
    }
    for ((pipeline, how, _), execution) in rows.iter().zip(&executions) {
        for name in [(*pipeline).to_owned(), format!("{pipeline}-afterwards")] {
            let decision = env.wait_for_reason(&name, Reason::ExecutionEnded).await;
            let expected = match *how {
                "Superseded" => format!("Execution {execution} was superseded before its approval received a response"),
                how => format!("Execution {execution} ended ({how}) before its approval received a response"),
            };
            assert!(message(&decision).starts_with(&expected), "{name}: {}", message(&decision));
            let expected = if *how == "Superseded" { "Stalled" } else { "Reconciling" };
            assert!(condition(&decision, expected).is_some(), "{name}: only a failed or stopped stage can be retried");
            assert_eq!(pinned(&decision).0, Some(execution.to_string()), "{name}");
        }
        assert!(env.accepted_submissions(pipeline).is_empty(), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_whose_approval_timed_out_is_delivered_to_the_retry() {
    let env = TestEnv::new().await;
    env.put_pipeline(PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap());
    let execution = env.codepipeline.with_service(|service, now| {
        let then = now - SignedDuration::from_hours(8 * 24);
        service.open_approval(then, ("web", "Prod", "Approve"), &[]).unwrap().pipeline_execution_id
    });
    env.create("web", for_execution("web", execution)).await;
    let _operator = env.operator().start();
    let decision = env.wait_for_reason("web", Reason::ExecutionEnded).await;
    assert!(message(&decision).contains("ended (Failed)"), "{}", message(&decision));
    env.codepipeline.with_service(|service, now| {
        service.retry_stage(now, "web", "Prod", execution, RetryMode::FailedActions).unwrap();
    });
    let approval = env.pending_approvals("web")[0];
    env.wait_until_delivered("web", "web", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_of_another_user_is_reported_from_history_and_nothing_is_submitted() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let rows = [
        ("approved", ResultStatus::Approved, Reason::AlreadyDecided, Reason::ApprovalAlreadyCompleted),
        ("rejected", ResultStatus::Rejected, Reason::ApprovalAlreadyCompleted, Reason::AlreadyDecided),
    ];
    for (pipeline, status, ..) in rows {
        env.put_pipeline(pipeline_with_build(pipeline));
        let execution = env.start_execution(pipeline, "v1");
        let [before, rejection] = ["before", "rejection"].map(|name| format!("{pipeline}-{name}"));
        env.create(&before, for_execution(pipeline, execution)).await;
        env.wait_for_reason(&before, Reason::Waiting).await;
        // All in one step, so that no poll of the operator sees the approval pending.
        env.codepipeline.with_service(|service, now| {
            service.complete_action(now, pipeline, execution, ("Build", "Compile"), true).unwrap();
            let token = service.pending_approvals(now, pipeline).unwrap()[0].approval.token;
            let input = PutApprovalResultInput::new(pipeline, "Prod", "Approve", token, status, "bob's summary");
            service.put_approval_result(now, BOB, &input).unwrap();
        });
        env.create(&rejection, rejecting(for_execution(pipeline, execution))).await;
    }
    for (pipeline, _, approving, rejecting) in rows {
        for (name, expected) in [("before", approving), ("rejection", rejecting)] {
            let name = format!("{pipeline}-{name}");
            let decision = env.wait_for_reason(&name, expected).await;
            assert_eq!((decided_by(&decision), exception(&decision)), (Some(BOB), None), "{name}");
            assert!(message(&decision).contains(&format!("{pipeline} by {BOB}")), "{name}: {}", message(&decision));
        }
    }
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_unknown_for_a_minute_is_not_found_until_an_edit_corrects_it() {
    let env = TestEnv::new().await;
    let approval = env.open_approval("web");
    let mut typo = for_execution("web", approval.pipeline_execution_id);
    typo.pipeline_execution_id = Some(PipelineExecutionId("00000000-0000-4000-8000-000000000000".to_owned()));
    env.create("web", typo).await;
    let started_at = Timestamp::now();
    let operator = env.operator().start();
    let waiting = env.wait_for_reason("web", Reason::Waiting).await;
    assert!(
        message(&waiting).starts_with(
            "CodePipeline does not know execution 00000000-0000-4000-8000-000000000000 of pipeline web yet"
        ),
        "{}",
        message(&waiting)
    );
    let decision = env.wait_for_reason("web", Reason::PipelineExecutionNotFound).await;
    assert!(Timestamp::now().duration_since(started_at) >= SignedDuration::from_mins(1));
    assert_eq!(exception(&decision), Some("PipelineExecutionNotFoundException"));
    let reads = async |outcome| {
        let labels = format!(r#"{{operation="GetPipelineExecution",outcome="{outcome}"}}"#);
        operator.metric(&format!("approval_operator_aws_requests_total{labels}")).await
    };
    assert!(reads("PipelineExecutionNotFound").await >= 60.0, "{}", operator.log());
    assert_eq!(reads("ServiceUnavailable").await, 0.0);
    let exception_message = decision.status.as_ref().unwrap().exception.as_ref().unwrap().message.clone();
    assert!(!exception_message.is_empty() && message(&decision).contains(&exception_message), "{}", message(&decision));
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
    let corrected = serde_json::json!({ "spec": { "pipelineExecutionId": approval.pipeline_execution_id } });
    env.patch("web", corrected).await.unwrap();
    let delivered = env.wait_until_delivered("web", "web", &approval).await;
    assert_eq!(exception(&delivered), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_the_lists_do_not_show_yet_is_found_later() {
    let env = TestEnv::new().await;
    env.codepipeline.with_service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.start = SignedDuration::from_secs(4);
        service.set_behaviour(behaviour);
    });
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    env.create("web", for_execution("web", execution)).await;
    let _operator = env.operator().start();
    env.wait_for_message("web", "CodePipeline does not know execution ").await;
    let found = env.wait_for_message("web", &format!("Execution {execution} is in stage Build")).await;
    assert_eq!((reason(&found), exception(&found)), (Some(Reason::Waiting), None));
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    env.wait_until_delivered("web", "web", &approval).await;
}
