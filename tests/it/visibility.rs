//! What `kubectl get` and the status show of a decision that is not settled: whether an operator has seen it, for which commit it waits,
//! behind whom and until when.

use approval_operator::api::time::to_second;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionStatus, ApprovalStatus, Reason, UserTime};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{ExecutionMode, PipelineDefinition};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use test_support::{
    Cluster, TestEnv, condition, for_execution, for_revision, ids, message, pinned, pipeline_with_build, reason, spec,
};

/// kubectl in the namespace of a test, with this standard input; its output.
fn kubectl(env: &TestEnv, arguments: &[&str], input: &str) -> String {
    let mut command: Command = Cluster::shared().control_plane.kubectl();
    let command = command.args(["--namespace", &env.namespace]).args(arguments);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn manifest(name: &str) -> Value {
    json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1",
        "kind": "ApprovalDecision",
        "metadata": { "name": name },
        "spec": for_revision("web", "v1"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_no_operator_has_seen_says_so_however_it_was_created() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    let created = env.create("client", for_revision("web", "v1")).await;
    assert_eq!(created.status, Some(ApprovalDecisionStatus::pending()));
    let with_status = |mut manifest: Value, status: Value| {
        manifest["status"] = status;
        manifest.to_string()
    };
    for (name, command) in [
        ("create", &["create"][..]),
        ("apply", &["apply"][..]),
        ("server-side", &["apply", "--server-side"][..]),
        ("validated", &["apply", "--server-side", "--validate=strict"][..]),
    ] {
        let arguments: Vec<_> = command.iter().copied().chain(["--filename", "-"]).collect();
        kubectl(&env, &arguments, &manifest(name).to_string());
        // Another apply of the same manifest changes nothing.
        if command[0] == "apply" {
            kubectl(&env, &arguments, &manifest(name).to_string());
        }
    }
    // A client cannot set the status of an object that it creates, or that it updates.
    for (name, status) in [
        ("forged", json!({ "observedGeneration": 1 })),
        ("null", Value::Null),
        ("empty", json!({})),
        ("without-conditions", json!({ "conditions": null })),
    ] {
        kubectl(&env, &["create", "--filename", "-"], &with_status(manifest(name), status));
    }
    let remove_status = |name: &str, arguments: &[&str], patch: &str| {
        let patch = ["patch", "apd", name, "--type=merge", "--patch", patch];
        kubectl(&env, &[&patch, arguments].concat(), "");
    };
    remove_status("create", &[], r#"{"status":null}"#);
    // The operator's own right cannot remove it either: the API server fills in the default again.
    remove_status("apply", &["--subresource=status"], r#"{"status":null}"#);
    let names =
        ["client", "create", "apply", "server-side", "validated", "forged", "null", "empty", "without-conditions"];
    for name in names {
        let status = env.decisions.get(name).await.unwrap().status;
        assert_eq!(status, Some(ApprovalDecisionStatus::pending()), "{name}");
    }
    let table = kubectl(&env, &["get", "apd", "--output", "wide"], "");
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), names.len(), "{table}");
    for row in rows {
        assert!(row.contains("Unknown   Pending") && row.contains("No operator has seen this decision yet"), "{table}");
    }

    // Transition times have no fractions.
    let started_at = to_second(Timestamp::now());
    let _operator = env.operator().start();
    for name in names {
        let waiting = env.wait_for_reason(name, Reason::Waiting).await;
        let since = condition(&waiting, "Ready").unwrap().last_transition_time;
        assert!(started_at <= since, "{name}: {since}");
        // Applying the manifest again must not bring the default back.
        let arguments = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
        kubectl(&env, &arguments, &manifest(name).to_string());
        assert_eq!(reason(&env.decisions.get(name).await.unwrap()), Some(Reason::Waiting), "{name}");
    }
    // Someone with the right to write the status removes it, or the conditions alone, for which there is no default.
    for (name, patch) in [("apply", r#"{"status":null}"#), ("create", r#"{"status":{"conditions":null}}"#)] {
        remove_status(name, &["--subresource=status"], patch);
        env.wait_for_reason(name, Reason::Waiting).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_decision_shows_its_commit_its_limit_and_whom_it_waits_for() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    env.put_pipeline(PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap().mode(ExecutionMode::Queued));
    let (first, second) = (env.start_execution("web", "v1"), env.start_execution("web", "v2"));
    let not_after = to_second(Timestamp::now() + SignedDuration::from_hours(1));
    let mut limited = for_revision("web", "v2");
    limited.not_after = Some(UserTime(not_after.to_string()));
    env.create("by-revision", limited).await;
    env.create("by-execution", for_execution("web", second)).await;
    let expected = format!("Execution {second} is waiting to enter stage Prod, behind execution {first}");
    for name in ["by-revision", "by-execution"] {
        let waiting = env.wait_for_message(name, &expected).await;
        let status = waiting.status.as_ref().unwrap();
        assert_eq!(pinned(&waiting), (Some(second.to_string()), None));
        let revisions =
            status.source_revisions.iter().map(|found| (found.action_name.as_str(), found.revision_id.as_deref()));
        assert_eq!(revisions.collect::<Vec<_>>(), [("Source", Some("v2"))], "{name}");
        let week = waiting.metadata.creation_timestamp.as_ref().unwrap().0 + SignedDuration::from_hours(7 * 24);
        let expires_at = if name == "by-revision" { not_after } else { week };
        assert_eq!(status.expires_at, Some(expires_at), "{name}");
    }
    let table = kubectl(&env, &["get", "apd", "by-revision", "--output", "wide"], "");
    assert!(table.contains("EXPIRES") && table.contains(&not_after.to_string()), "{table}");

    // It writes nothing while nothing changes.
    let version = |decision: &ApprovalDecision| decision.metadata.resource_version.clone();
    let before = env.decisions.get("by-execution").await.unwrap();
    env.wait_for_polls("web", 4).await;
    assert_eq!(version(&env.decisions.get("by-execution").await.unwrap()), version(&before));

    // Its turn comes once the first execution has left the stage.
    env.delete("by-revision").await;
    let approval = env.pending_approvals("web")[0];
    assert_eq!(approval.pipeline_execution_id, first);
    env.respond_as_bob("web", &approval, local_codepipeline::api::ApprovalStatus::Approved);
    let delivered = env.wait_for_reason("by-execution", Reason::Delivered).await;
    let status = delivered.status.unwrap();
    assert_eq!((status.expires_at, status.source_revisions.len()), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_decision_says_when_the_next_attempt_is() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::throttled().on(Operation::PutApprovalResult).times(2));
    let _operator = env.operator().start();
    let approval = env.open_and_approve("web").await;
    let throttled = env.wait_for_reason("web", Reason::Throttled).await;
    let text = message(&throttled);
    let next = text
        .split_once("; next attempt at ")
        .and_then(|(_, rest)| rest.split_once(". "))
        .unwrap_or_else(|| panic!("{text}"))
        .0;
    let next: Timestamp = next.parse().unwrap();
    let started_at = throttled.status.as_ref().unwrap().submission.as_ref().unwrap().start_time;
    let delay = next.duration_since(started_at);
    assert!(delay >= SignedDuration::ZERO && delay < SignedDuration::from_secs(20), "{delay}");
    assert!(throttled.status.unwrap().expires_at.is_some());
    let delivered = env.wait_for_reason("web", Reason::Delivered).await;
    assert_eq!(delivered.status.unwrap().submission.unwrap().token.0, approval.token.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_with_a_token_shows_its_execution_where_it_was_read_anyway() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let approval = env.open_approval("web");
    let mut rejection = for_execution("web", approval.pipeline_execution_id);
    (rejection.result.status, rejection.suspend) = (ApprovalStatus::Rejected, true);
    env.create("reject", rejection).await;
    env.wait_for_reason("reject", Reason::Suspended).await;
    env.codepipeline.inject(Fault::throttled().on(Operation::PutApprovalResult).always());
    env.patch("reject", json!({ "spec": { "suspend": false } })).await.unwrap();
    env.wait_for_reason("reject", Reason::Throttled).await;
    env.create("approve", spec("web", &approval)).await;
    let held = env.wait_for_reason("approve", Reason::ConflictingDecision).await;
    assert_eq!(pinned(&held), ids(&approval));
    assert_eq!(held.status.unwrap().source_revisions.len(), 1);

    // CodePipeline refuses the token, and history is read to explain that.
    env.codepipeline.clear_faults();
    let approval = env.codepipeline.with_service(|service, now| {
        let mut pipeline = PipelineDefinition::with_approval("strict", "Prod", "Approve").unwrap();
        let action = &mut pipeline.stages[1].actions[0];
        *action = action.clone().summary_required();
        service.put_pipeline(now, pipeline).unwrap();
        service.open_approval(now, ("strict", "Prod", "Approve"), &[]).unwrap()
    });
    let mut without_summary = spec("strict", &approval);
    without_summary.result.summary = String::new();
    env.create("strict", without_summary).await;
    let refused = env.wait_for_reason("strict", Reason::InvalidApprovalToken).await;
    assert_eq!(pinned(&refused), ids(&approval));

    // A token that is accepted costs no read, so its execution stays unknown.
    let approval = env.open_approval("plain");
    env.create("plain", spec("plain", &approval)).await;
    let delivered = env.wait_for_reason("plain", Reason::Delivered).await;
    assert_eq!(pinned(&delivered), (None, None));
    assert_eq!(env.codepipeline.request_count_for(Operation::GetPipelineState, "plain"), 0);
}
