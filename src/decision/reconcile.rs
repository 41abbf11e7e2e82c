//! Carries out, one effect at a time, what [`decide`] says, until nothing is left to do in this round.

use super::context::Context;
use super::decide::{Attempt, Observed, RecordReading, Sight, Step, decide};
use super::outcome::{Intent, Next, Outcome};
use super::progress::{acted_on, execution_ids};
use super::status::{current_reason, event, is_still_to_tell, is_told, message, status};
use crate::api::v1alpha1::{ApprovalDecision, Binding, Lean, Reason, Token};
use crate::codepipeline::{Ask, CallError, Caller, PipelineReads, Record, Request, Want, record};
use crate::traces;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

/// The longest that one call to the API server may take.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause before a result is written once more, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a round could not be carried through. It is begun again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or cannot be reached.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("the Kubernetes API gave no answer within {API_TIMEOUT:?}")]
    KubernetesTimeout,
    /// The operator is going down, or another replica acts by now.
    #[error("this replica acts no longer")]
    NotLeading,
}

/// A round over one decision.
///
/// # Errors
/// When the API server could not be read or written before a request left. Results of requests that did leave are written
/// until they land.
pub async fn reconcile(decision: Arc<ApprovalDecision>, context: Arc<Context>) -> Result<Action, Error> {
    let permit = context.concurrency.clone().acquire_owned().await.map_err(|_| Error::NotLeading)?;
    if !context.is_leading() {
        return Ok(Action::await_change());
    }
    let _timer = context.metrics.reconcile();
    // On the heap, for rounds that wait to begin are as many as there are decisions.
    let span = round_span(&decision);
    Box::pin(Round::new(Arc::unwrap_or_clone(decision), &context, permit).run().instrument(span)).await
}

/// A round in the traces.
fn round_span(decision: &ApprovalDecision) -> Span {
    info_span!(
        target: traces::TARGET,
        "reconcile",
        k8s.namespace.name = decision.metadata.namespace,
        decision = decision.metadata.name,
        pipeline = decision.spec.pipeline_name,
        reason = Empty,
    )
}

