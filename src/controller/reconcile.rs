//! Performs the effects of a [`Reconciliation`] and reports their results, one at a time, until it is complete. Nothing is decided here.

use super::connection::Connection;
use super::context::Context;
use super::reconcile_slots::Slot;
use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, Location, Submission, WireDecision};
use crate::backoff;
use crate::codepipeline::{
    CallError, PipelineObservation, Query, Response, RetryCause, Session, SessionName, WakeCondition,
};
use crate::decision::{
    Announcement, Attention, Effect, Reconciliation, Requeue, TargetObservation, WriteResult, subscription_generation,
    target_of, urgency,
};
use crate::error_chain::{api_status, display_chain};
use crate::telemetry::SPAN_TARGET;
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, info_span};

/// The longest time that one call to the API server may take.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a reconcile failed. It is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or cannot be reached.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The API server did not respond in time.
    #[error("the Kubernetes API did not respond within {API_TIMEOUT:?}")]
    KubernetesTimeout,
    /// The operator is shutting down, or another replica is the leader.
    #[error("this replica is no longer the leader")]
    NotLeading,
}

/// Reconciles a decision.
///
/// # Errors
/// When the API server could not be read or written before a request was sent. The outcome of a request that was sent is written
/// until it lands.
pub async fn reconcile(decision: Arc<ApprovalDecision>, context: Arc<Context>) -> Result<Action, Error> {
    let subscriber = context.subscriber(&decision);
    let urgency = urgency(&decision, &context.settings, Timestamp::now());
    let target = target_of(&decision);
    let Some(slot) = context.targets.enter(target, subscriber.clone(), urgency) else {
        if context.decisions.get(&subscriber.key).is_none() {
            // It was deleted meanwhile, and nothing reconciles it again.
            context.targets.forget(&subscriber.key);
        }
        return Ok(Action::await_change());
    };
    if !context.is_leading() || !context.targets.can_reconcile(target) {
        return Ok(Action::await_change());
    }
    let _timer = context.metrics.reconcile_started();
    let span = info_span!(
        target: SPAN_TARGET,
        "reconcile",
        k8s.namespace.name = decision.metadata.namespace,
        decision = decision.metadata.name,
        pipeline = decision.spec.pipeline_name,
        reason = Empty,
    );
    Performer::new(Arc::unwrap_or_clone(decision), &context, slot).run().instrument(span).await
}

/// What happens after a failed reconcile.
#[allow(clippy::needless_pass_by_value, reason = "kube-runtime passes it so")]
pub fn error_policy(decision: Arc<ApprovalDecision>, error: &Error, context: Arc<Context>) -> Action {
    let delay = backoff::FAILED_RECONCILE;
    if !matches!(error, Error::NotLeading) {
        context.metrics.reconcile_failed();
        if is_to_be_logged(error, &context) {
            tracing::warn!(decision = %decision.qualified_name(), "{}; retrying in {delay:?}", display_chain(error));
        }
    }
    Action::requeue(delay)
}

/// Whether to log a failure. A missing permission fails every decision, and again with each retry.
fn is_to_be_logged(error: &Error, context: &Context) -> bool {
    api_status(error) != Some(403) || context.refusals.is_due()
}

struct Performer<'a> {
    context: &'a Context,
    api: Api<WireDecision>,
    reconciliation: Reconciliation,
    /// The credentials for the submission, once they are ensured.
    session: Option<(Connection, Session)>,
    /// The request id of the last response from CodePipeline, for the log.
    request_id: Option<String>,
    /// Counts against `--concurrency`.
    _slot: Slot,
}

impl<'a> Performer<'a> {
    fn new(decision: ApprovalDecision, context: &'a Context, slot: Slot) -> Self {
        let namespace = decision.namespace().unwrap_or_default();
        Self {
            context,
            api: Api::namespaced(context.kubernetes.clone(), &namespace),
            reconciliation: Reconciliation::new(decision),
            session: None,
            request_id: None,
            _slot: slot,
        }
    }

