//! Targets, and what a reconcile observes of them.

use super::*;
use crate::api::v1alpha1::{Access, ApprovalTarget, ApprovalTargetSpec, Location, Namespaces, TargetRef};
use crate::decision::target::{AmbientCredentials, TargetObservation, Verification};
use std::sync::Arc;

/// The account and region of the submissions of the tests.
pub fn here() -> Location {
    Location { account_id: "111122223333".to_owned(), region: "eu-west-1".to_owned() }
}

/// Another account.
pub fn elsewhere() -> Location {
    Location { account_id: "444455556666".to_owned(), ..here() }
}

/// The operator's own identity, where no target exists.
pub fn own() -> TargetObservation {
    own_as(None, &[])
}

/// The operator's own identity, beside targets in these accounts and regions.
pub fn own_as(location: Option<Location>, targets: &[Location]) -> TargetObservation {
    let targets = targets.iter().enumerate().map(|(number, target)| (format!("target-{number}"), target.clone()));
    TargetObservation::Own { ambient: AmbientCredentials::Enabled, location, targets: Arc::new(targets.collect()) }
}

/// A target with a role in this account and region. It admits namespace `team` to pipeline `shop`.
pub fn target(Location { account_id, region }: Location) -> ApprovalTarget {
    let access = Access {
        namespaces: Namespaces { names: vec!["team".to_owned()], selector: None },
        pipelines: vec!["shop".to_owned()],
        results: vec![ApprovalStatus::Approved, ApprovalStatus::Rejected],
    };
    let spec = ApprovalTargetSpec {
        role_arn: Some(format!("arn:aws:iam::{account_id}:role/approver")),
        account_id,
        region,
        external_id: None,
        access: vec![access],
        unsupported: None,
    };
    ApprovalTarget::new("prod", spec)
}

/// A target that is verified.
pub fn found(target: ApprovalTarget) -> TargetObservation {
    found_as(target, Verification::Verified)
}

pub fn found_as(target: ApprovalTarget, verification: Verification) -> TargetObservation {
    TargetObservation::Found { target: Arc::new(target), namespace_labels: None, verification }
}

/// The reference to the target.
pub fn reference() -> TargetRef {
    TargetRef { name: "prod".to_owned(), account_id: None, region: None }
}
