//! What holds of the client whatever it is answered. The client is the real one, with the SDK and its time limits, and so is
//! the wire; only who answers is not.

mod endpoint;
mod json;
mod wire;

use super::*;
use crate::api::v1alpha1::{ApprovalResult, PipelineExecutionId, SourceRevision};
use crate::codepipeline::{Ask, AskedRun, ExecutionIds, PipelineReads, Reads, Record, Request, look, record};
use crate::scale::scale;
use endpoint::{Endpoint, Reply};
use json::{ACTION, KNOWN, PIPELINE, REVISION, STAGE, changed_body, honest_body};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use tokio::runtime::Runtime;
use wire::{Wire, noise, wires};

/// Long enough that only what takes for ever meets it.
const LIMIT: Duration = Duration::from_secs(2);

/// How late the end of a call may be noticed where other tests take the processor.
const SLACK: Duration = Duration::from_secs(3);

fn cases(quick: u32, all: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scale(quick, all)) }
}

/// Puts cases to a check, and counts what came of them.
fn check<T: std::fmt::Debug>(
    config: ProptestConfig,
    of: impl Strategy<Value = T>,
    mut check: impl AsyncFnMut(&Endpoint, T) -> Result<&'static str, TestCaseError>,
) -> BTreeMap<&'static str, u32> {
    let runtime = Runtime::new().unwrap();
    let endpoint = runtime.block_on(Endpoint::start());
    let (check, counts) = (RefCell::new(&mut check), RefCell::new(BTreeMap::new()));
    let begun = Instant::now();
    let result = TestRunner::new(config).run(&of, |case| {
        let kind = runtime.block_on(check.borrow_mut()(&endpoint, case))?;
        *counts.borrow_mut().entry(kind).or_default() += 1;
        Ok(())
    });
    let counts = counts.into_inner();
    println!("FIGURE {counts:?} in {:?}", begun.elapsed());
    result.unwrap_or_else(|error| panic!("{error}"));
    counts
}

fn token() -> Token {
    Token("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned())
}

fn spec() -> ApprovalDecisionSpec {
    ApprovalDecisionSpec {
        pipeline_name: PIPELINE.to_owned(),
        stage_name: STAGE.to_owned(),
        action_name: ACTION.to_owned(),
        token: Some(token()),
        pipeline_execution_id: None,
        source_revision: None,
        result: ApprovalResult { status: ApprovalStatus::Approved, summary: "words".to_owned() },
        not_after: None,
        suspend: false,
    }
}

/// What came of an answer that got these bytes in return.
async fn put(endpoint: &Endpoint, reply: Reply) -> Result<Result<Option<Timestamp>, CallError>, TestCaseError> {
    endpoint.set(Operation::PutApprovalResult, reply);
    let client = endpoint.client(LIMIT).await;
    let begun = Instant::now();
    let answer = client.put_approval_result(&spec(), &token(), Timestamp::MAX).await;
    prop_assert!(begun.elapsed() < LIMIT + SLACK, "it took {:?}", begun.elapsed());
    Ok(answer.result)
}

fn class(result: &Result<Option<Timestamp>, CallError>) -> &'static str {
    match result {
        Ok(_) => "taken",
        Err(CallError::Refused { .. }) => "refused",
        Err(CallError::NotTaken { .. }) => "not taken",
        Err(CallError::Lost { .. }) => "lost",
    }
}

/// Whether a service that took an answer may say so in these words.
fn says_taken(body: &[u8]) -> bool {
    match serde_json::from_slice::<Map<String, Value>>(body) {
        Ok(members) => match members.get("approvedAt") {
            Some(time) => time.is_number() || time.is_null(),
            None => members.is_empty(),
        },
        // It is JSON all the same: a time out of every calendar is one that is not told, and what else there is does not matter.
        Err(error) => {
            let beyond =
                ["number out of range", "recursion limit", "lone leading surrogate", "unexpected end of hex escape"];
            beyond.iter().any(|what| error.to_string().starts_with(what))
        }
    }
}

