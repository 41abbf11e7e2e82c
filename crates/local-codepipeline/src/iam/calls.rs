//! The calls of STS that reached the endpoint, for tests: who assumed which role under which session name. It is the
//! counterpart of CodePipeline's ledger, and contains no secrets.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

/// An operation of STS that the endpoint implements, by its name on the wire.
#[derive(Clone, Copy, Debug, Deserialize, Display, EnumString, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[allow(missing_docs, reason = "the names are those of the STS API")]
pub enum StsOperation {
    AssumeRole,
    GetCallerIdentity,
}

/// One call of STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StsCall {
    /// When the call was processed.
    pub at: Timestamp,
    /// The operation.
    pub operation: StsOperation,
    /// The region that the call is signed for.
    pub region: String,
    /// The ARN of the caller; absent if its credentials were refused.
    pub caller: Option<String>,
    /// The role that AssumeRole names, or that of the session that asks for its identity.
    pub role_arn: Option<String>,
    /// The session name of AssumeRole, or that of the session that asks for its identity.
    pub session_name: Option<String>,
    /// The external id of AssumeRole.
    pub external_id: Option<String>,
    /// The outcome.
    pub outcome: StsOutcome,
    /// The injected fault that affected the call, if any: the caller may have received something other than `outcome`.
    pub fault: Option<String>,
}

/// The outcome of a call of STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StsOutcome {
    /// STS returned a session or an identity.
    Succeeded,
    /// STS returned this error.
    Refused {
        /// The name of the error.
        r#type: String,
        /// Its message.
        message: String,
    },
    /// A fault dropped the call.
    NotApplied,
}

impl StsCall {
    /// Whether STS returned a session or an identity.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.outcome == StsOutcome::Succeeded
    }
}
