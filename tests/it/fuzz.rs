//! Random writes to specs, metadata and statuses. The API server refuses some of them, and every decision that remains
//! reaches a reason. The operator does not crash, and the number of its requests is bounded.

mod manifests;

use crate::requests::requests;
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, ReadyClass, Reason};
use futures::StreamExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::ExecutionMode;
use manifests::{Known, metadata, specs, statuses};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use test_control_plane::ControlPlane;
use test_support::{BOB, Cluster, Operator, TestEnv, condition, pipeline_with_build, reason, scale};
use tokio::time::sleep;

const PIPELINES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];

/// How long decisions may take to become idle after the last fault: a call, its time limits, and a lost response that the
/// operator looks up in CodePipeline's history.
const IDLE_TIMEOUT: Duration = Duration::from_secs(100);

/// How long the test counts requests after all decisions are idle.
const QUIET_PERIOD: Duration = Duration::from_secs(8);

/// The interval between polls of a pipeline.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The most requests to the API server per idle decision and minute: the operator retries a submission that was not applied
/// within five minutes, which takes two writes and an Event.
const MAX_IDLE_REQUESTS: u64 = 3;

/// The most requests to the API server per accepted write: an earlier outcome, the intent and the new outcome, each repeated
/// once after a conflict.
const MAX_REQUESTS: u64 = 6;

/// One namespace with an operator and random writers.
struct Fuzzer {
    env: TestEnv,
    raw: Api<DynamicObject>,
    operator: Operator,
    random: TestRunner,
    known: Known,
    objects: usize,
    /// The names of decisions that were created.
    created: Vec<String>,
    counts: BTreeMap<String, u32>,
}

impl Fuzzer {
    async fn new(cluster: &Cluster, seed: u8, objects: usize) -> Self {
        let env = TestEnv::in_cluster(cluster).await;
        let mut known = Known {
            pipelines: PIPELINES.map(|(pipeline, _)| pipeline).to_vec(),
            tokens: Vec::new(),
            executions: Vec::new(),
        };
        for (pipeline, mode) in PIPELINES {
            env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
            for revision in ["v1", "v2", "v1"] {
                let execution = env.start_execution(pipeline, revision);
                env.complete_build(pipeline, execution, true);
                known.executions.push(execution.to_string());
            }
            known.tokens.extend(env.pending_approvals(pipeline).iter().map(|approval| approval.token.to_string()));
        }
        let raw = env.raw_decisions();
        let operator = env.operator().env("APPROVAL_OPERATOR_POLL_INTERVAL", "1s").start();
        operator.wait_until_ready().await;
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let random = TestRunner::new_with_rng(Config::default(), rng);
        Self { env, raw, operator, random, known, objects, created: Vec::new(), counts: BTreeMap::new() }
    }

    fn draw<T: std::fmt::Debug>(&mut self, from: impl Strategy<Value = T>) -> T {
        from.new_tree(&mut self.random).unwrap().current()
    }