const SUCCESSES: [u16; 4] = [200, 201, 202, 206];
const FAILURES: [u16; 17] = [100, 101, 103, 204, 205, 301, 302, 304, 400, 403, 404, 408, 413, 429, 500, 503, 599];
/// Names of exceptions, and what is none.
const NAMES: [(&str, &str); 10] = [
    ("InvalidApprovalTokenException", "refused"),
    ("ApprovalAlreadyCompletedException", "refused"),
    ("PipelineNotFoundException", "refused"),
    ("ValidationException", "refused"),
    ("ThrottlingException", "not taken"),
    ("AccessDeniedException", "not taken"),
    ("ExpiredTokenException", "not taken"),
    ("SomethingNewException", "not taken"),
    ("InternalFailure", "lost"),
    ("RequestTimeoutException", "lost"),
];

/// An exception in a spelling that SDKs know.
fn exceptions() -> impl Strategy<Value = (Wire, &'static str)> {
    let spell = |spelling: usize, name: &str| match spelling % 3 {
        0 => name.to_owned(),
        1 => format!("com.amazonaws.codepipeline#{name}"),
        _ => format!("{name}:http://internal.amazon.com/coral/com.amazonaws.codepipeline/"),
    };
    (select(&NAMES[..]), 0_usize..9, select(vec!["message", "Message"])).prop_map(
        move |((name, class), how, message)| {
            let (name, words) = (spell(how, name), json!("words with a 🚀 and a \" in them"));
            let wire = match how / 3 {
                0 => Wire::plain(400, json!({ "__type": name, message: words }).to_string().as_bytes()),
                1 => Wire::plain(403, json!({ message: words, "code": name }).to_string().as_bytes()),
                _ => Wire::plain(429, json!({ message: words }).to_string().as_bytes()).with("X-Amzn-ErrorType", name),
            };
            (wire, class)
        },
    )
}

