//! Carries out, one effect at a time, what [`decide`] says, until nothing is left to do in this round.

use super::decide::{Attempt, Observed, Reading, Step, decide};
use super::limits::Settings;
use super::outcome::{Intent, Outcome};
use super::progress::execution_ids;
use super::status::{current_reason, event, is_still_to_tell, is_told, message, status};
use crate::api::v1alpha1::{ApprovalDecision, Reason};
use crate::codepipeline::{CallError, Client, Record, Request};
use crate::metrics::Metrics;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Api, Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The longest that one call to the API server may take.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause before a result is written once more, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What rounds share.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub kubernetes: kube::Client,
    /// The service.
    pub codepipeline: Client,
    /// What decisions depend on.
    pub settings: Settings,
    /// Where rounds are counted.
    pub metrics: Metrics,
    /// Where Events go.
    pub recorder: Recorder,
    /// How many rounds may run at a time, over all watched namespaces.
    pub concurrency: Arc<Semaphore>,
}

/// Why a round could not be carried through. It is begun again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or cannot be reached.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("the Kubernetes API gave no answer within {API_TIMEOUT:?}")]
    KubernetesTimeout,
    /// The operator is going down.
    #[error("the operator is shutting down")]
    ShuttingDown,
}

/// A round over one decision.
///
/// # Errors
/// When the API server could not be read or written before a request left. Results of requests that did leave are written
/// until they land.
pub async fn reconcile(decision: Arc<ApprovalDecision>, context: Arc<Context>) -> Result<Action, Error> {
    let _permit = context.concurrency.acquire().await.map_err(|_| Error::ShuttingDown)?;
    let _timer = context.metrics.reconcile();
    Round::new(Arc::unwrap_or_clone(decision), &context).run().await
}

struct Round<'a> {
    context: &'a Context,
    api: Api<ApprovalDecision>,
    decision: ApprovalDecision,
    attempt: Attempt,
    record: Option<Reading>,
    /// The request id of the call that was answered, for the log.
    request_id: Option<String>,
    /// The reason before this round, past the moment of Submitting.
    before: Option<Reason>,
}

/// What became of a write.
enum Written {
    /// The object is as it is now.
    Done,
    /// Somebody else wrote first, and the object was read anew: what was decided no longer counts.
    Outdated,
    /// The object was deleted.
    Gone,
}

impl<'a> Round<'a> {
    fn new(decision: ApprovalDecision, context: &'a Context) -> Self {
        let namespace = decision.namespace().unwrap_or_default();
        Self {
            context,
            api: Api::namespaced(context.kubernetes.clone(), &namespace),
            before: current_reason(&decision),
            decision,
            attempt: Attempt::None,
            record: None,
            request_id: None,
        }
    }

    async fn run(mut self) -> Result<Action, Error> {
        loop {
            let seen = Observed { decision: &self.decision, attempt: &self.attempt, record: self.record.as_ref() };
            let written = match decide(&seen, &self.context.settings, Timestamp::now()) {
                Step::Rest => return Ok(Action::await_change()),
                Step::WaitUntil(time) => return Ok(requeue(time)),
                Step::ReadRecord => {
                    let begun = Timestamp::now();
                    self.record = Some(Reading { begun, result: self.read_record().await });
                    continue;
                }
                Step::Intend(intent) => self.intend(intent).await?,
                Step::Send { intent, latest } => {
                    let (spec, token) = (&self.decision.spec, &intent.submission.token);
                    let answer = self.context.codepipeline.put_approval_result(spec, token, latest).await;
                    self.request_id = answer.request_id;
                    self.attempt = Attempt::Answered(intent, answer.result);
                    self.record = None;
                    continue;
                }
                Step::Settle(outcome) => {
                    let unchanged = is_told(&self.decision, &outcome, Timestamp::now());
                    let written = self.settle(&outcome).await?;
                    match (&written, outcome.next()) {
                        (Written::Done, Some(next)) => return Ok(requeue(next)),
                        (Written::Done, None) if unchanged => return Ok(Action::await_change()),
                        // An edit or a new annotation may have come in while the answer was under way.
                        (Written::Done, None) => self.attempt = Attempt::None,
                        (Written::Outdated | Written::Gone, _) => {}
                    }
                    written
                }
            };
            match written {
                Written::Done => {}
                Written::Outdated => self.attempt = Attempt::None,
                Written::Gone => {
                    tracing::info!(decision = %name(&self.decision), "the decision was deleted meanwhile");
                    return Ok(Action::await_change());
                }
            }
            self.record = None;
        }
    }

    async fn read_record(&self) -> Result<Record, CallError> {
        let (spec, ids) = (&self.decision.spec, execution_ids(&self.decision));
        self.context.codepipeline.record(Request { spec, token: &spec.token, ids: &ids }).await
    }

