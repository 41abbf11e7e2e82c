//! The parts of the operator. The binary composes them; tests and benchmarks use them one at a time.

pub mod api;
pub mod backoff;
pub mod check;
pub mod cli;
pub mod codepipeline;
pub mod controller;
pub mod decision;
pub mod error_chain;
pub mod event_recorder;
pub mod http;
pub mod kube_client;
pub mod leader_election;
pub mod metrics;
pub mod operator;
pub mod proxy;
pub mod telemetry;
