//! Properties of the client for any response. The client, the SDK with its timeouts, and the network connection are real; only
//! the server is not.

mod clock;
mod details;
mod endpoint;
mod json;
mod moto;
mod own_credentials;
mod raw_response;
mod reload;
mod sts;
mod sts_unreachable;
mod targets;

use super::*;
use crate::api::v1alpha1::{ApprovalResult, PipelineExecutionId, SourceRevision, Token};
use crate::codepipeline::{
    ApprovalRecord, AwsPipelineReader, ExecutionIds, ExecutionSelector, PipelineReader, Query, RecordQuery,
    read_snapshot,
};
use endpoint::{Endpoint, Reply, credentials, settings_at};
use json::{ACTION, KNOWN_IDS, PIPELINE, REVISION, STAGE, changed_body, valid_body};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use raw_response::{RawResponse, corrupted_bytes, raw_responses};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use test_support::scale;
use tokio::runtime::Runtime;

/// Long enough that only a call that would never end reaches it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How late a call may end when other tests use the CPU.
const SLACK: Duration = Duration::from_secs(3);

fn cases(quick: u32, all: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scale(quick, all)) }
}

/// Runs a check on generated cases, and counts them by their outcome.
fn check<T: std::fmt::Debug>(
    config: ProptestConfig,
    cases: impl Strategy<Value = T>,
    mut check: impl AsyncFnMut(&Endpoint, T) -> Result<&'static str, TestCaseError>,
) -> BTreeMap<&'static str, u32> {
    let runtime = Runtime::new().unwrap();
    let endpoint = runtime.block_on(Endpoint::start());
    let (check, counts) = (RefCell::new(&mut check), RefCell::new(BTreeMap::new()));
    let started_at = Instant::now();
    let result = TestRunner::new(config).run(&cases, |case| {
        let outcome = runtime.block_on(check.borrow_mut()(&endpoint, case))?;
        *counts.borrow_mut().entry(outcome).or_default() += 1;
        Ok(())
    });
    let counts = counts.into_inner();
    println!("FIGURE {counts:?} in {:?}", started_at.elapsed());
    result.unwrap_or_else(|error| panic!("{error}"));
    counts
}

fn token() -> Token {
    Token("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned())
}

fn submission() -> Submission {
    Submission {
        target: None,
        account_id: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        session_name: None,
        pipeline_name: PIPELINE.to_owned(),
        stage_name: STAGE.to_owned(),
        action_name: ACTION.to_owned(),
        pipeline_execution_id: None,
        action_execution_id: None,
        token: token(),
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: "words".to_owned() },
        attempts: 1,
        start_time: Timestamp::UNIX_EPOCH,
        deadline: Timestamp::MAX,
        outcome: None,
    }
}

fn session_name() -> SessionName {
    SessionName::of("team-a", "web", "uid")
}

/// A session with the client's own credentials. It is returned even while the clock is wrong, as if that had been noticed later.
async fn session(client: &Client) -> Session {
    Session(client.sdk_client().await.unwrap())
}

/// Submits a result, and returns the outcome after this reply.
async fn submit(endpoint: &Endpoint, reply: Reply) -> Result<Result<Option<Timestamp>, CallError>, TestCaseError> {
    endpoint.set(Operation::PutApprovalResult, reply);
    let client = endpoint.client(TIMEOUT).await;
    let started_at = Instant::now();
    let response = client.put_approval_result(&session(&client).await, &submission(), Timestamp::MAX).await;
    prop_assert!(started_at.elapsed() < TIMEOUT + SLACK, "it took {:?}", started_at.elapsed());
    Ok(response.result)
}

fn class(result: &Result<Option<Timestamp>, CallError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(CallError::Refused { .. }) => "refused",
        Err(CallError::NotApplied { .. }) => "not applied",
        Err(CallError::Indeterminate { .. }) => "indeterminate",
    }
}

/// Whether CodePipeline can return this body after it accepted a result.
fn says_accepted(body: &[u8]) -> bool {
    match serde_json::from_slice::<Map<String, Value>>(body) {
        Ok(members) => match members.get("approvedAt") {
            Some(time) => time.is_number() || time.is_null(),
            None => members.is_empty(),
        },
        // It is still JSON. A time outside the calendar counts as missing, and other members do not matter.
        Err(error) => {
            let limits =
                ["number out of range", "recursion limit", "lone leading surrogate", "unexpected end of hex escape"];
            limits.iter().any(|limit| error.to_string().starts_with(limit))
        }
    }
}

