//! Any sequence of commands, at any times, gets a response and keeps the rules of CodePipeline: unique ids, one result of an
//! approval, one execution in a stage.

use super::start;
use crate::api::{self, ApprovalStatus, DispatchError, Operation, PutApprovalResultInput};
use crate::model::{
    Behaviour, ExecutionMode, Lags, Name, Outcome, PipelineDefinition, PipelineExecutionId, RetryMode, Service,
    SourceRevision, StopMode,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Start,
    StartWithRevision,
    Respond,
    Stop(StopMode),
    Retry(RetryMode),
    Rollback,
    Override,
    Complete { succeeded: bool },
    Disable,
    Enable,
    Edit,
    SetMode(ExecutionMode),
    OpenApproval,
}

/// A command to a pipeline, its stage `a` or `b`, and one of its executions, after some seconds.
#[derive(Clone, Debug)]
pub(super) struct Command {
    kind: Kind,
    pipeline: &'static str,
    stage: &'static str,
    execution: Index,
    after: i64,
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    use Kind::{
        Complete, Disable, Edit, Enable, OpenApproval, Override, Respond, Retry, Rollback, SetMode, Start,
        StartWithRevision, Stop,
    };
    let frequent = select(vec![Start, StartWithRevision, Respond, Respond, Retry(RetryMode::FailedActions), Rollback]);
    let others = select(vec![
        Stop(StopMode::Wait),
        Stop(StopMode::Abandon),
        Retry(RetryMode::AllActions),
        Override,
        Complete { succeeded: true },
        Complete { succeeded: false },
        Disable,
        Enable,
        Edit,
        SetMode(ExecutionMode::Superseded),
        SetMode(ExecutionMode::Parallel),
        OpenApproval,
    ]);
    let pipeline = select(vec!["a", "a", "a", "b", "checkout", "previews"]);
    let after = select(vec![0, 1, 30, 3600, 700_000, i64::MAX]);
    let kind = prop_oneof![frequent, others];
    (kind, pipeline, select(vec!["a", "b"]), any::<Index>(), after)
        .prop_map(|(kind, pipeline, stage, execution, after)| Command { kind, pipeline, stage, execution, after })
}

/// Applies the commands to a service, and after each calls every operation and checks the rules.
pub(super) fn drive(service: &mut Service, commands: &[Command]) -> Result<(), TestCaseError> {
    let mut now = start();
    for command in commands {
        now = now.saturating_add(SignedDuration::from_secs(command.after)).unwrap();
        let name = command.pipeline;
        let executions = items(service, now, Operation::ListPipelineExecutions, name, "pipelineExecutionSummaries")?;
        let ids: Vec<PipelineExecutionId> = executions
            .iter()
            .filter_map(|execution| serde_json::from_value(execution["pipelineExecutionId"].clone()).ok())
            .collect();
        let id = (!ids.is_empty()).then(|| *command.execution.get(&ids));
        apply(service, now, command, id);
        service.advance_to(now);
        let due = service.next_due();
        prop_assert!(due.is_none_or(|due| due > now), "{:?} was due at {}", due, now);
        for operation in Operation::ALL {
            let body = match operation {
                Operation::GetPipelineState | Operation::GetPipeline => json!({ "name": name }),
                Operation::GetPipelineExecution => json!({ "pipelineName": name, "pipelineExecutionId": id }),
                Operation::ListPipelines => json!({}),
                Operation::PutApprovalResult | Operation::ListActionExecutions | Operation::ListPipelineExecutions => {
                    json!({ "pipelineName": name })
                }
            };
            call(service, now, *operation, &body)?;
        }
        let mut without_lags = service.clone();
        let zero = SignedDuration::ZERO;
        let lags = Lags { token: zero, start: zero, decision: zero, cancellation: zero };
        without_lags.set_behaviour(Behaviour { lags, ..Behaviour::default() });
        check_rules(&mut without_lags, now, name)?;
    }
    Ok(())
}

