//! The control routes respond to every command, and the endpoint to every operation after it.

use local_codepipeline::api::Operation;
use local_codepipeline::client::{Client, ClientError};
use local_codepipeline::{LocalCodePipeline, Settings};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

const ROLE: &str = "arn:aws:iam::123456789012:role/approvals";
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

fn unexpected_value() -> impl Strategy<Value = Value> {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("é\u{0}"),
        json!("a".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[[]]]),
    ];
    select(values.to_vec())
}

fn value(name: &'static str) -> BoxedStrategy<Value> {
    let action = |category: &str| json!({ "name": "Approve", "category": category, "timeoutInMinutes": 86_400 });
    let definition = |mode: &str, category: &str| {
        let source = json!({ "name": "Source", "actions": [{ "name": "Source", "category": "Source" }] });
        let prod = json!({
            "name": "Prod",
            "actions": [action(category)],
            "beforeEntry": { "result": if category == "Build" { "SKIP" } else { "FAIL" } },
            "onFailure": { "result": "RETRY", "retryConfiguration": { "retryMode": "ALL_ACTIONS" } },
        });
        json!({ "name": "web", "executionMode": mode, "stages": [source, prod] })
    };
    let times = [
        "0s",
        "1ns",
        "30s",
        "-30s",
        "8d",
        "9223372036854775807s",
        "-9223372036854775808s",
        "9223372036854775808s",
        "soon",
    ];
    let expected = match name {
        "definition" => vec![
            definition("QUEUED", "Approval"),
            definition("PARALLEL", "Approval"),
            definition("SUPERSEDED", "Build"),
        ],
        "pipelineName" => vec![json!("web"), json!("web"), json!("none")],
        "stageName" => vec![json!("Prod"), json!("Nowhere")],
        "actionName" => vec![json!("Approve"), json!("Source")],
        "sourceRevisions" => {
            vec![
                json!([]),
                json!([{ "actionName": "Source", "revisionId": "v1" }]),
                json!([{ "actionName": "Source" }]),
            ]
        }
        "pipelineExecutionId" | "targetPipelineExecutionId" => {
            vec![json!("00000000-0000-4000-8000-000000000000"), json!("x")]
        }
        "succeeded" => vec![json!(true), json!(false)],
        "mode" => vec![json!("wait"), json!("abandon"), json!("FAILED_ACTIONS"), json!("ALL_ACTIONS")],
        "behaviour" => {
            let parallel = ["withoutTokens", "empty", "stale"].into_iter().cycle();
            let behaviour = |(time, parallel)| {
                let lags = json!({ "token": time, "start": time });
                json!({ "lags": lags, "tokens": "independent", "parallelState": parallel, "timeoutSummary": time })
            };
            times.into_iter().zip(parallel).map(behaviour).collect()
        }
        "role" => {
            let role =
                |trusts: &[&str]| json!({ "arn": ROLE, "trusts": trusts, "sessionDuration": "9223372036854775807s" });
            vec![json!({ "arn": ROLE }), role(&[]), role(&["123456789012"]), json!({ "arn": "approvals" })]
        }
        "roleArn" => vec![json!(ROLE), json!("approvals")],
        "revocation" => vec![json!("expired"), json!("unknown"), json!("denied")],
        "by" => times.map(Value::from).to_vec(),
        _ => vec![json!("text")],
    };
    prop_oneof![20 => select(expected), 1 => unexpected_value()].boxed()
}

fn commands() -> impl Strategy<Value = Value> {
    let members: [&[&str]; 20] = [
        &["putPipeline", "definition"],
        &["editPipeline", "pipelineName"],
        &["deletePipeline", "pipelineName"],
        &["startExecution", "pipelineName", "sourceRevisions"],
        &["completeAction", "pipelineName", "stageName", "actionName", "pipelineExecutionId", "succeeded"],
        &["stopExecution", "pipelineName", "pipelineExecutionId", "mode", "reason"],
        &["retryStage", "pipelineName", "stageName", "pipelineExecutionId", "mode"],
        &["rollbackStage", "pipelineName", "stageName", "targetPipelineExecutionId"],
        &["overrideStageCondition", "pipelineName", "stageName", "pipelineExecutionId"],
        &["disableStageTransition", "pipelineName", "stageName", "reason"],
        &["enableStageTransition", "pipelineName", "stageName"],
        &["openApproval", "pipelineName", "stageName", "actionName", "sourceRevisions"],
        &["listPendingApprovals", "pipelineName"],
        &["setBehaviour", "behaviour"],
        &["putRole", "role"],
        &["deleteRole", "roleArn"],
        &["revokeSessions", "roleArn", "revocation"],
        &["advanceClock", "by"],
        &["setDateOffset", "by"],
        &["nonsense", "pipelineName"],
    ];
    select(members.to_vec()).prop_flat_map(|line| {
        let (command, names) = (line[0], &line[1..]);
        let members: Vec<_> =
            names.iter().map(|name| weighted(0.95, value(name).prop_map(move |value| (*name, value)))).collect();
        members.prop_map(move |members| {
            let members = members.into_iter().flatten().chain([("command", json!(command))]);
            Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
        })
    })
}

#[test]
fn every_command_and_every_operation_after_it_gets_a_response() {
    let all = std::env::var_os("FAULTS").is_some_and(|value| value == "all");
    let cases = if all { 1500 } else { 60 };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let runtime = Runtime::new().unwrap();
    let (succeeded, refused) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&vec(commands(), 1..12), |commands| {
        runtime.block_on(async {
            let endpoint = LocalCodePipeline::start(Settings::default()).await.unwrap();
            let client = Client::at(endpoint.address());
            for command in &commands {
                let count = |result: Result<Value, ClientError>| match result {
                    Ok(_) => succeeded.set(succeeded.get() + 1),
                    Err(ClientError::Refused { .. } | ClientError::UnexpectedResponse { .. }) => {
                        refused.set(refused.get() + 1)
                    }
                    Err(error) => panic!("{error}: {command}"),
                };
                count(timeout(RESPONSE_TIMEOUT, client.command(command)).await.unwrap());
                for operation in Operation::ALL {
                    let input = json!({ "name": "web", "pipelineName": "web" });
                    count(timeout(RESPONSE_TIMEOUT, client.operation("bob", operation, &input)).await.unwrap());
                }
            }
        });
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("FIGURE {} succeeded, {} were refused", succeeded.get(), refused.get());
    assert!(
        succeeded.get() > 50 && refused.get() > 50,
        "{} succeeded, {} were refused",
        succeeded.get(),
        refused.get()
    );
}