const SUCCESSES: [u16; 4] = [200, 201, 202, 206];
const FAILURES: [u16; 17] = [100, 101, 103, 204, 205, 301, 302, 304, 400, 403, 404, 408, 413, 429, 500, 503, 599];
/// Names of exceptions, and how the client classifies each.
const NAMES: [(&str, &str); 11] = [
    ("InvalidApprovalTokenException", "refused"),
    ("ApprovalAlreadyCompletedException", "refused"),
    ("PipelineNotFoundException", "refused"),
    ("ValidationException", "refused"),
    ("ThrottlingException", "not applied"),
    ("AccessDeniedException", "not applied"),
    ("ExpiredTokenException", "not applied"),
    ("PipelineExecutionNotFoundException", "not applied"),
    ("SomethingNewException", "not applied"),
    ("InternalFailure", "indeterminate"),
    ("RequestTimeoutException", "indeterminate"),
];

/// An exception in one of the forms that SDKs accept.
fn exceptions() -> impl Strategy<Value = (RawResponse, &'static str)> {
    let spell = |form: usize, name: &str| match form % 3 {
        0 => name.to_owned(),
        1 => format!("com.amazonaws.codepipeline#{name}"),
        _ => format!("{name}:http://internal.amazon.com/coral/com.amazonaws.codepipeline/"),
    };
    (select(&NAMES[..]), 0_usize..9, select(vec!["message", "Message"])).prop_map(
        move |((name, class), form, message)| {
            let (name, words) = (spell(form, name), json!("words with a 🚀 and a \" in them"));
            let response = match form / 3 {
                0 => RawResponse::plain(400, json!({ "__type": name, message: words }).to_string().as_bytes()),
                1 => RawResponse::plain(403, json!({ message: words, "code": name }).to_string().as_bytes()),
                _ => RawResponse::plain(429, json!({ message: words }).to_string().as_bytes())
                    .with("X-Amzn-ErrorType", name),
            };
            (response, class)
        },
    )
}

/// A response that resembles an exception.
fn changed_exceptions() -> impl Strategy<Value = RawResponse> {
    let unexpected = select(vec![
        "\"\"",
        "\"#\"",
        "\":\"",
        "\"403\"",
        "null",
        "7",
        "[]",
        "{}",
        "\"<html>\"",
        "\"a b\"",
        "\"\\u0000\"",
    ]);
    let name = prop_oneof![
        2 => select(&NAMES[..]).prop_map(|(name, _)| format!("{name:?}")),
        1 => unexpected.prop_map(str::to_owned),
        1 => Just(format!("\"{}\"", "E".repeat(40_000))),
    ];
    let key = select(vec!["__type", "code", "type", "__Type", "Code"]);
    let message = select(vec!["\"words\"", "null", "7", "[]", "{\"a\":[]}", "\"\\ud800\"", "\"\""]);
    let body =
        (name, key, message).prop_map(|(name, key, message)| format!("{{{key:?}:{name},\"message\":{message}}}"));
    let status = prop_oneof![4 => Just(400), 1 => select(&FAILURES[..]), 1 => select(&SUCCESSES[..])];
    let header = select(vec![None, None, None, Some(""), Some("ThrottlingException"), Some("#"), Some("é")]);
    (raw_responses(status, body.prop_map(String::into_bytes).boxed()), header).prop_map(|(response, header)| {
        match header {
            Some(name) => response.with("x-amzn-errortype", name.to_owned()),
            None => response,
        }
    })
}

#[test]
fn a_result_counts_as_accepted_refused_or_not_applied_only_if_codepipeline_says_so() {
    let status = prop_oneof![5 => Just(200), 1 => select(&SUCCESSES[..]), 1 => select(&FAILURES[..])];
    let responses = prop_oneof![
        2 => raw_responses(status, changed_body(Operation::PutApprovalResult)),
        2 => changed_exceptions(),
        1 => exceptions().prop_map(|(response, _)| response),
    ];
    let counts = check(cases(500, 10_000), responses, async |endpoint, response| {
        let result = submit(endpoint, Reply::Bytes(response.bytes())).await?;
        match &result {
            Ok(_) => {
                let is_success = (200..300).contains(&response.status) && response.status != 204;
                prop_assert!(is_success && response.body().is_some_and(says_accepted));
            }
            Err(CallError::Indeterminate { .. }) => {}
            Err(error) => {
                prop_assert!((400..500).contains(&response.status) && response.status != 408, "{error:?}");
                let name = error.exception().map(|exception| exception.r#type.as_str()).unwrap_or_default();
                let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric());
                prop_assert!(is_name && response.contains(name), "{error:?}");
                let is_refusal = NAMES.iter().any(|(known, class)| *class == "refused" && *known == name);
                prop_assert_eq!(matches!(error, CallError::Refused { .. }), is_refusal, "{:?}", error);
            }
        }
        Ok(class(&result))
    });
    assert!(
        ["accepted", "refused", "not applied", "indeterminate"].iter().all(|class| counts[class] >= 10),
        "{counts:?}"
    );
}

