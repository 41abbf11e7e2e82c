//! Events about decisions. A task of its own writes them one after the other, so that no submission waits for an Event. While
//! the queue is full, a reconcile writes its Event itself. The queue is drained before the operator exits.

use crate::api::v1alpha1::ApprovalDecision;
use crate::codepipeline::Operation;
use crate::decision::Announcement;
use crate::error_chain::{api_status, display_chain};
use crate::telemetry::LogLimiter;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::core::Request;
use kube::{Resource, ResourceExt};
use serde::de::IgnoredAny;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The reporting controller of every Event.
const REPORTER: &str = "approval-operator";

/// How many Events may be queued, half a kilobyte each. A burst of submissions ends before its Events are written.
const QUEUE_CAPACITY: usize = 10_000;

/// How many Events are written concurrently when the operator exits.
const DRAIN_CONCURRENCY: usize = 8;

/// The longest time that one call to the API server may take.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Queues Events. Clones share one queue.
#[derive(Clone)]
pub struct EventRecorder {
    writer: Writer,
    queue: mpsc::Sender<QueuedEvent>,
}

/// Writes Events.
#[derive(Clone)]
struct Writer {
    client: kube::Client,
    /// Limits how often the log says that the permission is missing.
    refusals: LogLimiter,
}

/// A serialized Event.
struct QueuedEvent {
    /// `namespace/name` of the decision, for the log.
    decision: String,
    path: String,
    body: Vec<u8>,
}

impl EventRecorder {
    /// A recorder, and the task that writes what it queues. After `stop`, the task drains the queue and ends.
    pub fn new(client: kube::Client, stop: oneshot::Receiver<()>) -> (Self, impl Future<Output = ()>) {
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let writer = Writer { client, refusals: LogLimiter::default() };
        (Self { writer: writer.clone(), queue }, write_all(writer, queued, stop))
    }

    /// Queues the Event of an announcement. This returns immediately unless the queue is full.
    pub async fn publish(&self, decision: &ApprovalDecision, announcement: &Announcement) {
        let event = match queued_event(decision, announcement, Timestamp::now()) {
            Ok(event) => event,
            Err(error) => {
                let decision = decision.qualified_name();
                return tracing::warn!(%decision, %error, "could not serialize the Event");
            }
        };
        if let Err(error) = self.queue.try_send(event) {
            self.writer.write(error.into_inner()).await;
        }
    }

    /// How many Events are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

async fn write_all(writer: Writer, mut queued: mpsc::Receiver<QueuedEvent>, mut stop: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            // A dropped sender means the same.
            _ = &mut stop => break,
            Some(event) = queued.recv() => writer.write(event).await,
            else => return,
        }
    }
    queued.close();
    let rest = futures::stream::poll_fn(move |task| queued.poll_recv(task));
    rest.for_each_concurrent(DRAIN_CONCURRENCY, |event| writer.write(event)).await;
}

impl Writer {
    /// Does not retry: a lost Event costs a line in `kubectl describe`, and must not cost more.
    async fn write(&self, QueuedEvent { decision, path, body }: QueuedEvent) {
        let request = match Request::new(path).create(&PostParams::default(), body) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(decision, %error, "could not write the Event"),
        };
        match timeout(API_TIMEOUT, self.client.request::<IgnoredAny>(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if api_status(&error) != Some(403) || self.refusals.is_due() => {
                tracing::warn!(decision, "could not write the Event: {}", display_chain(&error));
            }
            Ok(Err(_)) => {}
            Err(_) => tracing::warn!(decision, "could not write the Event within {API_TIMEOUT:?}"),
        }
    }
}

/// The time of the Event is that of the announcement, however late it is written. With the name of the decision, it makes the
/// Event's name unique.
fn queued_event(
    decision: &ApprovalDecision,
    announcement: &Announcement,
    now: Timestamp,
) -> Result<QueuedEvent, serde_json::Error> {
    let event_type = if announcement.is_warning() { "Warning" } else { "Normal" };
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", decision.name_any(), now.as_nanosecond())),
            namespace: decision.namespace(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        regarding: Some(decision.object_ref(&())),
        reason: Some(announcement.reason.as_str().to_owned()),
        note: Some(announcement.note.clone()),
        action: Some(Operation::PutApprovalResult.as_str().to_owned()),
        type_: Some(event_type.to_owned()),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        ..Event::default()
    };
    let path = Event::url_path(&(), decision.metadata.namespace.as_deref());
    Ok(QueuedEvent { decision: decision.qualified_name(), path, body: serde_json::to_vec(&event)? })
}
