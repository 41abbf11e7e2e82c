//! `spec.sourceRevision`: the one run of a revision that waits for the approval. Where that does not say which, none is
//! answered.

use super::decided_by;
use crate::support::{BOB, Case, for_revision, for_run, ids, message, pinned, reason, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecisionSpec, ApprovalStatus, Reason, SourceRevision};
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::model::{
    ActionDefinition, Category, ExecutionMode, Name, PipelineDefinition, SourceRevision as Revision,
};
use serde_json::json;

const COMMIT: &str = "4f2e1d0c9b8a7968574635241302f1e0d9c8b7a6";

fn parallel(pipeline: &str) -> PipelineDefinition {
    with_build(pipeline).mode(ExecutionMode::Parallel)
}

fn of_action(spec: ApprovalDecisionSpec, action: &str) -> ApprovalDecisionSpec {
    let revision = spec.source_revision.clone().unwrap();
    let action_name = Some(action.to_owned());
    ApprovalDecisionSpec { source_revision: Some(SourceRevision { action_name, ..revision }), ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_compared_exactly() {
    let case = Case::new().await;
    let others = ["4f2e1d0", "4f2e1d0c9b8a7968574635241302f1e0d9c8b7a", "4F2E1D0C9B8A7968574635241302F1E0D9C8B7A6"];
    case.put(with_build("web"));
    let run = case.start("web", COMMIT);
    case.built("web", run, true);
    let approval = case.pending("web")[0];
    for (number, other) in others.iter().enumerate() {
        case.create(&format!("other-{number}"), for_revision("web", other)).await;
    }
    let _operator = case.operator().start();
    for (number, other) in others.iter().enumerate() {
        let expected = format!("No run of web has the source revision {other} yet");
        case.until_message(&format!("other-{number}"), &expected).await;
    }
    case.looks("web", 3).await;
    assert_eq!(case.pending("web"), [approval]);
    case.create("exact", for_revision("web", COMMIT)).await;
    case.until_delivered("exact", "web", &approval).await;
    for number in 0..others.len() {
        let other = case.decisions.get(&format!("other-{number}")).await.unwrap();
        assert_eq!(reason(&other), Some(Reason::Waiting));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_pipeline_has_two_sources_an_action_name_says_which_is_meant() {
    let case = Case::new().await;
    let open = |pipeline: &str| {
        let mut definition = PipelineDefinition::with_approval(pipeline, "Prod", "Approve").unwrap();
        definition.stages[0].actions.push(ActionDefinition::new("Config", Category::Source).unwrap());
        case.put(definition);
        let revisions = [("Source", "app-1"), ("Config", "config-1")];
        let revisions = revisions.map(|(action, revision)| Revision {
            action_name: Name::new(action).unwrap(),
            revision_id: revision.to_owned(),
        });
        let at = (pipeline, "Prod", "Approve");
        case.service.service(|service, now| service.open_approval(now, at, &revisions).unwrap())
    };
    let rows = [
        ("any-of-the-first", for_revision("any-of-the-first", "app-1"), true),
        ("any-of-the-second", for_revision("any-of-the-second", "config-1"), true),
        ("the-right-one", of_action(for_revision("the-right-one", "config-1"), "Config"), true),
        ("the-other", of_action(for_revision("the-other", "config-1"), "Source"), false),
    ];
    let mut approvals = Vec::new();
    for (pipeline, spec, _) in &rows {
        approvals.push(open(pipeline));
        case.create(pipeline, spec.clone()).await;
    }
    let _operator = case.operator().start();
    for ((pipeline, _, is_answered), approval) in rows.iter().zip(&approvals) {
        if *is_answered {
            case.until_delivered(pipeline, pipeline, approval).await;
        } else {
            let expected = format!("No run of {pipeline} has the source revision config-1 of Source yet");
            case.until_message(pipeline, &expected).await;
            case.looks(pipeline, 3).await;
            assert_eq!(case.pending(pipeline), [*approval]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_started_after_the_decision_is_waited_for_and_answered() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    for (pipeline, mode) in [("superseded", ExecutionMode::Superseded), ("parallel", ExecutionMode::Parallel)] {
        case.put(with_build(pipeline).mode(mode));
        case.create(pipeline, for_revision(pipeline, COMMIT)).await;
        case.until_message(pipeline, &format!("No run of {pipeline} has the source revision {COMMIT} yet")).await;
        let run = case.start(pipeline, COMMIT);
        case.until_message(pipeline, &format!("Run {run} is in stage Build (InProgress)")).await;
        case.built(pipeline, run, true);
        let approval = case.pending(pipeline)[0];
        case.until_delivered(pipeline, pipeline, &approval).await;
        case.until_events(pipeline, &["Waiting", "Delivered"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pending_runs_of_one_revision_none_is_answered_until_the_decision_says_which() {
    let case = Case::new().await;
    case.put(parallel("web"));
    let runs = [case.start("web", COMMIT), case.start("web", COMMIT)];
    runs.iter().for_each(|run| case.built("web", *run, true));
    let approvals = case.pending("web");
    case.create("web", for_revision("web", COMMIT)).await;
    let _operator = case.operator().start();
    let decision = case.until_reason("web", Reason::AmbiguousRevision).await;
    for run in runs {
        assert!(message(&decision).contains(&run.to_string()), "{}", message(&decision));
    }
    assert_eq!(pinned(&decision), (None, None));
    assert_eq!((case.service.requests(Operation::PutApprovalResult), case.pending("web").len()), (0, 2));
    let first = json!({ "spec": { "sourceRevision": null, "pipelineExecutionId": runs[0] } });
    case.patch("web", first).await.unwrap();
    case.until_delivered("web", "web", &approvals[0]).await;
    assert_eq!(case.pending("web"), [approvals[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pending_runs_of_different_revisions_each_gets_the_answer_that_is_meant_for_it() {
    let case = Case::new().await;
    case.put(parallel("web"));
    let runs = ["v1", "v2"].map(|revision| case.start("web", revision));
    runs.iter().for_each(|run| case.built("web", *run, true));
    let approvals = case.pending("web");
    let mut rejection = for_revision("web", "v1");
    rejection.result.status = ApprovalStatus::Rejected;
    case.create("first", rejection).await;
    case.create("second", for_revision("web", "v2")).await;
    let _operator = case.operator().start();
    for (name, approval) in ["first", "second"].into_iter().zip(&approvals) {
        assert_eq!(pinned(&case.until_reason(name, Reason::Delivered).await), ids(approval), "{name}");
    }
    let mut taken: Vec<_> = case.taken("web").into_iter().map(|entry| (entry.token, entry.status)).collect();
    taken.sort_by_key(|(_, status)| status.clone());
    let expected = [(&approvals[1], "Approved"), (&approvals[0], "Rejected")];
    assert_eq!(taken, expected.map(|(approval, status)| (approval.token.to_string(), status.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_newest_run_of_the_revision_was_answered_the_record_tells() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let rows = [
        ("approved", Answer::Approved, Reason::AlreadyDecided),
        ("rejected", Answer::Rejected, Reason::ApprovalAlreadyCompleted),
    ];
    for (pipeline, answer, expected) in rows {
        case.put(with_build(pipeline));
        let run = case.start(pipeline, COMMIT);
        case.built(pipeline, run, true);
        let approval = case.pending(pipeline)[0];
        case.bob(pipeline, &approval, answer);
        case.create(pipeline, for_revision(pipeline, COMMIT)).await;
        let decision = case.until_reason(pipeline, expected).await;
        assert_eq!((decided_by(&decision), pinned(&decision)), (Some(BOB), ids(&approval)), "{pipeline}");
    }
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_newest_run_of_the_revision_ended_before_a_later_one_is_waited_for_and_answered() {
    let case = Case::new().await;
    case.put(with_build("web"));
    let failed = case.start("web", COMMIT);
    case.built("web", failed, false);
    case.create("web", for_revision("web", COMMIT)).await;
    let _operator = case.operator().start();
    let expected = format!("Run {failed} ended (Failed) before its approval was answered; a later run");
    case.until_message("web", &expected).await;
    let other = case.start("web", "another");
    case.built("web", other, true);
    case.looks("web", 3).await;
    let approval = case.pending("web")[0];
    case.bob("web", &approval, Answer::Approved);
    let run = case.start("web", COMMIT);
    case.until_message("web", &format!("Run {run} is in stage Build")).await;
    case.built("web", run, true);
    let approval = case.pending("web")[0];
    case.until_delivered("web", "web", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_answers_one_run_and_no_later_one_of_its_revision() {
    let case = Case::new().await;
    case.put(with_build("web"));
    let run = case.start("web", COMMIT);
    case.built("web", run, true);
    let first = case.pending("web")[0];
    case.create("web", for_revision("web", COMMIT)).await;
    let operator = case.operator().start();
    let delivered = case.until_delivered("web", "web", &first).await;
    let again = case.start("web", COMMIT);
    case.built("web", again, true);
    let second = case.pending("web");
    // Somebody else's wait has the pipeline looked at.
    case.create("other", for_revision("web", "another")).await;
    case.until_reason("other", Reason::Waiting).await;
    case.looks("web", 3).await;
    operator.kill();
    let _operator = case.operator().start();
    case.looks("web", 3).await;
    case.patch("web", json!({ "metadata": { "annotations": { "codepipeline.approvals.dev/requestedAt": "again" } } }))
        .await
        .unwrap();
    case.create("by-token", spec("other", &case.open("other"))).await;
    case.until_reason("by-token", Reason::Delivered).await;
    case.looks("web", 2).await;
    assert_eq!((case.pending("web"), case.taken("web").len()), (second, 1));
    assert_eq!(case.decisions.get("web").await.unwrap().status, delivered.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_for_a_run_and_one_for_its_revision_answer_it_once() {
    let case = Case::new().await;
    case.put(with_build("web"));
    let run = case.start("web", COMMIT);
    case.create("run", for_run("web", run)).await;
    case.create("revision", for_revision("web", COMMIT)).await;
    let _operator = case.operator().start();
    for name in ["run", "revision"] {
        case.until_reason(name, Reason::Waiting).await;
    }
    case.built("web", run, true);
    let mut reasons = Vec::new();
    for name in ["run", "revision"] {
        let is_over = |decision: &_| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
        reasons.push(reason(&case.until(name, "settled", is_over).await).unwrap());
    }
    reasons.sort_by_key(|reason| reason.as_str());
    assert_eq!(reasons, [Reason::AlreadyDecided, Reason::Delivered]);
    assert_eq!(case.taken("web").len(), 1);
}
