//! `spec.pipelineExecutionId`: the run of this id, whatever other runs do.

use super::{decided_by, exception};
use crate::support::{BOB, Case, condition, for_run, message, pinned, ready, reason, with_build};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, PipelineExecutionId, Reason};
use jiff::{SignedDuration, Timestamp};
use local_codepipeline::api::{ApprovalStatus as Answer, Operation, PutApprovalResultInput};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{
    Behaviour, ExecutionMode, Lags, PipelineDefinition, PipelineExecutionId as RunId, StopMode,
};
use std::time::Duration;

const MODES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];

/// What ends a run of a pipeline.
type End<'a> = &'a dyn Fn(&str, RunId);

fn rejecting(mut spec: ApprovalDecisionSpec) -> ApprovalDecisionSpec {
    spec.result.status = ApprovalStatus::Rejected;
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_a_run_that_is_at_its_approval_is_sent_at_once() {
    let case = Case::new().await;
    // Nothing is waited for, so an interval does not matter.
    let _operator = case.operator().argument("--poll-interval=1h").start();
    for (pipeline, mode) in MODES {
        case.put(PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap().mode(mode));
        let approval = case.open(pipeline);
        case.create(pipeline, for_run(pipeline, approval.pipeline_execution_id)).await;
        let decision = case.until_delivered(pipeline, pipeline, &approval).await;
        assert!(decision.status.unwrap().approved_at.is_some(), "{pipeline}");
        // It never waited.
        case.until_events(pipeline, &["Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_a_run_on_its_way_says_where_it_is_and_is_sent_when_it_gets_there() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for (pipeline, mode) in MODES {
        case.put(with_build(pipeline).mode(mode));
        let run = case.start(pipeline, "v1");
        case.create(pipeline, for_run(pipeline, run)).await;
        let waiting = case.until_reason(pipeline, Reason::Waiting).await;
        let expected = format!("Run {run} is in stage Build (InProgress). ");
        assert!(message(&waiting).starts_with(&expected), "{pipeline}: {}", message(&waiting));
        assert_eq!(ready(&waiting), Some(ConditionStatus::Unknown), "{pipeline}");
        assert!(condition(&waiting, "Reconciling").is_some(), "{pipeline}");
        case.looks(pipeline, 2).await;
        assert_eq!(case.service.requests_of(Operation::PutApprovalResult, pipeline), 0, "{pipeline}");
        case.built(pipeline, run, true);
        let pending = case.pending(pipeline);
        case.until_delivered(pipeline, pipeline, &pending[0]).await;
        case.until_events(pipeline, &["Waiting", "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_lags_of_the_live_service_the_answer_is_sent_as_soon_as_the_token_shows() {
    let case = Case::new().await;
    let behaviour = Behaviour { lags: Lags::lifelike(), ..Behaviour::default() };
    case.service.service(|service, _| service.set_behaviour(behaviour));
    let _operator = case.operator().start();
    let mut runs = Vec::new();
    for (pipeline, mode) in MODES {
        case.put(with_build(pipeline).mode(mode));
        let run = case.start(pipeline, "v1");
        case.create(pipeline, for_run(pipeline, run)).await;
        case.until_message(pipeline, "is in stage Build").await;
        case.built(pipeline, run, true);
        runs.push(run);
    }
    for ((pipeline, _), run) in MODES.into_iter().zip(runs) {
        case.until_message(pipeline, &format!("Run {run} is at the approval, whose token is not to be seen yet")).await;
        let approval = case.pending(pipeline)[0];
        case.until_delivered(pipeline, pipeline, &approval).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_its_approval_is_answered_ends_its_decision() {
    let case = Case::new().await;
    let stop = |pipeline: &str, run: RunId| {
        let mode = StopMode::Abandon;
        case.service.service(|service, now| service.stop_execution(now, pipeline, run, mode, "enough").unwrap());
    };
    // A newer run that comes to wait in front of a stage takes the place of the one that waits there.
    let overtake = |pipeline: &str, run: RunId| {
        case.built(pipeline, run, true);
        let next = case.start(pipeline, "v3");
        case.built(pipeline, next, true);
    };
    let rows: [(&str, &str, End<'_>); 6] = [
        ("failed", "Failed", &|pipeline, run| case.built(pipeline, run, false)),
        ("stopped", "Stopped", &stop),
        ("stopped-at-the-approval", "Stopped", &|pipeline, run| {
            case.built(pipeline, run, true);
            stop(pipeline, run);
        }),
        ("edited", "Failed", &|pipeline, run| {
            case.built(pipeline, run, true);
            case.service.service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
        }),
        ("edited-on-its-way", "Failed", &|pipeline, run| {
            case.service.service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
            case.built(pipeline, run, true);
        }),
        ("superseded", "Superseded", &overtake),
    ];
    let _operator = case.operator().start();
    let mut runs = Vec::new();
    for (pipeline, ..) in &rows {
        case.put(with_build(pipeline));
        if *pipeline == "superseded" {
            let first = case.start(pipeline, "v1");
            case.built(pipeline, first, true);
        }
        let run = case.start(pipeline, "v2");
        case.create(pipeline, for_run(pipeline, run)).await;
        runs.push(run);
    }
    for ((pipeline, _, end), run) in rows.iter().zip(&runs) {
        case.until_message(pipeline, "is in stage Build").await;
        // What happens in between is not seen.
        let fault = Fault::access_denied().on(Operation::GetPipelineState);
        case.service.fault(fault.pipeline(*pipeline).always());
        end(pipeline, *run);
        case.create(&format!("{pipeline}-afterwards"), for_run(pipeline, *run)).await;
        case.service.clear_faults_of(pipeline);
    }
    for ((pipeline, how, _), run) in rows.iter().zip(&runs) {
        for name in [(*pipeline).to_owned(), format!("{pipeline}-afterwards")] {
            let decision = case.until_reason(&name, Reason::ExecutionEnded).await;
            let expected = format!("Run {run} ended ({how}) before its approval was answered");
            assert!(message(&decision).starts_with(&expected), "{name}: {}", message(&decision));
            assert!(condition(&decision, "Stalled").is_some(), "{name}");
            assert_eq!(pinned(&decision).0, Some(run.to_string()), "{name}");
        }
        assert!(case.taken(pipeline).is_empty(), "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_timed_out_ends_its_decision() {
    let case = Case::new().await;
    let run = case.open("web").pipeline_execution_id;
    case.service.advance(Duration::from_hours(8 * 24));
    case.create("web", for_run("web", run)).await;
    let _operator = case.operator().start();
    let decision = case.until_reason("web", Reason::ExecutionEnded).await;
    assert!(message(&decision).contains("ended (Failed)"), "{}", message(&decision));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_answered_is_told_from_the_record_and_nothing_is_sent() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let rows = [
        ("approved", Answer::Approved, Reason::AlreadyDecided, Reason::ApprovalAlreadyCompleted),
        ("rejected", Answer::Rejected, Reason::ApprovalAlreadyCompleted, Reason::AlreadyDecided),
    ];
    for (pipeline, answer, ..) in rows {
        case.put(with_build(pipeline));
        let run = case.start(pipeline, "v1");
        let [before, rejection] = ["before", "rejection"].map(|name| format!("{pipeline}-{name}"));
        case.create(&before, for_run(pipeline, run)).await;
        case.until_reason(&before, Reason::Waiting).await;
        // Between two looks, so that the operator never sees it pending.
        case.service.service(|service, now| {
            service.complete_action(now, pipeline, run, ("Build", "Compile"), true).unwrap();
            let token = service.pending_approvals(now, pipeline).unwrap()[0].approval.token;
            let input = PutApprovalResultInput::new(pipeline, "Prod", "Approve", token, answer, "bob's words");
            service.put_approval_result(now, BOB, &input).unwrap();
        });
        case.create(&rejection, rejecting(for_run(pipeline, run))).await;
    }
    for (pipeline, _, approving, rejecting) in rows {
        for (name, expected) in [("before", approving), ("rejection", rejecting)] {
            let name = format!("{pipeline}-{name}");
            let decision = case.until_reason(&name, expected).await;
            assert_eq!((decided_by(&decision), exception(&decision)), (Some(BOB), None), "{name}");
            assert!(message(&decision).contains(&format!("{pipeline} by {BOB}")), "{name}: {}", message(&decision));
        }
    }
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_unknown_for_a_minute_is_not_found_and_an_edit_finds_another() {
    let case = Case::new().await;
    let approval = case.open("web");
    let mut typo = for_run("web", approval.pipeline_execution_id);
    typo.pipeline_execution_id = Some(PipelineExecutionId("00000000-0000-4000-8000-000000000000".to_owned()));
    case.create("web", typo).await;
    let begun = Timestamp::now();
    let _operator = case.operator().start();
    let waiting = case.until_reason("web", Reason::Waiting).await;
    assert!(message(&waiting).starts_with("CodePipeline does not know the run of web"), "{}", message(&waiting));
    let decision = case.until_reason("web", Reason::PipelineExecutionNotFound).await;
    assert!(Timestamp::now().duration_since(begun) >= SignedDuration::from_mins(1));
    assert_eq!(exception(&decision), Some("PipelineExecutionNotFoundException"));
    let said = decision.status.as_ref().unwrap().exception.as_ref().unwrap().message.clone();
    assert!(!said.is_empty() && message(&decision).contains(&said), "{}", message(&decision));
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
    let right = serde_json::json!({ "spec": { "pipelineExecutionId": approval.pipeline_execution_id } });
    case.patch("web", right).await.unwrap();
    let delivered = case.until_delivered("web", "web", &approval).await;
    assert_eq!(exception(&delivered), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_lists_do_not_show_yet_is_found_when_they_do() {
    let case = Case::new().await;
    case.service.service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.start = SignedDuration::from_secs(4);
        service.set_behaviour(behaviour);
    });
    case.put(with_build("web"));
    let run = case.start("web", "v1");
    case.create("web", for_run("web", run)).await;
    let _operator = case.operator().start();
    case.until_message("web", "CodePipeline does not know the run of web").await;
    let found = case.until_message("web", &format!("Run {run} is in stage Build")).await;
    assert_eq!((reason(&found), exception(&found)), (Some(Reason::Waiting), None));
    case.built("web", run, true);
    let approval = case.pending("web")[0];
    case.until_delivered("web", "web", &approval).await;
}
