//! Several accounts and regions at one endpoint. The tests of STS have the sessions that reach them.

use std::time::Duration;

use local_codepipeline::{
    InAccount, LocalCodePipeline, Settings,
    api::{ApprovalStatus, Operation, PutApprovalResultInput},
    client::{Client, ClientError, Signer},
    faults::Fault,
    model::Account,
};
use serde_json::{Value, json};
use tokio::time::timeout;

const AT: (&str, &str, &str) = ("checkout", "Prod", "Approve");
const DEFAULT: &str = "123456789012";
const OTHER: &str = "210987654321";

async fn start() -> (LocalCodePipeline, Client) {
    let endpoint = LocalCodePipeline::start(Settings::default()).await.unwrap();
    let client = Client::at(endpoint.address());
    (endpoint, client)
}

fn in_region(access_key: &str, region: &str) -> Signer {
    Signer { region: region.to_owned(), ..access_key.into() }
}

async fn state(client: &Client, signer: Signer) -> Result<Value, ClientError> {
    client.operation(signer, Operation::GetPipelineState, &json!({ "name": "checkout" })).await
}

fn error(result: Result<Value, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { kind, message }) => format!("{kind}: {message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_caller_sees_only_the_pipelines_of_its_account_and_region() {
    let (endpoint, client) = start().await;
    let account = endpoint.in_account(OTHER, "eu-central-1");
    account.open_approval(AT.0, AT.1, AT.2).unwrap();
    state(&client, in_region("bob@210987654321", "eu-central-1")).await.unwrap();
    for (access_key, region, id) in [
        ("bob@210987654321", "eu-west-1", OTHER),
        ("bob", "eu-central-1", DEFAULT),
        ("bob@333333333333", "eu-central-1", "333333333333"),
    ] {
        let expected = format!(
            "PipelineNotFoundException: The account with id '{id}' does not include a pipeline with the name 'checkout'"
        );
        assert_eq!(error(state(&client, in_region(access_key, region)).await), expected);
        let list = client.operation(in_region(access_key, region), Operation::ListPipelines, &json!({})).await.unwrap();
        assert_eq!(list["pipelines"], json!([]));
    }
}

#[tokio::test]
async fn the_default_account_is_in_every_region_that_has_no_pipelines_of_its_own() {
    let (endpoint, client) = start().await;
    endpoint.open_approval(AT.0, AT.1, AT.2).unwrap();
    for region in ["us-east-1", "eu-west-1", "ap-southeast-2"] {
        state(&client, in_region("bob", region)).await.unwrap();
    }
    let frankfurt = endpoint.in_account(DEFAULT, "eu-central-1");
    assert!(error(state(&client, in_region("bob", "eu-central-1")).await).starts_with("PipelineNotFoundException"));
    state(&client, in_region("bob", "eu-west-1")).await.unwrap();
    assert_eq!(frankfurt.request_count(Operation::GetPipelineState), 1);
    let same = endpoint.in_account(DEFAULT, "us-east-1");
    assert_eq!(same.with_service(|service, now| service.pending_approvals(now, "checkout").unwrap().len()), 1);
    assert_eq!(same.request_count_for(Operation::GetPipelineState, "checkout"), 4);
}

#[tokio::test]
async fn pipelines_of_the_same_name_have_their_own_approvals_ledgers_and_arns() {
    let (endpoint, client) = start().await;
    let accounts = [endpoint.in_account(OTHER, "eu-central-1"), endpoint.in_account(OTHER, "eu-west-1")];
    let here = endpoint.open_approval(AT.0, AT.1, AT.2).unwrap();
    let tokens = accounts.each_ref().map(|account| account.open_approval(AT.0, AT.1, AT.2).unwrap().token);
    assert!(tokens[0] != tokens[1] && tokens[0] != here.token);

    let approve = |token| PutApprovalResultInput::new(AT.0, AT.1, AT.2, token, ApprovalStatus::Approved, "fine");
    let bob = |region| in_region("bob@210987654321", region);
    let put = Operation::PutApprovalResult;
    // The token of one region is unknown in the other.
    let refused = client.operation(bob("eu-west-1"), put, &approve(tokens[0])).await;
    assert!(error(refused).starts_with("InvalidApprovalTokenException"));
    client.operation(bob("eu-central-1"), put, &approve(tokens[0])).await.unwrap();

    let accepted =
        |account: &InAccount<'_>| account.ledger().iter().map(|entry| entry.is_accepted()).collect::<Vec<_>>();
    assert_eq!(accounts.each_ref().map(accepted), [vec![true], vec![false]]);
    assert_eq!(endpoint.ledger().len(), 2);
    assert_eq!(accounts[0].ledger()[0].caller, "arn:aws:iam::210987654321:user/bob");
    let pending = |account: &InAccount<'_>| {
        account.with_service(|service, now| service.pending_approvals(now, AT.0).unwrap().len())
    };
    assert_eq!(accounts.each_ref().map(pending), [0, 1]);
    assert_eq!(endpoint.with_service(|service, now| service.pending_approvals(now, AT.0).unwrap().len()), 1);

    let declaration =
        client.operation(bob("eu-west-1"), Operation::GetPipeline, &json!({ "name": AT.0 })).await.unwrap();
    assert_eq!(declaration["metadata"]["pipelineArn"], "arn:aws:codepipeline:eu-west-1:210987654321:checkout");
}

