//! Tests of CodePipeline's rules, one for each rule. This module has their helpers: a clock in seconds, and reads
//! reduced to the relevant members.

mod entry_conditions;
mod executions;
mod large_pipelines;
mod parallel_state;
mod put_approval_result;
mod reads;
mod retries;
mod rollbacks;
mod source_revisions;
mod validation;
mod versions;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::api::*;

const ALICE: &str = "arn:aws:iam::123456789012:user/alice";
const AT: (&str, &str, &str) = ("p", "Prod", "Approve");

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn empty_service(behaviour: Behaviour) -> Service {
    Service::new(Account::default(), behaviour, Uuid::nil())
}

/// Source, Build, Prod: the build runs until `build` completes it, then the approval is pending.
fn definition() -> PipelineDefinition {
    let build = ActionDefinition::new("Make", Category::Build).unwrap().duration(ActionDuration::UntilCompleted);
    let mut definition = PipelineDefinition::with_approval("p", "Prod", "Approve").unwrap();
    definition.stages.insert(1, StageDefinition::new("Build", vec![build]).unwrap());
    definition
}

fn service_with(definition: PipelineDefinition) -> Service {
    let mut service = empty_service(Behaviour::default());
    service.put_pipeline(second(0), definition).unwrap();
    service
}

fn start(service: &mut Service, at: i64) -> PipelineExecutionId {
    service.start_execution(second(at), "p", &[]).unwrap()
}

fn build(service: &mut Service, at: i64, execution: PipelineExecutionId) {
    service.complete_action(second(at), "p", execution, ("Build", "Make"), true).unwrap();
}

fn token_of(service: &mut Service, at: i64, execution: PipelineExecutionId) -> Option<Token> {
    let pending = service.pending_approvals(second(at), "p").unwrap();
    pending
        .iter()
        .find(|pending| pending.approval.pipeline_execution_id == execution)
        .map(|pending| pending.approval.token)
}

fn put(service: &mut Service, at: i64, token: Token, status: ApprovalStatus, summary: &str) -> Result<(), Exception> {
    let input = PutApprovalResultInput::new(AT.0, AT.1, AT.2, token, status, summary);
    service.put_approval_result(second(at), ALICE, &input).map(drop)
}

fn kind<T: std::fmt::Debug>(result: Result<T, Exception>) -> ExceptionKind {
    result.unwrap_err().kind
}

fn approve(service: &mut Service, at: i64, token: Token) {
    put(service, at, token, ApprovalStatus::Approved, "yes").unwrap();
}

fn reject(service: &mut Service, at: i64, token: Token) {
    put(service, at, token, ApprovalStatus::Rejected, "no").unwrap();
}

fn statuses(service: &mut Service, at: i64) -> Vec<(PipelineExecutionId, ExecutionStatus)> {
    let input = ListPipelineExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
    let list = service.list_pipeline_executions(second(at), &input).unwrap().pipeline_execution_summaries;
    list.into_iter().rev().map(|execution| (execution.pipeline_execution_id, execution.status)).collect()
}

fn stage(service: &mut Service, at: i64, name: &str) -> StageState {
    let input = GetPipelineStateInput { name: Some("p".into()) };
    let state = service.get_pipeline_state(second(at), &input).unwrap();
    state.stage_states.into_iter().find(|stage| &stage.stage_name == name).unwrap()
}

/// The approval as GetPipelineState shows it.
fn approval_state(service: &mut Service, at: i64) -> Option<ActionExecution> {
    let states = stage(service, at, "Prod").action_states;
    states.into_iter().find(|action| &action.action_name == "Approve").unwrap().latest_execution
}

/// The attempts at the approval as the history shows them, newest first.
fn history(service: &mut Service, at: i64) -> Vec<ActionExecutionDetail> {
    let input = ListActionExecutionsInput { pipeline_name: Some("p".into()), ..Default::default() };
    let details = service.list_action_executions(second(at), &input).unwrap().action_execution_details;
    details.into_iter().filter(|detail| &detail.action_name == "Approve").collect()
}