/// Something like an exception.
fn changed_exceptions() -> impl Strategy<Value = Wire> {
    let odd = select(vec![
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
        1 => odd.prop_map(str::to_owned),
        1 => Just(format!("\"{}\"", "E".repeat(40_000))),
    ];
    let key = select(vec!["__type", "code", "type", "__Type", "Code"]);
    let message = select(vec!["\"words\"", "null", "7", "[]", "{\"a\":[]}", "\"\\ud800\"", "\"\""]);
    let body =
        (name, key, message).prop_map(|(name, key, message)| format!("{{{key:?}:{name},\"message\":{message}}}"));
    let status = prop_oneof![4 => Just(400), 1 => select(&FAILURES[..]), 1 => select(&SUCCESSES[..])];
    let header = select(vec![None, None, None, Some(""), Some("ThrottlingException"), Some("#"), Some("é")]);
    (wires(status, body.prop_map(String::into_bytes).boxed()), header).prop_map(|(wire, header)| match header {
        Some(name) => wire.with("x-amzn-errortype", name.to_owned()),
        None => wire,
    })
}

#[test]
fn an_answer_is_taken_refused_or_not_taken_only_where_the_service_says_so() {
    let status = prop_oneof![5 => Just(200), 1 => select(&SUCCESSES[..]), 1 => select(&FAILURES[..])];
    let answers = prop_oneof![
        2 => wires(status, changed_body(Operation::PutApprovalResult)),
        2 => changed_exceptions(),
        1 => exceptions().prop_map(|(wire, _)| wire),
    ];
    let counts = check(cases(500, 10_000), answers, async |endpoint, wire| {
        let result = put(endpoint, Reply::Bytes(wire.bytes())).await?;
        match &result {
            Ok(_) => {
                let is_success = (200..300).contains(&wire.status) && wire.status != 204;
                prop_assert!(is_success && wire.body().is_some_and(says_taken));
            }
            Err(CallError::Lost { .. }) => {}
            Err(error) => {
                prop_assert!((400..500).contains(&wire.status) && wire.status != 408, "{error:?}");
                let name = error.exception().map(|exception| exception.r#type.as_str()).unwrap_or_default();
                let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric());
                prop_assert!(is_name && wire.says(name), "{error:?}");
                let is_refusal = NAMES.iter().any(|(known, class)| *class == "refused" && *known == name);
                prop_assert_eq!(matches!(error, CallError::Refused { .. }), is_refusal, "{:?}", error);
            }
        }
        Ok(class(&result))
    });
    assert!(["taken", "refused", "not taken", "lost"].iter().all(|class| counts[class] >= 10), "{counts:?}");
}

#[tokio::test]
async fn a_success_in_words_that_are_not_the_services_is_not_taken_for_one() {
    let endpoint = Endpoint::start().await;
    let rows = [
        ("{}", "taken"),
        (" {\"approvedAt\": null, \"new\": 1}\n", "taken"),
        ("", "lost"),
        (" \r\n", "lost"),
        ("{} and more", "lost"),
        ("[]", "lost"),
        ("{\"approvedAt\": null, \"new\": \"\u{fffd}\"}", "taken"),
        ("{\"error\": \"Please sign in\"}", "lost"),
        ("{\"__type\": \"ThrottlingException\", \"message\": \"Rate exceeded\"}", "lost"),
    ];
    for (body, expected) in rows {
        let result = put(&endpoint, Reply::Bytes(Wire::plain(200, body.as_bytes()).bytes())).await.unwrap();
        assert_eq!(class(&result), expected, "{body:?}: {result:?}");
    }
}

#[test]
fn what_the_service_does_say_is_understood() {
    let taken = honest_body(Operation::PutApprovalResult).prop_map(|body| (Wire::plain(200, &body), "taken"));
    let said = prop_oneof![1 => taken, 4 => exceptions()];
    check(cases(150, 1000), said, async |endpoint, (wire, expected)| {
        let result = put(endpoint, Reply::Bytes(wire.bytes())).await?;
        prop_assert_eq!(class(&result), expected, "{:?}", result);
        Ok(expected)
    });
}

#[test]
fn bytes_that_are_no_response_do_no_harm() {
    let wire = wires(Just(200), changed_body(Operation::PutApprovalResult));
    check(cases(200, 5000), noise(wire), async |endpoint, bytes| {
        let result = put(endpoint, Reply::Bytes(bytes.clone())).await?;
        prop_assert!(result.is_err() || bytes.contains(&b'{'), "{:?}", result);
        Ok(class(&result))
    });
}

/// A response to a read: what the service may say, something like it, or an exception.
fn read_wires(operation: Operation) -> impl Strategy<Value = Wire> {
    let status = prop_oneof![15 => Just(200), 1 => select(&SUCCESSES[..]), 1 => select(&FAILURES[..])];
    let plain = honest_body(operation).prop_map(|body| Wire::plain(200, &body));
    prop_oneof![
        20 => plain,
        9 => wires(status, changed_body(operation)),
        1 => exceptions().prop_map(|(wire, _)| wire),
    ]
}

#[test]
fn no_answer_to_a_read_makes_up_a_request_or_a_token() {
    let [_, state, runs, run, history] = Operation::ALL;
    let of = (read_wires(state), read_wires(runs), read_wires(run), read_wires(history));
    let counts = check(cases(120, 2000), of, async |endpoint, (first, second, third, fourth)| {
        let wires = [(state, first), (runs, second), (run, third), (history, fourth)];
        wires.iter().for_each(|(operation, wire)| endpoint.set(*operation, Reply::Bytes(wire.bytes())));
        let client = endpoint.client(LIMIT).await;
        let reads = PipelineReads { client: &client, pipeline: PIPELINE };
        // Nobody told of a request with this token.
        let ids = ExecutionIds::default();
        let record = record(&reads, Request { spec: &spec(), token: &token(), ids: &ids }).await;
        let is_none = matches!(record, Ok(Record::Unseen | Record::PipelineNotFound(_)) | Err(_));
        prop_assert!(is_none, "{record:?}");
        let id = AskedRun::PipelineExecution(PipelineExecutionId(KNOWN[0].to_owned()));
        let revision = SourceRevision { revision_id: REVISION.to_owned(), action_name: None };
        let asks = [id, AskedRun::SourceRevision(revision)].map(|run| Ask {
            stage: STAGE.to_owned(),
            action: ACTION.to_owned(),
            run,
        });
        let Ok(view) = look(&reads, Timestamp::now(), HashSet::from(asks), None).await else { return Ok("no view") };
        let actions = view.state.stages.iter().flat_map(|stage| &stage.actions);
        let shown: Vec<_> = actions.filter_map(|action| action.latest_execution.as_ref()?.token.clone()).collect();
        for token in &shown {
            let is_told = wires.iter().any(|(_, wire)| wire.says(&token.0));
            prop_assert!(is_told && Token::new(token.0.clone()).is_some(), "{}", token.0);
        }
        for entry in &view.actions {
            let id = &entry.action_execution_id;
            // What is not plain may have been written otherwise.
            let is_plain = id.chars().all(|letter| letter.is_ascii_graphic());
            prop_assert!(!is_plain || wires.iter().any(|(_, wire)| wire.says(id)), "{entry:?}");
        }
        Ok(if shown.is_empty() { "a view" } else { "a view with a token" })
    });
    assert!(["no view", "a view", "a view with a token"].iter().all(|kind| counts[kind] >= 10), "{counts:?}");
}

/// Calls an operation, and tells why there was no answer.
async fn failure(client: &Client, operation: Operation) -> CallError {
    let reads = PipelineReads { client, pipeline: PIPELINE };
    let result = match operation {
        Operation::PutApprovalResult => {
            client.put_approval_result(&spec(), &token(), Timestamp::MAX).await.result.map(drop)
        }
        Operation::GetPipelineState => reads.pipeline_state().await.map(drop),
        Operation::ListPipelineExecutions => reads.pipeline_executions(None).await.map(drop),
        Operation::GetPipelineExecution => reads.pipeline_execution(KNOWN[0]).await.map(drop),
        Operation::ListActionExecutions => reads.action_executions(None, None).await.map(drop),
    };
    result.unwrap_err()
}

/// What a connection holds that nobody has read, at both of its ends.
const UNREAD: usize = 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_given_up_and_no_more_of_it_is_read_than_an_answer_can_have() {
    let (at_once, slowly) = (Duration::ZERO, Duration::from_millis(20));
    let rows: [(&str, &str, String, Duration); 8] = [
        ("a body", "HTTP/1.1 200 OK\r\n\r\n{\"a\":\"", "x".repeat(65_536), at_once),
        ("blanks", "HTTP/1.1 200 OK\r\n\r\n", " ".repeat(65_536), at_once),
        ("an error", "HTTP/1.1 400 No\r\n\r\n{\"message\":\"", "x".repeat(65_536), at_once),
        ("crumbs", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n".repeat(10_000), at_once),
        ("headers", "HTTP/1.1 200 OK\r\n", "a: b\r\n".repeat(10_000), at_once),
        ("promises", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), slowly),
        ("a slow body", "HTTP/1.1 200 OK\r\n\r\n", " ".to_owned(), slowly),
        ("a slow header", "HTTP/1.1 200 OK\r\na: ", "b".to_owned(), slowly),
    ];
    for operation in Operation::ALL {
        let calls = rows.iter().map(async |(what, first, rest, pause)| {
            let endpoint = Endpoint::start().await;
            endpoint.set(operation, Reply::Endless(first.as_bytes().to_vec(), rest.as_bytes().to_vec(), *pause));
            let client = endpoint.client(LIMIT).await;
            let begun = Instant::now();
            let error = failure(&client, operation).await;
            assert!(matches!(error, CallError::Lost { .. }), "{what}: {error:?}");
            assert!(begun.elapsed() < LIMIT + SLACK, "{what} took {:?}", begun.elapsed());
            let written = endpoint.written();
            println!("{operation:?}: {what}: {written} bytes in {:?}: {}", begun.elapsed(), error.detail());
            assert!(written < 8 * 1024 * 1024 + UNREAD, "{written} bytes of {what} were read");
        });
        futures::future::join_all(calls).await;
    }
}
