//! Properties of the seed file: every text is quickly accepted, or refused with a position. A service from an accepted
//! file handles any sequence of commands, whatever its durations are.

mod commands;

use super::load;
use crate::model::{Behaviour, Service};
use commands::{command, drive};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseError, TestRunner};

use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The time limit for reading a file, long enough for a machine that runs other tests.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Values that a user might write.
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
    "untilCompleted",
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
    "*unknown",
    "!!binary aGk=",
    "2026-02-30",
];

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Returns the service of the default account if the file is valid. Otherwise checks that the error shows a line of the file.
fn load_or_check_error(text: &str) -> Result<Option<Service>, TestCaseError> {
    let started_at = Instant::now();
    let cloud = load(text, Path::new("seed.yaml"), start(), Behaviour::default(), Uuid::nil());
    let service = cloud.map(|mut cloud| cloud.default_service().clone());
    prop_assert!(started_at.elapsed() < READ_TIMEOUT, "reading took {:?}", started_at.elapsed());
    let Err(error) = service.as_ref().map_err(ToString::to_string) else { return Ok(service.ok()) };
    let mut parts = error.splitn(4, ':');
    let (file, line, column) = (parts.next(), parts.next(), parts.next());
    let [line, column] =
        [line, column].map(|number| number.and_then(|number| number.parse::<usize>().ok()).unwrap_or(0));
    prop_assert!(file == Some("seed.yaml") && column > 0, "{}", error);
    let line_breaks = text.matches(['\n', '\r']).count();
    prop_assert!((1..=line_breaks + 1).contains(&line), "{}", error);
    prop_assert!(parts.next().is_some_and(|message| message.trim().len() > 5), "{}", error);
    prop_assert!(
        error.len() < 4000 && !error.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)),
        "{}",
        error
    );
    Ok(None)
}

