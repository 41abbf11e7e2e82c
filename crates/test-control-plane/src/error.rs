//! Why a control plane did not start. The messages include the end of the servers' logs, because their folder is
//! removed.

use std::io;
use std::path::PathBuf;

/// The number of log lines in an error.
const MAX_LOG_LINES: usize = 15;

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A binary is missing.
    #[error("no {binary} in {folder}: {remedy}", folder = folder.display())]
    Missing {
        /// The name of the binary.
        binary: &'static str,
        /// The folder that should have it.
        folder: PathBuf,
        /// How to fix it.
        remedy: &'static str,
    },
    /// A server exited during its start.
    #[error("{server} exited during its start; the end of its log:\n{lines}")]
    Ended {
        /// The name of the server.
        server: &'static str,
        /// The end of its log.
        lines: String,
    },
    /// The API server runs, but does not become ready.
    #[error("kube-apiserver was not ready after {seconds} s; the end of its log:\n{lines}")]
    NotReady {
        /// The timeout.
        seconds: u64,
        /// The end of its log.
        lines: String,
    },
    /// Another process uses the port of the API server.
    #[error("the API server cannot listen on 127.0.0.1:{port}: another process uses the port")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// An I/O error.
    #[error("{action}: {source}")]
    Io {
        /// What failed.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: an I/O error and what failed.
    pub(crate) fn io(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// The end of a log, for an error.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.len().saturating_sub(MAX_LOG_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}
