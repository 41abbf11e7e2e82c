//! The outputs of the operations: the members of AWS's published API model that matter to clients that handle
//! approvals. `to_json` omits members without a value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::model::{
    ActionExecutionId, Category, EntryCondition, ExecutionMode, FailureConditions, Name, PipelineExecutionId,
    RetryTrigger, Token,
};

/// A time as the protocol encodes it: seconds since 1970 as a number, with a fraction to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochSeconds(pub Timestamp);

impl Serialize for EpochSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact for any current time: milliseconds need 41 of the 53 bits of the mantissa.
        #[allow(clippy::cast_precision_loss)]
        serializer.serialize_f64(self.0.as_millisecond() as f64 / 1000.0)
    }
}

impl From<Timestamp> for EpochSeconds {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// The status of an action execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum ActionExecutionStatus {
    InProgress,
    Abandoned,
    Succeeded,
    Failed,
}

/// The status of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum ExecutionStatus {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Superseded,
    Failed,
}

/// The status of an execution in one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum StageExecutionStatus {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Skipped,
}

/// The status of an entry condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum ConditionExecutionStatus {
    Failed,
    Overridden,
}

/// What started an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum TriggerType {
    StartPipelineExecution,
    ManualRollback,
    AutomatedRollback,
}

/// The type of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
pub enum ExecutionType {
    Standard,
    Rollback,
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident { $($member:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize)]
            #[serde(rename_all = "camelCase")]
            #[allow(missing_docs, reason = "the names are those of the CodePipeline API")]
            pub struct $name {
                $(pub $member: $type,)*
            }
        )*
    };
}

