//! What the API server lets in: the schema refuses what cannot be right with a message that says so, and whatever it does
//! let in ends in a reason, never in a crash, a loop or a call that should not be.

use crate::support::{Case, Cluster, reason, spec};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason, Token};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use local_codepipeline::api::Operation;
use serde_json::{Value, json};

/// A manifest that is right, for a pipeline that does not exist.
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

fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = manifest();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[name] = value;
    manifest
}

fn without(pointer: &str) -> Value {
    let mut manifest = manifest();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    manifest
}

/// Manifests that the API server must refuse.
fn malformed() -> Vec<Value> {
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
    let answers = [
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
    let others = [
        json!(1),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({ "a": "b" }),
        json!(vec!["a"; 10_000]),
    ];
    let mut rows = Vec::new();
    for name in ["pipelineName", "stageName", "actionName"] {
        rows.extend(names.iter().map(|value| with(&format!("/spec/{name}"), json!(value))));
    }
    rows.extend(tokens.iter().map(|value| with("/spec/token", json!(value))));
    rows.extend(answers.iter().map(|value| with("/spec/result/status", json!(value))));
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
        "result/status",
        "result/summary",
    ] {
        let fits = |value: &Value| field == "suspend" && value.is_boolean();
        rows.extend(
            others.iter().filter(|value| !fits(value)).map(|value| with(&format!("/spec/{field}"), value.clone())),
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

/// Manifests that are odd and yet say what they mean.
fn odd() -> Vec<Value> {
    let mut rows: Vec<_> =
        ["", " ", "🚀 \u{202e}abc", "line\nbreak\ttab", "\u{1b}[31m", "a\0b", "</script>", &"🚀".repeat(512)]
            .iter()
            .map(|value| with("/spec/result/summary", json!(value)))
            .collect();
    rows.extend(
        ["2999-12-31T23:59:59.999999999Z", "2100-01-01T00:00:00+14:00", "2000-01-01T00:00:00Z"]
            .map(|value| with("/spec/notAfter", json!(value))),
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

#[tokio::test(flavor = "multi_thread")]
async fn hostile_manifests_end_in_a_refusal_or_in_a_reason() {
    let case = Case::new().await;
    let operator = case.operator().start();
    operator.until_ready().await;
    let kind = ApiResource::erase::<ApprovalDecision>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(case.client.clone(), &case.namespace, &kind);
    let (malformed, odd) = (malformed(), odd());
    assert!(malformed.len() + odd.len() >= 200, "{}", malformed.len() + odd.len());
    for manifest in malformed {
        let text: String = manifest.to_string().chars().take(400).collect();
        let Ok(object) = serde_json::from_value(manifest) else {
            continue;
        };
        match raw.create(&PostParams::default(), &object).await {
            Ok(admitted) => panic!("admitted as {}: {text}", admitted.metadata.name.unwrap()),
            Err(kube::Error::Api(refusal)) => assert!([400, 413, 422].contains(&refusal.code), "{refusal:?}: {text}"),
            Err(error) => panic!("{error}: {text}"),
        }
    }
    let mut names = Vec::new();
    for manifest in odd {
        let object = serde_json::from_value(manifest).unwrap();
        names.push(raw.create(&PostParams::default(), &object).await.unwrap().metadata.name.unwrap());
    }
    for name in &names {
        let decision = case
            .until(name, "settled", |decision| reason(decision).is_some_and(|reason| reason != Reason::Submitting))
            .await;
        assert!(
            matches!(reason(&decision), Some(Reason::PipelineNotFound | Reason::Expired | Reason::Suspended)),
            "{:?}",
            decision
        );
    }
    let calls = case.service.requests(Operation::PutApprovalResult);
    assert!(calls <= names.len() as u64, "{calls} calls for {} decisions", names.len());
    case.approve("web").await;
    case.until_reason("web", Reason::Delivered).await;
    assert_eq!(operator.metric("approval_operator_reconcile_errors_total").await, 0.0, "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_status_stops_nobody() {
    let case = Case::new().await;
    let mut held = spec("web", &case.open("web"));
    held.suspend = true;
    case.create("web", held.clone()).await;
    let raw: Api<DynamicObject> =
        Api::namespaced_with(case.client.clone(), &case.namespace, &ApiResource::erase::<ApprovalDecision>(&()));
    let ready = |status: &str, reason: &str, time: &str| json!([{ "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": time }]);
    let token = "11111111-2222-4333-8444-555555555555";
    let statuses = [
        json!({ "conditions": ready("False", "Throttled", "2026-02-30T00:00:00Z") }),
        json!({ "conditions": ready("Unknown", "Submitting", "9999-12-31T23:59:59Z") }),
        json!({ "conditions": ready("False", "Nonsense", "2026-01-01T00:00:00Z"), "observedGeneration": 1.0 }),
        json!({ "approvedAt": "0000-01-01T00:00:00Z", "observedGeneration": null }),
        json!({ "submission": { "attempts": 9_007_199_254_740_993_i64, "startTime": "9999-12-31T23:59:59Z", "deadline": "2026-02-30T00:00:00Z", "token": token },
            "conditions": ready("Unknown", "Unconfirmed", "2026-01-01T00:00:00Z") }),
        json!({ "submission": { "attempts": 1.0, "startTime": "0000-01-01T00:00:00Z", "deadline": "9999-12-31T23:59:59Z", "token": token },
            "conditions": ready("False", "Throttled", "2026-01-01T00:00:00Z") }),
    ];
    let mut admitted = 0;
    for (number, status) in statuses.into_iter().enumerate() {
        let name = format!("forged-{number}");
        case.create(&name, ApprovalDecisionSpec { pipeline_name: "none".to_owned(), ..held.clone() }).await;
        let patch = Patch::Merge(json!({ "status": status }));
        admitted += u32::from(raw.patch_status(&name, &PatchParams::default(), &patch).await.is_ok());
    }
    assert!(admitted >= 4, "only {admitted} were admitted: the test shows little");
    let operator = case.operator().start();
    operator.until_ready().await;
    case.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    case.until_reason("web", Reason::Delivered).await;
    let listed = case.decisions.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 7);
    assert_eq!(case.service.requests_of(Operation::PutApprovalResult, "none"), 0, "all of them are suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_attempt_does_not_send_a_token_that_the_spec_does_not_name() {
    let case = Case::new().await;
    let approval = case.open("web");
    let mut forged = spec("web", &approval);
    forged.token = Some(Token("00000000-0000-4000-8000-000000000000".to_owned()));
    case.create("web", forged).await;
    let past = "2026-01-01T00:00:00Z";
    let status = json!({
        "observedGeneration": 1,
        "submission": { "attempts": 1, "startTime": past, "deadline": past, "token": approval.token },
        "conditions": [{ "type": "Ready", "status": "Unknown", "reason": "Unconfirmed", "message": "", "lastTransitionTime": past }],
    });
    let kind = ApiResource::erase::<ApprovalDecision>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(case.client.clone(), &case.namespace, &kind);
    raw.patch_status("web", &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await.unwrap();
    let _operator = case.operator().start();
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(case.accepted("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_words_that_a_person_understands() {
    let case = Case::new().await;
    let control_plane = &Cluster::shared().control_plane;
    let rows = [
        (with("/spec/pipelineName", json!("a/b")), "spec.pipelineName in body should match '^[A-Za-z0-9.@_-]+$'"),
        (with("/spec/result/status", json!("approved")), r#"supported values: "Approved", "Rejected""#),
        (with("/spec/result/summary", json!("s".repeat(513))), "may not be more than 512"),
        (with("/spec/token", json!("X")), "spec.token in body should"),
        (with("/spec/notAfter", json!("9999-12-31T23:59:59Z")), "must be an RFC 3339 time in a year from 2000 to 2999"),
        (with("/spec/sumary", json!("typo")), r#"unknown field "spec.sumary""#),
        (without("/spec/token"), "spec must have exactly one of token, pipelineExecutionId and sourceRevision"),
    ];
    for (manifest, expected) in rows {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(file.path(), manifest.to_string()).unwrap();
        let mut kubectl = control_plane.kubectl();
        let output =
            kubectl.args(["create", "--namespace", &case.namespace, "--filename"]).arg(file.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{manifest}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_field_and_shows_the_columns() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    case.approve("web").await;
    case.until_reason("web", Reason::Delivered).await;
    let kubectl = |arguments: &[&str]| {
        let output = Cluster::shared().control_plane.kubectl().args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let explained = kubectl(&["explain", "apd", "--recursive"]);
    for field in ["pipelineName", "token", "notAfter", "approvedAt", "exception", "submission", "decidedBy"] {
        assert!(explained.contains(field), "{explained}");
    }
    assert!(kubectl(&["explain", "apd.spec.token"]).contains("GetPipelineState"));
    assert!(kubectl(&["api-resources", "--categories=approvals"]).contains("approvaldecisions"));
    let table = kubectl(&["get", "apd", "--namespace", &case.namespace]);
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "PIPELINE", "STAGE", "ACTION", "DECISION", "READY", "REASON", "APPROVEDAT", "AGE"]);
    let wide = kubectl(&["get", "apd", "--namespace", &case.namespace, "--output=wide"]);
    assert!(wide.lines().next().unwrap().ends_with("AGE EXECUTION   MESSAGE") || wide.contains("EXECUTION"), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_decision_does_not_look_settled() {
    let case = Case::new().await;
    let decision = case.create("web", spec("web", &case.open("web"))).await;
    let live = case.decisions.get("web").await.unwrap();
    assert_eq!(live.status.unwrap().observed_generation, Some(-1));
    assert_eq!(decision.metadata.generation, Some(1));
}
