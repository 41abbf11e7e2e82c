//! The inputs of the operations. Every member is optional here, because a client may omit any of them; `validate`
//! checks an input as CodePipeline does and returns what the operation needs.

use serde::{Deserialize, Serialize};

use super::validation::{PageRequest, Validator};
use crate::model::{Exception, PipelineExecutionId, Token};

/// The status of an approval result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum ApprovalStatus {
    Approved,
    Rejected,
}

impl ApprovalStatus {
    /// The value on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The input of PutApprovalResult.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct PutApprovalResultInput {
    pub pipeline_name: Option<String>,
    pub stage_name: Option<String>,
    pub action_name: Option<String>,
    pub result: Option<ApprovalResult>,
    pub token: Option<String>,
}

/// The result that a caller gives to an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct ApprovalResult {
    pub summary: Option<String>,
    pub status: Option<String>,
}

impl PutApprovalResultInput {
    /// An input with every member set.
    pub fn new(
        pipeline: impl Into<String>,
        stage: impl Into<String>,
        action: impl Into<String>,
        token: impl ToString,
        status: ApprovalStatus,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            pipeline_name: Some(pipeline.into()),
            stage_name: Some(stage.into()),
            action_name: Some(action.into()),
            result: Some(ApprovalResult { summary: Some(summary.into()), status: Some(status.as_str().to_owned()) }),
            token: Some(token.to_string()),
        }
    }

    pub(crate) fn validate(&self) -> Result<ValidatedResult<'_>, Exception> {
        let mut validator = Validator::default();
        let pipeline = validator.name("pipelineName", self.pipeline_name.as_deref());
        let stage = validator.name("stageName", self.stage_name.as_deref());
        let action = validator.name("actionName", self.action_name.as_deref());
        let result = validator.required("result", self.result.as_ref()).map(|result| {
            let summary = validator.text("result.summary", result.summary.as_deref(), 0..=512);
            let values = [ApprovalStatus::Approved, ApprovalStatus::Rejected].map(|status| (status.as_str(), status));
            (validator.one_of("result.status", result.status.as_deref(), &values), summary)
        });
        let token = validator.uuid("token", self.token.as_deref());
        let validated = || {
            let (status, summary) = result?;
            Some(ValidatedResult {
                pipeline: pipeline?,
                stage: stage?,
                action: action?,
                status: status?,
                summary: summary?,
                token: token?,
            })
        };
        validator.finish(validated())
    }
}

/// The valid input of a PutApprovalResult.
pub(crate) struct ValidatedResult<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) stage: &'a str,
    pub(crate) action: &'a str,
    pub(crate) status: ApprovalStatus,
    pub(crate) summary: &'a str,
    pub(crate) token: Token,
}

/// The input of GetPipelineState.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct GetPipelineStateInput {
    pub name: Option<String>,
}

impl GetPipelineStateInput {
    pub(crate) fn validate(&self) -> Result<&str, Exception> {
        let mut validator = Validator::default();
        let name = validator.name("name", self.name.as_deref());
        validator.finish(name)
    }
}

/// The input of GetPipeline.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct GetPipelineInput {
    pub name: Option<String>,
    pub version: Option<i64>,
}

impl GetPipelineInput {
    pub(crate) fn validate(&self) -> Result<(&str, Option<i64>), Exception> {
        let mut validator = Validator::default();
        let name = validator.name("name", self.name.as_deref());
        validator.number("version", self.version, 1..=i64::from(i32::MAX));
        validator.finish(name.map(|name| (name, self.version)))
    }
}

/// The input of GetPipelineExecution.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct GetPipelineExecutionInput {
    pub pipeline_name: Option<String>,
    pub pipeline_execution_id: Option<String>,
}

impl GetPipelineExecutionInput {
    pub(crate) fn validate(&self) -> Result<(&str, PipelineExecutionId), Exception> {
        let mut validator = Validator::default();
        let pipeline = validator.name("pipelineName", self.pipeline_name.as_deref());
        let execution = validator.uuid("pipelineExecutionId", self.pipeline_execution_id.as_deref());
        validator.finish(pipeline.zip(execution))
    }
}

/// The input of ListPipelineExecutions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct ListPipelineExecutionsInput {
    pub pipeline_name: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

impl ListPipelineExecutionsInput {
    pub(crate) fn validate(&self) -> Result<(&str, PageRequest<'_>), Exception> {
        let mut validator = Validator::default();
        let pipeline = validator.name("pipelineName", self.pipeline_name.as_deref());
        let page = validator.page(self.max_results, self.next_token.as_deref(), 100);
        validator.finish(pipeline.map(|pipeline| (pipeline, page)))
    }
}

/// The input of ListActionExecutions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct ListActionExecutionsInput {
    pub pipeline_name: Option<String>,
    pub filter: Option<ActionExecutionFilter>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

/// Selects action executions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct ActionExecutionFilter {
    pub pipeline_execution_id: Option<String>,
    pub latest_in_pipeline_execution: Option<LatestInPipelineExecution>,
}

/// Selects all attempts of one execution, or the newest attempt of each action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct LatestInPipelineExecution {
    pub pipeline_execution_id: Option<String>,
    pub start_time_range: Option<String>,
}

impl ListActionExecutionsInput {
    pub(crate) fn validate(&self) -> Result<ActionExecutionQuery<'_>, Exception> {
        let mut validator = Validator::default();
        let pipeline = validator.name("pipelineName", self.pipeline_name.as_deref());
        let (mut execution_id, mut newest_only) = (None, false);
        if let Some(filter) = &self.filter {
            if let Some(latest) = &filter.latest_in_pipeline_execution {
                let member = "filter.latestInPipelineExecution";
                let id = latest.pipeline_execution_id.as_deref();
                execution_id = validator.uuid(&format!("{member}.pipelineExecutionId"), id);
                let values = [("Latest", true), ("All", false)];
                let range = latest.start_time_range.as_deref();
                newest_only = validator.one_of(&format!("{member}.startTimeRange"), range, &values).unwrap_or_default();
            }
            if let Some(id) = &filter.pipeline_execution_id {
                execution_id = validator.uuid("filter.pipelineExecutionId", Some(id));
            }
        }
        let page = validator.page(self.max_results, self.next_token.as_deref(), 100);
        validator.finish(pipeline.map(|pipeline| ActionExecutionQuery { pipeline, execution_id, newest_only, page }))
    }
}

/// The valid input of a ListActionExecutions.
pub(crate) struct ActionExecutionQuery<'a> {
    pub(crate) pipeline: &'a str,
    /// List only this execution.
    pub(crate) execution_id: Option<PipelineExecutionId>,
    /// List only the newest attempt of each action.
    pub(crate) newest_only: bool,
    pub(crate) page: PageRequest<'a>,
}

/// The input of ListPipelines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub struct ListPipelinesInput {
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

impl ListPipelinesInput {
    pub(crate) fn validate(&self) -> Result<PageRequest<'_>, Exception> {
        let mut validator = Validator::default();
        let page = validator.page(self.max_results, self.next_token.as_deref(), 1000);
        validator.finish(Some(page))
    }
}
