//! A mixed load: decisions that name their request in each of the three ways, and users who edit, suspend, replace and delete them
//! while they wait. Each decision has a pipeline with two executions, and no decision names the second one. At the end, each
//! status is compared with the ledger.

use super::observer::Observer;
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Reason,
};
use futures::future::join_all;
use local_codepipeline::api::ApprovalStatus as Response;
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId};
use serde_json::json;
use std::time::Duration;
use test_support::{TestEnv, ensure, for_execution, for_revision, pipeline_with_build, reason, spec};

/// What happens to a decision. Its result is Approved in the end; a result Rejected from before an edit must never be submitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lifecycle {
    ByToken,
    ByExecution,
    ByRevision,
    /// Created suspended and Rejected, then edited.
    Resumed,
    /// Created as Rejected, then edited while it waits.
    Edited,
    /// Suspended while it waits.
    Suspended,
    /// Deleted while it waits.
    Deleted,
    /// Created as Rejected; while it waits, replaced by an Approved decision with the same name.
    Replaced,
    /// Bob has already approved.
    AlreadyApproved,
    /// Bob has already rejected.
    AlreadyRejected,
}

impl Lifecycle {
    const ALL: [Self; 10] = [
        Self::ByToken,
        Self::ByExecution,
        Self::ByRevision,
        Self::Resumed,
        Self::Edited,
        Self::Suspended,
        Self::Deleted,
        Self::Replaced,
        Self::AlreadyApproved,
        Self::AlreadyRejected,
    ];

    /// The reason at the end, if the decision still exists.
    fn final_reason(self) -> Option<Reason> {
        match self {
            Self::ByToken | Self::ByExecution | Self::ByRevision | Self::Resumed | Self::Edited | Self::Replaced => {
                Some(Reason::Delivered)
            }
            Self::Suspended => Some(Reason::Suspended),
            Self::Deleted => None,
            Self::AlreadyApproved => Some(Reason::AlreadyDecided),
            Self::AlreadyRejected => Some(Reason::ApprovalAlreadyCompleted),
        }
    }
}

/// Drives one decision, and the pipeline of the same name, through its lifecycle.
struct Driver<'a> {
    name: String,
    lifecycle: Lifecycle,
    env: &'a TestEnv,
    observer: &'a Observer,
    within: Duration,
}

/// How a decision ended.
struct FinalState {
    name: String,
    lifecycle: Lifecycle,
    approval: OpenApproval,
    /// For a deleted decision, one like it.
    decision: ApprovalDecision,
}

/// Drives this many decisions at the same time, waits until all are settled, stops the operators, and returns what is wrong with
/// the final states.
pub async fn run_load(env: &TestEnv, count: usize, within: Duration, stop: impl Future<Output = ()>) -> Vec<String> {
    let observer = Observer::new(env);
    let drivers = (0..count).map(|number| {
        let lifecycle = Lifecycle::ALL[number % Lifecycle::ALL.len()];
        let driver = Driver { name: format!("p{number}"), lifecycle, env, observer: &observer, within };
        async move { driver.drive().await.map_err(|error| format!("{lifecycle:?}: {error}")) }
    });
    let final_states = join_all(drivers).await;
    // After this, nothing is submitted.
    stop.await;
    final_states.into_iter().filter_map(|state| state.and_then(|state| state.check(env)).err()).collect()
}

