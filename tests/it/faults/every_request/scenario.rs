//! One decision, what it is bound to, how the service takes its answer, and what has to be true in the end whatever was struck.

use super::strike::Counts;
use crate::support::{Case, ensure, for_revision, for_run, ids, is_settled, pinned, reason, spec, with_build};
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason};
use local_codepipeline::api::{ApprovalStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId as RunId};
use std::fmt;

pub const DECISION: &str = "web";

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Binding {
    Token,
    Execution,
    Revision,
}

/// How the service takes the answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Service {
    Delivers,
    /// The action wants a summary, and there is none.
    Refuses,
    /// Bob was quicker, and said no.
    WasAnswered,
    /// Twice.
    Throttles,
    /// Its own answer to the first is lost.
    TakesAndIsCutOff,
    /// The first is lost on its way.
    IsCutOff,
}

impl Service {
    /// Whether it is not known at once what became of the answer.
    pub const fn leaves_doubt(self) -> bool {
        match self {
            Self::Delivers | Self::Refuses | Self::WasAnswered | Self::Throttles => false,
            Self::TakesAndIsCutOff | Self::IsCutOff => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Scenario {
    pub binding: Binding,
    pub service: Service,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, service {:?}", self.binding, self.service)
    }
}

impl Scenario {
    pub fn all() -> impl Iterator<Item = Self> {
        let services = [
            Service::Delivers,
            Service::Refuses,
            Service::WasAnswered,
            Service::Throttles,
            Service::TakesAndIsCutOff,
            Service::IsCutOff,
        ];
        let bindings = [Binding::Token, Binding::Execution, Binding::Revision];
        bindings.into_iter().flat_map(move |binding| services.map(|service| Self { binding, service }))
    }

    /// Two runs, of which the second waits in front of the first one's approval, and a decision about the first.
    pub async fn begin(self, case: &Case) -> Play {
        let mut pipeline = with_build(DECISION).mode(ExecutionMode::Queued);
        if self.service == Service::Refuses {
            pipeline.stages.iter_mut().flat_map(|stage| &mut stage.actions).for_each(|action| {
                if action.is_approval() {
                    *action = action.clone().summary_required();
                }
            });
        }
        case.put(pipeline);
        let runs = ["r1", "r2"].map(|revision| case.start(DECISION, revision));
        let put = Operation::PutApprovalResult;
        match self.service {
            Service::Delivers | Service::Refuses | Service::WasAnswered => {}
            Service::Throttles => case.service.fault(Fault::throttled().on(put).times(2)),
            Service::TakesAndIsCutOff => case.service.fault(Fault::cut_after_applying().on(put)),
            Service::IsCutOff => case.service.fault(Fault::cut_before_applying().on(put)),
        }
        let mut play = Play { scenario: self, runs, approval: None };
        if self.binding == Binding::Token {
            play.arrive(case);
        }
        case.create(DECISION, play.spec()).await;
        play
    }
}

/// A scenario that is under way.
pub struct Play {
    scenario: Scenario,
    runs: [RunId; 2],
    /// The request of the first run, once it is there.
    approval: Option<OpenApproval>,
}

impl Play {
    fn spec(&self) -> ApprovalDecisionSpec {
        let mut spec = match (self.scenario.binding, &self.approval) {
            (Binding::Token, Some(approval)) => spec(DECISION, approval),
            (Binding::Token, None) => unreachable!("it has arrived"),
            (Binding::Execution, _) => for_run(DECISION, self.runs[0]),
            (Binding::Revision, _) => for_revision(DECISION, "r1"),
        };
        if self.scenario.service == Service::Refuses {
            spec.result.summary = String::new();
        }
        spec
    }

    /// The first run comes to its approval, and the second waits in front of it.
    fn arrive(&mut self, case: &Case) {
        self.runs.iter().for_each(|run| case.built(DECISION, *run, true));
        let pending = case.pending(DECISION);
        let [approval] = pending.as_slice() else { panic!("one is pending: {pending:?}") };
        if self.scenario.service == Service::WasAnswered {
            case.bob(DECISION, approval, ApprovalStatus::Rejected);
        }
        self.approval = Some(*approval);
    }

    /// Lives through it until the decision is settled.
    pub async fn through(&mut self, case: &Case) {
        if self.approval.is_none() {
            case.until_reason(DECISION, Reason::Waiting).await;
            self.arrive(case);
        }
        case.until(DECISION, "settled", is_settled).await;
    }

    /// What is wrong with how it ended, by the ledger and the service itself.
    pub fn verdict(&self, case: &Case, decision: &ApprovalDecision, counts: &Counts) -> Result<(), String> {
        let Some(approval) = &self.approval else { return Err("the approval was never reached".to_owned()) };
        let (sent, taken) = case.sent_and_taken(decision);
        ensure(sent.iter().all(|entry| entry.token == approval.token.to_string()), "another request was answered")?;
        ensure(counts.answers <= counts.intents, "an answer was sent without an intent of its own")?;
        case.tells_the_truth(decision)?;
        let (expected, answers): (&[Reason], _) = match (self.scenario.service, self.scenario.binding) {
            (Service::Refuses, _) => (&[Reason::InvalidApprovalToken], 0),
            // The second run is at the approval by now, and the service knows its token only. If there was doubt, the record
            // was read, which shows what Bob said.
            (Service::WasAnswered, Binding::Token) => {
                (&[Reason::InvalidApprovalToken, Reason::ApprovalAlreadyCompleted], 0)
            }
            (Service::WasAnswered, Binding::Execution | Binding::Revision) => (&[Reason::ApprovalAlreadyCompleted], 0),
            (Service::Delivers | Service::Throttles | Service::TakesAndIsCutOff | Service::IsCutOff, _) => {
                (&[Reason::Delivered], 1)
            }
        };
        ensure(taken.len() == answers, format!("{} answers were taken, not {answers}", taken.len()))?;
        let found = reason(decision);
        let is_expected = found.is_some_and(|found| expected.contains(&found));
        ensure(is_expected, format!("it is {found:?}, not one of {expected:?}"))?;
        let known = pinned(decision);
        ensure(known == (None, None) || known == ids(approval), "it names another request")?;
        // Whoever was not asked about waits on.
        let waiting: Vec<RunId> = case.pending(DECISION).iter().map(|pending| pending.pipeline_execution_id).collect();
        let expected = match self.scenario.service {
            Service::Refuses => [self.runs[0]],
            _ => [self.runs[1]],
        };
        ensure(waiting == expected, "the other run's approval is no longer pending")
    }
}
