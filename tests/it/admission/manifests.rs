//! Manifests that someone may write, by mistake or on purpose: invalid ones, and unusual ones that are valid.

use serde_json::{Value, json};

/// A valid manifest for a pipeline that does not exist.
fn manifest() -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecision",
        "metadata": { "generateName": "hostile-" },
        "spec": {
            "pipelineName": "none",
            "stageName": "Prod",
            "actionName": "Approve",
            "token": "11111111-2222-4333-8444-555555555555",
            "result": { "status": "Approved", "summary": "ok" },
        },
    })
}

pub fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = manifest();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[name] = value;
    manifest
}

pub fn without(pointer: &str) -> Value {
    let mut manifest = manifest();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    manifest
}

/// A manifest with this field as its only binding.
pub fn with_only_binding(binding: &str, value: Value) -> Value {
    let mut manifest = without("/spec/token");
    manifest["spec"][binding] = value;
    manifest
}

const BINDINGS: [&str; 3] = ["token", "pipelineExecutionId", "sourceRevisions"];

/// A valid value of each binding.
pub fn binding(name: &str) -> Value {
    match name {
        "sourceRevisions" => json!([{ "revisionId": "4f2e1d0c", "actionName": "Source" }]),
        _ => json!("11111111-2222-4333-8444-555555555555"),
    }
}

/// Manifests that the API server must refuse.
pub fn invalid() -> Vec<Value> {
    let long = "a".repeat(101);
    let huge = "a".repeat(100_000);
    let names = [
        "",
        " ",
        " a",
        "a ",
        &long,
        &huge,
        "a/b",
        "../a",
        "a\nb",
        "a\n",
        "a\r",
        "a\tb",
        "a\0b",
        "\u{1b}[31m",
        "🚀",
        "\u{202e}abc",
        "\u{0430}dmin",
        "ＡＢＣ",
        "e\u{301}",
        "%00",
        "{{.}}",
        "$(id)",
        "`id`",
        "\"'",
        "';--",
        "a\\b",
        "arn:aws",
        "*",
        "\u{feff}a",
        "a\u{200b}b",
        "<b>",
        "a,b",
        "a b",
    ];
    let tokens = [
        "",
        "11111111-2222-4333-8444-55555555555",
        "11111111-2222-4333-8444-5555555555555",
        "11111111222243338444555555555555",
        "AAAAAAAA-2222-4333-8444-555555555555",
        "{11111111-2222-4333-8444-555555555555}",
        "gggggggg-2222-4333-8444-555555555555",
        "11111111-2222-4333-8444-555555555555\n",
        " 11111111-2222-4333-8444-55555555555",
        "११११११११-2222-4333-8444-555555555555",
        "urn:uuid:11111111-2222-4333-8444-555555555555",
        "11111111_2222_4333_8444_555555555555",
        &huge,
    ];
    let statuses = [
        "",
        "approved",
        "APPROVED",
        "Approved ",
        "Approved\n",
        "Approve",
        "Rejected,Approved",
        "Maybe",
        "true",
        "ＡPPROVED",
        &huge,
    ];
    let times = [
        "",
        "tomorrow",
        "2026-13-01T00:00:00Z",
        "2026-01-01",
        "2026-01-01T25:00:00Z",
        "1999-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "1767225600",
        "12:00",
        "now()",
        "-2026-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:60Z",
        &huge,
    ];
    // Each item is an error, and Kubernetes 1.30 needs 18 s to merge 10,000 of them.
    let many = vec!["a"; 2_000];
    let wrong_types =
        [json!(1), json!(1.5), json!(true), json!([]), json!(["a"]), json!({}), json!({ "a": "b" }), json!(many)];
    let mut rows = Vec::new();
    for name in ["pipelineName", "stageName", "actionName"] {
        rows.extend(names.iter().map(|value| with(&format!("/spec/{name}"), json!(value))));
    }
    rows.extend(tokens.iter().map(|value| with("/spec/token", json!(value))));
    rows.extend(tokens.iter().map(|value| with_only_binding("pipelineExecutionId", json!(value))));
    let revision = |id: &str, action: &str| {
        with_only_binding("sourceRevisions", json!([{ "revisionId": id, "actionName": action }]))
    };
    rows.extend(names.iter().map(|name| revision("4f2e1d0c", name)));
    rows.extend(["", &"a".repeat(1501), &"🚀".repeat(1501), &huge].map(|id| revision(id, "Source")));
    rows.push(with_only_binding("sourceRevisions", json!([{ "actionName": "Source" }])));
    rows.push(with_only_binding("sourceRevisions", json!([{ "revisionId": null }])));
    rows.push(with_only_binding("sourceRevisions", json!([])));
    rows.push(with_only_binding("sourceRevisions", json!([{ "revisionId": "a" }, {}])));
    rows.push(with_only_binding("sourceRevisions", Value::from(vec![json!({ "revisionId": "a" }); 11])));
    for name in &BINDINGS[1..] {
        rows.extend(wrong_types.iter().map(|value| with_only_binding(name, value.clone())));
        rows.push(with(&format!("/spec/{name}"), binding(name)));
        rows.push(with_only_binding(name, Value::Null));
    }
    // A slash would change what the admission policy asks for.
    let target_names = ["prod/web", "prod/", "/prod", "PROD", "pro_d", "-prod", "prod-", ".prod", "prod.", "%2f"];
    let target = |name: &str| with("/spec/targetRef", json!({ "name": name }));
    rows.extend(target_names.iter().chain(&names).map(|name| target(name)));
    rows.push(target(&"n".repeat(64)));
    rows.extend(wrong_types.iter().map(|name| with("/spec/targetRef", json!({ "name": name }))));
    rows.extend(
        [json!({}), json!({ "name": null }), json!([{ "name": "prod" }])].map(|it| with("/spec/targetRef", it)),
    );
    rows.extend(
        ["", "11112222333", "1111222233334", "11112222333a", "\u{661}11122223333", &huge]
            .map(|account| with("/spec/targetRef", json!({ "name": "prod", "accountId": account }))),
    );
    rows.extend(["", &huge].map(|region| with("/spec/targetRef", json!({ "name": "prod", "region": region }))));
    rows.push(without("/spec/token"));
    rows.extend(statuses.iter().map(|value| with("/spec/result/status", json!(value))));
    rows.extend(times.iter().map(|value| with("/spec/notAfter", json!(value))));
    rows.extend([&"s".repeat(513), &"🚀".repeat(513), &huge].map(|value| with("/spec/result/summary", json!(value))));
    for field in [
        "pipelineName",
        "stageName",
        "actionName",
        "token",
        "result",
        "notAfter",
        "suspend",
        "targetRef",
        "result/status",
        "result/summary",
    ] {
        let is_valid = |value: &Value| field == "suspend" && value.is_boolean();
        rows.extend(
            wrong_types
                .iter()
                .filter(|value| !is_valid(value))
                .map(|value| with(&format!("/spec/{field}"), value.clone())),
        );
    }
    for field in ["spec", "spec/pipelineName", "spec/stageName", "spec/actionName", "spec/result"] {
        rows.push(without(&format!("/{field}")));
        rows.push(with(&format!("/{field}"), Value::Null));
    }
    rows.push(without("/spec/result/status"));
    rows.push(without("/spec/result/summary"));
    rows.push(with("/metadata/name", json!("Not_A_Name")));
    rows.push(with("/metadata/name", json!("n".repeat(231))));
    rows.push(with("/metadata/annotations", json!({ "note": "x".repeat(300_000) })));
    rows.push(with("/spec/suspend", json!("true")));
    rows
}

