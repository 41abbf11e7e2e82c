//! The log: to standard error, as text or as one JSON object a line, filtered by RUST_LOG.

use crate::cli::LogFormat;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

/// What is logged where RUST_LOG says nothing. kube-runtime wraps each round in a span that repeats what the line says.
const DEFAULT_FILTER: &str = "info,kube_runtime=warn";

/// Starts logging. A second call changes nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // An error means that a subscriber is there already, as in a test.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
