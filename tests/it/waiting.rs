//! Decisions that wait for an execution: how many reads they cost, what ends the wait, and what happens when the pipeline
//! cannot be read.

use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{Reason, UserTime};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{Name, PipelineExecutionId as ExecutionId, StageDefinition};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use test_support::{
    Operator, TestEnv, expired_after, for_execution, for_revision, message, pipeline_with_build, ready, reason, spec,
};

const STATE: Operation = Operation::GetPipelineState;

/// Long enough for a busy machine, and short beside the interval between polls, which must not end a wait.
const PROMPTLY: SignedDuration = SignedDuration::from_secs(5);

/// Creates a pipeline and starts an execution of it, which is building.
fn building(env: &TestEnv, pipeline: &str) -> ExecutionId {
    env.put_pipeline(pipeline_with_build(pipeline));
    env.start_execution(pipeline, "v1")
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_at_not_after_and_at_the_waiting_limit() {
    let env = TestEnv::new().await;
    // With this interval, no poll happens at the limits.
    let _operator = env.operator().arg("--waiting-limit=15s").arg("--poll-interval=1h").start();
    let [bounded, limited] = ["bounded", "limited"].map(|pipeline| (pipeline, building(&env, pipeline)));
    env.create("limited", for_execution("limited", limited.1)).await;
    let not_after = Timestamp::now() + SignedDuration::from_secs(12);
    let mut spec = for_revision("bounded", "v1");
    spec.not_after = Some(UserTime(not_after.to_string()));
    env.create("bounded", spec).await;
    for name in ["bounded", "limited"] {
        env.wait_for_reason(name, Reason::Waiting).await;
    }
    for (name, execution) in [bounded, limited] {
        let decision = env.wait_for_reason(name, Reason::Expired).await;
        let created = decision.metadata.creation_timestamp.as_ref().unwrap().0;
        let limit = if name == "bounded" { not_after } else { created + SignedDuration::from_secs(15) };
        let over = expired_after(&decision, limit);
        assert!(over >= SignedDuration::ZERO && over <= PROMPTLY, "{name}: {over}");
        env.complete_build(name, execution, true);
    }
    env.open_and_approve("later").await;
    env.wait_for_reason("later", Reason::Delivered).await;
    assert_eq!(
        env.codepipeline.request_count(Operation::PutApprovalResult),
        1,
        "only the submission of the later decision"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_no_poll_has_seen_before_not_after_settles_the_decision() {
    let env = TestEnv::new().await;
    let _operator = env.operator().arg("--poll-interval=1h").start();
    let mut pipeline = pipeline_with_build("web");
    // The execution goes on after its approval.
    pipeline.stages.push(StageDefinition { name: Name::new("Deploy").unwrap(), ..pipeline.stages[1].clone() });
    env.put_pipeline(pipeline);
    let execution = env.start_execution("web", "v1");
    let mut spec = for_execution("web", execution);
    spec.not_after = Some(UserTime((Timestamp::now() + SignedDuration::from_secs(12)).to_string()));
    env.create("web", spec).await;
    env.wait_for_reason("web", Reason::Waiting).await;
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    env.respond_as_bob("web", &approval, ResultStatus::Approved);
    env.wait_for_reason("web", Reason::AlreadyDecided).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_suspended_while_it_waits_sends_nothing_until_it_is_resumed() {
    let env = TestEnv::new().await;
    let _operator = env.operator().start();
    let execution = building(&env, "web");
    env.create("web", for_execution("web", execution)).await;
    env.wait_for_reason("web", Reason::Waiting).await;
    env.patch("web", json!({ "spec": { "suspend": true } })).await.unwrap();
    env.wait_for_reason("web", Reason::Suspended).await;
    env.complete_build("web", execution, true);
    let approval = env.pending_approvals("web")[0];
    // Another waiting decision makes the operator poll the pipeline.
    env.create("other", for_revision("web", "v2")).await;
    env.wait_for_reason("other", Reason::Waiting).await;
    env.wait_for_polls("web", 3).await;
    assert_eq!(env.codepipeline.request_count(Operation::PutApprovalResult), 0);
    env.patch("web", json!({ "spec": { "suspend": false } })).await.unwrap();
    env.wait_until_delivered("web", "web", &approval).await;
}

/// The resource versions of all decisions.
async fn versions(env: &TestEnv) -> BTreeMap<String, Option<String>> {
    let decisions = env.decisions.list(&ListParams::default()).await.unwrap();
    decisions.into_iter().map(|decision| (decision.name_any(), decision.resource_version())).collect()
}

/// The number of reads of a pipeline, by operation.
fn reads(env: &TestEnv, pipeline: &str) -> [u64; 3] {
    let kinds = [STATE, Operation::ListPipelineExecutions, Operation::ListActionExecutions];
    kinds.map(|operation| env.codepipeline.request_count_for(operation, pipeline))
}

/// The number of reads of a pipeline, by operation, while the operator polls another pipeline this many times.
async fn reads_during_polls(env: &TestEnv, pipeline: &str, other: &str, times: u64) -> [u64; 3] {
    let before = reads(env, pipeline);
    env.wait_for_polls(other, times).await;
    let after = reads(env, pipeline);
    [0, 1, 2].map(|kind| after[kind] - before[kind])
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_decisions_on_a_pipeline_cost_the_reads_of_one_and_no_writes() {
    let env = TestEnv::new().await;
    let start = || env.operator().arg("--poll-interval=1s").start();
    let mut operator: Operator = start();
    let (many, alone) = (building(&env, "many"), building(&env, "alone"));
    for number in 0..15 {
        env.create(&format!("execution-{number}"), for_execution("many", many)).await;
        env.create(&format!("revision-{number}"), for_revision("many", &format!("v{}", number + 1))).await;
    }
    env.create("alone", for_execution("alone", alone)).await;
    let decisions = versions(&env).await;
    assert_eq!(decisions.len(), 31);
    for name in decisions.keys() {
        env.wait_for_reason(name, Reason::Waiting).await;
    }
    let settled = versions(&env).await;
    for restart in [false, true] {
        if restart {
            operator.kill();
            operator = start();
            operator.wait_until_ready().await;
            env.wait_for_polls("many", 2).await;
        }
        let counted = reads_during_polls(&env, "many", "alone", 8).await;
        // The number of polls may differ by a few, and a poll takes at most one read of each kind.
        assert!((6..=10).contains(&counted[0]), "{counted:?}, restarted: {restart}\n{}", operator.log());
        assert!(counted.iter().all(|reads| *reads <= counted[0] + 1), "{counted:?}, restarted: {restart}");
        assert_eq!(versions(&env).await, settled, "restarted: {restart}");
    }
    env.complete_build("many", many, true);
    let is_settled = |decision: &_| matches!(reason(decision), Some(Reason::Delivered | Reason::AlreadyDecided));
    for number in 0..15 {
        env.wait_until(&format!("execution-{number}"), "settled", is_settled).await;
    }
    env.wait_until("revision-0", "settled", is_settled).await;
    assert_eq!(env.accepted_submissions("many").len(), 1, "one of the decisions that wait for the execution");
    for number in 1..15 {
        env.decisions.delete(&format!("revision-{number}"), &DeleteParams::default()).await.unwrap();
    }
    // A poll may be in flight.
    env.wait_for_polls("alone", 3).await;
    assert_eq!(reads_during_polls(&env, "many", "alone", 4).await, [0, 0, 0], "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_two_namespaces_share_polls_until_the_last_one_is_gone() {
    let (env, other) = (TestEnv::new().await, TestEnv::new().await);
    let operator = env.operator().namespace(&other.namespace).start();
    let (shared, alone) = (building(&env, "shared"), building(&env, "alone"));
    env.create("here", for_execution("shared", shared)).await;
    other.create("there", for_execution("shared", shared)).await;
    env.create("alone", for_execution("alone", alone)).await;
    for (env, name) in [(&env, "here"), (&other, "there"), (&env, "alone")] {
        env.wait_for_reason(name, Reason::Waiting).await;
    }
    let counted = reads_during_polls(&env, "shared", "alone", 8).await;
    assert!((6..=10).contains(&counted[0]), "{counted:?}\n{}", operator.log());
    env.delete("here").await;
    env.wait_for_polls("shared", 3).await;
    env.complete_build("shared", shared, true);
    other.wait_for_reason("there", Reason::Delivered).await;
    assert_eq!(env.accepted_submissions("shared").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_to_another_pipeline_ends_the_polls_of_the_first() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    let (_, other) = (building(&env, "first"), building(&env, "other"));
    env.create("web", for_revision("first", "v2")).await;
    env.wait_for_reason("web", Reason::Waiting).await;
    env.patch("web", json!({ "spec": { "pipelineName": "other" } })).await.unwrap();
    env.wait_for_message("web", "No execution of pipeline other has the source revisions v2 yet").await;
    env.wait_for_polls("other", 3).await;
    assert_eq!(reads_during_polls(&env, "first", "other", 4).await, [0, 0, 0], "{}", operator.log());
    env.patch("web", json!({ "spec": { "sourceRevisions": [{ "revisionId": "v1" }] } })).await.unwrap();
    env.complete_build("other", other, true);
    let approval = env.pending_approvals("other")[0];
    env.wait_until_delivered("web", "other", &approval).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_pipeline_is_reported_in_the_message_at_once_and_as_the_reason_after_a_minute() {
    let env = TestEnv::new().await;
    env.codepipeline.inject(Fault::access_denied().on(STATE).pipeline("web").always());
    let approval = env.open_approval("web");
    let started_at = Timestamp::now();
    env.create("web", for_execution("web", approval.pipeline_execution_id)).await;
    let _operator = env.operator().start();
    let waiting = env.wait_for_message("web", "Could not read the pipeline at").await;
    assert_eq!(reason(&waiting), Some(Reason::Waiting));
    assert!(message(&waiting).contains("AccessDeniedException"), "{}", message(&waiting));
    assert!(Timestamp::now().duration_since(started_at) < SignedDuration::from_secs(30));
    let denied = env.wait_for_reason("web", Reason::AccessDenied).await;
    assert!(Timestamp::now().duration_since(started_at) >= SignedDuration::from_mins(1));
    assert_eq!(ready(&denied), Some(ConditionStatus::False));
    let exception = denied.status.unwrap().exception.unwrap();
    assert_eq!(exception.r#type, "AccessDeniedException");
    env.codepipeline.clear_faults();
    let delivered = env.wait_until_delivered("web", "web", &approval).await;
    assert_eq!(delivered.status.unwrap().exception, None);
    env.wait_for_events("web", &["Waiting", "AccessDenied", "Delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_reads_slow_down_and_the_decision_is_delivered() {
    let env = TestEnv::new().await;
    let operator = env.operator().start();
    let execution = building(&env, "web");
    env.create("web", for_execution("web", execution)).await;
    env.wait_for_message("web", "is in stage Build").await;
    env.codepipeline.inject(Fault::throttled().on(STATE).times(3));
    env.complete_build("web", execution, true);
    operator.wait_for_log("CodePipeline throttles requests; slowing down reads").await;
    let approval = env.pending_approvals("web")[0];
    env.wait_until_delivered("web", "web", &approval).await;
    env.wait_for_events("web", &["Waiting", "Delivered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_with_a_known_token_does_not_wait_for_the_read_rate_limit() {
    let env = TestEnv::new().await;
    let few_reads = ["--aws-requests-per-second=0.1", "--concurrency=1"];
    let operator = few_reads.into_iter().fold(env.operator(), |operator, flag| operator.arg(flag)).start();
    for number in 0..8 {
        let pipeline = format!("waiting-{number}");
        let execution = building(&env, &pipeline);
        env.create(&pipeline, for_execution(&pipeline, execution)).await;
    }
    operator.eventually("a pipeline is polled", async || env.codepipeline.request_count(STATE) > 0).await;
    for number in 0..3 {
        let started_at = Instant::now();
        let name = format!("token-{number}");
        env.create(&name, spec(&name, &env.open_approval(&name))).await;
        env.wait_for_reason(&name, Reason::Delivered).await;
        // With the rate limit of reads it would take minutes.
        assert!(started_at.elapsed() < Duration::from_secs(20), "{:?}\n{}", started_at.elapsed(), operator.log());
    }
    let waiting =
        (0..8).map(|number| env.codepipeline.request_count_for(STATE, &format!("waiting-{number}"))).sum::<u64>();
    assert!(waiting < 8, "{waiting}: reads were not limited, so the test is useless");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_polls_are_reported_once_a_minute_with_what_took_long() {
    let slow = Fault::delayed().on(STATE).delay_after(Duration::from_millis(600)).always();
    let rows = [
        ("slow-responses", "5", Some(slow), ["AWS took long to respond", "raise --poll-interval"]),
        ("few-reads", "1", None, ["their reads waited for the rate limiter", "raise --aws-requests-per-second"]),
    ];
    let polls = rows.map(async |(pipeline, rate, fault, words)| {
        let env = TestEnv::new().await;
        fault.into_iter().for_each(|fault| env.codepipeline.inject(fault));
        let operator = env.operator().arg(&format!("--aws-requests-per-second={rate}")).start();
        env.create(pipeline, for_execution(pipeline, building(&env, pipeline))).await;
        env.wait_for_polls(pipeline, 8).await;
        let log = operator.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("longer than --poll-interval")).collect();
        let [warning] = warnings[..] else { panic!("{}", operator.log()) };
        assert!(words.iter().all(|words| warning.contains(words)), "{warning}");
    });
    futures::future::join_all(polls).await;
}
