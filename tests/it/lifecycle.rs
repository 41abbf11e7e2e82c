//! What the owner of a decision can do to it, and what time does.

use crate::support::{Case, reason, spec};
use approval_operator::api::v1alpha1::{ApprovalDecision, NotAfter, REQUESTED_AT, Reason, Token};
use jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::faults::Fault;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

const OTHER: &str = "00000000-0000-4000-8000-000000000000";

fn in_seconds(seconds: i64) -> NotAfter {
    NotAfter((Timestamp::now() + SignedDuration::from_secs(seconds)).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_decision_starts_afresh_when_it_is_edited() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let approval = case.open("web");
    let mut wrong = spec("web", &approval);
    wrong.token = Some(Token(OTHER.to_owned()));
    case.create("web", wrong).await;
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    case.patch("web", json!({ "spec": { "token": approval.token } })).await.unwrap();
    let decision = case.until_reason("web", Reason::Delivered).await;
    let status = decision.status.unwrap();
    assert_eq!((status.observed_generation, status.exception), (Some(2), None));
    assert_eq!(status.conditions.len(), 1, "Stalled is gone");
    let refused = case.patch("web", json!({ "spec": { "result": { "summary": "more" } } })).await.unwrap_err();
    assert!(refused.to_string().contains("spec cannot change once the approval is answered"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_decision_starts_afresh_when_it_is_requested_anew_and_a_delivered_one_does_not() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let approval = case.open("other");
    case.create("web", spec("web", &approval)).await;
    case.until_reason("web", Reason::PipelineNotFound).await;
    let renamed =
        case.service.service(|service, now| service.open_approval(now, ("web", "Prod", "Approve"), &[]).unwrap());
    assert_ne!(renamed.token, approval.token);
    // Longer than the status can hold, as an annotation may be.
    let value = "x".repeat(3000);
    case.patch("web", json!({ "metadata": { "annotations": { REQUESTED_AT: value } } })).await.unwrap();
    let decision = case.until_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(decision.status.unwrap().last_handled_requested_at.map(|value| value.len()), Some(1024));

    case.approve("done").await;
    case.until_reason("done", Reason::Delivered).await;
    case.patch("done", json!({ "metadata": { "annotations": { REQUESTED_AT: "again" } } })).await.unwrap();
    case.approve("later").await;
    case.until_reason("later", Reason::Delivered).await;
    assert_eq!(case.service.requests_of(Operation::PutApprovalResult, "done"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_decision_sends_nothing_until_it_is_resumed() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let mut held = spec("web", &case.open("web"));
    held.suspend = true;
    case.create("web", held).await;
    let decision = case.until_reason("web", Reason::Suspended).await;
    assert_eq!(decision.status.unwrap().conditions.len(), 1, "neither Reconciling nor Stalled");
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
    case.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    case.until_reason("web", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_comes_too_late_is_expired_unless_the_record_shows_that_it_was_given() {
    let case = Case::new().await;
    let mut late = spec("late", &case.open("late"));
    late.not_after = Some(in_seconds(-60));
    case.create("late", late).await;
    let restored = case.open("restored");
    let bob = "arn:aws:iam::123456789012:user/bob";
    let answered =
        case.service.answer_as(bob, ("restored", "Prod", "Approve"), restored.token, Answer::Approved, "yes");
    answered.unwrap();
    let mut restored = spec("restored", &restored);
    restored.not_after = Some(in_seconds(-60));
    case.create("restored", restored).await;
    let _operator = case.operator().start();
    case.until_reason("late", Reason::Expired).await;
    let decision = case.until_reason("restored", Reason::AlreadyDecided).await;
    assert_eq!(decision.status.unwrap().decided_by.as_deref(), Some(bob));
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end_within_a_second_of_not_after_and_of_the_waiting_limit() {
    let case = Case::new().await;
    case.service.fault(Fault::throttled().on(Operation::PutApprovalResult).always());
    let mut bounded = spec("bounded", &case.open("bounded"));
    let not_after = in_seconds(5);
    bounded.not_after = Some(not_after.clone());
    case.create("bounded", bounded).await;
    case.approve("limited").await;
    let _operator = case.operator().argument("--waiting-limit=7s").start();
    for name in ["bounded", "limited"] {
        case.until_reason(name, Reason::Throttled).await;
    }
    case.until_reason("bounded", Reason::Expired).await;
    let over = Timestamp::now().duration_since(not_after.0.parse().unwrap());
    assert!(over >= SignedDuration::ZERO && over < SignedDuration::from_secs(1), "{over}");
    let decision = case.until_reason("limited", Reason::Expired).await;
    let limit = decision.metadata.creation_timestamp.unwrap().0 + SignedDuration::from_secs(7);
    let over = Timestamp::now().duration_since(limit);
    assert!(over >= SignedDuration::ZERO && over < SignedDuration::from_secs(1), "{over}");
    let last = case.service.ledger().last().map(|entry| entry.at);
    assert!(last.is_some_and(|last| last <= limit), "nothing is sent after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_was_never_confirmed_is_not_called_expired_before_the_record_is_read() {
    let case = Case::new().await;
    case.service.fault(Fault::cut_after_applying().on(Operation::PutApprovalResult));
    case.service.fault(Fault::throttled().on(Operation::GetPipelineState).always());
    let mut decision = spec("web", &case.open("web"));
    let not_after = in_seconds(9);
    decision.not_after = Some(not_after.clone());
    case.create("web", decision).await;
    let _operator = case.operator().start();
    case.until("web", "unreadable", |decision| {
        reason(decision) == Some(Reason::Unconfirmed)
            && decision.status.as_ref().is_some_and(|status| status.conditions[0].message.contains("cannot be read"))
    })
    .await;
    let not_after: Timestamp = not_after.0.parse().unwrap();
    let passed = case.service.wait_for(|_, now| now > not_after);
    timeout(Duration::from_secs(60), passed).await.unwrap();
    case.service.clear_faults();
    case.until_reason("web", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_decision_never_touches_the_pipeline_though_a_finalizer_holds_it() {
    let case = Case::new().await;
    let operator = case.operator().start();
    case.service.fault(Fault::access_denied().pipeline("retried").always());
    let stalled = case.open("stalled");
    for (name, spec) in [("retried", spec("retried", &case.open("retried"))), ("stalled", spec("none", &stalled))] {
        let mut decision = ApprovalDecision::new(name, spec);
        decision.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
        case.decisions.create(&PostParams::default(), &decision).await.unwrap();
    }
    case.until_reason("retried", Reason::AccessDenied).await;
    case.until_reason("stalled", Reason::PipelineNotFound).await;
    let rounds = async || operator.metric("approval_operator_reconcile_duration_seconds_count").await;
    let before_deletion = rounds().await;
    for name in ["retried", "stalled"] {
        case.delete(name).await;
    }
    let asked = |case: &Case| case.service.requests(Operation::PutApprovalResult);
    let before = asked(&case);
    case.service.clear_faults();
    // A decision that is delivered after them shows that the operator has seen the deletions.
    case.approve("later").await;
    case.until_reason("later", Reason::Delivered).await;
    let in_progress = "approval_operator_reconciles_in_progress";
    let are_over = async || rounds().await >= before_deletion + 3.0 && operator.metric(in_progress).await < 1.0;
    operator.eventually("the rounds that the deletions began are over", are_over).await;
    assert_eq!(asked(&case), before + 1, "{}", operator.log());
    assert_eq!(case.accepted("retried"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_take_long_do_not_carry_an_answer_past_not_after() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, script) = (folder.path().join("config"), folder.path().join("credentials.sh"));
    // Each fetch but the first takes 3 s; what it gives is good for a moment only, so that the next request fetches anew.
    std::fs::write(&script, format!(
        "test -e {0}/second && sleep 3\ntouch {0}/second\n\
         echo '{{\"Version\":1,\"AccessKeyId\":\"SLOW\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\"Expiration\":\"'$(date -u -d '+1 second' +%FT%TZ)'\"}}'\n",
        folder.path().display()
    )).unwrap();
    std::fs::write(&config, format!("[default]\nregion = eu-west-1\ncredential_process = sh {}\n", script.display()))
        .unwrap();
    let operator = case.operator().configured_by(&config).argument("--aws-timeout=10s").start();
    case.approve("first").await;
    case.until_reason("first", Reason::Delivered).await;
    let mut late = spec("late", &case.open("late"));
    late.not_after = Some(in_seconds(2));
    case.create("late", late).await;
    let decision = case.until_reason("late", Reason::Expired).await;
    assert_eq!(case.accepted("late"), 0, "{:?}\n{}", decision.status, operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_decision_waits_a_while_for_a_record_that_cannot_be_read() {
    let case = Case::new().await;
    case.service.fault(Fault::throttled().on(Operation::GetPipelineState).times(6));
    let approval = case.open("web");
    let bob = "arn:aws:iam::123456789012:user/bob";
    case.service.answer_as(bob, ("web", "Prod", "Approve"), approval.token, Answer::Approved, "yes").unwrap();
    let mut restored = spec("web", &approval);
    restored.not_after = Some(in_seconds(-60));
    case.create("web", restored).await;
    let _operator = case.operator().start();
    case.until_reason("web", Reason::AlreadyDecided).await;
}
