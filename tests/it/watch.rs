//! A watch that had to begin anew: what happened meanwhile is taken up, wherever in the list it stands.

use approval_operator::api::v1alpha1::Lean;
use approval_operator::codepipeline::{Client, Pace, Views};
use approval_operator::decision::{Context, Settings};
use approval_operator::events::Events;
use approval_operator::leadership::Role;
use approval_operator::metrics::Metrics;
use approval_operator::watch::{Cache, Watch};
use axum::body::Body;
use axum::http::{Method, Request, Response};
use jiff::SignedDuration;
use kube::{Api, Client as Kubernetes};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

const EVENTUALLY: Duration = Duration::from_secs(20);

/// A decision that is held back, which the operator says in its status.
fn suspended(name: &str) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecision",
        "metadata": { "name": name, "namespace": "team", "uid": name, "generation": 1, "resourceVersion": "1" },
        "spec": {
            "pipelineName": "web", "stageName": "Prod", "actionName": "Approve", "suspend": true,
            "token": "11111111-2222-4333-8444-555555555555", "result": { "status": "Approved", "summary": "" },
        },
    })
}

fn list(items: &[Value], next: &str) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecisionList",
        "metadata": { "resourceVersion": "1", "continue": next },
        "items": items,
    })
}

/// An API server that answers each GET by its query, and tells whose status is written.
fn api_server<F>(written: mpsc::UnboundedSender<String>, get: impl Fn(&str) -> F + Send + 'static) -> Kubernetes
where
    F: Future<Output = Value> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let got = (request.method() == Method::GET).then(|| get(request.uri().query().unwrap_or_default()));
        let written = written.clone();
        async move {
            let answer = match (got, request.method(), request.uri().path().rsplit('/').nth(1)) {
                (Some(got), ..) => got.await,
                (None, &Method::PUT, Some(name)) => {
                    written.send(name.to_owned()).unwrap();
                    suspended(name)
                }
                (None, ..) => json!({}),
            };
            Ok::<_, Infallible>(Response::new(Body::from(answer.to_string())))
        }
    });
    Kubernetes::new(service, "team")
}

/// One that has nothing, whose watch has missed too much then, and that lists two decisions on a page each.
fn forgetful(written: mpsc::UnboundedSender<String>) -> Kubernetes {
    let watches = Arc::new(AtomicUsize::new(0));
    api_server(written, move |query| {
        let (query, watches) = (query.to_owned(), watches.clone());
        async move {
            if query.contains("watch=true") {
                if watches.fetch_add(1, Ordering::Relaxed) > 0 {
                    std::future::pending::<()>().await;
                }
                let gone = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
                json!({ "type": "ERROR", "object": gone })
            } else if watches.load(Ordering::Relaxed) == 0 {
                list(&[], "")
            } else if query.contains("continue=") {
                list(&[suspended("last")], "")
            } else {
                list(&[suspended("first")], "more")
            }
        }
    })
}

/// One that lists two decisions on a page each, and never comes to the second.
fn halting(written: mpsc::UnboundedSender<String>) -> Kubernetes {
    api_server(written, |query| {
        let is_second = query.contains("continue=");
        async move { if is_second { std::future::pending().await } else { list(&[suspended("first")], "more") } }
    })
}

/// Begins to watch and to act.
fn act(kubernetes: Kubernetes) -> Cache {
    let metrics = Metrics::default();
    let codepipeline = Client::new(Duration::from_secs(1), Pace::new(5.0), metrics.clone(), Instant::now());
    let (leading, role) = watch::channel(Role::Leader);
    let second = SignedDuration::from_secs(1);
    let (end, ends) = oneshot::channel();
    let (events, writing) = Events::new(kubernetes.clone(), ends);
    let client = kubernetes.clone();
    let context = move |decisions, wake| Context {
        kubernetes: client,
        views: Views::new(codepipeline.clone(), Duration::from_secs(1)),
        codepipeline,
        decisions,
        wake,
        settings: Settings { aws_timeout: second, waiting_limit: SignedDuration::from_hours(1), poll_interval: second },
        metrics,
        events,
        concurrency: Arc::new(Semaphore::new(8)),
        role,
    };
    let api: Api<Lean> = Api::all(kubernetes);
    let watch = Watch { api, namespace: None, label_selector: None, api_server: String::new() };
    let (rounds, cache) = watch.control(context, std::future::pending());
    tokio::spawn(async move {
        // Held for as long as it acts.
        let _held = (leading, end);
        tokio::join!(rounds, writing)
    });
    cache
}

#[tokio::test]
async fn decisions_on_every_page_of_a_new_list_are_taken_up() {
    let (written, mut writes) = mpsc::unbounded_channel();
    act(forgetful(written)).filled().await;
    let mut taken_up = std::collections::BTreeSet::new();
    while taken_up.len() < 2 {
        let write = timeout(EVENTUALLY, writes.recv()).await;
        taken_up.insert(write.unwrap_or_else(|_| panic!("only {taken_up:?} are")).unwrap());
    }
}

#[tokio::test]
async fn a_decision_of_the_first_page_is_taken_up_before_the_last_page_has_come() {
    let (written, mut writes) = mpsc::unbounded_channel();
    let cache = act(halting(written));
    let write = timeout(EVENTUALLY, writes.recv()).await;
    assert_eq!(write.expect("none is taken up").unwrap(), "first");
    assert!(!cache.is_filled());
}