/// One edit of the text of a file.
#[derive(Clone, Debug)]
enum Edit {
    Drop(Index),
    Duplicate(Index),
    Swap(Index, Index),
    Indent(Index, &'static str),
    /// Replaces the value of a key or of a list entry.
    Value(Index, String),
    Insert(Index, String),
    Truncate(Index),
    LineEnds(&'static str),
    Prepend(&'static str),
}

impl Edit {
    fn apply(&self, text: &mut String) {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let count = lines.len();
        let line = |index: &Index| index.index(count);
        let position = |text: &str, index: &Index| text.floor_char_boundary(index.index(text.len() + 1));
        match self {
            _ if lines.is_empty() => {}
            Self::Drop(at) => drop(lines.remove(line(at))),
            Self::Duplicate(at) => lines.insert(line(at), lines[line(at)].clone()),
            Self::Swap(a, b) => lines.swap(line(a), line(b)),
            Self::Indent(at, by) => lines[line(at)].insert_str(0, by),
            Self::Value(at, value) => {
                let at = line(at);
                let end = lines[at].find(": ").map_or(lines[at].len(), |end| end + 2);
                lines[at].replace_range(end.., value);
            }
            Self::Insert(at, insertion) => return text.insert_str(position(text, at), insertion),
            Self::Truncate(at) => return text.truncate(position(text, at)),
            Self::LineEnds(end) => return *text = lines.join(end),
            Self::Prepend(prefix) => return text.insert_str(0, prefix),
        }
        *text = lines.join("\n");
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    let token = select(vec![
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
        2 => at().prop_map(Edit::Drop),
        1 => at().prop_map(Edit::Duplicate),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        2 => (at(), select(vec!["  ", " ", "\t", "- "])).prop_map(|(at, by)| Edit::Indent(at, by)),
        6 => (at(), select(&SCALARS[..])).prop_map(|(at, value)| Edit::Value(at, value.to_owned())),
        1 => (at(), ".{0,6}").prop_map(|(at, value)| Edit::Value(at, value)),
        3 => (at(), token).prop_map(|(at, insertion)| Edit::Insert(at, insertion.to_owned())),
        1 => at().prop_map(Edit::Truncate),
        1 => select(vec!["\r\n", "\r", "\n\n"]).prop_map(Edit::LineEnds),
        1 => select(vec!["\u{feff}", "---\n", "%TAG ! x:\n---\n"]).prop_map(Edit::Prepend),
    ]
}

/// Seeds that may be valid, with names that repeat and durations at the limits.
fn structured() -> impl Strategy<Value = Value> {
    let time = select(vec!["0s", "1ns", "30s", "untilCompleted", "9223372036854775807s", "87600000h"]);
    let category = select(vec!["Build", "Approval", "Deploy"]);
    let action = (category, option(time), option(select(vec![5, 60, 86_400])), 1..4).prop_map(
        |(category, duration, timeout, order)| {
            let mut action = json!({ "category": category, "runOrder": order });
            match (category, duration, timeout) {
                ("Approval", _, Some(minutes)) => action["timeoutInMinutes"] = json!(minutes),
                ("Build" | "Deploy", Some(duration), _) => action["duration"] = json!(duration),
                _ => {}
            }
            action
        },
    );
    let stage = (vec(action, 1..4), option(on_failure()), option(select(vec!["SKIP", "FAIL"]))).prop_map(
        |(actions, on_failure, entry)| {
            let mut stage = json!({ "actions": named(actions) });
            on_failure.into_iter().for_each(|on_failure| stage["onFailure"] = on_failure);
            entry.into_iter().for_each(|result| stage["beforeEntry"] = json!({ "result": result }));
            stage
        },
    );
    let sources = ["Git", "Image"].map(|name| json!({ "name": name, "category": "Source" }));
    let source = json!({ "name": "Source", "actions": sources });
    let mode = select(vec!["SUPERSEDED", "QUEUED", "PARALLEL"]);
    let pipeline = (mode, vec(stage, 1..4)).prop_map(move |(mode, stages)| {
        let stages: Vec<_> = std::iter::once(source.clone()).chain(named(stages)).collect();
        json!({ "executionMode": mode, "stages": stages })
    });
    let execution = select(vec!["a", "a", "a", "b"]).prop_map(|name| json!({ "pipelineName": name }));
    let lag = || select(vec!["0s", "7s", "-7s", "9223372036854775807s", "-9223372036854775808s"]);
    let tokens = select(vec!["independent", "actionExecutionId"]);
    let parallel = select(vec!["withoutTokens", "empty", "stale"]);
    let behaviour = (lag(), lag(), tokens, parallel).prop_map(|(token, decision, tokens, parallel)| {
        json!({ "lags": { "token": token, "decision": decision }, "tokens": tokens, "parallelState": parallel })
    });
    (vec(pipeline, 1..3), vec(execution, 0..3), option(behaviour)).prop_map(|(pipelines, executions, behaviour)| {
        let mut seed = json!({ "pipelines": named(pipelines), "executions": executions });
        behaviour.into_iter().for_each(|behaviour| seed["behaviour"] = behaviour);
        seed
    })
}

fn on_failure() -> impl Strategy<Value = Value> {
    let retry = |mode: &str| json!({ "result": "RETRY", "retryConfiguration": { "retryMode": mode } });
    let unknown = json!({ "result": "ROLLBACK", "retryConfiguration": {} });
    let retries = [retry("FAILED_ACTIONS"), retry("ALL_ACTIONS"), json!({ "result": "RETRY" })];
    let all = retries.into_iter().chain([json!({ "result": "ROLLBACK" }), json!({ "result": "ROLLBACK" }), unknown]);
    select(all.collect::<Vec<_>>())
}

/// Names the values a, b, c and so on.
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

/// A runner of `quick` cases, or of `all` cases if the environment variable FAULTS is `all`.
fn cases(quick: u32, all: u32) -> TestRunner {
    let run_all = std::env::var_os("FAULTS").is_some_and(|value| value == "all");
    let cases = if run_all { all } else { quick };
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) })
}

/// Loads and drives the seeds. At least 20 of them must be valid and 20 invalid.
fn check(mut runner: TestRunner, seeds: impl Strategy<Value = String>) {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let commands = vec(command(), 0..16);
    let result = runner.run(&(seeds, commands), |(text, commands)| match load_or_check_error(&text)? {
        Some(mut service) => {
            accepted.set(accepted.get() + 1);
            drive(&mut service, &commands)
        }
        None => {
            refused.set(refused.get() + 1);
            Ok(())
        }
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("FIGURE {} were accepted, {} refused", accepted.get(), refused.get());
    assert!(accepted.get() >= 20 && refused.get() >= 20, "{} were accepted, {} refused", accepted.get(), refused.get());
}

#[test]
fn an_edited_file_is_accepted_or_refused_with_a_position() {
    let edited = vec(edit(), 0..6).prop_map(|edits| {
        let mut text = include_str!("../../example-seed.yaml").to_owned();
        edits.iter().for_each(|edit| edit.apply(&mut text));
        text
    });
    check(cases(600, 10_000), edited);
}

#[test]
fn a_service_from_any_valid_seed_handles_any_commands() {
    check(cases(600, 10_000), structured().prop_map(|seed| seed.to_string()));
}

#[test]
fn files_that_are_designed_to_exhaust_the_parser_are_refused_quickly() {
    let laughs: String = (1..30)
        .map(|level| {
            let before = level - 1;
            format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(","))
        })
        .collect();
    let rows = [
        ("a billion laughs", format!("a0: &a0 ha\n{laughs}")),
        ("a recursive anchor", "pipelines: &a [*a]\n".to_owned()),
        ("nested lists", "[".repeat(200_000)),
        ("nested objects", "{a: ".repeat(200_000)),
        ("nested entries", "- ".repeat(100_000)),
        ("nested keys", (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("a long name", format!("pipelines:\n  - name: {}\n", "a".repeat(5_000_000))),
        ("a long text", format!("account: {{ id: \"{}\"\n", "\\u00e9".repeat(500_000))),
        ("many documents", "---\n".repeat(100_000)),
        ("many names", format!("pipelines: [{}]", "&a b, ".repeat(200_000))),
        ("many entries", format!("executions: [{}]", "{}, ".repeat(200_000))),
        ("many merges", format!("a: &a {{}}\nb: {{{}}}", "<<: *a, ".repeat(50_000))),
    ];
    for (name, text) in rows {
        let started_at = Instant::now();
        let accepted = load_or_check_error(&text)
            .unwrap_or_else(|error| panic!("{name}: {}", error.to_string().chars().take(500).collect::<String>()));
        println!("{name}: {:?}", started_at.elapsed());
        assert!(accepted.is_none(), "{name} was accepted");
    }
}
