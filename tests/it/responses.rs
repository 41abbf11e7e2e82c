//! Responses that are not valid: endless, too slow, empty or malformed. The operator stops reading them in time, decides
//! nothing from them, reports what it could not read, and its memory stays bounded.

use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use std::time::Duration;
use test_support::{TestEnv, for_execution, message, reason};
use tokio::time::timeout;

/// The limit of the peak memory of a debug build, which allows for a few responses of the maximum size.
const MAX_PEAK_MEMORY: u64 = 160 * 1024 * 1024;

/// The operations of a poll.
const READS: [Operation; 3] =
    [Operation::GetPipelineState, Operation::ListPipelineExecutions, Operation::ListActionExecutions];

/// The peak resident memory of a process.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_responses_decide_nothing_and_do_not_delay_other_decisions() {
    let env = TestEnv::new().await;
    let kinds = [
        ("endless", Fault::endless_after_applying()),
        ("trickle", Fault::trickle_after_applying()),
        ("blank", Fault::blank_after_applying()),
        ("other-json", Fault::other_json_after_applying()),
        ("page", Fault::not_json_after_applying()),
    ];
    let (mut unreadable, mut lost) = (Vec::new(), Vec::new());
    for (kind, fault) in &kinds {
        for operation in READS {
            let pipeline = format!("{kind}-{operation}").to_lowercase();
            let approval = env.open_approval(&pipeline);
            env.codepipeline.inject(fault.clone().on(operation).pipeline(&pipeline).always());
            env.create(&pipeline, for_execution(&pipeline, approval.pipeline_execution_id)).await;
            unreadable.push((pipeline, operation, approval));
        }
        let pipeline = format!("{kind}-submission");
        env.codepipeline.inject(fault.clone().on(Operation::PutApprovalResult).pipeline(&pipeline).always());
        env.open_and_approve(&pipeline).await;
        lost.push(pipeline);
    }
    let operator = env.operator().start();
    for (pipeline, ..) in &unreadable {
        env.wait_for_message(pipeline, "Could not read the pipeline").await;
    }
    for (pipeline, operation, _) in &unreadable {
        let retried = env.codepipeline.wait_for_requests(*operation, pipeline, 3);
        assert!(timeout(Duration::from_secs(60), retried).await.is_ok(), "{pipeline} is not polled again");
    }
    // CodePipeline accepted each of these, which only history shows.
    for pipeline in &lost {
        let decision = env.wait_for_reason(pipeline, Reason::Delivered).await;
        assert!(decision.status.unwrap().decided_by.is_some(), "{pipeline}");
        assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline), 1, "{pipeline}");
    }
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    for (pipeline, ..) in &unreadable {
        let decision = env.decisions.get(pipeline).await.unwrap();
        assert_eq!(reason(&decision), Some(Reason::Waiting), "{pipeline}: {}", message(&decision));
        assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline), 0, "{pipeline}");
    }
    let failed = operator
        .metric(r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="Indeterminate"}"#);
    assert!(failed.await >= 15.0, "{}", operator.log());
    env.codepipeline.clear_faults();
    for (pipeline, _, approval) in &unreadable {
        env.wait_until_delivered(pipeline, pipeline, approval).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_responses_do_not_fill_the_memory() {
    let env = TestEnv::new().await;
    let submission = "submission".to_owned();
    env.codepipeline
        .inject(Fault::endless_after_applying().on(Operation::PutApprovalResult).pipeline(&submission).always());
    env.open_and_approve(&submission).await;
    for operation in READS {
        let pipeline = operation.to_string().to_lowercase();
        let approval = env.open_approval(&pipeline);
        env.codepipeline.inject(Fault::endless_after_applying().on(operation).pipeline(&pipeline).always());
        env.create(&pipeline, for_execution(&pipeline, approval.pipeline_execution_id)).await;
    }
    // The limit on their size ends them before the timeout does.
    let operator = env.operator().arg("--aws-timeout=10s").start();
    for operation in READS {
        env.wait_for_message(&operation.to_string().to_lowercase(), "Could not read the pipeline").await;
    }
    env.wait_for_reason(&submission, Reason::Unconfirmed).await;
    let peak = peak_memory(operator.pid());
    println!("the peak memory is {} MB", peak / 1024 / 1024);
    assert!(peak < MAX_PEAK_MEMORY, "the peak memory is {peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_any_length_fit_into_a_status() {
    let env = TestEnv::new().await;
    let text = "é\u{1b}[31m\u{0}".repeat(2000);
    let put = Operation::PutApprovalResult;
    let refused = Fault::error(400, "InvalidApprovalTokenException", &text);
    let undeclared = Fault::error(400, &format!("{}Exception", "Long".repeat(60)), &text);
    env.codepipeline.inject(refused.on(put).pipeline("refused"));
    env.codepipeline.inject(undeclared.on(put).pipeline("undeclared"));
    // CodePipeline never returns either of these.
    env.codepipeline.inject(Fault::error(400, &"E".repeat(10_000), &text).on(put).pipeline("no-name"));
    env.codepipeline.inject(Fault::error(400, "ValidationException", &text.repeat(5)).on(put).pipeline("too-long"));
    for pipeline in ["refused", "undeclared", "no-name", "too-long"] {
        env.open_and_approve(pipeline).await;
    }
    let _operator = env.operator().start();
    env.wait_for_reason("no-name", Reason::Unconfirmed).await;
    env.wait_for_reason("too-long", Reason::Unconfirmed).await;
    let decision = env.wait_for_reason("refused", Reason::InvalidApprovalToken).await;
    let exception = decision.status.unwrap().exception.unwrap();
    assert!(exception.message.chars().count() == 2048 && text.starts_with(&exception.message));
    for pipeline in ["undeclared", "no-name", "too-long"] {
        env.wait_for_reason(pipeline, Reason::Delivered).await;
        assert_eq!(env.accepted_count(pipeline), 1, "{pipeline}");
    }
}
