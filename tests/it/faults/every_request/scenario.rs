//! A scenario: one decision, how it names its request, how CodePipeline behaves, and what must be true at the end, whatever fault was
//! injected.

use super::inject::Counts;
use approval_operator::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Reason};
use local_codepipeline::api::{ApprovalStatus, Operation};
use local_codepipeline::faults::Fault;
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId};
use std::fmt;
use test_support::{
    TestEnv, ensure, for_execution, for_revision, ids, is_settled, pinned, pipeline_with_build, reason, spec,
};

pub const DECISION: &str = "web";

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Binding {
    Token,
    Execution,
    Revision,
}

/// What CodePipeline does with the submission.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Behaviour {
    Accepts,
    /// The action requires a summary, and the decision has none.
    Refuses,
    /// Bob has already rejected the approval.
    AlreadyRejected,
    /// Twice.
    Throttles,
    /// It accepts the first submission, and its response is lost.
    DisconnectsAfterApplying,
    /// The first submission is lost.
    DisconnectsBeforeApplying,
}

impl Behaviour {
    /// Whether the outcome of the first submission is unknown at first.
    pub const fn leaves_doubt(self) -> bool {
        match self {
            Self::Accepts | Self::Refuses | Self::AlreadyRejected | Self::Throttles => false,
            Self::DisconnectsAfterApplying | Self::DisconnectsBeforeApplying => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Scenario {
    pub binding: Binding,
    pub behaviour: Behaviour,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, CodePipeline {:?}", self.binding, self.behaviour)
    }
}

impl Scenario {
    pub fn all() -> impl Iterator<Item = Self> {
        let behaviours = [
            Behaviour::Accepts,
            Behaviour::Refuses,
            Behaviour::AlreadyRejected,
            Behaviour::Throttles,
            Behaviour::DisconnectsAfterApplying,
            Behaviour::DisconnectsBeforeApplying,
        ];
        let bindings = [Binding::Token, Binding::Execution, Binding::Revision];
        bindings.into_iter().flat_map(move |binding| behaviours.map(|behaviour| Self { binding, behaviour }))
    }

    /// Starts two executions, and creates a decision for the first one. The second waits in front of the first one's approval.
    pub async fn start(self, env: &TestEnv) -> RunningScenario {
        let mut pipeline = pipeline_with_build(DECISION).mode(ExecutionMode::Queued);
        if self.behaviour == Behaviour::Refuses {
            pipeline.stages.iter_mut().flat_map(|stage| &mut stage.actions).for_each(|action| {
                if action.is_approval() {
                    *action = action.clone().summary_required();
                }
            });
        }
        env.put_pipeline(pipeline);
        let executions = ["r1", "r2"].map(|revision| env.start_execution(DECISION, revision));
        let put = Operation::PutApprovalResult;
        match self.behaviour {
            Behaviour::Accepts | Behaviour::Refuses | Behaviour::AlreadyRejected => {}
            Behaviour::Throttles => env.codepipeline.inject(Fault::throttled().on(put).times(2)),
            Behaviour::DisconnectsAfterApplying => {
                env.codepipeline.inject(Fault::disconnect_after_applying().on(put));
            }
            Behaviour::DisconnectsBeforeApplying => {
                env.codepipeline.inject(Fault::disconnect_before_applying().on(put));
            }
        }
        let mut running = RunningScenario { scenario: self, executions, approval: None };
        if self.binding == Binding::Token {
            running.reach_approval(env);
        }
        env.create(DECISION, running.spec()).await;
        running
    }
}

pub struct RunningScenario {
    scenario: Scenario,
    executions: [PipelineExecutionId; 2],
    /// The request of the first execution, once it is pending.
    approval: Option<OpenApproval>,
}

impl RunningScenario {
    fn spec(&self) -> ApprovalDecisionSpec {
        let mut spec = match (self.scenario.binding, &self.approval) {
            (Binding::Token, Some(approval)) => spec(DECISION, approval),
            (Binding::Token, None) => unreachable!("the approval is pending"),
            (Binding::Execution, _) => for_execution(DECISION, self.executions[0]),
            (Binding::Revision, _) => for_revision(DECISION, "r1"),
        };
        if self.scenario.behaviour == Behaviour::Refuses {
            spec.result.summary = String::new();
        }
        spec
    }

    /// The first execution reaches its approval, and the second waits in front of it.
    fn reach_approval(&mut self, env: &TestEnv) {
        self.executions.iter().for_each(|execution| env.complete_build(DECISION, *execution, true));
        let pending = env.pending_approvals(DECISION);
        let [approval] = pending.as_slice() else { panic!("not exactly one approval is pending: {pending:?}") };
        if self.scenario.behaviour == Behaviour::AlreadyRejected {
            env.respond_as_bob(DECISION, approval, ApprovalStatus::Rejected);
        }
        self.approval = Some(*approval);
    }

    pub async fn run_until_settled(&mut self, env: &TestEnv) {
        if self.approval.is_none() {
            env.wait_for_reason(DECISION, Reason::Waiting).await;
            self.reach_approval(env);
        }
        env.wait_until(DECISION, "settled", is_settled).await;
    }

    /// Compares the status with the ledger and with what the scenario expects.
    pub fn check(&self, env: &TestEnv, decision: &ApprovalDecision, counts: &Counts) -> Result<(), String> {
        let Some(approval) = &self.approval else { return Err("the approval was never reached".to_owned()) };
        let (sent, accepted) = env.sent_and_accepted(decision);
        let is_right_request = sent.iter().all(|entry| entry.token == approval.token.to_string());
        ensure(is_right_request, "a result was submitted to another request")?;
        ensure(counts.submissions <= counts.intents, "a result was submitted without an intent of its own")?;
        env.check_status_matches_ledger(decision)?;
        let (expected, results): (&[Reason], _) = match (self.scenario.behaviour, self.scenario.binding) {
            (Behaviour::Refuses, _) => (&[Reason::InvalidApprovalToken], 0),
            // The second execution is at the approval now, and CodePipeline only knows its token. If a submission was in doubt,
            // the operator read the history, which shows Bob's response.
            (Behaviour::AlreadyRejected, Binding::Token) => {
                (&[Reason::InvalidApprovalToken, Reason::ApprovalAlreadyCompleted], 0)
            }
            (Behaviour::AlreadyRejected, Binding::Execution | Binding::Revision) => {
                (&[Reason::ApprovalAlreadyCompleted], 0)
            }
            (
                Behaviour::Accepts
                | Behaviour::Throttles
                | Behaviour::DisconnectsAfterApplying
                | Behaviour::DisconnectsBeforeApplying,
                _,
            ) => (&[Reason::Delivered], 1),
        };
        ensure(accepted.len() == results, format!("{} results were accepted, not {results}", accepted.len()))?;
        let found = reason(decision);
        let is_expected = found.is_some_and(|found| expected.contains(&found));
        ensure(is_expected, format!("the reason is {found:?}, not one of {expected:?}"))?;
        let known = pinned(decision);
        ensure(known == (None, None) || known == ids(approval), "the status names another request")?;
        // The other execution still waits.
        let waiting = env.pending_approvals(DECISION);
        let waiting: Vec<PipelineExecutionId> = waiting.iter().map(|pending| pending.pipeline_execution_id).collect();
        let is_refused = self.scenario.behaviour == Behaviour::Refuses;
        let expected = if is_refused { [self.executions[0]] } else { [self.executions[1]] };
        ensure(waiting == expected, "the other execution's approval is no longer pending")
    }
}
