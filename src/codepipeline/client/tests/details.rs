//! What users read about a response that does not come from CodePipeline, and what the SDK must not retry or hide.

use super::*;
use crate::api::v1alpha1::Reason;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future::ProvideCredentials as Provided};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

const PAGE: &str = "<html><body><h1>502 Bad Gateway</h1></body></html>";

#[tokio::test]
async fn a_response_that_is_not_from_codepipeline_is_reported_with_its_http_status() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    let not_json = "the response is not JSON";
    let rows = [
        (200, PAGE, not_json),
        (302, PAGE, not_json),
        (403, PAGE, not_json),
        (502, PAGE, not_json),
        (503, PAGE, not_json),
        (503, "{\"message\":", not_json),
        (200, " ", "the response is empty"),
        (302, "", "the response is empty"),
        (502, "", "the response is empty"),
        (200, "[]", "the response is not a JSON object"),
        (200, "{\"error\":\"Please sign in\"}", "the response is not a {} response"),
        (400, "[]", "the response names no exception (without a message)"),
        (403, "{\"message\":\"Forbidden\"}", "the response names no exception (Forbidden)"),
    ];
    for &operation in Operation::ALL {
        for (status, body, problem) in rows {
            endpoint.set(operation, Reply::Bytes(RawResponse::plain(status, body.as_bytes()).bytes()));
            let problem = problem.replace("{}", operation.as_str());
            let detail = format!("HTTP status {status}, and {problem}; a proxy or load balancer may have sent it");
            assert_eq!(call_error(&client, operation).await, CallError::Indeterminate { detail }, "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_response_that_is_cut_off_is_reported_with_its_http_status() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    for status in [200, 403, 502] {
        let mut bytes = RawResponse::plain(status, PAGE.as_bytes()).bytes();
        bytes.truncate(bytes.len() - 1);
        for &operation in Operation::ALL {
            endpoint.set(operation, Reply::Bytes(bytes.clone()));
            let error = call_error(&client, operation).await;
            let expected = format!("HTTP status {status}, and the response could not be read: ");
            let is_expected = matches!(&error, CallError::Indeterminate { detail } if detail.starts_with(&expected));
            assert!(is_expected && error.detail().contains("end of file"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_response_is_reported_with_the_host_and_its_cause() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    for &operation in Operation::ALL {
        endpoint.set(operation, Reply::Bytes(Vec::new()));
        let host = endpoint.url().trim_start_matches("http://");
        let why = "connection closed before message completed";
        let detail = format!("the connection to CodePipeline at {host} failed ({why})");
        assert_eq!(call_error(&client, operation).await, CallError::Indeterminate { detail });
    }
}

#[tokio::test]
async fn a_call_is_one_request_whatever_the_response_is() {
    let throttled = "{\"__type\":\"ThrottlingException\"}";
    for &operation in Operation::ALL {
        for (status, body) in [(400, throttled), (429, throttled), (500, ""), (503, PAGE)] {
            let endpoint = Endpoint::start().await;
            let client = endpoint.client(TIMEOUT).await;
            endpoint.set(operation, Reply::Bytes(RawResponse::plain(status, body.as_bytes()).bytes()));
            call_error(&client, operation).await;
            assert_eq!(endpoint.requests(), 1, "{operation:?} {status}");
        }
    }
}

/// Provides expired credentials once, and then does not respond.
#[derive(Debug, Default)]
struct HangingRenewal {
    was_called: AtomicBool,
}

impl ProvideCredentials for HangingRenewal {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        if self.was_called.swap(true, Ordering::Relaxed) {
            return Provided::new(std::future::pending());
        }
        Provided::ready(Ok(Credentials::new("OPERATOR", "secret", None, Some(SystemTime::UNIX_EPOCH), "a test")))
    }
}

#[tokio::test]
async fn credentials_that_are_not_renewed_within_the_timeout_are_unavailable() {
    // Longer than the limit that the SDK derives for a client without retries.
    let timeout = Duration::from_secs(7);
    let endpoint = Endpoint::start().await;
    let client = endpoint.client_with(HangingRenewal::default(), timeout).await;
    endpoint.set(Operation::GetPipelineState, Reply::Bytes(RawResponse::plain(503, b"").bytes()));
    let with_prefetched = call_error(&client, Operation::GetPipelineState).await;
    assert!(matches!(with_prefetched, CallError::Indeterminate { .. }), "{with_prefetched:?}");
    let error = call_error(&client, Operation::GetPipelineState).await;
    assert_eq!(error.cause(), RetryCause::CredentialsUnavailable, "{error:?}");
}

#[tokio::test]
async fn a_call_without_a_connection_names_the_host_and_what_failed() {
    let endpoint = Endpoint::start().await;
    let client = endpoint.client(TIMEOUT).await;
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listen().await.local_addr().unwrap();
    let hanging = listen().await;
    let hangs = hanging.local_addr().unwrap();
    let unknown = "codepipeline.eu-wst-1.amazonaws.invalid";
    let unavailable = Some(Reason::ServiceUnavailable);
    for (url, expected, reason) in [
        (format!("http://{free}"), format!("the connection to CodePipeline at {free} was refused"), unavailable),
        (
            format!("https://{unknown}"),
            format!("the DNS lookup for the connection to CodePipeline at {unknown} failed ("),
            unavailable,
        ),
        (
            format!("http://{hangs}"),
            format!("no valid response from CodePipeline at {hangs} within --aws-timeout"),
            None,
        ),
    ] {
        let mut session = session(&client).await;
        let config = session.0.client.config().to_builder().endpoint_url(&url);
        session.0.client = sdk::Client::from_conf(config.build());
        let response = client.put_approval_result(&session, &submission(), Timestamp::MAX).await;
        let error = response.result.unwrap_err();
        let detail = error.detail();
        assert!(detail.starts_with(&expected), "{detail}");
        assert_eq!(error.reason(), reason, "{error:?}");
    }
}
