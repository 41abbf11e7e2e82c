//! Everything that knows the AWS SDK: the client, what its errors mean for a decision, what is read of a pipeline, and the
//! looks at it that decisions share. The rest of the operator sees only the types of this module.

mod client;
mod credentials;
mod error;
mod pace;
mod pipeline;
mod reads;
mod record;
mod response;
mod view;
mod views;

pub use client::{Answer, Client, Operation};
pub use error::{CallError, Cause, Refusal, Transmission, classify};
pub use pace::Pace;
pub use pipeline::{
    ActionExecution, ActionProgress, ActionState, EndStatus, Ending, ExecutionEnd, ExecutionMode, ExecutionStatus,
    LatestExecution, Page, PipelineExecution, PipelineState, StageExecution, StageState,
};
pub use reads::{PipelineReads, Reads};
pub use record::{ExecutionIds, Finished, Record, Request, record};
pub use view::{Ask, AskedRun, RECORD_LAG, View, look};
pub use views::{Caller, Looked, Reading, Views, Want};
