//! The endpoint from outside, over real connections. What the service does is tested with the model; here it is that
//! the wire, the faults and the control routes do what they say.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

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

const SOON: Duration = Duration::from_secs(5);
const AT: (&str, &str, &str) = ("checkout", "Prod", "Approve");

async fn start() -> (LocalCodePipeline, Client, OpenApproval) {
    let service = LocalCodePipeline::start(Settings::default()).await.unwrap();
    let client = Client::at(service.address());
    let approval = service.open_approval(AT.0, AT.1, AT.2).unwrap();
    (service, client, approval)
}

fn approve(approval: &OpenApproval) -> PutApprovalResultInput {
    PutApprovalResultInput::new(AT.0, AT.1, AT.2, approval.token, ApprovalStatus::Approved, "fine")
}

async fn answer(client: &Client, approval: &OpenApproval) -> Result<Value, ClientError> {
    client.operation("alice", Operation::PutApprovalResult, &approve(approval)).await
}

fn kind<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { kind, .. }) => kind,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_taken_in_the_name_of_the_access_key_and_says_when() {
    let (service, client, approval) = start().await;
    let taken = answer(&client, &approval).await.unwrap();
    let ledger = service.ledger();
    let [entry] = ledger.as_slice() else { panic!("{ledger:?}") };
    assert_eq!(entry.caller, "arn:aws:iam::123456789012:user/alice");
    let Outcome::Accepted { approved_at, action_execution_id, .. } = entry.outcome else { panic!("{entry:?}") };
    assert_eq!(action_execution_id, approval.action_execution_id);
    assert_eq!(taken["approvedAt"].as_f64(), Some(approved_at.as_millisecond() as f64 / 1000.0));
    assert_eq!(kind(answer(&client, &approval).await), "ApprovalAlreadyCompletedException");
    assert_eq!(service.requests(Operation::PutApprovalResult), 2);
    assert_eq!(service.requests_of(Operation::PutApprovalResult, "another"), 0);
}

#[tokio::test]
async fn an_error_has_its_name_in_the_body_and_every_answer_a_request_id() {
    let (_service, client, _) = start().await;
    let request = Request::post("/")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=A/d/r/codepipeline/aws4_request, SignedHeaders=h, Signature=s",
        )
        .header("x-amz-target", "CodePipeline_20150709.GetPipelineState");
    let answer = client.send(request, Some(br#"{"name":"nowhere"}"#)).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let message = "The account with id '123456789012' does not include a pipeline with the name 'nowhere'";
    assert_eq!(body, json!({ "__type": "PipelineNotFoundException", "message": message }));
}

#[tokio::test]
async fn requests_that_are_not_the_services_are_refused() {
    let (service, client, approval) = start().await;
    assert_eq!(kind(client.operation("a", "StartRocket", &json!({})).await), "UnknownOperationException");
    assert_eq!(kind(client.operation("a", "GetPipelineState", &json!([1])).await), "SerializationException");
    let unsigned = Request::post("/").header("x-amz-target", "CodePipeline_20150709.PutApprovalResult");
    let body = serde_json::to_vec(&approve(&approval)).unwrap();
    let answer = client.send(unsigned, Some(&body)).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.body).contains("MissingAuthenticationTokenException"));
    assert_eq!(service.ledger(), []);
}

#[tokio::test]
async fn the_members_of_the_state_have_the_names_of_the_service() {
    let (_service, client, approval) = start().await;
    let state = client.operation("a", Operation::GetPipelineState, &json!({ "name": "checkout" })).await.unwrap();
    let id = approval.pipeline_execution_id;
    let prod = &state["stageStates"][1];
    assert_eq!(prod["stageName"], "Prod");
    assert_eq!(prod["latestExecution"], json!({ "pipelineExecutionId": id, "status": "InProgress" }));
    let expected = json!({
        "actionExecutionId": approval.action_execution_id, "status": "InProgress", "token": approval.token,
    });
    assert_eq!(prod["actionStates"], json!([{ "actionName": "Approve", "latestExecution": expected }]));
}

