//! Random operations with the real binary: executions start, build, fail, are stopped and retried, pipelines are edited, Bob
//! responds to approvals, responses are lost, and the operator is killed. At the end, each status must follow from the ledger
//! and from CodePipeline's model. `crates/simulation` checks the same rules with far more operations, in memory.

mod verdict;

use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, Reason};
use futures::future::join_all;
use jiff::SignedDuration;
use kube::ResourceExt;
use kube::api::ListParams;
use local_codepipeline::api::{ApprovalStatus as ResultStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{
    Behaviour, ExecutionMode, Lags, PipelineExecutionId as ExecutionId, RetryMode, StopMode,
};
use std::collections::HashSet;
use std::time::Duration;
use test_support::{Operator, SeededRng, TestEnv, for_execution, for_revision, pipeline_with_build, reason, spec};
use tokio::time::sleep;
use verdict::Facts;

const SEEDS: u64 = 8;
const STEPS: usize = 90;
const PIPELINES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];
const REVISIONS: [&str; 3] = ["v1", "v2", "v3"];

/// How long the last submissions may be in doubt: a call, its time limits, and the minute that history may lag.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(150);

struct Scenario {
    env: TestEnv,
    rng: SeededRng,
    operator: Option<Operator>,
    /// The executions of each pipeline, in the order of `PIPELINES`.
    executions: [Vec<ExecutionId>; 3],
    retried: HashSet<ExecutionId>,
    decisions: usize,
    /// What happened, to debug a failure.
    log: Vec<String>,
}

impl Scenario {
    async fn new(seed: u64) -> Self {
        let env = TestEnv::new().await;
        for (pipeline, mode) in PIPELINES {
            env.put_pipeline(pipeline_with_build(pipeline).mode(mode));
        }
        if seed % 2 == 1 {
            let [token, start, decision] = [1500, 500, 4000].map(SignedDuration::from_millis);
            let lags = Lags { token, start, decision, ..Lags::default() };
            env.codepipeline
                .with_service(|service, _| service.set_behaviour(Behaviour { lags, ..Behaviour::default() }));
        }
        let operator = Some(env.operator().start());
        let (executions, retried) = (Default::default(), HashSet::new());
        Self { env, rng: SeededRng::new(seed), operator, executions, retried, decisions: 0, log: Vec::new() }
    }

    async fn step(&mut self) {
        let which = self.rng.below(PIPELINES.len());
        let (pipeline, _) = PIPELINES[which];
        let execution = self.rng.choose(&self.executions[which]);
        let step = match (self.rng.below(100), execution) {
            (0..14, _) | (_, None) => {
                let revision = self.rng.choose(&REVISIONS).unwrap();
                let execution = self.env.start_execution(pipeline, revision);
                self.executions[which].push(execution);
                format!("{execution} starts with {revision}")
            }
            (14..36, _) => self.build(which),
            (36..42, _) => self.respond(pipeline),
            (42..45, Some(execution)) => {
                let stopped = self.env.codepipeline.with_service(|service, now| {
                    service.stop_execution(now, pipeline, execution, StopMode::Abandon, "enough")
                });
                format!("{execution} is stopped: {}", stopped.is_ok())
            }
            (45..51, Some(execution)) => {
                let stage = self.rng.choose(&["Build", "Prod"]).unwrap();
                let retried = self.env.codepipeline.with_service(|service, now| {
                    service.retry_stage(now, pipeline, stage, execution, RetryMode::FailedActions)
                });
                if retried.is_ok() {
                    self.retried.insert(execution);
                }
                format!("{stage} of {execution} is retried: {}", retried.is_ok())
            }
            (51..53, _) => {
                self.env.codepipeline.with_service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
                "the pipeline is edited".to_owned()
            }
            (53..80, Some(execution)) => self.decide(pipeline, execution).await,
            (80..85, _) => self.inject_fault(pipeline),
            (85..90, _) => {
                if let Some(operator) = self.operator.take() {
                    operator.kill();
                }
                // No operator may run for a while.
                if self.rng.below(3) > 0 {
                    self.operator = Some(self.env.operator().start());
                }
                format!("the operator is killed; another one runs: {}", self.operator.is_some())
            }
            (90.., _) => {
                if self.operator.is_none() {
                    self.operator = Some(self.env.operator().start());
                }
                sleep(Duration::from_millis(u64::try_from(self.rng.below(1000)).unwrap())).await;
                "some time passes".to_owned()
            }
        };
        self.log.push(format!("{pipeline}: {step}"));
        // The operator works between any two steps.
        sleep(Duration::from_millis(u64::try_from(self.rng.below(120)).unwrap())).await;
    }

    fn build(&mut self, which: usize) -> String {
        let (pipeline, _) = PIPELINES[which];
        let succeeds = self.rng.below(6) > 0;
        let action = ("Build", "Compile");
        // This fails for executions that are not building.
        let ended = self.executions[which].iter().find(|execution| {
            let ended = self
                .env
                .codepipeline
                .with_service(|service, now| service.complete_action(now, pipeline, **execution, action, succeeds));
            ended.is_ok()
        });
        format!("{ended:?} is built: {succeeds}")
    }

