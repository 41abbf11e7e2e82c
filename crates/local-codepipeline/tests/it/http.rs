//! The endpoint over real connections: the wire protocol, the faults and the control routes. The tests of the model
//! cover CodePipeline's rules.

use std::time::Duration;

use hyper::Request;
use local_codepipeline::{
    LocalCodePipeline, Settings,
    api::{ApprovalStatus, Operation, PutApprovalResultInput},
    client::{Client, ClientError},
    faults::Fault,
    model::{OpenApproval, Outcome},
};
use serde_json::{Value, json};
use tokio::time::timeout;

const TEST_TIMEOUT: Duration = Duration::from_secs(5);
const AT: (&str, &str, &str) = ("checkout", "Prod", "Approve");

async fn start() -> (LocalCodePipeline, Client, OpenApproval) {
    let endpoint = LocalCodePipeline::start(Settings::default()).await.unwrap();
    let client = Client::at(endpoint.address());
    let approval = endpoint.open_approval(AT.0, AT.1, AT.2).unwrap();
    (endpoint, client, approval)
}

fn approve(approval: &OpenApproval) -> PutApprovalResultInput {
    PutApprovalResultInput::new(AT.0, AT.1, AT.2, approval.token, ApprovalStatus::Approved, "fine")
}

async fn put_approval_result(client: &Client, approval: &OpenApproval) -> Result<Value, ClientError> {
    client.operation("alice", Operation::PutApprovalResult, &approve(approval)).await
}

fn kind<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { kind, .. }) => kind,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_result_is_accepted_on_behalf_of_the_access_key() {
    let (endpoint, client, approval) = start().await;
    let output = put_approval_result(&client, &approval).await.unwrap();
    let ledger = endpoint.ledger();
    let [entry] = ledger.as_slice() else { panic!("{ledger:?}") };
    assert_eq!(entry.caller, "arn:aws:iam::123456789012:user/alice");
    let Outcome::Accepted { approved_at, action_execution_id, .. } = entry.outcome else { panic!("{entry:?}") };
    assert_eq!(action_execution_id, approval.action_execution_id);
    assert_eq!(output["approvedAt"].as_f64(), Some(approved_at.as_millisecond() as f64 / 1000.0));
    assert_eq!(kind(put_approval_result(&client, &approval).await), "ApprovalAlreadyCompletedException");
    assert_eq!(endpoint.request_count(Operation::PutApprovalResult), 2);
    assert_eq!(endpoint.request_count_for(Operation::PutApprovalResult, "another"), 0);
}

