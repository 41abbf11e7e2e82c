//! Admission: the schema refuses invalid manifests with clear messages. Every decision that it admits reaches a reason, and
//! never causes a crash, a loop or a call that must not happen.

mod manifests;
mod targets;

use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, REQUESTED_AT, Reason, Token};
use kube::api::{ListParams, PostParams};
use local_codepipeline::api::Operation;
use manifests::{binding, invalid, unusual, with, with_only_binding, without};
use serde_json::{Value, json};
use test_support::{Cluster, TestEnv, for_revision, reason, spec};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_manifests_are_refused_or_get_a_reason() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    let raw = env.raw_decisions();
    let (invalid, unusual) = (invalid(), unusual());
    assert!(invalid.len() + unusual.len() >= 200, "{}", invalid.len() + unusual.len());
    for manifest in invalid {
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
    for manifest in unusual {
        let object = serde_json::from_value(manifest).unwrap();
        names.push(raw.create(&PostParams::default(), &object).await.unwrap().metadata.name.unwrap());
    }
    for name in &names {
        let decision = env
            .wait_until(name, "settled", |decision| {
                reason(decision).is_some_and(|reason| !matches!(reason, Reason::Pending | Reason::Submitting))
            })
            .await;
        assert!(
            matches!(reason(&decision), Some(Reason::PipelineNotFound | Reason::Expired | Reason::Suspended)),
            "{:?}",
            decision
        );
    }
    let calls = env.codepipeline.request_count(Operation::PutApprovalResult);
    assert!(calls <= names.len() as u64, "{calls} calls for {} decisions", names.len());
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(operator.metric("approval_operator_reconcile_errors_total").await, 0.0, "{}", operator.log());
}

