//! How far a decision has come, read from its own status: the only memory that the operator has across a crash.

use crate::api::conditions::{Condition, ConditionStatus};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, Binding, Exception, REQUESTED_AT, Reason, RunBinding, Standing,
    Submission,
};
use crate::codepipeline::ExecutionIds;
use kube::ResourceExt;

/// The longest value of the annotation that is told apart, which is what the status can hold.
const MAX_REQUESTED_AT: usize = 1024;

/// What the status says of the work so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Nothing was sent since the decision was created, edited, resumed or requested anew.
    Fresh,
    /// The last attempt was certainly not taken.
    Retrying(Submission),
    /// The service refused the token of the last attempt, which the operator had found itself: it looks again.
    Refused(Submission, Exception),
    /// An answer may be with the service.
    UnderWay(Submission),
    /// The service said that the request was completed before our answer came, and its record does not show by whom.
    CompletedByOthers(Submission, Exception),
    /// Over: Ready is True, or the decision is Stalled and was not touched since.
    Over,
}

impl Progress {
    /// Reads it from a decision.
    #[must_use]
    pub fn of(decision: &ApprovalDecision) -> Self {
        let Some(status) = &decision.status else {
            return Self::Fresh;
        };
        let Some(ready) = ready(decision) else {
            return Self::Fresh;
        };
        if ready.status == ConditionStatus::True {
            return Self::Over;
        }
        let standing = ready.reason.parse::<Reason>().map(Reason::standing);
        match (standing, submission(decision).cloned()) {
            (Ok(Standing::UnderWay), Some(submission)) => match status.exception.clone() {
                Some(exception) => Self::CompletedByOthers(submission, exception),
                None => Self::UnderWay(submission),
            },
            (Ok(Standing::Waiting), Some(submission)) if !is_touched(decision, status) => {
                match status.exception.clone() {
                    Some(exception) => Self::Refused(submission, exception),
                    None => Self::Fresh,
                }
            }
            (Ok(Standing::Retrying), Some(submission)) if !is_touched(decision, status) => Self::Retrying(submission),
            (Ok(Standing::Stalled | Standing::Settled), _) if !is_touched(decision, status) => Self::Over,
            // Whatever else a status says, our answer is asked for again: a token is taken once at most.
            (Ok(_) | Err(()), _) => Self::Fresh,
        }
    }
}

/// Leaves of an answered decision what is asked of it from then on: which edit of which object it is, and that it is answered.
/// Nothing is ever done about it any more, and there are more of them in a cluster than of all others.
pub fn forget_if_answered(decision: &mut ApprovalDecision) {
    let Some(ready) = ready(decision).filter(|ready| ready.status == ConditionStatus::True) else { return };
    let ready = Condition { message: String::new(), ..ready.clone() };
    decision.status = Some(ApprovalDecisionStatus {
        observed_generation: decision.status.as_ref().and_then(|status| status.observed_generation),
        conditions: vec![ready],
        ..ApprovalDecisionStatus::default()
    });
    let spec = &mut decision.spec;
    for text in [&mut spec.pipeline_name, &mut spec.stage_name, &mut spec.action_name, &mut spec.result.summary] {
        *text = String::new();
    }
    (spec.token, spec.pipeline_execution_id, spec.source_revision) = (None, None, None);
}

/// The condition that says how a decision stands.
#[must_use]
pub fn ready(decision: &ApprovalDecision) -> Option<&Condition> {
    decision.status.as_ref()?.conditions.iter().find(|condition| condition.r#type == "Ready")
}

/// Whether the status tells of the decision as it is now.
#[must_use]
pub fn stands(decision: &ApprovalDecision) -> bool {
    ready(decision).is_some() && decision.status.as_ref().is_some_and(|status| !is_touched(decision, status))
}

/// Whether the decision was edited, or its annotation given a new value, since the operator last acted on it.
fn is_touched(decision: &ApprovalDecision, status: &ApprovalDecisionStatus) -> bool {
    let requested_at = requested_at(decision);
    status.observed_generation != decision.metadata.generation
        || requested_at.is_some() && status.last_handled_requested_at != requested_at
}

/// The annotation that asks for a fresh start.
#[must_use]
pub fn requested_at(decision: &ApprovalDecision) -> Option<String> {
    decision.annotations().get(REQUESTED_AT).map(|value| value.chars().take(MAX_REQUESTED_AT).collect())
}

/// What the operator acts on: which object it is, which edit of it, and which wish for a fresh start. Its own status writes
/// change none of them.
#[must_use]
pub fn acted_on(decision: &ApprovalDecision) -> (Option<&str>, Option<i64>, Option<String>) {
    (decision.metadata.uid.as_deref(), decision.metadata.generation, requested_at(decision))
}

/// The attempt that the status tells of. One of a token or a run that the spec does not name is about an earlier edit, and
/// none of this decision's. For the rest the status is believed: only the operator may write it.
#[must_use]
pub fn submission(decision: &ApprovalDecision) -> Option<&Submission> {
    let status = decision.status.as_ref()?;
    let submission = status.submission.as_ref()?;
    let is_named = match decision.spec.binding() {
        Ok(Binding::Token(token)) => submission.token == *token,
        Ok(Binding::Run(RunBinding::PipelineExecution(id))) => status.pipeline_execution_id.as_ref() == Some(&id.0),
        Ok(Binding::Run(RunBinding::SourceRevision(_))) => true,
        Err(_) => false,
    };
    is_named.then_some(submission)
}

/// What is known of the request that the decision is pinned to. What an earlier edit of the decision was pinned to may be
/// another request, and says nothing.
#[must_use]
pub fn execution_ids(decision: &ApprovalDecision) -> ExecutionIds {
    match &decision.status {
        Some(status) if status.observed_generation == decision.metadata.generation => {
            ExecutionIds { pipeline: status.pipeline_execution_id.clone(), action: status.action_execution_id.clone() }
        }
        Some(_) | None => ExecutionIds::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::fixtures::{SETTINGS, at, fresh};
    use crate::decision::{Attempt, Observed, Outcome, Step, current_reason, decide, status};

    #[test]
    fn what_is_forgotten_of_an_answered_decision_is_never_asked_for() {
        let mut decision = fresh();
        let outcome = Outcome::Delivered { approved_at: Some(at(2)), record: None };
        decision.status = Some(status(&decision, &outcome, at(2)));
        let mut lean = decision.clone();
        forget_if_answered(&mut lean);
        assert_ne!(lean, decision);
        assert_eq!(acted_on(&lean), acted_on(&decision));
        assert_eq!(current_reason(&lean), current_reason(&decision));
        assert!(stands(&lean));
        for requested in [None, Some("again")] {
            lean.metadata.annotations = requested.map(|value| [(REQUESTED_AT.to_owned(), value.to_owned())].into());
            let seen = Observed { decision: &lean, attempt: &Attempt::None, record: None, sight: None };
            assert_eq!(decide(&seen, &SETTINGS, at(3)), Step::Rest);
        }
    }

    #[test]
    fn nothing_is_forgotten_of_a_decision_that_is_not_answered() {
        let mut decision = fresh();
        decision.status = Some(status(&decision, &Outcome::Suspended, at(2)));
        let mut lean = decision.clone();
        forget_if_answered(&mut lean);
        assert_eq!(lean, decision);
    }
}
