//! Reconciles of a decision that names an execution: they read polls of the pipeline.

use super::*;
use crate::codepipeline::{
    ActionExecution, ActionProgress, ActionState, ExecutionEnd, ExecutionMode, LatestExecution, Page,
    PipelineExecution, PipelineReader, PipelineState, Poll, Query, StageState, read_snapshot,
};
use futures::FutureExt;
use std::sync::Arc;

/// A pipeline with one execution, whose approval may be pending.
struct OneExecution {
    status: ExecutionStatus,
    pending: Option<Token>,
}

impl PipelineReader for OneExecution {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let latest_execution = self.pending.clone().map(|token| LatestExecution {
            action_execution_id: ids().action,
            token: Some(token),
            ..LatestExecution::default()
        });
        let actions = vec![ActionState { name: "Approve".to_owned(), latest_execution }];
        let stage = StageState { name: "Production".to_owned(), actions, ..StageState::default() };
        Ok(PipelineState { stages: vec![stage] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        let execution = self.pipeline_execution("pipeline-execution").await?;
        Ok(Page { items: vec![execution], next: None })
    }

    async fn pipeline_execution(&self, id: &str) -> Result<PipelineExecution, CallError> {
        Ok(PipelineExecution {
            id: id.to_owned(),
            status: self.status,
            started_at: Some(at(-100)),
            updated_at: Some(at(-50)),
            source_revisions: Vec::new(),
            mode: ExecutionMode::Serial,
        })
    }

    async fn action_executions(
        &self,
        _execution: Option<&str>,
        _page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let entry = self.pending.as_ref().map(|_| ActionExecution {
            pipeline_execution_id: "pipeline-execution".to_owned(),
            action_execution_id: "action-execution".to_owned(),
            stage_name: "Production".to_owned(),
            action_name: "Approve".to_owned(),
            category: "Approval".to_owned(),
            external_execution_id: None,
            started_at: Some(at(-50)),
            progress: ActionProgress::InProgress,
        });
        Ok(Page { items: entry.into_iter().collect(), next: None })
    }
}

fn by_id() -> ApprovalDecision {
    fresh().with(|decision| {
        decision.spec.token = None;
        decision.spec.pipeline_execution_id = Some(PipelineExecutionId("pipeline-execution".to_owned()));
    })
}

/// A poll that starts then, for a subscription that started at second 1.
fn poll(seconds: i64, status: ExecutionStatus, pending: Option<Token>) -> Option<PipelineObservation> {
    let query = Query::of(&by_id().spec).expect("a query");
    let pipeline = OneExecution { status, pending };
    let snapshot = read_snapshot(&pipeline, at(seconds), [query].into(), None);
    let poll = Poll::new(at(seconds), snapshot.now_or_never().expect("a result at once"));
    Some(PipelineObservation { subscribed_at: at(1), poll: Arc::new(poll) })
}

/// The execution has not reached the approval.
fn in_progress(seconds: i64) -> Option<PipelineObservation> {
    poll(seconds, ExecutionStatus::InProgress, None)
}

/// The approval is pending.
fn pending(seconds: i64) -> Option<PipelineObservation> {
    poll(seconds, ExecutionStatus::InProgress, Some(token()))
}

#[test]
fn a_decision_without_a_poll_waits_for_one() {
    let mut driver = reconcile(by_id(), 1);
    assert_eq!(driver.next(), "read any poll");
    assert_eq!(driver.next(), "read any poll", "until there is a result");
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or {WEEK} s"));
}

#[test]
fn a_decision_waits_for_a_newer_poll_after_it_reports_what_it_waits_for() {
    let mut driver = reconcile(by_id(), 2);
    assert_eq!(driver.next(), "read any poll");
    driver.reconciliation.on_snapshot(in_progress(1));
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), "read a poll newer than that of 1 s");
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or {WEEK} s"));
    // The next reconcile finds the same: it writes and announces nothing.
    let mut driver = reconcile(driver.reconciliation.decision().clone(), 17);
    assert_eq!(driver.next(), "read any poll");
    driver.reconciliation.on_snapshot(in_progress(16));
    assert_eq!(driver.next(), "read a poll newer than that of 16 s");
    driver.reconciliation.on_snapshot(pending(17));
    assert_eq!(driver.next(), "ensure credentials");
}

#[test]
fn a_pending_request_is_submitted_and_the_poll_that_showed_it_is_dropped() {
    let mut driver = reconcile(by_id(), 5);
    driver.next();
    driver.reconciliation.on_snapshot(pending(4));
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    assert!(driver.reconciliation.observed().pipeline.is_some());
    driver.written();
    assert!(driver.reconciliation.observed().pipeline.is_none());
    assert_eq!(driver.next(), "send before 10 s");
    driver.response(Ok(Some(at(6))));
    assert_eq!(driver.next(), "write Delivered");
    driver.written();
    assert_eq!(driver.rest(), ["announce Delivered", "finish"]);
}

#[test]
fn a_conflict_on_the_intent_drops_the_poll() {
    let mut driver = reconcile(by_id(), 5);
    driver.next();
    driver.reconciliation.on_snapshot(pending(4));
    driver.next();
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 1");
    driver.conflict(by_id().edited());
    assert_eq!(driver.next(), "read any poll", "the edit may name another request");
}

#[test]
fn a_refused_request_is_resolved_again_from_another_poll() {
    let mut driver = reconcile(by_id(), 5);
    driver.next();
    driver.reconciliation.on_snapshot(pending(4));
    driver.next();
    driver.credentials();
    driver.next();
    driver.written();
    assert_eq!(driver.next(), "send before 10 s");
    driver.response(Err(refusal(Refusal::InvalidApprovalToken)));
    assert_eq!(driver.next(), "write Waiting");
    driver.written();
    assert_eq!(driver.next(), "announce Waiting");
    assert_eq!(driver.next(), "read any poll", "the poll before the request is out of date");
    assert!(matches!(driver.reconciliation.observed().attempt, Attempt::None));
    driver.reconciliation.on_snapshot(pending(6));
    assert_eq!(driver.next(), "ensure credentials");
    driver.credentials();
    assert_eq!(driver.next(), "record the intent of attempt 2");
}

#[test]
fn a_poll_that_started_too_early_is_not_final() {
    let failed = ExecutionStatus::Ended(ExecutionEnd::Failed);
    let mut driver = reconcile(by_id(), 2);
    driver.next();
    driver.reconciliation.on_snapshot(poll(2, failed, None));
    let wanted = "read a poll newer than that of 2 s, or one of 3 s";
    assert_eq!(driver.next(), wanted, "the stage may be about to be retried");
    driver.reconciliation.on_snapshot(None);
    assert_eq!(driver.next(), format!("finish until a change or a poll of 3 s or {WEEK} s"));
    let mut driver = reconcile(by_id(), 2);
    driver.next();
    driver.reconciliation.on_snapshot(poll(2, failed, None));
    assert_eq!(driver.next(), wanted);
    driver.reconciliation.on_snapshot(poll(3, failed, None));
    assert_eq!(driver.next(), "write ExecutionEnded");
    driver.written();
    assert_eq!(driver.rest(), ["announce ExecutionEnded", "finish"]);
}

#[test]
fn a_poll_drops_the_history_that_was_read_before() {
    let mut driver = reconcile(by_id(), 5);
    driver.next();
    driver.record(ApprovalRecord::NotVisible);
    driver.reconciliation.on_snapshot(in_progress(4));
    assert!(driver.reconciliation.observed().record.is_none());
}
