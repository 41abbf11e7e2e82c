//! Decisions that are bound to a run: they wait for its approval, answer that one and no other, and tell what came of it
//! where there is none to answer.

mod execution;
mod refused;
mod revision;
mod succession;

use crate::support::{Case, for_revision, for_run, message, reason, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason};
use local_codepipeline::api::Operation;
use local_codepipeline::model::ExecutionMode;

/// The exception that a decision shows.
fn exception(decision: &ApprovalDecision) -> Option<&str> {
    decision.status.as_ref()?.exception.as_ref().map(|exception| exception.r#type.as_str())
}

fn decided_by(decision: &ApprovalDecision) -> Option<&str> {
    decision.status.as_ref()?.decided_by.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_or_an_action_that_is_not_there_is_told_at_once_and_without_an_exception() {
    let case = Case::new().await;
    case.put(with_build("web"));
    let run = case.start("web", "v1");
    let at = |stage: &str, action: &str, spec: ApprovalDecisionSpec| ApprovalDecisionSpec {
        stage_name: stage.to_owned(),
        action_name: action.to_owned(),
        ..spec
    };
    let rows = [
        ("stage", "Nowhere", "Approve", Reason::StageNotFound, r#"The pipeline web has no stage "Nowhere""#),
        ("action", "Prod", "Nothing", Reason::ActionNotFound, r#"The stage Prod of web has no action "Nothing""#),
        ("build", "Build", "Compile", Reason::ActionNotFound, "is of the category Build, and no approval"),
    ];
    for (name, stage, action, ..) in rows {
        case.create(&format!("run-{name}"), at(stage, action, for_run("web", run))).await;
        // That there is no such stage does not wait for a run of the revision.
        case.create(&format!("revision-{name}"), at(stage, action, for_revision("web", "later"))).await;
    }
    let _operator = case.operator().start();
    for (name, .., expected, words) in rows {
        for binding in ["run", "revision"] {
            let name = format!("{binding}-{name}");
            let decision = case.until_reason(&name, expected).await;
            assert!(message(&decision).contains(words), "{name}: {}", message(&decision));
            assert_eq!(exception(&decision), None, "{name}");
            // It never waited. Only the history of a run tells what an action is, and of this revision there is none: what
            // others ask decides when it is read.
            if name != "revision-build" {
                case.until_events(&name, &[expected.as_str()]).await;
            }
        }
    }
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_not_there_is_told_at_once_with_the_services_exception() {
    let case = Case::new().await;
    let run = case.open("other").pipeline_execution_id;
    case.create("run", for_run("none", run)).await;
    case.create("revision", for_revision("none", "v1")).await;
    let _operator = case.operator().start();
    for name in ["run", "revision"] {
        let decision = case.until_reason(name, Reason::PipelineNotFound).await;
        assert_eq!(exception(&decision), Some("PipelineNotFoundException"), "{name}");
    }
    // Once it is there, an edit or the annotation has it looked at again, as with a token.
    let approval = case.open("none");
    let corrected = serde_json::json!({ "spec": { "pipelineExecutionId": approval.pipeline_execution_id } });
    case.patch("run", corrected).await.unwrap();
    case.until_delivered("run", "none", &approval).await;
    assert_eq!(reason(&case.decisions.get("revision").await.unwrap()), Some(Reason::PipelineNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_that_wait_for_the_same_runs_answer_each_once() {
    let case = Case::new().await;
    let operators = [case.operator().start(), case.operator().start()];
    let pipelines: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let mut runs = Vec::new();
    for (number, pipeline) in pipelines.iter().enumerate() {
        case.put(with_build(pipeline));
        runs.push(case.start(pipeline, "v1"));
        let spec = if number % 2 == 0 { for_run(pipeline, runs[number]) } else { for_revision(pipeline, "v1") };
        case.create(pipeline, spec).await;
    }
    for pipeline in &pipelines {
        case.until_reason(pipeline, Reason::Waiting).await;
    }
    for (pipeline, run) in pipelines.iter().zip(&runs) {
        case.built(pipeline, *run, true);
    }
    for pipeline in &pipelines {
        case.until_reason(pipeline, Reason::Delivered).await;
        let asked = case.service.requests_of(Operation::PutApprovalResult, pipeline);
        assert_eq!((asked, case.taken(pipeline).len()), (1, 1), "{pipeline}\n{}", operators[0].log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_found_behind_more_newer_ones_than_a_page_holds() {
    let case = Case::new().await;
    let modes = [("superseded", ExecutionMode::Superseded), ("parallel", ExecutionMode::Parallel)];
    for (pipeline, mode) in modes {
        case.put(with_build(pipeline).mode(mode));
        let run = case.start(pipeline, "v1");
        case.built(pipeline, run, true);
        let approval = case.pending(pipeline)[0];
        for number in 0..230 {
            let newer = case.start(pipeline, &format!("newer-{number}"));
            case.built(pipeline, newer, number % 2 == 0 && mode == ExecutionMode::Parallel);
        }
        let (by_run, by_revision) = (format!("{pipeline}-run"), format!("{pipeline}-revision"));
        case.create(&by_run, for_run(pipeline, run)).await;
        case.create(&by_revision, for_revision(pipeline, "none-yet")).await;
        let _operator = case.operator().start();
        case.until_delivered(&by_run, pipeline, &approval).await;
        case.until_message(&by_revision, "No run of").await;
    }
}
