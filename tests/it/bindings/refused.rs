//! Requests that the operator found by itself, and an answer that the service refused or that was lost: the request is
//! looked for anew where nothing was taken, and never left for another where something may have been.

use super::{decided_by, exception};
use crate::support::{BOB, Case, for_revision, for_run, ids, message, pinned, reason, spec, with_build};
use approval_operator::api::v1alpha1::Reason;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{ExecutionMode, OpenApproval, RetryMode};
use serde_json::json;
use std::time::Duration;

const PUT: Operation = Operation::PutApprovalResult;

fn invalid_token() -> Fault {
    Fault::error(400, "InvalidApprovalTokenException", "The approval token is not valid").on(PUT)
}

/// A run at its approval.
fn open(case: &Case, pipeline: &str, mode: ExecutionMode) -> OpenApproval {
    case.put(with_build(pipeline).mode(mode));
    let run = case.start(pipeline, "v1");
    case.built(pipeline, run, true);
    case.pending(pipeline)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_found_and_refused_once_is_looked_for_anew_and_sent_again() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for binding in ["run", "revision"] {
        case.service.fault(invalid_token().pipeline(binding));
        let approval = open(&case, binding, ExecutionMode::Superseded);
        let spec = match binding {
            "run" => for_run(binding, approval.pipeline_execution_id),
            _ => for_revision(binding, "v1"),
        };
        case.create(binding, spec).await;
        let decision = case.until_delivered(binding, binding, &approval).await;
        assert_eq!((case.service.requests_of(PUT, binding), exception(&decision)), (2, None), "{binding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_found_and_is_refused_twice_is_given_up_as_invalid() {
    let case = Case::new().await;
    case.service.fault(invalid_token().pipeline("web").always());
    let approval = open(&case, "web", ExecutionMode::Superseded);
    case.create("web", for_run("web", approval.pipeline_execution_id)).await;
    // A token that somebody wrote down is not looked for.
    case.create("by-token", spec("web", &approval)).await;
    let operator = case.operator().start();
    for name in ["web", "by-token"] {
        let decision = case.until_reason(name, Reason::InvalidApprovalToken).await;
        assert_eq!(exception(&decision), Some("InvalidApprovalTokenException"), "{name}");
    }
    assert_eq!(case.service.requests_of(PUT, "web"), 2 + 1, "{}", operator.log());
    // Nor does a restart begin anew.
    operator.kill();
    let _operator = case.operator().start();
    case.approve("other").await;
    case.until_reason("other", Reason::Delivered).await;
    assert_eq!((case.service.requests_of(PUT, "web"), case.pending("web")), (3, vec![approval]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_retry_overtakes_is_refused_and_given_to_the_new_request_of_the_same_run() {
    let case = Case::new().await;
    let _operator = case.operator().argument("--aws-timeout=20s").start();
    case.service.fault(Fault::late().delay_before(Duration::from_secs(2)).on(PUT));
    let old = open(&case, "web", ExecutionMode::Superseded);
    let run = old.pipeline_execution_id;
    case.create("web", for_run("web", run)).await;
    case.until_asked("web", 1).await;
    case.bob("web", &old, Answer::Rejected);
    case.service.service(|service, now| {
        service.retry_stage(now, "web", "Prod", run, RetryMode::FailedActions).unwrap();
    });
    let new = case.pending("web")[0];
    case.until_delivered("web", "web", &new).await;
    let tokens: Vec<_> = case.service.ledger_of("web").into_iter().map(|entry| entry.token).collect();
    assert_eq!(tokens, [&old, &old, &new].map(|approval| approval.token.to_string()), "bob's, and both of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_somebody_else_overtakes_is_told_from_the_record() {
    let case = Case::new().await;
    let _operator = case.operator().argument("--aws-timeout=20s").start();
    let rows = [
        ("same", Answer::Approved, Reason::AlreadyDecided),
        ("other", Answer::Rejected, Reason::ApprovalAlreadyCompleted),
    ];
    for (pipeline, answer, expected) in rows {
        case.service.fault(Fault::late().delay_before(Duration::from_secs(2)).on(PUT).pipeline(pipeline));
        let approval = open(&case, pipeline, ExecutionMode::Superseded);
        case.create(pipeline, for_revision(pipeline, "v1")).await;
        case.until_asked(pipeline, 1).await;
        case.bob(pipeline, &approval, answer);
        let decision = case.until_reason(pipeline, expected).await;
        assert_eq!((decided_by(&decision), pinned(&decision)), (Some(BOB), ids(&approval)), "{pipeline}");
        assert_eq!(exception(&decision), Some("ApprovalAlreadyCompletedException"), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_amid_an_answer_leaves_the_request_named_and_its_successor_finds_out() {
    let case = Case::new().await;
    let rows = [
        ("applied", Fault::hang_after_applying(), ExecutionMode::Superseded, 1),
        ("not-applied", Fault::hang_before_applying(), ExecutionMode::Superseded, 2),
        ("applied-in-parallel", Fault::hang_after_applying(), ExecutionMode::Parallel, 1),
    ];
    let operator = case.operator().start();
    let mut approvals = Vec::new();
    for (pipeline, fault, mode, _) in &rows {
        case.service.fault(fault.clone().on(PUT).pipeline(*pipeline));
        let approval = open(&case, pipeline, *mode);
        case.create(&format!("{pipeline}-run"), for_run(pipeline, approval.pipeline_execution_id)).await;
        approvals.push(approval);
    }
    for ((pipeline, ..), approval) in rows.iter().zip(&approvals) {
        case.until_asked(pipeline, 1).await;
        let decision = case.decisions.get(&format!("{pipeline}-run")).await.unwrap();
        assert!(matches!(reason(&decision), Some(Reason::Submitting | Reason::Unconfirmed)), "{pipeline}");
        assert_eq!(pinned(&decision), ids(approval), "{pipeline}: with the intent");
        let submission = decision.status.unwrap().submission.unwrap();
        assert_eq!(submission.token.0, approval.token.to_string(), "{pipeline}");
    }
    operator.kill();
    let _operator = case.operator().start();
    for ((pipeline, .., requests), approval) in rows.iter().zip(&approvals) {
        case.until_delivered(&format!("{pipeline}-run"), pipeline, approval).await;
        assert_eq!(case.service.requests_of(PUT, pipeline), *requests, "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_doubt_stays_with_its_run_though_another_of_the_revision_comes_to_wait() {
    let case = Case::new().await;
    let operator = case.operator().start();
    let rows = [("applied", Fault::cut_after_applying()), ("not-applied", Fault::cut_before_applying())];
    let mut approvals = Vec::new();
    for (pipeline, fault) in &rows {
        case.service.fault(fault.clone().on(PUT).pipeline(*pipeline));
        let approval = open(&case, pipeline, ExecutionMode::Parallel);
        case.create(pipeline, for_revision(pipeline, "v1")).await;
        let decision = case.until_reason(pipeline, Reason::Unconfirmed).await;
        assert_eq!(pinned(&decision), ids(&approval), "{pipeline}");
        let another = case.start(pipeline, "v1");
        case.built(pipeline, another, true);
        approvals.push((approval, another));
    }
    operator.kill();
    let _operator = case.operator().start();
    for ((pipeline, _), (approval, another)) in rows.iter().zip(&approvals) {
        case.until_delivered(pipeline, pipeline, approval).await;
        let pending = case.pending(pipeline);
        assert!(matches!(pending.as_slice(), [one] if one.pipeline_execution_id == *another), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_can_be_edited_while_it_waits_and_not_while_an_answer_is_under_way() {
    let case = Case::new().await;
    let _operator = case.operator().argument("--aws-timeout=3s").start();
    case.put(with_build("web"));
    let run = case.start("web", "v1");
    case.create("web", for_revision("web", "a-typo")).await;
    case.until_message("web", "No run of web has the source revision a-typo yet").await;
    let to_run = json!({ "spec": { "sourceRevision": null, "pipelineExecutionId": run } });
    case.patch("web", to_run).await.unwrap();
    let waiting = case.until_message("web", &format!("Run {run} is in stage Build")).await;
    assert_eq!(waiting.status.as_ref().unwrap().observed_generation, Some(2), "{}", message(&waiting));
    let to_revision = json!({ "spec": { "sourceRevision": { "revisionId": "v1" }, "pipelineExecutionId": null } });
    case.patch("web", to_revision.clone()).await.unwrap();
    case.service.fault(Fault::hang_before_applying().on(PUT).pipeline("web"));
    case.built("web", run, true);
    let approval = case.pending("web")[0];
    for expected in [Reason::Submitting, Reason::Unconfirmed] {
        case.until_reason("web", expected).await;
        let to_token = json!({ "spec": { "sourceRevision": null, "token": approval.token } });
        let refused = case.patch("web", to_token).await.unwrap_err().to_string();
        assert!(refused.contains("spec cannot change while an answer is under way"), "{expected:?}: {refused}");
    }
    case.until_delivered("web", "web", &approval).await;
}
