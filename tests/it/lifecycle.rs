//! Edits, suspension, deletion and expiry of a decision.

use approval_operator::api::v1alpha1::{ApprovalDecision, REQUESTED_AT, Reason, Token, UserTime};
use jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use serde_json::json;
use std::time::Duration;
use test_support::{TestEnv, expired_after, for_revision, message, pipeline_with_build, reason, spec};
use tokio::time::timeout;

const OTHER: &str = "00000000-0000-4000-8000-000000000000";

fn in_seconds(seconds: i64) -> UserTime {
    UserTime((Timestamp::now() + SignedDuration::from_secs(seconds)).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_restarts_a_stalled_decision() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let approval = env.open_approval("web");
    let mut wrong = spec("web", &approval);
    wrong.token = Some(Token(OTHER.to_owned()));
    env.create("web", wrong).await;
    env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    env.patch("web", json!({ "spec": { "token": approval.token } })).await.unwrap();
    let decision = env.wait_for_reason("web", Reason::Delivered).await;
    let status = decision.status.unwrap();
    assert_eq!((status.observed_generation, status.exception), (Some(2), None));
    assert_eq!(status.conditions.len(), 1, "Stalled is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_settled_decision_sends_nothing_for_the_same_request() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    env.put_pipeline(pipeline_with_build("revision"));
    let execution = env.start_execution("revision", "v1");
    env.complete_build("revision", execution, true);
    env.create("revision", for_revision("revision", "v1")).await;
    env.open_and_approve("token").await;
    for name in ["revision", "token"] {
        env.wait_for_reason(name, Reason::Delivered).await;
        env.patch(name, json!({ "spec": { "result": { "summary": "reworded" } } })).await.unwrap();
        let is_current = |decision: &ApprovalDecision| {
            let status = decision.status.as_ref();
            status.is_some_and(|status| status.observed_generation == Some(2) && status.history.is_empty())
                && matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided))
        };
        env.wait_until(name, "settled again", is_current).await;
        env.patch(name, json!({ "spec": { "result": { "status": "Rejected" } } })).await.unwrap();
        let changed = env.wait_for_reason(name, Reason::ApprovalAlreadyCompleted).await;
        let accepted = ["Approved was accepted at", "the approval had already been approved"];
        assert!(accepted.iter().any(|words| message(&changed).contains(words)), "{}", message(&changed));
        let submitted = env.codepipeline.request_count_for(Operation::PutApprovalResult, name);
        assert_eq!(submitted, 1, "{name}\n{}", operator.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_requested_at_restarts_a_stalled_decision_but_not_a_delivered_one() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let approval = env.open_approval("other");
    env.create("web", spec("web", &approval)).await;
    env.wait_for_reason("web", Reason::PipelineNotFound).await;
    let renamed = env
        .codepipeline
        .with_service(|service, now| service.open_approval(now, ("web", "Prod", "Approve"), &[]).unwrap());
    assert_ne!(renamed.token, approval.token);
    // An annotation may be longer than the status field.
    let value = "x".repeat(3000);
    env.patch("web", json!({ "metadata": { "annotations": { REQUESTED_AT: value } } })).await.unwrap();
    let decision = env.wait_for_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(decision.status.unwrap().last_handled_requested_at.map(|value| value.len()), Some(1024));

    env.open_and_approve("done").await;
    env.wait_for_reason("done", Reason::Delivered).await;
    env.patch("done", json!({ "metadata": { "annotations": { REQUESTED_AT: "later" } } })).await.unwrap();
    env.open_and_approve("later").await;
    env.wait_for_reason("later", Reason::Delivered).await;
    assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, "done"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_decision_sends_nothing_until_it_is_resumed() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let mut suspended = spec("web", &env.open_approval("web"));
    suspended.suspend = true;
    env.create("web", suspended).await;
    let decision = env.wait_for_reason("web", Reason::Suspended).await;
    assert_eq!(decision.status.unwrap().conditions.len(), 1, "neither Reconciling nor Stalled");
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
    env.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    env.wait_for_reason("web", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_comes_too_late_is_expired_unless_history_shows_its_result() {
    let env = TestEnv::new().await;
    let mut late = spec("late", &env.open_approval("late"));
    late.not_after = Some(in_seconds(-60));
    env.create("late", late).await;
    let restored = env.open_approval("restored");
    let bob = "arn:aws:iam::123456789012:user/bob";
    let responded = env.codepipeline.respond_as(
        bob,
        ("restored", "Prod", "Approve"),
        restored.token,
        ResultStatus::Approved,
        "yes",
    );
    responded.unwrap();
    let mut restored = spec("restored", &restored);
    restored.not_after = Some(in_seconds(-60));
    env.create("restored", restored).await;
    let _operator = env.operator().start();
    env.wait_for_reason("late", Reason::Expired).await;
    let decision = env.wait_for_reason("restored", Reason::AlreadyDecided).await;
    assert_eq!(decision.status.unwrap().decided_by.as_deref(), Some(bob));
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end_at_not_after_and_at_the_waiting_limit() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::throttled().on(Operation::PutApprovalResult).always());
    let mut bounded = spec("bounded", &env.open_approval("bounded"));
    let not_after = in_seconds(12);
    bounded.not_after = Some(not_after.clone());
    env.create("bounded", bounded).await;
    env.open_and_approve("limited").await;
    // A response that took longer than the timeout would leave the attempt in doubt, which outlasts both limits.
    let operator = env.operator().arg("--waiting-limit=15s").arg("--aws-timeout=10s").start();
    for name in ["bounded", "limited"] {
        env.wait_for_reason(name, Reason::Throttled).await;
    }
    let decision = env.wait_for_reason("bounded", Reason::Expired).await;
    let promptly = SignedDuration::ZERO..=SignedDuration::from_secs(3);
    let over = expired_after(&decision, not_after.0.parse().unwrap());
    assert!(promptly.contains(&over), "{over}");
    let decision = env.wait_for_reason("limited", Reason::Expired).await;
    let limit = decision.metadata.creation_timestamp.as_ref().unwrap().0 + SignedDuration::from_secs(15);
    let over = expired_after(&decision, limit);
    assert!(promptly.contains(&over), "{over}\n{}", operator.log());
    let last = env.codepipeline.ledger().last().map(|entry| entry.at);
    assert!(last.is_some_and(|last| last <= limit), "nothing is sent after the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_decision_does_not_expire_before_its_history_is_read() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::disconnect_after_applying().on(Operation::PutApprovalResult));
    env.codepipeline.inject(Fault::throttled().on(Operation::GetPipelineState).always());
    let mut decision = spec("web", &env.open_approval("web"));
    let not_after = in_seconds(9);
    decision.not_after = Some(not_after.clone());
    env.create("web", decision).await;
    let _operator = env.operator().start();
    env.wait_until("web", "unreadable", |decision| {
        reason(decision) == Some(Reason::Unconfirmed)
            && decision.status.as_ref().is_some_and(|status| status.conditions[0].message.contains("could not be read"))
    })
    .await;
    let not_after: Timestamp = not_after.0.parse().unwrap();
    let passed = env.codepipeline.wait_for(|_, now| now > not_after);
    timeout(Duration::from_secs(60), passed).await.unwrap();
    env.codepipeline.clear_faults();
    env.wait_for_reason("web", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_decision_with_a_finalizer_never_changes_the_pipeline() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    env.codepipeline.inject(Fault::access_denied().pipeline("retried").always());
    let stalled = env.open_approval("stalled");
    for (name, spec) in
        [("retried", spec("retried", &env.open_approval("retried"))), ("stalled", spec("none", &stalled))]
    {
        let mut decision = ApprovalDecision::new(name, spec);
        decision.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
        env.decisions.create(&PostParams::default(), &decision).await.unwrap();
    }
    env.wait_for_reason("retried", Reason::AccessDenied).await;
    env.wait_for_reason("stalled", Reason::PipelineNotFound).await;
    let reconciles = async || operator.metric("approval_operator_reconcile_duration_seconds_count").await;
    let before_deletion = reconciles().await;
    for name in ["retried", "stalled"] {
        env.delete(name).await;
    }
    let submissions = |env: &TestEnv| env.codepipeline.request_count(Operation::PutApprovalResult);
    let before = submissions(&env);
    env.codepipeline.clear_faults();
    // A decision that is delivered after them shows that the operator has seen the deletions.
    env.open_and_approve("later").await;
    env.wait_for_reason("later", Reason::Delivered).await;
    let in_progress = "approval_operator_reconciles_in_progress";
    let are_done = async || reconciles().await >= before_deletion + 3.0 && operator.metric(in_progress).await < 1.0;
    operator.eventually("the reconciles that the deletions started are done", are_done).await;
    assert_eq!(submissions(&env), before + 1, "{}", operator.log());
    assert_eq!(env.accepted_count("retried"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_credentials_do_not_delay_a_submission_past_not_after() {
    let env = TestEnv::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, script) = (folder.path().join("config"), folder.path().join("credentials.sh"));
    // Every fetch except the first takes 3 s, and the credentials expire at once, so that each request fetches them.
    std::fs::write(&script, format!(
        "test -e {0}/second && sleep 3\ntouch {0}/second\n\
         echo '{{\"Version\":1,\"AccessKeyId\":\"SLOW\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\"Expiration\":\"'$(date -u -d '+1 second' +%FT%TZ)'\"}}'\n",
        folder.path().display()
    )).unwrap();
    std::fs::write(&config, format!("[default]\nregion = eu-west-1\ncredential_process = sh {}\n", script.display()))
        .unwrap();
    let operator = env.operator().aws_config_file(&config).arg("--aws-timeout=10s").start();
    env.open_and_approve("first").await;
    env.wait_for_reason("first", Reason::Delivered).await;
    let mut late = spec("late", &env.open_approval("late"));
    late.not_after = Some(in_seconds(2));
    env.create("late", late).await;
    let decision = env.wait_for_reason("late", Reason::Expired).await;
    assert_eq!(env.accepted_count("late"), 0, "{:?}\n{}", decision.status, operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_decision_waits_while_history_cannot_be_read() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::throttled().on(Operation::GetPipelineState).times(4));
    let approval = env.open_approval("web");
    let bob = "arn:aws:iam::123456789012:user/bob";
    env.codepipeline
        .respond_as(bob, ("web", "Prod", "Approve"), approval.token, ResultStatus::Approved, "yes")
        .unwrap();
    let mut restored = spec("web", &approval);
    restored.not_after = Some(in_seconds(-60));
    env.create("web", restored).await;
    let _operator = env.operator().start();
    env.wait_for_reason("web", Reason::AlreadyDecided).await;
}
