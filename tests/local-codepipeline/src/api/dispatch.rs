//! From the body of a request to the body of its answer. Nothing here knows of HTTP.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Operation, to_json};
use crate::model::{Exception, Service};

/// What an operation came to.
pub(crate) enum Answer {
    /// It did what it was asked.
    Done(Value),
    /// The service said no.
    Refused(Exception),
    /// The body is not what the operation takes.
    Unreadable(String),
}

/// Runs an operation.
pub(crate) fn answer(service: &mut Service, now: Timestamp, caller: &str, operation: Operation, body: &[u8]) -> Answer {
    match operation {
        Operation::PutApprovalResult => run(body, |input| service.put_approval_result(now, caller, input)),
        Operation::GetPipelineState => run(body, |input| service.get_pipeline_state(now, input)),
        Operation::ListActionExecutions => run(body, |input| service.list_action_executions(now, input)),
        Operation::ListPipelineExecutions => run(body, |input| service.list_pipeline_executions(now, input)),
        Operation::GetPipelineExecution => run(body, |input| service.get_pipeline_execution(now, input)),
        Operation::GetPipeline => run(body, |input| service.get_pipeline(now, input)),
        Operation::ListPipelines => run(body, |input| service.list_pipelines(now, input)),
    }
}

fn run<I: DeserializeOwned, O: Serialize>(body: &[u8], operation: impl FnOnce(&I) -> Result<O, Exception>) -> Answer {
    let input = match serde_json::from_slice(body) {
        Ok(input) => input,
        Err(error) => return Answer::Unreadable(error.to_string()),
    };
    match operation(&input) {
        Err(exception) => Answer::Refused(exception),
        Ok(output) => to_json(&output).map_or_else(|error| Answer::Unreadable(error.to_string()), Answer::Done),
    }
}
