//! Random values for the fields of a decision: close enough to the schema that the API server admits many of them, and far
//! enough that it refuses the rest.

use approval_operator::api::v1alpha1::{REQUESTED_AT, Reason};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// The pipelines, tokens and executions that exist in CodePipeline.
#[derive(Clone, Debug)]
pub struct Known {
    pub pipelines: Vec<&'static str>,
    pub tokens: Vec<String>,
    pub executions: Vec<String>,
}

fn text() -> BoxedStrategy<String> {
    let odd = [
        "",
        " ",
        "🚀 \u{202e}abc",
        "a\nb\t",
        "\u{1b}[31m",
        "a\u{0}b",
        "</script>",
        "null",
        "{{.}}",
        "../a",
        "a".repeat(100).leak(),
    ];
    let long = [101, 512, 513, 1024, 1025, 2048, 2049, 4096, 4097];
    prop_oneof![
        6 => select(odd.to_vec()).prop_map(str::to_owned),
        1 => select(long.to_vec()).prop_map(|length| "é".repeat(length)),
        2 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
    ]
    .boxed()
}

/// Values that are seldom of the right type.
fn wrong_type() -> BoxedStrategy<Value> {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1.5),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({ "a": { "b": [{}] } }),
    ];
    prop_oneof![3 => select(values.to_vec()), 1 => text().prop_map(Value::from)].boxed()
}

/// Valid and invalid times, some of them close to now.
fn time() -> BoxedStrategy<Value> {
    let fixed = [
        "2026-02-30T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2000-01-01T00:00:00Z",
        "2100-01-01T00:00:00+14:00",
        "2999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01t00:00:00.5z",
        "2026-01-01",
        "soon",
        "",
    ];
    let near = select(vec![-3600, -1, 2, 5]).prop_map(|seconds| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        json!(time.to_string())
    });
    let edges = ["2026-02-30T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"];
    prop_oneof![
        4 => select(edges.to_vec()).prop_map(Value::from),
        4 => near,
        2 => select(fixed.to_vec()).prop_map(Value::from),
        1 => prop_oneof![Just(json!([])), wrong_type()],
    ]
    .boxed()
}

/// A valid value, most of the time.
fn mostly(valid: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![60 => valid, 1 => wrong_type()].boxed()
}

fn words(values: &[&'static str]) -> BoxedStrategy<Value> {
    select(values.to_vec()).prop_map(Value::from).boxed()
}

fn id(known: &[String]) -> BoxedStrategy<Value> {
    let others = ["00000000-0000-4000-8000-000000000000", "AAAAAAAA-2222-4333-8444-555555555555", "1111"];
    let known: Vec<Value> = known.iter().map(|id| json!(id)).collect();
    prop_oneof![12 => select(known), 1 => select(others.to_vec()).prop_map(Value::from)].boxed()
}

/// An object of these members. The number is the percentage of objects that have the member.
fn object(members: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, chance, value)| weighted(f64::from(chance) / 100.001, value.prop_map(move |value| (name, value))))
        .collect();
    let object = |members: Vec<Option<(&str, Value)>>| {
        Value::Object(
            members.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
        )
    };
    members.prop_map(object).boxed()
}

/// The fields that name a request: mostly exactly one of them.
fn binding(known: &Known) -> BoxedStrategy<Value> {
    let revision = || {
        let revision = prop_oneof![4 => words(&["v1", "v2"]), 1 => text().prop_map(Value::from)];
        let entry = object(vec![("revisionId", 98, revision.boxed()), ("actionName", 30, mostly(words(&["Source"])))]);
        proptest::collection::vec(entry, 1..3).prop_map(Value::from).boxed()
    };
    let one = |name, value| object(vec![(name, 100, value)]);
    prop_oneof![
        10 => one("token", mostly(id(&known.tokens))),
        6 => one("pipelineExecutionId", mostly(id(&known.executions))),
        6 => one("sourceRevisions", mostly(revision())),
        1 => object(vec![("token", 60, id(&known.tokens)), ("sourceRevisions", 60, revision())]),
    ]
    .boxed()
}

