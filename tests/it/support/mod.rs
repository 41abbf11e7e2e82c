//! What the tests share: one control plane for all of them, and for each test a namespace, an endpoint and an operator of
//! its own.

mod case;
mod cluster;
mod operator;

pub use case::{Case, ready, reason, spec};
pub use cluster::{Cluster, install_crds};
