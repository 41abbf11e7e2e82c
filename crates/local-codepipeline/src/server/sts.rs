//! AWS STS, which SDKs call at the same endpoint when `AWS_ENDPOINT_URL` names it. It has the query protocol: a form in
//! the body of `POST /`, and XML in the response. Only AssumeRole and GetCallerIdentity are implemented.

mod xml;

use std::sync::Arc;

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::{Request, body::Incoming};
use tokio::sync::watch;

use super::{
    aws_protocol::MAX_BODY_BYTES,
    fault_effects::{self, ResponseAction, response},
    form::Form,
    shared_state::{Shared, State},
    signature::{self, AwsService},
};
use crate::{
    faults::{ErrorResponse, Fault, FaultSubject},
    iam::{AssumeRoleInput, Caller, Credential, RoleArn, StsCall, StsError, StsOperation, StsOutcome},
};

const VERSION: &str = "2011-06-15";

/// Whether a request to `POST /` is for STS rather than for CodePipeline.
pub(super) fn is_addressed(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !headers.contains_key("x-amz-target") && content_type.starts_with("application/x-www-form-urlencoded")
}

pub(super) async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
) -> ResponseAction {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return ResponseAction::Close;
    };
    let input = match Input::parse(&Form::parse(&body.to_bytes())) {
        Ok(input) => input,
        Err(error) => return error_response(&error),
    };
    let credential = match signature::credential(&head.headers, AwsService::Sts) {
        Ok(credential) => credential,
        Err(error) => return error_response(&error),
    };
    let accepted = accept(&mut shared.lock(), input, credential);
    match accepted {
        Ok((call, fault)) => fault_effects::respond(shared, stopped, call, fault).await,
        Err(error) => error_response(&error),
    }
}

/// The operation and its members.
enum Input {
    AssumeRole(AssumeRoleInput),
    GetCallerIdentity,
}

impl Input {
    fn parse(form: &Form) -> Result<Self, ErrorResponse> {
        let operation = form.get("Action").and_then(|action| action.parse().ok());
        let member = |name| form.get(name).map(str::to_owned);
        match operation.filter(|_| form.get("Version") == Some(VERSION)) {
            Some(StsOperation::GetCallerIdentity) => Ok(Self::GetCallerIdentity),
            Some(StsOperation::AssumeRole) => Ok(Self::AssumeRole(AssumeRoleInput {
                role_arn: member("RoleArn"),
                role_session_name: member("RoleSessionName"),
                duration_seconds: member("DurationSeconds"),
                external_id: member("ExternalId"),
            })),
            None => {
                let message =
                    format!("This endpoint implements only AssumeRole and GetCallerIdentity of version {VERSION}.");
                Err(ErrorResponse::new(400, "InvalidAction", message))
            }
        }
    }

    fn operation(&self) -> StsOperation {
        match self {
            Self::AssumeRole(_) => StsOperation::AssumeRole,
            Self::GetCallerIdentity => StsOperation::GetCallerIdentity,
        }
    }
}

/// A request from an authenticated caller.
struct Call {
    input: Input,
    region: String,
    caller: Caller,
}

/// Authenticates the caller, and selects the fault.
fn accept(
    state: &mut State,
    input: Input,
    Credential { access_key, region, session_token }: Credential,
) -> Result<(Call, Option<Fault>), ErrorResponse> {
    let credential = Credential { access_key, region: region.clone(), session_token };
    match state.cloud.iam().authenticate(&credential, state.date()) {
        Ok(caller) => {
            let call = Call { input, region, caller };
            let fault = call.take_fault(state);
            Ok((call, fault))
        }
        Err(error) => {
            let error = signature::refused_credential(error);
            let (kind, message) = (xml::code(&error).to_owned(), error.message.clone());
            let outcome = StsOutcome::Refused { r#type: kind, message };
            record(state, &input, region, None, outcome, None);
            Err(error)
        }
    }
}

/// Adds a call to the list for tests.
fn record(
    state: &mut State,
    input: &Input,
    region: String,
    caller: Option<&Caller>,
    outcome: StsOutcome,
    fault: Option<&Fault>,
) {
    let (role_arn, session_name, external_id) = match input {
        Input::AssumeRole(input) => {
            (input.role_arn.clone(), input.role_session_name.clone(), input.external_id.clone())
        }
        Input::GetCallerIdentity => {
            let role = caller.and_then(Caller::role).map(ToString::to_string);
            (role, caller.and_then(Caller::session_name).map(str::to_owned), None)
        }
    };
    let call = StsCall {
        at: state.now(),
        operation: input.operation(),
        region,
        caller: caller.map(|caller| caller.arn().to_owned()),
        role_arn,
        session_name,
        external_id,
        outcome,
        fault: fault.map(ToString::to_string),
    };
    state.cloud.iam_mut().record_call(call);
}

impl Call {
    fn take_fault(&self, state: &mut State) -> Option<Fault> {
        let requested: Option<RoleArn> = match &self.input {
            Input::AssumeRole(input) => input.role_arn.as_deref().and_then(|arn| arn.parse().ok()),
            Input::GetCallerIdentity => None,
        };
        let (role, session_name) = match &self.input {
            Input::AssumeRole(input) => (requested.as_ref(), input.role_session_name.as_deref()),
            Input::GetCallerIdentity => (self.caller.role(), self.caller.session_name()),
        };
        state.faults.take(FaultSubject {
            operation: self.input.operation().into(),
            pipeline: None,
            account_id: role.map_or(self.caller.account_id(), RoleArn::account_id),
            region: &self.region,
            role,
            session_name,
        })
    }

    fn record(&self, state: &mut State, outcome: StsOutcome, fault: Option<&Fault>) {
        record(state, &self.input, self.region.clone(), Some(&self.caller), outcome, fault);
    }
}

impl fault_effects::Call for Call {
    const CONTENT_TYPE: &'static str = xml::CONTENT_TYPE;

    fn apply(&self, state: &mut State, fault: Option<&Fault>) -> ResponseAction {
        let now = state.date();
        let result = match &self.input {
            Input::AssumeRole(input) => {
                state.cloud.iam_mut().assume_role(&self.caller, input, now).map(|session| xml::assume_role(&session))
            }
            Input::GetCallerIdentity => Ok(xml::get_caller_identity(&self.caller)),
        };
        match result {
            Ok(body) => {
                self.record(state, StsOutcome::Succeeded, fault);
                response(200, xml::CONTENT_TYPE, body)
            }
            Err(StsError { kind, message }) => {
                let outcome = StsOutcome::Refused { r#type: kind.name().to_owned(), message: message.clone() };
                self.record(state, outcome, fault);
                error_response(&ErrorResponse::new(kind.status(), kind.name(), message))
            }
        }
    }

    fn record_not_applied(&self, state: &mut State, fault: &Fault) {
        self.record(state, StsOutcome::NotApplied, Some(fault));
    }

    fn error_response(error: &ErrorResponse) -> ResponseAction {
        error_response(error)
    }

    fn without_approved_at(action: ResponseAction) -> ResponseAction {
        action
    }
}

fn error_response(error: &ErrorResponse) -> ResponseAction {
    response(xml::status(error), xml::CONTENT_TYPE, xml::error(error))
}
