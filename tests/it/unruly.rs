//! Whatever people write into decisions, as often as they like, and administrators into their statuses: the API server refuses
//! some of it, and the rest ends in a reason. The operator stays up, and what it asks of anybody has its bounds.

mod manifests;

use crate::requests::requests;
use crate::support::{BOB, Case, Cluster, Operator, condition, install_crds, reason, scale, with_build};
use approval_operator::api::conditions::ConditionStatus;
use approval_operator::api::v1alpha1::{ApprovalDecision, Standing};
use control_plane::ControlPlane;
use futures::StreamExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::ExecutionMode;
use manifests::{Known, marks, specs, statuses};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const PIPELINES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];

/// How long decisions may take to come to rest, when the last of the faults is over: a call, its margins, and what is lost is
/// looked for in the record.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long it is looked whether anything still happens when all is at rest.
const QUIET: Duration = Duration::from_secs(8);

/// The pause between two looks at a pipeline.
const POLL: Duration = Duration::from_secs(1);

/// What operators may ask of the API server for a decision a minute when all is at rest: one that was not taken is tried again
/// within five, which is two writes and an Event.
const QUIET_REQUESTS: u64 = 3;

/// What they may ask for each thing that is done to a decision, in the same measure: what was found before may have to be told,
/// then the intent and what came of it, each once more where somebody else wrote first.
const REQUESTS: u64 = 6;

/// One namespace with an operator, and what is done in it.
struct Unruly {
    case: Case,
    raw: Api<DynamicObject>,
    operator: Operator,
    chance: TestRunner,
    known: Known,
    objects: usize,
    /// The names of decisions that were created.
    there: Vec<String>,
    counts: BTreeMap<String, u32>,
}

impl Unruly {
    async fn new(cluster: &Cluster, seed: u8, objects: usize) -> Self {
        let case = Case::on(cluster).await;
        let mut known =
            Known { pipelines: PIPELINES.map(|(pipeline, _)| pipeline).to_vec(), tokens: Vec::new(), runs: Vec::new() };
        for (pipeline, mode) in PIPELINES {
            case.put(with_build(pipeline).mode(mode));
            for revision in ["v1", "v2", "v1"] {
                let run = case.start(pipeline, revision);
                case.built(pipeline, run, true);
                known.runs.push(run.to_string());
            }
            known.tokens.extend(case.pending(pipeline).iter().map(|approval| approval.token.to_string()));
        }
        let raw = case.raw();
        let operator = case.operator().set("APPROVAL_OPERATOR_POLL_INTERVAL", "1s").start();
        operator.until_ready().await;
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let chance = TestRunner::new_with_rng(Config::default(), rng);
        Self { case, raw, operator, chance, known, objects, there: Vec::new(), counts: BTreeMap::new() }
    }

    fn draw<T: std::fmt::Debug>(&mut self, from: impl Strategy<Value = T>) -> T {
        from.new_tree(&mut self.chance).unwrap().current()
    }