/// Manifests that are unusual and valid.
pub fn unusual() -> Vec<Value> {
    let mut rows: Vec<_> =
        ["", " ", "🚀 \u{202e}abc", "line\nbreak\ttab", "\u{1b}[31m", "a\0b", "</script>", &"🚀".repeat(512)]
            .iter()
            .map(|value| with("/spec/result/summary", json!(value)))
            .collect();
    rows.extend(
        ["2999-12-31T23:59:59.999999999Z", "2100-01-01T00:00:00+14:00", "2000-01-01T00:00:00Z"]
            .map(|value| with("/spec/notAfter", json!(value))),
    );
    rows.extend(BINDINGS.map(|name| with_only_binding(name, binding(name))));
    rows.extend(
        ["v", " ", "🚀 \u{202e}\n", &"🚀".repeat(1500)]
            .map(|id| with_only_binding("sourceRevisions", json!([{ "revisionId": id }]))),
    );
    rows.push(with("/spec/notAfter", Value::Null));
    rows.push(with("/spec/suspend", json!(true)));
    rows.push(with("/spec/pipelineName", json!("@._-".repeat(25))));
    rows.push(with("/metadata/annotations", json!({ "codepipeline.approvals.dev/requestedAt": "🚀".repeat(50_000) })));
    rows.push(with("/metadata/name", json!("n".repeat(230))));
    rows.push(with("/metadata/finalizers", json!(vec!["example.com/a"; 500])));
    rows.push(with("/status", json!({ "observedGeneration": 1, "conditions": [{ "type": "Ready" }] })));
    rows
}
