//! The ways by which a pod on EKS gets its role: the agent of Pod Identity, and IRSA's web identity at STS. Both are played by
//! servers of this test that give credentials for the pod's token and for nothing else.

use crate::support::Case;
use approval_operator::api::v1alpha1::Reason;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::net::TcpListener;

/// What the kubelet projects into the pod.
const POD_TOKEN: &str = "header.payload.signature";
const EXPIRATION: &str = "2099-01-01T00:00:00Z";
const ROLE: &str = "arn:aws:iam::123456789012:role/approvals";

async fn serve(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, routes).into_future());
    address
}

/// With what EKS puts into the pod's environment, the operator's answer is signed by whom these credentials are of, and the
/// pod's token stays out of the log.
async fn answers(environment: &[(&'static str, &str)], token_file: &'static str, access_key: &str) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, POD_TOKEN).unwrap();
    let case = Case::new().await;
    case.approve("web").await;
    let settings = case.operator().configured_by(Path::new("/nonexistent"));
    let settings = settings.set("AWS_REGION", "eu-west-1").set(token_file, token.to_str().unwrap());
    let settings = environment.iter().fold(settings, |settings, (name, value)| settings.set(name, value));
    let operator = settings.start();
    case.until_reason("web", Reason::Delivered).await;
    let caller = case.service.ledger()[0].caller.clone();
    assert!(caller.ends_with(&format!("/{access_key}")), "{caller}");
    assert!(!operator.log().contains(POD_TOKEN), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn eks_pod_identity_gives_the_role() {
    let give = async |headers: HeaderMap| {
        let is_the_pod = headers.get("authorization").is_some_and(|token| token == POD_TOKEN);
        let keys = json!({ "AccessKeyId": "PODIDENTITY", "SecretAccessKey": "secret", "Token": "session", "Expiration": EXPIRATION });
        if is_the_pod { Ok(keys.to_string()) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let agent = serve(Router::new().route("/v1/credentials", get(give))).await;
    let uri = format!("http://{agent}/v1/credentials");
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())];
    answers(&environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "PODIDENTITY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn irsa_gives_the_role() {
    let give = async |form: String| {
        let asked = ["Action=AssumeRoleWithWebIdentity", &format!("WebIdentityToken={POD_TOKEN}"), "role%2Fapprovals"];
        let answer = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
             <AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>ID</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>IRSA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>{EXPIRATION}</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        if asked.iter().all(|part| form.contains(part)) { Ok(answer) } else { Err(StatusCode::FORBIDDEN) }
    };
    let sts = serve(Router::new().route("/", post(give))).await;
    let url = format!("http://{sts}");
    let environment = [("AWS_ENDPOINT_URL_STS", url.as_str()), ("AWS_ROLE_ARN", ROLE)];
    answers(&environment, "AWS_WEB_IDENTITY_TOKEN_FILE", "IRSA").await;
}
