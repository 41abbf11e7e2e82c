//! How far a decision has come, read from its own status: the only memory of the operator that survives a crash.

use crate::api::conditions::{Condition, ConditionStatus};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, Binding, Exception, ExecutionBinding, REQUESTED_AT, ReadyClass, Reason,
    Submission,
};
use crate::codepipeline::ExecutionIds;
use kube::ResourceExt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest value of the annotation that can be told from another: the length that the status can hold.
const MAX_REQUESTED_AT: usize = 1024;

/// What the status says about the work so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Nothing was sent since the decision was created, edited, resumed or restarted by the annotation.
    Fresh,
    /// The last attempt was not applied.
    Retrying(Submission),
    /// CodePipeline refused the token of the last attempt. The operator had found the token itself, so it resolves the request
    /// again.
    Refused(Submission, Exception),
    /// CodePipeline may have accepted a submission.
    InFlight(Submission),
    /// CodePipeline said that the request was completed before our result arrived, and its history does not show by whom.
    CompletedByOthers(Submission, Exception),
    /// Final: Ready is True, or the decision is Stalled and unchanged since.
    Done,
}

impl Phase {
    /// The phase of a decision.
    #[must_use]
    pub fn of(decision: &ApprovalDecision) -> Self {
        let (Some(status), Some(ready)) = (&decision.status, ready(decision)) else {
            return Self::Fresh;
        };
        if ready.status == ConditionStatus::True {
            return Self::Done;
        }
        let class = ready.reason.parse::<Reason>().map(Reason::ready_class);
        let is_unchanged = !is_changed(decision, status);
        match (class, submission(decision).cloned()) {
            (Ok(ReadyClass::InFlight), Some(submission)) => match status.exception.clone() {
                Some(exception) => Self::CompletedByOthers(submission, exception),
                None => Self::InFlight(submission),
            },
            (Ok(ReadyClass::Waiting), Some(submission)) if is_unchanged => match status.exception.clone() {
                Some(exception) => Self::Refused(submission, exception),
                None => Self::Fresh,
            },
            (Ok(ReadyClass::Retrying), Some(submission)) if is_unchanged => Self::Retrying(submission),
            (Ok(ReadyClass::Stalled | ReadyClass::Settled), _) if is_unchanged => Self::Done,
            // Whatever else the status says, submitting is safe: CodePipeline accepts a token at most once.
            (Ok(_) | Err(_), _) => Self::Fresh,
        }
    }
}

/// Drops from a settled decision all that is not needed to recognize it and that it is settled. The operator never acts on it
/// again, and a cluster has more settled decisions than others.
pub fn trim_if_delivered(decision: &mut ApprovalDecision) {
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

/// The Ready condition.
#[must_use]
pub fn ready(decision: &ApprovalDecision) -> Option<&Condition> {
    decision.status.as_ref()?.conditions.iter().find(|condition| condition.r#type == "Ready")
}

/// The reason of the Ready condition, if this version knows it.
#[must_use]
pub fn current_reason(decision: &ApprovalDecision) -> Option<Reason> {
    ready(decision)?.reason.parse().ok()
}

/// Whether the status describes the decision as it is now.
#[must_use]
pub fn status_is_current(decision: &ApprovalDecision) -> bool {
    ready(decision).is_some() && decision.status.as_ref().is_some_and(|status| !is_changed(decision, status))
}

/// Whether the decision was edited, or its annotation has a new value, since the operator last acted on it.
fn is_changed(decision: &ApprovalDecision, status: &ApprovalDecisionStatus) -> bool {
    let requested_at = requested_at(decision);
    status.observed_generation != decision.metadata.generation
        || requested_at.is_some() && status.last_handled_requested_at != requested_at
}

/// The value of the annotation that restarts a decision.
#[must_use]
pub fn requested_at(decision: &ApprovalDecision) -> Option<String> {
    decision.annotations().get(REQUESTED_AT).map(|value| value.chars().take(MAX_REQUESTED_AT).collect())
}

/// What a reconcile acts on: the object, its generation, and the annotation that restarts it. A status write changes none of
/// them.
#[must_use]
pub fn reconcile_key(decision: &ApprovalDecision) -> (Option<&str>, Option<i64>, Option<String>) {
    (decision.metadata.uid.as_deref(), decision.metadata.generation, requested_at(decision))
}

/// The generation of a decision's subscription to its pipeline: another one for each [`reconcile_key`].
#[must_use]
pub fn subscription_generation(decision: &ApprovalDecision) -> u64 {
    let mut hasher = DefaultHasher::new();
    reconcile_key(decision).hash(&mut hasher);
    hasher.finish()
}

/// The submission in the status. If the spec does not name its token or execution, it belongs to an earlier edit and does not
/// count. Otherwise the operator trusts the status, because only the operator may write it.
#[must_use]
pub fn submission(decision: &ApprovalDecision) -> Option<&Submission> {
    let status = decision.status.as_ref()?;
    let submission = status.submission.as_ref()?;
    let is_named = match decision.spec.binding() {
        Ok(Binding::Token(token)) => submission.token == *token,
        Ok(Binding::Execution(ExecutionBinding::PipelineExecution(id))) => {
            status.pipeline_execution_id.as_ref() == Some(&id.0)
        }
        Ok(Binding::Execution(ExecutionBinding::SourceRevision(_))) => true,
        Err(_) => false,
    };
    is_named.then_some(submission)
}

/// What is known of the request that the decision is pinned to. What an earlier edit was pinned to may be another request, and
/// does not count.
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
    use crate::decision::test_fixtures::{SETTINGS, at, fresh};
    use crate::decision::{Attempt, Observed, Outcome, Step, decide, status};

    #[test]
    fn what_is_trimmed_from_a_settled_decision_is_never_needed() {
        let mut decision = fresh();
        let outcome = Outcome::Delivered { approved_at: Some(at(2)), record: None };
        decision.status = Some(status(&decision, &outcome, at(2)));
        let mut trimmed = decision.clone();
        trim_if_delivered(&mut trimmed);
        assert_ne!(trimmed, decision);
        assert_eq!(reconcile_key(&trimmed), reconcile_key(&decision));
        assert_eq!(current_reason(&trimmed), current_reason(&decision));
        assert!(status_is_current(&trimmed));
        for requested in [None, Some("again")] {
            trimmed.metadata.annotations = requested.map(|value| [(REQUESTED_AT.to_owned(), value.to_owned())].into());
            let observed = Observed { decision: &trimmed, attempt: &Attempt::None, record: None, pipeline: None };
            assert_eq!(decide(&observed, &SETTINGS, at(3)), Step::AwaitChange);
        }
    }

    #[test]
    fn nothing_is_trimmed_from_a_decision_that_is_not_settled() {
        let mut decision = fresh();
        decision.status = Some(status(&decision, &Outcome::Suspended, at(2)));
        let mut trimmed = decision.clone();
        trim_if_delivered(&mut trimmed);
        assert_eq!(trimmed, decision);
    }
}
