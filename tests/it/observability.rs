//! The metrics and the log of a running operator.

use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, Reason, UserTime};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::faults::Fault;
use serde_json::Value;
use test_support::{Operator, TestEnv, for_revision, pipeline_with_build, spec};

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
    assert_eq!(metric(concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#)).await, 1.0);
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
async fn the_times_of_decisions_have_their_namespace() {
    let (one, other) = (TestEnv::new().await, TestEnv::new().await);
    let operator = one.operator().namespace(&other.namespace).start();
    for env in [&one, &other] {
        env.create("stalled", spec("none", &env.open_approval("any"))).await;
        env.put_pipeline(pipeline_with_build("later"));
        let expires = UserTime((Timestamp::now() + SignedDuration::from_hours(1)).to_string());
        let waiting = ApprovalDecisionSpec { not_after: Some(expires), ..for_revision("later", "r1") };
        env.create("waiting", waiting).await;
        env.wait_for_reason("stalled", Reason::PipelineNotFound).await;
        let time = async |name: &str, reason: &str| {
            let labels = format!(r#"decision_namespace="{}"{reason}"#, env.namespace);
            operator.metric(&format!("approval_operator_decision_{name}_timestamp_seconds{{{labels}}}")).await
        };
        let are_counted =
            async || time("stalled", r#",reason="PipelineNotFound""#).await > 0.0 && time("expiry", "").await > 0.0;
        operator.eventually("the metrics show the times of the namespace", are_counted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_once_on_whose_behalf_the_operator_calls_aws() {
    let env = TestEnv::new().await;
    let operator = env.operator().arg("--log-format=json").start();
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    let log = operator.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let identities: Vec<_> = lines.filter(|line| line["caller"].is_string()).collect();
    let [identity] = identities.as_slice() else { panic!("{log}") };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&identity["level"], &identity["version"]), (&"INFO".into(), &version.into()));
    let (account, region) = (identity["account"].as_str().unwrap(), identity["region"].as_str().unwrap());
    let caller = identity["caller"].as_str().unwrap();
    assert!(caller.starts_with("arn:aws:") && caller.contains(account) && !region.is_empty(), "{identity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_that_compete_for_decisions_name_each_other() {
    let env = TestEnv::new().await;
    let one = env.operator().replica("one", &env.namespace).start();
    let other = env.operator().replica("other", &env.namespace).arg("--leader-elect-lease=other").start();
    one.wait_until_ready().await;
    other.wait_until_ready().await;
    let names = ["approval-operator", "other"].map(|lease| format!("approval-operator/{}/{lease}", env.namespace));
    let is_warned = |operator: &Operator, name: &str| {
        let log = operator.log();
        log.lines().any(|line| line.contains("another operator acts on the same decisions") && line.contains(name))
    };
    let mut count = 0;
    let compete = async || {
        count += 1;
        env.open_and_approve(&format!("p{count}")).await;
        env.wait_for_reason(&format!("p{count}"), Reason::Delivered).await;
        is_warned(&one, &format!("other={}", names[1])) || is_warned(&other, &format!("other={}", names[0]))
    };
    one.eventually("one of two operators is warned of the other", compete).await;
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
    let level = |reason: &str| lines.iter().find(|line| line["reason"] == reason).map(|line| &line["level"]);
    assert_eq!(level("Delivered"), Some(&"INFO".into()));
    assert_eq!(level("Throttled"), Some(&"INFO".into()), "time resolves it");
    assert_eq!(level("ValidationFailed"), Some(&"WARN".into()), "someone has to edit the decision");
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
