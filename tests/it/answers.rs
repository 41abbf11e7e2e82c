//! Answers that are none, to the real program: it gives them up in time, acts on nothing of them, says what it could not
//! read, and stays as small as it was.

use crate::support::{Case, for_run, message, reason};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use std::time::Duration;
use tokio::time::timeout;

/// The most memory that the program may have come to, built for debugging: a few answers as long as they can be.
const PEAK: u64 = 160 * 1024 * 1024;

/// What a look at a pipeline takes.
const READS: [Operation; 3] =
    [Operation::GetPipelineState, Operation::ListPipelineExecutions, Operation::ListActionExecutions];

/// The most that a process has ever had resident.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_none_decide_nothing_and_hold_up_nobody() {
    let case = Case::new().await;
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
            let approval = case.open(&pipeline);
            case.service.fault(fault.clone().on(operation).pipeline(&pipeline).always());
            case.create(&pipeline, for_run(&pipeline, approval.pipeline_execution_id)).await;
            unreadable.push((pipeline, operation, approval));
        }
        let pipeline = format!("{kind}-answer");
        case.service.fault(fault.clone().on(Operation::PutApprovalResult).pipeline(&pipeline).always());
        case.approve(&pipeline).await;
        lost.push(pipeline);
    }
    let operator = case.operator().start();
    for (pipeline, ..) in &unreadable {
        case.until_message(pipeline, "could not be read").await;
    }
    for (pipeline, operation, _) in &unreadable {
        let again = case.service.wait_for_requests(*operation, pipeline, 3);
        assert!(timeout(Duration::from_secs(60), again).await.is_ok(), "{pipeline} is not looked at again");
    }
    // Each was taken, which only the record tells.
    for pipeline in &lost {
        let decision = case.until_reason(pipeline, Reason::Delivered).await;
        assert!(decision.status.unwrap().decided_by.is_some(), "{pipeline}");
        assert_eq!(case.service.requests_of(Operation::PutApprovalResult, pipeline), 1, "{pipeline}");
    }
    case.approve("web").await;
    case.until_reason("web", Reason::Delivered).await;
    for (pipeline, ..) in &unreadable {
        let decision = case.decisions.get(pipeline).await.unwrap();
        assert_eq!(reason(&decision), Some(Reason::Waiting), "{pipeline}: {}", message(&decision));
        assert_eq!(case.service.requests_of(Operation::PutApprovalResult, pipeline), 0, "{pipeline}");
    }
    let failed =
        operator.metric(r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="Lost"}"#);
    assert!(failed.await >= 15.0, "{}", operator.log());
    case.service.clear_faults();
    for (pipeline, _, approval) in &unreadable {
        case.until_delivered(pipeline, pipeline, approval).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_an_end_take_no_memory() {
    let case = Case::new().await;
    let answer = "answer".to_owned();
    case.service.fault(Fault::endless_after_applying().on(Operation::PutApprovalResult).pipeline(&answer).always());
    case.approve(&answer).await;
    for operation in READS {
        let pipeline = operation.to_string().to_lowercase();
        let approval = case.open(&pipeline);
        case.service.fault(Fault::endless_after_applying().on(operation).pipeline(&pipeline).always());
        case.create(&pipeline, for_run(&pipeline, approval.pipeline_execution_id)).await;
    }
    // Nothing but their length ends them sooner.
    let operator = case.operator().argument("--aws-timeout=10s").start();
    for operation in READS {
        case.until_message(&operation.to_string().to_lowercase(), "could not be read").await;
    }
    case.until_reason(&answer, Reason::Unconfirmed).await;
    let peak = peak(operator.pid());
    println!("at most {} MB were resident", peak / 1024 / 1024);
    assert!(peak < PEAK, "{peak} bytes were resident");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_any_length_fit_into_a_status() {
    let case = Case::new().await;
    let words = "é\u{1b}[31m\u{0}".repeat(2000);
    let put = Operation::PutApprovalResult;
    let refused = Fault::error(400, "InvalidApprovalTokenException", &words);
    let undeclared = Fault::error(400, &format!("{}Exception", "Long".repeat(60)), &words);
    case.service.fault(refused.on(put).pipeline("refused"));
    case.service.fault(undeclared.on(put).pipeline("undeclared"));
    // Neither is any answer that the service gives.
    case.service.fault(Fault::error(400, &"E".repeat(10_000), &words).on(put).pipeline("no-name"));
    case.service.fault(Fault::error(400, "ValidationException", &words.repeat(5)).on(put).pipeline("too-long"));
    for pipeline in ["refused", "undeclared", "no-name", "too-long"] {
        case.approve(pipeline).await;
    }
    let _operator = case.operator().start();
    let decision = case.until_reason("refused", Reason::InvalidApprovalToken).await;
    let exception = decision.status.unwrap().exception.unwrap();
    assert!(exception.message.chars().count() == 2048 && words.starts_with(&exception.message));
    case.until_reason("no-name", Reason::Unconfirmed).await;
    case.until_reason("too-long", Reason::Unconfirmed).await;
    for pipeline in ["undeclared", "no-name", "too-long"] {
        case.until_reason(pipeline, Reason::Delivered).await;
        assert_eq!(case.accepted(pipeline), 1, "{pipeline}");
    }
}
