//! The log: to standard error, as text or as one JSON object a line, filtered by RUST_LOG.

use crate::cli::LogFormat;
use std::io::{IsTerminal, stderr};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// What is logged where RUST_LOG says nothing. kube-runtime wraps each round in a span that repeats what the line says.
const DEFAULT_FILTER: &str = "info,kube_runtime=warn";

/// The parts of the AWS SDK that log whole requests and responses, with the tokens in them, below INFO.
const WITH_TOKENS: &[&str] = &["aws_sdk_codepipeline", "aws_smithy"];

/// Starts logging. A second call changes nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let layer = fmt::layer().with_writer(stderr).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // An error means that a subscriber is there already, as in a test.
    let _ = registry().with(layer.with_filter(filter.and(filter_fn(has_no_token)))).try_init();
}

/// Whatever RUST_LOG says, a token stays out of the log.
fn has_no_token(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !WITH_TOKENS.iter().any(|target| metadata.target().starts_with(target))
}