#[tokio::test]
async fn a_success_with_a_body_that_codepipeline_does_not_send_is_indeterminate() {
    let endpoint = Endpoint::start().await;
    let rows = [
        ("{}", "accepted"),
        (" {\"approvedAt\": null, \"new\": 1}\n", "accepted"),
        ("", "indeterminate"),
        (" \r\n", "indeterminate"),
        ("{} and more", "indeterminate"),
        ("[]", "indeterminate"),
        ("{\"approvedAt\": null, \"new\": \"\u{fffd}\"}", "accepted"),
        ("{\"error\": \"Please sign in\"}", "indeterminate"),
        ("{\"__type\": \"ThrottlingException\", \"message\": \"Rate exceeded\"}", "indeterminate"),
    ];
    for (body, expected) in rows {
        let result = submit(&endpoint, Reply::Bytes(RawResponse::plain(200, body.as_bytes()).bytes())).await.unwrap();
        assert_eq!(class(&result), expected, "{body:?}: {result:?}");
    }
}

#[test]
fn every_response_that_codepipeline_sends_is_understood() {
    let accepted =
        valid_body(Operation::PutApprovalResult).prop_map(|body| (RawResponse::plain(200, &body), "accepted"));
    let responses = prop_oneof![1 => accepted, 4 => exceptions()];
    check(cases(150, 1000), responses, async |endpoint, (response, expected)| {
        let result = submit(endpoint, Reply::Bytes(response.bytes())).await?;
        prop_assert_eq!(class(&result), expected, "{:?}", result);
        Ok(expected)
    });
}

#[test]
fn bytes_that_are_not_a_response_do_no_harm() {
    let response = raw_responses(Just(200), changed_body(Operation::PutApprovalResult));
    check(cases(200, 5000), corrupted_bytes(response), async |endpoint, bytes| {
        let result = submit(endpoint, Reply::Bytes(bytes.clone())).await?;
        prop_assert!(result.is_err() || bytes.contains(&b'{'), "{:?}", result);
        Ok(class(&result))
    });
}

/// A response to a read: a valid one, a changed one, or an exception.
fn read_responses(operation: Operation) -> impl Strategy<Value = RawResponse> {
    let status = prop_oneof![15 => Just(200), 1 => select(&SUCCESSES[..]), 1 => select(&FAILURES[..])];
    let plain = valid_body(operation).prop_map(|body| RawResponse::plain(200, &body));
    prop_oneof![
        20 => plain,
        9 => raw_responses(status, changed_body(operation)),
        1 => exceptions().prop_map(|(response, _)| response),
    ]
}

