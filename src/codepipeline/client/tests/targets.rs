//! Clients of targets: the sessions of a role, their names and their accounts.

use super::endpoint::{credentials, new_client};
use super::reload::age;
use super::sts::{ACCOUNT, error, hanging};
use super::*;
use crate::codepipeline::sdk_config::Chain;
use crate::codepipeline::{AssumedRole, TargetDestination};
use aws_config::meta::region::{ProvideRegion, future};
use aws_config::{BehaviorVersion, Region};
use jiff::SignedDuration;
use std::sync::Arc;

const ROLE: &str = "arn:aws:iam::123456789012:role/path/Approver";

pub(super) fn target(account_id: &str, role: Option<AssumedRole>) -> Destination {
    let location = Location { account_id: account_id.to_owned(), region: "us-east-2".to_owned() };
    Destination::Target(TargetDestination { location, role })
}

fn with_role() -> Destination {
    target(ACCOUNT, Some(AssumedRole { arn: ROLE.to_owned(), external_id: Some("shared+secret".to_owned()) }))
}

/// An endpoint that accepts every result and knows a pipeline.
pub(super) async fn endpoint() -> Endpoint {
    let endpoint = Endpoint::start().await;
    endpoint.set(Operation::PutApprovalResult, Reply::Bytes(RawResponse::plain(200, b"{}").bytes()));
    let state = RawResponse::plain(200, b"{\"stageStates\":[]}");
    endpoint.set(Operation::GetPipelineState, Reply::Bytes(state.bytes()));
    endpoint
}

fn client(endpoint: &Endpoint, destination: Destination) -> Client {
    new_client(endpoint.settings(credentials(), TIMEOUT), destination)
}

pub(super) async fn read(client: &Client) -> Result<(), CallError> {
    AwsPipelineReader::new(client, PIPELINE).pipeline_state().await.map(drop)
}

/// The session names and the access keys of the calls to AssumeRole.
fn assumed(endpoint: &Endpoint) -> Vec<(String, String)> {
    let calls = endpoint.sts().calls("AssumeRole").into_iter();
    calls.map(|call| (call.get("RoleSessionName").to_owned(), call.access_key.clone())).collect()
}

#[tokio::test]
async fn a_result_is_submitted_in_a_session_with_the_name_of_its_decision() {
    let endpoint = endpoint().await;
    let client = client(&endpoint, with_role());
    let verified = client.verify().await.unwrap();
    let expected = Location { account_id: ACCOUNT.to_owned(), region: "us-east-2".to_owned() };
    assert_eq!((&verified.location, client.location().as_ref()), (&expected, Some(&expected)));
    let session = client.open_session(&session_name()).await.unwrap();
    assert_eq!(session.location(), &expected);
    client.put_approval_result(&session, &submission(), Timestamp::MAX).await.result.unwrap();
    read(&client).await.unwrap();

    let operator = || "OPERATOR".to_owned();
    let names = [("approval-operator".to_owned(), operator()), (session_name().to_string(), operator())];
    assert_eq!(assumed(&endpoint), names);
    let calls = endpoint.sts().calls("AssumeRole");
    assert!(calls.iter().all(|call| call.get("RoleArn") == ROLE && call.get("ExternalId") == "shared+secret"));
    let durations: Vec<_> = calls.iter().map(|call| call.get("DurationSeconds")).collect();
    assert_eq!(durations, ["3600", "900"]);
    // The first call is that of reads, the second one verifies it, and the third one is that of the decision.
    let callers: Vec<_> = endpoint.sts().calls("GetCallerIdentity").into_iter().map(|call| call.access_key).collect();
    assert_eq!(callers, ["SESSION-1"], "a session for a decision is one call");
    assert_eq!(endpoint.signers(), [["SESSION-3", "us-east-2"], ["SESSION-1", "us-east-2"]]);
}

#[tokio::test]
async fn the_session_of_reads_is_reused_and_refreshed_before_it_expires() {
    // A session is refreshed 30 to 60 s before its end.
    for (lifetime, sessions) in [(SignedDuration::from_hours(1), 1), (SignedDuration::from_secs(20), 3)] {
        let endpoint = endpoint().await;
        endpoint.sts().set_sessions(ACCOUNT, lifetime);
        let client = client(&endpoint, with_role());
        for _ in 0..3 {
            read(&client).await.unwrap();
        }
        assert_eq!((assumed(&endpoint).len(), endpoint.requests()), (sessions, 3), "{lifetime:#}");
        let keys: HashSet<_> = endpoint.signers().into_iter().collect();
        assert_eq!(keys.len(), sessions, "{keys:?}");
    }
}

