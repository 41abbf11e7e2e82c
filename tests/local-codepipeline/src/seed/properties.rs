//! What holds of a seed file whatever is in it: it is taken, or refused with the place that shows why, in a moment. A service
//! that was made from one can be driven, however odd its times are.

#[path = "../../../it/support/scale.rs"]
mod scale;

use super::service;
use crate::api::{self, Answer, ApprovalStatus, Operation, PutApprovalResultInput};
use crate::model::{Behaviour, RetryMode, Service, StopMode};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseError, TestRunner};
use scale::scale;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What reading a file takes at most where other tests take the processor.
const A_MOMENT: Duration = Duration::from_secs(10);

/// What somebody may write in the place of a value.
const SCALARS: [&str; 46] = [
    "",
    "~",
    "null",
    "true",
    "no",
    "0",
    "-1",
    "1",
    "5",
    "999",
    "1000",
    "86400",
    "86401",
    "65536",
    "4294967296",
    "1e3",
    "0x10",
    "1_000",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    ".inf",
    ".nan",
    "1.5",
    "untilTold",
    "30s",
    "-30s",
    "2m 30s",
    "9223372036854775807s",
    "9223372036854775808s",
    "P1Y",
    "292277026596y",
    "1ns",
    "PARALLEL",
    "Approval",
    "Source",
    "[]",
    "{}",
    "[{}]",
    "\"\"",
    "\"\\u0000\"",
    "'é 🚀'",
    "\"\\x1b[31m\"",
    "*nobody",
    "!!binary aGk=",
    "2026-02-30",
];

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Whether the file does. If not, the error shows a line of it.
fn is_taken(text: &str) -> Result<Option<Service>, TestCaseError> {
    let begun = Instant::now();
    let service = service(text, Path::new("seed.yaml"), start(), Behaviour::default(), Uuid::nil());
    prop_assert!(begun.elapsed() < A_MOMENT, "it took {:?}", begun.elapsed());
    let Err(error) = service.as_ref().map_err(ToString::to_string) else { return Ok(service.ok()) };
    let mut parts = error.splitn(4, ':');
    let (file, line, column) = (parts.next(), parts.next(), parts.next());
    let [line, column] =
        [line, column].map(|number| number.and_then(|number| number.parse::<usize>().ok()).unwrap_or(0));
    prop_assert!(file == Some("seed.yaml") && column > 0, "{}", error);
    let breaks = text.matches(['\n', '\r']).count();
    prop_assert!((1..=breaks + 1).contains(&line), "{}", error);
    prop_assert!(parts.next().is_some_and(|what| what.trim().len() > 5), "{}", error);
    prop_assert!(
        error.len() < 4000 && !error.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)),
        "{}",
        error
    );
    Ok(None)
}