    /// Somebody does something to one of the decisions, or to a pipeline.
    async fn step(&mut self) {
        let dice = self.draw(0_u32..100);
        let name = match dice {
            30.. if !self.there.is_empty() => self.draw(select(self.there.clone())),
            _ => format!("d-{}", self.draw(0..self.objects)),
        };
        let (what, done) = match dice {
            0..30 => {
                let (spec, marks) = (self.draw(specs(&self.known)), self.draw(marks()));
                let object = manifest(&name, &spec, &marks);
                let done = match object {
                    Some(object) => self.raw.create(&PostParams::default(), &object).await.map(drop),
                    // Not even this client sends it.
                    None => return,
                };
                ("create", done)
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
                let marks = self.draw(marks());
                ("mark", self.patch(&name, json!({ "metadata": marks })).await)
            }
            62..80 => {
                let status = self.draw(statuses(&self.known));
                ("forge", self.case.forge(&name, status).await.map(drop))
            }
            80..84 => {
                let finalizers = self.draw(select(vec![json!([]), json!(["example.com/hold"])]));
                ("hold", self.patch(&name, json!({ "metadata": { "finalizers": finalizers } })).await)
            }
            84..90 => ("delete", self.raw.delete(&name, &DeleteParams::default()).await.map(drop)),
            _ => return self.happen(),
        };
        let outcome = match done {
            Ok(()) => "accepted",
            Err(kube::Error::Api(refusal)) => match refusal.code {
                404 | 409 => "not there, or there",
                400 | 413 | 422 => "refused",
                _ => panic!("{what} {name}: {refusal:?}"),
            },
            Err(error) => panic!("{what} {name}: {error}"),
        };
        if (what, outcome) == ("create", "accepted") && !self.there.contains(&name) {
            self.there.push(name);
        }
        *self.counts.entry(format!("{what}: {outcome}")).or_default() += 1;
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<(), kube::Error> {
        self.raw.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Something happens to a pipeline, or to the next answer to it.
    fn happen(&mut self) {
        let (pipeline, _) = self.draw(select(&PIPELINES[..]));
        match self.draw(0..5) {
            0 => {
                let run = self.case.start(pipeline, "v2");
                self.case.built(pipeline, run, true);
                self.known.runs.push(run.to_string());
            }
            1 => {
                if let Some(approval) = self.case.pending(pipeline).first() {
                    let at = (pipeline, "Prod", "Approve");
                    self.case.service.answer_as(BOB, at, approval.token, Answer::Approved, "bob's words").unwrap();
                }
            }
            2 => self.case.service.service(|service, now| service.edit_pipeline(now, pipeline).unwrap()),
            // What is lost is looked for in the record, for a minute where it left no trace.
            3 if scale(false, true) => self.case.service.fault(Fault::cut_after_applying().pipeline(pipeline)),
            _ => self.case.service.fault(Fault::throttled().pipeline(pipeline)),
        }
        let pending = self.case.pending(pipeline);
        self.known.tokens.extend(pending.iter().map(|approval| approval.token.to_string()));
    }

    async fn live(&self) -> Vec<ApprovalDecision> {
        let mut decisions = self.case.decisions.list(&ListParams::default()).await.unwrap().items;
        decisions.retain(|decision| decision.metadata.deletion_timestamp.is_none());
        decisions
    }

    /// Waits until every decision that there is has come to rest.
    async fn until_at_rest(&self) -> Vec<ApprovalDecision> {
        self.case.service.clear_faults();
        let begun = Instant::now();
        loop {
            let live = self.live().await;
            let restless: Vec<_> = live.iter().filter(|decision| !is_at_rest(decision)).collect();
            if restless.is_empty() {
                return live;
            }
            let tell = |decision: &&ApprovalDecision| {
                format!("{}: {:?} {:?}", decision.name_any(), decision.spec, decision.status)
            };
            let restless: Vec<_> = restless.iter().map(tell).collect();
            assert!(begun.elapsed() < PATIENCE, "{restless:#?}\n{}", self.operator.log());
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn reads(&self) -> u64 {
        let reads = Operation::ALL.iter().filter(|operation| **operation != Operation::PutApprovalResult);
        reads.map(|operation| self.case.service.requests(*operation)).sum()
    }
}

fn manifest(name: &str, spec: &Value, marks: &Value) -> Option<DynamicObject> {
    let mut object = json!({
        "apiVersion": "codepipeline.approvals.dev/v1alpha1", "kind": "ApprovalDecision",
        "metadata": { "name": name }, "spec": spec,
    });
    object["metadata"].as_object_mut().unwrap().extend(marks.as_object().unwrap().clone());
    serde_json::from_value(object).ok()
}

/// Whether a decision tells of itself as it is now, and nothing is left to do or it waits for what may come.
fn is_at_rest(decision: &ApprovalDecision) -> bool {
    let Some(ready) = condition(decision, "Ready") else { return false };
    // Of one that is over, the status is believed whatever it says.
    ready.status == ConditionStatus::True
        || decision.status.as_ref().unwrap().observed_generation == decision.metadata.generation
            && reason(decision).is_some_and(|reason| match reason.standing() {
                Standing::Settled | Standing::Stalled | Standing::Suspended | Standing::Retrying => true,
                Standing::Waiting => decision.spec.token.is_none(),
                Standing::UnderWay => false,
            })
}

/// What operators asked of the API server: nobody else writes statuses by PUT, or reads a single decision.
fn asked(control_plane: &ControlPlane) -> BTreeMap<&'static str, u64> {
    let counts = requests(control_plane);
    let kinds = ["PUT approvaldecisions/status", "GET approvaldecisions/", "POST events/", "PATCH events/"];
    kinds.into_iter().map(|kind| (kind, counts.get(kind).copied().unwrap_or_default())).collect()
}

fn sum(counts: &BTreeMap<&'static str, u64>) -> u64 {
    counts.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_ends_in_a_reason_and_no_decision_asks_for_more_than_its_share() {
    let cluster = Cluster::start_empty();
    install_crds(&cluster.control_plane);
    let (namespaces, objects, moves) = scale((2_u8, 40, 6), (10, 200, 3));
    let begun = Instant::now();
    let run = async |seed| {
        let mut unruly = Unruly::new(&cluster, seed, objects).await;
        for _ in 0..objects * moves {
            unruly.step().await;
        }
        let live = unruly.until_at_rest().await;
        (unruly, live)
    };
    let all: Vec<(Unruly, Vec<ApprovalDecision>)> =
        futures::stream::iter(0..namespaces).map(run).buffer_unordered(10).collect().await;
    let took = begun.elapsed();
    let whole = asked(&cluster.control_plane);
    let answers = all.iter().map(|(unruly, _)| unruly.case.service.requests(Operation::PutApprovalResult)).sum::<u64>();
    let reads: u64 = all.iter().map(|(unruly, _)| unruly.reads()).sum();
    let mut errors = 0.0;
    for (unruly, _) in &all {
        errors += unruly.operator.metric("approval_operator_reconcile_errors_total").await;
    }
    sleep(QUIET).await;
    let (mut counts, mut reasons) = (BTreeMap::<&str, u32>::new(), BTreeMap::<String, u32>::new());
    for (unruly, live) in &all {
        for (what, count) in &unruly.counts {
            *counts.entry(what).or_default() += count;
        }
        for decision in live {
            let reason = condition(decision, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default();
            *reasons.entry(reason).or_default() += 1;
        }
        errors -= unruly.operator.metric("approval_operator_reconcile_errors_total").await;
        assert_eq!(unruly.operator.get("/healthz").await.map(|(status, _)| status), Some(200));
        assert!(!unruly.operator.log().contains("panicked"), "{}", unruly.operator.log());
    }
    let quiet = asked(&cluster.control_plane);
    let quiet_answers =
        all.iter().map(|(unruly, _)| unruly.case.service.requests(Operation::PutApprovalResult)).sum::<u64>() - answers;
    let quiet_reads = all.iter().map(|(unruly, _)| unruly.reads()).sum::<u64>() - reads;
    let total =
        |kind: &str| counts.iter().filter(|(what, _)| what.ends_with(kind)).map(|(_, count)| *count).sum::<u32>();
    let (accepted, refused) = (u64::from(total(": accepted")), u64::from(total(": refused")));
    let live: u64 = reasons.values().map(|count| u64::from(*count)).sum();
    println!("{counts:#?}\n{reasons:#?}\nat rest after {took:?}: {whole:?}, {answers} answers, {reads} reads");
    println!("then in {QUIET:?}: {quiet:?}, {quiet_answers} answers, {quiet_reads} reads; {live} live");
    println!("FIGURE {accepted} moves accepted and {refused} refused: {} requests, {answers} answers", sum(&whole));
    assert!(accepted > 100 && refused > 100 && live > 20, "{accepted} accepted, {refused} refused, {live} live");
    assert!(sum(&whole) <= REQUESTS * accepted, "{whole:?} for {accepted}");
    assert!(answers <= accepted, "{answers} answers for {accepted}");
    let share = |a_minute: u64| (a_minute * live * QUIET.as_secs()).div_ceil(60);
    let in_quiet = sum(&quiet) - sum(&whole);
    assert!(in_quiet <= share(QUIET_REQUESTS), "{in_quiet} requests in {QUIET:?}: {whole:?}, then {quiet:?}");
    assert!(quiet_answers <= share(1), "{quiet_answers} answers in {QUIET:?}");
    // A look takes three reads, and one more where somebody asks for a run that is not on the page.
    let looks = u64::from(namespaces) * 4 * (QUIET.as_secs() / POLL.as_secs() + 1);
    assert!(quiet_reads <= 4 * looks, "{quiet_reads} reads in {QUIET:?}");
    assert_eq!(errors, 0.0, "rounds fail over and over");
}
