//! Shared by the integration tests and the benchmarks: one control plane for all, and for each test its own namespace,
//! local CodePipeline and operator.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "only tests use this crate, and a test fails by panicking"
)]

pub mod chart;
mod cluster;
mod connect_proxy;
mod invariants;
mod mounted_secret;
mod operator;
mod partition;
pub mod proxy;
mod scale;
mod seeded_rng;
mod test_env;
pub mod watch_stream;

pub use cluster::{Cluster, install_crds};
pub use connect_proxy::{ConnectProxy, Upstream};
pub use invariants::{ensure, is_settled};
pub use mounted_secret::MountedSecret;
pub use operator::{Operator, OperatorCommand, operator_binary};
pub use partition::Partition;
pub use scale::scale;
pub use seeded_rng::SeededRng;
pub use test_env::{
    BOB, TestEnv, condition, expired_after, for_execution, for_revision, ids, message, pinned, pipeline_with_build,
    ready, reason, spec,
};
