//! The CodePipeline client: loaded when it is first needed and again after it lost its credentials, timed, counted, and
//! with the SDK's own retry off.

use super::credentials::FetchedFirst;
use super::error::{CallError, Cause, TooLate, Transmission, classify};
use super::pace::Pace;
use super::response::{bounded, ensure_answer};
use crate::api::time::to_millisecond;
use crate::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Token};
use crate::causes::with_causes;
use crate::metrics::{Metrics, outcome};
use crate::traces;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_codepipeline as sdk;
use aws_sdk_codepipeline::config::retry::RetryConfig;
use aws_sdk_codepipeline::operation::RequestId;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

/// The longest that opening a connection may take, the look-up of the name included. It is the SDK's own choice.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// How long what was found, or not, counts for everyone who asks, before region and credentials are looked for again.
/// Looking takes seconds where the instance metadata service does not answer, and a call to AWS where it does.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// An operation of the service that the operator calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    /// Answers an approval.
    PutApprovalResult,
    /// Shows the current state of each stage and action.
    GetPipelineState,
    /// Shows the runs of a pipeline, newest first.
    ListPipelineExecutions,
    /// Shows one run.
    GetPipelineExecution,
    /// Shows the history of actions, newest first.
    ListActionExecutions,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 5] = [
        Self::PutApprovalResult,
        Self::GetPipelineState,
        Self::ListPipelineExecutions,
        Self::GetPipelineExecution,
        Self::ListActionExecutions,
    ];

    /// The service's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PutApprovalResult => "PutApprovalResult",
            Self::GetPipelineState => "GetPipelineState",
            Self::ListPipelineExecutions => "ListPipelineExecutions",
            Self::GetPipelineExecution => "GetPipelineExecution",
            Self::ListActionExecutions => "ListActionExecutions",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// The result, or why there is none.
    pub result: Result<T, CallError>,
    /// The id under which AWS support finds the request.
    pub request_id: Option<String>,
}

/// A client of one account and region. Clones share what was loaded.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timeout: Duration,
    metrics: Metrics,
    pace: Pace,
    loaded: Mutex<Loaded>,
    /// When the operator began, until the first answer is sent.
    begun: std::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Loaded {
    Nothing,
    Client(Loading),
    Failure { error: CallError, seen: Instant },
}

/// A client of the SDK, and when it was loaded, which tells it from the next.
#[derive(Clone, Debug)]
struct Loading {
    client: sdk::Client,
    at: Instant,
}

impl Client {
    /// A client whose calls take at most `timeout` each, and whose reads keep a pace, in an operator that `begun` then.
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(timeout: Duration, pace: Pace, metrics: Metrics, begun: Instant) -> Self {
        let begun = std::sync::Mutex::new(Some(begun));
        Self { shared: Arc::new(Shared { timeout, metrics, pace, loaded: Mutex::new(Loaded::Nothing), begun }) }
    }

    /// Finds a region and credentials by AWS' standard chain, unless they are there already.
    ///
    /// # Errors
    /// [`Cause::CredentialsUnavailable`], with what is missing and where it was looked for.
    pub async fn ready(&self) -> Result<(), CallError> {
        self.client().await.map(drop)
    }

    /// Answers an approval with exactly one POST, which leaves before `latest` or not at all, and tells when the service
    /// took the answer.
    pub async fn put_approval_result(
        &self,
        spec: &ApprovalDecisionSpec,
        token: &Token,
        latest: Timestamp,
    ) -> Answer<Option<Timestamp>> {
        let status = match spec.result.status {
            ApprovalStatus::Approved => sdk::types::ApprovalStatus::Approved,
            ApprovalStatus::Rejected => sdk::types::ApprovalStatus::Rejected,
        };
        let result = sdk::types::ApprovalResult::builder().status(status).summary(&spec.result.summary).build();
        if let Some(begun) = self.shared.begun.lock().ok().and_then(|mut begun| begun.take()) {
            tracing::info!(since_start_ms = begun.elapsed().as_millis(), "sending the first PutApprovalResult");
        }
        let answer = self
            .call(Operation::PutApprovalResult, latest, |client, transmitted| {
                let request = client
                    .put_approval_result()
                    .pipeline_name(&spec.pipeline_name)
                    .stage_name(&spec.stage_name)
                    .action_name(&spec.action_name)
                    .token(&token.0);
                async move {
                    let result = result.map_err(SdkError::construction_failure)?;
                    request.result(result).customize().interceptor(transmitted).send().await
                }
            })
            .await;
        Answer {
            result: answer.result.map(|output| output.approved_at().and_then(timestamp)),
            request_id: answer.request_id,
        }
    }

