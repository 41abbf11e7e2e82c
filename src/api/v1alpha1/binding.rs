//! The three ways in which a decision names one approval request. None of them means "whatever is pending now".

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An approval token: a lower-case UUID. Anyone who has it and may call PutApprovalResult can respond to the approval, so it
/// never appears in a log.
#[derive(Clone, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct Token(
    #[schemars(length(equal = 36), regex(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"))]
    pub String,
);

impl Token {
    /// The text as a token, if it has the form of one. CodePipeline's external execution ids do not always.
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

/// The id of a pipeline execution: a UUID.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
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

/// What an execution must have of one of its sources.
#[derive(Clone, Debug, Deserialize, Eq, Hash, KubeSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.revisionId) || has(self.actionName)")
    .message("an entry must have a revisionId, an actionName or both"))]
pub struct SourceRevision {
    /// The source action. Without it, the entry is about any source action with this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9.@_-]+$"))]
    pub action_name: Option<String>,
    /// The full revision id, as ListPipelineExecutions shows it: a commit id, an object version or an image digest. The
    /// comparison is exact. Without it, the entry stands for any revision of the source action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1500))]
    pub revision_id: Option<String>,
}

/// How a decision names its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding<'a> {
    /// By the token of the pending request.
    Token(&'a Token),
    /// By its execution, which may not have reached the approval yet.
    Execution(ExecutionBinding<'a>),
}

/// How a decision names the execution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionBinding<'a> {
    /// By its id.
    PipelineExecution(&'a PipelineExecutionId),
    /// By its source revisions.
    SourceRevisions(&'a [SourceRevision]),
}
