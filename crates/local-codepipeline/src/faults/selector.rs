//! Which requests a fault affects. A request has one value for each selector of a fault.

use serde::{Deserialize, Serialize};
use strum::Display;

use super::Fault;
use crate::{
    api::{Operation, UnknownOperation},
    iam::{RoleArn, StsOperation},
};

/// An operation that a fault selects, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs, reason = "the variants are the services")]
pub enum SelectedOperation {
    #[strum(to_string = "{0}")]
    CodePipeline(Operation),
    #[strum(to_string = "{0}")]
    Sts(StsOperation),
}

impl From<Operation> for SelectedOperation {
    fn from(operation: Operation) -> Self {
        Self::CodePipeline(operation)
    }
}

impl From<StsOperation> for SelectedOperation {
    fn from(operation: StsOperation) -> Self {
        Self::Sts(operation)
    }
}

impl TryFrom<String> for SelectedOperation {
    type Error = UnknownOperation;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self::Sts).or_else(|_| name.parse().map(Self::CodePipeline))
    }
}

impl From<SelectedOperation> for String {
    fn from(operation: SelectedOperation) -> Self {
        operation.to_string()
    }
}

/// What a fault can select about one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) operation: SelectedOperation,
    pub(crate) pipeline: Option<&'a str>,
    /// The account of the caller, or for AssumeRole that of the role.
    pub(crate) account_id: &'a str,
    pub(crate) region: &'a str,
    pub(crate) role: Option<&'a RoleArn>,
    pub(crate) session_name: Option<&'a str>,
}

impl Fault {
    /// Whether the fault selects an operation of STS.
    pub(crate) fn is_of_sts(&self) -> bool {
        match self.operation {
            Some(SelectedOperation::Sts(_)) => true,
            Some(SelectedOperation::CodePipeline(_)) | None => false,
        }
    }

    pub(super) fn matches(&self, subject: FaultSubject<'_>) -> bool {
        let is_of_operation = match (self.operation, subject.operation) {
            (Some(only), operation) => only == operation,
            (None, SelectedOperation::CodePipeline(_)) => true,
            (None, SelectedOperation::Sts(_)) => false,
        };
        let is_of_session = |pattern: &str| {
            subject.session_name.is_some_and(|name| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            })
        };
        is_of_operation
            && self.pipeline_name.as_deref().is_none_or(|only| Some(only) == subject.pipeline)
            && self.account_id.as_deref().is_none_or(|only| only == subject.account_id)
            && self.region.as_deref().is_none_or(|only| only == subject.region)
            && self.role_arn.as_ref().is_none_or(|only| Some(only) == subject.role)
            && self.session_name.as_deref().is_none_or(is_of_session)
    }
}
