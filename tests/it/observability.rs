//! The metrics and the log of a running operator.

use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::faults::Fault;
use serde_json::Value;
use test_support::{TestEnv, spec};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_decisions_calls_and_durations() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    env.open_and_approve("one").await;
    env.open_and_approve("two").await;
    let unknown = env.open_approval("three");
    env.create("unknown", spec("none", &unknown)).await;
    for (name, reason) in
        [("one", Reason::Delivered), ("two", Reason::Delivered), ("unknown", Reason::PipelineNotFound)]
    {
        env.wait_for_reason(name, reason).await;
    }
    let metric = async |name: &str| operator.metric(&format!("approval_operator_{name}")).await;
    // The operator's cache may see a status slightly later than this test.
    let is_cached = async || {
        metric(r#"decisions{reason="Delivered"}"#).await >= 2.0
            && metric(r#"decisions{reason="PipelineNotFound"}"#).await >= 1.0
            && metric("reconciles_in_progress").await < 1.0
    };
    operator.eventually("the metrics show the reasons", is_cached).await;
    assert_eq!(metric(r#"decisions{reason="Unobserved"}"#).await, 0.0);
    assert_eq!(metric(r#"outcomes_total{reason="Delivered"}"#).await, 2.0);
    assert_eq!(metric(r#"aws_requests_total{operation="PutApprovalResult",outcome="OK"}"#).await, 2.0);
    assert_eq!(metric(r#"aws_requests_total{operation="PutApprovalResult",outcome="PipelineNotFound"}"#).await, 1.0);
    assert_eq!(metric(r#"aws_request_duration_seconds_count{operation="PutApprovalResult"}"#).await, 3.0);
    assert_eq!(metric("delivery_duration_seconds_count").await, 2.0);
    assert_eq!(
        metric("reconcile_duration_seconds_count").await,
        3.0,
        "the operator's own status writes start no reconcile"
    );
    assert_eq!(metric("reconcile_errors_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_a_line_for_each_change_of_reason_and_never_contains_a_token() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::throttled().pipeline("slow"));
    env.codepipeline.inject(
        Fault::disconnect_after_applying().on(local_codepipeline::api::Operation::PutApprovalResult).pipeline("cut"),
    );
    let quoted = env.open_approval("quoted");
    let message = format!("Value '{}' at 'token' failed to satisfy constraint", quoted.token);
    env.codepipeline.inject(Fault::error(400, "ValidationException", &message).pipeline("quoted"));
    env.create("quoted", spec("quoted", &quoted)).await;
    let approvals = [env.open_and_approve("slow").await, env.open_and_approve("cut").await, quoted];
    let operator =
        env.operator().arg("--log-format=json").env("RUST_LOG", "trace,aws_smithy_runtime::client=trace").start();
    for name in ["slow", "cut"] {
        env.wait_for_reason(name, Reason::Delivered).await;
    }
    env.wait_for_reason("quoted", Reason::ValidationFailed).await;
    for name in ["slow", "cut", "quoted"] {
        operator.wait_for_log(&format!(r#""decision":"{}/{name}""#, env.namespace)).await;
    }
    let log = operator.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let slow = format!("{}/slow", env.namespace);
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
}
