//! What waiting for a run costs, what ends it, and what becomes of it where the pipeline cannot be read.

use crate::support::{Case, Operator, for_revision, for_run, message, ready, reason, spec, with_build};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{NotAfter, Reason};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use local_codepipeline::model::PipelineExecutionId as RunId;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const STATE: Operation = Operation::GetPipelineState;

/// A run that builds, and its pipeline.
fn building(case: &Case, pipeline: &str) -> RunId {
    case.put(with_build(pipeline));
    case.start(pipeline, "v1")
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_within_a_second_of_not_after_and_of_the_waiting_limit() {
    let case = Case::new().await;
    // No look falls into these times by itself.
    let _operator = case.operator().argument("--waiting-limit=9s").argument("--poll-interval=1h").start();
    let [bounded, limited] = ["bounded", "limited"].map(|pipeline| (pipeline, building(&case, pipeline)));
    case.create("limited", for_run("limited", limited.1)).await;
    let not_after = Timestamp::now() + SignedDuration::from_secs(6);
    let mut until = for_revision("bounded", "v1");
    until.not_after = Some(NotAfter(not_after.to_string()));
    case.create("bounded", until).await;
    for name in ["bounded", "limited"] {
        case.until_reason(name, Reason::Waiting).await;
    }
    for (name, run) in [bounded, limited] {
        let decision = case.until_reason(name, Reason::Expired).await;
        let created = decision.metadata.creation_timestamp.as_ref().unwrap().0;
        let limit = if name == "bounded" { not_after } else { created + SignedDuration::from_secs(9) };
        let over = Timestamp::now().duration_since(limit);
        assert!(over >= SignedDuration::ZERO && over < SignedDuration::from_secs(1), "{name}: {over}");
        case.built(name, run, true);
    }
    case.approve("later").await;
    case.until_reason("later", Reason::Delivered).await;
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 1, "only the later one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_suspended_while_it_waits_sends_nothing_until_it_is_resumed() {
    let case = Case::new().await;
    let _operator = case.operator().start();
    let run = building(&case, "web");
    case.create("web", for_run("web", run)).await;
    case.until_reason("web", Reason::Waiting).await;
    case.patch("web", json!({ "spec": { "suspend": true } })).await.unwrap();
    case.until_reason("web", Reason::Suspended).await;
    case.built("web", run, true);
    let approval = case.pending("web")[0];
    // Another one has the pipeline looked at.
    case.create("other", for_revision("web", "v2")).await;
    case.until_reason("other", Reason::Waiting).await;
    case.looks("web", 3).await;
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
    case.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    case.until_delivered("web", "web", &approval).await;
}

/// The versions of all decisions.
async fn versions(case: &Case) -> BTreeMap<String, Option<String>> {
    let decisions = case.decisions.list(&ListParams::default()).await.unwrap();
    decisions.into_iter().map(|decision| (decision.name_any(), decision.resource_version())).collect()
}

/// How often each kind of read was asked of a pipeline.
fn reads(case: &Case, pipeline: &str) -> [u64; 3] {
    let kinds = [STATE, Operation::ListPipelineExecutions, Operation::ListActionExecutions];
    kinds.map(|operation| case.service.requests_of(operation, pipeline))
}

/// How often each kind of read is asked of a pipeline while another is looked at so many times.
async fn reads_meanwhile(case: &Case, pipeline: &str, other: &str, times: u64) -> [u64; 3] {
    let before = reads(case, pipeline);
    case.looks(other, times).await;
    let after = reads(case, pipeline);
    [0, 1, 2].map(|kind| after[kind] - before[kind])
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_decisions_on_a_pipeline_cost_the_reads_of_one_and_no_writes() {
    let case = Case::new().await;
    let start = || case.operator().argument("--poll-interval=1s").start();
    let mut operator: Operator = start();
    let (many, alone) = (building(&case, "many"), building(&case, "alone"));
    for number in 0..15 {
        case.create(&format!("run-{number}"), for_run("many", many)).await;
        case.create(&format!("revision-{number}"), for_revision("many", &format!("v{}", number + 1))).await;
    }
    case.create("alone", for_run("alone", alone)).await;
    let decisions = versions(&case).await;
    assert_eq!(decisions.len(), 31);
    for name in decisions.keys() {
        case.until_reason(name, Reason::Waiting).await;
    }
    let settled = versions(&case).await;
    for restart in [false, true] {
        if restart {
            operator.kill();
            operator = start();
            operator.until_ready().await;
            case.looks("many", 2).await;
        }
        let counted = reads_meanwhile(&case, "many", "alone", 8).await;
        // One look more or less falls into the same time, and each look takes a read of each kind at most.
        assert!((6..=10).contains(&counted[0]), "{counted:?}, restarted: {restart}\n{}", operator.log());
        assert!(counted.iter().all(|reads| *reads <= counted[0] + 1), "{counted:?}, restarted: {restart}");
        assert_eq!(versions(&case).await, settled, "restarted: {restart}");
    }
    case.built("many", many, true);
    let is_over = |decision: &_| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
    for number in 0..15 {
        case.until(&format!("run-{number}"), "settled", is_over).await;
    }
    case.until("revision-0", "settled", is_over).await;
    assert_eq!(case.taken("many").len(), 1, "of all that wait for the run");
    for number in 1..15 {
        case.decisions.delete(&format!("revision-{number}"), &DeleteParams::default()).await.unwrap();
    }
    // A look may be under way.
    case.looks("alone", 3).await;
    assert_eq!(reads_meanwhile(&case, "many", "alone", 4).await, [0, 0, 0], "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_two_namespaces_share_the_looks_and_keep_them_up_for_each_other() {
    let (case, other) = (Case::new().await, Case::new().await);
    let operator = case.operator().namespace(&other.namespace).start();
    let (shared, alone) = (building(&case, "shared"), building(&case, "alone"));
    case.create("here", for_run("shared", shared)).await;
    other.create("there", for_run("shared", shared)).await;
    case.create("alone", for_run("alone", alone)).await;
    for (case, name) in [(&case, "here"), (&other, "there"), (&case, "alone")] {
        case.until_reason(name, Reason::Waiting).await;
    }
    let counted = reads_meanwhile(&case, "shared", "alone", 8).await;
    assert!((6..=10).contains(&counted[0]), "{counted:?}\n{}", operator.log());
    case.delete("here").await;
    case.looks("shared", 3).await;
    case.built("shared", shared, true);
    other.until_reason("there", Reason::Delivered).await;
    assert_eq!(case.taken("shared").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_edited_to_name_another_pipeline_leaves_the_first_alone() {
    let case = Case::new().await;
    let operator = case.operator().start();
    let (_, other) = (building(&case, "first"), building(&case, "other"));
    case.create("web", for_revision("first", "v2")).await;
    case.until_reason("web", Reason::Waiting).await;
    case.patch("web", json!({ "spec": { "pipelineName": "other" } })).await.unwrap();
    case.until_message("web", "No run of other has the source revision v2 yet").await;
    case.looks("other", 3).await;
    assert_eq!(reads_meanwhile(&case, "first", "other", 4).await, [0, 0, 0], "{}", operator.log());
    case.patch("web", json!({ "spec": { "sourceRevision": { "revisionId": "v1" } } })).await.unwrap();
    case.built("other", other, true);
    let approval = case.pending("other")[0];
    case.until_delivered("web", "other", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_cannot_be_read_is_told_in_the_message_at_once_and_by_the_reason_after_a_minute() {
    let case = Case::new().await;
    case.service.fault(Fault::access_denied().on(STATE).pipeline("web").always());
    let approval = case.open("web");
    let begun = Timestamp::now();
    case.create("web", for_run("web", approval.pipeline_execution_id)).await;
    let _operator = case.operator().start();
    let waiting = case.until_message("web", "The pipeline could not be read at").await;
    assert_eq!(reason(&waiting), Some(Reason::Waiting));
    assert!(message(&waiting).contains("AccessDeniedException"), "{}", message(&waiting));
    assert!(Timestamp::now().duration_since(begun) < SignedDuration::from_secs(30));
    let denied = case.until_reason("web", Reason::AccessDenied).await;
    assert!(Timestamp::now().duration_since(begun) >= SignedDuration::from_mins(1));
    assert_eq!(ready(&denied), Some(ConditionStatus::False));
    let exception = denied.status.unwrap().exception.unwrap();
    assert_eq!(exception.r#type, "AccessDeniedException");
    case.service.clear_faults();
    let delivered = case.until_delivered("web", "web", &approval).await;
    assert_eq!(delivered.status.unwrap().exception, None);
    case.until_events("web", &["Waiting", "AccessDenied", "Delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_throttled_are_slowed_down_and_the_decision_is_delivered_after_all() {
    let case = Case::new().await;
    let operator = case.operator().start();
    let run = building(&case, "web");
    case.create("web", for_run("web", run)).await;
    case.until_message("web", "is in stage Build").await;
    case.service.fault(Fault::throttled().on(STATE).times(3));
    case.built("web", run, true);
    operator.until_log("reads are slowed down").await;
    let approval = case.pending("web")[0];
    case.until_delivered("web", "web", &approval).await;
    case.until_events("web", &["Waiting", "Delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_token_is_known_does_not_wait_for_the_turn_of_reads() {
    let case = Case::new().await;
    let starved = ["--aws-requests-per-second=0.1", "--concurrency=1"];
    let operator = starved.into_iter().fold(case.operator(), |operator, flag| operator.argument(flag)).start();
    for number in 0..8 {
        let pipeline = format!("waiting-{number}");
        let run = building(&case, &pipeline);
        case.create(&pipeline, for_run(&pipeline, run)).await;
    }
    operator.eventually("a pipeline is looked at", async || case.service.requests(STATE) > 0).await;
    for round in 0..3 {
        let begun = Instant::now();
        let name = format!("token-{round}");
        case.create(&name, spec(&name, &case.open(&name))).await;
        case.until_reason(&name, Reason::Delivered).await;
        // A turn to read would come after minutes.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}\n{}", begun.elapsed(), operator.log());
    }
    let waiting = (0..8).map(|number| case.service.requests_of(STATE, &format!("waiting-{number}"))).sum::<u64>();
    assert!(waiting < 8, "{waiting}: reads were not scarce, so the test shows nothing");
}
