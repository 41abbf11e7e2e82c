//! Two API servers behind one address, of which one lags: its connection to etcd is paused again and again, and meanwhile it serves
//! what it knew before. Lists and watches go to either server, so the operator sees older states after newer ones.

use super::SETTLED_WITHIN;
use crate::faults::load::run_load;
use crate::faults::observer::Observer;
use crate::faults::request_log::RequestLog;
use http_body_util::BodyExt;
use kube::config::{Config, Kubeconfig};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use test_control_plane::{SecondApiServer, User};
use test_support::proxy::{Body, Handler, ProxiedRequest, Response, response};
use test_support::watch_stream::{StreamItem, expired_event, rewrite};
use test_support::{Cluster, SeededRng, TestEnv, scale};
use tokio::time::sleep;

/// Sends some reads of decisions to the lagging server, and counts how many of its responses are outdated.
#[derive(Clone)]
struct Balancer {
    lagging: kube::Client,
    log: Arc<RequestLog>,
    observer: Arc<Observer>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    lists: AtomicUsize,
    stale_lists: AtomicUsize,
    watches: AtomicUsize,
    events: AtomicUsize,
    stale_events: AtomicUsize,
}

impl Balancer {
    fn handler(&self) -> impl Handler {
        let balancer = self.clone();
        move |request| {
            let balancer = balancer.clone();
            Box::pin(async move { balancer.handle(request).await })
        }
    }

    async fn handle(self, request: ProxiedRequest) -> Option<Response> {
        let mut rng = SeededRng::from_hash(&request.name);
        match request.name.kind.as_str() {
            "WATCH approvaldecisions" => {
                let is_lagging = rng.below(3) > 0;
                let response = if is_lagging {
                    self.counts.watches.fetch_add(1, Relaxed);
                    self.get_from_lagging(request.path(), request.query()).await?
                } else {
                    self.log.forward(request).await?
                };
                if !response.status().is_success() {
                    return Some(response);
                }
                // After some events, the watch ends or expires. Either server may get the next watch or list.
                let mut left = 4 + rng.below(12);
                let end =
                    rng.one_in(2).then(|| StreamItem::Event(expired_event())).into_iter().chain([StreamItem::End]);
                let mut end = Some(end.map(|item| (Duration::ZERO, item)).collect());
                Some(rewrite(response, move |event| {
                    if is_lagging {
                        self.counts.events.fetch_add(1, Relaxed);
                        self.counts.stale_events.fetch_add(usize::from(self.is_stale(&event["object"])), Relaxed);
                    }
                    if left == 0 {
                        return end.take().unwrap_or_default();
                    }
                    left -= 1;
                    vec![(Duration::ZERO, StreamItem::Event(event))]
                }))
            }
            "LIST approvaldecisions" if rng.below(3) > 0 => {
                // From the server's cache.
                let query = format!("{}&resourceVersion=0&resourceVersionMatch=NotOlderThan", request.query());
                let list = self.get_from_lagging(request.path(), &query).await?;
                let (head, body) = list.into_parts();
                let body = body.collect().await.ok()?.to_bytes();
                let list: Value = serde_json::from_slice(&body).ok()?;
                self.counts.lists.fetch_add(1, Relaxed);
                let is_stale =
                    list["items"].as_array().is_some_and(|items| items.iter().any(|item| self.is_stale(item)));
                self.counts.stale_lists.fetch_add(usize::from(is_stale), Relaxed);
                Some(response(head.status.as_u16(), "application/json", body))
            }
            _ => self.log.forward(request).await,
        }
    }

    async fn get_from_lagging(&self, path: &str, query: &str) -> Option<Response> {
        let request = hyper::Request::get(format!("{path}?{query}")).body(kube::client::Body::empty()).unwrap();
        let response = self.lagging.send(request).await.ok()?;
        Some(response.map(|body| Body::new(body.map_err(Into::into))))
    }

    /// Whether someone has written the decision since this version.
    fn is_stale(&self, object: &Value) -> bool {
        let version = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let served = version(object["metadata"]["resourceVersion"].as_str());
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let latest = self.observer.latest(name);
        latest.is_some_and(|latest| version(latest.metadata.resource_version.as_deref()) > served)
    }
}

/// Pauses the connection to etcd for some seconds, resumes it for a moment, and so on.
async fn lag(second: &SecondApiServer, longest: &AtomicU64) {
    let mut rng = SeededRng::new(1);
    loop {
        second.set_etcd_paused(true);
        let paused = 500 + rng.below(4000) as u64;
        sleep(Duration::from_millis(paused)).await;
        longest.fetch_max(paused, Relaxed);
        second.set_etcd_paused(false);
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_lags_behind_another_changes_no_outcome() {
    let env = TestEnv::new().await;
    let second = tokio::task::spawn_blocking(|| Cluster::shared().control_plane.start_second_api_server());
    let second = second.await.unwrap().unwrap();
    let started_at = Instant::now();
    let kubeconfig = Kubeconfig::read_from(second.kubeconfig(User::Operator)).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = false;
    let lagging = kube::Client::try_from(config).unwrap();
    let log = RequestLog::new();
    let balancer =
        Balancer { lagging, log: log.clone(), observer: Arc::new(Observer::new(&env)), counts: Arc::default() };
    let proxied = log.proxied_operator(&env, balancer.handler()).await;
    let mut operator = proxied.command.start();
    // So that the operator learns of decisions from the watch alone, and thus late.
    operator.wait_until_ready().await;
    let stop = async {
        operator.signal("TERM");
        operator.wait_for_exit().await;
    };
    let (count, longest) = (scale(20, 60), AtomicU64::new(0));
    let mut violations = tokio::select! {
        violations = run_load(&env, count, SETTLED_WITHIN, stop) => violations,
        () = lag(&second, &longest) => unreachable!("it never ends"),
    };
    second.set_etcd_paused(false);
    violations.extend(log.violations());
    let (counts, elapsed, longest) = (&balancer.counts, started_at.elapsed(), longest.load(Relaxed));
    println!("FIGURE {count} decisions in {elapsed:?}, from an API server up to {longest} ms behind: {counts:?}");
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), operator.log());
    assert!(counts.stale_events.load(Relaxed) > 0, "the API server did not lag: {counts:?}");
}