    fn respond(&mut self, pipeline: &str) -> String {
        let Some(approval) = self.rng.choose(&self.env.pending_approvals(pipeline)) else {
            return "nothing".to_owned();
        };
        let status = if self.rng.below(2) == 0 { ResultStatus::Approved } else { ResultStatus::Rejected };
        // The operator may be quicker.
        let at = (pipeline, "Prod", "Approve");
        let responded =
            self.env.codepipeline.respond_as(test_support::BOB, at, approval.token, status, "bob's summary");
        format!("bob responds {} to {}: {}", status.as_str(), approval.pipeline_execution_id, responded.is_ok())
    }

    fn inject_fault(&mut self, pipeline: &str) -> String {
        let faults = [
            Fault::disconnect_after_applying(),
            Fault::disconnect_before_applying(),
            Fault::internal_failure_after_applying(),
            Fault::throttled(),
        ];
        let fault = self.rng.choose(&faults).unwrap();
        let shown = format!("the next submission has the fault {fault}");
        self.env.codepipeline.inject(fault.on(Operation::PutApprovalResult).pipeline(pipeline));
        shown
    }

    async fn decide(&mut self, pipeline: &str, execution: ExecutionId) -> String {
        let name = format!("d-{}", self.decisions);
        self.decisions += 1;
        let pending = self.env.pending_approvals(pipeline);
        let revision = self.rng.choose(&REVISIONS).unwrap();
        let (bound, mut decision): (_, ApprovalDecisionSpec) = match (self.rng.below(5), pending.first()) {
            (0, Some(approval)) => (approval.token.to_string(), spec(pipeline, approval)),
            (0..3, _) => (execution.to_string(), for_execution(pipeline, execution)),
            (3.., _) => (revision.to_owned(), for_revision(pipeline, revision)),
        };
        if self.rng.below(4) == 0 {
            decision.result.status = ApprovalStatus::Rejected;
        }
        // The ledger shows the summary, which identifies the decision.
        decision.result.summary.clone_from(&name);
        let shown = format!("{name} is created, {} for {bound}", decision.result.status);
        self.env.create(&name, decision).await;
        shown
    }

    /// The decisions, and what is wrong with their statuses.
    async fn violations(&self) -> (Vec<ApprovalDecision>, Vec<String>) {
        let decisions = self.env.decisions.list(&ListParams::default()).await.unwrap().items;
        // Read the facts after the decisions, because a status shows only what has already happened.
        let facts: Vec<Facts> = PIPELINES.iter().map(|(pipeline, _)| Facts::of(&self.env, pipeline)).collect();
        let wrong = decisions.iter().filter_map(|decision| {
            let which = PIPELINES.iter().position(|(pipeline, _)| *pipeline == decision.spec.pipeline_name).unwrap();
            let wrong = facts[which].verdict(decision, &self.retried).err()?;
            Some(format!("{} is {:?}, but {wrong}", decision.name_any(), reason(decision)))
        });
        let wrong = wrong.collect();
        (decisions, wrong)
    }

    /// Waits until every status is correct, and checks that it stays so.
    async fn finish(mut self, seed: u64) -> Vec<Reason> {
        self.env.codepipeline.clear_faults();
        let lags = Lags { cancellation: SignedDuration::ZERO, ..Lags::default() };
        self.env
            .codepipeline
            .with_service(|service, _| service.set_behaviour(Behaviour { lags, ..Behaviour::default() }));
        let operator = self.operator.take().unwrap_or_else(|| self.env.operator().start());
        let started_at = std::time::Instant::now();
        loop {
            let (decisions, wrong) = self.violations().await;
            if wrong.is_empty() {
                let waits = |decision: &&ApprovalDecision| reason(decision) == Some(Reason::Waiting);
                let waiting: HashSet<&str> =
                    decisions.iter().filter(waits).map(|decision| decision.spec.pipeline_name.as_str()).collect();
                for pipeline in waiting {
                    self.env.wait_for_polls(pipeline, 3).await;
                }
                let (decisions, wrong) = self.violations().await;
                assert!(wrong.is_empty(), "seed {seed}: the statuses changed again: {wrong:#?}\n{:#?}", self.log);
                return decisions.iter().filter_map(reason).collect();
            }
            if started_at.elapsed() > SETTLE_TIMEOUT {
                panic!("seed {seed}: {wrong:#?}\n{:#?}\n{}", self.log, operator.log());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_random_operations_each_status_follows_from_the_ledger_and_from_codepipeline() {
    let scenarios = (0..SEEDS).map(|seed| {
        tokio::spawn(async move {
            let mut scenario = Scenario::new(seed).await;
            for _ in 0..STEPS {
                scenario.step().await;
            }
            scenario.finish(seed).await
        })
    });
    let reasons: Vec<Reason> = join_all(scenarios).await.into_iter().flat_map(Result::unwrap).collect();
    let count = |wanted: Reason| reasons.iter().filter(|reason| **reason == wanted).count();
    // The test is only useful if these reasons occur.
    assert!(count(Reason::Delivered) >= 20, "{reasons:?}");
    for reason in [Reason::Waiting, Reason::ExecutionEnded, Reason::AlreadyDecided, Reason::ApprovalAlreadyCompleted] {
        assert!(count(reason) > 0, "none of {} is {reason:?}", reasons.len());
    }
}
