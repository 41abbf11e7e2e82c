//! Everything that knows the AWS SDK: the client, what its errors mean for a decision, what the operator reads of a pipeline, and
//! the polls that decisions share. The rest of the operator sees only the types of this module.

mod approval_record;
mod call_metrics;
mod call_span;
mod client;
mod clock_skew;
mod connection_failure;
mod credentials;
mod destination;
mod error;
mod http_client;
mod identity;
mod operation;
mod pipeline;
mod poller;
mod query;
mod rate_limiter;
mod reader;
mod response;
mod sdk_client;
mod sdk_config;
mod send_guard;
mod session_name;
mod snapshot;
mod sts;

pub use approval_record::{ApprovalRecord, CompletedApproval, RecordQuery};
pub use call_metrics::CallMetrics;
pub use client::{Client, Response};
pub use clock_skew::CLOCK_SKEW;
pub use destination::{AssumedRole, Destination, TargetDestination};
pub use error::{CallError, Refusal, RetryCause, Transmission, classify};
pub use identity::{Verified, VerifyError};
pub use operation::Operation;
pub use pipeline::{
    ActionCompletion, ActionExecution, ActionProgress, ActionState, CompletionStatus, DisabledTransition, ExecutionEnd,
    ExecutionIds, ExecutionMode, ExecutionRevision, ExecutionStatus, ExecutionType, LatestExecution, Page,
    PipelineExecution, PipelineState, StageExecution, StageState,
};
pub use poller::schedule::{Moment, PipelineObservation, Poll, PollSchedule, WakeCondition};
pub use poller::{PipelinePoller, PollCounts, Subscriber};
pub use query::{ExecutionSelector, Query};
pub use rate_limiter::RateLimiter;
pub use reader::{AwsPipelineReader, PipelineReader};
pub use sdk_client::Session;
pub use sdk_config::ClientSettings;
pub use session_name::SessionName;
pub use snapshot::{HISTORY_LAG, PipelineSnapshot, SimilarRevision, UnknownExecution, read_snapshot};
