//! A mixed load: decisions that name their request in each of the three ways, and people who edit, hold back and delete them
//! while they wait. Each has a pipeline of two runs, of which the second is nobody's, and is told in the end by the ledger.

use super::onlooker::Onlooker;
use crate::support::{Case, ensure, for_revision, for_run, reason, spec, with_build};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, Reason,
};
use futures::future::join_all;
use local_codepipeline::api::ApprovalStatus as Answer;
use local_codepipeline::model::{ExecutionMode, OpenApproval, PipelineExecutionId as RunId};
use serde_json::json;
use std::time::Duration;

/// What becomes of a decision. The answer that counts is Approved; what was Rejected before an edit must never be heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plot {
    ByToken,
    ByExecution,
    ByRevision,
    /// Held back from the start, with the other answer.
    Resumed,
    /// While it waits, its answer is changed.
    Edited,
    /// While it waits, it is held back.
    Suspended,
    /// While it waits.
    Deleted,
    /// While it waits, in favour of one with the other answer under its name.
    Replaced,
    /// Bob gave the same answer before.
    Agreed,
    /// Bob gave the other answer before.
    Overruled,
}

impl Plot {
    const ALL: [Self; 10] = [
        Self::ByToken,
        Self::ByExecution,
        Self::ByRevision,
        Self::Resumed,
        Self::Edited,
        Self::Suspended,
        Self::Deleted,
        Self::Replaced,
        Self::Agreed,
        Self::Overruled,
    ];

    /// What it comes to, if it is there in the end.
    fn end(self) -> Option<Reason> {
        match self {
            Self::ByToken | Self::ByExecution | Self::ByRevision | Self::Resumed | Self::Edited | Self::Replaced => {
                Some(Reason::Delivered)
            }
            Self::Suspended => Some(Reason::Suspended),
            Self::Deleted => None,
            Self::Agreed => Some(Reason::AlreadyDecided),
            Self::Overruled => Some(Reason::ApprovalAlreadyCompleted),
        }
    }
}

/// A decision, and the pipeline of the same name.
struct Story<'a> {
    name: String,
    plot: Plot,
    case: &'a Case,
    seen: &'a Onlooker,
    within: Duration,
}

/// How one ended.
struct Ending {
    name: String,
    plot: Plot,
    approval: OpenApproval,
    /// What is left of it, or what it was.
    decision: ApprovalDecision,
}

/// Plays so many at once, waits until all are settled, stops who is to be stopped, and tells what is wrong with how they ended.
pub async fn play(case: &Case, count: usize, within: Duration, stop: impl Future<Output = ()>) -> Vec<String> {
    let seen = Onlooker::of(case);
    let stories = (0..count).map(|number| {
        let plot = Plot::ALL[number % Plot::ALL.len()];
        let story = Story { name: format!("p{number}"), plot, case, seen: &seen, within };
        async move { story.play().await.map_err(|wrong| format!("{plot:?}: {wrong}")) }
    });
    let endings = join_all(stories).await;
    // Nothing is sent from here on.
    stop.await;
    endings.into_iter().filter_map(|ending| ending.and_then(|ending| ending.is_true(case)).err()).collect()
}

