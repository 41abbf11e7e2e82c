//! How far a decision has come, read from its own status: the only memory of the operator that survives a crash.

use crate::api::conditions::{Condition, ConditionStatus};
use crate::api::v1alpha1::{
    ApprovalDecision, ApprovalDecisionStatus, Exception, Location, REQUESTED_AT, ReadyClass, Reason, Submission,
    SubmissionOutcome, Token, Unsupported,
};
use crate::codepipeline::{ExecutionIds, Query};
use kube::ResourceExt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest value of the annotation that can be told from another: the length that the status can hold.
const MAX_REQUESTED_AT: usize = 1024;

/// What the status says about the work so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase<'a> {
    /// Nothing was sent since the decision was created, edited, resumed or restarted by the annotation.
    Fresh,
    /// The last attempt was not applied.
    Retrying(&'a Submission),
    /// CodePipeline refused the token of the last attempt. The operator had found the token itself, so it resolves the request
    /// again.
    Refused(&'a Submission, &'a Exception),
    /// CodePipeline may have accepted a submission, whatever the spec says now.
    InDoubt(&'a Submission),
    /// CodePipeline refused the last attempt with this exception, and its history does not show yet how the request was completed. An
    /// earlier attempt may be in doubt.
    Unexplained(&'a Submission, &'a Exception),
    /// Final: Ready is True or the decision is Stalled, and it is unchanged since. Or a newer version of the operator wrote a status
    /// that this version cannot read, and must not overwrite.
    Done,
}

impl<'a> Phase<'a> {
    /// The phase of a decision.
    #[must_use]
    pub fn of(decision: &'a ApprovalDecision) -> Self {
        if matches!(decision.spec.unsupported, Some(Unsupported::Status(_))) {
            return Self::Done;
        }
        let Some(status) = &decision.status else { return Self::Fresh };
        let class = current_class(decision);
        let is_edited = is_edited(decision);
        let is_unchanged = !is_edited && !is_restarted(decision, status);
        match (class, &status.submission) {
            (Some(ReadyClass::Settled), _) if !is_edited => Self::Done,
            (Some(ReadyClass::Stalled), _) if is_unchanged && !waits_for_target(decision) => Self::Done,
            (_, Some(submission)) if submission.outcome.is_none() => match &status.exception {
                // The annotation restarts a decision only once the doubt is settled.
                Some(exception) if !is_edited => Self::Unexplained(submission, exception),
                Some(_) | None => Self::InDoubt(submission),
            },
            (Some(class), Some(submission))
                if is_unchanged && submission.outcome == Some(SubmissionOutcome::NotAccepted) =>
            {
                match (class, &status.exception) {
                    (ReadyClass::Waiting, Some(exception)) => Self::Refused(submission, exception),
                    (ReadyClass::InFlight, Some(exception)) => Self::Unexplained(submission, exception),
                    // Not where the pipeline lacks the approval, or the execution ended and may be retried.
                    (class @ ReadyClass::Retrying, _)
                        if current_reason(decision).map(Reason::ready_class) == Some(class) =>
                    {
                        Self::Retrying(submission)
                    }
                    (ReadyClass::Waiting | ReadyClass::InFlight, None)
                    | (
                        ReadyClass::Settled
                        | ReadyClass::Stalled
                        | ReadyClass::Retrying
                        | ReadyClass::Pending
                        | ReadyClass::Suspended,
                        _,
                    ) => Self::Fresh,
                }
            }
            (_, Some(_) | None) => Self::Fresh,
        }
    }
}

/// Whether the decision is Stalled because of its target. Then it is evaluated again when that changes.
fn waits_for_target(decision: &ApprovalDecision) -> bool {
    matches!(current_reason(decision), Some(Reason::TargetForbidden | Reason::TargetRequired))
}

/// Whether a change of a target, or of the labels of a namespace, may concern a decision: unless it is final for another reason.
#[must_use]
pub fn depends_on_targets(decision: &ApprovalDecision) -> bool {
    Phase::of(decision) != Phase::Done
}

/// The account and region where the decision found its request. An edit and a new value of the annotation release it.
#[must_use]
pub fn pinned_location(decision: &ApprovalDecision) -> Option<Location> {
    decision.status.as_ref().filter(|_| status_is_current(decision))?.location()
}

/// Drops from a settled decision all that is not needed to recognize it and that it is settled. The operator does not act on it
/// again before an edit, which delivers all of it, and a cluster has more settled decisions than others.
pub fn trim_if_delivered(decision: &mut ApprovalDecision) {
    if current_class(decision) != Some(ReadyClass::Settled) || is_edited(decision) {
        return;
    }
    let Some(ready) = ready(decision) else { return };
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
    (spec.token, spec.pipeline_execution_id, spec.source_revisions) = (None, None, Vec::new());
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

/// The kind of state that the conditions report, also if this version does not know the reason.
#[must_use]
pub fn current_class(decision: &ApprovalDecision) -> Option<ReadyClass> {
    let ready = ready(decision)?;
    let conditions = &decision.status.as_ref()?.conditions;
    let is_true = |r#type: &str| {
        conditions.iter().any(|condition| condition.r#type == r#type && condition.status == ConditionStatus::True)
    };
    Some(match ready.status {
        ConditionStatus::True => ReadyClass::Settled,
        ConditionStatus::False if is_true("Stalled") => ReadyClass::Stalled,
        ConditionStatus::False if is_true("Reconciling") => ReadyClass::Retrying,
        ConditionStatus::False => ReadyClass::Suspended,
        ConditionStatus::Unknown => match current_reason(decision).map(Reason::ready_class) {
            Some(class @ (ReadyClass::InFlight | ReadyClass::Pending)) => class,
            Some(
                ReadyClass::Settled
                | ReadyClass::Stalled
                | ReadyClass::Retrying
                | ReadyClass::Waiting
                | ReadyClass::Suspended,
            )
            | None => ReadyClass::Waiting,
        },
    })
}

/// Whether the status describes the decision as it is now.
#[must_use]
pub fn status_is_current(decision: &ApprovalDecision) -> bool {
    current_class(decision).is_some_and(|class| class != ReadyClass::Pending)
        && !is_edited(decision)
        && decision.status.as_ref().is_some_and(|status| !is_restarted(decision, status))
}

/// Whether the spec was edited since the operator last acted on it.
#[must_use]
pub fn is_edited(decision: &ApprovalDecision) -> bool {
    decision.status.as_ref().and_then(|status| status.observed_generation) != decision.metadata.generation
}

/// Whether the annotation has a value that the operator did not act on.
fn is_restarted(decision: &ApprovalDecision, status: &ApprovalDecisionStatus) -> bool {
    let requested_at = requested_at(decision);
    requested_at.is_some() && status.last_handled_requested_at != requested_at
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

/// The generation of a decision's subscription to its pipeline: another one for each [`reconcile_key`] and query, and for each refusal
/// that history must explain. A poll from before the refusal may still show the request as pending. The operator that submitted drops
/// such polls, but another one may have them.
#[must_use]
pub fn subscription_generation(decision: &ApprovalDecision, query: &Query) -> u64 {
    let refused = match Phase::of(decision) {
        Phase::Unexplained(submission, _) => Some((submission.start_time, submission.attempts)),
        Phase::Fresh | Phase::Retrying(_) | Phase::Refused(..) | Phase::InDoubt(_) | Phase::Done => None,
    };
    let mut hasher = DefaultHasher::new();
    (reconcile_key(decision), query, refused).hash(&mut hasher);
    hasher.finish()
}

/// What is known of the request with this token.
pub fn known_ids(decision: &ApprovalDecision, token: &Token) -> ExecutionIds {
    let submission = decision.status.as_ref().and_then(|status| status.submission.as_ref());
    let target = decision.spec.target_ref.as_ref().map(|target| &target.name);
    let is_same = |submission: &&Submission| submission.token == *token && submission.target.as_ref() == target;
    submission.filter(is_same).map(execution_ids).unwrap_or_default()
}

/// What is known of the request of a submission.
#[must_use]
pub fn execution_ids(submission: &Submission) -> ExecutionIds {
    ExecutionIds { pipeline: submission.pipeline_execution_id.clone(), action: submission.action_execution_id.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::test_fixtures::outcomes::{delivered, suspended};
    use crate::decision::test_fixtures::{DecisionExt, SETTINGS, already_completed, at, fresh};
    use crate::decision::{Attempt, Observed, Step, decide, query_of, status};

    #[test]
    fn what_is_trimmed_from_a_settled_decision_is_never_needed() {
        let decision = fresh().with(|decision| decision.status = Some(status(decision, &delivered(), at(2))));
        let mut trimmed = decision.clone();
        trim_if_delivered(&mut trimmed);
        assert_ne!(trimmed, decision);
        assert_eq!(reconcile_key(&trimmed), reconcile_key(&decision));
        assert_eq!(current_reason(&trimmed), current_reason(&decision));
        assert!(status_is_current(&trimmed));
        for requested in [None, Some("again")] {
            trimmed.metadata.annotations = requested.map(|value| [(REQUESTED_AT.to_owned(), value.to_owned())].into());
            let attempt = Attempt::None;
            let observed =
                Observed { decision: &trimmed, attempt: &attempt, target: None, pipeline: None, rejections: None };
            assert_eq!(decide(&observed, &SETTINGS, at(3)), Step::AwaitChange);
        }
    }

    #[test]
    fn the_default_of_the_schema_says_that_nothing_was_seen_and_nothing_sent() {
        let new = fresh().with(|decision| decision.status = Some(ApprovalDecisionStatus::pending()));
        assert_eq!((current_reason(&new), current_class(&new)), (Some(Reason::Pending), Some(ReadyClass::Pending)));
        assert!(is_edited(&new) && !status_is_current(&new));
        assert_eq!(Phase::of(&new), Phase::Fresh);
        // Someone may write anything into a status.
        let forged = fresh().with_reason(Reason::Pending);
        assert!(!status_is_current(&forged));
        assert_eq!(Phase::of(&forged), Phase::Fresh);
        let in_doubt =
            fresh().in_doubt().with_status(|status| status.conditions = ApprovalDecisionStatus::pending().conditions);
        assert!(matches!(Phase::of(&in_doubt), Phase::InDoubt(_)), "doubt is never dropped");
    }

    #[test]
    fn each_refusal_is_explained_by_a_poll_that_starts_after_it() {
        let generation = |decision: &ApprovalDecision| {
            let (_, query) = query_of(decision).expect("a query");
            subscription_generation(decision, &query)
        };
        let refused = |attempts| fresh().in_doubt().submitted(attempts, 0, 35).raised(already_completed());
        assert_ne!(generation(&refused(1)), generation(&fresh().in_doubt()));
        assert_ne!(generation(&refused(2)), generation(&refused(1)));
        assert_eq!(generation(&fresh().in_doubt()), generation(&fresh()), "doubt does not start a poll");
    }

    #[test]
    fn nothing_is_trimmed_from_a_decision_that_is_not_settled_or_was_edited() {
        let suspended = fresh().with(|decision| decision.status = Some(status(decision, &suspended(), at(2))));
        let edited = fresh().with(|decision| decision.status = Some(status(decision, &delivered(), at(2)))).edited();
        for decision in [suspended, edited] {
            let mut trimmed = decision.clone();
            trim_if_delivered(&mut trimmed);
            assert_eq!(trimmed, decision);
        }
    }
}
