//! What the API server lets in: the schema refuses what cannot be right with a message that says so, and whatever it does
//! let in ends in a reason, never in a crash, a loop or a call that should not be.

mod manifests;

use crate::support::{Case, Cluster, for_revision, reason, spec};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, REQUESTED_AT, Reason, Token};
use kube::api::{ListParams, PostParams};
use local_codepipeline::api::Operation;
use manifests::{binding, bound, malformed, odd, with, without};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_manifests_end_in_a_refusal_or_in_a_reason() {
    let case = Case::new().await;
    let operator = case.operator().start();
    operator.until_ready().await;
    let raw = case.raw();
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
    // The API server takes an array for a date-time.
    let statuses = statuses.into_iter().chain([
        json!({ "approvedAt": [], "conditions": [{ "type": "Ready", "status": "False", "reason": "Throttled", "message": "", "lastTransitionTime": [{}] }] }),
        json!({ "submission": { "attempts": 1, "startTime": ["a"], "deadline": [], "token": token },
            "conditions": ready("Unknown", "Unconfirmed", "2026-01-01T00:00:00Z") }),
    ]);
    let mut admitted = 0;
    for (number, status) in statuses.enumerate() {
        let name = format!("forged-{number}");
        case.create(&name, ApprovalDecisionSpec { pipeline_name: "none".to_owned(), ..held.clone() }).await;
        admitted += u32::from(case.forge(&name, status).await.is_ok());
    }
    assert!(admitted >= 6, "only {admitted} were admitted: the test shows little");
    let operator = case.operator().start();
    operator.until_ready().await;
    case.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    case.until_reason("web", Reason::Delivered).await;
    let listed = case.decisions.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 9);
    assert_eq!(case.service.requests_of(Operation::PutApprovalResult, "none"), 0, "all of them are suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_forged_when_all_is_over_does_not_stand() {
    let case = Case::new().await;
    case.open("web");
    let stale = case.open("other");
    let operator = case.operator().start();
    case.create("web", spec("web", &stale)).await;
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    let forever = "9999-12-31T23:59:59Z";
    let ready = json!([{ "type": "Ready", "status": "Unknown", "reason": "Unconfirmed", "message": "", "lastTransitionTime": forever }]);
    let submission = json!({ "attempts": 1, "startTime": forever, "deadline": forever, "token": stale.token });
    // The last would lock the spec for as long as it says.
    for status in
        [json!({ "conditions": [] }), json!({ "conditions": ready, "submission": submission, "exception": null })]
    {
        case.forge("web", status).await.unwrap();
        let told = timeout(Duration::from_secs(20), case.until_reason("web", Reason::InvalidApprovalToken)).await;
        assert!(told.is_ok(), "{}", operator.log());
    }
    assert_eq!(case.accepted("web"), 0);
}

/// Of an answered decision the operator keeps little in memory, and an annotation or an edit does nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_forged_over_an_answer_does_not_stand_though_the_decision_was_touched() {
    let case = Case::new().await;
    let approval = case.open("web");
    let operator = case.operator().start();
    case.create("web", spec("web", &approval)).await;
    case.until_reason("web", Reason::Delivered).await;
    case.patch("web", json!({ "metadata": { "annotations": { REQUESTED_AT: "again" } } })).await.unwrap();
    let ready = json!([{ "type": "Ready", "status": "Unknown", "reason": "ValidationFailed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    case.forge("web", json!({ "conditions": ready, "observedGeneration": 9 })).await.unwrap();
    let is_true_again =
        |decision: &ApprovalDecision| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
    let told = timeout(Duration::from_secs(20), case.until("web", "told anew", is_true_again)).await;
    assert!(told.is_ok(), "{}", operator.log());
    assert_eq!(case.accepted("web"), 1);
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
    case.forge("web", status).await.unwrap();
    let _operator = case.operator().start();
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(case.accepted("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_words_that_a_person_understands() {
    let case = Case::new().await;
    let control_plane = &Cluster::shared().control_plane;
    let one_binding = "spec must have exactly one of token, pipelineExecutionId and sourceRevision: they name the one";
    let mut two_runs = bound("sourceRevision", binding("sourceRevision"));
    two_runs["spec"]["pipelineExecutionId"] = binding("pipelineExecutionId");
    let mut three = two_runs.clone();
    three["spec"]["token"] = binding("token");
    let rows = [
        (with("/spec/pipelineName", json!("a/b")), "spec.pipelineName in body should match '^[A-Za-z0-9.@_-]+$'"),
        (with("/spec/result/status", json!("approved")), r#"supported values: "Approved", "Rejected""#),
        (with("/spec/result/summary", json!("s".repeat(513))), "may not be more than 512"),
        (with("/spec/token", json!("X")), "spec.token in body should"),
        (with("/spec/notAfter", json!("9999-12-31T23:59:59Z")), "must be an RFC 3339 time in a year from 2000 to 2999"),
        (with("/spec/sumary", json!("typo")), r#"unknown field "spec.sumary""#),
        (without("/spec/token"), one_binding),
        (with("/spec/pipelineExecutionId", binding("pipelineExecutionId")), one_binding),
        (with("/spec/sourceRevision", binding("sourceRevision")), one_binding),
        (two_runs, one_binding),
        (three, one_binding),
        (bound("pipelineExecutionId", json!("X")), "spec.pipelineExecutionId in body should"),
        (bound("sourceRevision", json!({ "revisionId": "a".repeat(1501) })), "may not be more than 1500"),
        (
            bound("sourceRevision", json!({ "revisionId": "a", "actionName": "a/b" })),
            "spec.sourceRevision.actionName in body should match '^[A-Za-z0-9.@_-]+$'",
        ),
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
    for field in
        ["pipelineName", "token", "revisionId", "notAfter", "approvedAt", "exception", "submission", "decidedBy"]
    {
        assert!(explained.contains(field), "{explained}");
    }
    assert!(kubectl(&["explain", "apd.spec.token"]).contains("GetPipelineState"));
    assert!(kubectl(&["api-resources", "--categories=approvals"]).contains("approvaldecisions"));
    let table = kubectl(&["get", "apd", "--namespace", &case.namespace]);
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "PIPELINE", "STAGE", "ACTION", "DECISION", "READY", "REASON", "APPROVEDAT", "AGE"]);
    let wide = kubectl(&["get", "apd", "--namespace", &case.namespace, "--output=wide"]);
    assert!(wide.lines().next().unwrap().trim_end().ends_with("MESSAGE"), "{wide}");
    case.create("waiting", for_revision("web", "v2")).await;
    case.until_reason("waiting", Reason::Waiting).await;
    let wide = kubectl(&["get", "apd", "waiting", "--namespace", &case.namespace, "--output=wide"]);
    assert!(wide.contains("No run of web has the source revision v2 yet"), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_decision_does_not_look_settled() {
    let case = Case::new().await;
    let decision = case.create("web", spec("web", &case.open("web"))).await;
    let live = case.decisions.get("web").await.unwrap();
    assert_eq!(live.status.unwrap().observed_generation, Some(-1));
    assert_eq!(decision.metadata.generation, Some(1));
}
