//! What callers send. Every member may be missing, as nothing but the service itself keeps a caller from leaving one
//! out; `read` finds what the service would, and gives an operation what it can work with.

use serde::{Deserialize, Serialize};

use super::validation::{Checks, PageRequest};
use crate::model::{Exception, PipelineExecutionId, Token};

/// The two answers to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub enum ApprovalStatus {
    Approved,
    Rejected,
}

impl ApprovalStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "Approved",
            Self::Rejected => "Rejected",
        }
    }
}

/// The request of PutApprovalResult.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct PutApprovalResultInput {
    pub pipeline_name: Option<String>,
    pub stage_name: Option<String>,
    pub action_name: Option<String>,
    pub result: Option<ApprovalResult>,
    pub token: Option<String>,
}

/// The answer itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub struct ApprovalResult {
    pub summary: Option<String>,
    pub status: Option<String>,
}

impl PutApprovalResultInput {
    /// A request with every member.
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

    pub(crate) fn read(&self) -> Result<Decision<'_>, Exception> {
        let mut checks = Checks::default();
        let pipeline = checks.name("pipelineName", self.pipeline_name.as_deref());
        let stage = checks.name("stageName", self.stage_name.as_deref());
        let action = checks.name("actionName", self.action_name.as_deref());
        let result = checks.required("result", self.result.as_ref()).map(|result| {
            let summary = checks.text("result.summary", result.summary.as_deref(), 0..=512);
            let words = [ApprovalStatus::Approved, ApprovalStatus::Rejected].map(|status| (status.as_str(), status));
            (checks.one_of("result.status", result.status.as_deref(), &words), summary)
        });
        let token = checks.uuid("token", self.token.as_deref());
        let decision = || {
            let (status, summary) = result?;
            Some(Decision {
                pipeline: pipeline?,
                stage: stage?,
                action: action?,
                status: status?,
                summary: summary?,
                token: token?,
            })
        };
        checks.done(decision())
    }
}

/// A PutApprovalResult that is well formed.
pub(crate) struct Decision<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) stage: &'a str,
    pub(crate) action: &'a str,
    pub(crate) status: ApprovalStatus,
    pub(crate) summary: &'a str,
    pub(crate) token: Token,
}

/// The request of GetPipelineState.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub struct GetPipelineStateInput {
    pub name: Option<String>,
}

impl GetPipelineStateInput {
    pub(crate) fn read(&self) -> Result<&str, Exception> {
        let mut checks = Checks::default();
        let name = checks.name("name", self.name.as_deref());
        checks.done(name)
    }
}

/// The request of GetPipeline.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub struct GetPipelineInput {
    pub name: Option<String>,
    pub version: Option<i64>,
}

impl GetPipelineInput {
    pub(crate) fn read(&self) -> Result<(&str, Option<i64>), Exception> {
        let mut checks = Checks::default();
        let name = checks.name("name", self.name.as_deref());
        checks.number("version", self.version, 1..=i64::from(i32::MAX));
        checks.done(name.map(|name| (name, self.version)))
    }
}

/// The request of GetPipelineExecution.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct GetPipelineExecutionInput {
    pub pipeline_name: Option<String>,
    pub pipeline_execution_id: Option<String>,
}

impl GetPipelineExecutionInput {
    pub(crate) fn read(&self) -> Result<(&str, PipelineExecutionId), Exception> {
        let mut checks = Checks::default();
        let pipeline = checks.name("pipelineName", self.pipeline_name.as_deref());
        let execution = checks.uuid("pipelineExecutionId", self.pipeline_execution_id.as_deref());
        checks.done(pipeline.zip(execution))
    }
}

/// The request of ListPipelineExecutions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct ListPipelineExecutionsInput {
    pub pipeline_name: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

impl ListPipelineExecutionsInput {
    pub(crate) fn read(&self) -> Result<(&str, PageRequest<'_>), Exception> {
        let mut checks = Checks::default();
        let pipeline = checks.name("pipelineName", self.pipeline_name.as_deref());
        let page = checks.page(self.max_results, self.next_token.as_deref(), 100);
        checks.done(pipeline.map(|pipeline| (pipeline, page)))
    }
}

/// The request of ListActionExecutions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct ListActionExecutionsInput {
    pub pipeline_name: Option<String>,
    pub filter: Option<ActionExecutionFilter>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

/// Which action executions are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct ActionExecutionFilter {
    pub pipeline_execution_id: Option<String>,
    pub latest_in_pipeline_execution: Option<LatestInPipelineExecution>,
}

/// All attempts of one run, or the newest at each action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct LatestInPipelineExecution {
    pub pipeline_execution_id: Option<String>,
    pub start_time_range: Option<String>,
}

impl ListActionExecutionsInput {
    pub(crate) fn read(&self) -> Result<ActionExecutionQuery<'_>, Exception> {
        let mut checks = Checks::default();
        let pipeline = checks.name("pipelineName", self.pipeline_name.as_deref());
        let (mut execution, mut newest_only) = (None, false);
        if let Some(filter) = &self.filter {
            if let Some(latest) = &filter.latest_in_pipeline_execution {
                let member = "filter.latestInPipelineExecution";
                let id = latest.pipeline_execution_id.as_deref();
                execution = checks.uuid(&format!("{member}.pipelineExecutionId"), id);
                let words = [("Latest", true), ("All", false)];
                let range = latest.start_time_range.as_deref();
                newest_only = checks.one_of(&format!("{member}.startTimeRange"), range, &words).unwrap_or_default();
            }
            if let Some(id) = &filter.pipeline_execution_id {
                execution = checks.uuid("filter.pipelineExecutionId", Some(id));
            }
        }
        let page = checks.page(self.max_results, self.next_token.as_deref(), 100);
        checks.done(pipeline.map(|pipeline| ActionExecutionQuery { pipeline, execution, newest_only, page }))
    }
}

/// A ListActionExecutions that is well formed.
pub(crate) struct ActionExecutionQuery<'a> {
    pub(crate) pipeline: &'a str,
    /// Of this run alone.
    pub(crate) execution: Option<PipelineExecutionId>,
    /// Of the attempts at an action, the newest alone.
    pub(crate) newest_only: bool,
    pub(crate) page: PageRequest<'a>,
}

/// The request of ListPipelines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the service's own words")]
pub struct ListPipelinesInput {
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

impl ListPipelinesInput {
    pub(crate) fn read(&self) -> Result<PageRequest<'_>, Exception> {
        let mut checks = Checks::default();
        let page = checks.page(self.max_results, self.next_token.as_deref(), 1000);
        checks.done(Some(page))
    }
}