    async fn run(mut self) -> Result<Action, Error> {
        loop {
            match self.reconciliation.next(&self.context.settings, Timestamp::now()) {
                Effect::FindTarget { target } => {
                    let observation = self.find_target(target.as_deref()).await;
                    self.reconciliation.on_target(observation);
                }
                Effect::ReadPipeline { target, pipeline, query, condition } => {
                    let newest = self.subscribe(target.as_deref(), &pipeline, query, condition);
                    self.reconciliation.on_snapshot(newest);
                }
                Effect::ListRejections => {
                    let rejections = self.context.rejections_for(self.reconciliation.decision());
                    self.reconciliation.on_rejections(rejections);
                }
                Effect::FindAccepted { ids } => {
                    let found = self.context.accepted.find(self.reconciliation.decision(), &ids);
                    self.reconciliation.on_accepted(found);
                }
                Effect::EnsureCredentials { target } => {
                    let result = self.open_session(target.as_deref()).await;
                    self.reconciliation.on_credentials(result);
                }
                Effect::RecordIntent(status) => {
                    // Everything up to here, credentials included, may have taken a while.
                    if !self.context.is_leading() {
                        return Err(Error::NotLeading);
                    }
                    let result = self.write(*status).await?;
                    self.reconciliation.on_written(result, Timestamp::now());
                }
                Effect::WriteStatus(status) => match self.write(*status).await {
                    Ok(result) => self.reconciliation.on_written(result, Timestamp::now()),
                    Err(error) => match self.reconciliation.on_write_failed() {
                        Some(delay) => self.delay_write(&error, delay).await,
                        None => return Err(error),
                    },
                },
                Effect::Send { submission, send_deadline } => {
                    let response = self.send(&submission, send_deadline).await;
                    self.request_id = response.request_id;
                    self.reconciliation.on_response(response.result);
                }
                Effect::Announce(announcement) => self.announce(&announcement).await,
                Effect::Finish(requeue) => return Ok(self.finish(requeue)),
            }
        }
    }

    /// What is known of the target. Whether a decision may go without one depends on the operator's own account, which is asked for
    /// once there are targets.
    async fn find_target(&self, target: Option<&str>) -> TargetObservation {
        let targets = &self.context.targets;
        if target.is_none() && targets.needs_own_location() {
            // The observation says that it is not known.
            let _ = targets.own().client.verify().await;
        }
        let namespace = self.reconciliation.decision().namespace().unwrap_or_default();
        targets.observe(&namespace, target)
    }

    /// Subscribes to the pipeline, and returns the newest poll if it meets the condition.
    fn subscribe(
        &self,
        target: Option<&str>,
        pipeline: &str,
        query: Query,
        condition: WakeCondition,
    ) -> Option<PipelineObservation> {
        let decision = self.reconciliation.decision();
        let generation = subscription_generation(decision, &query);
        let subscriber = self.context.subscriber(decision);
        let targets = &self.context.targets;
        // Without its target, the decision waits until that is back, which wakes it.
        let poller = targets.connection(target)?.poller;
        targets.unsubscribe_elsewhere(&subscriber.key, &poller);
        let newest = poller.subscribe(&subscriber, generation, pipeline, query, condition);
        if newest.is_none() && (self.context.decisions.get(&subscriber.key).is_none() || !self.context.is_leading()) {
            // The decision was deleted during this reconcile, or another replica became the leader. Nothing else would end the
            // subscription.
            poller.unsubscribe(&subscriber.key);
        }
        if let Some(Err(error)) = newest.as_ref().map(|newest| &newest.poll.result) {
            self.verify_target_after(target, error);
        }
        newest
    }

    /// Ensures credentials for the submission. Where the target has a role, its session is named after the decision.
    async fn open_session(&mut self, target: Option<&str>) -> Result<Location, CallError> {
        let decision = self.reconciliation.decision();
        let Some(connection) = self.context.targets.connection(target) else { return Err(no_target()) };
        let uid = decision.uid().unwrap_or_default();
        let name = SessionName::of(&decision.namespace().unwrap_or_default(), &decision.name_any(), &uid);
        match connection.client.open_session(&name).await {
            Ok(session) => {
                let location = session.location().clone();
                self.session = Some((connection, session));
                Ok(location)
            }
            Err(error) => {
                self.verify_target_after(target, &error);
                Err(error)
            }
        }
    }

    async fn send(&mut self, submission: &Submission, send_deadline: Timestamp) -> Response<Option<Timestamp>> {
        let Submission { target, pipeline_name, stage_name, action_name, .. } = submission;
        let current = self.context.targets.connection(target.as_deref());
        let is_current = |(connection, _): &(Connection, Session)| {
            current.is_some_and(|current| current.poller.is_same(&connection.poller))
        };
        let Some((connection, session)) = self.session.take().filter(is_current) else {
            return Response { result: Err(no_target()), request_id: None };
        };
        let response = connection.client.put_approval_result(&session, submission, send_deadline).await;
        match &response.result {
            Err(error @ CallError::NotApplied { .. }) => self.verify_target_after(target.as_deref(), error),
            Ok(_) | Err(CallError::Refused { .. } | CallError::Indeterminate { .. }) => {
                connection.poller.invalidate(pipeline_name, stage_name, action_name);
            }
        }
        response
    }

    /// The verification of the target may explain this failure to everyone.
    fn verify_target_after(&self, target: Option<&str>, error: &CallError) {
        let is_explained = matches!(error.cause(), RetryCause::AccessDenied | RetryCause::CredentialsUnavailable);
        if let Some(target) = target.filter(|_| is_explained) {
            self.context.targets.verify_after_failure(target);
        }
    }