impl Driver<'_> {
    async fn drive(&self) -> Result<FinalState, String> {
        let Self { name, env, .. } = self;
        env.put_pipeline(pipeline_with_build(name).mode(ExecutionMode::Queued));
        let executions = ["r1", "r2"].map(|revision| env.start_execution(name, revision));
        let rejected = |spec: ApprovalDecisionSpec| {
            let result = ApprovalResult { status: ApprovalStatus::Rejected, ..spec.result };
            ApprovalDecisionSpec { result, ..spec }
        };
        let by_execution = for_execution(name, executions[0]);
        let approval = match self.lifecycle {
            Lifecycle::ByToken => {
                let approval = self.reach_approval(executions);
                env.create(name, spec(name, &approval)).await;
                approval
            }
            Lifecycle::ByExecution => {
                self.create_waiting(by_execution).await?;
                self.reach_approval(executions)
            }
            Lifecycle::ByRevision => {
                self.create_waiting(for_revision(name, "r1")).await?;
                self.reach_approval(executions)
            }
            Lifecycle::Resumed => {
                let approval = self.reach_approval(executions);
                let suspended = ApprovalDecisionSpec { suspend: true, ..rejected(spec(name, &approval)) };
                env.create(name, suspended).await;
                self.wait_for_reason(Reason::Suspended).await?;
                self.edit(json!({ "suspend": false, "result": { "status": "Approved" } })).await;
                approval
            }
            Lifecycle::Edited => {
                self.create_waiting(rejected(by_execution)).await?;
                self.edit(json!({ "result": { "status": "Approved" } })).await;
                self.reach_approval(executions)
            }
            Lifecycle::Suspended => {
                self.create_waiting(by_execution).await?;
                self.edit(json!({ "suspend": true })).await;
                self.reach_approval(executions)
            }
            Lifecycle::Deleted => {
                self.create_waiting(by_execution).await?;
                env.delete(name).await;
                self.reach_approval(executions)
            }
            Lifecycle::Replaced => {
                self.create_waiting(rejected(by_execution.clone())).await?;
                env.delete(name).await;
                env.create(name, by_execution).await;
                self.reach_approval(executions)
            }
            Lifecycle::AlreadyApproved | Lifecycle::AlreadyRejected => {
                // Only the first execution: CodePipeline refuses its token as invalid once that of the next one is pending.
                env.complete_build(name, executions[0], true);
                let approval = env.pending_approvals(name)[0];
                let is_approved = self.lifecycle == Lifecycle::AlreadyApproved;
                let response = if is_approved { Response::Approved } else { Response::Rejected };
                env.respond_as_bob(name, &approval, response);
                env.create(name, spec(name, &approval)).await;
                approval
            }
        };
        let decision = match self.lifecycle.final_reason() {
            Some(reason) => self.wait_for_reason(reason).await?,
            None => ApprovalDecision::new(name, for_execution(name, executions[0])),
        };
        Ok(FinalState { name: name.clone(), lifecycle: self.lifecycle, approval, decision })
    }

    /// The first execution reaches its approval, and the second waits in front of it.
    fn reach_approval(&self, executions: [PipelineExecutionId; 2]) -> OpenApproval {
        executions.iter().for_each(|execution| self.env.complete_build(&self.name, *execution, true));
        self.env.pending_approvals(&self.name)[0]
    }

    async fn create_waiting(&self, spec: ApprovalDecisionSpec) -> Result<(), String> {
        self.env.create(&self.name, spec).await;
        self.wait_for_reason(Reason::Waiting).await.map(drop)
    }

    async fn edit(&self, spec: serde_json::Value) {
        self.env.patch(&self.name, json!({ "spec": spec })).await.unwrap();
    }

    /// Waits until the current generation of the decision has this reason.
    async fn wait_for_reason(&self, expected: Reason) -> Result<ApprovalDecision, String> {
        let has_reason = |decision: &ApprovalDecision| {
            let observed = decision.status.as_ref().and_then(|status| status.observed_generation);
            reason(decision) == Some(expected) && observed == decision.metadata.generation
        };
        let found = self.observer.wait_for(&self.name, self.within, has_reason).await;
        found.map_err(|error| format!("not {expected:?}: {error}"))
    }
}

impl FinalState {
    /// Whether the ledger agrees.
    fn check(&self, env: &TestEnv) -> Result<(), String> {
        let Self { name, lifecycle, approval, decision } = self;
        let (sent, accepted) = env.sent_and_accepted(decision);
        let check = || {
            let is_right_request = sent.iter().all(|entry| entry.token == approval.token.to_string());
            ensure(is_right_request, "a result was submitted to another request")?;
            ensure(sent.iter().all(|entry| entry.status == "Approved"), "an outdated result was submitted")?;
            env.check_status_matches_ledger(decision)?;
            match lifecycle {
                Lifecycle::ByToken
                | Lifecycle::ByExecution
                | Lifecycle::ByRevision
                | Lifecycle::Resumed
                | Lifecycle::Edited
                | Lifecycle::Replaced => ensure(accepted.len() == 1, "no result was accepted"),
                Lifecycle::Suspended | Lifecycle::Deleted => {
                    ensure(sent.is_empty(), "a result was submitted that is held back")
                }
                Lifecycle::AlreadyApproved | Lifecycle::AlreadyRejected => {
                    ensure(accepted.is_empty(), "a second result was accepted")
                }
            }
        };
        check().map_err(|error| format!("{lifecycle:?}: {name}: {error}: {:#?}\n{sent:#?}", decision.status))
    }
}
