//! What the ids of a request prove. The tests of snapshots show which history is read for it.

use super::*;
use crate::codepipeline::pipeline::{
    ActionState, CompletionStatus, Page, PipelineExecution, PipelineState, StageExecution, StageState,
};
use crate::codepipeline::{PipelineReader, read_snapshot};
use futures::FutureExt;

const TOKEN: &str = "0a1b2c3d-0000-4000-8000-00000000000a";

/// A pipeline with these views of the approval.
struct Views {
    latest: Option<LatestExecution>,
    history: Vec<ActionExecution>,
}

impl PipelineReader for Views {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        let actions = vec![ActionState { name: "Approve".to_owned(), latest_execution: self.latest.clone() }];
        let in_stage = StageExecution { pipeline_execution_id: "in-stage".to_owned(), status: "InProgress".to_owned() };
        let latest_execution = Some(in_stage);
        let stage = StageState { name: "Production".to_owned(), actions, latest_execution, ..StageState::default() };
        Ok(PipelineState { stages: vec![stage] })
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        Err(CallError::Indeterminate { detail: "the connection broke".to_owned() })
    }

    async fn action_executions(
        &self,
        _execution: Option<&str>,
        _page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        Ok(Page { items: self.history.clone(), next: None })
    }
}

fn approved(summary: &str) -> ActionProgress {
    let (status, summary) = (CompletionStatus::Succeeded, Some(summary.to_owned()));
    ActionProgress::Completed(ActionCompletion { status, summary, at: None, by: None })
}

fn latest(id: &str, token: Option<&str>, progress: ActionProgress) -> LatestExecution {
    let (action_execution_id, token) = (Some(id.to_owned()), token.map(|token| Token(token.to_owned())));
    LatestExecution { action_execution_id, external_execution_id: None, token, progress }
}

fn entry(id: &str, external: Option<&str>, progress: ActionProgress) -> ActionExecution {
    ActionExecution {
        pipeline_execution_id: "execution".to_owned(),
        action_execution_id: id.to_owned(),
        stage_name: "Production".to_owned(),
        action_name: "Approve".to_owned(),
        category: "Approval".to_owned(),
        external_execution_id: external.map(str::to_owned),
        started_at: None,
        progress,
    }
}

fn record(latest: Option<LatestExecution>, history: Vec<ActionExecution>, ids: &ExecutionIds) -> ApprovalRecord {
    let token = Token(TOKEN.to_owned());
    let request = RecordQuery { stage: "Production", action: "Approve", token: &token, ids };
    let views = Views { latest, history };
    let snapshot = read_snapshot(&views, Timestamp::UNIX_EPOCH, [request.query()].into(), None);
    snapshot.now_or_never().expect("a result at once").expect("a snapshot").record_of(request)
}

fn ids(pipeline: Option<&str>, action: Option<&str>) -> ExecutionIds {
    ExecutionIds { pipeline: pipeline.map(str::to_owned), action: action.map(str::to_owned) }
}

/// The summary of a completed request, and its ids.
fn completed(record: &ApprovalRecord) -> Option<(&str, &ExecutionIds)> {
    match record {
        ApprovalRecord::Completed(completed) => Some((completed.summary.as_deref()?, &completed.ids)),
        _ => None,
    }
}

#[test]
fn a_pending_request_has_the_execution_in_its_stage_and_a_completed_one_may_not() {
    let pending = || Some(latest("action", Some(TOKEN), ActionProgress::InProgress));
    let found = |record| match record {
        ApprovalRecord::Pending(ids) => ids,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(record(pending(), vec![], &ids(None, None))), ids(Some("in-stage"), Some("action")));
    assert_eq!(found(record(pending(), vec![], &ids(Some("known"), None))), ids(Some("known"), Some("action")));
    let done = record(Some(latest(TOKEN, None, approved("ours"))), vec![], &ids(None, None));
    assert_eq!(completed(&done), Some(("ours", &ids(None, Some(TOKEN)))));
}

#[test]
fn the_token_of_another_request_proves_nothing() {
    let other = Some(latest("action", Some("another"), ActionProgress::InProgress));
    assert_eq!(record(other, vec![], &ids(None, None)), ApprovalRecord::NotVisible);
    let other = Some(latest("action", None, approved("theirs")));
    assert_eq!(record(other, vec![], &ids(None, None)), ApprovalRecord::NotVisible);
    let elsewhere = ActionExecution { action_name: "Confirm".to_owned(), ..entry(TOKEN, None, approved("theirs")) };
    assert_eq!(record(None, vec![elsewhere], &ids(None, None)), ApprovalRecord::NotVisible);
}

#[test]
fn history_ties_a_request_to_its_token_by_any_of_its_ids() {
    for (entry, known) in [
        (entry(TOKEN, None, approved("ours")), ids(None, None)),
        (entry("action", Some(TOKEN), approved("ours")), ids(None, None)),
        (entry("action", None, approved("ours")), ids(None, Some("action"))),
    ] {
        let expected = ids(Some("execution"), Some(&entry.action_execution_id));
        assert_eq!(completed(&record(None, vec![entry], &known)), Some(("ours", &expected)));
    }
}

#[test]
fn a_completion_counts_whichever_view_shows_it_and_the_state_view_is_the_better_witness() {
    let in_progress = || entry(TOKEN, None, ActionProgress::InProgress);
    let done = record(Some(latest(TOKEN, None, approved("state"))), vec![in_progress()], &ids(Some("x"), None));
    assert_eq!(completed(&done).map(|(summary, _)| summary), Some("state"));
    let pending = Some(latest(TOKEN, Some(TOKEN), ActionProgress::InProgress));
    let history = vec![entry(TOKEN, None, approved("history"))];
    assert_eq!(completed(&record(None, history, &ids(Some("x"), None))).map(|(summary, _)| summary), Some("history"));
    let found = record(pending, vec![in_progress()], &ids(Some("x"), None));
    assert!(matches!(found, ApprovalRecord::Pending(_)));
    let without_token = Some(latest(TOKEN, None, ActionProgress::InProgress));
    let found = record(without_token, vec![in_progress()], &ids(None, None));
    assert_eq!(found, ApprovalRecord::Lagging(ids(Some("execution"), Some(TOKEN))));
}
