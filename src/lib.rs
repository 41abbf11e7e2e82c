//! The operator's parts. The binary puts them together; tests and benchmarks use them one by one.

pub mod api;
pub mod causes;
pub mod check;
pub mod cli;
pub mod codepipeline;
pub mod decision;
pub mod events;
pub mod http;
pub mod kubernetes;
pub mod leadership;
pub mod metrics;
pub mod operator;
#[cfg(test)]
#[path = "../tests/it/support/scale.rs"]
mod scale;
pub mod telemetry;
pub mod traces;
pub mod watch;
