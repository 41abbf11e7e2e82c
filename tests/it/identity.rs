//! How a pod on EKS gets its role: from the EKS Pod Identity Agent, or with a web identity from STS (IRSA). The test runs a
//! server in place of each, which returns credentials only for the pod's token. CodePipeline has an endpoint of its own, which must
//! not get the calls to STS, and STS may be that of another region. A failure of STS that does not last is retried.
//! Without STS the operator does not know who it is, and submits nothing.

use approval_operator::api::v1alpha1::Reason;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use local_codepipeline::api::Operation;
use local_codepipeline::{LocalCodePipeline, Settings};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use test_support::{ConnectProxy, TestEnv, Upstream, message};
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
    let url = env.codepipeline.url();
    let command = env.operator().aws_config_file(Path::new("/nonexistent"));
    // It would redirect the calls to STS too.
    let command = command.remove_env("AWS_ENDPOINT_URL").env("AWS_ENDPOINT_URL_CODEPIPELINE", &url);
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
    let sts = LocalCodePipeline::start(Settings::default()).await.unwrap();
    let sts_url = sts.url();
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()), ("AWS_ENDPOINT_URL_STS", &sts_url)];
    check_caller(&environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "PODIDENTITY").await;
}

/// An STS that returns credentials only for the pod's token.
struct Sts {
    address: SocketAddr,
    requests: Requests,
}

/// The action of each request, and the region that its signature names; AssumeRoleWithWebIdentity has no signature.
type Requests = Arc<Mutex<BTreeSet<(&'static str, Option<String>)>>>;

impl Sts {
    async fn start(first: FirstRequest) -> Self {
        let requests = Requests::default();
        let seen = requests.clone();
        let respond = async move |headers: HeaderMap, form: String| {
            let signed = headers.get("authorization").and_then(|header| header.to_str().ok());
            // KEY/DATE/REGION/sts/aws4_request
            let region = signed.and_then(|header| header.split('/').nth(2)).map(str::to_owned);
            let (action, response) = respond(&form)?;
            seen.lock().unwrap().insert((action, region));
            Ok::<_, StatusCode>(response)
        };
        Self { address: serve(first, Router::new().route("/", post(respond))).await, requests }
    }

    fn check_requests(&self, region: &str) {
        let expected = [("AssumeRoleWithWebIdentity", None), ("GetCallerIdentity", Some(region.to_owned()))];
        assert_eq!(*self.requests.lock().unwrap(), BTreeSet::from(expected));
    }
}

fn respond(form: &str) -> Result<(&'static str, String), StatusCode> {
    if form.starts_with("Action=GetCallerIdentity&") {
        let identity = format!("<Arn>{ROLE}</Arn><UserId>ID</UserId><Account>123456789012</Account>");
        let response = format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult>{identity}</GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        return Ok(("GetCallerIdentity", response));
    }
    let expected = ["Action=AssumeRoleWithWebIdentity", &format!("WebIdentityToken={POD_TOKEN}"), "role%2Fapprovals"];
    let response = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
         <AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>ID</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>IRSA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>session</SessionToken><Expiration>{EXPIRATION}</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    let is_expected = expected.iter().all(|part| form.contains(part));
    if is_expected { Ok(("AssumeRoleWithWebIdentity", response)) } else { Err(StatusCode::FORBIDDEN) }
}

/// Checks IRSA with an endpoint for CodePipeline alone, as with a VPC endpoint, and these variables and the public STS of each region.
/// A proxy stands for the public STS, and must be asked for this host alone.
async fn check_irsa(first: FirstRequest, environment: &[(&'static str, &str)], sts_region: &str) {
    let sts = Sts::start(first).await;
    let hosts = ["eu-west-1", "eu-central-1"].map(|region| format!("sts.{region}.amazonaws.com:443"));
    let proxy = ConnectProxy::start(hosts.map(|host| (host, Upstream::Tls(sts.address)))).await;
    let (url, certificate) = (proxy.url(), proxy.certificate().to_str().unwrap());
    let mut variables = vec![("AWS_ROLE_ARN", ROLE), ("HTTPS_PROXY", url.as_str()), ("SSL_CERT_FILE", certificate)];
    variables.extend(environment);
    check_caller(&variables, "AWS_WEB_IDENTITY_TOKEN_FILE", "IRSA").await;
    assert_eq!(proxy.hosts(), BTreeSet::from([format!("sts.{sts_region}.amazonaws.com:443")]));
    sts.check_requests(sts_region);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_gets_its_role_from_irsa() {
    check_irsa(FirstRequest::Succeeds, &[], "eu-west-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sts_of_another_region_serves_irsa_and_the_check_of_the_identity() {
    check_irsa(FirstRequest::Succeeds, &[("APPROVAL_OPERATOR_AWS_STS_REGION", "eu-central-1")], "eu-central-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_sts_gets_signatures_for_its_region() {
    let sts = Sts::start(FirstRequest::Succeeds).await;
    let url = format!("http://{}", sts.address);
    let environment = [
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
        ("APPROVAL_OPERATOR_AWS_STS_REGION", "eu-central-1"),
    ];
    check_caller(&environment, "AWS_WEB_IDENTITY_TOKEN_FILE", "IRSA").await;
    sts.check_requests("eu-central-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_sts_that_does_not_last_is_retried_and_not_reported() {
    check_irsa(FirstRequest::FailsWith500, &[], "eu-west-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_sts_that_is_reset_is_retried_and_not_reported() {
    check_irsa(FirstRequest::IsReset, &[], "eu-west-1").await;
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
