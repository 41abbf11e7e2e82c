//! Decodes the body of a request, calls the operation and encodes its output. Nothing here depends on HTTP.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Operation, to_json};
use crate::model::{Exception, Service};

/// Why an operation has no output.
pub(crate) enum DispatchError {
    /// The operation raised this exception.
    Exception(Exception),
    /// The body is not valid input of the operation.
    Malformed(String),
}

/// Calls an operation with the body of a request, on behalf of the caller with this ARN.
pub(crate) fn dispatch(
    service: &mut Service,
    now: Timestamp,
    caller: &str,
    operation: Operation,
    body: &[u8],
) -> Result<Value, DispatchError> {
    match operation {
        Operation::PutApprovalResult => call(body, |input| service.put_approval_result(now, caller, input)),
        Operation::GetPipelineState => call(body, |input| service.get_pipeline_state(now, input)),
        Operation::ListActionExecutions => call(body, |input| service.list_action_executions(now, input)),
        Operation::ListPipelineExecutions => call(body, |input| service.list_pipeline_executions(now, input)),
        Operation::GetPipelineExecution => call(body, |input| service.get_pipeline_execution(now, input)),
        Operation::GetPipeline => call(body, |input| service.get_pipeline(now, input)),
        Operation::ListPipelines => call(body, |input| service.list_pipelines(now, input)),
    }
}

fn call<I: DeserializeOwned, O: Serialize>(
    body: &[u8],
    operation: impl FnOnce(&I) -> Result<O, Exception>,
) -> Result<Value, DispatchError> {
    let malformed = |error: serde_json::Error| DispatchError::Malformed(error.to_string());
    let input = serde_json::from_slice(body).map_err(malformed)?;
    let output = operation(&input).map_err(DispatchError::Exception)?;
    to_json(&output).map_err(malformed)
}
