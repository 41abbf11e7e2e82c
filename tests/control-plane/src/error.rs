//! Why a control plane did not start, said so that a reader of a test's output knows what to do. The servers' folder
//! is gone by then, so whatever of their logs matters is in the message.

use std::io;
use std::path::PathBuf;

/// Lines of a server's log that an error shows.
const LAST_LINES: usize = 15;

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not where it should be.
    #[error("no {program} in {folder}: {remedy}", folder = folder.display())]
    Missing {
        /// The program's name.
        program: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A server ended instead of serving.
    #[error("{server} ended instead of serving; its last lines:\n{lines}")]
    Ended {
        /// The server's name.
        server: &'static str,
        /// The end of its log.
        lines: String,
    },
    /// The API server runs and does not get ready.
    #[error("kube-apiserver was not ready after {seconds} s; its last lines:\n{lines}")]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// The end of its log.
        lines: String,
    },
    /// Another process has the API server's port.
    #[error("port {port} of 127.0.0.1, which the API server was to listen on, is in use by another process")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: a refusal of the system, with what was being done.
    pub(crate) fn doing(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

/// The end of a log, for an error.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}
