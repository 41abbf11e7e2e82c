//! Traces over OTLP, for `--otlp-endpoint`: a span for each reconcile and for each poll of a pipeline, with a child span for each
//! call to CodePipeline. The child has the request ID, under which AWS support finds the request. Without the flag, no one
//! collects the spans.
//!
//! A span has only the attributes that the code names. It never has a log line or the text of an error, because CodePipeline may
//! quote a token in its messages.

use super::log_limiter::LogLimiter;
use crate::error_chain::display_chain;
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
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::{FilterFn, Filtered, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The crate whose spans are exported. Spans of the AWS SDK and of kube may have attributes that must not be published.
const CRATE: &str = "approval_operator";

/// The longest time that one request to the collector may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the shutdown waits for the last spans to be exported.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest response that is read, in bytes. A collector returns a few.
const MAX_RESPONSE: usize = 64 * 1024;

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter's runtime.
    #[error("operating system error: {0}")]
    System(#[source] std::io::Error),
    /// The CA certificates.
    #[error("--otlp-endpoint: could not load CA certificates ({0}); set SSL_CERT_FILE to a CA bundle")]
    Certificates(#[source] std::io::Error),
    /// An `OTEL_` variable.
    #[error("--otlp-endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// A running exporter. Dropping it exports what is left, for a limited time.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to export spans to a collector, in batches and from a thread of its own.
    ///
    /// # Errors
    /// When the exporter cannot start. A collector that cannot be reached is not an error: the log reports it, and spans that do
    /// not fit in the queue are dropped.
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

    /// The layer that passes the operator's spans to the exporter.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
    ) -> Filtered<OpenTelemetryLayer<S, Tracer>, FilterFn, S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(CRATE))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_exported as fn(&Metadata<'_>) -> bool))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "could not export the last traces to --otlp-endpoint");
        }
    }
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(CRATE)
}

/// The HTTP client of the exporter. The exporter's thread has no asynchronous runtime and outlives the operator's, so the client
/// has a runtime of its own, which that thread drives.
#[derive(Debug)]
struct Collector {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Batches are sent every few seconds.
    failures: LogLimiter,
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
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { runtime, client, failures: LogLimiter::default() })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
        if !head.status.is_success() {
            return Err(format!("the collector returned {}", head.status).into());
        }
        Ok(Response::from_parts(head, body))
    }

    fn warn(&self, error: &(dyn std::error::Error + 'static)) {
        if self.failures.is_due() {
            tracing::warn!("could not export traces to --otlp-endpoint, dropping them: {}", display_chain(error));
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = async { timeout(REQUEST_TIMEOUT, self.send(request)).await? };
        let response: Result<_, HttpError> = self.runtime.block_on(response);
        response.inspect_err(|error| self.warn(error.as_ref()))
    }
}
