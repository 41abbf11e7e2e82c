//! Reads the history of one execution.

use crate::codepipeline::error::CallError;
use crate::codepipeline::pipeline::ActionExecution;
use crate::codepipeline::reader::PipelineReader;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The most pages of a list that are read, 100 entries each.
pub const MAX_PAGES: usize = 20;

/// What was read of the history of an execution.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadHistory {
    /// When the poll started that last read it.
    pub at: Timestamp,
    /// The stages and actions that were queried then, and in each poll since: the entries of all others were dropped.
    pub actions: BTreeSet<(String, String)>,
}

/// Reads the history of one execution, and returns whether that was all of it.
pub async fn read_all_pages(
    reader: &impl PipelineReader,
    execution: &str,
    entries: &mut Vec<ActionExecution>,
) -> Result<bool, CallError> {
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let page = match reader.action_executions(Some(execution), next).await {
            Ok(page) => page,
            Err(error) if error.unknown_execution().is_some() => return Ok(false),
            Err(error) => return Err(error),
        };
        entries.extend(page.items);
        next = page.next;
        if next.is_none() {
            return Ok(true);
        }
    }
    tracing::warn!(execution, pages = MAX_PAGES, "the execution has more history than the operator reads");
    Ok(false)
}
