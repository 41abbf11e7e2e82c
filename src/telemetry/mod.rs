//! Logs and traces. Log lines go to standard error, as text or JSON, filtered by `RUST_LOG`. Traces go to an OTLP collector, if
//! one is configured.

mod log_limiter;
mod otlp;

pub use log_limiter::{LogLimiter, REPEAT_LOG_AFTER};
pub use otlp::{Error, Traces};

use axum::http::Uri;
use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// The target of spans that are exported as traces. The log omits them, because its lines already contain the same.
pub const SPAN_TARGET: &str = "approval_operator::spans";

/// The filter when `RUST_LOG` is not set. kube-runtime wraps each reconcile in a span that repeats what the line says, aws-config
/// logs twice per attempt what the reason of a decision says once, and kube's client logs each failed request, including those
/// that are retried. The watcher and the leader election log a missing permission with each attempt, in Rust's debug format; the
/// operator logs it once a minute.
const DEFAULT_FILTER: &str = "info,aws_config=error,kube_client::client::builder=off,kube_runtime=warn,kube_runtime::watcher=error,\
                              k8s_controller=off";

/// The parts of the AWS SDK that log whole requests and responses below INFO, including tokens.
const TARGETS_WITH_TOKENS: &[&str] = &["aws_sdk_codepipeline", "aws_smithy"];

/// The format of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Starts logging and, with an endpoint, tracing. Tracing ends when the returned value is dropped. A second call has no effect.
///
/// # Errors
/// When the trace exporter cannot start.
pub fn start(format: LogFormat, otlp_endpoint: Option<&Uri>) -> Result<Option<Traces>, Error> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt::layer().with_writer(stderr).with_target(false);
    let log = match format {
        LogFormat::Text => log.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let log = log.with_filter(filter.and(filter_fn(is_logged)));
    let traces = otlp_endpoint.map(Traces::start).transpose()?;
    // Without traces there is no layer for them: even an empty one makes the registry track every span of every library.
    // An error means that a subscriber is already installed, as in a test.
    let _ = match &traces {
        Some(traces) => registry().with(log).with(traces.layer()).try_init(),
        None => registry().with(log).try_init(),
    };
    Ok(traces)
}

/// Keeps tokens out of the log whatever `RUST_LOG` says, and omits spans that are only for traces.
fn is_logged(metadata: &Metadata<'_>) -> bool {
    let may_have_a_token = || TARGETS_WITH_TOKENS.iter().any(|target| metadata.target().starts_with(target));
    metadata.target() != SPAN_TARGET && (*metadata.level() <= Level::INFO || !may_have_a_token())
}
