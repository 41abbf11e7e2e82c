//! The calls of a poll that may fail without failing the poll: all but the first of each list. What a failed one would have shown counts
//! as not read.

use crate::codepipeline::error::{CallError, RetryCause};
use crate::codepipeline::operation::Operation;
use std::collections::HashMap;

/// The most failures of an operation in one poll. One execution may be unreadable, and more point to the operation: a policy that does
/// not allow it, or a network in which every further call would wait for `--aws-timeout`.
const MAX_FAILURES: usize = 3;

/// Whether a poll may make further calls.
#[derive(Debug, Default)]
pub struct OptionalCalls {
    throttled_by: Option<CallError>,
    failures: HashMap<Operation, Vec<CallError>>,
}

impl OptionalCalls {
    /// Why the poll makes no further calls of the operation, if it does not.
    pub fn stopped_by(&self, operation: Operation) -> Option<&CallError> {
        let last = || self.failures.get(&operation)?.get(MAX_FAILURES - 1);
        self.throttled_by.as_ref().or_else(last)
    }

    /// Makes the call, unless the operation is stopped.
    pub async fn make<T>(
        &mut self,
        operation: Operation,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if let Some(error) = self.stopped_by(operation) {
            return Err(error.clone());
        }
        let result = call.await;
        match &result {
            Err(error) if error.unknown_execution().is_none() => {
                tracing::debug!(operation = operation.as_str(), "an optional call failed: {}", error.detail());
                if error.cause() == RetryCause::Throttled {
                    self.throttled_by = Some(error.clone());
                }
                self.failures.entry(operation).or_default().push(error.clone());
            }
            // That an execution does not exist is a finding.
            Err(_) | Ok(_) => {}
        }
        result
    }

    /// The first failure of an operation.
    pub fn first_failure(&self, operation: Operation) -> Option<&CallError> {
        self.failures.get(&operation)?.first()
    }
}
