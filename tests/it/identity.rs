//! How a pod on EKS gets its role: from the EKS Pod Identity Agent, or with a web identity from STS (IRSA). The test runs a
//! server in place of each, which returns credentials only for the pod's token. A failure of STS that does not last is retried.
//! Without STS the operator does not know who it is, and submits nothing.

use approval_operator::api::v1alpha1::Reason;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use local_codepipeline::api::Operation;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use test_support::{TestEnv, message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The token that the kubelet projects into the pod.
const POD_TOKEN: &str = "header.payload.signature";
const EXPIRATION: &str = "2099-01-01T00:00:00Z";
const ROLE: &str = "arn:aws:iam::123456789012:role/approvals";

/// How the first request to a server fails.
#[derive(Clone, Copy)]
enum FirstRequest {
    Succeeds,
    FailsWith500,
    IsReset,
}

async fn serve(first: FirstRequest, routes: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        match first {
            FirstRequest::Succeeds => {}
            FirstRequest::FailsWith500 => {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
            }
            FirstRequest::IsReset => {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_buf(&mut Vec::new()).await.unwrap();
                stream.set_zero_linger().unwrap();
            }
        }
        axum::serve(listener, routes).await
    });
    address
}

/// Runs the operator with the variables that EKS sets, and checks that it submits with this access key, that it never reported
/// anything else, and that the log does not contain the pod's token.
async fn check_caller(environment: &[(&'static str, &str)], token_file: &'static str, access_key: &str) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, POD_TOKEN).unwrap();
    let env = TestEnv::new().await;
    env.open_and_approve("web").await;
    let command = env.operator().aws_config_file(Path::new("/nonexistent"));
    let command = command.env("AWS_REGION", "eu-west-1").env(token_file, token.to_str().unwrap());
    let command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
    // The SDK retries after up to a second.
    let operator = command.arg("--aws-timeout=10s").start();
    env.wait_for_reason("web", Reason::Delivered).await;
    let caller = env.codepipeline.ledger()[0].caller.clone();
    assert!(caller.ends_with(&format!("/{access_key}")), "{caller}");
    env.wait_for_events("web", &["Delivered"]).await;
    assert!(!operator.log().contains(POD_TOKEN), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_gets_its_role_from_eks_pod_identity() {
    let credentials = async |headers: HeaderMap| {
        let is_pod = headers.get("authorization").is_some_and(|token| token == POD_TOKEN);
        let keys = json!({ "AccessKeyId": "PODIDENTITY", "SecretAccessKey": "secret", "Token": "session", "Expiration": EXPIRATION });
        if is_pod { Ok(keys.to_string()) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let agent = serve(FirstRequest::Succeeds, Router::new().route("/v1/credentials", get(credentials))).await;
    let uri = format!("http://{agent}/v1/credentials");
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())];
    check_caller(&environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "PODIDENTITY").await;
}

/// Checks IRSA with an STS whose first request fails like this.
async fn check_irsa(first: FirstRequest) {
    let credentials = async |form: String| {
        if form.starts_with("Action=GetCallerIdentity&") {
            let identity = format!("<Arn>{ROLE}</Arn><UserId>ID</UserId><Account>123456789012</Account>");
            return Ok(format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult>{identity}</GetCallerIdentityResult></GetCallerIdentityResponse>"
            ));
        }
        let expected =
            ["Action=AssumeRoleWithWebIdentity", &format!("WebIdentityToken={POD_TOKEN}"), "role%2Fapprovals"];
        let response = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
             <AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>ID</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>IRSA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>{EXPIRATION}</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        if expected.iter().all(|part| form.contains(part)) { Ok(response) } else { Err(StatusCode::FORBIDDEN) }
    };
    let sts = serve(first, Router::new().route("/", post(credentials))).await;
    let url = format!("http://{sts}");
    let environment = [("AWS_ENDPOINT_URL_STS", url.as_str()), ("AWS_ROLE_ARN", ROLE)];
    check_caller(&environment, "AWS_WEB_IDENTITY_TOKEN_FILE", "IRSA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_gets_its_role_from_irsa() {
    check_irsa(FirstRequest::Succeeds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_sts_that_does_not_last_is_retried_and_not_reported() {
    check_irsa(FirstRequest::FailsWith500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_sts_that_is_reset_is_retried_and_not_reported() {
    check_irsa(FirstRequest::IsReset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sts_nothing_is_submitted_and_the_message_says_what_to_do() {
    let env = TestEnv::new().await;
    env.open_and_approve("web").await;
    // Nothing listens there.
    let operator = env.operator().env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1").arg("--aws-timeout=5s").start();
    let decision = env.wait_for_reason("web", Reason::CredentialsUnavailable).await;
    let message = message(&decision);
    assert!(message.contains("the AWS identity could not be verified with STS"), "{message}");
    assert!(message.contains("a VPC without internet access needs a VPC endpoint for STS"), "{message}");
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0, "{}", operator.log());
}
