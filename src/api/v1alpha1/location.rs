//! Where pipelines are: an AWS account and region. Targets, submissions and statuses have them as two fields; everything else has them
//! as one value, so that they are compared together and cannot be swapped. The conversions are here.

use super::approval_decision::ApprovalDecisionStatus;
use super::approval_target::ApprovalTargetSpec;
use super::submission::Submission;
use std::fmt::{self, Display, Formatter};

/// An AWS account and region.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Location {
    /// The account ID: twelve digits.
    pub account_id: String,
    /// The region, such as `eu-west-1`.
    pub region: String,
}

impl Display for Location {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { account_id, region } = self;
        write!(f, "account {account_id}, region {region}")
    }
}

impl ApprovalTargetSpec {
    /// Where the pipelines of the target are.
    #[must_use]
    pub fn location(&self) -> Location {
        Location { account_id: self.account_id.clone(), region: self.region.clone() }
    }
}

impl Submission {
    /// Where the request is sent.
    #[must_use]
    pub fn location(&self) -> Location {
        Location { account_id: self.account_id.clone(), region: self.region.clone() }
    }

    /// Says where the request is sent.
    pub fn set_location(&mut self, Location { account_id, region }: Location) {
        (self.account_id, self.region) = (account_id, region);
    }
}

impl ApprovalDecisionStatus {
    /// Where the request was first resolved.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        Some(Location { account_id: self.account_id.clone()?, region: self.region.clone()? })
    }

    /// Says where the request was first resolved, or forgets it.
    pub fn set_location(&mut self, location: Option<Location>) {
        (self.account_id, self.region) = location.map(|Location { account_id, region }| (account_id, region)).unzip();
    }
}
