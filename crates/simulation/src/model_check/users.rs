//! Users: the owner of the decision edits, suspends, deletes and restores it at any time, someone creates a decision that rejects, and
//! another user may complete the approval.

use super::Replicas;
use super::codepipeline::{CodePipeline, Request};
use super::state::{State, Version, Violation, is_same_submission};
use crate::fixtures::{self, Given};
use approval_operator::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionSpec, ApprovalDecisionStatus, ApprovalResult, ApprovalStatus,
    PipelineExecutionId, ReadyClass, SourceRevision, SubmissionOutcome, Token, UserTime,
};
use approval_operator::decision::{Outcome, current_class, is_edited, status};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const OTHER_USER: &str = "ada";

/// The reason that a newer version of the operator writes.
const UNKNOWN_REASON: &str = "Postponed";

/// How a decision names its request.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Token,
    Execution,
    Revision,
}

/// What others respond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OtherResult {
    /// Another user responds, with a summary of their own.
    User(ApprovalStatus),
    /// The decision of another cluster, from the same manifest: the same result and summary, in a session of its own where the
    /// target has a role.
    OtherCluster,
}

/// What users can do to decisions.
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
    /// Lets the requests that were completed so far not count.
    IgnoreResponses,
    /// Gives the annotation a new value.
    Annotate,
    /// Deletes it, and a finalizer holds it forever.
    Hold,
    /// Deletes it.
    Delete,
    /// Creates it again as it was at first, with another uid.
    Restore,
    /// A newer version of the operator writes the same status with a reason of its own.
    WriteUnknownReason,
    /// Someone creates another decision that rejects the request that this one names.
    Reject,
    /// Someone deletes that one.
    Withdraw,
    /// CodePipeline accepts the result of that one.
    SettleRejection,
}

/// The spec that is bound to this execution; the oldest one is the first.
pub fn bound(bound: Bound, execution: usize, codepipeline: &CodePipeline) -> Option<ApprovalDecisionSpec> {
    let found = codepipeline.execution(execution)?;
    let mut spec = fixtures::fresh().spec;
    (spec.token, spec.pipeline_execution_id, spec.source_revisions) = (None, None, Vec::new());
    match bound {
        Bound::Token => spec.token = Some(token_of(codepipeline, &found.id)?),
        Bound::Execution => spec.pipeline_execution_id = Some(PipelineExecutionId(found.id.clone())),
        Bound::Revision => {
            let revision_id = found.source_revisions.first()?.revision_id.clone();
            spec.source_revisions = vec![SourceRevision { action_name: None, revision_id }];
        }
    }
    Some(spec)
}

fn token_of(codepipeline: &CodePipeline, execution: &str) -> Option<Token> {
    Some(codepipeline.pending().iter().find(|pending| pending.execution == execution)?.token.clone())
}

impl Replicas {
    /// The decision as it is first created.
    pub fn create(&self, codepipeline: &CodePipeline) -> Option<ApprovalDecision> {
        let target_ref = self.world.target_ref();
        let spec = bound(self.world.bound, self.world.execution, codepipeline)?;
        let spec = ApprovalDecisionSpec { target_ref, ..spec };
        Some(fixtures::fresh().with(|decision| {
            decision.spec = spec;
            decision.status = Some(ApprovalDecisionStatus::pending());
        }))
    }

    /// A user does something, if that is possible.
    pub fn edit(&self, state: &mut State, edit: Edit) -> Option<()> {
        let now = state.now;
        let live = || {
            let live = state.live.as_ref().filter(|live| live.decision.metadata.deletion_timestamp.is_none())?;
            Some(ApprovalDecision::clone(&live.decision))
        };
        let edited = match edit {
            Edit::Reject => return self.reject(state),
            Edit::Withdraw => return state.rejection.take().map(drop),
            Edit::SettleRejection => return settle_rejection(state),
            Edit::Restore => return self.restore(state),
            Edit::Delete => {
                live()?;
                let deleted = state.live.take();
                state.past.splice(0..0, deleted);
                return Some(());
            }
            Edit::Rebind => {
                let other = bound(self.world.bound, 1 - self.world.execution, &state.codepipeline)?;
                edited(live()?, |spec| {
                    (spec.token, spec.pipeline_execution_id, spec.source_revisions) =
                        (other.token, other.pipeline_execution_id, other.source_revisions);
                })?
            }
            Edit::Reverse => edited(live()?, |spec| spec.result.status = opposite(spec.result.status))?,
            Edit::Suspend => edited(live()?, |spec| spec.suspend = !spec.suspend)?,
            Edit::Expire => {
                let not_after = now + SignedDuration::from_secs(2);
                edited(live()?, |spec| spec.not_after = Some(UserTime(not_after.to_string())))?
            }
            Edit::IgnoreResponses => {
                // Those of this moment do not count either.
                let ignored_before = now + SignedDuration::from_millis(1);
                let edited =
                    edited(live()?, |spec| spec.ignore_responses_before = Some(UserTime(ignored_before.to_string())))?;
                state.now = ignored_before;
                edited
            }
            Edit::Annotate => live()?.annotated(&state.left.edits.to_string()),
            Edit::Hold => live()?.deleted(),
            Edit::WriteUnknownReason => {
                let mut decision = live()?;
                let conditions = &mut decision.status.as_mut()?.conditions;
                conditions.iter_mut().for_each(|condition| UNKNOWN_REASON.clone_into(&mut condition.reason));
                decision
            }
        };
        self.store(state, edited);
        Some(())
    }