/// Commands without a valid target are refused.
fn apply(service: &mut Service, now: Timestamp, command: &Command, id: Option<PipelineExecutionId>) {
    let Command { pipeline: name, stage, .. } = *command;
    match (command.kind, id) {
        (Kind::Start, _) => drop(service.start_execution(now, name, &[])),
        (Kind::StartWithRevision, _) => {
            let revision_id = (command.execution.index(2) == 0).then(|| "v1".to_owned());
            let revision = SourceRevision { action_name: Name::new("Image").unwrap(), revision_id };
            drop(service.start_execution(now, name, &[revision]));
        }
        (Kind::Respond, _) => {
            for pending in service.pending_approvals(now, name).unwrap_or_default() {
                let approves = command.execution.index(2) == 0;
                let status = if approves { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
                let (stage, action) = (&*pending.stage_name, &*pending.action_name);
                let input = PutApprovalResultInput::new(name, stage, action, pending.approval.token, status, "");
                // The second one is always refused.
                for caller in ["arn:x", "arn:y"] {
                    drop(service.put_approval_result(now, caller, &input));
                }
            }
        }
        (Kind::Stop(mode), Some(id)) => drop(service.stop_execution(now, name, id, mode, "enough")),
        (Kind::Retry(mode), Some(id)) => drop(service.retry_stage(now, name, stage, id, mode)),
        (Kind::Rollback, Some(id)) => drop(service.rollback_stage(now, name, stage, id)),
        (Kind::Override, Some(id)) => drop(service.override_stage_condition(now, name, stage, id)),
        (Kind::Complete { succeeded }, Some(id)) => {
            drop(service.complete_action(now, name, id, (stage, "a"), succeeded));
        }
        (Kind::Disable, _) => drop(service.disable_stage_transition(now, name, stage, "freeze")),
        (Kind::Enable, _) => drop(service.enable_stage_transition(now, name, stage)),
        (Kind::Edit, _) => drop(service.edit_pipeline(now, name)),
        (Kind::SetMode(mode), _) => {
            let definition = PipelineDefinition::with_approval(name, "a", "a").unwrap().mode(mode);
            drop(service.put_pipeline(now, definition));
        }
        (Kind::OpenApproval, _) => drop(service.open_approval(now, (name, stage, "a"), &[])),
        (Kind::Stop(_) | Kind::Retry(_) | Kind::Rollback | Kind::Override | Kind::Complete { .. }, None) => {}
    }
}

fn call(service: &mut Service, now: Timestamp, operation: Operation, body: &Value) -> Result<Value, TestCaseError> {
    match api::dispatch(service, now, "arn:x", operation, body.to_string().as_bytes()) {
        Ok(output) => Ok(output),
        Err(DispatchError::Exception(_)) => Ok(Value::Null),
        Err(DispatchError::Malformed(message)) => Err(TestCaseError::fail(message)),
    }
}

/// The items of all pages of a list.
fn items(
    service: &mut Service,
    now: Timestamp,
    operation: Operation,
    pipeline: &str,
    member: &str,
) -> Result<Vec<Value>, TestCaseError> {
    let mut items = Vec::new();
    let mut body = json!({ "pipelineName": pipeline, "maxResults": 7 });
    loop {
        let page = call(service, now, operation, &body)?;
        items.extend(page[member].as_array().cloned().unwrap_or_default());
        let Some(token) = page.get("nextToken") else { return Ok(items) };
        body["nextToken"] = token.clone();
    }
}

fn check_rules(service: &mut Service, now: Timestamp, name: &str) -> Result<(), TestCaseError> {
    let executions = items(service, now, Operation::ListPipelineExecutions, name, "pipelineExecutionSummaries")?;
    let actions = items(service, now, Operation::ListActionExecutions, name, "actionExecutionDetails")?;
    for (items, id) in [(&executions, "pipelineExecutionId"), (&actions, "actionExecutionId")] {
        let ids: BTreeSet<String> = items.iter().map(|item| item[id].to_string()).collect();
        prop_assert_eq!(ids.len(), items.len(), "two items have the same {}", id);
    }
    let mut completed = BTreeSet::new();
    for entry in service.ledger() {
        if let Outcome::Accepted { action_execution_id, .. } = &entry.outcome {
            prop_assert!(completed.insert(*action_execution_id), "two results for {}", action_execution_id);
        }
    }
    for execution in &executions {
        if execution["executionType"] == "ROLLBACK" {
            check_rollback(execution, &executions, &actions)?;
        }
    }
    // The executions with an action in progress, by stage. PARALLEL executions do not lock.
    let mut in_stage: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for action in actions.iter().filter(|action| action["status"] == "InProgress") {
        let id = &action["pipelineExecutionId"];
        let execution = executions.iter().find(|execution| execution["pipelineExecutionId"] == *id);
        if execution.is_some_and(|execution| execution["executionMode"] != "PARALLEL") {
            in_stage.entry(action["stageName"].to_string()).or_default().insert(id.to_string());
        }
    }
    for (stage, executions) in in_stage {
        prop_assert!(executions.len() == 1, "stage {} has {:?}", stage, executions);
    }
    let state = call(service, now, Operation::GetPipelineState, &json!({ "name": name }))?;
    for stage in state["stageStates"].as_array().into_iter().flatten() {
        let automatic = &stage["retryStageMetadata"]["autoStageRetryAttempt"];
        prop_assert!(automatic.is_null() || *automatic == 1, "{}", stage);
        let latest = &stage["latestExecution"];
        let is_of = |action: &&Value| {
            action["pipelineExecutionId"] == latest["pipelineExecutionId"] && action["stageName"] == stage["stageName"]
        };
        prop_assert!(latest["status"] != "Skipped" || actions.iter().find(is_of).is_none(), "{}", stage);
    }
    Ok(())
}

/// A rollback runs one stage, with the source revisions of a standard execution.
fn check_rollback(rollback: &Value, executions: &[Value], actions: &[Value]) -> Result<(), TestCaseError> {
    let id = &rollback["pipelineExecutionId"];
    let own = actions.iter().filter(|action| action["pipelineExecutionId"] == *id);
    let stages: BTreeSet<String> = own.map(|action| action["stageName"].to_string()).collect();
    prop_assert!(stages.len() <= 1, "{} runs {:?}", rollback, stages);
    let target = &rollback["rollbackMetadata"]["rollbackTargetPipelineExecutionId"];
    let target = executions.iter().find(|execution| execution["pipelineExecutionId"] == *target);
    let expected = target.map(|target| (&target["executionType"], &target["sourceRevisions"]));
    prop_assert_eq!(expected, Some((&json!("STANDARD"), &rollback["sourceRevisions"])));
    Ok(())
}