#[test]
fn no_response_to_a_read_invents_a_request_or_a_token() {
    let generated = (
        read_responses(Operation::GetPipelineState),
        read_responses(Operation::ListPipelineExecutions),
        read_responses(Operation::GetPipelineExecution),
        read_responses(Operation::ListActionExecutions),
    );
    let counts = check(cases(120, 2000), generated, async |endpoint, (state, executions, execution, history)| {
        let responses = [
            (Operation::GetPipelineState, state),
            (Operation::ListPipelineExecutions, executions),
            (Operation::GetPipelineExecution, execution),
            (Operation::ListActionExecutions, history),
        ];
        for (operation, response) in &responses {
            endpoint.set(*operation, Reply::Bytes(response.bytes()));
        }
        let client = endpoint.client(TIMEOUT).await;
        let reader = AwsPipelineReader::new(&client, PIPELINE);
        let id = ExecutionSelector::PipelineExecution(PipelineExecutionId(KNOWN_IDS[0].to_owned()));
        let revision = SourceRevision { revision_id: Some(REVISION.to_owned()), action_name: None };
        let (token, ids) = (token(), ExecutionIds::default());
        let request = RecordQuery { stage: STAGE, action: ACTION, token: &token, ids: &ids };
        let [id, revision] = [id, ExecutionSelector::SourceRevisions(vec![revision])].map(|executions| Query {
            stage: STAGE.to_owned(),
            action: ACTION.to_owned(),
            executions,
        });
        let queries = HashSet::from([id, revision, request.query()]);
        let Ok(snapshot) = read_snapshot(&reader, Timestamp::now(), queries, None).await else {
            return Ok("no snapshot");
        };
        // No response mentions a request with this token.
        let record = snapshot.record_of(request);
        let is_unknown = matches!(
            record,
            ApprovalRecord::NotVisible | ApprovalRecord::BeyondHistory | ApprovalRecord::Unreadable(_)
        );
        prop_assert!(is_unknown, "{record:?}");
        let actions = snapshot.state.stages.iter().flat_map(|stage| &stage.actions);
        let tokens: Vec<_> = actions.filter_map(|action| action.latest_execution.as_ref()?.token.clone()).collect();
        for token in &tokens {
            let was_sent = responses.iter().any(|(_, response)| response.contains(&token.0));
            prop_assert!(was_sent && Token::new(token.0.clone()).is_some(), "{}", token.0);
        }
        for entry in &snapshot.actions {
            let id = &entry.action_execution_id;
            // Other characters may have been escaped in the response.
            let is_plain = id.chars().all(|letter| letter.is_ascii_graphic());
            prop_assert!(!is_plain || responses.iter().any(|(_, response)| response.contains(id)), "{entry:?}");
        }
        Ok(if tokens.is_empty() { "a snapshot" } else { "a snapshot with a token" })
    });
    let outcomes = ["no snapshot", "a snapshot", "a snapshot with a token"];
    assert!(outcomes.iter().all(|outcome| counts[outcome] >= 10), "{counts:?}");
}

/// Calls an operation, and returns its error.
async fn call_error(client: &Client, operation: Operation) -> CallError {
    let reader = AwsPipelineReader::new(client, PIPELINE);
    let result = match operation {
        Operation::PutApprovalResult => {
            client.put_approval_result(&session(client).await, &submission(), Timestamp::MAX).await.result.map(drop)
        }
        Operation::GetPipelineState => reader.pipeline_state().await.map(drop),
        Operation::ListPipelineExecutions => reader.pipeline_executions(None).await.map(drop),
        Operation::GetPipelineExecution => reader.pipeline_execution(KNOWN_IDS[0]).await.map(drop),
        Operation::ListActionExecutions => reader.action_executions(None, None).await.map(drop),
    };
    result.unwrap_err()
}

/// The capacity of the socket buffers at both ends of a connection.
const SOCKET_BUFFERS: usize = 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_response_times_out_and_is_read_only_up_to_the_maximum_size() {
    let (no_pause, pause) = (Duration::ZERO, Duration::from_millis(20));
    let rows: [(&str, &str, String, Duration); 8] = [
        ("a body", "HTTP/1.1 200 OK\r\n\r\n{\"a\":\"", "x".repeat(65_536), no_pause),
        ("blanks", "HTTP/1.1 200 OK\r\n\r\n", " ".repeat(65_536), no_pause),
        ("an error", "HTTP/1.1 400 No\r\n\r\n{\"message\":\"", "x".repeat(65_536), no_pause),
        ("tiny chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n".repeat(10_000), no_pause),
        ("headers", "HTTP/1.1 200 OK\r\n", "a: b\r\n".repeat(10_000), no_pause),
        ("interim responses", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), pause),
        ("a slow body", "HTTP/1.1 200 OK\r\n\r\n", " ".to_owned(), pause),
        ("a slow header", "HTTP/1.1 200 OK\r\na: ", "b".to_owned(), pause),
    ];
    for &operation in Operation::ALL {
        let calls = rows.iter().map(async |(name, first, rest, pause)| {
            let endpoint = Endpoint::start().await;
            endpoint.set(operation, Reply::Endless(first.as_bytes().to_vec(), rest.as_bytes().to_vec(), *pause));
            let client = endpoint.client(TIMEOUT).await;
            let started_at = Instant::now();
            let error = call_error(&client, operation).await;
            assert!(matches!(error, CallError::Indeterminate { .. }), "{name}: {error:?}");
            assert!(started_at.elapsed() < TIMEOUT + SLACK, "{name} took {:?}", started_at.elapsed());
            let written = endpoint.written();
            println!("{operation:?}: {name}: {written} bytes in {:?}: {}", started_at.elapsed(), error.detail());
            assert!(written < 8 * 1024 * 1024 + SOCKET_BUFFERS, "{written} bytes of {name} were read");
        });
        futures::future::join_all(calls).await;
    }
}
