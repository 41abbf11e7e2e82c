//! The log: to standard error, as text or as one JSON object a line, filtered by RUST_LOG. Beside it, where they are asked
//! for, traces.

use crate::cli::LogFormat;
use crate::traces::{self, Traces};
use axum::http::Uri;
use std::io::{IsTerminal, stderr};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// What is logged where RUST_LOG says nothing. kube-runtime wraps each round in a span that repeats what the line says, and
/// aws-config tells twice, at each attempt, what a decision's reason says once.
const DEFAULT_FILTER: &str = "info,aws_config=error,kube_runtime=warn";

/// The parts of the AWS SDK that log whole requests and responses, with the tokens in them, below INFO.
const WITH_TOKENS: &[&str] = &["aws_sdk_codepipeline", "aws_smithy"];

/// Starts logging, and traces where there is somewhere to send them: they end when what is returned is dropped. A second
/// call changes nothing.
///
/// # Errors
/// When the exporter of traces cannot be set up.
pub fn start(format: LogFormat, otlp_endpoint: Option<&Uri>) -> Result<Option<Traces>, traces::Error> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt::layer().with_writer(stderr).with_target(false);
    let log = match format {
        LogFormat::Text => log.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let log = log.with_filter(filter.and(filter_fn(is_for_the_log)));
    let traces = otlp_endpoint.map(Traces::start).transpose()?;
    // Even a layer that is not there has each span of each library kept, entered and left. An error means that a subscriber is there
    // already, as in a test.
    let _ = match &traces {
        Some(traces) => registry().with(log).with(traces.layer()).try_init(),
        None => registry().with(log).try_init(),
    };
    Ok(traces)
}

/// Whatever RUST_LOG says, a token stays out of the log, and so does what is for traces alone.
fn is_for_the_log(metadata: &Metadata<'_>) -> bool {
    let may_have_a_token = || WITH_TOKENS.iter().any(|target| metadata.target().starts_with(target));
    metadata.target() != traces::TARGET && (*metadata.level() <= Level::INFO || !may_have_a_token())
}
