//! STS over real connections: sessions of roles, how both wire protocols refuse credentials, and the faults of STS.

use std::time::Duration;

use hyper::Request;
use local_codepipeline::{
    LocalCodePipeline, Settings,
    api::{ApprovalStatus, Operation, PutApprovalResultInput},
    client::{Client, ClientError, Response, Signer},
    faults::Fault,
    iam::{Revocation, Role, StsCall, StsOperation, StsOutcome},
};
use serde_json::{Value, json};
use tokio::time::timeout;

const TEST_TIMEOUT: Duration = Duration::from_secs(5);
const ROLE: &str = "arn:aws:iam::210987654321:role/approvals";
const GET_CALLER_IDENTITY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const AT: (&str, &str, &str) = ("payments", "Prod", "Approve");

async fn start() -> (LocalCodePipeline, Client) {
    let endpoint = LocalCodePipeline::start(Settings::default()).await.unwrap();
    endpoint.put_role(role());
    let client = Client::at(endpoint.address());
    (endpoint, client)
}

fn role() -> Role {
    Role::new(ROLE).unwrap()
}

async fn try_sts(client: &Client, signer: &Signer, form: &str) -> Result<Response, ClientError> {
    let request = signer.sign(Request::post("/"), "sts").header("content-type", "application/x-www-form-urlencoded");
    client.send(request, Some(form.as_bytes())).await
}

/// The status and the body.
async fn sts(client: &Client, signer: &Signer, form: &str) -> (u16, String) {
    let response = try_sts(client, signer, form).await.unwrap();
    assert_eq!(response.headers["content-type"], "text/xml");
    (response.status, String::from_utf8(response.body.to_vec()).unwrap())
}

fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

/// The form with which SDKs assume the role.
fn assume_role(session_name: &str) -> String {
    format!(
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fapprovals\
         &RoleSessionName={session_name}&DurationSeconds=900"
    )
}

async fn session(client: &Client, session_name: &str) -> Signer {
    let (status, xml) = sts(client, &"alice".into(), &assume_role(session_name)).await;
    assert_eq!(status, 200, "{xml}");
    Signer {
        access_key: element(&xml, "AccessKeyId").to_owned(),
        region: "eu-central-1".to_owned(),
        session_token: Some(element(&xml, "SessionToken").to_owned()),
    }
}

/// The name of the error in the protocol of CodePipeline, and in that of STS with its status.
async fn errors(client: &Client, signer: &Signer) -> (String, u16, String) {
    let (status, xml) = sts(client, signer, GET_CALLER_IDENTITY).await;
    let error = if status == 200 { "none" } else { element(&xml, "Code") };
    (kind(list_pipelines(client, signer).await), status, error.to_owned())
}

async fn list_pipelines(client: &Client, signer: &Signer) -> Result<Value, ClientError> {
    client.operation(signer.clone(), Operation::ListPipelines, &json!({})).await
}