#[tokio::test]
async fn a_fault_says_to_the_caller_one_thing_and_to_the_ledger_the_truth() {
    enum Caller {
        Gets(&'static str),
        IsCutOff,
        GetsAWebPage,
        GetsNothingYet,
        GetsNoTime,
    }
    let table = [
        (Fault::throttled(), false, Caller::Gets("ThrottlingException")),
        (Fault::access_denied(), false, Caller::Gets("AccessDeniedException")),
        (Fault::expired_token(), false, Caller::Gets("ExpiredTokenException")),
        (Fault::internal_failure(), false, Caller::Gets("InternalFailure")),
        (Fault::unavailable(), false, Caller::Gets("ServiceUnavailable")),
        (Fault::internal_failure_after_applying(), true, Caller::Gets("InternalFailure")),
        (Fault::cut_before_applying(), false, Caller::IsCutOff),
        (Fault::cut_after_applying(), true, Caller::IsCutOff),
        (Fault::hang_before_applying(), false, Caller::GetsNothingYet),
        (Fault::hang_after_applying(), true, Caller::GetsNothingYet),
        (Fault::not_json_before_applying(), false, Caller::GetsAWebPage),
        (Fault::not_json_after_applying(), true, Caller::GetsAWebPage),
        (Fault::without_approved_at(), true, Caller::GetsNoTime),
    ];
    for (fault, applied, caller) in table {
        let name = fault.to_string();
        let (service, client, approval) = start().await;
        service.fault(fault.on(Operation::PutApprovalResult));
        let got = timeout(Duration::from_millis(200), answer(&client, &approval)).await;
        match (caller, got) {
            (Caller::Gets(expected), Ok(got)) => assert_eq!(kind(got), expected, "{name}"),
            (Caller::IsCutOff, Ok(Err(ClientError::NoAnswer { .. }))) => {}
            (Caller::GetsAWebPage, Ok(Err(ClientError::NotUnderstood { .. }))) => {}
            (Caller::GetsNothingYet, Err(_elapsed)) => {}
            (Caller::GetsNoTime, Ok(Ok(got))) => assert_eq!(got, json!({}), "{name}"),
            (_, got) => panic!("{name}: {got:?}"),
        }
        let ledger = service.ledger();
        let [entry] = ledger.as_slice() else { panic!("{name}: {ledger:?}") };
        assert_eq!(entry.is_accepted(), applied, "{name}");
        assert_eq!(entry.outcome == Outcome::NotApplied, !applied, "{name}");
        assert_eq!(entry.fault.as_deref(), Some(name.as_str()));
    }
}

#[tokio::test]
async fn a_request_that_is_late_gets_to_the_service_though_its_caller_has_left() {
    let (service, client, approval) = start().await;
    service.fault(Fault::late().delay_before(Duration::from_millis(150)));
    timeout(Duration::from_millis(30), answer(&client, &approval)).await.unwrap_err();
    assert_eq!(service.ledger(), []);
    timeout(SOON, service.wait_for(|service, _| service.ledger().len() == 1)).await.unwrap();
    assert!(service.ledger()[0].is_accepted());
}

#[tokio::test]
async fn an_endpoint_is_gone_once_it_is_dropped_and_with_it_whoever_hung_there() {
    let (service, client, approval) = start().await;
    service.fault(Fault::hang_before_applying());
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { answer(&client, &approval).await }
    });
    timeout(SOON, service.wait_for_requests(Operation::PutApprovalResult, "checkout", 1)).await.unwrap();
    drop(service);
    assert!(matches!(timeout(SOON, hanging).await.unwrap().unwrap(), Err(ClientError::NoAnswer { .. })));
    assert!(matches!(answer(&client, &approval).await, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn waiting_ends_when_an_action_comes_to_its_end_by_the_clock() {
    let (service, _, approval) = start().await;
    service.advance(Duration::from_secs(8 * 24 * 60 * 60));
    let pending = |service: &mut local_codepipeline::model::Service, now| service.pending_approvals(now, "checkout");
    timeout(SOON, service.wait_for(|service, now| pending(service, now) == Ok(vec![]))).await.unwrap();
    let late = service.answer_as("arn:x", AT, approval.token, ApprovalStatus::Approved, "too late");
    assert_eq!(late.unwrap_err().kind.name(), "ApprovalAlreadyCompletedException");
}

#[tokio::test]
async fn another_process_steers_the_endpoint_by_the_control_routes() {
    let (service, client, _) = start().await;
    let definition = json!({
        "name": "web", "executionMode": "PARALLEL",
        "stages": [
            { "name": "Source", "actions": [{ "name": "Git", "category": "Source" }] },
            { "name": "Build", "actions": [{ "name": "Make", "category": "Build", "takes": "untilTold" }] },
            { "name": "Prod", "actions": [{ "name": "Approve", "category": "Approval" }] },
        ],
    });
    client.command(&json!({ "command": "putPipeline", "definition": definition })).await.unwrap();
    let revisions = json!([{ "actionName": "Git", "revisionId": "4f2e1d" }]);
    let start = json!({ "command": "startExecution", "pipelineName": "web", "sourceRevisions": revisions });
    let run = client.command(&start).await.unwrap();
    let of_run = |command: &str, stage: &str| {
        json!({
            "command": command, "pipelineName": "web", "stageName": stage,
            "pipelineExecutionId": run["pipelineExecutionId"],
        })
    };
    let mut build = of_run("completeAction", "Build");
    build["actionName"] = json!("Make");
    client.command(&build).await.unwrap();
    let pending = json!({ "command": "listPendingApprovals", "pipelineName": "web" });
    let pending = client.command(&pending).await.unwrap();
    assert_eq!(pending[0]["pipelineExecutionId"], run["pipelineExecutionId"]);
    client.command(&json!({ "command": "advanceClock", "by": "192h" })).await.unwrap();
    client.command(&of_run("retryStage", "Prod")).await.unwrap();
    let mut stop = json!({ "command": "stopExecution", "pipelineName": "web", "mode": "abandon" });
    stop["pipelineExecutionId"] = run["pipelineExecutionId"].clone();
    client.command(&stop).await.unwrap();
    let behaviour = json!({ "lags": { "token": "5s" }, "tokens": "ofItsOwn" });
    client.command(&json!({ "command": "setBehaviour", "behaviour": behaviour })).await.unwrap();
    client.command(&json!({ "command": "editPipeline", "pipelineName": "web" })).await.unwrap();
    client.command(&json!({ "command": "deletePipeline", "pipelineName": "web" })).await.unwrap();
    let gone = client.command(&json!({ "command": "editPipeline", "pipelineName": "web" })).await;
    assert_eq!(kind(gone), "PipelineNotFoundException");

    client.post("/local/faults", &json!({ "effect": { "notApplied": "close" }, "requests": "all" })).await.unwrap();
    let list = client.operation("a", Operation::ListPipelines, &json!({})).await;
    assert!(matches!(list, Err(ClientError::NoAnswer { .. })));
    assert_eq!(client.get::<Value>("/local/faults").await.unwrap().as_array().unwrap().len(), 1);
    service.clear_faults();
    let list = client.operation("a", Operation::ListPipelines, &json!({})).await.unwrap();
    assert_eq!(list["pipelines"][0]["name"], "checkout");
    let counts = client.get::<Value>("/local/requests").await.unwrap();
    assert_eq!(counts, json!([{ "operation": "ListPipelines", "pipelineName": null, "requests": 2 }]));
    assert_eq!(client.get::<Value>("/local/ledger").await.unwrap(), json!([]));
}

#[test]
fn the_fault_in_the_documentation_is_one() {
    let page = include_str!("../../../docs/local-codepipeline.md");
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let expected = Fault::cut_after_applying().on(Operation::PutApprovalResult).pipeline("checkout");
    let expected = expected.delay_before(Duration::from_secs(2));
    assert_eq!(serde_json::from_str::<Fault>(example).unwrap(), expected);
}