    /// One random write to a decision, or one change of a pipeline.
    async fn step(&mut self) {
        let choice = self.draw(0_u32..100);
        let name = match choice {
            30.. if !self.created.is_empty() => self.draw(select(self.created.clone())),
            _ => format!("d-{}", self.draw(0..self.objects)),
        };
        let (what, result) = match choice {
            0..30 => {
                let (spec, metadata) = (self.draw(specs(&self.known)), self.draw(metadata()));
                let object = manifest(&name, &spec, &metadata);
                let result = match object {
                    Some(object) => self.raw.create(&PostParams::default(), &object).await.map(drop),
                    // The client cannot encode it.
                    None => return,
                };
                ("create", result)
            }
            30..45 => {
                let spec = self.draw(specs(&self.known));
                ("edit", self.patch(&name, json!({ "spec": spec })).await)
            }
            45..52 => {
                let suspend = self.draw(any::<bool>());
                ("suspend", self.patch(&name, json!({ "spec": { "suspend": suspend } })).await)
            }
            52..62 => {
                let metadata = self.draw(metadata());
                ("metadata", self.patch(&name, json!({ "metadata": metadata })).await)
            }
            62..80 => {
                let status = self.draw(statuses(&self.known));
                ("forge", self.env.forge_status(&name, status).await.map(drop))
            }
            80..84 => {
                let finalizers = self.draw(select(vec![json!([]), json!(["example.com/hold"])]));
                ("hold", self.patch(&name, json!({ "metadata": { "finalizers": finalizers } })).await)
            }
            84..90 => ("delete", self.raw.delete(&name, &DeleteParams::default()).await.map(drop)),
            _ => return self.change_pipeline(),
        };
        let outcome = match result {
            Ok(()) => "accepted",
            Err(kube::Error::Api(refusal)) => match refusal.code {
                404 | 409 => "not found, or exists already",
                400 | 413 | 422 => "refused",
                _ => panic!("{what} {name}: {refusal:?}"),
            },
            Err(error) => panic!("{what} {name}: {error}"),
        };
        if (what, outcome) == ("create", "accepted") && !self.created.contains(&name) {
            self.created.push(name);
        }
        *self.counts.entry(format!("{what}: {outcome}")).or_default() += 1;
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<(), kube::Error> {
        self.raw.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// A change of a pipeline, or a fault of its next submission.
    fn change_pipeline(&mut self) {
        let (pipeline, _) = self.draw(select(&PIPELINES[..]));
        match self.draw(0..5) {
            0 => {
                let execution = self.env.start_execution(pipeline, "v2");
                self.env.complete_build(pipeline, execution, true);
                self.known.executions.push(execution.to_string());
            }
            1 => {
                if let Some(approval) = self.env.pending_approvals(pipeline).first() {
                    let at = (pipeline, "Prod", "Approve");
                    self.env
                        .codepipeline
                        .respond_as(BOB, at, approval.token, ResultStatus::Approved, "bob's summary")
                        .unwrap();
                }
            }
            2 => self.env.codepipeline.with_service(|service, now| service.edit_pipeline(now, pipeline).unwrap()),
            // The operator searches the history for a lost submission for up to a minute, too long for the quick test.
            3 if scale(false, true) => {
                self.env.codepipeline.inject(Fault::disconnect_after_applying().pipeline(pipeline))
            }
            _ => self.env.codepipeline.inject(Fault::throttled().pipeline(pipeline)),
        }
        let pending = self.env.pending_approvals(pipeline);
        self.known.tokens.extend(pending.iter().map(|approval| approval.token.to_string()));
    }

    async fn live(&self) -> Vec<ApprovalDecision> {
        let mut decisions = self.env.decisions.list(&ListParams::default()).await.unwrap().items;
        decisions.retain(|decision| decision.metadata.deletion_timestamp.is_none());
        decisions
    }

    /// Waits until every decision is idle.
    async fn wait_until_idle(&self) -> Vec<ApprovalDecision> {
        self.env.codepipeline.clear_faults();
        let started_at = Instant::now();
        loop {
            let live = self.live().await;
            let busy: Vec<_> = live.iter().filter(|decision| !is_idle(decision)).collect();
            if busy.is_empty() {
                return live;
            }
            let describe = |decision: &&ApprovalDecision| {
                format!("{}: {:?} {:?}", decision.name_any(), decision.spec, decision.status)
            };
            let busy: Vec<_> = busy.iter().map(describe).collect();
            assert!(started_at.elapsed() < IDLE_TIMEOUT, "{busy:#?}\n{}", self.operator.log());
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn reads(&self) -> u64 {
        let reads = Operation::ALL.iter().filter(|operation| **operation != Operation::PutApprovalResult);
        reads.map(|operation| self.env.codepipeline.request_count(*operation)).sum()
    }
}

fn manifest(name: &str, spec: &Value, metadata: &Value) -> Option<DynamicObject> {
    let mut object = json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalDecision",
        "metadata": { "name": name }, "spec": spec,
    });
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    serde_json::from_value(object).ok()
}

/// Whether the status is that of the current spec, and the decision is final, is retried, or waits for CodePipeline.
fn is_idle(decision: &ApprovalDecision) -> bool {
    let Some(ready) = condition(decision, "Ready") else { return false };
    // The operator accepts a status whose Ready is True as final, even a forged one.
    ready.status == ConditionStatus::True
        || decision.status.as_ref().unwrap().observed_generation == decision.metadata.generation
            && reason(decision).is_some_and(|reason| match reason.ready_class() {
                ReadyClass::Settled | ReadyClass::Stalled | ReadyClass::Suspended | ReadyClass::Retrying => true,
                ReadyClass::Waiting => decision.spec.token.is_none() || reason == Reason::ConflictingDecision,
                ReadyClass::InFlight | ReadyClass::Pending => false,
            })
}

/// The operators' requests to the API server: no other client writes statuses by PUT or reads a single decision.
fn operator_requests(control_plane: &ControlPlane) -> BTreeMap<&'static str, u64> {
    let counts = requests(control_plane);
    let kinds = ["PUT approvaldecisions/status", "GET approvaldecisions/", "POST events/", "PATCH events/"];
    kinds.into_iter().map(|kind| (kind, counts.get(kind).copied().unwrap_or_default())).collect()
}

fn sum(counts: &BTreeMap<&'static str, u64>) -> u64 {
    counts.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_writes_reach_a_reason_and_cause_a_bounded_number_of_requests() {
    let cluster = Cluster::start();
    let (namespaces, objects, steps) = scale((2_u8, 40, 6), (10, 200, 3));
    let started_at = Instant::now();
    let fuzz = async |seed| {
        let mut fuzzer = Fuzzer::new(&cluster, seed, objects).await;
        for _ in 0..objects * steps {
            fuzzer.step().await;
        }
        let live = fuzzer.wait_until_idle().await;
        (fuzzer, live)
    };
    let all: Vec<(Fuzzer, Vec<ApprovalDecision>)> =
        futures::stream::iter(0..namespaces).map(fuzz).buffer_unordered(10).collect().await;
    let idle_after = started_at.elapsed();
    let busy_requests = operator_requests(&cluster.control_plane);
    let submissions =
        all.iter().map(|(fuzzer, _)| fuzzer.env.codepipeline.request_count(Operation::PutApprovalResult)).sum::<u64>();
    let reads: u64 = all.iter().map(|(fuzzer, _)| fuzzer.reads()).sum();
    let mut errors = 0.0;
    for (fuzzer, _) in &all {
        errors += fuzzer.operator.metric("approval_operator_reconcile_errors_total").await;
    }
    sleep(QUIET_PERIOD).await;
    let (mut counts, mut reasons) = (BTreeMap::<&str, u32>::new(), BTreeMap::<String, u32>::new());
    for (fuzzer, live) in &all {
        for (what, count) in &fuzzer.counts {
            *counts.entry(what).or_default() += count;
        }
        for decision in live {
            let reason = condition(decision, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default();
            *reasons.entry(reason).or_default() += 1;
        }
        errors -= fuzzer.operator.metric("approval_operator_reconcile_errors_total").await;
        assert_eq!(fuzzer.operator.get("/healthz").await.map(|(status, _)| status), Some(200));
        assert!(!fuzzer.operator.log().contains("panicked"), "{}", fuzzer.operator.log());
    }
    let all_requests = operator_requests(&cluster.control_plane);
    let idle_submissions =
        all.iter().map(|(fuzzer, _)| fuzzer.env.codepipeline.request_count(Operation::PutApprovalResult)).sum::<u64>()
            - submissions;
    let idle_reads = all.iter().map(|(fuzzer, _)| fuzzer.reads()).sum::<u64>() - reads;
    let total =
        |kind: &str| counts.iter().filter(|(what, _)| what.ends_with(kind)).map(|(_, count)| *count).sum::<u32>();
    let (accepted, refused) = (u64::from(total(": accepted")), u64::from(total(": refused")));
    let live: u64 = reasons.values().map(|count| u64::from(*count)).sum();
    println!(
        "{counts:#?}\n{reasons:#?}\nidle after {idle_after:?}: {busy_requests:?}, {submissions} submissions, {reads} reads"
    );
    println!(
        "then in {QUIET_PERIOD:?}: {all_requests:?}, {idle_submissions} submissions, {idle_reads} reads; {live} live"
    );
    println!(
        "FIGURE {accepted} writes accepted and {refused} refused: {} requests, {submissions} submissions",
        sum(&busy_requests)
    );
    assert!(accepted > 100 && refused > 100 && live > 20, "{accepted} accepted, {refused} refused, {live} live");
    assert!(sum(&busy_requests) <= MAX_REQUESTS * accepted, "{busy_requests:?} for {accepted}");
    assert!(submissions <= accepted, "{submissions} submissions for {accepted}");
    let share = |a_minute: u64| (a_minute * live * QUIET_PERIOD.as_secs()).div_ceil(60);
    let idle_requests = sum(&all_requests) - sum(&busy_requests);
    assert!(
        idle_requests <= share(MAX_IDLE_REQUESTS),
        "{idle_requests} requests in {QUIET_PERIOD:?}: {busy_requests:?}, then {all_requests:?}"
    );
    assert!(idle_submissions <= share(1), "{idle_submissions} submissions in {QUIET_PERIOD:?}");
    // A poll takes three reads, and one more if a decision names an execution that is not on the page.
    let polls = u64::from(namespaces) * 4 * (QUIET_PERIOD.as_secs() / POLL_INTERVAL.as_secs() + 1);
    assert!(idle_reads <= 4 * polls, "{idle_reads} reads in {QUIET_PERIOD:?}");
    assert_eq!(errors, 0.0, "reconciles fail repeatedly");
}
