//! Decisions that name an execution or a source revision: they wait for the approval of that execution, respond to no other,
//! and report how the execution ended if its approval never becomes pending.

mod execution;
mod refused;
mod reports;
mod revision;
mod succession;
mod two_approvals;

use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason};
use local_codepipeline::api::Operation;
use local_codepipeline::model::ExecutionMode;
use test_support::{TestEnv, condition, for_execution, for_revision, message, pipeline_with_build};

/// The type of the exception in the status.
fn exception(decision: &ApprovalDecision) -> Option<&str> {
    decision.status.as_ref()?.exception.as_ref().map(|exception| exception.r#type.as_str())
}

fn decided_by(decision: &ApprovalDecision) -> Option<&str> {
    decision.status.as_ref()?.decided_by.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stage_or_action_is_reported_at_once_and_without_an_exception() {
    let env = TestEnv::new().await;
    env.put_pipeline(pipeline_with_build("web"));
    let execution = env.start_execution("web", "v1");
    let at = |stage: &str, action: &str, spec: ApprovalDecisionSpec| ApprovalDecisionSpec {
        stage_name: stage.to_owned(),
        action_name: action.to_owned(),
        ..spec
    };
    let rows = [
        (
            "stage",
            "Nowhere",
            "Approve",
            Reason::StageNotFound,
            r#"Pipeline web has no stage "Nowhere"; its stages are Source, Build, Prod"#,
        ),
        (
            "action",
            "Prod",
            "Nothing",
            Reason::ActionNotFound,
            r#"Stage Prod of pipeline web has no action "Nothing"; action Approve may be an approval"#,
        ),
        ("build", "Build", "Compile", Reason::ActionNotFound, "is not an approval: its category is Build"),
    ];
    for (name, stage, action, ..) in rows {
        env.create(&format!("execution-{name}"), at(stage, action, for_execution("web", execution))).await;
        // A missing stage is reported before an execution of the revision exists.
        env.create(&format!("revision-{name}"), at(stage, action, for_revision("web", "later"))).await;
    }
    let _operator = env.operator().start();
    for (name, .., expected, words) in rows {
        for binding in ["execution", "revision"] {
            let name = format!("{binding}-{name}");
            let decision = env.wait_for_reason(&name, expected).await;
            assert!(condition(&decision, "Reconciling").is_some(), "{name}: the pipeline may change");
            assert!(message(&decision).contains(words), "{name}: {}", message(&decision));
            assert_eq!(exception(&decision), None, "{name}");
            // The decision never waited. For `revision-build` this depends on when another decision has the history read:
            // only the history of an execution shows the category of an action, and this revision has no execution.
            if name != "revision-build" {
                env.wait_for_events(&name, &[expected.as_str()]).await;
            }
        }
    }
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pipeline_is_reported_with_the_exception_of_codepipeline_until_someone_creates_it() {
    let env = TestEnv::new().await;
    let execution = env.open_approval("other").pipeline_execution_id;
    env.create("execution", for_execution("none", execution)).await;
    env.create("revision", for_revision("none", "v1")).await;
    let _operator = env.operator().start();
    for name in ["execution", "revision"] {
        let decision = env.wait_for_reason(name, Reason::PipelineNotFound).await;
        assert_eq!(exception(&decision), Some("PipelineNotFoundException"), "{name}");
        assert!(condition(&decision, "Reconciling").is_some(), "{name}");
    }
    env.put_pipeline(pipeline_with_build("none"));
    let execution = env.start_execution("none", "v1");
    env.complete_build("none", execution, true);
    let approval = env.pending_approvals("none")[0];
    let delivered = env.wait_until_delivered("revision", "none", &approval).await;
    assert_eq!(exception(&delivered), None);
    env.wait_for_message("execution", "CodePipeline does not know execution ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_that_wait_for_the_same_executions_respond_once_to_each() {
    let env = TestEnv::new().await;
    let operators = [env.operator().start(), env.operator().start()];
    let pipelines: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let mut executions = Vec::new();
    for (number, pipeline) in pipelines.iter().enumerate() {
        env.put_pipeline(pipeline_with_build(pipeline));
        executions.push(env.start_execution(pipeline, "v1"));
        let spec =
            if number % 2 == 0 { for_execution(pipeline, executions[number]) } else { for_revision(pipeline, "v1") };
        env.create(pipeline, spec).await;
    }
    for pipeline in &pipelines {
        env.wait_for_reason(pipeline, Reason::Waiting).await;
    }
    for (pipeline, execution) in pipelines.iter().zip(&executions) {
        env.complete_build(pipeline, *execution, true);
    }
    for pipeline in &pipelines {
        env.wait_for_reason(pipeline, Reason::Delivered).await;
        let submitted = env.codepipeline.request_count_for(Operation::PutApprovalResult, pipeline);
        assert_eq!((submitted, env.accepted_submissions(pipeline).len()), (1, 1), "{pipeline}\n{}", operators[0].log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_found_behind_more_newer_ones_than_fit_on_a_page() {
    let env = TestEnv::new().await;
    let modes = [("superseded", ExecutionMode::Superseded), ("parallel", ExecutionMode::Parallel)];
    for (pipeline, mode) in modes {
        env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        let execution = env.start_execution(pipeline, "v1");
        env.complete_build(pipeline, execution, true);
        let approval = env.pending_approvals(pipeline)[0];
        for number in 0..230 {
            let newer = env.start_execution(pipeline, &format!("newer-{number}"));
            env.complete_build(pipeline, newer, number % 2 == 0 && mode == ExecutionMode::Parallel);
        }
        let (by_execution, by_revision) = (format!("{pipeline}-execution"), format!("{pipeline}-revision"));
        env.create(&by_execution, for_execution(pipeline, execution)).await;
        env.create(&by_revision, for_revision(pipeline, "none-yet")).await;
        let _operator = env.operator().start();
        env.wait_until_delivered(&by_execution, pipeline, &approval).await;
        env.wait_for_message(&by_revision, "No execution of pipeline").await;
    }
}