outputs! {
    /// The output of PutApprovalResult.
    PutApprovalResultOutput { approved_at: EpochSeconds }

    /// The output of GetPipelineState.
    GetPipelineStateOutput {
        pipeline_name: Name,
        pipeline_version: u32,
        stage_states: Vec<StageState>,
        created: EpochSeconds,
        updated: EpochSeconds,
    }

    /// The state of a stage.
    StageState {
        stage_name: Name,
        inbound_execution: Option<StageExecution>,
        inbound_executions: Vec<StageExecution>,
        inbound_transition_state: TransitionState,
        action_states: Vec<ActionState>,
        latest_execution: Option<StageExecution>,
        before_entry_condition_state: Option<StageConditionState>,
        retry_stage_metadata: Option<RetryStageMetadata>,
    }

    /// The entry condition of a stage in its newest execution.
    StageConditionState { latest_execution: StageConditionsExecution }

    /// How the condition ended.
    StageConditionsExecution { status: ConditionExecutionStatus }

    /// The retries of a stage in its newest execution.
    RetryStageMetadata {
        auto_stage_retry_attempt: Option<u32>,
        manual_stage_retry_attempt: Option<u32>,
        latest_retry_trigger: RetryTrigger,
    }

    /// An execution in a stage, or waiting to enter it.
    StageExecution { pipeline_execution_id: PipelineExecutionId, status: StageExecutionStatus, r#type: ExecutionType }

    /// Whether executions may enter a stage.
    TransitionState { enabled: bool, disabled_reason: Option<String> }

    /// The state of an action.
    ActionState { action_name: Name, latest_execution: Option<ActionExecution>, current_revision: Option<ActionRevision> }

    /// The newest revision that a source action found.
    ActionRevision { revision_id: String, revision_change_id: String, created: EpochSeconds }

    /// The newest execution of an action. It does not name the pipeline execution.
    ActionExecution {
        action_execution_id: ActionExecutionId,
        status: ActionExecutionStatus,
        summary: Option<String>,
        last_status_change: Option<EpochSeconds>,
        token: Option<Token>,
        last_updated_by: Option<String>,
    }

    /// The output of ListActionExecutions.
    ListActionExecutionsOutput { action_execution_details: Vec<ActionExecutionDetail>, next_token: Option<String> }

    /// One action execution in the history.
    ActionExecutionDetail {
        pipeline_execution_id: PipelineExecutionId,
        action_execution_id: ActionExecutionId,
        pipeline_version: u32,
        stage_name: Name,
        action_name: Name,
        start_time: EpochSeconds,
        last_update_time: EpochSeconds,
        updated_by: Option<String>,
        status: ActionExecutionStatus,
        input: ActionExecutionInput,
        output: ActionExecutionOutput,
    }

    /// The input of an action execution.
    ActionExecutionInput { action_type_id: ActionTypeId, configuration: BTreeMap<String, String> }

    /// The type of an action.
    ActionTypeId { category: Category, owner: &'static str, provider: &'static str, version: &'static str }

    /// The output of an action execution.
    ActionExecutionOutput { execution_result: ActionExecutionResult }

    /// In PARALLEL mode, `external_execution_id` is the token of a pending approval.
    ActionExecutionResult { external_execution_id: Option<String>, external_execution_summary: Option<String> }

    /// The output of ListPipelineExecutions.
    ListPipelineExecutionsOutput {
        pipeline_execution_summaries: Vec<PipelineExecutionSummary>,
        next_token: Option<String>,
    }

    /// One execution in the history.
    PipelineExecutionSummary {
        pipeline_execution_id: PipelineExecutionId,
        status: ExecutionStatus,
        start_time: EpochSeconds,
        last_update_time: EpochSeconds,
        source_revisions: Vec<SourceRevisionOutput>,
        trigger: ExecutionTrigger,
        stop_trigger: Option<StopExecutionTrigger>,
        execution_mode: ExecutionMode,
        execution_type: ExecutionType,
        rollback_metadata: Option<PipelineRollbackMetadata>,
    }

    /// The revision that a source action of an execution found.
    SourceRevisionOutput { action_name: Name, revision_id: Option<String> }

    /// The execution that a stage was rolled back to.
    PipelineRollbackMetadata { rollback_target_pipeline_execution_id: PipelineExecutionId }

    /// What started an execution.
    ExecutionTrigger { trigger_type: TriggerType }

    /// Why an execution was stopped.
    StopExecutionTrigger { reason: String }

    /// The output of GetPipelineExecution.
    GetPipelineExecutionOutput { pipeline_execution: PipelineExecution }

    /// One execution.
    PipelineExecution {
        pipeline_name: Name,
        pipeline_version: u32,
        pipeline_execution_id: PipelineExecutionId,
        status: ExecutionStatus,
        artifact_revisions: Vec<ArtifactRevision>,
        trigger: ExecutionTrigger,
        execution_mode: ExecutionMode,
        execution_type: ExecutionType,
        rollback_metadata: Option<PipelineRollbackMetadata>,
    }

    /// The revision of an artifact in an execution.
    ArtifactRevision { name: Name, revision_id: Option<String> }

    /// The output of GetPipeline.
    GetPipelineOutput { pipeline: PipelineDeclaration, metadata: PipelineMetadata }

    /// The declaration of a pipeline.
    PipelineDeclaration {
        name: Name,
        role_arn: String,
        artifact_store: ArtifactStore,
        stages: Vec<StageDeclaration>,
        version: u32,
        execution_mode: ExecutionMode,
        pipeline_type: &'static str,
    }

    /// Where the pipeline stores artifacts.
    ArtifactStore { r#type: &'static str, location: String }

    /// The declaration of a stage.
    StageDeclaration { name: Name, actions: Vec<ActionDeclaration>, before_entry: Option<BeforeEntryConditions>, on_failure: Option<FailureConditions> }

    /// The entry conditions of a stage.
    BeforeEntryConditions { conditions: Vec<EntryCondition> }

    /// The declaration of an action.
    ActionDeclaration {
        name: Name,
        action_type_id: ActionTypeId,
        run_order: u16,
        configuration: BTreeMap<String, String>,
        timeout_in_minutes: Option<u32>,
    }

    /// The metadata of a pipeline.
    PipelineMetadata { pipeline_arn: String, created: EpochSeconds, updated: EpochSeconds }

    /// The output of ListPipelines.
    ListPipelinesOutput { pipelines: Vec<PipelineSummary>, next_token: Option<String> }

    /// A pipeline in the list.
    PipelineSummary {
        name: Name,
        version: u32,
        pipeline_type: &'static str,
        execution_mode: ExecutionMode,
        created: EpochSeconds,
        updated: EpochSeconds,
    }
}

/// Encodes an output as CodePipeline does.
pub(crate) fn to_json(output: &impl Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(output)?;
    drop_nulls(&mut value);
    Ok(value)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
