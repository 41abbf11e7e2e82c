//! Events about decisions and targets. A task of its own writes them one after the other, so that no submission waits for an Event. While
//! the queue is full, a reconcile writes its Event itself. The queue is drained before the operator exits.

use crate::api::conditions::ConditionStatus;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalTarget, TargetReason};
use crate::codepipeline::Operation;
use crate::decision::{Announcement, MAX_NOTE};
use crate::error_chain::{api_status, display_chain};
use crate::telemetry::LogLimiter;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Resource;
use kube::api::PostParams;
use kube::core::Request;
use serde::de::IgnoredAny;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The reporting controller of every Event.
const REPORTER: &str = "approval-operator";

/// The action of an Event about a target.
const VERIFY: &str = "Verify";

/// The namespace of Events about cluster-scoped objects. The API server admits no other, and `kubectl describe` finds them there.
const CLUSTER_SCOPED: &str = "default";

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
    /// The name of the object, with its namespace, for the log.
    object: String,
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
        let kind = if announcement.is_warning() { EventKind::Warning } else { EventKind::Normal };
        let action = Operation::PutApprovalResult.as_str();
        let reason = announcement.reason.as_str();
        self.record(decision.object_ref(&()), kind, action, reason, announcement.note.clone()).await;
    }

    /// Queues the Event of a new reason of a target, as [`Self::publish`].
    pub async fn publish_target(&self, target: &ApprovalTarget, reason: TargetReason, message: &str) {
        let kind = match reason.ready() {
            ConditionStatus::True => EventKind::Normal,
            ConditionStatus::False | ConditionStatus::Unknown => EventKind::Warning,
        };
        let note = message.get(..message.floor_char_boundary(MAX_NOTE)).unwrap_or_default();
        self.record(target.object_ref(&()), kind, VERIFY, reason.as_str(), note.to_owned()).await;
    }

    async fn record(&self, object: ObjectReference, kind: EventKind, action: &str, reason: &str, note: String) {
        let name = qualified_name(&object);
        let event = match queued_event(object, kind, action, reason, note, Timestamp::now()) {
            Ok(event) => event,
            Err(error) => return tracing::warn!(object = name, %error, "could not serialize the Event"),
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
    async fn write(&self, QueuedEvent { object, path, body }: QueuedEvent) {
        let request = match Request::new(path).create(&PostParams::default(), body) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(object, %error, "could not write the Event"),
        };
        match timeout(API_TIMEOUT, self.client.request::<IgnoredAny>(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if api_status(&error) != Some(403) || self.refusals.is_due() => {
                tracing::warn!(object, "could not write the Event: {}", display_chain(&error));
            }
            Ok(Err(_)) => {}
            Err(_) => tracing::warn!(object, "could not write the Event within {API_TIMEOUT:?}"),
        }
    }
}

/// What kubectl shows as the type of an Event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr)]
enum EventKind {
    Normal,
    Warning,
}

fn qualified_name(object: &ObjectReference) -> String {
    let parts = [&object.namespace, &object.name];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/")
}

/// The time of the Event is that of the change, however late it is written. With the name of the object, it makes the Event's name unique.
fn queued_event(
    object: ObjectReference,
    kind: EventKind,
    action: &str,
    reason: &str,
    note: String,
    now: Timestamp,
) -> Result<QueuedEvent, serde_json::Error> {
    let namespace = object.namespace.clone().unwrap_or_else(|| CLUSTER_SCOPED.to_owned());
    let path = Event::url_path(&(), Some(&namespace));
    let name = format!("{}.{:x}", object.name.as_deref().unwrap_or_default(), now.as_nanosecond());
    let log_name = qualified_name(&object);
    let event = Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        event_time: Some(MicroTime(now)),
        regarding: Some(object),
        reason: Some(reason.to_owned()),
        note: Some(note),
        action: Some(action.to_owned()),
        type_: Some(<&str>::from(kind).to_owned()),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        ..Event::default()
    };
    Ok(QueuedEvent { object: log_name, path, body: serde_json::to_vec(&event)? })
}