    fn restore(&self, state: &mut State) -> Option<()> {
        if state.live.is_some() {
            return None;
        }
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

    fn reject(&self, state: &mut State) -> Option<()> {
        if state.rejection.is_some() {
            return None;
        }
        let (named_by, execution) = self.world.rejection;
        let mut spec = bound(named_by, execution, &state.codepipeline)?;
        spec.result.status = ApprovalStatus::Rejected;
        let rejection = fixtures::fresh().with(|decision| {
            decision.spec = spec;
            decision.metadata.name = Some("no-release".to_owned());
            decision.metadata.uid = Some("uid-of-the-rejection".to_owned());
        });
        state.rejection = Some(rejection.into());
        Some(())
    }

    /// Someone else completes the approval that has been pending longest.
    pub fn complete_by_other(&self, state: &mut State, other: OtherResult) -> Option<()> {
        let token = state.codepipeline.pending().first()?.token.clone();
        let (result, by) = match other {
            OtherResult::User(status) => {
                (ApprovalResult { status, summary: "looks good to me".to_owned() }, OTHER_USER.to_owned())
            }
            OtherResult::OtherCluster => (fixtures::fresh().spec.result, self.other_cluster()),
        };
        state.codepipeline.put(state.now, &token, &result, &by).ok().map(drop)
    }

    /// The API server stores a version. Only a deletion or an edit may undo that a decision is settled, and nothing but its outcome
    /// may replace a submission that CodePipeline accepted or that is still in flight.
    pub fn store(&self, state: &mut State, decision: ApprovalDecision) -> Version {
        let old = state.live.clone();
        let version = state.store(decision);
        if let Some(old) = old.filter(|old| old.uid() == version.uid()) {
            let is_settled = |decision: &ApprovalDecision| current_class(decision) == Some(ReadyClass::Settled);
            if is_settled(&old.decision) && !is_edited(&old.decision) && !is_settled(&version.decision) {
                state.violation.get_or_insert(Violation::Accuracy);
            }
            if drops_doubt(state, &old, &version) {
                state.violation.get_or_insert(Violation::Doubt);
            }
        }
        version
    }
}

/// CodePipeline accepts the rejection, and its status says so.
fn settle_rejection(state: &mut State) -> Option<()> {
    let rejection = state.rejection.clone().filter(|rejection| rejection.status.is_none())?;
    let names = |pending: &&Request| state.codepipeline.names(&rejection.spec, pending);
    let token = state.codepipeline.pending().iter().find(names)?.token.clone();
    let uid = rejection.metadata.uid.as_deref().unwrap_or_default();
    let approved_at = state.codepipeline.put(state.now, &token, &rejection.spec.result, uid).ok();
    let outcome = Outcome::Delivered { approved_at, record: None };
    let status = Some(status(&rejection, &outcome, state.now));
    state.rejection = Some(ApprovalDecision { status, ..rejection.into_value() }.into());
    Some(())
}

/// A decision with another spec.
fn edited(decision: ApprovalDecision, change: impl FnOnce(&mut ApprovalDecisionSpec)) -> Option<ApprovalDecision> {
    let mut spec = decision.spec.clone();
    change(&mut spec);
    let is_changed = spec != decision.spec;
    is_changed.then(|| decision.with(|decision| decision.spec = spec).edited())
}

/// Whether a version replaces a submission whose outcome is not known, although CodePipeline accepted it or still may.
fn drops_doubt(state: &State, old: &Version, new: &Version) -> bool {
    let Some(doubt) = old.submission().filter(|submission| submission.outcome.is_none()) else { return false };
    let is_kept = new
        .submission()
        .is_some_and(|kept| is_same_submission(kept, doubt) && kept.outcome != Some(SubmissionOutcome::NotAccepted));
    !is_kept && (state.is_accepted(old.uid(), doubt) || state.is_in_flight(old.uid(), doubt))
}

fn opposite(status: ApprovalStatus) -> ApprovalStatus {
    match status {
        ApprovalStatus::Approved => ApprovalStatus::Rejected,
        ApprovalStatus::Rejected => ApprovalStatus::Approved,
    }
}
