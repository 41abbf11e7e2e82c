//! Watches decisions as a user would, and notes when each gets its first status and when it becomes Ready. It parses only the fields
//! that it needs, because it shares the machine with the contender.

use crate::workload;
use approval_operator::api::v1alpha1::ApprovalDecision;
use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Api, Resource};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// When a decision changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub first_status: Option<Instant>,
    pub ready: Option<Instant>,
}

#[derive(Default)]
struct Progress {
    times: BTreeMap<usize, Times>,
    ready_count: usize,
}

pub struct DecisionWatcher {
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

#[derive(Clone, Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl DecisionWatcher {
    /// Watches from the current resource version.
    pub async fn start(client: &kube::Client) -> Self {
        let api: Api<ApprovalDecision> = Api::all(client.clone());
        let version = api.list_metadata(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version;
        let (sender, progress) = watch::channel(Progress::default());
        let task = tokio::spawn(watch_decisions(client.clone(), version.unwrap(), sender));
        Self { progress, task }
    }

    /// Waits until `count` decisions are Ready. Returns false if that takes longer than `limit`.
    pub async fn wait_until_ready(&mut self, count: usize, limit: Duration) -> bool {
        let is_ready = self.progress.wait_for(|progress| progress.ready_count >= count);
        timeout(limit, is_ready).await.is_ok_and(|progress| progress.is_ok())
    }

    /// The times of each decision, by its number.
    pub fn times(&self) -> BTreeMap<usize, Times> {
        self.progress.borrow().times.clone()
    }
}

impl Drop for DecisionWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_decisions(client: kube::Client, mut version: String, progress: watch::Sender<Progress>) {
    let requests = Request::new(ApprovalDecision::url_path(&(), None));
    // The server closes each watch after its timeout.
    loop {
        let request = requests.watch(&WatchParams::default().timeout(290), &version).unwrap();
        let mut events = pin!(client.request_events::<Object>(request).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note(&progress, &object);
                    version = object.metadata.resource_version;
                }
                WatchEvent::Deleted(_) => {}
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(error) => panic!("the watch failed: {error:?}"),
            }
        }
    }
}

fn note(progress: &watch::Sender<Progress>, object: &Object) {
    let now = Instant::now();
    let Some(number) = workload::number(&object.metadata.name) else { return };
    let ready = object.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    let Some(ready) = ready else { return };
    progress.send_modify(|progress| {
        let times = progress.times.entry(number).or_default();
        times.first_status.get_or_insert(now);
        if ready.status == "True" && times.ready.is_none() {
            times.ready = Some(now);
            progress.ready_count += 1;
        }
    });
}
