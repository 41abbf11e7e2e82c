//! Random histories through the real binary: runs start, build, fail, are stopped and retried, pipelines are edited, Bob
//! answers, answers are lost, and the operator is killed in between. In the end each decision has to say what the ledger and
//! the service itself imply. The same rules are put through far more histories in memory, by the tests of
//! `src/decision/decide`; these here show that the program keeps them too.

mod verdict;

use crate::support::{Case, Dice, Operator, for_revision, for_run, reason, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, ApprovalStatus, Reason};
use futures::future::join_all;
use jiff::SignedDuration;
use kube::ResourceExt;
use kube::api::ListParams;
use local_codepipeline::api::{ApprovalStatus as Answer, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{Behaviour, ExecutionMode, Lags, PipelineExecutionId as RunId, RetryMode, StopMode};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::sleep;
use verdict::Facts;

const SEEDS: u64 = 8;
const MOVES: usize = 90;
const PIPELINES: [(&str, ExecutionMode); 3] = [
    ("superseded", ExecutionMode::Superseded),
    ("queued", ExecutionMode::Queued),
    ("parallel", ExecutionMode::Parallel),
];
const REVISIONS: [&str; 3] = ["v1", "v2", "v3"];

/// How long the last answers may be in doubt: a call, its margins, and the minute that history may lag.
const PATIENCE: Duration = Duration::from_secs(150);

struct History {
    case: Case,
    dice: Dice,
    operator: Option<Operator>,
    /// Of each pipeline, in its order.
    runs: [Vec<RunId>; 3],
    retried: HashSet<RunId>,
    decisions: usize,
    /// What happened, for whoever has to find out why it ended as it did.
    diary: Vec<String>,
}

impl History {
    async fn new(seed: u64) -> Self {
        let case = Case::new().await;
        for (pipeline, mode) in PIPELINES {
            case.put(with_build(pipeline).mode(mode));
        }
        if seed % 2 == 1 {
            let [token, start, decision] = [1500, 500, 4000].map(SignedDuration::from_millis);
            let lags = Lags { token, start, decision, ..Lags::default() };
            case.service.service(|service, _| service.set_behaviour(Behaviour { lags, ..Behaviour::default() }));
        }
        let operator = Some(case.operator().start());
        let (runs, retried) = (Default::default(), HashSet::new());
        Self { case, dice: Dice(seed), operator, runs, retried, decisions: 0, diary: Vec::new() }
    }

    async fn step(&mut self) {
        let which = self.dice.below(PIPELINES.len());
        let (pipeline, _) = PIPELINES[which];
        let run = self.dice.one_of(&self.runs[which]);
        let did =
            match (self.dice.below(100), run) {
                (0..14, _) | (_, None) => {
                    let revision = self.dice.one_of(&REVISIONS).unwrap();
                    let run = self.case.start(pipeline, revision);
                    self.runs[which].push(run);
                    format!("{run} begins with {revision}")
                }
                (14..36, _) => self.build(which),
                (36..42, _) => self.answer(pipeline),
                (42..45, Some(run)) => {
                    let stopped = self.case.service.service(|service, now| {
                        service.stop_execution(now, pipeline, run, StopMode::Abandon, "enough")
                    });
                    format!("{run} is stopped: {}", stopped.is_ok())
                }
                (45..51, Some(run)) => {
                    let stage = self.dice.one_of(&["Build", "Prod"]).unwrap();
                    let retried = self.case.service.service(|service, now| {
                        service.retry_stage(now, pipeline, stage, run, RetryMode::FailedActions)
                    });
                    if retried.is_ok() {
                        self.retried.insert(run);
                    }
                    format!("{stage} of {run} is retried: {}", retried.is_ok())
                }
                (51..53, _) => {
                    self.case.service.service(|service, now| service.edit_pipeline(now, pipeline).unwrap());
                    "it is edited".to_owned()
                }
                (53..80, Some(run)) => self.decide(pipeline, run).await,
                (80..85, _) => self.lose(pipeline),
                (85..90, _) => {
                    if let Some(operator) = self.operator.take() {
                        operator.kill();
                    }
                    // It may be away for a while.
                    if self.dice.below(3) > 0 {
                        self.operator = Some(self.case.operator().start());
                    }
                    format!("the operator is killed; another one is there: {}", self.operator.is_some())
                }
                (90.., _) => {
                    if self.operator.is_none() {
                        self.operator = Some(self.case.operator().start());
                    }
                    sleep(Duration::from_millis(u64::try_from(self.dice.below(1000)).unwrap())).await;
                    "some time passes".to_owned()
                }
            };
        self.diary.push(format!("{pipeline}: {did}"));
        // What the operator does meanwhile falls between any two of the others' moves.
        sleep(Duration::from_millis(u64::try_from(self.dice.below(120)).unwrap())).await;
    }

    fn build(&mut self, which: usize) -> String {
        let (pipeline, _) = PIPELINES[which];
        let well = self.dice.below(6) > 0;
        let action = ("Build", "Compile");
        // Those that do not build refuse.
        let ended = self.runs[which].iter().find(|run| {
            let ended =
                self.case.service.service(|service, now| service.complete_action(now, pipeline, **run, action, well));
            ended.is_ok()
        });
        format!("{ended:?} is built: {well}")
    }

    fn answer(&mut self, pipeline: &str) -> String {
        let Some(approval) = self.dice.one_of(&self.case.pending(pipeline)) else { return "nothing".to_owned() };
        let answer = if self.dice.below(2) == 0 { Answer::Approved } else { Answer::Rejected };
        // The operator may be quicker.
        let at = (pipeline, "Prod", "Approve");
        let taken = self.case.service.answer_as(crate::support::BOB, at, approval.token, answer, "bob's words");
        format!("bob answers {} {}: {}", answer.as_str(), approval.pipeline_execution_id, taken.is_ok())
    }

    fn lose(&mut self, pipeline: &str) -> String {
        let faults = [
            Fault::cut_after_applying(),
            Fault::cut_before_applying(),
            Fault::internal_failure_after_applying(),
            Fault::throttled(),
        ];
        let fault = self.dice.one_of(&faults).unwrap();
        let shown = format!("the next answer is {fault}");
        self.case.service.fault(fault.on(Operation::PutApprovalResult).pipeline(pipeline));
        shown
    }

    async fn decide(&mut self, pipeline: &str, run: RunId) -> String {
        let name = format!("d-{}", self.decisions);
        self.decisions += 1;
        let pending = self.case.pending(pipeline);
        let revision = self.dice.one_of(&REVISIONS).unwrap();
        let (bound, mut decision): (_, ApprovalDecisionSpec) = match (self.dice.below(5), pending.first()) {
            (0, Some(approval)) => (approval.token.to_string(), spec(pipeline, approval)),
            (0..3, _) => (run.to_string(), for_run(pipeline, run)),
            (3.., _) => (revision.to_owned(), for_revision(pipeline, revision)),
        };
        if self.dice.below(4) == 0 {
            decision.result.status = ApprovalStatus::Rejected;
        }
        // By this the ledger tells whose answer it was.
        decision.result.summary.clone_from(&name);
        let shown = format!("{name} is created, {} for {bound}", decision.result.status);
        self.case.create(&name, decision).await;
        shown
    }

    /// What is wrong with the decisions as they are now.
    async fn mistakes(&self) -> (Vec<ApprovalDecision>, Vec<String>) {
        let decisions = self.case.decisions.list(&ListParams::default()).await.unwrap().items;
        // Afterwards, for a decision tells only of what has happened.
        let facts: Vec<Facts> = PIPELINES.iter().map(|(pipeline, _)| Facts::of(&self.case, pipeline)).collect();
        let wrong = decisions.iter().filter_map(|decision| {
            let which = PIPELINES.iter().position(|(pipeline, _)| *pipeline == decision.spec.pipeline_name).unwrap();
            let wrong = facts[which].verdict(decision, &self.retried).err()?;
            Some(format!("{} is {:?}, but {wrong}", decision.name_any(), reason(decision)))
        });
        let wrong = wrong.collect();
        (decisions, wrong)
    }

    /// Waits until every decision says what it has to, and sees to it that this lasts.
    async fn end(mut self, seed: u64) -> Vec<Reason> {
        self.case.service.clear_faults();
        let lags = Lags { cancellation: SignedDuration::ZERO, ..Lags::default() };
        self.case.service.service(|service, _| service.set_behaviour(Behaviour { lags, ..Behaviour::default() }));
        let operator = self.operator.take().unwrap_or_else(|| self.case.operator().start());
        let begun = std::time::Instant::now();
        loop {
            let (decisions, wrong) = self.mistakes().await;
            if wrong.is_empty() {
                let waits = |decision: &&ApprovalDecision| reason(decision) == Some(Reason::Waiting);
                let waiting: HashSet<&str> =
                    decisions.iter().filter(waits).map(|decision| decision.spec.pipeline_name.as_str()).collect();
                for pipeline in waiting {
                    self.case.looks(pipeline, 3).await;
                }
                let (decisions, wrong) = self.mistakes().await;
                assert!(wrong.is_empty(), "seed {seed}: it did not last: {wrong:#?}\n{:#?}", self.diary);
                return decisions.iter().filter_map(reason).collect();
            }
            if begun.elapsed() > PATIENCE {
                panic!("seed {seed}: {wrong:#?}\n{:#?}\n{}", self.diary, operator.log());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_random_history_each_decision_says_what_the_ledger_and_the_service_imply() {
    let histories = (0..SEEDS).map(|seed| {
        tokio::spawn(async move {
            let mut history = History::new(seed).await;
            for _ in 0..MOVES {
                history.step().await;
            }
            history.end(seed).await
        })
    });
    let reasons: Vec<Reason> = join_all(histories).await.into_iter().flat_map(Result::unwrap).collect();
    let count = |wanted: Reason| reasons.iter().filter(|reason| **reason == wanted).count();
    // Or the histories show little.
    assert!(count(Reason::Delivered) >= 20, "{reasons:?}");
    for reason in [Reason::Waiting, Reason::ExecutionEnded, Reason::AlreadyDecided, Reason::ApprovalAlreadyCompleted] {
        assert!(count(reason) > 0, "none of {} is {reason:?}", reasons.len());
    }
}
