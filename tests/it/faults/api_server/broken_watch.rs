//! A watch of decisions that is broken for longer than the limit, while everything else works: a rejection may exist that the operator
//! does not see, so approvals wait.

use crate::faults::request_log::RequestLog;
use approval_operator::api::v1alpha1::{ApprovalStatus, Reason};
use approval_operator::controller::WATCH_BROKEN_AFTER;
use futures::StreamExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use local_codepipeline::api::Operation;
use std::sync::Arc;
use std::time::Duration;
use test_support::proxy::{Handler, ProxiedRequest, Response, status_response};
use test_support::{Operator, TestEnv, for_execution, pipeline_with_build, reason};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Refuses to list and watch decisions as long as it is broken, and ends the watch that is open when it breaks.
fn without_watch_while(is_broken: &watch::Sender<bool>, log: &Arc<RequestLog>) -> impl Handler + use<> {
    let (is_broken, log) = (is_broken.subscribe(), log.clone());
    move |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        let (mut is_broken, log) = (is_broken.clone(), log.clone());
        Box::pin(async move {
            let is_watch = request.is_watch();
            let reads_decisions = ["LIST approvaldecisions", "WATCH approvaldecisions"].contains(&&*request.name.kind);
            if reads_decisions && *is_broken.borrow() {
                return Some(status_response(500, "InternalError", "the storage is not available"));
            }
            let response = log.forward(request).await?;
            Some(if is_watch && reads_decisions {
                let broken = async move { drop(is_broken.wait_for(|is_broken| *is_broken).await) };
                response.map(|body| StreamBody::new(BodyStream::new(body).take_until(Box::pin(broken))).boxed_unsync())
            } else {
                response
            })
        })
    }
}

async fn wait_for_readyz(operator: &Operator, expected: u16) {
    let polling = async {
        while operator.get("/readyz").await.map(|(status, _)| status) != Some(expected) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let limit = WATCH_BROKEN_AFTER + Duration::from_secs(60);
    assert!(timeout(limit, polling).await.is_ok(), "/readyz never returned {expected}\n{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_waits_for_a_broken_watch_and_a_rejection_that_was_created_meanwhile_goes_first() {
    let env = TestEnv::new().await;
    let log = RequestLog::new();
    let is_broken = watch::Sender::new(false);
    let proxied = log.proxied_operator(&env, without_watch_while(&is_broken, &log)).await;
    let operator = proxied.command.start();
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    env.create("approve", for_execution("web", execution)).await;
    env.wait_for_reason("approve", Reason::Waiting).await;

    is_broken.send_replace(true);
    wait_for_readyz(&operator, 503).await;
    let mut rejection = for_execution("web", execution);
    rejection.result.status = ApprovalStatus::Rejected;
    env.create("reject", rejection).await;
    // The polls still work. They wake the approval once its request is pending.
    let reconciles = async || operator.metric("approval_operator_reconcile_duration_seconds_count").await;
    let before = reconciles().await;
    env.complete_build("web", execution, true);
    operator.eventually("the approval is reconciled", async || reconciles().await > before).await;
    assert_eq!(env.codepipeline.request_count_for(Operation::PutApprovalResult, "web"), 0, "{}", operator.log());
    assert_eq!(reason(&env.decisions.get("approve").await.unwrap()), Some(Reason::Waiting));
    assert_eq!(reason(&env.decisions.get("reject").await.unwrap()), Some(Reason::Pending));

    is_broken.send_replace(false);
    env.wait_for_reason("reject", Reason::Delivered).await;
    env.wait_for_reason("approve", Reason::ApprovalAlreadyCompleted).await;
    let accepted: Vec<_> = env.accepted_submissions("web").into_iter().map(|entry| entry.status).collect();
    assert_eq!(accepted, ["Rejected"], "{}", operator.log());
    wait_for_readyz(&operator, 200).await;
    assert_eq!(log.violations(), [""; 0]);
}
