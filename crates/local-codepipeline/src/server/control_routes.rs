//! The control routes, through which other processes control the endpoint: plain JSON without signatures. One route
//! accepts commands; the others return the ledgers and the request counts, and manage the faults. Under
//! `/local/accounts/ACCOUNT/REGION`, commands and the ledger are those of one account and region.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shared_state::{RequestCount, Shared, State as SharedState};
use crate::{
    faults::Fault,
    iam::{Revocation, Role, RoleArn, StsCall},
    model::{
        Account, AccountError, Behaviour, Exception, ExceptionKind, LedgerEntry, PipelineDefinition,
        PipelineExecutionId, RetryMode, SourceRevision, StopMode,
    },
};

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/local/commands", post(command))
        .route("/local/accounts/{id}/{region}/commands", post(command_in))
        .route("/local/ledger", get(ledger))
        .route("/local/accounts/{id}/{region}/ledger", get(ledger_of))
        .route("/local/sts-calls", get(sts_calls))
        .route("/local/requests", get(requests))
        .route("/local/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/local/faults/{pipeline}", delete(clear_faults_for))
        .with_state(shared)
}

/// A command, selected by `command`.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Command {
    PutPipeline {
        definition: PipelineDefinition,
    },
    EditPipeline {
        pipeline_name: String,
    },
    DeletePipeline {
        pipeline_name: String,
    },
    StartExecution {
        pipeline_name: String,
        #[serde(default)]
        source_revisions: Vec<SourceRevision>,
    },
    CompleteAction {
        pipeline_name: String,
        stage_name: String,
        action_name: String,
        pipeline_execution_id: PipelineExecutionId,
        #[serde(default = "default_true")]
        succeeded: bool,
    },
    StopExecution {
        pipeline_name: String,
        pipeline_execution_id: PipelineExecutionId,
        #[serde(default)]
        mode: StopMode,
        #[serde(default)]
        reason: String,
    },
    RetryStage {
        pipeline_name: String,
        stage_name: String,
        pipeline_execution_id: PipelineExecutionId,
        #[serde(default)]
        mode: RetryMode,
    },
    RollbackStage {
        pipeline_name: String,
        stage_name: String,
        target_pipeline_execution_id: PipelineExecutionId,
    },
    OverrideStageCondition {
        pipeline_name: String,
        stage_name: String,
        pipeline_execution_id: PipelineExecutionId,
    },
    DisableStageTransition {
        pipeline_name: String,
        stage_name: String,
        #[serde(default)]
        reason: String,
    },
    EnableStageTransition {
        pipeline_name: String,
        stage_name: String,
    },
    OpenApproval {
        pipeline_name: String,
        stage_name: String,
        action_name: String,
        #[serde(default)]
        source_revisions: Vec<SourceRevision>,
    },
    ListPendingApprovals {
        pipeline_name: String,
    },
    SetBehaviour {
        behaviour: Behaviour,
    },
    PutRole {
        role: Role,
    },
    DeleteRole {
        role_arn: RoleArn,
    },
    RevokeSessions {
        role_arn: RoleArn,
        #[serde(default)]
        revocation: Revocation,
    },
    AdvanceClock {
        by: SignedDuration,
    },
    SetDateOffset {
        by: SignedDuration,
    },
}

fn default_true() -> bool {
    true
}

async fn command(State(shared): State<Arc<Shared>>, Json(command): Json<Command>) -> Result<Json<Value>, Refusal> {
    run(&mut shared.lock(), None, command)
}

async fn command_in(
    State(shared): State<Arc<Shared>>,
    Path((id, region)): Path<(String, String)>,
    Json(command): Json<Command>,
) -> Result<Json<Value>, Refusal> {
    run(&mut shared.lock(), Some(&checked(id, region)?), command)
}

fn checked(id: String, region: String) -> Result<Account, AccountError> {
    let account = Account { id, region };
    account.check()?;
    Ok(account)
}

