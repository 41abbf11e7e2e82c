//! The CodePipeline client. It is loaded when it is first needed, and again after its credentials became invalid, after AWS denied access,
//! or while the operator's clock is wrong. It times and counts its calls, and limits the rate of its reads.

use super::call_metrics::CallMetrics;
use super::call_span::{call_span, end_call};
use super::clock_skew::AwsClock;
use super::destination::Destination;
use super::error::{CallError, RetryCause, classify};
use super::identity::{Verified, VerifyError};
use super::operation::Operation;
use super::rate_limiter::{RateLimiter, WaitTime};
use super::sdk_client::{SdkClient, Session};
use super::sdk_config::ClientSettings;
use super::send_guard::SendGuard;
use super::session_name::SessionName;
use crate::api::time::to_millisecond;
use crate::api::v1alpha1::{ApprovalStatus, Location, Submission};
use crate::backoff;
use aws_sdk_codepipeline as sdk;
use aws_sdk_codepipeline::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, watch};
use tracing::Instrument;

/// The response to a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response<T> {
    /// The output of the operation, or why there is none.
    pub result: Result<T, CallError>,
    /// The ID by which AWS Support finds the request.
    pub request_id: Option<String>,
}

/// A client for one account and region. Clones share the SDK client, the rate limiter and the metrics. Clients of different destinations
/// share only the HTTP client, so they never wait for each other.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ClientSettings,
    destination: Destination,
    rate_limiter: RateLimiter,
    metrics: CallMetrics,
    cached: Mutex<CachedClient>,
    /// The location of the cached client, beside the lock that is held while a client is loaded.
    location: watch::Sender<Option<Location>>,
}

#[derive(Debug)]
enum CachedClient {
    Empty,
    Loaded(SdkClient),
    Failed { error: VerifyError, failed_at: Instant },
}

impl Client {
    /// A client that has not loaded anything yet.
    #[must_use]
    pub fn new(
        settings: ClientSettings,
        destination: Destination,
        rate_limiter: RateLimiter,
        metrics: CallMetrics,
    ) -> Self {
        let (cached, location) = (Mutex::new(CachedClient::Empty), watch::Sender::default());
        Self { shared: Arc::new(Shared { settings, destination, rate_limiter, metrics, cached, location }) }
    }

    /// Finds a region and credentials, and asks STS who they belong to: at once, unless the client has just done so. A session of a
    /// role that STS no longer permits is not used any more.
    ///
    /// # Errors
    /// With what is missing and where the operator searched, what STS said, or how wrong the operator's clock is.
    pub async fn verify(&self) -> Result<Verified, VerifyError> {
        let called_at = Instant::now();
        let mut loaded = self.sdk_client().await?;
        // One that was loaded during this call is new, however long that took.
        let is_old = loaded.loaded_at + backoff::AWS_CONFIG <= called_at;
        if is_old && let Some(claimed_at) = self.claim(loaded.loaded_at).await {
            loaded = self.replace(claimed_at, self.load_client().await).await?;
        }
        loaded.clock.check()?;
        Ok(loaded.verified)
    }

    /// Obtains the credentials to submit the result of a decision, and checks the operator's clock. With a role, they are a session with
    /// the name of the decision, and last until the attempt has ended. Without a role, they are the client's own.
    ///
    /// # Errors
    /// [`RetryCause::AccessDenied`] if STS refuses to let the operator assume the role. [`RetryCause::CredentialsUnavailable`], with what
    /// is missing and where the operator searched. [`RetryCause::ClockSkew`].
    pub async fn open_session(&self, name: &SessionName) -> Result<Session, CallError> {
        let mut loaded = self.sdk_client().await?;
        if loaded.clock.check().is_err() {
            // A clock that is slowly corrected seems wrong until AWS responds. A new client asks STS.
            self.discard(loaded.loaded_at).await;
            loaded = self.sdk_client().await?;
        }
        loaded.clock.check()?;
        let target = match &self.shared.destination {
            Destination::Ambient => return Ok(Session(loaded)),
            Destination::Target(target) => target,
        };
        let Some(role) = &target.role else { return Ok(Session(loaded)) };
        match loaded.open_session(target, role, name, self.shared.settings.timeout).await {
            Ok(session) => Ok(session),
            Err(error) => {
                let error = blame_clock(error.into(), &loaded.clock);
                self.reload_after(&error, loaded.loaded_at).await;
                Err(error)
            }
        }
    }

    /// What counts and times its calls.
    #[must_use]
    pub fn metrics(&self) -> &CallMetrics {
        &self.shared.metrics
    }

