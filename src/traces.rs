//! Traces over OTLP, for `--otlp-endpoint`: a span for each round over a decision, one for each look at a pipeline, and in
//! them one for each call to CodePipeline, with the id under which AWS finds the request. Without the flag there is nothing
//! of it but spans that nobody takes.
//!
//! What a span carries is named here and at its place, and is never a log line or an error's text: the service may quote a
//! token in its words.

use crate::causes::with_causes;
use axum::http::Uri;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::{FilterFn, Filtered, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The target of spans that are for traces only. The log's lines say by themselves what these would put before them.
pub const TARGET: &str = "approval_operator::spans";

/// The crate, whose spans alone are exported: those of the AWS SDK and of kube carry what is not ours to publish.
const CRATE: &str = "approval_operator";

/// The longest that one request to the collector takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of the program waits for the last spans to get out.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a collector that fails is not complained of again.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// What a collector answers is a few bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter's thread.
    #[error("the operating system: {0}")]
    System(#[source] std::io::Error),
    /// The certificates of authorities.
    #[error("--otlp-endpoint: no CA certificates can be loaded ({0}); SSL_CERT_FILE names a file of them")]
    Certificates(#[source] std::io::Error),
    /// An `OTEL_` variable.
    #[error("--otlp-endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The exporter at work. What it still holds is sent when this is dropped, for as long as that may take.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Exports spans to a collector, in batches and from a thread of its own.
    ///
    /// # Errors
    /// When the exporter cannot be set up. A collector that cannot be reached is no error: the log tells of it, and what the
    /// queue has no room for is dropped.
    pub fn start(endpoint: &Uri) -> Result<Self, Error> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new()?)
            .with_endpoint(format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/')))
            .with_timeout(REQUEST_TIMEOUT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name("approval-operator")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// What hands the operator's spans to the exporter.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
    ) -> Filtered<OpenTelemetryLayer<S, Tracer>, FilterFn, S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(CRATE))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_ours as fn(&Metadata<'_>) -> bool))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last traces did not get to --otlp-endpoint");
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(CRATE)
}

/// Sends what is exported. The exporter's thread has no asynchronous runtime, and outlives the operator's: so this has one
/// of its own, which that thread drives.
#[derive(Debug)]
struct Collector {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// When the log was last told of a failure.
    said: Mutex<Option<Instant>>,
}

impl Collector {
    fn new() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(Error::Certificates)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { runtime, client: Client::builder(TokioExecutor::new()).build(connector), said: Mutex::default() })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
        if !head.status.is_success() {
            return Err(format!("it answered {}", head.status).into());
        }
        Ok(Response::from_parts(head, body))
    }

    /// Batches follow each other every few seconds, and so would the log's lines.
    fn complain(&self, error: &(dyn std::error::Error + 'static)) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= COMPLAINT_PAUSE) {
            *said = Some(Instant::now());
            tracing::warn!("traces cannot be sent to --otlp-endpoint, and are dropped: {}", with_causes(error));
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async { timeout(REQUEST_TIMEOUT, self.send(request)).await? };
        let answer: Result<_, HttpError> = self.runtime.block_on(answer);
        answer.inspect_err(|error| self.complain(error.as_ref()))
    }
}
