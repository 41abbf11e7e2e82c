//! The wire protocol of CodePipeline, AWS JSON 1.1: `POST /`, the operation in `X-Amz-Target`, JSON in both directions, an
//! error as status 400 with its name in `__type`.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, Request, body::Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    fault_effects::{self, ResponseAction, response},
    shared_state::{Shared, State},
    signature::{self, AwsService},
};
use crate::{
    api::{self, DispatchError, Operation, PutApprovalResultInput},
    faults::{ErrorResponse, Fault, FaultSubject},
    iam::{Caller, Credential},
    model::Account,
};

const TARGET_PREFIX: &str = "CodePipeline_20150709.";
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// A request whose body has been read, from an authenticated caller.
struct Call {
    operation: Operation,
    caller: String,
    /// The account and region of the caller's pipelines; `None` is the default account.
    account: Option<Account>,
    body: Vec<u8>,
}

pub(super) async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
) -> ResponseAction {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let Ok(body) = body.map(|body| body.to_bytes().to_vec()) else {
        return error_response(&ErrorResponse::new(
            413,
            "RequestEntityTooLargeException",
            "The request body is too large or incomplete.",
        ));
    };
    let (operation, credential) =
        match (operation(&head.headers), signature::credential(&head.headers, AwsService::CodePipeline)) {
            (Ok(operation), Ok(credential)) => (operation, credential),
            (Err(error), _) | (_, Err(error)) => return error_response(&error),
        };
    let accepted = accept(&mut shared.lock(), operation, &credential, body);
    match accepted {
        Ok((call, fault)) => fault_effects::respond(shared, stopped, call, fault).await,
        Err(error) => error_response(&error),
    }
}

/// Authenticates the caller, selects the fault, and counts the request.
fn accept(
    state: &mut State,
    operation: Operation,
    credential: &Credential,
    body: Vec<u8>,
) -> Result<(Call, Option<Fault>), ErrorResponse> {
    let caller = state.cloud.iam().authenticate(credential, state.date()).map_err(signature::refused_credential)?;
    let pipeline = pipeline_of(operation, &body);
    if caller.is_denied() {
        return Err(explicitly_denied(&caller, operation, &credential.region, pipeline.as_deref()));
    }
    let account = state.cloud.account_of_caller(caller.account_id(), &credential.region);
    let fault = state.faults.take(FaultSubject {
        operation: operation.into(),
        pipeline: pipeline.as_deref(),
        account_id: caller.account_id(),
        region: &credential.region,
        role: caller.role(),
        session_name: caller.session_name(),
    });
    state.requests.add(account.clone(), operation, pipeline);
    Ok((Call { operation, caller: caller.arn().to_owned(), account, body }, fault))
}

fn explicitly_denied(caller: &Caller, operation: Operation, region: &str, pipeline: Option<&str>) -> ErrorResponse {
    let (arn, account, pipeline) = (caller.arn(), caller.account_id(), pipeline.unwrap_or("*"));
    let message = format!(
        "User: {arn} is not authorized to perform: codepipeline:{operation} on resource: \
         arn:aws:codepipeline:{region}:{account}:{pipeline} with an explicit deny in an identity-based policy"
    );
    ErrorResponse::new(400, "AccessDeniedException", message)
}

fn operation(headers: &HeaderMap) -> Result<Operation, ErrorResponse> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let name = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let message = format!("Unknown operation: {}", target.unwrap_or("no X-Amz-Target header"));
        ErrorResponse::new(400, "UnknownOperationException", message)
    })
}

fn pipeline_of(operation: Operation, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.get(operation.pipeline_member()?)?.as_str()?.to_owned())
}

impl fault_effects::Call for Call {
    const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    fn apply(&self, state: &mut State, fault: Option<&Fault>) -> ResponseAction {
        let now = state.now();
        let service = state.cloud.service_in(self.account.as_ref());
        let entries = service.ledger().len();
        let result = api::dispatch(service, now, &self.caller, self.operation, &self.body);
        if let Some(fault) = fault.filter(|_| service.ledger().len() > entries) {
            service.record_fault(&fault.to_string());
        }
        match result {
            Ok(output) => json_response(200, &output),
            Err(DispatchError::Exception(exception)) => {
                error_response(&ErrorResponse::new(400, exception.kind.name(), exception.message))
            }
            Err(DispatchError::Malformed(message)) => {
                error_response(&ErrorResponse::new(400, "SerializationException", message))
            }
        }
    }

    fn record_not_applied(&self, state: &mut State, fault: &Fault) {
        if self.operation != Operation::PutApprovalResult {
            return;
        }
        if let Ok(input) = serde_json::from_slice::<PutApprovalResultInput>(&self.body) {
            let now = state.now();
            let service = state.cloud.service_in(self.account.as_ref());
            service.record_not_applied(now, &self.caller, &input);
            service.record_fault(&fault.to_string());
        }
    }

    fn error_response(error: &ErrorResponse) -> ResponseAction {
        error_response(error)
    }

    /// Other responses than a success stay unchanged.
    fn without_approved_at(action: ResponseAction) -> ResponseAction {
        match action {
            ResponseAction::Respond(response) if response.status().is_success() => json_response(200, &json!({})),
            other => other,
        }
    }
}

fn error_response(error: &ErrorResponse) -> ResponseAction {
    json_response(error.status, &json!({ "__type": error.kind, "message": error.message }))
}

fn json_response(status: u16, body: &Value) -> ResponseAction {
    response(status, CONTENT_TYPE, body.to_string())
}
