//! The part of the CodePipeline API that the endpoint offers: seven operations, what callers send, what they get. The
//! names are those of the service's published model.

mod dispatch;
mod input;
mod operation;
mod output;
mod validation;

pub(crate) use dispatch::{Answer, answer};
pub use input::*;
pub use operation::{Operation, UnknownOperation};
pub(crate) use output::to_json;
pub use output::*;
pub(crate) use validation::PageRequest;
