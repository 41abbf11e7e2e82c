//! What users write and read: the custom resources, a module a version, and the conventions they share.

pub mod conditions;
pub mod time;
pub mod v1alpha1;

/// The API group of every kind here.
pub const GROUP: &str = "codepipeline.approvals.dev";
