//! What users write and read: the custom resources, one module for each version, and the conventions that they share.

pub mod conditions;
pub mod time;
pub mod v1alpha1;

/// The API group of every kind.
pub const GROUP: &str = "codepipeline.approvals.dev";