#[tokio::test]
async fn a_fault_of_one_account_affects_no_other() {
    let (endpoint, client) = start().await;
    let broken = endpoint.in_account(OTHER, "eu-central-1");
    let healthy = endpoint.in_account("333333333333", "eu-central-1");
    endpoint.open_approval(AT.0, AT.1, AT.2).unwrap();
    for account in [&broken, &healthy] {
        account.open_approval(AT.0, AT.1, AT.2).unwrap();
    }
    broken.inject(Fault::hang_before_applying().always());
    let of = |id: &str| in_region(&format!("bob@{id}"), "eu-central-1");
    let hanging = timeout(Duration::from_millis(200), state(&client, of(OTHER))).await;
    assert!(hanging.is_err(), "{hanging:?}");
    state(&client, of("333333333333")).await.unwrap();
    state(&client, "bob".into()).await.unwrap();
    healthy.clear_faults();
    assert!(timeout(Duration::from_millis(200), state(&client, of(OTHER))).await.is_err());
    broken.clear_faults();
    state(&client, of(OTHER)).await.unwrap();
}

#[tokio::test]
async fn another_process_controls_and_counts_each_account() {
    let (endpoint, client) = start().await;
    let account = Account { id: OTHER.to_owned(), region: "eu-central-1".to_owned() };
    let open =
        json!({ "command": "openApproval", "pipelineName": "checkout", "stageName": "Prod", "actionName": "Approve" });
    let token = client.command_in(&account, &open).await.unwrap()["token"].clone();
    let pending = endpoint
        .in_account(OTHER, "eu-central-1")
        .with_service(|service, now| service.pending_approvals(now, "checkout"));
    assert_eq!(json!(pending.unwrap()[0].approval.token), token);
    let list = json!({ "command": "listPendingApprovals", "pipelineName": "checkout" });
    assert!(error(client.command(&list).await).starts_with("PipelineNotFoundException"));

    let input = json!({
        "pipelineName": "checkout", "stageName": "Prod", "actionName": "Approve", "token": token,
        "result": { "status": "Rejected", "summary": "no" },
    });
    let bob = in_region("bob@210987654321", "eu-central-1");
    client.operation(bob, Operation::PutApprovalResult, &input).await.unwrap();
    let ledger = client.get::<Value>("/local/accounts/210987654321/eu-central-1/ledger").await.unwrap();
    assert_eq!(ledger[0]["caller"], "arn:aws:iam::210987654321:user/bob");
    assert_eq!(client.get::<Value>("/local/ledger").await.unwrap(), ledger);
    assert_eq!(client.get::<Value>("/local/accounts/210987654321/eu-west-1/ledger").await.unwrap(), json!([]));
    let counts = client.get::<Value>("/local/requests").await.unwrap();
    let expected = json!([{
        "account": { "id": OTHER, "region": "eu-central-1" },
        "operation": "PutApprovalResult", "pipelineName": "checkout", "requests": 1,
    }]);
    assert_eq!(counts, expected);

    let invalid = Account { id: "2109".to_owned(), region: "eu-central-1".to_owned() };
    assert!(
        error(client.command_in(&invalid, &open).await).contains("`2109` is not an account id: write twelve digits")
    );
}

#[tokio::test]
async fn the_behaviour_of_the_endpoint_is_that_of_every_account() {
    let (endpoint, client) = start().await;
    let early = endpoint.in_account(OTHER, "eu-central-1");
    let behaviour = json!({ "command": "setBehaviour", "behaviour": { "lags": { "token": "1h" } } });
    client.command(&behaviour).await.unwrap();
    for account in [early, endpoint.in_account(OTHER, "eu-west-1")] {
        account.open_approval(AT.0, AT.1, AT.2).unwrap();
        let lag = account.with_service(|service, _| service.behaviour().lags.token);
        assert_eq!(lag, jiff::SignedDuration::from_hours(1));
    }
}
