//! Watches decisions as a user would, and notes when each was first written to and when it became Ready. Only what it needs of an
//! object is read, for the watch takes its part of the machine from whoever is measured.

use crate::work;
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

/// What was seen of a decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub written: Option<Instant>,
    pub ready: Option<Instant>,
}

#[derive(Default)]
struct Record {
    seen: BTreeMap<usize, Seen>,
    /// How many are Ready.
    ready: usize,
}

pub struct Observer {
    record: watch::Receiver<Record>,
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

impl Observer {
    /// Begins where the decisions are now.
    pub async fn start(client: &kube::Client) -> Self {
        let api: Api<ApprovalDecision> = Api::all(client.clone());
        let version = api.list_metadata(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version;
        let (sender, record) = watch::channel(Record::default());
        let task = tokio::spawn(observe(client.clone(), version.unwrap(), sender));
        Self { record, task }
    }

    /// Waits until so many decisions are Ready, and says whether they were in time.
    pub async fn until_ready(&mut self, count: usize, limit: Duration) -> bool {
        timeout(limit, self.record.wait_for(|record| record.ready >= count)).await.is_ok_and(|record| record.is_ok())
    }

    pub fn seen(&self) -> BTreeMap<usize, Seen> {
        self.record.borrow().seen.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn observe(client: kube::Client, mut version: String, record: watch::Sender<Record>) {
    let requests = Request::new(ApprovalDecision::url_path(&(), None));
    // The server ends a watch now and then.
    loop {
        let request = requests.watch(&WatchParams::default().timeout(290), &version).unwrap();
        let mut events = pin!(client.request_events::<Object>(request).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note(&record, &object);
                    version = object.metadata.resource_version;
                }
                WatchEvent::Deleted(_) => {}
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(error) => panic!("the watch failed: {error:?}"),
            }
        }
    }
}

fn note(record: &watch::Sender<Record>, object: &Object) {
    let now = Instant::now();
    let Some(number) = work::number(&object.metadata.name) else { return };
    let ready = object.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    let Some(ready) = ready else { return };
    record.send_modify(|record| {
        let seen = record.seen.entry(number).or_default();
        seen.written.get_or_insert(now);
        if ready.status == "True" && seen.ready.is_none() {
            seen.ready = Some(now);
            record.ready += 1;
        }
    });
}
