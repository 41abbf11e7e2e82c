//! The Events about decisions. They are written one after the other by a task of its own, so that no answer waits for one; a round
//! writes its Event itself only while too many wait already. What waits is written before the operator ends.

use crate::api::v1alpha1::ApprovalDecision;
use crate::decision::name;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event as KubernetesEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::core::Request;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde::de::IgnoredAny;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Who writes them.
const REPORTER: &str = "approval-operator";

/// How many may wait to be written, half a kilobyte each. A burst of answers is over before its Events are.
const WAITING: usize = 10_000;

/// How many of those that wait are written at a time when the operator ends.
const AT_THE_END: usize = 8;

/// The longest that one call to the API server may take.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Where Events go.
#[derive(Clone)]
pub struct Events {
    client: kube::Client,
    queue: mpsc::Sender<Written>,
}

/// An Event as it is sent.
struct Written {
    /// `namespace/name` of the decision, for the log.
    decision: String,
    path: String,
    body: Vec<u8>,
}

impl Events {
    /// A queue, and what writes what is in it, until `end` comes and the queue is empty.
    pub fn new(client: kube::Client, end: oneshot::Receiver<()>) -> (Self, impl Future<Output = ()>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { client: client.clone(), queue }, write_all(client, waiting, end))
    }

    /// Tells of a decision. That comes back at once, unless too many wait.
    pub async fn publish(&self, decision: &ApprovalDecision, event: &Event) {
        let written = match written(decision, event, Timestamp::now()) {
            Ok(written) => written,
            Err(error) => return tracing::warn!(decision = %name(decision), %error, "the Event could not be made"),
        };
        if let Err(error) = self.queue.try_send(written) {
            write(&self.client, error.into_inner()).await;
        }
    }

    /// How many wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

async fn write_all(client: kube::Client, mut waiting: mpsc::Receiver<Written>, mut end: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            // Whether it is sent or dropped: either way it is time.
            _ = &mut end => break,
            Some(written) = waiting.recv() => write(&client, written).await,
            else => return,
        }
    }
    waiting.close();
    let rest = futures::stream::poll_fn(move |task| waiting.poll_recv(task));
    rest.for_each_concurrent(AT_THE_END, |written| write(&client, written)).await;
}

/// An Event that is lost costs a line in `kubectl describe`, and must not cost more.
async fn write(client: &kube::Client, Written { decision, path, body }: Written) {
    let request = match Request::new(path).create(&PostParams::default(), body) {
        Ok(request) => request,
        Err(error) => return tracing::warn!(decision, %error, "the Event could not be written"),
    };
    match timeout(API_TIMEOUT, client.request::<IgnoredAny>(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(decision, %error, "the Event could not be written"),
        Err(_) => tracing::warn!(decision, "writing the Event took too long"),
    }
}

/// Its time is that of what it tells, however late it is written. Together with the decision's name it is the Event's name.
fn written(decision: &ApprovalDecision, event: &Event, now: Timestamp) -> Result<Written, serde_json::Error> {
    let object = KubernetesEvent {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", decision.name_any(), now.as_nanosecond())),
            namespace: decision.namespace(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        regarding: Some(decision.object_ref(&())),
        reason: Some(event.reason.clone()),
        note: event.note.clone(),
        action: Some(event.action.clone()),
        type_: Some(type_of(event.type_).to_owned()),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        ..KubernetesEvent::default()
    };
    let path = KubernetesEvent::url_path(&(), decision.metadata.namespace.as_deref());
    Ok(Written { decision: name(decision), path, body: serde_json::to_vec(&object)? })
}

const fn type_of(event: EventType) -> &'static str {
    match event {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}
