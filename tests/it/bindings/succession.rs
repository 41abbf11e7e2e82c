//! Runs that follow each other to one approval. The state view says of no execution of an action to which run it belongs,
//! and beside a run on its way stands what the run before left there: none of that is ever taken for the run's own.

use super::decided_by;
use crate::support::{BOB, Case, for_revision, for_run, ids, message, pinned, reason, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, Reason};
use jiff::SignedDuration;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId as RunId, RetryMode};
use serde_json::json;

/// The same with both bindings.
fn specs(pipeline: &str, run: RunId, revision: &str) -> [(&'static str, ApprovalDecisionSpec); 2] {
    [("run", for_run(pipeline, run)), ("revision", for_revision(pipeline, revision))]
}

fn history_lags(case: &Case) {
    case.service.service(|service, _| {
        let mut behaviour = service.behaviour().clone();
        behaviour.lags.decision = SignedDuration::from_secs(6);
        service.set_behaviour(behaviour);
    });
}

/// A run that was rejected by Bob and is retried since.
fn retried(case: &Case, pipeline: &str) -> (RunId, OpenApproval, OpenApproval) {
    case.put(with_build(pipeline));
    let run = case.start(pipeline, "v1");
    case.built(pipeline, run, true);
    let old = case.pending(pipeline)[0];
    case.bob(pipeline, &old, Answer::Rejected);
    retry(case, pipeline, run);
    (run, old, case.pending(pipeline)[0])
}

fn retry(case: &Case, pipeline: &str, run: RunId) {
    let retried =
        case.service.service(|service, now| service.retry_stage(now, pipeline, "Prod", run, RetryMode::FailedActions));
    retried.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_its_way_does_not_inherit_the_result_of_the_run_before() {
    for lag in [false, true] {
        let case = Case::new().await;
        if lag {
            history_lags(&case);
        }
        let _operator = case.operator().start();
        for answer in [Answer::Approved, Answer::Rejected] {
            for binding in [0, 1] {
                let pipeline = format!("{}-{binding}", answer.as_str());
                let pipeline = pipeline.as_str();
                case.put(with_build(pipeline));
                let first = case.start(pipeline, "v1");
                case.built(pipeline, first, true);
                let answered = case.pending(pipeline)[0];
                case.bob(pipeline, &answered, answer);
                let second = case.start(pipeline, "v2");
                let (_, spec) = specs(pipeline, second, "v2")[binding].clone();
                case.create(&pipeline.to_lowercase(), spec).await;
            }
        }
        for answer in [Answer::Approved, Answer::Rejected] {
            for binding in [0, 1] {
                let pipeline = format!("{}-{binding}", answer.as_str());
                let (pipeline, name) = (pipeline.as_str(), pipeline.to_lowercase());
                let waiting = case.until_message(&name, "is in stage Build (InProgress)").await;
                assert_eq!(pinned(&waiting), (None, None), "{name}");
                case.looks(pipeline, 2).await;
                assert!(case.taken(pipeline).is_empty(), "{name}");
                let second = message(&waiting).split(' ').nth(1).unwrap().parse().unwrap();
                case.built(pipeline, second, true);
                let approval = case.pending(pipeline)[0];
                let delivered = case.until_delivered(&name, pipeline, &approval).await;
                assert_eq!(decided_by(&delivered), None, "{name}");
                case.until_events(&name, &["Waiting", "Delivered"]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_behind_a_pending_one_leaves_that_alone_and_is_answered_in_its_turn() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for mode in [ExecutionMode::Superseded, ExecutionMode::Queued] {
        for binding in [0, 1] {
            let pipeline = format!("{mode:?}-{binding}");
            let (pipeline, name) = (pipeline.as_str(), pipeline.to_lowercase());
            case.put(with_build(pipeline).mode(mode));
            let first = case.start(pipeline, "v1");
            case.built(pipeline, first, true);
            let before = case.pending(pipeline)[0];
            let second = case.start(pipeline, "v2");
            let (_, spec) = specs(pipeline, second, "v2")[binding].clone();
            case.create(&name, spec).await;
            case.until_message(&name, &format!("Run {second} is in stage Build (InProgress)")).await;
            case.looks(pipeline, 2).await;
            assert_eq!(case.pending(pipeline), [before], "{name}");
            case.built(pipeline, second, true);
            case.until_message(&name, &format!("Run {second} waits in front of stage Prod")).await;
            case.looks(pipeline, 2).await;
            assert_eq!(case.service.requests_of(Operation::PutApprovalResult, pipeline), 0, "{name}");
            case.bob(pipeline, &before, Answer::Approved);
            let own = case.pending(pipeline)[0];
            assert_eq!(own.pipeline_execution_id, second, "{name}");
            case.until_delivered(&name, pipeline, &own).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_a_retried_run_answers_its_new_request() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for lag in [false, true] {
        if lag {
            history_lags(&case);
        }
        for binding in [0, 1] {
            let pipeline = format!("retried-{lag}-{binding}");
            let (run, old, new) = retried(&case, &pipeline);
            assert_ne!(old.token, new.token);
            let (_, spec) = specs(&pipeline, run, "v1")[binding].clone();
            case.create(&pipeline, spec).await;
            case.until_delivered(&pipeline, &pipeline, &new).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_came_too_late_for_a_run_is_given_to_its_retry_when_it_is_requested_anew() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for binding in [0, 1] {
        let pipeline = format!("retried-{binding}");
        case.put(with_build(&pipeline));
        let run = case.start(&pipeline, "v1");
        case.built(&pipeline, run, true);
        let old = case.pending(&pipeline)[0];
        case.bob(&pipeline, &old, Answer::Rejected);
        let (_, spec) = specs(&pipeline, run, "v1")[binding].clone();
        case.create(&pipeline, spec).await;
        let refused = case.until_reason(&pipeline, Reason::ApprovalAlreadyCompleted).await;
        assert_eq!((decided_by(&refused), pinned(&refused)), (Some(BOB), ids(&old)), "{pipeline}");
        retry(&case, &pipeline, run);
        let new = case.pending(&pipeline)[0];
        let again = json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": "now" } } });
        case.patch(&pipeline, again).await.unwrap();
        let delivered = case.until_delivered(&pipeline, &pipeline, &new).await;
        assert_eq!((reason(&delivered), decided_by(&delivered)), (Some(Reason::Delivered), None), "{pipeline}");
    }
}
