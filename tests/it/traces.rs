//! Traces that a collector receives: reconciles, polls and calls to CodePipeline with their AWS request ids, and never a token.

use approval_operator::api::v1alpha1::Reason;
use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode};
use prost::Message;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_support::{Operator, TestEnv, for_execution, pipeline_with_build, spec};

/// An OTLP collector that keeps the requests as it received them.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Starts the collector and returns its URL.
    async fn start(&self) -> String {
        let requests = self.requests.clone();
        let receive = post(async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["x-tenant"], "releases");
            requests.lock().unwrap().push(body);
        });
        serve(Router::new().route("/v1/traces", receive)).await
    }

    fn resources(&self) -> Vec<ResourceSpans> {
        let requests = self.requests.lock().unwrap();
        let decoded = requests.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        decoded.flat_map(|request| request.resource_spans).collect()
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a str {
    text(&span.attributes, name)
}

/// The value of a text attribute; empty if there is none.
fn text<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
    use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
    let attribute = attributes.iter().find(|attribute| attribute.key == name);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(StringValue(text)) => text,
        _ => "",
    }
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

/// The request ids of a decision in the log.
fn logged(operator: &Operator, decision: &str) -> Vec<String> {
    let log = operator.log();
    // The last line may be incomplete.
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["decision"] == decision)
        .filter_map(|line| Some(line["aws_request_id"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_each_reconcile_and_call_with_its_request_id_and_no_token() {
    let (env, collector) = (TestEnv::new().await, Collector::default());
    let denied = env.open_approval("denied");
    let quoting = format!("User is not authorized to respond to {}", denied.token);
    let put = Operation::PutApprovalResult;
    env.codepipeline.inject(Fault::error(400, "AccessDeniedException", &quoting).on(put).pipeline("denied"));
    let mut operator = env
        .operator()
        .arg("--log-format=json")
        .arg(&format!("--otlp-endpoint={}", collector.start().await))
        .env("RUST_LOG", "trace")
        // Before the shutdown, only full batches are exported.
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=releases")
        .env("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=one")
        .start();
    let web = env.open_and_approve("web").await;
    env.create("denied", spec("denied", &denied)).await;
    env.put_pipeline(pipeline_with_build("shop"));
    let execution = env.start_execution("shop", "rev");
    env.create("shop", for_execution("shop", execution)).await;
    env.wait_for_reason("shop", Reason::Waiting).await;
    env.complete_build("shop", execution, true);
    for name in ["web", "denied", "shop"] {
        env.wait_for_reason(name, Reason::Delivered).await;
    }
    // The operator logs a reason after it has written the status.
    let decision = |name: &str| format!("{}/{name}", env.namespace);
    let rows = [("web", vec!["OK"]), ("denied", vec!["AccessDenied", "OK"]), ("shop", vec!["OK"])];
    for (name, outcomes) in &rows {
        let is_logged = async || logged(&operator, &decision(name)).len() == outcomes.len();
        operator.eventually(&format!("{name} is in the log"), is_logged).await;
    }
    operator.signal("TERM");
    assert!(operator.wait_for_exit().await.success());

    let resources = collector.resources();
    for resource in &resources {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert_eq!((text(attributes, "service.name"), text(attributes, "k8s.pod.name")), ("approval-operator", "one"));
    }
    let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
    let calls_of = |operation: &'static str| {
        spans.iter().filter(move |span| span.name.strip_prefix("CodePipeline/") == Some(operation))
    };
    let parent = |span: &Span| spans.iter().find(|other| other.span_id == span.parent_span_id).unwrap();
    for (name, outcomes) in rows {
        let calls = calls_of("PutApprovalResult").filter(|span| attribute(parent(span), "decision") == name);
        let calls: Vec<_> = calls.collect();
        let found: Vec<_> = calls.iter().map(|span| attribute(span, "outcome")).collect();
        assert_eq!(found, outcomes, "{name}");
        let ids: Vec<_> = calls.iter().map(|span| attribute(span, "aws.request_id")).collect();
        assert_eq!(ids, logged(&operator, &decision(name)), "{name}");
        for call in &calls {
            assert_eq!(call.kind, i32::from(SpanKind::Client));
            assert_eq!(is_error(call), attribute(call, "outcome") != "OK");
            assert_eq!(attribute(call, "rpc.method"), "PutApprovalResult");
            assert_eq!(attribute(parent(call), "k8s.namespace.name"), env.namespace);
        }
        let reason = attribute(parent(calls.last().unwrap()), "reason");
        assert_eq!(reason, "Delivered", "{name}");
    }
    for call in calls_of("GetPipelineState").chain(calls_of("ListActionExecutions")) {
        assert_eq!((parent(call).name.as_str(), attribute(parent(call), "pipeline")), ("poll", "shop"));
        assert_ne!(attribute(call, "aws.request_id"), "");
    }
    let names: std::collections::BTreeSet<_> = spans.iter().map(|span| span.name.split('/').next().unwrap()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["CodePipeline", "poll", "reconcile"]);
    let shop = env.decisions.get("shop").await.unwrap().status.unwrap().submission.unwrap().token.0;
    for token in [web.token.to_string(), denied.token.to_string(), shop] {
        for body in collector.requests.lock().unwrap().iter() {
            assert!(!body.windows(token.len()).any(|bytes| bytes == token.as_bytes()), "a token is in the traces");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_respond_or_does_not_exist_delays_nothing() {
    let silent = Router::new().route("/v1/traces", post(async || std::future::pending::<()>().await));
    for url in [serve(silent).await, "http://127.0.0.1:1".to_owned()] {
        let env = TestEnv::new().await;
        let mut operator = env.operator().arg(&format!("--otlp-endpoint={url}")).start();
        env.open_and_approve("web").await;
        env.wait_for_reason("web", Reason::Delivered).await;
        operator.signal("TERM");
        let started_at = Instant::now();
        assert!(operator.wait_for_exit().await.success());
        // Well within the 30 s that Kubernetes gives a pod.
        assert!(started_at.elapsed() < Duration::from_secs(20), "{url}: {:?}", started_at.elapsed());
        let log = operator.log();
        assert!(log.contains("--otlp-endpoint"), "{url}: {log}");
    }
}
