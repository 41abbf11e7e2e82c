//! The part of the CodePipeline API that the endpoint implements: seven operations with their inputs and outputs. The
//! names are those of AWS's published API model.

mod dispatch;
mod input;
mod operation;
mod output;
mod validation;

pub(crate) use dispatch::{DispatchError, dispatch};
pub use input::*;
pub use operation::{Operation, UnknownOperation};
pub(crate) use output::to_json;
pub use output::*;
pub(crate) use validation::PageRequest;
