//! Everything that knows the AWS SDK: the client, what its errors mean for a decision, and the service's record of an
//! approval request. The rest of the operator sees only the types of this module.

mod client;
mod credentials;
mod error;
mod record;

pub use client::{Answer, Client, Operation};
pub use error::{CallError, Cause, Refusal};
pub use record::{ExecutionIds, Finished, Record, Request};