#[tokio::test]
async fn nothing_is_called_in_the_account_of_another_target() {
    const OTHER: &str = "210987654321";
    let endpoint = endpoint().await;
    for destination in
        [target(OTHER, None), target(OTHER, Some(AssumedRole { arn: ROLE.to_owned(), external_id: None }))]
    {
        let client = client(&endpoint, destination);
        let error = client.verify().await.unwrap_err();
        assert!(matches!(error, VerifyError::WrongAccount(_)), "{error:?}");
        assert!(error.to_string().ends_with("to account 123456789012, not to account 210987654321"), "{error}");
        let errors = [read(&client).await.unwrap_err(), client.open_session(&session_name()).await.unwrap_err()];
        assert!(errors.iter().all(|error| error.cause() == RetryCause::CredentialsUnavailable), "{errors:?}");
        assert_eq!((endpoint.requests(), client.location()), (0, None));
    }
    // A refresh returns a session of another account.
    endpoint.sts().set_sessions(ACCOUNT, SignedDuration::from_secs(20));
    let client = client(&endpoint, with_role());
    read(&client).await.unwrap();
    endpoint.sts().set_sessions(OTHER, SignedDuration::from_hours(1));
    let error = read(&client).await.unwrap_err();
    assert!(error.detail().contains("belongs to account 210987654321"), "{error:?}");
    let error = client.open_session(&session_name()).await.unwrap_err();
    assert!(error.detail().contains("belongs to account 210987654321"), "{error:?}");
    assert_eq!(endpoint.requests(), 1);
}

type Class = fn(String) -> VerifyError;

#[tokio::test]
async fn an_error_of_assume_role_says_what_fixes_it() {
    let rows: [(Reply, Class, RetryCause, bool); 6] = [
        (error(403, "AccessDenied"), VerifyError::AssumeRoleDenied, RetryCause::AccessDenied, false),
        (error(403, "ExpiredToken"), VerifyError::CredentialsUnavailable, RetryCause::CredentialsUnavailable, false),
        (error(400, "ValidationError"), VerifyError::CredentialsUnavailable, RetryCause::CredentialsUnavailable, false),
        (error(400, "Throttling"), VerifyError::Unreachable, RetryCause::CredentialsUnavailable, false),
        (error(503, "AccessDenied"), VerifyError::Unreachable, RetryCause::CredentialsUnavailable, false),
        (hanging(), VerifyError::Unreachable, RetryCause::CredentialsUnavailable, true),
    ];
    let checks = rows.into_iter().map(async |(reply, class, cause, has_hint)| {
        let endpoint = endpoint().await;
        // The SDK retries, for up to 3 s.
        let timeout = if has_hint { TIMEOUT } else { Duration::from_secs(6) };
        let client = || new_client(endpoint.settings(credentials(), timeout), with_role());
        let loaded = client();
        loaded.verify().await.unwrap();
        endpoint.sts().set("AssumeRole", Some(reply));
        let opened = loaded.open_session(&session_name()).await.unwrap_err();
        assert!(matches!(&opened, CallError::NotApplied { exception: None, .. }), "{opened:?}");
        assert_eq!(opened.cause(), cause, "{opened:?}");
        let verified = client().verify().await.unwrap_err();
        assert_eq!(verified, class(verified.to_string()), "{verified:?}");
        for detail in [opened.detail(), verified.to_string()] {
            assert!(detail.starts_with(&format!("the role {ROLE} could not be assumed: ")), "{detail}");
            assert_eq!(detail.contains("needs a VPC endpoint for STS"), has_hint, "{detail}");
        }
        assert_eq!(endpoint.requests(), 0);
    });
    futures::future::join_all(checks).await;
}

#[tokio::test]
async fn a_role_that_may_no_longer_be_assumed_is_not_used_and_an_sts_that_fails_changes_nothing() {
    let endpoint = endpoint().await;
    let client = client(&endpoint, with_role());
    client.verify().await.unwrap();
    assert_eq!((client.verify().await.is_ok(), assumed(&endpoint).len()), (true, 1), "it was just verified");
    age(&client, backoff::AWS_CONFIG).await;
    assert_eq!((client.verify().await.is_ok(), assumed(&endpoint).len()), (true, 2));
    endpoint.sts().set("AssumeRole", Some(error(503, "ServiceUnavailable")));
    age(&client, backoff::AWS_CONFIG).await;
    assert!(matches!(client.verify().await, Err(VerifyError::Unreachable(_))));
    read(&client).await.unwrap();
    endpoint.sts().set("AssumeRole", Some(error(403, "AccessDenied")));
    age(&client, backoff::AWS_CONFIG).await;
    assert!(matches!(client.verify().await, Err(VerifyError::AssumeRoleDenied(_))));
    assert_eq!(read(&client).await.unwrap_err().cause(), RetryCause::AccessDenied);
    assert_eq!((client.location(), endpoint.requests()), (None, 1));
}

