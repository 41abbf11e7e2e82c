//! What the tests share: one control plane for all of them, and for each test a namespace, an endpoint and an operator of
//! its own.

mod case;
pub mod chart;
mod cluster;
mod dice;
mod link;
mod operator;
mod scale;
mod truth;
pub mod watch_lines;
pub mod wire;

pub use case::{BOB, Case, condition, for_revision, for_run, ids, message, pinned, ready, reason, spec, with_build};
pub use cluster::{Cluster, install_crds};
pub use dice::Dice;
pub use link::Link;
pub use operator::{Operator, Settings};
pub use scale::scale;
pub use truth::{ensure, is_settled};