    /// The account of the credentials, and the region; none before credentials are loaded, and after that failed. It does not wait.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        self.shared.location.borrow().clone()
    }

    /// Reports when the location changes, becomes known, or is not known any more.
    #[must_use]
    pub fn location_changes(&self) -> watch::Receiver<Option<Location>> {
        self.shared.location.subscribe()
    }

    /// Submits a result with exactly one POST, which is sent before `send_deadline` or not at all. Returns the time at which
    /// CodePipeline accepted the result.
    pub async fn put_approval_result(
        &self,
        session: &Session,
        submission: &Submission,
        send_deadline: Timestamp,
    ) -> Response<Option<Timestamp>> {
        let Submission { pipeline_name, stage_name, action_name, token, result, .. } = submission;
        let status = match result.status {
            ApprovalStatus::Approved => sdk::types::ApprovalStatus::Approved,
            ApprovalStatus::Rejected => sdk::types::ApprovalStatus::Rejected,
        };
        let result = sdk::types::ApprovalResult::builder().status(status).summary(&result.summary).build();
        let response = self
            .call(session.0.clone(), Operation::PutApprovalResult, send_deadline, |client, guard| {
                let request = client
                    .put_approval_result()
                    .pipeline_name(pipeline_name)
                    .stage_name(stage_name)
                    .action_name(action_name)
                    .token(&token.0);
                async move {
                    let result = result.map_err(SdkError::construction_failure)?;
                    request.result(result).customize().interceptor(guard).send().await
                }
            })
            .await;
        Response {
            result: response.result.map(|output| output.approved_at().and_then(timestamp)),
            request_id: response.request_id,
        }
    }

    /// Whether the rate limiter slows down reads because CodePipeline throttled them.
    pub(super) fn is_slowed_down(&self) -> bool {
        self.shared.rate_limiter.is_slowed_down()
    }

    /// Makes a read-only call as soon as the rate limiter permits it, and adds that wait to `waited`.
    pub(super) async fn read<T, E, F>(
        &self,
        operation: Operation,
        waited: &WaitTime,
        send: impl FnOnce(sdk::Client, SendGuard) -> F,
    ) -> Result<T, CallError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        waited.add(self.shared.rate_limiter.acquire().await);
        let result = self.call(self.sdk_client().await?, operation, Timestamp::MAX, send).await.result;
        match &result {
            Ok(_) => self.shared.rate_limiter.on_success(),
            Err(CallError::NotApplied { cause: RetryCause::Throttled, .. }) => self.shared.rate_limiter.on_throttled(),
            Err(CallError::Refused { .. } | CallError::NotApplied { .. } | CallError::Indeterminate { .. }) => {}
        }
        result
    }

    async fn call<T, E, F>(
        &self,
        loaded: SdkClient,
        operation: Operation,
        send_deadline: Timestamp,
        send: impl FnOnce(sdk::Client, SendGuard) -> F,
    ) -> Response<T>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let SdkClient { client, clock, loaded_at, .. } = loaded;
        let started_at = Instant::now();
        let guard = SendGuard::new(operation, send_deadline, clock.clone());
        let span = call_span(operation);
        let sent = send(client, guard.clone()).instrument(span.clone()).await;
        let (request_id, result) = match sent {
            Ok(output) => (output.request_id().map(str::to_owned), Ok(output)),
            Err(error) => {
                (error.request_id().map(str::to_owned), Err(classify(error, guard.transmission(), &guard.server())))
            }
        };
        // A response without a request ID does not come from AWS.
        if let (Some(time), Some(_)) = (guard.aws_time(), &request_id) {
            clock.update(time);
            self.shared.metrics.set_clock_skew(clock.skew());
        }
        let result = result.map_err(|error| blame_clock(error, &clock));
        self.shared.metrics.record(operation, result.as_ref().err(), started_at.elapsed());
        end_call(&span, result.as_ref().err(), request_id.as_deref());
        if let Err(error) = &result {
            self.reload_after(error, loaded_at).await;
        }
        Response { result, request_id }
    }

    /// Loads another client in place of the one that was loaded at this time, if a call failed in a way that this may fix.
    async fn reload_after(&self, error: &CallError, loaded_at: Instant) {
        match error.cause() {
            RetryCause::CredentialsUnavailable | RetryCause::ClockSkew => self.discard(loaded_at).await,
            RetryCause::AccessDenied => self.reload(loaded_at),
            RetryCause::Throttled | RetryCause::ServiceUnavailable => {}
        }
    }

    /// Discards the client that was loaded at this time. An SDK client reads its files only once, so a corrected file takes
    /// effect only in a new one.
    async fn discard(&self, loaded_at: Instant) {
        let mut cached = self.shared.cached.lock().await;
        if matches!(&*cached, CachedClient::Loaded(loaded) if loaded.loaded_at == loaded_at)
            && loaded_at.elapsed() >= backoff::AWS_CONFIG
        {
            *cached = CachedClient::Empty;
        }
    }

    /// Starts to load another client in place of the one that was loaded at this time, unless that was recently: AWS denies a revoked
    /// session, and a user who lost a policy, as it denies a missing permission, and newer credentials may be available. Most often
    /// there are none, so the current client stays in use until another one is loaded.
    fn reload(&self, loaded_at: Instant) {
        if loaded_at.elapsed() >= backoff::AWS_RELOAD {
            let client = self.clone();
            tokio::spawn(async move {
                if let Some(claimed_at) = client.claim(loaded_at).await
                    && let Err(error) = client.replace(claimed_at, client.load_client().await).await
                {
                    tracing::warn!("could not load AWS credentials again after AWS denied access: {error}");
                }
            });
        }
    }

    /// Marks the client that was loaded at this time as loaded now, so that it is reloaded once. None if another one is in use.
    async fn claim(&self, loaded_at: Instant) -> Option<Instant> {
        match &mut *self.shared.cached.lock().await {
            CachedClient::Loaded(current) if current.loaded_at == loaded_at => {
                current.loaded_at = Instant::now();
                Some(current.loaded_at)
            }
            CachedClient::Loaded(_) | CachedClient::Failed { .. } | CachedClient::Empty => None,
        }
    }

    /// Replaces the claimed client, unless loading another one failed and the claimed one may still be used. Returns the loaded one.
    async fn replace(
        &self,
        claimed_at: Instant,
        loaded: Result<SdkClient, VerifyError>,
    ) -> Result<SdkClient, VerifyError> {
        let is_kept = loaded.as_ref().is_err_and(|error| !error.revokes_current());
        let mut cached = self.shared.cached.lock().await;
        if !is_kept && matches!(&*cached, CachedClient::Loaded(current) if current.loaded_at == claimed_at) {
            *cached = self.cache_entry(&loaded);
        }
        loaded
    }

    /// Returns the cached client, or loads one. Every caller shares the outcome, and a failure is cached for
    /// [`backoff::AWS_CONFIG`].
    pub(super) async fn sdk_client(&self) -> Result<SdkClient, VerifyError> {
        let mut cached = self.shared.cached.lock().await;
        match &*cached {
            CachedClient::Loaded(loaded) => return Ok(loaded.clone()),
            CachedClient::Failed { error, failed_at } if failed_at.elapsed() < backoff::AWS_CONFIG => {
                return Err(error.clone());
            }
            CachedClient::Failed { .. } | CachedClient::Empty => {}
        }
        let result = self.load_client().await;
        *cached = self.cache_entry(&result);
        result
    }

    async fn load_client(&self) -> Result<SdkClient, VerifyError> {
        SdkClient::load(&self.shared.settings, &self.shared.destination).await
    }

    /// What to keep of a client that was loaded or failed to load.
    fn cache_entry(&self, result: &Result<SdkClient, VerifyError>) -> CachedClient {
        let loaded = result.as_ref().ok();
        let location = loaded.map(|loaded| loaded.verified.location.clone());
        let is_changed = self.shared.location.send_if_modified(|known| {
            let is_changed = *known != location;
            *known = location;
            is_changed
        });
        if let Some(loaded) = loaded {
            if is_changed {
                self.log_identity(&loaded.verified);
            }
            self.shared.metrics.set_clock_skew(loaded.clock.skew());
        }
        match result {
            Ok(loaded) => CachedClient::Loaded(loaded.clone()),
            Err(error) => CachedClient::Failed { error: error.clone(), failed_at: Instant::now() },
        }
    }

    /// Says on whose behalf the operator submits results: once at the start, and after that when it changes or is known again.
    fn log_identity(&self, Verified { location, caller_arn }: &Verified) {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            target = self.shared.metrics.target(),
            account = location.account_id,
            region = location.region,
            caller = caller_arn,
            "AWS accepted the operator's credentials"
        );
    }
}

/// AWS refuses the signatures of a clock that is minutes wrong as it refuses wrong credentials.
fn blame_clock(error: CallError, clock: &AwsClock) -> CallError {
    match (error, clock.check()) {
        (CallError::NotApplied { cause: RetryCause::CredentialsUnavailable, exception, detail }, Err(skew)) => {
            CallError::NotApplied { cause: RetryCause::ClockSkew, exception, detail: format!("{skew}; {detail}") }
        }
        (error, _) => error,
    }
}

/// Converts a CodePipeline time; none if it is outside the calendar or before 1970: the API server refuses a status with a year below 0,
/// and the outcome of a submission would never be recorded.
pub(super) fn timestamp(time: &sdk::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.as_nanos()).ok().filter(|time| *time >= Timestamp::UNIX_EPOCH).map(to_millisecond)
}

#[cfg(test)]
mod tests;
