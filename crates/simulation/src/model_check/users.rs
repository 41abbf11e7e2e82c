//! Users: the owner of the decision edits, suspends, deletes and restores it, as far as the rules of the CRD allow, and another
//! user may complete the approval.

use super::Replicas;
use super::codepipeline::CodePipeline;
use super::state::{State, Version, Violation};
use crate::fixtures::{self, Given};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, ReadyClass, Token,
};
use approval_operator::decision::current_reason;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const OTHER_USER: &str = "ada";

/// What a decision is bound to.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Token,
    Execution,
    Revision,
}

/// What the owner of a decision can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edit {
    /// Binds it to the other execution.
    Rebind,
    /// Changes Approved to Rejected, or the reverse.
    Reverse,
    /// Suspends it, or resumes it.
    Suspend,
    /// Lets it expire in a moment.
    Expire,
    /// Gives the annotation a new value.
    Annotate,
    /// Deletes it, and a finalizer holds it forever.
    Hold,
    /// Deletes it.
    Delete,
    /// Creates it again as it was at first, with another uid.
    Restore,
}

fn ready_class(decision: &ApprovalDecision) -> Option<ReadyClass> {
    current_reason(decision).map(|reason| reason.ready_class())
}

/// The spec that is bound to this execution; the older one is the first.
pub fn bound(bound: Bound, execution: usize, codepipeline: &CodePipeline) -> Option<ApprovalDecisionSpec> {
    let found = codepipeline.executions().iter().rev().nth(execution)?;
    let mut spec = fixtures::fresh().spec;
    spec.token = None;
    match bound {
        Bound::Token => spec.token = Some(token_of(codepipeline, &found.id)?),
        Bound::Execution => spec.pipeline_execution_id = Some(PipelineExecutionId(found.id.clone())),
        Bound::Revision => spec.source_revision = found.source_revisions.first().cloned(),
    }
    Some(spec)
}

fn token_of(codepipeline: &CodePipeline, execution: &str) -> Option<Token> {
    Some(codepipeline.pending().iter().find(|pending| pending.execution == execution)?.token.clone())
}

impl Replicas {
    /// The decision as it is first created.
    pub fn create(&self, codepipeline: &CodePipeline) -> Option<ApprovalDecision> {
        let spec = bound(self.world.bound, self.world.execution, codepipeline)?;
        Some(fixtures::fresh().with(|decision| decision.spec = spec))
    }

    /// The owner does something, if that is possible.
    pub fn edit(&self, state: &mut State, edit: Edit) -> Option<()> {
        let Some(live) = state.live.clone() else {
            return if edit == Edit::Restore { self.restore(state) } else { None };
        };
        let old = ApprovalDecision::clone(&live.decision);
        if old.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let mut spec = old.spec.clone();
        match edit {
            Edit::Rebind => {
                let other = bound(self.world.bound, 1 - self.world.execution, &state.codepipeline)?;
                (spec.token, spec.pipeline_execution_id, spec.source_revision) =
                    (other.token, other.pipeline_execution_id, other.source_revision);
            }
            Edit::Reverse => spec.result.status = opposite(spec.result.status),
            Edit::Suspend => spec.suspend = !spec.suspend,
            Edit::Expire => spec = old.clone().not_after(state.now + SignedDuration::from_secs(2)).spec,
            Edit::Annotate => {
                self.store(state, old.annotated(&state.left.edits.to_string()));
                return Some(());
            }
            Edit::Hold => {
                self.store(state, old.deleted());
                return Some(());
            }
            Edit::Delete => {
                let deleted = state.live.take();
                state.past.splice(0..0, deleted);
                return Some(());
            }
            Edit::Restore => return None,
        }
        let is_locked = matches!(ready_class(&old), Some(ReadyClass::InFlight | ReadyClass::Settled));
        if is_locked || spec == old.spec {
            return None;
        }
        self.store(state, old.with(|decision| decision.spec = spec).edited());
        Some(())
    }

    fn restore(&self, state: &mut State) -> Option<()> {
        state.incarnations += 1;
        let first = self.create(&self.codepipeline)?;
        let (uid, created_at) = (format!("uid-{}", state.incarnations), Time(state.now));
        self.store(
            state,
            first.with(|decision| {
                decision.metadata.uid = Some(uid);
                decision.metadata.creation_timestamp = Some(created_at);
            }),
        );
        Some(())
    }

    /// Another user completes the approval that has been pending longest, with a summary of their own.
    pub fn complete_by_other(&self, state: &mut State, status: ApprovalStatus) -> Option<()> {
        let token = state.codepipeline.pending().first()?.token.clone();
        let result = ApprovalResult { status, summary: "looks good to me".to_owned() };
        state.codepipeline.put(state.now, &token, &result, OTHER_USER).ok().map(drop)
    }

    /// The API server stores a version. Only a deletion may undo that a decision is settled.
    pub fn store(&self, state: &mut State, decision: ApprovalDecision) -> Version {
        let old = state.live.clone();
        let version = state.store(decision);
        let is_settled = |version: &Version| ready_class(&version.decision) == Some(ReadyClass::Settled);
        if old.is_some_and(|old| old.uid() == version.uid() && is_settled(&old) && !is_settled(&version)) {
            state.violation = Some(Violation::Accuracy);
        }
        version
    }
}

fn opposite(status: ApprovalStatus) -> ApprovalStatus {
    match status {
        ApprovalStatus::Approved => ApprovalStatus::Rejected,
        ApprovalStatus::Rejected => ApprovalStatus::Approved,
    }
}
