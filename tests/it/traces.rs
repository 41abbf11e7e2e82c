//! What a collector of traces gets: the rounds, looks and calls to CodePipeline, with the ids under which AWS finds these, and
//! never a token.

use crate::support::{Case, Operator, for_run, spec, with_build};
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

/// Takes traces over OTLP, and keeps them as they came.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Starts it, and tells where it is.
    async fn start(&self) -> String {
        let requests = self.requests.clone();
        let take = post(async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["x-tenant"], "releases");
            requests.lock().unwrap().push(body);
        });
        serve(Router::new().route("/v1/traces", take)).await
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
    words(&span.attributes, name)
}

/// An attribute in words; empty where it is not there.
fn words<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
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

/// The request ids that the log has of a decision.
fn logged(operator: &Operator, decision: &str) -> Vec<String> {
    let log = operator.log();
    // The last may be half written.
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["decision"] == decision)
        .filter_map(|line| Some(line["aws_request_id"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_each_round_and_call_with_the_id_of_the_request_and_no_token() {
    let (case, collector) = (Case::new().await, Collector::default());
    let denied = case.open("denied");
    let quoting = format!("User is not authorized to answer {}", denied.token);
    let put = Operation::PutApprovalResult;
    case.service.fault(Fault::error(400, "AccessDeniedException", &quoting).on(put).pipeline("denied"));
    let mut operator = case
        .operator()
        .argument("--log-format=json")
        .argument(&format!("--otlp-endpoint={}", collector.start().await))
        .set("RUST_LOG", "trace")
        // Until the end nothing is sent but what fills a batch.
        .set("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=releases")
        .set("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=one")
        .start();
    let web = case.approve("web").await;
    case.create("denied", spec("denied", &denied)).await;
    case.put(with_build("shop"));
    let run = case.start("shop", "rev");
    case.create("shop", for_run("shop", run)).await;
    case.until_reason("shop", Reason::Waiting).await;
    case.built("shop", run, true);
    for name in ["web", "denied", "shop"] {
        case.until_reason(name, Reason::Delivered).await;
    }
    // The log hears of a status a moment after this test does.
    let decision = |name: &str| format!("{}/{name}", case.namespace);
    let rows = [("web", vec!["OK"]), ("denied", vec!["AccessDenied", "OK"]), ("shop", vec!["OK"])];
    for (name, outcomes) in &rows {
        let is_logged = async || logged(&operator, &decision(name)).len() == outcomes.len();
        operator.eventually(&format!("{name} is in the log"), is_logged).await;
    }
    operator.signal("TERM");
    assert!(operator.ended().await.success());

    let resources = collector.resources();
    for resource in &resources {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert_eq!(
            (words(attributes, "service.name"), words(attributes, "k8s.pod.name")),
            ("approval-operator", "one")
        );
    }
    let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
    let called = |operation: &'static str| {
        spans.iter().filter(move |span| span.name.strip_prefix("CodePipeline/") == Some(operation))
    };
    let parent = |span: &Span| spans.iter().find(|other| other.span_id == span.parent_span_id).unwrap();
    for (name, outcomes) in rows {
        let calls = called("PutApprovalResult").filter(|span| attribute(parent(span), "decision") == name);
        let calls: Vec<_> = calls.collect();
        let found: Vec<_> = calls.iter().map(|span| attribute(span, "outcome")).collect();
        assert_eq!(found, outcomes, "{name}");
        let ids: Vec<_> = calls.iter().map(|span| attribute(span, "aws.request_id")).collect();
        assert_eq!(ids, logged(&operator, &decision(name)), "{name}");
        for call in &calls {
            assert_eq!(call.kind, i32::from(SpanKind::Client));
            assert_eq!(is_error(call), attribute(call, "outcome") != "OK");
            assert_eq!(attribute(call, "rpc.method"), "PutApprovalResult");
            assert_eq!(attribute(parent(call), "k8s.namespace.name"), case.namespace);
        }
        let reason = attribute(parent(calls.last().unwrap()), "reason");
        assert_eq!(reason, "Delivered", "{name}");
    }
    for call in called("GetPipelineState").chain(called("ListActionExecutions")) {
        assert_eq!((parent(call).name.as_str(), attribute(parent(call), "pipeline")), ("look", "shop"));
        assert_ne!(attribute(call, "aws.request_id"), "");
    }
    let names: std::collections::BTreeSet<_> = spans.iter().map(|span| span.name.split('/').next().unwrap()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["CodePipeline", "look", "reconcile"]);
    let shop = case.decisions.get("shop").await.unwrap().status.unwrap().submission.unwrap().token.0;
    for token in [web.token.to_string(), denied.token.to_string(), shop] {
        for body in collector.requests.lock().unwrap().iter() {
            assert!(!body.windows(token.len()).any(|bytes| bytes == token.as_bytes()), "a token is in the traces");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_or_is_not_there_holds_up_nothing() {
    let silent = Router::new().route("/v1/traces", post(async || std::future::pending::<()>().await));
    for url in [serve(silent).await, "http://127.0.0.1:1".to_owned()] {
        let case = Case::new().await;
        let mut operator = case.operator().argument(&format!("--otlp-endpoint={url}")).start();
        case.approve("web").await;
        case.until_reason("web", Reason::Delivered).await;
        operator.signal("TERM");
        let begun = Instant::now();
        assert!(operator.ended().await.success());
        assert!(begun.elapsed() < Duration::from_secs(8), "{url}: {:?}", begun.elapsed());
        let log = operator.log();
        assert!(log.contains("--otlp-endpoint"), "{url}: {log}");
    }
}