impl Story<'_> {
    async fn play(&self) -> Result<Ending, String> {
        let Self { name, case, .. } = self;
        case.put(with_build(name).mode(ExecutionMode::Queued));
        let runs = ["r1", "r2"].map(|revision| case.start(name, revision));
        let rejected = |spec: ApprovalDecisionSpec| {
            let result = ApprovalResult { status: ApprovalStatus::Rejected, ..spec.result };
            ApprovalDecisionSpec { result, ..spec }
        };
        let by_run = for_run(name, runs[0]);
        let approval = match self.plot {
            Plot::ByToken => {
                let approval = self.arrive(runs);
                case.create(name, spec(name, &approval)).await;
                approval
            }
            Plot::ByExecution => {
                self.wait(by_run).await?;
                self.arrive(runs)
            }
            Plot::ByRevision => {
                self.wait(for_revision(name, "r1")).await?;
                self.arrive(runs)
            }
            Plot::Resumed => {
                let approval = self.arrive(runs);
                let held = ApprovalDecisionSpec { suspend: true, ..rejected(spec(name, &approval)) };
                case.create(name, held).await;
                self.until(Reason::Suspended).await?;
                self.edit(json!({ "suspend": false, "result": { "status": "Approved" } })).await;
                approval
            }
            Plot::Edited => {
                self.wait(rejected(by_run)).await?;
                self.edit(json!({ "result": { "status": "Approved" } })).await;
                self.arrive(runs)
            }
            Plot::Suspended => {
                self.wait(by_run).await?;
                self.edit(json!({ "suspend": true })).await;
                self.arrive(runs)
            }
            Plot::Deleted => {
                self.wait(by_run).await?;
                case.delete(name).await;
                self.arrive(runs)
            }
            Plot::Replaced => {
                self.wait(rejected(by_run.clone())).await?;
                case.delete(name).await;
                case.create(name, by_run).await;
                self.arrive(runs)
            }
            Plot::Agreed | Plot::Overruled => {
                // The token of a run before is refused as invalid once the next one's is pending.
                case.built(name, runs[0], true);
                let approval = case.pending(name)[0];
                let answer = if self.plot == Plot::Agreed { Answer::Approved } else { Answer::Rejected };
                case.bob(name, &approval, answer);
                case.create(name, spec(name, &approval)).await;
                approval
            }
        };
        let decision = match self.plot.end() {
            Some(reason) => self.until(reason).await?,
            None => ApprovalDecision::new(name, for_run(name, runs[0])),
        };
        Ok(Ending { name: name.clone(), plot: self.plot, approval, decision })
    }

    /// The first run comes to its approval, and the second waits in front of it.
    fn arrive(&self, runs: [RunId; 2]) -> OpenApproval {
        runs.iter().for_each(|run| self.case.built(&self.name, *run, true));
        self.case.pending(&self.name)[0]
    }

    async fn wait(&self, spec: ApprovalDecisionSpec) -> Result<(), String> {
        self.case.create(&self.name, spec).await;
        self.until(Reason::Waiting).await.map(drop)
    }

    async fn edit(&self, spec: serde_json::Value) {
        self.case.patch(&self.name, json!({ "spec": spec })).await.unwrap();
    }

    /// Waits until the operator says so of the decision as it is now.
    async fn until(&self, expected: Reason) -> Result<ApprovalDecision, String> {
        let is_so = |decision: &ApprovalDecision| {
            let observed = decision.status.as_ref().and_then(|status| status.observed_generation);
            reason(decision) == Some(expected) && observed == decision.metadata.generation
        };
        let found = self.seen.until(&self.name, self.within, is_so).await;
        found.map_err(|wrong| format!("not {expected:?}: {wrong}"))
    }
}

impl Ending {
    /// Whether the ledger says the same.
    fn is_true(&self, case: &Case) -> Result<(), String> {
        let Self { name, plot, approval, decision } = self;
        let (sent, taken) = case.sent_and_taken(decision);
        let verdict = || {
            let to_it = sent.iter().all(|entry| entry.token == approval.token.to_string());
            ensure(to_it, "another request was answered")?;
            ensure(sent.iter().all(|entry| entry.status == "Approved"), "an answer was sent that is no longer meant")?;
            case.tells_the_truth(decision)?;
            match plot {
                Plot::ByToken
                | Plot::ByExecution
                | Plot::ByRevision
                | Plot::Resumed
                | Plot::Edited
                | Plot::Replaced => ensure(taken.len() == 1, "no answer was taken"),
                Plot::Suspended | Plot::Deleted => ensure(sent.is_empty(), "an answer was sent that is held back"),
                Plot::Agreed | Plot::Overruled => ensure(taken.is_empty(), "a second answer was taken"),
            }
        };
        verdict().map_err(|wrong| format!("{plot:?}: {name}: {wrong}: {:#?}\n{sent:#?}", decision.status))
    }
}
