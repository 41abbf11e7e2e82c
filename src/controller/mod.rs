//! Where kube ends: the watches on decisions, targets and namespaces, the caches, and the reconciles. [`DecisionWatch::run`] connects
//! those of decisions, and [`TargetWatch::run`] those of targets.

mod accepted_index;
mod connection;
mod context;
mod decision_watch;
mod decision_watches;
mod namespace_labels;
mod predicate;
mod reconcile;
mod reconcile_slots;
mod rejection_index;
mod report_counts;
mod status_writer;
mod store;
mod target_context;
mod target_listing;
mod target_status;
mod target_watch;
mod targets;
mod verify_target;
mod watch_events;
mod watch_health;

pub use accepted_index::AcceptedIndex;
pub use connection::{Connection, ConnectionSettings};
pub use context::Context;
pub use decision_watch::DecisionWatch;
pub use decision_watches::DecisionWatches;
pub use namespace_labels::{LabelChange, NamespaceLabels, NamespaceWatch};
pub use reconcile::{Error, error_policy, reconcile};
pub use reconcile_slots::ReconcileSlots;
pub use rejection_index::RejectionIndex;
pub use status_writer::StatusWriter;
pub use store::DecisionStore;
pub use target_watch::TargetWatch;
pub use targets::Targets;
pub use watch_events::WATCH_SECONDS;
pub use watch_health::{BrokenWatch, Readiness, WATCH_BROKEN_AFTER, WatchHealth, WatchState};