    /// Writes the intent, which fences every other view of the object: whoever works from an older one is refused.
    async fn intend(&mut self, intent: Intent) -> Result<Written, Error> {
        if let Err(error) = self.context.codepipeline.ready().await {
            self.attempt = Attempt::NotPrepared(intent, error);
            return Ok(Written::Done);
        }
        // Finding credentials may have taken a while.
        if self.context.concurrency.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let outcome = Outcome::Submitting(intent.clone());
        let written = self.write(&outcome).await?;
        if matches!(written, Written::Done) {
            self.attempt = Attempt::Intended(intent);
        }
        Ok(written)
    }

    /// Writes what came of the decision. The result of a request that was sent is written until it lands, for nobody else
    /// has seen it; but only over its own intent.
    async fn settle(&mut self, outcome: &Outcome) -> Result<Written, Error> {
        let event = event(&self.decision, outcome, self.before);
        let mut pause = FIRST_PAUSE;
        let written = loop {
            let written = self.write(outcome).await;
            let sent = match &self.attempt {
                Attempt::Answered(intent, _) => Some(&intent.submission),
                Attempt::None | Attempt::NotPrepared(..) | Attempt::Intended(_) => None,
            };
            let error = match (written, sent) {
                (Ok(Written::Outdated), Some(sent))
                    if is_still_to_tell(&self.decision, sent, outcome, Timestamp::now()) =>
                {
                    continue;
                }
                (Ok(written), _) => break written,
                (Err(error), Some(_)) => error,
                (Err(error), None) => return Err(error),
            };
            tracing::warn!(
                decision = %name(&self.decision),
                reason = outcome.reason().as_str(),
                %error,
                "the result could not be written, and is tried again"
            );
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        if let (Written::Done, Some(event)) = (&written, event) {
            self.log(outcome);
            self.context.metrics.outcome(&self.decision, outcome);
            self.before = Some(outcome.reason());
            self.publish(&event).await;
        }
        Ok(written)
    }

    /// Writes an outcome into the status, if it is not there already, with the object's resourceVersion as precondition.
    async fn write(&mut self, outcome: &Outcome) -> Result<Written, Error> {
        let now = Timestamp::now();
        if is_told(&self.decision, outcome, now) {
            return Ok(Written::Done);
        }
        let mut object = self.decision.clone();
        object.status = Some(status(&self.decision, outcome, now));
        let (name, parameters) = (object.name_any(), PostParams::default());
        match in_time(self.api.replace_status(&name, &parameters, &object)).await {
            Ok(object) => {
                self.decision = object;
                Ok(Written::Done)
            }
            Err(Error::Kubernetes(error)) if code(&error) == Some(409) => self.reload(error).await,
            Err(Error::Kubernetes(error)) if code(&error) == Some(404) => Ok(Written::Gone),
            Err(error) => Err(error),
        }
    }

    /// Reads the object anew after a conflict. Where nobody wrote it, the conflict is somebody's refusal, an admission
    /// webhook's say, and trying again at once would not end.
    async fn reload(&mut self, conflict: Box<kube::Error>) -> Result<Written, Error> {
        match in_time(self.api.get_opt(&self.decision.name_any())).await? {
            Some(live) if live.uid() != self.decision.uid() => Ok(Written::Gone),
            Some(live) if live.resource_version() == self.decision.resource_version() => {
                Err(Error::Kubernetes(conflict))
            }
            Some(live) => {
                self.decision = live;
                Ok(Written::Outdated)
            }
            None => Ok(Written::Gone),
        }
    }

    fn log(&self, outcome: &Outcome) {
        let spec = &self.decision.spec;
        let execution = self.decision.status.as_ref().and_then(|status| status.pipeline_execution_id.as_deref());
        tracing::info!(
            decision = %name(&self.decision),
            pipeline = spec.pipeline_name,
            stage = spec.stage_name,
            action = spec.action_name,
            execution,
            reason = outcome.reason().as_str(),
            aws_request_id = self.request_id,
            "{}",
            // The service may quote what it refuses.
            message(&self.decision, outcome).replace(&spec.token.0, "…")
        );
    }

    /// An Event that is lost costs a line in `kubectl describe`, and must not cost more.
    async fn publish(&self, event: &kube::runtime::events::Event) {
        let reference = self.decision.object_ref(&());
        match timeout(API_TIMEOUT, self.context.recorder.publish(event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(decision = %name(&self.decision), %error, "the Event could not be written");
            }
            Err(_) => tracing::warn!(decision = %name(&self.decision), "writing the Event took too long"),
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
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

fn requeue(time: Timestamp) -> Action {
    Action::requeue(Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default())
}

/// `namespace/name`, for the log.
#[must_use]
pub fn name(decision: &ApprovalDecision) -> String {
    format!("{}/{}", decision.namespace().unwrap_or_default(), decision.name_any())
}