#[tokio::test]
async fn an_error_has_its_name_in_the_body_and_a_request_id() {
    let (_endpoint, client, _) = start().await;
    let request = Request::post("/")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=A/d/r/codepipeline/aws4_request, SignedHeaders=h, Signature=s",
        )
        .header("x-amz-target", "CodePipeline_20150709.GetPipelineState");
    let response = client.send(request, Some(br#"{"name":"nowhere"}"#)).await.unwrap();
    assert_eq!(response.status, 400);
    assert_eq!(response.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(response.headers["x-amzn-requestid"].len(), 36);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    let message = "The account with id '123456789012' does not include a pipeline with the name 'nowhere'";
    assert_eq!(body, json!({ "__type": "PipelineNotFoundException", "message": message }));
}

/// A GetCallerIdentity request of STS, which SDKs send to the same endpoint.
fn get_caller_identity(user: &str) -> (axum::http::request::Builder, &'static [u8]) {
    let credential = format!("{user}/20150709/us-east-1/sts/aws4_request");
    let request = Request::post("/")
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=h, Signature=s"))
        .header("content-type", "application/x-www-form-urlencoded");
    (request, b"Action=GetCallerIdentity&Version=2011-06-15")
}

#[tokio::test]
async fn sts_responds_at_the_same_endpoint_and_no_fault_affects_it() {
    let (endpoint, client, _) = start().await;
    endpoint.inject(Fault::disconnect_before_applying().always());
    let (request, body) = get_caller_identity("alice");
    let response = client.send(request, Some(body)).await.unwrap();
    assert_eq!((response.status, &response.headers["content-type"]), (200, &"text/xml".parse().unwrap()));
    let text = String::from_utf8_lossy(&response.body);
    assert!(text.contains("<Arn>arn:aws:iam::123456789012:user/alice</Arn>"), "{text}");
}

#[tokio::test]
async fn the_date_header_has_its_own_offset_and_does_not_follow_the_clock() {
    let (endpoint, client, _) = start().await;
    endpoint.advance_clock(Duration::from_secs(3600));
    for (offset, expected) in [("0s", 0), ("-1h", -3600), ("1h", 3600)] {
        client.command(&json!({ "command": "setDateOffset", "by": offset })).await.unwrap();
        let (request, body) = get_caller_identity("alice");
        let state = Request::post("/").header("x-amz-target", "CodePipeline_20150709.GetPipelineState");
        for response in [client.send(request, Some(body)).await.unwrap(), client.send(state, None).await.unwrap()] {
            let date = response.headers["date"].to_str().unwrap();
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap();
            let ahead = date.duration_since(jiff::Timestamp::now()).as_secs();
            assert!((ahead - expected).abs() <= 2, "{offset}: {ahead} s");
        }
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (endpoint, client, approval) = start().await;
    assert_eq!(kind(client.operation("a", "StartRocket", &json!({})).await), "UnknownOperationException");
    assert_eq!(kind(client.operation("a", "GetPipelineState", &json!([1])).await), "SerializationException");
    let unsigned = Request::post("/").header("x-amz-target", "CodePipeline_20150709.PutApprovalResult");
    let body = serde_json::to_vec(&approve(&approval)).unwrap();
    let response = client.send(unsigned, Some(&body)).await.unwrap();
    assert!(String::from_utf8_lossy(&response.body).contains("MissingAuthenticationTokenException"));
    assert_eq!(endpoint.ledger(), []);
}

#[tokio::test]
async fn the_members_of_the_state_have_the_names_of_the_api_model() {
    let (_endpoint, client, approval) = start().await;
    let state = client.operation("a", Operation::GetPipelineState, &json!({ "name": "checkout" })).await.unwrap();
    let id = approval.pipeline_execution_id;
    let prod = &state["stageStates"][1];
    assert_eq!(prod["stageName"], "Prod");
    assert_eq!(
        prod["latestExecution"],
        json!({ "pipelineExecutionId": id, "status": "InProgress", "type": "STANDARD" })
    );
    let expected = json!({
        "actionExecutionId": approval.action_execution_id, "status": "InProgress", "token": approval.token,
    });
    assert_eq!(prod["actionStates"], json!([{ "actionName": "Approve", "latestExecution": expected }]));
}

#[tokio::test]
async fn a_fault_affects_what_the_caller_receives_and_the_ledger_has_the_real_outcome() {
    enum Received {
        Error(&'static str),
        Disconnect,
        Html,
        NoResponse,
        NoApprovedAt,
    }
    let table = [
        (Fault::throttled(), false, Received::Error("ThrottlingException")),
        (Fault::access_denied(), false, Received::Error("AccessDeniedException")),
        (Fault::expired_token(), false, Received::Error("ExpiredTokenException")),
        (Fault::internal_failure(), false, Received::Error("InternalFailure")),
        (Fault::service_unavailable(), false, Received::Error("ServiceUnavailable")),
        (Fault::internal_failure_after_applying(), true, Received::Error("InternalFailure")),
        (Fault::disconnect_before_applying(), false, Received::Disconnect),
        (Fault::disconnect_after_applying(), true, Received::Disconnect),
        (Fault::hang_before_applying(), false, Received::NoResponse),
        (Fault::hang_after_applying(), true, Received::NoResponse),
        (Fault::not_json_before_applying(), false, Received::Html),
        (Fault::not_json_after_applying(), true, Received::Html),
        (Fault::without_approved_at(), true, Received::NoApprovedAt),
    ];
    for (fault, applied, expected) in table {
        let name = fault.to_string();
        let (endpoint, client, approval) = start().await;
        endpoint.inject(fault.on(Operation::PutApprovalResult));
        let received = timeout(Duration::from_millis(200), put_approval_result(&client, &approval)).await;
        match (expected, received) {
            (Received::Error(expected), Ok(received)) => assert_eq!(kind(received), expected, "{name}"),
            (Received::Disconnect, Ok(Err(ClientError::NoResponse { .. }))) => {}
            (Received::Html, Ok(Err(ClientError::UnexpectedResponse { .. }))) => {}
            (Received::NoResponse, Err(_elapsed)) => {}
            (Received::NoApprovedAt, Ok(Ok(received))) => assert_eq!(received, json!({}), "{name}"),
            (_, received) => panic!("{name}: {received:?}"),
        }
        let ledger = endpoint.ledger();
        let [entry] = ledger.as_slice() else { panic!("{name}: {ledger:?}") };
        assert_eq!(entry.is_accepted(), applied, "{name}");
        assert_eq!(entry.outcome == Outcome::NotApplied, !applied, "{name}");
        assert_eq!(entry.fault.as_deref(), Some(name.as_str()));
    }
}

#[tokio::test]
async fn a_delayed_request_is_applied_even_if_its_caller_disconnects() {
    let (endpoint, client, approval) = start().await;
    endpoint.inject(Fault::delayed().delay_before(Duration::from_millis(150)));
    timeout(Duration::from_millis(30), put_approval_result(&client, &approval)).await.unwrap_err();
    assert_eq!(endpoint.ledger(), []);
    timeout(TEST_TIMEOUT, endpoint.wait_for(|service, _| service.ledger().len() == 1)).await.unwrap();
    assert!(endpoint.ledger()[0].is_accepted());
}

#[tokio::test]
async fn dropping_an_endpoint_closes_it_and_its_hanging_connections() {
    let (endpoint, client, approval) = start().await;
    endpoint.inject(Fault::hang_before_applying());
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { put_approval_result(&client, &approval).await }
    });
    timeout(TEST_TIMEOUT, endpoint.wait_for_requests(Operation::PutApprovalResult, "checkout", 1)).await.unwrap();
    drop(endpoint);
    assert!(matches!(timeout(TEST_TIMEOUT, hanging).await.unwrap().unwrap(), Err(ClientError::NoResponse { .. })));
    assert!(matches!(put_approval_result(&client, &approval).await, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn wait_for_ends_when_an_approval_times_out() {
    let (endpoint, _, approval) = start().await;
    endpoint.advance_clock(Duration::from_secs(8 * 24 * 60 * 60));
    let pending = |service: &mut local_codepipeline::model::Service, now| service.pending_approvals(now, "checkout");
    timeout(TEST_TIMEOUT, endpoint.wait_for(|service, now| pending(service, now) == Ok(vec![]))).await.unwrap();
    let late = endpoint.respond_as("arn:x", AT, approval.token, ApprovalStatus::Approved, "too late");
    assert_eq!(late.unwrap_err().kind.name(), "ApprovalAlreadyCompletedException");
}

#[tokio::test]
async fn another_process_controls_the_endpoint_through_the_control_routes() {
    let (endpoint, client, _) = start().await;
    let definition = json!({
        "name": "web", "executionMode": "PARALLEL",
        "stages": [
            { "name": "Source", "actions": [{ "name": "Git", "category": "Source" }] },
            { "name": "Build", "actions": [{ "name": "Make", "category": "Build", "duration": "untilCompleted" }] },
            { "name": "Prod", "actions": [{ "name": "Approve", "category": "Approval" }] },
        ],
    });
    client.command(&json!({ "command": "putPipeline", "definition": definition })).await.unwrap();
    let revisions = json!([{ "actionName": "Git", "revisionId": "4f2e1d" }]);
    let start = json!({ "command": "startExecution", "pipelineName": "web", "sourceRevisions": revisions });
    let execution = client.command(&start).await.unwrap();
    let of_run = |command: &str, stage: &str| {
        json!({
            "command": command, "pipelineName": "web", "stageName": stage,
            "pipelineExecutionId": execution["pipelineExecutionId"],
        })
    };
    let transition = |command: &str| json!({ "command": command, "pipelineName": "web", "stageName": "Prod" });
    let mut disable = transition("disableStageTransition");
    disable["reason"] = json!("freeze");
    client.command(&disable).await.unwrap();
    let state = client.operation("a", Operation::GetPipelineState, &json!({ "name": "web" })).await.unwrap();
    let disabled = json!({ "enabled": false, "disabledReason": "freeze" });
    assert_eq!(state["stageStates"][2]["inboundTransitionState"], disabled);
    client.command(&transition("enableStageTransition")).await.unwrap();
    let mut build = of_run("completeAction", "Build");
    build["actionName"] = json!("Make");
    client.command(&build).await.unwrap();
    let pending = json!({ "command": "listPendingApprovals", "pipelineName": "web" });
    let pending = client.command(&pending).await.unwrap();
    assert_eq!(pending[0]["pipelineExecutionId"], execution["pipelineExecutionId"]);
    client.command(&json!({ "command": "advanceClock", "by": "192h" })).await.unwrap();
    client.command(&of_run("retryStage", "Prod")).await.unwrap();
    let mut stop = json!({ "command": "stopExecution", "pipelineName": "web", "mode": "abandon" });
    stop["pipelineExecutionId"] = execution["pipelineExecutionId"].clone();
    client.command(&stop).await.unwrap();
    let behaviour = json!({ "lags": { "token": "5s" }, "tokens": "independent" });
    client.command(&json!({ "command": "setBehaviour", "behaviour": behaviour })).await.unwrap();
    client.command(&json!({ "command": "editPipeline", "pipelineName": "web" })).await.unwrap();
    client.command(&json!({ "command": "deletePipeline", "pipelineName": "web" })).await.unwrap();
    let gone = client.command(&json!({ "command": "editPipeline", "pipelineName": "web" })).await;
    assert_eq!(kind(gone), "PipelineNotFoundException");

    client.post("/local/faults", &json!({ "effect": { "notApplied": "close" }, "requests": "all" })).await.unwrap();
    let list = client.operation("a", Operation::ListPipelines, &json!({})).await;
    assert!(matches!(list, Err(ClientError::NoResponse { .. })));
    assert_eq!(client.get::<Value>("/local/faults").await.unwrap().as_array().unwrap().len(), 1);
    endpoint.clear_faults();
    let list = client.operation("a", Operation::ListPipelines, &json!({})).await.unwrap();
    assert_eq!(list["pipelines"][0]["name"], "checkout");
    let counts = client.get::<Value>("/local/requests").await.unwrap();
    let count = |operation: &str, pipeline: Option<&str>, requests: u32| json!({ "operation": operation, "pipelineName": pipeline, "requests": requests });
    assert_eq!(counts, json!([count("GetPipelineState", Some("web"), 1), count("ListPipelines", None, 2)]));
    assert_eq!(client.get::<Value>("/local/ledger").await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_stage_is_overridden_retried_and_rolled_back_through_the_control_routes() {
    let (_endpoint, client, _) = start().await;
    let definition = json!({
        "name": "web",
        "stages": [
            { "name": "Source", "actions": [{ "name": "Git", "category": "Source" }] },
            {
                "name": "Prod",
                "actions": [{ "name": "Approve", "category": "Approval" }],
                "beforeEntry": { "result": "FAIL" },
                "onFailure": { "result": "RETRY", "retryConfiguration": { "retryMode": "FAILED_ACTIONS" } },
            },
        ],
    });
    client.command(&json!({ "command": "putPipeline", "definition": definition })).await.unwrap();
    let revisions = json!([{ "actionName": "Git" }]);
    let start = json!({ "command": "startExecution", "pipelineName": "web", "sourceRevisions": revisions });
    let execution = client.command(&start).await.unwrap()["pipelineExecutionId"].clone();
    let override_condition = |execution: &Value| {
        json!({
            "command": "overrideStageCondition", "pipelineName": "web", "stageName": "Prod",
            "pipelineExecutionId": execution,
        })
    };
    client.command(&override_condition(&execution)).await.unwrap();
    for status in ["Rejected", "Approved"] {
        let pending = json!({ "command": "listPendingApprovals", "pipelineName": "web" });
        let token = client.command(&pending).await.unwrap()[0]["token"].clone();
        let input = json!({
            "pipelineName": "web", "stageName": "Prod", "actionName": "Approve", "token": token,
            "result": { "status": status, "summary": "because" },
        });
        client.operation("a", Operation::PutApprovalResult, &input).await.unwrap();
    }
    let state = client.operation("a", Operation::GetPipelineState, &json!({ "name": "web" })).await.unwrap();
    let prod = &state["stageStates"][1];
    let retries = json!({ "autoStageRetryAttempt": 1, "latestRetryTrigger": "AutomatedStageRetry" });
    assert_eq!(prod["retryStageMetadata"], retries);
    assert_eq!(prod["beforeEntryConditionState"], json!({ "latestExecution": { "status": "Overridden" } }));
    let latest = json!({ "pipelineExecutionId": execution, "status": "Succeeded", "type": "STANDARD" });
    assert_eq!(prod["latestExecution"], latest);

    let rollback = json!({
        "command": "rollbackStage", "pipelineName": "web", "stageName": "Prod",
        "targetPipelineExecutionId": execution,
    });
    let rollback = client.command(&rollback).await.unwrap()["pipelineExecutionId"].clone();
    let input = json!({ "pipelineName": "web" });
    let list = client.operation("a", Operation::ListPipelineExecutions, &input).await.unwrap();
    let newest = &list["pipelineExecutionSummaries"][0];
    assert_eq!((&newest["pipelineExecutionId"], &newest["executionType"]), (&rollback, &json!("ROLLBACK")));
    assert_eq!(newest["sourceRevisions"], json!([{ "actionName": "Git" }]));
    assert_eq!(newest["rollbackMetadata"], json!({ "rollbackTargetPipelineExecutionId": execution }));
}

#[test]
fn the_fault_in_the_documentation_is_valid() {
    let page = include_str!("../../../../docs/local-codepipeline.md");
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let expected = Fault::disconnect_after_applying().on(Operation::PutApprovalResult).pipeline("checkout");
    let expected = expected.delay_before(Duration::from_secs(2));
    assert_eq!(serde_json::from_str::<Fault>(example).unwrap(), expected);
}
