//! Two API servers behind one address, of which one lags: its link to etcd is held again and again, and what it tells meanwhile is
//! what it knew before. Lists and watches go now to this one and now to that, so that the view goes back in time.

use super::SETTLED_WITHIN;
use crate::faults::books::Books;
use crate::faults::load::play;
use crate::faults::onlooker::Onlooker;
use crate::support::watch_lines::{Telling, expired, retell};
use crate::support::wire::{Answer, Body, Passing, Script, answer};
use crate::support::{Case, Cluster, Dice, scale};
use control_plane::{SecondApiServer, User};
use http_body_util::BodyExt;
use kube::config::{Config, Kubeconfig};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Lets the lagging one tell of the decisions, and counts how much of it was not so any more.
#[derive(Clone)]
struct Balancer {
    lagging: kube::Client,
    books: Arc<Books>,
    seen: Arc<Onlooker>,
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
    fn script(&self) -> impl Script {
        let balancer = self.clone();
        move |passing| {
            let balancer = balancer.clone();
            Box::pin(async move { balancer.pass(passing).await })
        }
    }

    async fn pass(self, passing: Passing) -> Option<Answer> {
        let mut dice = Dice::of(&passing.name);
        match passing.name.kind.as_str() {
            "WATCH approvaldecisions" => {
                let is_lagging = dice.below(3) > 0;
                let answer = if is_lagging {
                    self.counts.watches.fetch_add(1, Relaxed);
                    self.ask(passing.path(), passing.query()).await?
                } else {
                    self.books.pass(passing).await?
                };
                if !answer.status().is_success() {
                    return Some(answer);
                }
                // After some events the watch goes on with whoever is next, or begins with a list of whoever is next.
                let mut left = 4 + dice.below(12);
                let end = dice.once_in(2).then(|| Telling::Event(expired())).into_iter().chain([Telling::End]);
                let mut end = Some(end.map(|telling| (Duration::ZERO, telling)).collect());
                Some(retell(answer, move |event| {
                    if is_lagging {
                        self.counts.events.fetch_add(1, Relaxed);
                        self.counts.stale_events.fetch_add(usize::from(self.is_stale(&event["object"])), Relaxed);
                    }
                    if left == 0 {
                        return end.take().unwrap_or_default();
                    }
                    left -= 1;
                    vec![(Duration::ZERO, Telling::Event(event))]
                }))
            }
            "LIST approvaldecisions" if dice.below(3) > 0 => {
                // What the server has at hand will do.
                let query = format!("{}&resourceVersion=0&resourceVersionMatch=NotOlderThan", passing.query());
                let list = self.ask(passing.path(), &query).await?;
                let (head, body) = list.into_parts();
                let body = body.collect().await.ok()?.to_bytes();
                let list: Value = serde_json::from_slice(&body).ok()?;
                self.counts.lists.fetch_add(1, Relaxed);
                let is_stale =
                    list["items"].as_array().is_some_and(|items| items.iter().any(|item| self.is_stale(item)));
                self.counts.stale_lists.fetch_add(usize::from(is_stale), Relaxed);
                Some(answer(head.status.as_u16(), "application/json", body))
            }
            _ => self.books.pass(passing).await,
        }
    }

    async fn ask(&self, path: &str, query: &str) -> Option<Answer> {
        let request = hyper::Request::get(format!("{path}?{query}")).body(kube::client::Body::empty()).unwrap();
        let answer = self.lagging.send(request).await.ok()?;
        Some(answer.map(|body| Body::new(body.map_err(Into::into))))
    }

    /// Whether a decision was written to since it was so.
    fn is_stale(&self, object: &Value) -> bool {
        let version = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let told = version(object["metadata"]["resourceVersion"].as_str());
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.seen.now(name).is_some_and(|now| version(now.metadata.resource_version.as_deref()) > told)
    }
}

/// Holds the link for some seconds, lets it go for a moment, and so on.
async fn lag(second: &SecondApiServer, longest: &AtomicU64) {
    let mut dice = Dice(1);
    loop {
        second.hold(true);
        let held = 500 + dice.below(4000) as u64;
        sleep(Duration::from_millis(held)).await;
        longest.fetch_max(held, Relaxed);
        second.hold(false);
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_lags_behind_the_one_that_is_written_to_changes_no_outcome() {
    let case = Case::new().await;
    let second = tokio::task::spawn_blocking(|| Cluster::shared().control_plane.start_second_api_server());
    let second = second.await.unwrap().unwrap();
    let begun = Instant::now();
    let kubeconfig = Kubeconfig::read_from(second.kubeconfig(User::Operator)).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = false;
    let lagging = kube::Client::try_from(config).unwrap();
    let books = Books::open();
    let balancer =
        Balancer { lagging, books: books.clone(), seen: Arc::new(Onlooker::of(&case)), counts: Arc::default() };
    let wired = books.wired(&case, balancer.script()).await;
    let mut operator = wired.settings.start();
    // From here on it hears of decisions by the watch alone, and so late.
    operator.until_ready().await;
    let stop = async {
        operator.signal("TERM");
        operator.ended().await;
    };
    let (count, longest) = (scale(20, 60), AtomicU64::new(0));
    let mut wrong = tokio::select! {
        wrong = play(&case, count, SETTLED_WITHIN, stop) => wrong,
        () = lag(&second, &longest) => unreachable!("it never ends"),
    };
    second.hold(false);
    wrong.extend(books.wrong());
    let (counts, took, longest) = (&balancer.counts, begun.elapsed(), longest.load(Relaxed));
    println!("FIGURE {count} decisions in {took:?} by a server up to {longest} ms behind: {counts:?}");
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), operator.log());
    assert!(counts.stale_events.load(Relaxed) > 0, "it did not lag: {counts:?}");
}
