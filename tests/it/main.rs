//! The operator's binary against a real Kubernetes API server and an endpoint that speaks CodePipeline's protocol.

mod admission;
mod crash;
mod generated;
mod lifecycle;
mod observability;
mod outcomes;
mod requests;
mod start;
mod support;