/// One thing that is done to the text of a file.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Indent(Index, &'static str),
    /// The value of a key, or of an entry.
    Value(Index, String),
    Insert(Index, String),
    Cut(Index),
    LineEnds(&'static str),
    Front(&'static str),
}

impl Change {
    fn apply(&self, text: &mut String) {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let count = lines.len();
        let line = |index: &Index| index.index(count);
        let place = |text: &str, index: &Index| text.floor_char_boundary(index.index(text.len() + 1));
        match self {
            _ if lines.is_empty() => {}
            Self::Drop(at) => drop(lines.remove(line(at))),
            Self::Double(at) => lines.insert(line(at), lines[line(at)].clone()),
            Self::Swap(a, b) => lines.swap(line(a), line(b)),
            Self::Indent(at, by) => lines[line(at)].insert_str(0, by),
            Self::Value(at, value) => {
                let at = line(at);
                let end = lines[at].find(": ").map_or(lines[at].len(), |end| end + 2);
                lines[at].replace_range(end.., value);
            }
            Self::Insert(at, what) => return text.insert_str(place(text, at), what),
            Self::Cut(at) => return text.truncate(place(text, at)),
            Self::LineEnds(end) => return *text = lines.join(end),
            Self::Front(what) => return text.insert_str(0, what),
        }
        *text = lines.join("\n");
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let odd = select(vec![
        "\t",
        "\u{0}",
        "\u{1b}[2J",
        "&a ",
        "*a ",
        "<<: *a",
        "- ",
        ": ",
        "? ",
        "|\n",
        "{",
        "]",
        "'",
        "\"",
        "# ",
        "%YAML 9.9\n",
        "---\n",
        "...\n",
        "\u{85}",
        "\u{2028}",
    ]);
    prop_oneof![
        2 => at().prop_map(Change::Drop),
        1 => at().prop_map(Change::Double),
        1 => (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        2 => (at(), select(vec!["  ", " ", "\t", "- "])).prop_map(|(at, by)| Change::Indent(at, by)),
        6 => (at(), select(&SCALARS[..])).prop_map(|(at, value)| Change::Value(at, value.to_owned())),
        1 => (at(), ".{0,6}").prop_map(|(at, value)| Change::Value(at, value)),
        3 => (at(), odd).prop_map(|(at, what)| Change::Insert(at, what.to_owned())),
        1 => at().prop_map(Change::Cut),
        1 => select(vec!["\r\n", "\r", "\n\n"]).prop_map(Change::LineEnds),
        1 => select(vec!["\u{feff}", "---\n", "%TAG ! x:\n---\n"]).prop_map(Change::Front),
    ]
}

/// A seed that may do, with names that meet and times at every edge.
fn structured() -> impl Strategy<Value = Value> {
    let time = select(vec!["0s", "1ns", "30s", "untilTold", "9223372036854775807s", "87600000h"]);
    let category = select(vec!["Build", "Approval", "Deploy"]);
    let action = (category, option(time), option(select(vec![5, 60, 86_400])), 1..4).prop_map(
        |(category, takes, timeout, order)| {
            let mut action = json!({ "category": category, "runOrder": order });
            match (category, takes, timeout) {
                ("Approval", _, Some(minutes)) => action["timeoutInMinutes"] = json!(minutes),
                ("Build" | "Deploy", Some(takes), _) => action["takes"] = json!(takes),
                _ => {}
            }
            action
        },
    );
    let stage = vec(action, 1..4).prop_map(|actions| json!({ "actions": named(actions) }));
    let source = json!({ "name": "Source", "actions": [{ "name": "Git", "category": "Source" }] });
    let mode = select(vec!["SUPERSEDED", "QUEUED", "PARALLEL"]);
    let pipeline = (mode, vec(stage, 1..4)).prop_map(move |(mode, stages)| {
        let stages: Vec<_> = std::iter::once(source.clone()).chain(named(stages)).collect();
        json!({ "executionMode": mode, "stages": stages })
    });
    let run = select(vec!["a", "a", "a", "b"]).prop_map(|name| json!({ "pipelineName": name }));
    let lag = || select(vec!["0s", "7s", "-7s", "9223372036854775807s", "-9223372036854775808s"]);
    let tokens = select(vec!["ofItsOwn", "actionExecutionId"]);
    let behaviour = (lag(), lag(), tokens).prop_map(
        |(token, decision, tokens)| json!({ "lags": { "token": token, "decision": decision }, "tokens": tokens }),
    );
    (vec(pipeline, 1..3), vec(run, 0..3), option(behaviour)).prop_map(|(pipelines, runs, behaviour)| {
        let mut seed = json!({ "pipelines": named(pipelines), "runs": runs });
        behaviour.into_iter().for_each(|behaviour| seed["behaviour"] = behaviour);
        seed
    })
}

/// Each with a name of its own: a, b, c.
fn named(values: Vec<Value>) -> Vec<Value> {
    let name = |(value, name): (Value, char)| {
        let mut value = value;
        value["name"] = json!(name);
        value
    };
    values.into_iter().zip('a'..).map(name).collect()
}

fn option<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.3, of)
}

/// Does to a service what can be done to it, and asks it all that it can be asked, at odd times.
fn drive(service: &mut Service, moves: &[(u8, Index)]) -> Result<(), TestCaseError> {
    let mut now = start();
    for (kind, which) in moves {
        let by = [0, 1, 30, 3600, 700_000, i64::MAX][which.index(6)];
        now = now.saturating_add(SignedDuration::from_secs(by)).unwrap();
        let name = ["checkout", "previews", "a", "b"][usize::from(kind % 4)];
        let ask = |service: &mut Service, operation, body: Value| match api::answer(
            service,
            now,
            "arn:x",
            operation,
            body.to_string().as_bytes(),
        ) {
            Answer::Done(answer) => Ok(answer),
            Answer::Refused(_) => Ok(Value::Null),
            Answer::Unreadable(why) => Err(TestCaseError::fail(why)),
        };
        let runs = ask(service, Operation::ListPipelineExecutions, json!({ "pipelineName": name }))?;
        let run = runs["pipelineExecutionSummaries"].as_array().and_then(|runs| runs.first());
        let id = run.and_then(|run| serde_json::from_value(run["pipelineExecutionId"].clone()).ok());
        // Where there is nothing to do it to, it is refused.
        match (kind / 4 % 7, id) {
            (0, _) => drop(service.start_execution(now, name, &[])),
            (1, _) => {
                for pending in service.pending_approvals(now, name).unwrap_or_default() {
                    let status = if which.index(2) == 0 { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
                    let (stage, action) = (&*pending.stage_name, &*pending.action_name);
                    let input = PutApprovalResultInput::new(name, stage, action, pending.approval.token, status, "");
                    drop(service.put_approval_result(now, "arn:x", &input));
                }
            }
            (2, Some(id)) => drop(service.stop_execution(now, name, id, StopMode::Abandon, "enough")),
            (3, Some(id)) => drop(service.retry_stage(now, name, "b", id, RetryMode::AllActions)),
            (4, Some(id)) => drop(service.complete_action(now, name, id, ("a", "a"), which.index(2) == 0)),
            (5, _) => drop(service.edit_pipeline(now, name)),
            (6, _) => drop(service.open_approval(now, (name, "a", "a"), &[])),
            (2.., _) => {}
        }
        service.settle(now);
        let due = service.next_due();
        prop_assert!(due.is_none_or(|due| due > now), "{:?} was due at {}", due, now);
        for operation in Operation::ALL {
            let body = match operation {
                Operation::GetPipelineState | Operation::GetPipeline => json!({ "name": name }),
                Operation::GetPipelineExecution => json!({ "pipelineName": name, "pipelineExecutionId": id }),
                Operation::ListPipelines => json!({}),
                Operation::PutApprovalResult | Operation::ListActionExecutions | Operation::ListPipelineExecutions => {
                    json!({ "pipelineName": name })
                }
            };
            ask(service, operation, body)?;
        }
    }
    Ok(())
}

fn cases(quick: u32, all: u32) -> TestRunner {
    let config = ProptestConfig::with_cases(scale(quick, all));
    TestRunner::new(ProptestConfig { failure_persistence: None, ..config })
}

/// Puts seeds to the test, and sees to it that some of them do and some do not.
fn check(mut runner: TestRunner, seeds: impl Strategy<Value = String>) {
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let moves = vec((any::<u8>(), any::<Index>()), 0..12);
    let result = runner.run(&(seeds, moves), |(text, moves)| match is_taken(&text)? {
        Some(mut service) => {
            taken.set(taken.get() + 1);
            drive(&mut service, &moves)
        }
        None => {
            refused.set(refused.get() + 1);
            Ok(())
        }
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("FIGURE {} were taken, {} refused", taken.get(), refused.get());
    assert!(taken.get() >= 20 && refused.get() >= 20, "{} were taken, {} refused", taken.get(), refused.get());
}

#[test]
fn a_file_that_somebody_edited_is_taken_or_refused_with_its_place() {
    let changed = vec(change(), 0..6).prop_map(|changes| {
        let mut text = include_str!("../../example-seed.yaml").to_owned();
        changes.iter().for_each(|change| change.apply(&mut text));
        text
    });
    check(cases(600, 10_000), changed);
}

#[test]
fn a_service_of_any_seed_that_does_can_be_driven() {
    check(cases(600, 10_000), structured().prop_map(|seed| seed.to_string()));
}

#[test]
fn files_that_are_made_to_take_long_or_much_are_refused_in_a_moment() {
    let laughs: String = (1..30)
        .map(|level| {
            let before = level - 1;
            format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(","))
        })
        .collect();
    let rows = [
        ("laughs", format!("a0: &a0 ha\n{laughs}")),
        ("a name of itself", "pipelines: &a [*a]\n".to_owned()),
        ("nested lists", "[".repeat(200_000)),
        ("nested objects", "{a: ".repeat(200_000)),
        ("nested entries", "- ".repeat(100_000)),
        ("nested keys", (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("a long word", format!("pipelines:\n  - name: {}\n", "a".repeat(5_000_000))),
        ("a long text", format!("account: {{ id: \"{}\"\n", "\\u00e9".repeat(500_000))),
        ("many documents", "---\n".repeat(100_000)),
        ("many names", format!("pipelines: [{}]", "&a b, ".repeat(200_000))),
        ("many entries", format!("runs: [{}]", "{}, ".repeat(200_000))),
        ("many merges", format!("a: &a {{}}\nb: {{{}}}", "<<: *a, ".repeat(50_000))),
    ];
    for (what, text) in rows {
        let begun = Instant::now();
        let taken = is_taken(&text)
            .unwrap_or_else(|error| panic!("{what}: {}", error.to_string().chars().take(500).collect::<String>()));
        println!("{what}: {:?}", begun.elapsed());
        assert!(taken.is_none(), "{what} was taken");
    }
}
