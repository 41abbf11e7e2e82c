//! Several replicas, of which the leader reconciles: who takes over, how soon, and that no approval gets two results meanwhile.

use approval_operator::api::v1alpha1::Reason;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use test_support::proxy::{ProxiedRequest, Proxy, Response, status_response};
use test_support::{Operator, Partition, TestEnv, for_execution, pipeline_with_build};
use tokio::time::{interval, interval_at};

/// The longest time until a standby takes over from a crashed leader.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(15);

/// Much shorter than a Lease lasts: a replica that becomes leader so soon did not wait for a Lease to expire. The logs say when, so that
/// the time that a busy test takes to see it does not count.
const HANDOVER_WITHIN: SignedDuration = SignedDuration::from_secs(4);

const BECAME_LEADER: &str = "became leader, starting to reconcile";
const NO_LONGER_LEADER: &str = "this replica is no longer the leader";

fn replica(env: &TestEnv, identity: &str) -> Operator {
    env.operator().replica(identity, &env.namespace).start()
}

async fn leader(env: &TestEnv) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(env.client.clone(), &env.namespace);
    leases.get_opt("approval-operator").await.unwrap()?.spec?.holder_identity
}

/// When a replica logged this first.
fn logged_at(replica: &Operator, text: &str) -> Timestamp {
    let log = replica.log();
    let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {log}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Two replicas, of which the first is the leader.
async fn leader_and_standby(env: &TestEnv) -> (Operator, Operator) {
    let first = replica(env, "first");
    first.wait_for_log(BECAME_LEADER).await;
    let second = replica(env, "second");
    second.wait_until_ready().await;
    (first, second)
}

async fn wait_until_delivered_once(env: &TestEnv, pipeline: &str) {
    env.wait_for_reason(pipeline, Reason::Delivered).await;
    assert_eq!(env.accepted_count(pipeline), 1, "{pipeline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_ready_and_leaves_decisions_and_codepipeline_to_the_leader() {
    let env = TestEnv::new().await;
    let (first, second) = leader_and_standby(&env).await;
    env.put_pipeline(pipeline_with_build("later"));
    let execution = env.start_execution("later", "r1");
    env.create("later", for_execution("later", execution)).await;
    env.wait_for_reason("later", Reason::Waiting).await;
    for number in 0..10 {
        env.open_and_approve(&format!("p{number}")).await;
    }
    for number in 0..10 {
        wait_until_delivered_once(&env, &format!("p{number}")).await;
    }
    env.wait_for_polls("later", 2).await;
    assert_eq!(leader(&env).await.as_deref(), Some("first"));
    assert!(
        first.metric(r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="OK"}"#).await > 0.0
    );
    let (_, metrics) = second.get("/metrics").await.unwrap();
    let mut requests = metrics.lines().filter(|line| line.starts_with("approval_operator_aws_requests_total{"));
    assert!(requests.all(|line| line.ends_with(" 0")), "{metrics}");
    assert_eq!(
        (first.metric("approval_operator_leader").await, second.metric("approval_operator_leader").await),
        (1.0, 0.0)
    );
    let delivered = r#"approval_operator_decisions{reason="Delivered"} 10"#;
    assert!(metrics.contains(delivered), "the standby's cache is not up to date: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_releases_the_lease_before_the_submission_in_flight_completes() {
    let env = TestEnv::new().await;
    let (mut first, second) = leader_and_standby(&env).await;
    // Almost as long as the operator waits for submissions before it exits.
    env.codepipeline.inject(Fault::delayed().delay_after(Duration::from_millis(900)).pipeline("in-flight"));
    env.open_and_approve("in-flight").await;
    env.wait_for_submissions("in-flight", 1).await;
    let stopped_at = Instant::now();
    first.signal("TERM");
    env.open_and_approve("next").await;
    second.wait_for_log(BECAME_LEADER).await;
    let handover = logged_at(&second, BECAME_LEADER).duration_since(logged_at(&first, "stopping"));
    assert!(handover < HANDOVER_WITHIN, "{handover:#}");
    wait_until_delivered_once(&env, "next").await;
    println!("from SIGTERM to the next delivery: {:?}", stopped_at.elapsed());
    assert!(first.wait_for_exit().await.success(), "{}", first.log());
    wait_until_delivered_once(&env, "in-flight").await;
    let submissions = env.codepipeline.request_count_for(Operation::PutApprovalResult, "in-flight");
    assert_eq!(submissions, 1, "{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_after_a_crash_and_a_leader_restarted_with_its_identity_leads_at_once() {
    let env = TestEnv::new().await;
    let (first, second) = leader_and_standby(&env).await;
    let killed_at = Instant::now();
    first.kill();
    env.open_and_approve("after-a-crash").await;
    wait_until_delivered_once(&env, "after-a-crash").await;
    println!("from a crash to the next delivery: {:?}", killed_at.elapsed());
    assert!(killed_at.elapsed() < TAKEOVER_WITHIN, "{:?}", killed_at.elapsed());
    assert_eq!(leader(&env).await.as_deref(), Some("second"));

    second.kill();
    let restarted = replica(&env, "second");
    env.open_and_approve("after-a-restart").await;
    wait_until_delivered_once(&env, "after-a-restart").await;
    let waited = logged_at(&restarted, BECAME_LEADER).duration_since(logged_at(&restarted, "started"));
    assert!(waited < HANDOVER_WITHIN, "{waited:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_behind_a_partition_stops_before_another_replica_starts() {
    let env = TestEnv::new().await;
    let partition = Partition::to(&env.kubeconfig).await;
    let first = env.operator_via(partition.kubeconfig()).replica("first", &env.namespace).start();
    first.wait_for_log(BECAME_LEADER).await;
    let second = replica(&env, "second");
    second.wait_until_ready().await;
    partition.cut();
    second.wait_for_log(BECAME_LEADER).await;
    assert!(first.log().contains(NO_LONGER_LEADER), "both are leaders:\n{}", first.log());
    for number in 0..5 {
        env.open_and_approve(&format!("p{number}")).await;
        wait_until_delivered_once(&env, &format!("p{number}")).await;
    }
    partition.heal();
    // The former leader can take over again.
    second.kill();
    env.open_and_approve("again").await;
    wait_until_delivered_once(&env, "again").await;
    first.wait_for_log(BECAME_LEADER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_replaces_a_watch_that_went_silent() {
    let env = TestEnv::new().await;
    let partition = Partition::to(&env.kubeconfig).await;
    let leader = env.operator_via(partition.kubeconfig()).replica("first", &env.namespace).start();
    leader.wait_for_log(BECAME_LEADER).await;
    // Only new connections work from now on.
    partition.heal();
    let silent_since = Instant::now();
    env.open_and_approve("web").await;
    wait_until_delivered_once(&env, "web").await;
    // A watch lasts five minutes unless the operator ends it.
    assert!(silent_since.elapsed() < Duration::from_secs(90), "{:?}", silent_since.elapsed());
    println!("from a silent watch to the delivery: {:?}", silent_since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_past_its_lease_does_no_harm_when_it_resumes() {
    let env = TestEnv::new().await;
    let (first, second) = leader_and_standby(&env).await;
    env.put_pipeline(pipeline_with_build("later"));
    env.create("later", for_execution("later", env.start_execution("later", "r1"))).await;
    env.wait_for_reason("later", Reason::Waiting).await;
    // Slow enough that the pause meets submissions before they are sent, before they are applied, and before they are recorded.
    let delay = Duration::from_millis(30);
    env.codepipeline.inject(Fault::delayed().delay_before(delay).delay_after(delay).always());
    for number in 0..60 {
        env.open_and_approve(&format!("p{number}")).await;
        if number == 30 {
            first.signal("STOP");
        }
    }
    second.wait_for_log(BECAME_LEADER).await;
    wait_until_delivered_once(&env, "p59").await;
    first.signal("CONT");
    first.wait_for_log(NO_LONGER_LEADER).await;
    for number in 0..60 {
        wait_until_delivered_once(&env, &format!("p{number}")).await;
    }
    assert_eq!(leader(&env).await.as_deref(), Some("second"));
    // The former leader no longer polls.
    let polls = async || {
        first.metric(r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="OK"}"#).await
    };
    env.wait_for_polls("later", 1).await;
    let before = polls().await;
    env.wait_for_polls("later", 3).await;
    assert!(before > 0.0 && before == polls().await, "{}", first.log());
    // The former leader can take over again.
    second.kill();
    env.open_and_approve("again").await;
    wait_until_delivered_once(&env, "again").await;
}

/// The interval between kills of the leader, and how many there are.
const KILL_EVERY: Duration = Duration::from_secs(10);
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn each_decision_of_a_stream_is_delivered_once_while_leaders_are_killed() {
    let env = TestEnv::new().await;
    // Slow enough that each kill meets submissions in flight.
    let delay = Duration::from_millis(100);
    env.codepipeline.inject(Fault::delayed().delay_before(delay).delay_after(delay).always());
    let (first, second) = leader_and_standby(&env).await;
    let mut replicas = HashMap::from([("first".to_owned(), first), ("second".to_owned(), second)]);
    let is_over = AtomicBool::new(false);
    let stream = async {
        let mut pipelines = Vec::new();
        let mut ticks = interval(Duration::from_millis(200));
        while !is_over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let pipeline = format!("p{}", pipelines.len());
            env.open_and_approve(&pipeline).await;
            pipelines.push(pipeline);
        }
        pipelines
    };
    let kills = async {
        let mut kills = interval_at(tokio::time::Instant::now() + KILL_EVERY, KILL_EVERY);
        for number in 0..KILLS {
            kills.tick().await;
            let leader = leader(&env).await.and_then(|leader| replicas.remove(&leader));
            leader.expect("no replica has taken over since the last kill").kill();
            // The pod that replaces it has another name.
            let next = format!("next-{number}");
            replicas.insert(next.clone(), replica(&env, &next));
        }
        // Time to take over from the last one.
        kills.tick().await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (pipelines, ()) = tokio::join!(stream, kills);
    for pipeline in &pipelines {
        wait_until_delivered_once(&env, pipeline).await;
    }
    let mut submitted: Vec<_> = env.codepipeline.ledger().iter().map(|entry| entry.at).collect();
    submitted.sort();
    let gaps = submitted.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    let longest = gaps.max().unwrap();
    println!("{} decisions, {KILLS} leaders killed: at most {longest:#} without a submission", pipelines.len());
    assert!(longest.unsigned_abs() < TAKEOVER_WITHIN, "{longest:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_watch_leaves_the_lease_to_one_that_can() {
    let env = TestEnv::new().await;
    let forbid_lists = |request: ProxiedRequest| -> BoxFuture<'static, Option<Response>> {
        Box::pin(async move {
            if request.name.kind == "LIST approvaldecisions" {
                return Some(status_response(403, "Forbidden", "approvaldecisions is forbidden"));
            }
            request.forward().await
        })
    };
    let (_proxy, kubeconfig) = Proxy::to_api_server(&env.kubeconfig, forbid_lists).await;
    let without_watch = env.operator_via(kubeconfig.path()).replica("without-watch", &env.namespace).start();
    without_watch.wait_for_log("the operator is not allowed to list and watch").await;
    assert_eq!(without_watch.get("/readyz").await.map(|(status, _)| status), Some(503));
    let _with_watch = replica(&env, "with-watch");
    env.open_and_approve("web").await;
    wait_until_delivered_once(&env, "web").await;
    assert_eq!(leader(&env).await.as_deref(), Some("with-watch"));
}
