//! A wrong clock of the operator, and an STS that does not say who the operator is.

use super::endpoint::{credentials, new_client};
use super::sts::{date, hanging, identity};
use super::*;
use crate::api::v1alpha1::PipelineExecutionId;
use crate::codepipeline::{ExecutionSelector, PipelinePoller, Query, Subscriber, WakeCondition};
use jiff::SignedDuration;
use std::time::Duration;

/// An STS whose clock is ahead of that of this machine.
fn ahead(endpoint: &Endpoint, by: SignedDuration) {
    endpoint.set_identity(Reply::Bytes(identity().with("Date", date(by)).bytes()));
}

/// An endpoint that accepts every result. Its responses do not show the time.
async fn accepting() -> Endpoint {
    let endpoint = Endpoint::start().await;
    endpoint.set(Operation::PutApprovalResult, Reply::Bytes(RawResponse::plain(200, b"{}").bytes()));
    endpoint
}

/// The response to a read, which fails, with these headers.
fn read_response(headers: &[(&'static str, String)]) -> Reply {
    let response = RawResponse::plain(400, b"{\"__type\":\"ThrottlingException\"}");
    let response = headers.iter().fold(response, |response, (name, value)| response.with(name, value.clone()));
    Reply::Bytes(response.bytes())
}

async fn put(client: &Client) -> Result<Option<Timestamp>, CallError> {
    client.put_approval_result(&session(client).await, &submission(), Timestamp::MAX).await.result
}

#[tokio::test]
async fn nothing_is_submitted_while_the_clock_is_wrong_and_reads_go_on() {
    let hour = SignedDuration::from_hours(1);
    let seconds = SignedDuration::from_secs;
    let rows = [
        (seconds(0), None),
        (seconds(9), None),
        (seconds(-9), None),
        (seconds(11), Some("behind AWS's")),
        (seconds(-11), Some("ahead of AWS's")),
        (hour, Some("behind AWS's")),
    ];
    for (by, expected) in rows {
        let endpoint = accepting().await;
        ahead(&endpoint, by);
        let client = endpoint.client(TIMEOUT).await;
        let result = put(&client).await;
        match expected {
            None => assert_eq!(result, Ok(None), "{by:?}"),
            Some(direction) => {
                let error = result.unwrap_err();
                assert_eq!((error.cause(), endpoint.requests()), (RetryCause::ClockSkew, 0), "{by:?}: {error:?}");
                let detail = error.detail();
                assert!(detail.contains(direction) && detail.contains("at most 10 s are allowed"), "{detail}");
                assert_eq!(client.open_session(&session_name()).await.unwrap_err().cause(), RetryCause::ClockSkew);
                endpoint.set(Operation::GetPipelineState, read_response(&[]));
                let read = call_error(&client, Operation::GetPipelineState).await;
                assert_eq!((read.cause(), endpoint.requests()), (RetryCause::Throttled, 1), "{by:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_response_of_codepipeline_shows_that_the_clock_is_wrong_and_then_right() {
    let endpoint = accepting().await;
    let client = endpoint.client(TIMEOUT).await;
    let [wrong, right] = [11, 0].map(|seconds| ("Date", date(SignedDuration::from_secs(seconds))));
    let id = || ("x-amzn-RequestId", "request".to_owned());
    let age = ("Age", "11".to_owned());
    let rows = [
        ("without a time", vec![id()], true),
        ("of a proxy", vec![wrong.clone()], true),
        ("from a cache", vec![wrong.clone(), id(), age], true),
        ("with nonsense", vec![("Date", "yesterday".to_owned()), id()], true),
        ("of AWS", vec![wrong, id()], false),
        ("without a time", vec![id()], false),
        ("of a proxy", vec![right.clone()], false),
        ("of AWS", vec![right, id()], true),
    ];
    for (name, headers, is_sent) in rows {
        endpoint.set(Operation::GetPipelineState, read_response(&headers));
        call_error(&client, Operation::GetPipelineState).await;
        let requests = endpoint.requests();
        let result = put(&client).await;
        assert_eq!((result.is_ok(), endpoint.requests() > requests), (is_sent, is_sent), "{name}: {result:?}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_not_hidden_from_aws() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    let hour = ("Date", date(SignedDuration::from_hours(1)));
    endpoint.set(Operation::GetPipelineState, read_response(&[hour, ("x-amzn-RequestId", "request".to_owned())]));
    for _ in 0..2 {
        call_error(&client, Operation::GetPipelineState).await;
    }
    let now = Timestamp::now();
    let signed = endpoint.signed();
    assert_eq!(signed.len(), 2);
    assert!(signed.iter().all(|at| now.duration_since(*at).abs() < SignedDuration::from_mins(1)), "{signed:?}, {now}");
}

#[tokio::test]
async fn a_signature_that_aws_refuses_is_blamed_on_a_wrong_clock() {
    let refused =
        RawResponse::plain(400, b"{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired\"}");
    for (by, expected) in [(600, RetryCause::ClockSkew), (0, RetryCause::CredentialsUnavailable)] {
        let endpoint = Endpoint::start().await;
        ahead(&endpoint, SignedDuration::from_secs(by));
        endpoint.set(Operation::GetPipelineState, Reply::Bytes(refused.bytes()));
        let error = call_error(&endpoint.client(TIMEOUT).await, Operation::GetPipelineState).await;
        assert_eq!(error.cause(), expected);
        assert!(error.detail().contains("InvalidSignatureException: Signature expired"), "{error:?}");
    }
}

#[tokio::test]
async fn the_client_knows_the_account_and_the_region() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    let expected = Location { account_id: "123456789012".to_owned(), region: "eu-west-1".to_owned() };
    assert_eq!(client.location(), Some(expected.clone()));
    assert_eq!(client.open_session(&session_name()).await.unwrap().location(), &expected);
    let unloaded = new_client(endpoint.settings(credentials(), TIMEOUT), Destination::Ambient);
    assert_eq!(unloaded.location(), None);
}

#[tokio::test]
async fn without_an_identity_no_client_is_loaded_and_the_error_says_what_to_do() {
    let plain = |status, body: &str| RawResponse::plain(status, body.as_bytes());
    let dated = |response: RawResponse| Reply::Bytes(response.with("Date", date(SignedDuration::ZERO)).bytes());
    let error =
        "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no such key</Message></Error></ErrorResponse>";
    let without_account =
        "<GetCallerIdentityResponse><GetCallerIdentityResult></GetCallerIdentityResult></GetCallerIdentityResponse>";
    let refused = "the AWS identity could not be verified with STS: InvalidClientTokenId: no such key";
    let endless = Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b" ".repeat(65_536), Duration::ZERO);
    let rows = [
        (dated(plain(403, error)), refused, false),
        (dated(plain(200, "<html></html>")), "HTTP status 200, and the response does not come from STS", true),
        (dated(plain(403, "")), "HTTP status 403, and the response does not come from STS", true),
        (dated(plain(200, without_account)), "the response names no account", true),
        (Reply::Bytes(identity().bytes()), "no usable Date header", true),
        // It is cut off, and either that is reported or the retries take too long.
        (endless, "", true),
        (hanging(), " within 2s", true),
    ];
    for (reply, expected, has_hint) in rows {
        let endpoint = Endpoint::start().await;
        endpoint.set_identity(reply);
        let started_at = Instant::now();
        let detail = endpoint.load_error(TIMEOUT).await.to_string();
        assert!(detail.starts_with("the AWS identity could not be verified with STS: "), "{detail}");
        assert!(detail.contains(expected), "{detail}");
        assert_eq!(detail.contains("a VPC without internet access needs a VPC endpoint for STS"), has_hint, "{detail}");
        assert!(started_at.elapsed() < TIMEOUT + SLACK, "{expected}: {:?}", started_at.elapsed());
        assert!(endpoint.written() < SOCKET_BUFFERS, "{expected}: {} bytes", endpoint.written());
    }
}

/// How far the start of a poll is behind this machine's clock, according to an operator that sees AWS's clock that far behind it.
async fn start_of_poll(behind: SignedDuration) -> SignedDuration {
    let endpoint = Endpoint::start().await;
    ahead(&endpoint, -behind);
    let missing = RawResponse::plain(400, b"{\"__type\":\"PipelineNotFoundException\"}");
    endpoint.set(Operation::GetPipelineState, Reply::Bytes(missing.bytes()));
    let poller = PipelinePoller::new(endpoint.client(TIMEOUT).await, TIMEOUT, Arc::default());
    let (wake, mut woken) = tokio::sync::mpsc::unbounded_channel();
    let executions = ExecutionSelector::PipelineExecution(PipelineExecutionId("E1".to_owned()));
    let query = Query { stage: "Production".to_owned(), action: "Approve".to_owned(), executions };
    let newest = || {
        let subscriber = Subscriber { key: "ada", wake: wake.clone() };
        poller.subscribe(&subscriber, 1, "shop", query.clone(), WakeCondition::Any)
    };
    assert!(newest().is_none());
    assert_eq!(woken.recv().await, Some("ada"));
    Timestamp::now().duration_since(newest().unwrap().poll.started_at)
}

#[tokio::test]
async fn a_poll_starts_no_later_than_by_the_clock_of_aws_if_the_clock_is_wrong() {
    for (seconds, expected) in [(0, 0), (9, 0), (3600, 3600), (-3600, 0)] {
        let started = start_of_poll(SignedDuration::from_secs(seconds)).await.as_secs();
        assert!((expected - 1..expected + 5).contains(&started), "{seconds}: {started} s");
    }
}

#[test]
fn a_time_that_no_status_can_hold_counts_as_missing() {
    let converted = |seconds| timestamp(&sdk::primitives::DateTime::from_secs(seconds));
    assert_eq!(converted(1_782_907_200).map(|time| time.to_string()).as_deref(), Some("2026-07-01T12:00:00Z"));
    for seconds in [i64::MIN, -62_200_000_000, -1, 253_500_000_000, i64::MAX] {
        assert_eq!(converted(seconds), None, "{seconds}");
    }
}
