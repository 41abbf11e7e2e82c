//! What people do: the owner of the decision edits, suspends, deletes and restores it, as far as the CRD's rules let them,
//! and somebody else may answer the request.

use super::Replicas;
use super::service::CodePipeline;
use super::state::{State, Version, Wrong};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalResult, ApprovalStatus, PipelineExecutionId, Standing, Token,
};
use crate::decision::fixtures::{self, Given};
use crate::decision::status::current_reason;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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
    /// Binds it to the other run.
    Rebind,
    /// Approves in place of rejecting, or the other way round.
    Reverse,
    /// Suspends it, or resumes it.
    Suspend,
    /// Lets it end in a moment.
    Expire,
    /// Gives the annotation a new value.
    Annotate,
    /// Deletes it, and a finalizer holds it for ever.
    Hold,
    /// Deletes it.
    Delete,
    /// Creates it as it was at first, by another uid.
    Restore,
}

/// How the object stands at the API server's rules.
fn standing(decision: &ApprovalDecision) -> Option<Standing> {
    current_reason(decision).map(crate::api::v1alpha1::Reason::standing)
}

/// What a decision says that is bound to this run, the older one being the first.
pub fn bound(bound: Bound, run: usize, service: &CodePipeline) -> Option<ApprovalDecisionSpec> {
    let found = service.runs().iter().rev().nth(run)?;
    let mut spec = fixtures::fresh().spec;
    spec.token = None;
    match bound {
        Bound::Token => spec.token = Some(token_of(service, &found.id)?),
        Bound::Execution => spec.pipeline_execution_id = Some(PipelineExecutionId(found.id.clone())),
        Bound::Revision => spec.source_revision = found.source_revisions.first().cloned(),
    }
    Some(spec)
}

fn token_of(service: &CodePipeline, run: &str) -> Option<Token> {
    Some(service.pending().iter().find(|pending| pending.run == run)?.token.clone())
}

impl Replicas {
    /// The decision as it is created first.
    pub fn create(&self, service: &CodePipeline) -> Option<ApprovalDecision> {
        let spec = bound(self.setting.bound, self.setting.run, service)?;
        Some(fixtures::fresh().with(|decision| decision.spec = spec))
    }

    /// The owner does something, if that can be.
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
                let other = bound(self.setting.bound, 1 - self.setting.run, &state.service)?;
                (spec.token, spec.pipeline_execution_id, spec.source_revision) =
                    (other.token, other.pipeline_execution_id, other.source_revision);
            }
            Edit::Reverse => spec.result.status = other_than(spec.result.status),
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
                let gone = state.live.take();
                state.past.splice(0..0, gone);
                return Some(());
            }
            Edit::Restore => return None,
        }
        let locked = matches!(standing(&old), Some(Standing::UnderWay | Standing::Settled));
        if locked || spec == old.spec {
            return None;
        }
        self.store(state, old.with(|decision| decision.spec = spec).edited());
        Some(())
    }

    fn restore(&self, state: &mut State) -> Option<()> {
        state.lives += 1;
        let first = self.create(&self.service)?;
        let (uid, created) = (format!("uid-{}", state.lives), Time(state.now));
        self.store(
            state,
            first.with(|decision| {
                decision.metadata.uid = Some(uid);
                decision.metadata.creation_timestamp = Some(created);
            }),
        );
        Some(())
    }

    /// Somebody else answers the request that waits longest, in words of their own.
    pub fn answer(&self, state: &mut State, status: ApprovalStatus) -> Option<()> {
        let token = state.service.pending().first()?.token.clone();
        let answer = ApprovalResult { status, summary: "looks good to me".to_owned() };
        state.service.put(state.now, &token, &answer, "ada").ok().map(drop)
    }

    /// The API server takes a version. Nothing but a deletion takes back that an approval is answered.
    pub fn store(&self, state: &mut State, decision: ApprovalDecision) -> Version {
        let before = state.live.clone();
        let version = state.store(decision);
        let is_settled = |version: &Version| standing(&version.decision) == Some(Standing::Settled);
        if before.is_some_and(|before| before.uid() == version.uid() && is_settled(&before) && !is_settled(&version)) {
            state.wrong = Some(Wrong::Truth);
        }
        version
    }
}

fn other_than(status: ApprovalStatus) -> ApprovalStatus {
    match status {
        ApprovalStatus::Approved => ApprovalStatus::Rejected,
        ApprovalStatus::Rejected => ApprovalStatus::Approved,
    }
}