/// A spec.
pub fn specs(known: &Known) -> BoxedStrategy<Value> {
    let summary = prop_oneof![2 => Just("because".to_owned()), 1 => text()];
    let result = object(vec![
        ("status", 99, mostly(words(&["Approved", "Rejected"]))),
        ("summary", 99, mostly(summary.prop_map(Value::from))),
    ]);
    let pipelines: Vec<&str> = known.pipelines.iter().copied().chain(["none"]).collect();
    let rest = object(vec![
        ("pipelineName", 99, mostly(words(&pipelines))),
        ("stageName", 99, mostly(words(&["Prod", "Prod", "Prod", "Prod", "Nowhere"]))),
        ("actionName", 99, mostly(words(&["Approve", "Approve", "Approve", "Approve", "Source"]))),
        ("result", 99, mostly(result)),
        ("notAfter", 20, time()),
        ("suspend", 20, mostly(any::<bool>().prop_map(Value::from))),
        ("sumary", 2, wrong_type()),
    ]);
    (rest, binding(known))
        .prop_map(|(mut spec, binding)| {
            spec.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
            spec
        })
        .boxed()
}

/// Labels and annotations, including the one that restarts a decision.
pub fn metadata() -> BoxedStrategy<Value> {
    let annotations = object(vec![
        (REQUESTED_AT, 70, mostly(prop_oneof![text(), Just("🚀".repeat(2000))].prop_map(Value::from))),
        ("example.com/note", 40, mostly(text().prop_map(Value::from))),
    ]);
    let labels = object(vec![("team", 60, mostly(words(&["web", "data", ""]))), ("not a label", 3, wrong_type())]);
    object(vec![("annotations", 80, annotations), ("labels", 50, labels)])
}

/// A status that the operator would never write.
pub fn statuses(known: &Known) -> BoxedStrategy<Value> {
    let generation = || {
        let numbers = vec![
            json!(-1),
            json!(1),
            json!(1.0),
            json!(2),
            json!(3),
            json!(1.5),
            json!(9_007_199_254_740_993_i64),
            json!(1e18),
        ];
        prop_oneof![12 => select(numbers), 1 => wrong_type()].boxed()
    };
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).chain(["Nonsense"]).collect();
    let condition = object(vec![
        ("type", 99, mostly(words(&["Ready", "Ready", "Ready", "Stalled", "Reconciling", "Other"]))),
        ("status", 99, mostly(words(&["True", "False", "False", "Unknown", "Unknown"]))),
        ("reason", 99, mostly(words(&reasons))),
        ("message", 99, mostly(text().prop_map(Value::from))),
        ("lastTransitionTime", 99, time()),
        ("observedGeneration", 50, generation()),
    ]);
    let attempts = vec![json!(1), json!(1.0), json!(0), json!(17), json!(63), json!(64), json!(i64::MAX), json!(1e18)];
    let submission = object(vec![
        ("attempts", 99, select(attempts).boxed()),
        ("startTime", 99, time()),
        ("deadline", 99, time()),
        ("token", 99, mostly(id(&known.tokens))),
    ]);
    let exception = object(vec![
        (
            "type",
            99,
            mostly(words(&["InvalidApprovalTokenException", "ApprovalAlreadyCompletedException", "", "Long"])),
        ),
        ("message", 99, mostly(text().prop_map(Value::from))),
    ]);
    object(vec![
        (
            "conditions",
            90,
            prop_oneof![4 => vec(condition.clone(), 0..2), 1 => vec(condition, 2..4)].prop_map(Value::from).boxed(),
        ),
        ("observedGeneration", 80, generation()),
        ("submission", 60, mostly(submission)),
        ("exception", 30, mostly(exception)),
        ("approvedAt", 20, time()),
        ("pipelineExecutionId", 30, mostly(id(&known.executions))),
        ("actionExecutionId", 20, mostly(text().prop_map(Value::from))),
        ("decidedBy", 20, mostly(text().prop_map(Value::from))),
        ("lastHandledRequestedAt", 20, mostly(text().prop_map(Value::from))),
    ])
}