/// Runs a command in this account and region, or in the default account.
fn run(state: &mut SharedState, account: Option<&Account>, command: Command) -> Result<Json<Value>, Refusal> {
    let now = state.now();
    let service = state.cloud.service_in(account);
    match command {
        Command::PutPipeline { definition } => service.put_pipeline(now, definition)?,
        Command::EditPipeline { pipeline_name } => service.edit_pipeline(now, &pipeline_name)?,
        Command::DeletePipeline { pipeline_name } => service.delete_pipeline(now, &pipeline_name)?,
        Command::StartExecution { pipeline_name, source_revisions } => {
            let id = service.start_execution(now, &pipeline_name, &source_revisions)?;
            return Ok(Json(json!({ "pipelineExecutionId": id })));
        }
        Command::CompleteAction { pipeline_name, stage_name, action_name, pipeline_execution_id, succeeded } => {
            let action = (stage_name.as_str(), action_name.as_str());
            service.complete_action(now, &pipeline_name, pipeline_execution_id, action, succeeded)?;
        }
        Command::StopExecution { pipeline_name, pipeline_execution_id, mode, reason } => {
            service.stop_execution(now, &pipeline_name, pipeline_execution_id, mode, &reason)?;
        }
        Command::RetryStage { pipeline_name, stage_name, pipeline_execution_id, mode } => {
            service.retry_stage(now, &pipeline_name, &stage_name, pipeline_execution_id, mode)?;
        }
        Command::RollbackStage { pipeline_name, stage_name, target_pipeline_execution_id } => {
            let id = service.rollback_stage(now, &pipeline_name, &stage_name, target_pipeline_execution_id)?;
            return Ok(Json(json!({ "pipelineExecutionId": id })));
        }
        Command::OverrideStageCondition { pipeline_name, stage_name, pipeline_execution_id } => {
            service.override_stage_condition(now, &pipeline_name, &stage_name, pipeline_execution_id)?;
        }
        Command::DisableStageTransition { pipeline_name, stage_name, reason } => {
            service.disable_stage_transition(now, &pipeline_name, &stage_name, &reason)?;
        }
        Command::EnableStageTransition { pipeline_name, stage_name } => {
            service.enable_stage_transition(now, &pipeline_name, &stage_name)?;
        }
        Command::OpenApproval { pipeline_name, stage_name, action_name, source_revisions } => {
            let approval = (pipeline_name.as_str(), stage_name.as_str(), action_name.as_str());
            return Ok(Json(json!(service.open_approval(now, approval, &source_revisions)?)));
        }
        Command::ListPendingApprovals { pipeline_name } => {
            return Ok(Json(json!(service.pending_approvals(now, &pipeline_name)?)));
        }
        Command::SetBehaviour { behaviour } => match account {
            None => state.cloud.set_behaviour(&behaviour),
            Some(_) => service.set_behaviour(behaviour),
        },
        Command::PutRole { role } => state.cloud.put_role(role),
        Command::DeleteRole { role_arn } => state.cloud.iam_mut().delete_role(&role_arn),
        Command::RevokeSessions { role_arn, revocation } => {
            state.cloud.iam_mut().revoke_sessions(&role_arn, revocation);
        }
        Command::AdvanceClock { by } => state.advance_clock(by.unsigned_abs()),
        Command::SetDateOffset { by } => state.date_offset = by,
    }
    Ok(empty_object())
}

fn empty_object() -> Json<Value> {
    Json(json!({}))
}

async fn ledger(State(shared): State<Arc<Shared>>) -> Json<Vec<LedgerEntry>> {
    Json(shared.lock().cloud.ledger())
}

async fn ledger_of(
    State(shared): State<Arc<Shared>>,
    Path((id, region)): Path<(String, String)>,
) -> Result<Json<Vec<LedgerEntry>>, Refusal> {
    Ok(Json(shared.lock().cloud.service(&checked(id, region)?).ledger().to_vec()))
}

async fn sts_calls(State(shared): State<Arc<Shared>>) -> Json<Vec<StsCall>> {
    Json(shared.lock().cloud.iam().calls().to_vec())
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Vec<RequestCount>> {
    Json(shared.lock().requests.list())
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Json<Vec<Fault>> {
    Json(shared.lock().faults.list())
}

async fn add_fault(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Json<Value> {
    shared.lock().faults.add(fault);
    empty_object()
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.lock().faults.clear(None);
    empty_object()
}

async fn clear_faults_for(State(shared): State<Arc<Shared>>, Path(pipeline): Path<String>) -> Json<Value> {
    shared.lock().faults.clear(Some(&pipeline));
    empty_object()
}

/// A command that CodePipeline refuses.
struct Refusal(Exception);

impl From<Exception> for Refusal {
    fn from(exception: Exception) -> Self {
        Self(exception)
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        Self(Exception::new(ExceptionKind::Validation, error.to_string()))
    }
}

/// The error format of the wire protocol.
#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorBody { kind: self.0.kind.name(), message: &self.0.message };
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}