fn kind(result: Result<Value, ClientError>) -> String {
    match result {
        Ok(_) => "none".to_owned(),
        Err(ClientError::Refused { kind, .. }) => kind,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_session_approves_under_its_own_name_in_the_account_of_its_role() {
    let (endpoint, client) = start().await;
    let account = endpoint.in_account("210987654321", "eu-central-1");
    let approval = account.open_approval(AT.0, AT.1, AT.2).unwrap();
    let before = jiff::Timestamp::now();
    let (_, xml) = sts(&client, &"alice".into(), &assume_role("team-a.web.0123456789")).await;
    let arn = "arn:aws:sts::210987654321:assumed-role/approvals/team-a.web.0123456789";
    assert_eq!(element(&xml, "Arn"), arn);
    let lasts = element(&xml, "Expiration").parse::<jiff::Timestamp>().unwrap().duration_since(before).as_secs();
    assert!((898..=901).contains(&lasts), "{lasts}");
    let session = session(&client, "team-a.web.0123456789").await;
    let (_, xml) = sts(&client, &session, GET_CALLER_IDENTITY).await;
    assert_eq!((element(&xml, "Arn"), element(&xml, "Account")), (arn, "210987654321"));
    assert_eq!(element(&xml, "UserId").split_once(':').unwrap().1, "team-a.web.0123456789");

    let input = PutApprovalResultInput::new(AT.0, AT.1, AT.2, approval.token, ApprovalStatus::Approved, "");
    client.operation(session.clone(), Operation::PutApprovalResult, &input).await.unwrap();
    let state = client.operation(session, Operation::GetPipelineState, &json!({ "name": AT.0 })).await.unwrap();
    let latest = &state["stageStates"][1]["actionStates"][0]["latestExecution"];
    assert_eq!((&latest["lastUpdatedBy"], &latest["summary"]), (&json!(arn), &json!(format!("Approved by {arn}"))));
    assert_eq!(account.ledger()[0].caller, arn);
}

#[tokio::test]
async fn a_refused_credential_has_the_error_of_its_protocol() {
    let (endpoint, client) = start().await;
    let unknown = ("UnrecognizedClientException".to_owned(), 403, "InvalidClientTokenId".to_owned());
    let expired = ("ExpiredTokenException".to_owned(), 403, "ExpiredToken".to_owned());

    let session = session(&client, "web").await;
    assert_eq!(errors(&client, &session).await.1, 200);
    assert_eq!(errors(&client, &Signer { session_token: None, ..session.clone() }).await, unknown);
    assert_eq!(errors(&client, &Signer { access_key: "ASIAUNKNOWN".to_owned(), ..session.clone() }).await, unknown);
    endpoint.refuse_access_key("deleted");
    assert_eq!(errors(&client, &"deleted".into()).await, unknown);

    endpoint.revoke_sessions(role().arn(), Revocation::Expired);
    assert_eq!(errors(&client, &session).await, expired);
    endpoint.revoke_sessions(role().arn(), Revocation::Unknown);
    assert_eq!(errors(&client, &session).await, unknown);
    endpoint.revoke_sessions(role().arn(), Revocation::Denied);
    assert_eq!(errors(&client, &session).await, ("AccessDeniedException".to_owned(), 200, "none".to_owned()));
}

#[tokio::test]
async fn a_session_expires_by_the_clock_of_the_date_header() {
    let (endpoint, client) = start().await;
    let session = session(&client, "web").await;
    // Pipelines may wait for days without any effect on sessions.
    endpoint.advance_clock(Duration::from_secs(86_400));
    assert_eq!(kind(list_pipelines(&client, &session).await), "none");
    endpoint.set_date_offset(jiff::SignedDuration::from_secs(901));
    assert_eq!(kind(list_pipelines(&client, &session).await), "ExpiredTokenException");
}

#[tokio::test]
async fn a_request_that_sts_does_not_accept_is_refused_with_its_error() {
    let (_endpoint, client) = start().await;
    let alice = Signer::from("alice");
    let with_length = |length| assume_role(&"s".repeat(length));
    let foreign = assume_role("web").replace("210987654321", "999999999999");
    let table = [
        (&*assume_role("a%20b"), 400, "ValidationError", "pattern: [\\w+=,.@-]*"),
        (&*assume_role("a+b"), 400, "ValidationError", "Value 'a b' at 'roleSessionName'"),
        (&*with_length(65), 400, "ValidationError", "length less than or equal to 64"),
        (
            &*foreign,
            403,
            "AccessDenied",
            "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: \
          sts:AssumeRole on resource: arn:aws:iam::999999999999:role/approvals",
        ),
        ("Action=AssumeRoleWithSAML&Version=2011-06-15", 400, "InvalidAction", "only AssumeRole and GetCallerIdentity"),
        ("Action=GetCallerIdentity", 400, "InvalidAction", "2011-06-15"),
        ("", 400, "InvalidAction", "2011-06-15"),
    ];
    for (form, status, code, message) in table {
        let (found, xml) = sts(&client, &alice, form).await;
        assert_eq!((found, element(&xml, "Code"), element(&xml, "Type")), (status, code, "Sender"), "{form}");
        assert!(element(&xml, "Message").contains(message), "{xml}");
    }
    let request =
        alice.sign(Request::post("/"), "codepipeline").header("content-type", "application/x-www-form-urlencoded");
    let response = client.send(request, Some(GET_CALLER_IDENTITY.as_bytes())).await.unwrap();
    let xml = String::from_utf8(response.body.to_vec()).unwrap();
    assert_eq!((response.status, element(&xml, "Code")), (403, "SignatureDoesNotMatch"));
    let (_, xml) = sts(&client, &"A<B".into(), GET_CALLER_IDENTITY).await;
    assert_eq!(element(&xml, "Arn"), "arn:aws:iam::123456789012:user/A&lt;B");
}

#[tokio::test]
async fn sts_hangs_throttles_denies_or_fails_for_one_role_and_works_for_another() {
    enum Received {
        Error(u16, &'static str, &'static str),
        Disconnect,
        NoResponse,
        Html,
    }
    let table = [
        (Fault::throttled(), Received::Error(400, "Throttling", "Sender"), StsOutcome::NotApplied),
        (Fault::access_denied(), Received::Error(403, "AccessDenied", "Sender"), StsOutcome::NotApplied),
        (Fault::expired_token(), Received::Error(403, "ExpiredToken", "Sender"), StsOutcome::NotApplied),
        (
            Fault::error(400, "Throttling", "Rate exceeded"),
            Received::Error(400, "Throttling", "Sender"),
            StsOutcome::NotApplied,
        ),
        (Fault::internal_failure(), Received::Error(500, "InternalFailure", "Receiver"), StsOutcome::NotApplied),
        (Fault::service_unavailable(), Received::Error(503, "ServiceUnavailable", "Receiver"), StsOutcome::NotApplied),
        (Fault::disconnect_before_applying(), Received::Disconnect, StsOutcome::NotApplied),
        (Fault::hang_before_applying(), Received::NoResponse, StsOutcome::NotApplied),
        (Fault::hang_after_applying(), Received::NoResponse, StsOutcome::Succeeded),
        (Fault::not_json_after_applying(), Received::Html, StsOutcome::Succeeded),
    ];
    for (fault, expected, outcome) in table {
        let name = fault.to_string();
        let (endpoint, client) = start().await;
        endpoint.put_role(Role::new("arn:aws:iam::333333333333:role/approvals").unwrap());
        endpoint.inject(fault.on(StsOperation::AssumeRole).role(role().arn()).always());
        let alice = Signer::from("alice");
        let form = assume_role("web");
        let received = timeout(Duration::from_millis(200), try_sts(&client, &alice, &form)).await;
        match (expected, received) {
            (Received::Error(status, code, party), Ok(Ok(response))) => {
                let xml = String::from_utf8(response.body.to_vec()).unwrap();
                assert_eq!(
                    (response.status, element(&xml, "Code"), element(&xml, "Type")),
                    (status, code, party),
                    "{name}"
                );
            }
            (Received::Html, Ok(Ok(response))) => assert_eq!(response.headers["content-type"], "text/html"),
            (Received::Disconnect, Ok(Err(ClientError::NoResponse { .. }))) => {}
            (Received::NoResponse, Err(_elapsed)) => {}
            (_, received) => panic!("{name}: {received:?}"),
        }
        let calls = endpoint.sts_calls();
        assert!(
            matches!(&*calls, [call] if call.outcome == outcome && call.fault.as_ref() == Some(&name)),
            "{calls:?}"
        );
        let other = form.replace("210987654321", "333333333333");
        assert_eq!(sts(&client, &alice, &other).await.0, 200, "{name}");
        assert_eq!(sts(&client, &alice, GET_CALLER_IDENTITY).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn a_fault_of_sts_in_one_account_affects_the_roles_of_that_account_from_any_region() {
    let (endpoint, client) = start().await;
    endpoint.put_role(Role::new("arn:aws:iam::333333333333:role/approvals").unwrap());
    let broken = endpoint.in_account("210987654321", "eu-central-1");
    for operation in [StsOperation::AssumeRole, StsOperation::GetCallerIdentity] {
        broken.inject(Fault::throttled().on(operation).always());
    }
    let form = assume_role("web");
    for region in ["eu-central-1", "us-east-1"] {
        let in_region = |access_key: &str| Signer { region: region.to_owned(), ..access_key.into() };
        let alice = in_region("alice");
        let (status, xml) = sts(&client, &alice, &form).await;
        assert_eq!((status, element(&xml, "Code")), (400, "Throttling"));
        assert_eq!(sts(&client, &in_region("bob@210987654321"), GET_CALLER_IDENTITY).await.0, 400);
        assert_eq!(sts(&client, &alice, GET_CALLER_IDENTITY).await.0, 200);
        assert_eq!(sts(&client, &alice, &form.replace("210987654321", "333333333333")).await.0, 200);
    }
    broken.clear_faults();
    assert_eq!(sts(&client, &"alice".into(), &form).await.0, 200);
}

#[tokio::test]
async fn a_fault_can_deny_the_session_of_one_decision() {
    let (endpoint, client) = start().await;
    endpoint.inject(Fault::access_denied().on(StsOperation::AssumeRole).session("team-a.*").always());
    let alice = Signer::from("alice");
    assert_eq!(sts(&client, &alice, &assume_role("team-a.web.0123456789")).await.0, 403);
    assert_eq!(sts(&client, &alice, &assume_role("approval-operator")).await.0, 200);
}

#[tokio::test]
async fn another_process_controls_roles_and_lists_the_calls_of_sts() {
    let (_endpoint, client) = start().await;
    let command = async |command: Value| client.command(&command).await.unwrap();
    let role = json!({ "arn": ROLE, "externalId": "checkout", "trusts": ["123456789012"], "sessionDuration": "2s" });
    command(json!({ "command": "putRole", "role": role })).await;
    let alice = Signer::from("alice");
    assert_eq!(sts(&client, &alice, &assume_role("web")).await.0, 403);
    let form = assume_role("web") + "&ExternalId=checkout";
    let (_, xml) = sts(&client, &alice, &form).await;
    let session_token = Some(element(&xml, "SessionToken").to_owned());
    let access_key = element(&xml, "AccessKeyId").to_owned();
    let session = Signer { access_key, session_token, region: "eu-central-1".to_owned() };
    assert_eq!(sts(&client, &session, GET_CALLER_IDENTITY).await.0, 200);
    command(json!({ "command": "revokeSessions", "roleArn": ROLE })).await;
    assert_eq!(errors(&client, &session).await.2, "ExpiredToken");
    command(json!({ "command": "deleteRole", "roleArn": ROLE })).await;
    assert_eq!(errors(&client, &session).await.2, "InvalidClientTokenId");
    assert_eq!(sts(&client, &alice, &form).await.0, 403);

    let calls: Vec<StsCall> = client.get("/local/sts-calls").await.unwrap();
    let rows: Vec<_> = calls.iter().map(|call| (call.operation, call.caller.as_deref(), call.succeeded())).collect();
    let (alice, web) =
        (Some("arn:aws:iam::123456789012:user/alice"), Some("arn:aws:sts::210987654321:assumed-role/approvals/web"));
    let (assume, identity) = (StsOperation::AssumeRole, StsOperation::GetCallerIdentity);
    let expected = [
        (assume, alice, false),
        (assume, alice, true),
        (identity, web, true),
        (identity, None, false),
        (identity, None, false),
        (assume, alice, false),
    ];
    assert_eq!(rows, expected);
    let StsCall { region, role_arn, session_name, external_id, .. } = &calls[1];
    assert_eq!((region.as_str(), role_arn.as_deref(), session_name.as_deref()), ("us-east-1", Some(ROLE), Some("web")));
    assert_eq!(external_id.as_deref(), Some("checkout"));
    assert_eq!((calls[2].role_arn.as_deref(), calls[2].session_name.as_deref()), (Some(ROLE), Some("web")));
    assert!(matches!(&calls[3].outcome, StsOutcome::Refused { r#type, .. } if r#type == "ExpiredToken"));
}

#[tokio::test]
async fn a_test_waits_for_a_call_of_sts() {
    let (endpoint, client) = start().await;
    let waiting = endpoint.wait_for_sts_calls(|calls| calls.iter().any(StsCall::succeeded));
    let (waited, _) = tokio::join!(timeout(TEST_TIMEOUT, waiting), session(&client, "web"));
    waited.unwrap();
}