#[tokio::test]
async fn a_session_that_ends_before_the_attempt_is_not_used() {
    let endpoint = endpoint().await;
    let client = client(&endpoint, with_role());
    client.verify().await.unwrap();
    endpoint.sts().set_sessions(ACCOUNT, SignedDuration::from_secs(60));
    let error = client.open_session(&session_name()).await.unwrap_err();
    assert_eq!(error.cause(), RetryCause::CredentialsUnavailable);
    assert!(error.detail().contains("which is too soon to submit a result"), "{error:?}");
}

#[tokio::test]
async fn a_client_whose_sts_hangs_does_not_slow_down_others() {
    let [broken, healthy] = [endpoint().await, endpoint().await];
    broken.sts().set("AssumeRole", Some(hanging()));
    let settings = |endpoint: &Endpoint| endpoint.settings(credentials(), TIMEOUT);
    let [broken, healthy] = [&broken, &healthy].map(|endpoint| new_client(settings(endpoint), with_role()));
    let waiting = (0..20).map(|_| {
        let broken = broken.clone();
        tokio::spawn(async move { (read(&broken).await, broken.open_session(&session_name()).await.map(drop)) })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..10 {
        read(&healthy).await.unwrap();
        let session = healthy.open_session(&session_name()).await.unwrap();
        healthy.put_approval_result(&session, &submission(), Timestamp::MAX).await.result.unwrap();
    }
    assert!(waiting.iter().all(|task| !task.is_finished()), "the others were still waiting");
    for task in waiting {
        assert!(matches!(task.await.unwrap(), (Err(_), Err(_))));
    }
}

#[derive(Debug)]
struct NoRegion;

impl ProvideRegion for NoRegion {
    fn region(&self) -> future::ProvideRegion<'_> {
        future::ProvideRegion::ready(None)
    }
}

#[tokio::test]
async fn sts_is_called_in_the_operators_own_region_and_codepipeline_in_that_of_the_target() {
    for (own, flag, expected) in [
        (Some("eu-west-1"), None, "eu-west-1"),
        (Some("eu-west-1"), Some("ap-south-1"), "ap-south-1"),
        (None, Some("ap-south-1"), "ap-south-1"),
        (None, None, "us-east-2"),
    ] {
        let endpoint = endpoint().await;
        let url = endpoint.url().to_owned();
        let chain = move || {
            let chain = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(&url);
            let chain = chain.credentials_provider(credentials());
            match own {
                Some(region) => chain.region(Region::new(region)),
                None => chain.region(NoRegion),
            }
        };
        let mut settings = endpoint.settings(credentials(), TIMEOUT);
        (settings.chain, settings.sts_region) = (Chain(Arc::new(chain)), flag.map(str::to_owned));
        let client = new_client(settings, with_role());
        client.open_session(&session_name()).await.unwrap();
        read(&client).await.unwrap();
        let calls = ["AssumeRole", "GetCallerIdentity"].map(|action| endpoint.sts().calls(action));
        let regions: HashSet<_> = calls.iter().flatten().map(|call| call.region.as_str()).collect();
        assert_eq!(regions, HashSet::from([expected]), "{own:?}, {flag:?}");
        assert_eq!(endpoint.signers(), [["SESSION-1", "us-east-2"]]);
    }
}

#[tokio::test]
async fn an_expired_session_is_replaced_and_a_refresh_that_sts_denies_is_access_denied() {
    let endpoint = endpoint().await;
    let client = client(&endpoint, with_role());
    client.verify().await.unwrap();
    age(&client, backoff::AWS_CONFIG).await;
    let expired = RawResponse::plain(400, b"{\"__type\":\"ExpiredTokenException\"}");
    endpoint.set(Operation::GetPipelineState, Reply::Bytes(expired.bytes()));
    assert_eq!(read(&client).await.unwrap_err().cause(), RetryCause::CredentialsUnavailable);
    endpoint.sts().set_sessions(ACCOUNT, SignedDuration::from_secs(20));
    assert_eq!(read(&client).await.unwrap_err().cause(), RetryCause::CredentialsUnavailable);
    assert_eq!((assumed(&endpoint).len(), endpoint.requests()), (2, 2));
    endpoint.sts().set("AssumeRole", Some(error(403, "AccessDenied")));
    let denied = read(&client).await.unwrap_err();
    assert_eq!((denied.cause(), endpoint.requests()), (RetryCause::AccessDenied, 2), "{denied:?}");
    assert!(
        denied.detail().starts_with(&format!("the role {ROLE} could not be assumed: AccessDenied: ")),
        "{denied:?}"
    );
}
