//! Several replicas, of which the holder of a Lease acts: who follows whom, how soon, and that no approval is answered twice
//! meanwhile. Shards too, which are operators that each have a part of the decisions.

use crate::support::{Case, Link, Operator, for_run, reason, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, Reason};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{ListParams, PostParams};
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{interval, interval_at};

/// After so long a crashed leader has been followed.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(15);

/// Far less than a Lease lasts: who leads after so short a time was given the Lease.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(4);

const LEADING: &str = "leading: decisions are taken up";
const NO_LONGER_LEADING: &str = "no longer leading";

impl Case {
    fn replica(&self, identity: &str) -> Operator {
        self.operator().replica(identity, &self.namespace).start()
    }

    async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        leases.get_opt("approval-operator").await.unwrap()?.spec?.holder_identity
    }

    /// Two replicas, the first of which leads.
    async fn pair(&self) -> (Operator, Operator) {
        let first = self.replica("first");
        first.until_log(LEADING).await;
        let second = self.replica("second");
        second.until_ready().await;
        (first, second)
    }

    async fn until_delivered_once(&self, pipeline: &str) {
        self.until_reason(pipeline, Reason::Delivered).await;
        assert_eq!(self.accepted(pipeline), 1, "{pipeline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_ready_and_leaves_the_decisions_and_the_service_to_the_leader() {
    let case = Case::new().await;
    let (first, second) = case.pair().await;
    case.put(with_build("later"));
    let run = case.start("later", "r1");
    case.create("later", for_run("later", run)).await;
    case.until_reason("later", Reason::Waiting).await;
    for number in 0..10 {
        case.approve(&format!("p{number}")).await;
    }
    for number in 0..10 {
        case.until_delivered_once(&format!("p{number}")).await;
    }
    case.looks("later", 2).await;
    assert_eq!(case.leader().await.as_deref(), Some("first"));
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
    assert!(metrics.contains(r#"approval_operator_decisions{reason="Delivered"} 10"#), "its cache is warm: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_the_lease_over_before_the_answer_under_way_is_finished() {
    let case = Case::new().await;
    let (mut first, second) = case.pair().await;
    // As long as the first may take to end.
    case.service.fault(Fault::late().delay_after(Duration::from_millis(900)).pipeline("under-way"));
    case.approve("under-way").await;
    case.until_asked("under-way", 1).await;
    let told = Instant::now();
    first.signal("TERM");
    case.approve("next").await;
    second.until_log(LEADING).await;
    assert!(told.elapsed() < HANDED_OVER_WITHIN, "{:?}", told.elapsed());
    case.until_delivered_once("next").await;
    println!("from SIGTERM to the next delivery: {:?}", told.elapsed());
    assert!(first.ended().await.success(), "{}", first.log());
    case.until_delivered_once("under-way").await;
    assert_eq!(case.service.requests_of(Operation::PutApprovalResult, "under-way"), 1, "{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_leader_is_followed_and_one_that_restarts_under_its_name_leads_at_once() {
    let case = Case::new().await;
    let (first, second) = case.pair().await;
    let killed = Instant::now();
    first.kill();
    case.approve("after-a-crash").await;
    case.until_delivered_once("after-a-crash").await;
    println!("from a crash to the next delivery: {:?}", killed.elapsed());
    assert!(killed.elapsed() < FOLLOWED_WITHIN, "{:?}", killed.elapsed());
    assert_eq!(case.leader().await.as_deref(), Some("second"));

    let killed = Instant::now();
    second.kill();
    let _restarted = case.replica("second");
    case.approve("after-a-restart").await;
    case.until_delivered_once("after-a-restart").await;
    assert!(killed.elapsed() < HANDED_OVER_WITHIN, "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_stops_acting_before_another_begins() {
    let case = Case::new().await;
    let link = Link::to(&case.kubeconfig).await;
    let first = case.operator_by(link.kubeconfig()).replica("first", &case.namespace).start();
    first.until_log(LEADING).await;
    let second = case.replica("second");
    second.until_ready().await;
    link.cut();
    second.until_log(LEADING).await;
    assert!(first.log().contains(NO_LONGER_LEADING), "both lead:\n{}", first.log());
    for number in 0..5 {
        case.approve(&format!("p{number}")).await;
        case.until_delivered_once(&format!("p{number}")).await;
    }
    link.renew();
    // It is as good a standby as any.
    second.kill();
    case.approve("again").await;
    case.until_delivered_once("again").await;
    first.until_log(LEADING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_watch_has_gone_silent_hears_of_new_decisions_before_long() {
    let case = Case::new().await;
    let link = Link::to(&case.kubeconfig).await;
    let leader = case.operator_by(link.kubeconfig()).replica("first", &case.namespace).start();
    leader.until_log(LEADING).await;
    link.renew();
    let silent = Instant::now();
    case.approve("web").await;
    case.until_delivered_once("web").await;
    // By itself a watch lasts five minutes.
    assert!(silent.elapsed() < Duration::from_secs(90), "{:?}", silent.elapsed());
    println!("from a silent watch to the delivery: {:?}", silent.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_paused_past_its_lease_does_no_harm_when_it_resumes() {
    let case = Case::new().await;
    let (first, second) = case.pair().await;
    case.put(with_build("later"));
    case.create("later", for_run("later", case.start("later", "r1"))).await;
    case.until_reason("later", Reason::Waiting).await;
    // Slow enough that the pause finds answers on every side of being sent, taken and recorded.
    let slow = Duration::from_millis(30);
    case.service.fault(Fault::late().delay_before(slow).delay_after(slow).always());
    for number in 0..60 {
        case.approve(&format!("p{number}")).await;
        if number == 30 {
            first.signal("STOP");
        }
    }
    second.until_log(LEADING).await;
    case.until_delivered_once("p59").await;
    first.signal("CONT");
    first.until_log(NO_LONGER_LEADING).await;
    for number in 0..60 {
        case.until_delivered_once(&format!("p{number}")).await;
    }
    assert_eq!(case.leader().await.as_deref(), Some("second"));
    // What it had an eye on is the other's now.
    let read = async || {
        first.metric(r#"approval_operator_aws_requests_total{operation="GetPipelineState",outcome="OK"}"#).await
    };
    case.looks("later", 1).await;
    let before = read().await;
    case.looks("later", 3).await;
    assert!(before > 0.0 && before == read().await, "{}", first.log());
    // It is as good a standby as any.
    second.kill();
    case.approve("again").await;
    case.until_delivered_once("again").await;
}

/// How often the leader is killed in a stream of decisions, and how many times.
const KILL_EVERY: Duration = Duration::from_secs(10);
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_decisions_is_answered_once_each_while_leaders_are_killed() {
    let case = Case::new().await;
    // Slow enough that each kill finds answers under way.
    let slow = Duration::from_millis(100);
    case.service.fault(Fault::late().delay_before(slow).delay_after(slow).always());
    let (first, second) = case.pair().await;
    let mut replicas = HashMap::from([("first".to_owned(), first), ("second".to_owned(), second)]);
    let is_over = AtomicBool::new(false);
    let stream = async {
        let mut pipelines = Vec::new();
        let mut pace = interval(Duration::from_millis(200));
        while !is_over.load(Ordering::Relaxed) {
            pace.tick().await;
            let pipeline = format!("p{}", pipelines.len());
            case.approve(&pipeline).await;
            pipelines.push(pipeline);
        }
        pipelines
    };
    let kills = async {
        let mut kills = interval_at(tokio::time::Instant::now() + KILL_EVERY, KILL_EVERY);
        for number in 0..KILLS {
            kills.tick().await;
            let leader = case.leader().await.and_then(|leader| replicas.remove(&leader));
            leader.expect("nobody has taken up the Lease since the last kill").kill();
            // A pod that replaces another has a name of its own.
            let next = format!("next-{number}");
            replicas.insert(next.clone(), case.replica(&next));
        }
        // The last of them is followed too.
        kills.tick().await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (pipelines, ()) = tokio::join!(stream, kills);
    for pipeline in &pipelines {
        case.until_delivered_once(pipeline).await;
    }
    let mut answered: Vec<_> = case.service.ledger().iter().map(|entry| entry.at).collect();
    answered.sort();
    let gaps = answered.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    let longest = gaps.max().unwrap();
    println!("{} decisions, {KILLS} leaders killed: at most {longest:#} without an answer", pipelines.len());
    assert!(longest.unsigned_abs() < FOLLOWED_WITHIN, "{longest:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_answers_its_own_decisions_under_a_lease_of_its_own() {
    let case = Case::new().await;
    let labelled = async |pipeline: &str, shard: &str| {
        let mut decision = ApprovalDecision::new(pipeline, spec(pipeline, &case.open(pipeline)));
        decision.metadata.labels = Some([("shard".to_owned(), shard.to_owned())].into());
        case.decisions.create(&PostParams::default(), &decision).await.unwrap();
    };
    labelled("a1", "a").await;
    labelled("b1", "b").await;
    labelled("c1", "c").await;
    let shard = |name: &str| {
        case.operator()
            .replica("only", &case.namespace)
            .argument(&format!("--leader-elect-lease=shard-{name}"))
            .argument(&format!("--watch-label-selector=shard={name}"))
            .start()
    };
    let a = shard("a");
    case.until_delivered_once("a1").await;
    assert!(reason(&case.decisions.get("b1").await.unwrap()).is_none(), "{}", a.log());
    let _b = shard("b");
    case.until_delivered_once("b1").await;
    case.patch("c1", json!({ "metadata": { "labels": { "shard": "a" } } })).await.unwrap();
    case.until_delivered_once("c1").await;
    let leases: Api<Lease> = Api::namespaced(case.client.clone(), &case.namespace);
    let leases = leases.list(&ListParams::default()).await.unwrap();
    assert_eq!(leases.items.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_leaves_a_shard_and_comes_back_is_answered() {
    let case = Case::new().await;
    case.put(with_build("web"));
    let run = case.start("web", "r1");
    case.create("web", for_run("web", run)).await;
    let label = async |shard: Value| {
        case.patch("web", json!({ "metadata": { "labels": { "shard": shard } } })).await.unwrap();
    };
    label(json!("a")).await;
    let operator = case.operator().argument("--watch-label-selector=shard=a").start();
    case.until_reason("web", Reason::Waiting).await;
    let watched = async |number: &str| {
        let (_, metrics) = operator.get("/metrics").await.unwrap();
        metrics.contains(&format!("approval_operator_decisions{{reason=\"Waiting\"}} {number}\n"))
    };
    label(Value::Null).await;
    operator.eventually("it has left", async || watched("0").await).await;
    label(json!("a")).await;
    operator.eventually("it is back", async || watched("1").await).await;
    case.built("web", run, true);
    case.until_delivered_once("web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_watch_leaves_the_lease_to_one_that_can() {
    let case = Case::new().await;
    let blind = case.operator().replica("blind", &case.namespace).argument("--watch-label-selector=shard in a").start();
    blind.until_log("--watch-label-selector is not a label selector").await;
    let _sighted = case.replica("sighted");
    case.approve("web").await;
    case.until_delivered_once("web").await;
    assert_eq!(case.leader().await.as_deref(), Some("sighted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_is_none_is_named() {
    let case = Case::new().await;
    let operator = case.operator().argument("--watch-label-selector=shard in a").start();
    operator.until_log("--watch-label-selector is not a label selector").await;
    assert_eq!(operator.get("/readyz").await.map(|(status, _)| status), Some(503));
}