    /// Makes a call that only reads, when it is its turn.
    pub(super) async fn read<T, E, F>(
        &self,
        operation: Operation,
        send: impl FnOnce(sdk::Client, Transmitted) -> F,
    ) -> Result<T, CallError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        self.shared.pace.turn().await;
        let result = self.call(operation, Timestamp::MAX, send).await.result;
        match &result {
            Ok(_) => self.shared.pace.speed_up(),
            Err(CallError::NotTaken { cause: Cause::Throttled, .. }) => self.shared.pace.slow_down(),
            Err(_) => {}
        }
        result
    }

    async fn call<T, E, F>(
        &self,
        operation: Operation,
        latest: Timestamp,
        send: impl FnOnce(sdk::Client, Transmitted) -> F,
    ) -> Answer<T>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let loading = match self.client().await {
            Ok(loading) => loading,
            Err(error) => return Answer { result: Err(error), request_id: None },
        };
        let begun = Instant::now();
        let transmitted = Transmitted { operation, latest, begun: Arc::default() };
        let span = call_span(operation);
        let sent = send(loading.client, transmitted.clone()).instrument(span.clone()).await;
        let (request_id, result) = match sent {
            Ok(output) => (output.request_id().map(str::to_owned), Ok(output)),
            Err(error) => (error.request_id().map(str::to_owned), Err(classify(error, transmitted.transmission()))),
        };
        self.shared.metrics.aws_request(operation, result.as_ref().err(), begun.elapsed());
        end_call(&span, result.as_ref().err(), request_id.as_deref());
        if let Err(CallError::NotTaken { cause: Cause::CredentialsUnavailable, .. }) = &result {
            self.forget(loading.at).await;
        }
        Answer { result, request_id }
    }

    /// The SDK reads its files once: a mended one is seen only by a client that is loaded anew.
    async fn forget(&self, loaded_at: Instant) {
        let mut loaded = self.shared.loaded.lock().await;
        if matches!(&*loaded, Loaded::Client(Loading { at, .. }) if *at == loaded_at && at.elapsed() >= LEAST_PAUSE) {
            *loaded = Loaded::Nothing;
        }
    }

    async fn client(&self) -> Result<Loading, CallError> {
        let mut loaded = self.shared.loaded.lock().await;
        match &*loaded {
            Loaded::Client(loading) => return Ok(loading.clone()),
            Loaded::Failure { error, seen } if seen.elapsed() < LEAST_PAUSE => return Err(error.clone()),
            Loaded::Failure { .. } | Loaded::Nothing => {}
        }
        let chain = aws_config::defaults(BehaviorVersion::latest());
        let result = match timeout(self.shared.timeout, load(chain, self.shared.timeout)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no AWS credentials were found within {:?}", self.shared.timeout)),
        };
        match result {
            Ok(client) => {
                let loading = Loading { client, at: Instant::now() };
                *loaded = Loaded::Client(loading.clone());
                Ok(loading)
            }
            Err(detail) => {
                let error = CallError::NotTaken { cause: Cause::CredentialsUnavailable, exception: None, detail };
                *loaded = Loaded::Failure { error: error.clone(), seen: Instant::now() };
                Err(error)
            }
        }
    }
}

/// A call in the traces, as OpenTelemetry names what there is of it.
fn call_span(operation: Operation) -> Span {
    info_span!(
        target: traces::TARGET,
        "call",
        otel.name = %format_args!("CodePipeline/{}", operation.as_str()),
        otel.kind = "client",
        rpc.system = "aws-api",
        rpc.service = "CodePipeline",
        rpc.method = operation.as_str(),
        outcome = Empty,
        aws.request_id = Empty,
        otel.status_code = Empty,
    )
}

fn end_call(span: &Span, error: Option<&CallError>, request_id: Option<&str>) {
    span.record("outcome", outcome(error));
    if let Some(id) = request_id {
        span.record("aws.request_id", id);
    }
    if error.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}

async fn load(chain: ConfigLoader, limit: Duration) -> Result<sdk::Client, String> {
    // Half is left for the answer: a connection that fails sooner than the call is known not to have carried it.
    let connect = CONNECT_TIMEOUT.min(limit / 2);
    let timeouts = TimeoutConfig::builder().operation_timeout(limit).connect_timeout(connect).build();
    // A second POST could hide what became of the first, and reads that are repeated unseen keep no pace.
    let once = RetryConfig::disabled();
    let config = chain.timeout_config(timeouts).retry_config(once).load().await;
    if config.region().is_none() {
        return Err(
            "no AWS region was found in AWS_REGION, the shared configuration or the instance metadata".to_owned()
        );
    }
    let Some(provider) = config.credentials_provider() else {
        return Err("no AWS credentials provider is configured".to_owned());
    };
    let credentials = FetchedFirst::fetch(provider).await.map_err(|error| with_causes(&error))?;
    Ok(sdk::Client::from_conf(sdk::config::Builder::from(&config).credentials_provider(credentials).build()))
}

/// Sees to it that a request leaves in time or not at all, and notes that it is handed to the connection: before that, no
/// failure can mean that it was applied. A response that is none of the service's becomes a failure.
#[derive(Clone, Debug)]
pub(super) struct Transmitted {
    operation: Operation,
    latest: Timestamp,
    begun: Arc<AtomicBool>,
}

impl Transmitted {
    fn transmission(&self) -> Transmission {
        if self.begun.load(Ordering::Acquire) { Transmission::Begun } else { Transmission::NotBegun }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Transmitted {
    fn name(&self) -> &'static str {
        "Transmitted"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if Timestamp::now() >= self.latest {
            return Err(TooLate(self.latest).into());
        }
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        *body = bounded(std::mem::replace(body, SdkBody::taken()), self.operation);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        match response.body().bytes() {
            Some(body) if response.status().is_success() => Ok(ensure_answer(self.operation, body)?),
            Some(_) | None => Ok(()),
        }
    }
}

/// The service's time as ours; none if it lies outside every calendar.
pub(super) fn timestamp(time: &sdk::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.as_nanos()).ok().map(to_millisecond)
}

#[cfg(test)]
mod answers;