/// A submission for the approval of pipeline web that the operator did not write.
fn forged_submission(token: &str, attempts: Value, start_time: Value, deadline: Value) -> Value {
    json!({
        "accountId": "123456789012", "region": "eu-west-1",
        "pipelineName": "web", "stageName": "Prod", "actionName": "Approve", "token": token,
        "result": { "status": "Approved", "summary": "" },
        "attempts": attempts, "startTime": start_time, "deadline": deadline,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_status_does_not_stop_other_decisions() {
    let env = TestEnv::new().await;
    let mut suspended = spec("web", &env.open_approval("web"));
    suspended.suspend = true;
    env.create("web", suspended.clone()).await;
    let ready = |status: &str, reason: &str, time: &str| json!([{ "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": time }]);
    let token = "11111111-2222-4333-8444-555555555555";
    let statuses = [
        json!({ "conditions": ready("False", "Throttled", "2026-02-30T00:00:00Z") }),
        json!({ "conditions": ready("Unknown", "Submitting", "9999-12-31T23:59:59Z") }),
        json!({ "conditions": ready("False", "Nonsense", "2026-01-01T00:00:00Z"), "observedGeneration": 1.0 }),
        json!({ "approvedAt": "0000-01-01T00:00:00Z", "observedGeneration": null }),
        json!({ "submission": forged_submission(token, json!(9_007_199_254_740_993_i64), json!("9999-12-31T23:59:59Z"), json!("2026-02-30T00:00:00Z")),
            "conditions": ready("Unknown", "Unconfirmed", "2026-01-01T00:00:00Z") }),
        json!({ "submission": forged_submission(token, json!(1.0), json!("0000-01-01T00:00:00Z"), json!("9999-12-31T23:59:59Z")),
            "conditions": ready("False", "Throttled", "2026-01-01T00:00:00Z") }),
    ];
    // The API server accepts an array as a date-time.
    let statuses = statuses.into_iter().chain([
        json!({ "approvedAt": [], "conditions": [{ "type": "Ready", "status": "False", "reason": "Throttled", "message": "", "lastTransitionTime": [{}] }] }),
        json!({ "submission": forged_submission(token, json!(1), json!(["a"]), json!([])),
            "conditions": ready("Unknown", "Unconfirmed", "2026-01-01T00:00:00Z") }),
    ]);
    let mut admitted = 0;
    for (number, status) in statuses.enumerate() {
        let name = format!("forged-{number}");
        env.create(&name, ApprovalDecisionSpec { pipeline_name: "none".to_owned(), ..suspended.clone() }).await;
        admitted += u32::from(env.forge_status(&name, status).await.is_ok());
    }
    assert!(admitted >= 6, "only {admitted} statuses were admitted, too few for this test");
    let operator = env.operator().start();
    operator.wait_until_ready().await;
    env.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    env.wait_for_reason("web", Reason::Delivered).await;
    let listed = env.decisions.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 9);
    assert_eq!(
        env.codepipeline.request_count_for(Operation::PutApprovalResult, "none"),
        0,
        "all of them are suspended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_corrects_a_status_that_is_forged_after_the_decision_is_settled() {
    let env = TestEnv::new().await;
    env.open_approval("web");
    let stale = env.open_approval("other");
    let _operator = env.operator().start();
    env.create("web", spec("web", &stale)).await;
    env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    let forever = "9999-12-31T23:59:59Z";
    let ready = json!([{ "type": "Ready", "status": "Unknown", "reason": "Unconfirmed", "message": "", "lastTransitionTime": forever }]);
    let submission = forged_submission(&stale.token.to_string(), json!(1), json!(forever), json!(forever));
    // The last status would keep the decision waiting until its deadline.
    for status in
        [json!({ "conditions": [] }), json!({ "conditions": ready, "submission": submission, "exception": null })]
    {
        env.forge_status("web", status).await.unwrap();
        env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    }
    assert_eq!(env.accepted_count("web"), 0);
}

/// The operator keeps little of a delivered decision in memory, and ignores annotations of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_corrects_a_forged_status_of_a_delivered_decision_that_was_annotated() {
    let env = TestEnv::new().await;
    let approval = env.open_approval("web");
    let _operator = env.operator().start();
    env.create("web", spec("web", &approval)).await;
    env.wait_for_reason("web", Reason::Delivered).await;
    env.patch("web", json!({ "metadata": { "annotations": { REQUESTED_AT: "later" } } })).await.unwrap();
    let ready = json!([{ "type": "Ready", "status": "Unknown", "reason": "ValidationFailed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    env.forge_status("web", json!({ "conditions": ready, "observedGeneration": 9 })).await.unwrap();
    let is_corrected =
        |decision: &ApprovalDecision| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
    env.wait_until("web", "its real reason", is_corrected).await;
    assert_eq!(env.accepted_count("web"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_does_not_send_the_token_of_a_forged_submission() {
    let env = TestEnv::new().await;
    let approval = env.open_approval("web");
    let mut forged = spec("web", &approval);
    forged.token = Some(Token("00000000-0000-4000-8000-000000000000".to_owned()));
    env.create("web", forged).await;
    let past = "2026-01-01T00:00:00Z";
    let status = json!({
        "observedGeneration": 1,
        "submission": forged_submission(&approval.token.to_string(), json!(1), json!(past), json!(past)),
        "conditions": [{ "type": "Ready", "status": "Unknown", "reason": "Unconfirmed", "message": "", "lastTransitionTime": past }],
    });
    env.forge_status("web", status).await.unwrap();
    let _operator = env.operator().start();
    env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(env.accepted_count("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_explains_each_refusal() {
    let env = TestEnv::new().await;
    let control_plane = &Cluster::shared().control_plane;
    let one_binding = "spec: Invalid value: spec must have exactly one of token, pipelineExecutionId and sourceRevisions: it names the";
    let mut two = with_only_binding("sourceRevisions", binding("sourceRevisions"));
    two["spec"]["pipelineExecutionId"] = binding("pipelineExecutionId");
    let mut three = two.clone();
    three["spec"]["token"] = binding("token");
    let rows = [
        (with("/spec/pipelineName", json!("a/b")), "spec.pipelineName in body should match '^[A-Za-z0-9.@_-]+$'"),
        (with("/spec/result/status", json!("approved")), r#"supported values: "Approved", "Rejected""#),
        (with("/spec/result/summary", json!("s".repeat(513))), "spec.result.summary: Too long"),
        (with("/spec/token", json!("X")), "spec.token in body should"),
        (with("/spec/notAfter", json!("9999-12-31T23:59:59Z")), "must be an RFC 3339 time in a year from 2000 to 2999"),
        (
            with("/spec/targetRef", json!({ "name": "prod/web" })),
            "spec.targetRef.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        ),
        (with("/spec/targetRef", json!({ "accountId": "111122223333" })), "spec.targetRef.name: Required value"),
        (
            with("/spec/targetRef", json!({ "name": "prod", "acountId": "111122223333" })),
            r#"unknown field "spec.targetRef.acountId""#,
        ),
        (with("/spec/sumary", json!("typo")), r#"unknown field "spec.sumary""#),
        (without("/spec/token"), one_binding),
        (with("/spec/pipelineExecutionId", binding("pipelineExecutionId")), one_binding),
        (with("/spec/sourceRevisions", binding("sourceRevisions")), one_binding),
        (two, one_binding),
        (three, one_binding),
        (with_only_binding("pipelineExecutionId", json!("X")), "spec.pipelineExecutionId in body should"),
        (
            with_only_binding("sourceRevisions", json!([{ "revisionId": "a".repeat(1501) }])),
            "spec.sourceRevisions[0].revisionId: Too long",
        ),
        (
            with_only_binding("sourceRevisions", json!([{ "revisionId": "a", "actionName": "a/b" }])),
            "spec.sourceRevisions[0].actionName in body should match '^[A-Za-z0-9.@_-]+$'",
        ),
    ];
    for (manifest, expected) in rows {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(file.path(), manifest.to_string()).unwrap();
        let mut kubectl = control_plane.kubectl();
        let output =
            kubectl.args(["create", "--namespace", &env.namespace, "--filename"]).arg(file.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{manifest}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_field_and_shows_the_columns() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    env.open_and_approve("web").await;
    env.wait_for_reason("web", Reason::Delivered).await;
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
    let table = kubectl(&["get", "apd", "--namespace", &env.namespace]);
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "PIPELINE", "STAGE", "ACTION", "DECISION", "READY", "REASON", "APPROVEDAT", "AGE"]);
    let wide = kubectl(&["get", "apd", "--namespace", &env.namespace, "--output=wide"]);
    assert!(wide.lines().next().unwrap().trim_end().ends_with("MESSAGE"), "{wide}");
    env.create("waiting", for_revision("web", "v2")).await;
    env.wait_for_reason("waiting", Reason::Waiting).await;
    let wide = kubectl(&["get", "apd", "waiting", "--namespace", &env.namespace, "--output=wide"]);
    assert!(wide.contains("No execution of pipeline web has the source revisions v2 yet"), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_decision_does_not_look_settled() {
    let env = TestEnv::new().await;
    let decision = env.create("web", spec("web", &env.open_approval("web"))).await;
    let live = env.decisions.get("web").await.unwrap();
    assert_eq!(live.status.unwrap().observed_generation, Some(-1));
    assert_eq!(decision.metadata.generation, Some(1));
}
