//! Bodies of responses: the valid ones that CodePipeline can return, and changed ones, which need not even be JSON.

use crate::codepipeline::Operation;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// A literal text, or the members of an array or of an object, which can have duplicate keys.
#[derive(Clone, Debug)]
enum Json {
    Text(String),
    Members { is_object: bool, members: Vec<(String, Self)> },
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Members {
                is_object: false,
                members: items.iter().map(|item| (String::new(), item.into())).collect(),
            },
            Value::Object(members) => Self::Members {
                is_object: true,
                members: members.iter().map(|(key, value)| (key.clone(), value.into())).collect(),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::Text(value.to_string()),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Drop,
    Replace(String),
    /// Adds a member with the same key.
    Duplicate(String),
    Rename(&'static str),
}

impl Json {
    fn render(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Members { is_object: true, members } => {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{key:?}:{}", value.render())).collect();
                format!("{{{}}}", members.join(","))
            }
            Self::Members { is_object: false, members } => {
                let members: Vec<_> = members.iter().map(|(_, value)| value.render()).collect();
                format!("[{}]", members.join(","))
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Members { members, .. } => members.iter().map(|(_, member)| 1 + member.size()).sum(),
        }
    }

    /// Changes the nth member, in depth-first order. If there are fewer, the error is the number that remains to count.
    fn change(&mut self, mut nth: usize, change: &Change) -> Result<(), usize> {
        let Self::Members { members, .. } = self else { return Err(nth) };
        for index in 0..members.len() {
            if nth == 0 {
                match change {
                    Change::Drop => drop(members.remove(index)),
                    Change::Replace(text) => members[index].1 = Self::Text(text.clone()),
                    Change::Duplicate(text) => members.push((members[index].0.clone(), Self::Text(text.clone()))),
                    Change::Rename(key) => members[index].0 = (*key).to_owned(),
                }
                return Ok(());
            }
            match members[index].1.change(nth - 1, change) {
                Ok(()) => return Ok(()),
                Err(remaining) => nth = remaining,
            }
        }
        Err(nth)
    }
}

/// Unexpected values, some of which are not JSON.
fn unexpected() -> impl Strategy<Value = String> {
    let texts = [
        "null",
        "true",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "[{}]",
        r#""""#,
        r#""x""#,
        "-1",
        "0",
        "00",
        "1.",
        "-",
        "1e400",
        "-1e400",
        "-1e-20",
        "1e308",
        "9223372036854775807",
        "9223372036854775807.5",
        "-9223372036854775809",
        "18446744073709551616",
        "253402300800",
        "-62135596801",
        "NaN",
        "Infinity",
        r#""2026-02-30T00:00:00Z""#,
        r#""1767225600""#,
        r#""\u0000""#,
        r#""\ud800""#,
        r#""\ud83d\ude80""#,
        r#""\x""#,
        r#"""#,
        "[1,]",
        "{,}",
        r#"{"a"}"#,
        r#""Succeeded""#,
        r#""Failed""#,
        r#""Abandoned""#,
        r#""PARALLEL""#,
        r#""Nonsense""#,
        r#""\u001b[31m""#,
        r#""aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeeé""#,
        r#""AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE""#,
    ];
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}0{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    prop_oneof![
        12 => select(texts.to_vec()).prop_map(str::to_owned),
        1 => select(vec![10, 126, 127, 128, 129, 20_000]).prop_map(nested),
        1 => select(vec![10, 126, 127, 128, 129, 20_000]).prop_map(objects),
        1 => Just(format!("\"{}\"", "é".repeat(50_000))),
        1 => Just(format!("[{}{{}}]", "{},".repeat(20_000))),
        1 => Just("9".repeat(1000)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Drop),
        4 => unexpected().prop_map(Change::Replace),
        1 => unexpected().prop_map(Change::Duplicate),
        1 => select(vec!["", "__type", "error", "token", "é\u{0}"]).prop_map(Change::Rename),
    ]
}

/// The content of a response.
#[derive(Clone, Debug)]
struct Facts {
    id: &'static str,
    action_execution: &'static str,
    status: &'static str,
    time: f64,
    token: Option<&'static str>,
    updated_by: Option<&'static str>,
    mode: &'static str,
    next_token: Option<&'static str>,
}

pub(super) const PIPELINE: &str = "web";
pub(super) const STAGE: &str = "Prod";
pub(super) const ACTION: &str = "Approve";
pub(super) const REVISION: &str = "4f2e1d0c";
/// The IDs of executions and requests that CodePipeline knows.
pub(super) const KNOWN_IDS: [&str; 2] =
    ["11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-000000000000"];

fn facts() -> impl Strategy<Value = Facts> {
    let status = select(vec!["InProgress", "Succeeded", "Failed", "Stopped", "Superseded", "Abandoned", "Stopping"]);
    let updated_by = option::of(Just("arn:aws:iam::123456789012:user/bob"));
    let time = select(vec![1_767_225_600.123, 1_767_225_600.0]);
    let mode = select(vec!["QUEUED", "PARALLEL"]);
    let ids = (select(&KNOWN_IDS), select(&KNOWN_IDS), option::of(select(&KNOWN_IDS)));
    (ids, status, time, updated_by, mode, option::weighted(0.2, Just("page-2"))).prop_map(
        |((id, action_execution, token), status, time, updated_by, mode, next_token)| Facts {
            id,
            action_execution,
            status,
            time,
            token,
            updated_by,
            mode,
            next_token,
        },
    )
}

/// A valid response.
fn valid(operation: Operation, facts: &Facts) -> Value {
    let Facts { id, action_execution, status, time, token, updated_by, mode, next_token } = facts;
    match operation {
        Operation::PutApprovalResult => json!({ "approvedAt": time }),
        Operation::GetPipelineState => json!({
            "pipelineName": PIPELINE, "pipelineVersion": 1, "created": time, "updated": time,
            "stageStates": [
                { "stageName": "Source", "latestExecution": { "pipelineExecutionId": id, "status": status } },
                {
                    "stageName": STAGE,
                    "inboundExecutions": [{ "pipelineExecutionId": id, "status": status }],
                    "latestExecution": { "pipelineExecutionId": id, "status": status, "type": "STANDARD" },
                    "actionStates": [{
                        "actionName": ACTION,
                        "latestExecution": {
                            "actionExecutionId": action_execution, "status": status, "summary": "words", "token": token,
                            "lastStatusChange": time, "lastUpdatedBy": updated_by, "externalExecutionId": token,
                        },
                    }],
                },
            ],
        }),
        Operation::ListPipelineExecutions => json!({
            "pipelineExecutionSummaries": [{
                "pipelineExecutionId": id, "status": status, "startTime": time, "lastUpdateTime": time,
                "sourceRevisions": [{ "actionName": "Source", "revisionId": REVISION, "revisionSummary": "words" }],
                "executionMode": mode,
            }],
            "nextToken": next_token,
        }),
        Operation::GetPipelineExecution => json!({
            "pipelineExecution": {
                "pipelineName": PIPELINE, "pipelineVersion": 1, "pipelineExecutionId": id, "status": status,
                "artifactRevisions": [{ "name": "Source", "revisionId": REVISION, "created": time }],
                "executionMode": mode,
            },
        }),
        Operation::ListActionExecutions => json!({
            "actionExecutionDetails": [{
                "pipelineExecutionId": id, "actionExecutionId": action_execution, "pipelineVersion": 1,
                "stageName": STAGE, "actionName": ACTION, "status": status,
                "startTime": time, "lastUpdateTime": time, "updatedBy": updated_by,
                "input": {
                    "actionTypeId": { "category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1" },
                    "configuration": { "CustomData": "words" }, "region": "eu-west-1",
                },
                "output": {
                    "executionResult": { "externalExecutionId": token, "externalExecutionSummary": "words" },
                    "outputVariables": {},
                },
            }],
            "nextToken": next_token,
        }),
    }
}

/// Bodies that CodePipeline can return.
pub(super) fn valid_body(operation: Operation) -> BoxedStrategy<Vec<u8>> {
    facts().prop_map(move |facts| valid(operation, &facts).to_string().into_bytes()).boxed()
}

/// The same bodies with up to three changes.
pub(super) fn changed_body(operation: Operation) -> BoxedStrategy<Vec<u8>> {
    (facts(), vec((any::<Index>(), change()), 0..4))
        .prop_map(move |(facts, changes)| {
            let mut json = Json::from(&valid(operation, &facts));
            for (which, change) in changes {
                let size = json.size();
                if size > 0 {
                    json.change(which.index(size), &change).unwrap();
                }
            }
            json.render().into_bytes()
        })
        .boxed()
}
