//! A pipeline with two approvals: what the operator reads and submits for one says nothing about the other.

use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, Reason};
use jiff::SignedDuration;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{
    ActionDefinition, Category, Name, PipelineDefinition, SourceRevision, StageDefinition, StopMode,
};
use serde_json::json;
use std::time::Duration;
use test_support::{BOB, TestEnv, for_execution, for_revision, pipeline_with_build, spec};

/// Adds the approval Dev/Approve in front of the stage with this number.
fn with_dev(mut definition: PipelineDefinition, number: usize) -> PipelineDefinition {
    let approve = ActionDefinition::new("Approve", Category::Approval).unwrap();
    definition.stages.insert(number, StageDefinition::new("Dev", vec![approve]).unwrap());
    definition
}

fn at_dev(spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
    ApprovalDecisionSpec { stage_name: "Dev".to_owned(), ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_counts_although_history_was_read_for_the_other_approval_of_the_execution_only() {
    let env = TestEnv::new().await;
    env.put_pipeline(with_dev(PipelineDefinition::with_approval("web", "Prod", "Approve").unwrap(), 1));
    let revision = SourceRevision { action_name: Name::new("Source").unwrap(), revision_id: Some("v1".to_owned()) };
    // So long ago that one read of its history is enough.
    let first = env.codepipeline.with_service(|service, now| {
        let then = now - SignedDuration::from_mins(10);
        let at_prod = service.open_approval(then, ("web", "Prod", "Approve"), &[revision]).unwrap();
        let execution = at_prod.pipeline_execution_id;
        service.stop_execution(then, "web", execution, StopMode::Abandon, "not today").unwrap();
        execution
    });
    let operator = env.operator().start();
    env.create("prod", for_revision("web", "v1")).await;
    let expected = "ended (Stopped) before its approval received a response; waiting for a later execution";
    env.wait_for_message("prod", expected).await;
    env.create("dev-revision", at_dev(for_revision("web", "v1"))).await;
    env.create("dev-execution", at_dev(for_execution("web", first))).await;
    for name in ["dev-revision", "dev-execution"] {
        env.wait_for_reason(name, Reason::AlreadyDecided).await;
    }
    env.start_execution("web", "v1");
    let at_dev = env.pending_approvals("web")[0];
    env.wait_for_polls("web", 3).await;
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0, "{}", operator.log());
    let at = ("web", "Dev", "Approve");
    env.codepipeline.respond_as(BOB, at, at_dev.token, ResultStatus::Approved, "bob's summary").unwrap();
    let at_prod = env.pending_approvals("web")[0];
    env.wait_until_delivered("prod", "web", &at_prod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_submissions_to_one_approval_do_not_delay_a_decision_for_the_other() {
    let env = TestEnv::new().await;
    env.put_pipeline(with_dev(pipeline_with_build("web"), 3));
    let other = env.open_approval("other");
    let operator = env.operator().start();
    let execution = env.start_execution("web", "v1");
    env.create("prod", for_execution("web", execution)).await;
    env.wait_for_reason("prod", Reason::Waiting).await;
    // A poll takes longer than a submission.
    let reads = [Operation::GetPipelineState, Operation::ListPipelineExecutions, Operation::ListActionExecutions];
    for operation in reads {
        env.codepipeline.inject(Fault::delayed().on(operation).delay_before(Duration::from_millis(600)).always());
    }
    env.create("wrong-token", at_dev(spec("web", &other))).await;
    let submissions = async {
        for number in 1.. {
            env.wait_for_submissions("web", number).await;
            let requested_at = number.to_string();
            let patch =
                json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": requested_at } } });
            env.patch("wrong-token", patch).await.unwrap();
        }
    };
    let delivery = async {
        env.wait_for_submissions("web", 2).await;
        env.complete_build("web", execution, true);
        let at_prod = env.pending_approvals("web")[0];
        env.wait_until_delivered("prod", "web", &at_prod).await;
        let submitted = env.codepipeline.request_count_for(Operation::PutApprovalResult, "web");
        assert!(submitted > 3, "{submitted}: too few to matter\n{}", operator.log());
    };
    tokio::select! {
        () = submissions => {}
        () = delivery => {}
    }
}