struct Round<'a> {
    context: &'a Context,
    api: Api<Lean>,
    decision: ApprovalDecision,
    attempt: Attempt,
    record: Option<RecordReading>,
    sight: Option<Sight>,
    /// The request id of the call that was answered, for the log.
    request_id: Option<String>,
    /// The reason before this round, past the moment of Submitting.
    before: Option<Reason>,
    /// Counts against `--concurrency`, but while it waits for its turn to read: that must not hold back an answer.
    permit: Option<OwnedSemaphorePermit>,
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
    fn new(decision: ApprovalDecision, context: &'a Context, permit: OwnedSemaphorePermit) -> Self {
        let namespace = decision.namespace().unwrap_or_default();
        Self {
            context,
            api: Api::namespaced(context.kubernetes.clone(), &namespace),
            before: current_reason(&decision),
            decision,
            attempt: Attempt::None,
            record: None,
            sight: None,
            request_id: None,
            permit: Some(permit),
        }
    }

    async fn run(mut self) -> Result<Action, Error> {
        loop {
            let seen = Observed {
                decision: &self.decision,
                attempt: &self.attempt,
                record: self.record.as_ref(),
                sight: self.sight.as_ref(),
            };
            let written = match decide(&seen, &self.context.settings, Timestamp::now()) {
                Step::Rest => return Ok(self.rest(Next::AtChange)),
                Step::WaitUntil(time) => return Ok(self.rest(Next::At(time))),
                Step::WaitForNews { again, until } if !self.look(self.want_news(again)) => return Ok(requeue(until)),
                Step::Look(until) if !self.look(Want::Any) => return Ok(requeue(until)),
                Step::WaitForNews { .. } | Step::Look(_) => continue,
                Step::ReadRecord(token) => {
                    let begun = Timestamp::now();
                    self.record = Some(RecordReading { begun, result: self.read_record(&token).await });
                    continue;
                }
                Step::Intend(intent) => self.intend(intent).await?,
                Step::Send { intent, latest } => {
                    let (spec, token) = (&self.decision.spec, &intent.submission.token);
                    let answer = self.context.codepipeline.put_approval_result(spec, token, latest).await;
                    if !matches!(answer.result, Err(CallError::NotTaken { .. })) {
                        self.context.views.outdate(&spec.pipeline_name);
                    }
                    self.request_id = answer.request_id;
                    self.attempt = Attempt::Answered(intent, answer.result);
                    (self.record, self.sight) = (None, None);
                    continue;
                }
                Step::Settle(outcome) => {
                    let unchanged = is_told(&self.decision, &outcome, Timestamp::now());
                    let written = self.settle(&outcome).await?;
                    match (&written, outcome.next()) {
                        (Written::Done, Next::AtNews { again, until }) => {
                            self.attempt = Attempt::None;
                            if !self.look(self.want_news(again)) {
                                return Ok(requeue(until));
                            }
                            self.record = None;
                            continue;
                        }
                        (Written::Done, next @ Next::At(_)) => return Ok(self.rest(next)),
                        (Written::Done, Next::AtChange) if unchanged => return Ok(self.rest(Next::AtChange)),
                        // An edit or a new annotation may have come in while the answer was under way.
                        (Written::Done, Next::AtChange) => self.attempt = Attempt::None,
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
                    return Ok(self.rest(Next::AtChange));
                }
            }
            (self.record, self.sight) = (None, None);
        }
    }

    /// Nothing is to be seen of the pipeline for now.
    fn rest(&self, next: Next) -> Action {
        self.context.views.forget(&self.reference());
        match next {
            Next::AtChange => Action::await_change(),
            Next::At(time) | Next::AtNews { until: time, .. } => requeue(time),
        }
    }

    fn reference(&self) -> ObjectRef<ApprovalDecision> {
        ObjectRef::new(&self.decision.name_any()).within(&self.decision.namespace().unwrap_or_default())
    }

    fn want_news(&self, again: Option<Timestamp>) -> Want {
        self.sight.as_ref().map_or(Want::Any, |sight| Want::NewTo(sight.reading.clone(), again))
    }

    /// Looks at the pipeline, unless there is nothing to see that is wanted. Then a round begins when there is.
    fn look(&mut self, want: Want) -> bool {
        let spec = &self.decision.spec;
        let Ok(Binding::Run(run)) = spec.binding() else { return false };
        let ask = Ask { stage: spec.stage_name.clone(), action: spec.action_name.clone(), run: run.into() };
        let mut question = DefaultHasher::new();
        acted_on(&self.decision).hash(&mut question);
        let caller = Caller { key: self.reference(), wake: self.context.wake.clone() };
        let looked = self.context.views.look(&caller, question.finish(), &spec.pipeline_name, ask, want);
        if let Some(reading) = looked.reading {
            self.sight = Some(Sight { asked: looked.asked, reading });
            return true;
        }
        if self.context.decisions.get(&caller.key).is_none() || !self.context.is_leading() {
            // It was deleted since this round began, or another replica acts by now, and nobody else would say so.
            self.context.views.forget(&caller.key);
        }
        false
    }

    async fn read_record(&mut self, token: &Token) -> Result<Record, CallError> {
        self.permit = None;
        let (spec, ids) = (&self.decision.spec, execution_ids(&self.decision));
        let reads = PipelineReads { client: &self.context.codepipeline, pipeline: &spec.pipeline_name };
        let record = record(&reads, Request { spec, token, ids: &ids }).await;
        // On the way down there are none, and what is in hand is finished without.
        self.permit = self.context.concurrency.clone().acquire_owned().await.ok();
        record
    }

    /// Writes the intent, which fences every other view of the object: whoever works from an older one is refused.
    async fn intend(&mut self, intent: Intent) -> Result<Written, Error> {
        if let Err(error) = self.context.codepipeline.ready().await {
            self.attempt = Attempt::NotPrepared(intent, error);
            return Ok(Written::Done);
        }
        // What came before, finding credentials among it, may have taken a while.
        if !self.context.is_leading() {
            return Err(Error::NotLeading);
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
            self.context.events.publish(&self.decision, &event).await;
        }
        Ok(written)
    }

    /// Writes an outcome into the status, if it is not there already, with the object's resourceVersion as precondition.
    async fn write(&mut self, outcome: &Outcome) -> Result<Written, Error> {
        let status = Some(status(&self.decision, outcome, Timestamp::now()));
        if self.decision.status == status {
            return Ok(Written::Done);
        }
        let (name, parameters) = (self.decision.name_any(), PostParams::default());
        let object = Lean(ApprovalDecision { status, ..self.decision.clone() });
        match in_time(self.api.replace_status(&name, &parameters, &object)).await {
            Ok(Lean(object)) => {
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
            Some(Lean(live)) if live.uid() != self.decision.uid() => Ok(Written::Gone),
            Some(Lean(live)) if live.resource_version() == self.decision.resource_version() => {
                Err(Error::Kubernetes(conflict))
            }
            Some(Lean(live)) => {
                self.decision = live;
                Ok(Written::Outdated)
            }
            None => Ok(Written::Gone),
        }
    }

    fn log(&mut self, outcome: &Outcome) {
        Span::current().record("reason", outcome.reason().as_str());
        let spec = &self.decision.spec;
        let execution = self.decision.status.as_ref().and_then(|status| status.pipeline_execution_id.as_deref());
        tracing::info!(
            decision = %name(&self.decision),
            pipeline = spec.pipeline_name,
            stage = spec.stage_name,
            action = spec.action_name,
            execution,
            reason = outcome.reason().as_str(),
            aws_request_id = self.request_id.take(),
            "{}",
            message(&self.decision, outcome)
        );
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