    /// Writes the status, with the object's resourceVersion as precondition.
    async fn write(&self, status: ApprovalDecisionStatus) -> Result<WriteResult, Error> {
        let result = self.replace_status(status).await;
        if matches!(result, Ok(WriteResult::Gone)) {
            let decision = self.reconciliation.decision().qualified_name();
            tracing::info!(%decision, "the decision was deleted during its reconcile");
        }
        result
    }

    async fn replace_status(&self, status: ApprovalDecisionStatus) -> Result<WriteResult, Error> {
        let decision = self.reconciliation.decision();
        let object = WireDecision(ApprovalDecision { status: Some(status), ..decision.clone() });
        let (name, parameters) = (decision.name_any(), self.context.writer.parameters());
        match with_timeout(self.api.replace_status(&name, &parameters, &object)).await {
            Ok(WireDecision(written)) => Ok(WriteResult::Written(Box::new(written))),
            Err(Error::Kubernetes(error)) if code(&error) == Some(409) => self.read_after_conflict(error).await,
            Err(Error::Kubernetes(error)) if code(&error) == Some(404) => Ok(WriteResult::Gone),
            Err(error) => Err(error),
        }
    }

    /// Reads the object after a conflict. If no one wrote it, an admission webhook refused the write with 409, and an immediate retry
    /// would never end.
    async fn read_after_conflict(&self, conflict: Box<kube::Error>) -> Result<WriteResult, Error> {
        let known = self.reconciliation.decision();
        match with_timeout(self.api.get_opt(&known.name_any())).await? {
            Some(WireDecision(live)) if live.uid() != known.uid() => Ok(WriteResult::Gone),
            Some(WireDecision(live)) if live.resource_version() == known.resource_version() => {
                Err(Error::Kubernetes(conflict))
            }
            Some(WireDecision(live)) => {
                if live.status != known.status {
                    let namespace = known.metadata.namespace.as_deref();
                    self.context.writer.search_for_another(&self.api, namespace, &known.name_any());
                }
                Ok(WriteResult::Conflict(Box::new(live)))
            }
            None => Ok(WriteResult::Gone),
        }
    }

    async fn delay_write(&self, error: &Error, delay: Duration) {
        if is_to_be_logged(error, self.context) {
            let decision = self.reconciliation.decision().qualified_name();
            tracing::warn!(%decision, "could not write the outcome of a submission: {}; retrying", display_chain(error));
        }
        sleep(delay).await;
    }

    async fn announce(&mut self, announcement: &Announcement) {
        let decision = self.reconciliation.decision();
        Span::current().record("reason", announcement.reason.as_str());
        let spec = &decision.spec;
        let execution = decision.status.as_ref().and_then(|status| status.pipeline_execution_id.as_deref());
        let request_id = self.request_id.take();
        // The level of a line is a constant.
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    decision = %decision.qualified_name(),
                    pipeline = spec.pipeline_name,
                    stage = spec.stage_name,
                    action = spec.action_name,
                    execution,
                    reason = announcement.reason.as_str(),
                    aws_request_id = request_id,
                    "{}",
                    announcement.message
                )
            };
        }
        match announcement.attention() {
            Attention::Needed => log!(Level::WARN),
            Attention::NotNeeded => log!(Level::INFO),
        }
        self.context.metrics.reason_changed(decision, announcement.reason);
        self.context.events.publish(decision, announcement).await;
    }

    fn finish(&self, requeue: Requeue) -> Action {
        let time = match requeue {
            Requeue::OnPipelineChange { until, .. } => return requeue_at(until),
            Requeue::AwaitChange => None,
            Requeue::At(time) => Some(time),
        };
        self.context.targets.unsubscribe(&ObjectRef::from_obj(self.reconciliation.decision()));
        time.map_or_else(Action::await_change, requeue_at)
    }
}

/// The target was deleted, or goes elsewhere, since the reconcile started.
fn no_target() -> CallError {
    CallError::NotApplied {
        cause: RetryCause::CredentialsUnavailable,
        exception: None,
        detail: "the ApprovalTarget changed during the submission".to_owned(),
    }
}

async fn with_timeout<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match timeout(API_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| Error::Kubernetes(Box::new(error))),
        Err(_) => Err(Error::KubernetesTimeout),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn requeue_at(time: Timestamp) -> Action {
    let delay = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
    Action::requeue(delay.min(backoff::LONGEST_REQUEUE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_wait_of_weeks_is_requeued_within_minutes() {
        let in_weeks = Timestamp::now() + SignedDuration::from_hours(24 * 21);
        assert_eq!(requeue_at(in_weeks), Action::requeue(backoff::LONGEST_REQUEUE));
        assert_eq!(requeue_at(Timestamp::UNIX_EPOCH), Action::requeue(Duration::ZERO));
    }
}
