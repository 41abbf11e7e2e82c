//! What the service answers: the members of its published model that a caller of approvals can see, by their names.
//! Members without a value are left out on the wire, all in one place: `to_json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::model::{ActionExecutionId, Category, ExecutionMode, Name, PipelineExecutionId, Token};

/// A time as the protocol writes it: seconds since 1970 as a number, with a fraction to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochSeconds(pub Timestamp);

impl Serialize for EpochSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact for any time near ours: milliseconds need 41 bits of the 53 that the number has.
        #[allow(clippy::cast_precision_loss)]
        serializer.serialize_f64(self.0.as_millisecond() as f64 / 1000.0)
    }
}

impl From<Timestamp> for EpochSeconds {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// How an action execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub enum ActionExecutionStatus {
    InProgress,
    Abandoned,
    Succeeded,
    Failed,
}

/// How a run stands, as a whole or in one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the service's own words")]
pub enum ExecutionStatus {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Superseded,
    Failed,
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident { $($member:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize)]
            #[serde(rename_all = "camelCase")]
            #[allow(missing_docs, reason = "the service's own words")]
            pub struct $name {
                $(pub $member: $type,)*
            }
        )*
    };
}

outputs! {
    /// The answer of PutApprovalResult.
    PutApprovalResultOutput { approved_at: EpochSeconds }

    /// The answer of GetPipelineState.
    GetPipelineStateOutput {
        pipeline_name: Name,
        pipeline_version: u32,
        stage_states: Vec<StageState>,
        created: EpochSeconds,
        updated: EpochSeconds,
    }

    /// A stage as it stands.
    StageState {
        stage_name: Name,
        inbound_execution: Option<StageExecution>,
        inbound_executions: Vec<StageExecution>,
        inbound_transition_state: TransitionState,
        action_states: Vec<ActionState>,
        latest_execution: Option<StageExecution>,
    }

    /// A run in a stage, or in front of it.
    StageExecution { pipeline_execution_id: PipelineExecutionId, status: ExecutionStatus }

    /// Whether runs may enter a stage.
    TransitionState { enabled: bool }

    /// An action as it stands.
    ActionState { action_name: Name, latest_execution: Option<ActionExecution>, current_revision: Option<ActionRevision> }

    /// What a source action came upon last.
    ActionRevision { revision_id: String, revision_change_id: String, created: EpochSeconds }

    /// The newest execution of an action. It does not say of which run.
    ActionExecution {
        action_execution_id: ActionExecutionId,
        status: ActionExecutionStatus,
        summary: Option<String>,
        last_status_change: Option<EpochSeconds>,
        token: Option<Token>,
        last_updated_by: Option<String>,
    }

    /// The answer of ListActionExecutions.
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

    /// What an action execution was given.
    ActionExecutionInput { action_type_id: ActionTypeId, configuration: BTreeMap<String, String> }

    /// What kind of action it is.
    ActionTypeId { category: Category, owner: &'static str, provider: &'static str, version: &'static str }

    /// What came of an action execution.
    ActionExecutionOutput { execution_result: ActionExecutionResult }

    /// In PARALLEL mode, `external_execution_id` is the token of a pending approval.
    ActionExecutionResult { external_execution_id: Option<String>, external_execution_summary: Option<String> }

    /// The answer of ListPipelineExecutions.
    ListPipelineExecutionsOutput {
        pipeline_execution_summaries: Vec<PipelineExecutionSummary>,
        next_token: Option<String>,
    }

    /// One run in the history.
    PipelineExecutionSummary {
        pipeline_execution_id: PipelineExecutionId,
        status: ExecutionStatus,
        start_time: EpochSeconds,
        last_update_time: EpochSeconds,
        source_revisions: Vec<SourceRevisionView>,
        trigger: ExecutionTrigger,
        stop_trigger: Option<StopExecutionTrigger>,
        execution_mode: ExecutionMode,
        execution_type: &'static str,
    }

    /// What a source action of a run came upon.
    SourceRevisionView { action_name: Name, revision_id: String }

    /// What started a run.
    ExecutionTrigger { trigger_type: &'static str }

    /// Why a run was stopped.
    StopExecutionTrigger { reason: String }

    /// The answer of GetPipelineExecution.
    GetPipelineExecutionOutput { pipeline_execution: PipelineExecution }

    /// One run.
    PipelineExecution {
        pipeline_name: Name,
        pipeline_version: u32,
        pipeline_execution_id: PipelineExecutionId,
        status: ExecutionStatus,
        artifact_revisions: Vec<ArtifactRevision>,
        trigger: ExecutionTrigger,
        execution_mode: ExecutionMode,
        execution_type: &'static str,
    }

    /// What a source action put into a run.
    ArtifactRevision { name: Name, revision_id: String }

    /// The answer of GetPipeline.
    GetPipelineOutput { pipeline: PipelineDeclaration, metadata: PipelineMetadata }

    /// A pipeline as it is declared.
    PipelineDeclaration {
        name: Name,
        role_arn: String,
        artifact_store: ArtifactStore,
        stages: Vec<StageDeclaration>,
        version: u32,
        execution_mode: ExecutionMode,
        pipeline_type: &'static str,
    }

    /// Where artifacts would be.
    ArtifactStore { r#type: &'static str, location: String }

    /// A stage as it is declared.
    StageDeclaration { name: Name, actions: Vec<ActionDeclaration> }

    /// An action as it is declared.
    ActionDeclaration {
        name: Name,
        action_type_id: ActionTypeId,
        run_order: u16,
        configuration: BTreeMap<String, String>,
        timeout_in_minutes: Option<u32>,
    }

    /// What stands beside a declaration.
    PipelineMetadata { pipeline_arn: String, created: EpochSeconds, updated: EpochSeconds }

    /// The answer of ListPipelines.
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

/// The answer as the service writes it.
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
