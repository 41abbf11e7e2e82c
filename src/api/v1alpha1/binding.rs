//! What a decision may be bound to. Each of them names one approval request and never "whatever is pending now".

use super::approval_decision::ApprovalDecisionSpec;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An approval token: a lower-case UUID. Whoever holds it and may call PutApprovalResult can answer the approval, so it
/// never shows in a log.
#[derive(Clone, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct Token(
    #[schemars(length(equal = 36), regex(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"))]
    pub String,
);

impl Token {
    /// A text as a token, if it is one. What the service calls an external execution id is not always.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = [8, 4, 4, 4, 12];
        let is_token = text.split('-').map(str::len).eq(lengths) && text.split('-').all(is_hex);
        is_token.then_some(Self(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The id of a run of a pipeline: a UUID.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct PipelineExecutionId(
    #[schemars(length(equal = 36), regex(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"))]
    pub String,
);

impl fmt::Display for PipelineExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a source action of a run came upon.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRevision {
    /// The revision in full, as ListPipelineExecutions shows it: the id of a commit, the version of an object, the digest of
    /// an image. It is compared exactly.
    #[schemars(length(min = 1, max = 1500))]
    pub revision_id: String,
    /// The source action that came upon it; any, where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub action_name: Option<String>,
}

/// What a decision is bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding<'a> {
    /// The request itself, which is pending when the decision is made.
    Token(&'a Token),
    /// A run, whose request there may not be yet.
    Run(RunBinding<'a>),
}

/// Which run of the pipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunBinding<'a> {
    /// The one of this id.
    PipelineExecution(&'a PipelineExecutionId),
    /// The one of this source revision.
    SourceRevision(&'a SourceRevision),
}

impl ApprovalDecisionSpec {
    /// What the decision is bound to.
    ///
    /// # Errors
    /// When it is bound to nothing or to more than one thing, which the API server does not let pass.
    pub fn binding(&self) -> Result<Binding<'_>, String> {
        match (&self.token, &self.pipeline_execution_id, &self.source_revision) {
            (Some(token), None, None) => Ok(Binding::Token(token)),
            (None, Some(id), None) => Ok(Binding::Run(RunBinding::PipelineExecution(id))),
            (None, None, Some(revision)) => Ok(Binding::Run(RunBinding::SourceRevision(revision))),
            _ => Err("spec must have exactly one of token, pipelineExecutionId and sourceRevision".to_owned()),
        }
    }
}
