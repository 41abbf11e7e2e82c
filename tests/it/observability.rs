//! What people and Prometheus see of a running operator.

use crate::support::{Case, spec};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::faults::Fault;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_decisions_calls_and_times() {
    let case = Case::new().await;
    let operator = case.operator().start();
    operator.until_ready().await;
    case.approve("one").await;
    case.approve("two").await;
    let unknown = case.open("three");
    case.create("unknown", spec("none", &unknown)).await;
    for (name, reason) in
        [("one", Reason::Delivered), ("two", Reason::Delivered), ("unknown", Reason::PipelineNotFound)]
    {
        case.until_reason(name, reason).await;
    }
    let metric = async |name: &str| operator.metric(&format!("approval_operator_{name}")).await;
    // The reflector hears of a status a moment after this test does.
    let is_seen = async || {
        metric(r#"decisions{reason="Delivered"}"#).await >= 2.0
            && metric(r#"decisions{reason="PipelineNotFound"}"#).await >= 1.0
            && metric("reconciles_in_progress").await < 1.0
    };
    operator.eventually("the metrics show them", is_seen).await;
    assert_eq!(metric(r#"decisions{reason="Unobserved"}"#).await, 0.0);
    assert_eq!(metric(r#"outcomes_total{reason="Delivered"}"#).await, 2.0);
    assert_eq!(metric(r#"aws_requests_total{operation="PutApprovalResult",outcome="OK"}"#).await, 2.0);
    assert_eq!(metric(r#"aws_requests_total{operation="PutApprovalResult",outcome="PipelineNotFound"}"#).await, 1.0);
    assert_eq!(metric(r#"aws_request_duration_seconds_count{operation="PutApprovalResult"}"#).await, 3.0);
    assert_eq!(metric("delivery_duration_seconds_count").await, 2.0);
    assert_eq!(metric("reconcile_duration_seconds_count").await, 3.0, "own status writes start no round");
    assert_eq!(metric("reconcile_errors_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_a_line_for_each_change_and_never_a_token() {
    let case = Case::new().await;
    case.service.fault(Fault::throttled().pipeline("slow"));
    case.service
        .fault(Fault::cut_after_applying().on(local_codepipeline::api::Operation::PutApprovalResult).pipeline("cut"));
    let quoted = case.open("quoted");
    let words = format!("Value '{}' at 'token' failed to satisfy constraint", quoted.token);
    case.service.fault(Fault::error(400, "ValidationException", &words).pipeline("quoted"));
    case.create("quoted", spec("quoted", &quoted)).await;
    let approvals = [case.approve("slow").await, case.approve("cut").await, quoted];
    let operator =
        case.operator().argument("--log-format=json").set("RUST_LOG", "trace,aws_smithy_runtime::client=trace").start();
    for name in ["slow", "cut"] {
        case.until_reason(name, Reason::Delivered).await;
    }
    case.until_reason("quoted", Reason::ValidationFailed).await;
    for name in ["slow", "cut", "quoted"] {
        operator.until_log(&format!(r#""decision":"{}/{name}""#, case.namespace)).await;
    }
    let log = operator.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let slow = format!("{}/slow", case.namespace);
    let changes: Vec<_> = lines.iter().filter(|line| line["decision"] == slow.as_str()).collect();
    let reasons: Vec<_> = changes.iter().filter_map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons, ["Throttled", "Delivered"]);
    for change in changes {
        assert_eq!(
            (&change["pipeline"], &change["stage"], &change["action"]),
            (&"slow".into(), &"Prod".into(), &"Approve".into())
        );
        assert!(change["aws_request_id"].is_string(), "{change}");
    }
    for approval in approvals {
        let token = approval.token.to_string();
        let leak =
            log.lines().find_map(|line| Some(line.split_once(&token)?.0.chars().rev().take(300).collect::<String>()));
        assert_eq!(leak.map(|text| text.chars().rev().collect::<String>()), None, "a token is in the log");
    }
    let first = lines.iter().find(|line| !line["since_start_ms"].is_null()).unwrap();
    println!("first PutApprovalResult after {} ms", first["since_start_ms"]);
}
