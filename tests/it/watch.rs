//! The initial list and a watch that restarts: every decision is reconciled, on whatever page of the list it is. A watch that fails for
//! too long makes the operator unready.

use approval_operator::api::v1alpha1::WireDecision;
use approval_operator::codepipeline::{CallMetrics, ClientSettings};
use approval_operator::controller::{
    AcceptedIndex, ConnectionSettings, Context, DecisionStore, DecisionWatch, DecisionWatches, RejectionIndex,
    StatusWriter, Targets, WATCH_BROKEN_AFTER, WatchState,
};
use approval_operator::decision::{AmbientCredentials, Settings};
use approval_operator::event_recorder::EventRecorder;
use approval_operator::http::{Health, router};
use approval_operator::leader_election::LeaderState;
use approval_operator::metrics::Metrics;
use approval_operator::proxy::ProxySettings;
use approval_operator::telemetry::LogLimiter;
use axum::body::Body;
use axum::http::{Method, Request, Response};
use jiff::SignedDuration;
use kube::{Api, Client as Kubernetes};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use test_control_plane::User;
use test_support::chart::{apply, kubectl, rights_of_operator};
use test_support::{Cluster, TestEnv};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A suspended decision. The operator writes its status, but does not call CodePipeline.
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

/// An API server that responds to GET requests as `get` says, and reports the names of decisions whose status is written.
fn api_server<F>(written: mpsc::UnboundedSender<String>, get: impl Fn(&str) -> F + Send + 'static) -> Kubernetes
where
    F: Future<Output = Value> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let read = (request.method() == Method::GET).then(|| get(request.uri().query().unwrap_or_default()));
        let written = written.clone();
        async move {
            let response = match (read, request.method(), request.uri().path().rsplit('/').nth(1)) {
                (Some(read), ..) => read.await,
                (None, &Method::PUT, Some(name)) => {
                    written.send(name.to_owned()).unwrap();
                    suspended(name)
                }
                (None, ..) => json!({}),
            };
            Ok::<_, Infallible>(Response::new(Body::from(response.to_string())))
        }
    });
    Kubernetes::new(service, "team")
}

/// An API server whose first list is empty, whose watch then expires, and whose second list has two pages of one decision.
fn expiring(written: mpsc::UnboundedSender<String>) -> Kubernetes {
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

/// An API server whose list has two pages, and that never returns the second.
fn hanging(written: mpsc::UnboundedSender<String>) -> Kubernetes {
    api_server(written, |query| {
        let is_second = query.contains("continue=");
        async move { if is_second { std::future::pending().await } else { list(&[suspended("first")], "more") } }
    })
}

fn no_targets(calls: CallMetrics) -> Targets {
    let second = Duration::from_secs(1);
    let client = ClientSettings::new(second, None, None, &ProxySettings::from_env().unwrap());
    let settings =
        ConnectionSettings { client, requests_per_second: 5.0, poll_interval: second, concurrency: 8, calls };
    Targets::new(settings, AmbientCredentials::Enabled, None, mpsc::unbounded_channel().0)
}

/// Starts the watch of one namespace or of all, and the reconciles.
fn start_controller(kubernetes: Kubernetes, namespace: Option<&str>, broken_after: Duration) -> DecisionStore {
    let calls = CallMetrics::default();
    let metrics = Metrics::new(&calls);
    let targets = no_targets(calls);
    let (leader_sender, leader) = watch::channel(LeaderState::Leader);
    let second = SignedDuration::from_secs(1);
    let (stop_events, events_stop) = oneshot::channel();
    let (events, write_events) = EventRecorder::new(kubernetes.clone(), events_stop);
    let client = kubernetes.clone();
    let context = move |decisions, wake| Context {
        refusals: LogLimiter::default(),
        accepted: AcceptedIndex::default(),
        kubernetes: client,
        targets,
        decisions,
        rejections: RejectionIndex::new(1),
        watches: DecisionWatches::default(),
        wake,
        settings: Settings { aws_timeout: second, waiting_limit: SignedDuration::from_hours(1), poll_interval: second },
        metrics,
        writer: StatusWriter::new("test"),
        events,
        leader,
    };
    let api: Api<WireDecision> = match namespace {
        Some(namespace) => Api::namespaced(kubernetes, namespace),
        None => Api::all(kubernetes),
    };
    let namespace = namespace.map(str::to_owned);
    let watch = DecisionWatch { api, namespace, api_server: String::new(), broken_after };
    let (reconciles, store) = watch.run(context, std::future::pending());
    tokio::spawn(async move {
        // Dropping these would stop the controller.
        let _senders = (leader_sender, stop_events);
        tokio::join!(reconciles, write_events)
    });
    store
}

#[tokio::test]
async fn decisions_on_every_page_of_a_new_list_are_reconciled() {
    let (written, mut writes) = mpsc::unbounded_channel();
    DecisionStore::wait_until_synced(vec![start_controller(expiring(written), None, WATCH_BROKEN_AFTER)]).await;
    let mut reconciled = std::collections::BTreeSet::new();
    while reconciled.len() < 2 {
        let write = timeout(WRITE_TIMEOUT, writes.recv()).await;
        reconciled.insert(write.unwrap_or_else(|_| panic!("only {reconciled:?} were reconciled")).unwrap());
    }
}

#[tokio::test]
async fn a_decision_on_the_first_page_is_reconciled_before_the_last_page_arrives() {
    let (written, mut writes) = mpsc::unbounded_channel();
    let store = start_controller(hanging(written), None, WATCH_BROKEN_AFTER);
    let write = timeout(WRITE_TIMEOUT, writes.recv()).await;
    assert_eq!(write.expect("no decision was reconciled").unwrap(), "first");
    assert_eq!(store.state(), WatchState::NotListed);
}

/// The status of `/readyz` with one watch.
async fn readyz(store: &DecisionStore) -> u16 {
    let second = SignedDuration::from_secs(1);
    let health = Health {
        stores: vec![store.clone()],
        targets: no_targets(CallMetrics::default()),
        leader: watch::channel(LeaderState::Standby).1,
        settings: Settings { aws_timeout: second, waiting_limit: second, poll_interval: second },
        metrics: Metrics::new(&CallMetrics::default()),
    };
    router(health).oneshot(Request::get("/readyz").body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

async fn wait_for_readyz(store: &DecisionStore, expected: u16) {
    let polling = async {
        while readyz(store).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // A watch lasts 30 s before the API server checks the rights again.
    assert!(timeout(Duration::from_secs(100), polling).await.is_ok(), "/readyz never returned {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_fails_while_a_watch_is_broken_and_heals_without_an_event() {
    let env = TestEnv::new().await;
    let cluster = Cluster::shared();
    let binding = rights_of_operator(&env.namespace);
    apply(cluster, std::slice::from_ref(&binding));
    let client = cluster.client(User::Developer).await;
    let store = start_controller(client, Some(&env.namespace), Duration::from_secs(3));
    wait_for_readyz(&store, 200).await;
    kubectl(cluster, User::Admin, &["delete", "--filename=-"], &binding).expect_success();
    wait_for_readyz(&store, 503).await;
    assert_eq!(store.state(), WatchState::Listed, "the decisions are still known");
    apply(cluster, &[binding]);
    wait_for_readyz(&store, 200).await;
}
