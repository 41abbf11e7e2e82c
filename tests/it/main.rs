//! The operator's binary against a real Kubernetes API server and an endpoint that speaks CodePipeline's protocol.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends by them"
)]

mod admission;
mod alerts;
mod answers;
mod bindings;
mod check;
mod crash;
mod faults;
mod generated;
mod gitops;
mod histories;
mod identity;
mod lifecycle;
mod observability;
mod outcomes;
mod policy;
mod replicas;
mod requests;
mod rights;
mod start;
mod support;
mod traces;
mod unruly;
mod waiting;
mod watch;
