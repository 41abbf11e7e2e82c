//! Where the pipelines are, and which identity the operator uses there.

use crate::api::v1alpha1::Location;

/// Where the pipelines of a client are, and as whom it calls AWS. Two equal destinations can share a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Destination {
    /// The operator's own identity and region.
    Ambient,
    /// The account and region of an `ApprovalTarget`.
    Target(TargetDestination),
}

/// The destination that an `ApprovalTarget` describes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TargetDestination {
    /// Where the pipelines are. Nothing is called with credentials of another account.
    pub location: Location,
    /// The role to assume. Without one, the operator calls AWS with its own identity.
    pub role: Option<AssumedRole>,
}

/// A role that the operator assumes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AssumedRole {
    /// The ARN of the role.
    pub arn: String,
    /// The external ID, if the role's trust policy asks for one.
    pub external_id: Option<String>,
}

impl Destination {
    /// The target, unless the destination is the operator's own account.
    pub(super) const fn target(&self) -> Option<&TargetDestination> {
        match self {
            Self::Ambient => None,
            Self::Target(target) => Some(target),
        }
    }
}
