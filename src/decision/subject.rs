//! What a decision is about at present: the request of a submission in doubt, whatever its spec says now, or what its spec names.

use super::phase::{is_edited, known_ids};
use crate::api::v1alpha1::{ApprovalDecision, ApprovalDecisionSpec, Binding, Submission, TargetRef, Token};
use crate::codepipeline::{ApprovalRecord, ExecutionIds, ExecutionSelector, PipelineSnapshot, Query, RecordQuery};
use std::borrow::Cow;

/// The decision that the status is about: the one that a submission in doubt was made for, whatever its spec says now.
#[must_use]
pub fn subject(decision: &ApprovalDecision) -> Cow<'_, ApprovalDecision> {
    match in_doubt_for_former_spec(decision) {
        Some(submission) => {
            let mut subject = decision.clone();
            subject.metadata.generation = decision.status.as_ref().and_then(|status| status.observed_generation);
            let Submission { target, pipeline_name, stage_name, action_name, token, result, .. } = submission.clone();
            subject.spec = ApprovalDecisionSpec {
                target_ref: target.map(|name| TargetRef { name, account_id: None, region: None }),
                token: Some(token),
                ..ApprovalDecisionSpec::new(pipeline_name, stage_name, action_name, result)
            };
            Cow::Owned(subject)
        }
        None => Cow::Borrowed(decision),
    }
}

/// The submission in doubt, if the spec asks for something else now.
fn in_doubt_for_former_spec(decision: &ApprovalDecision) -> Option<&Submission> {
    let submission = decision.status.as_ref()?.submission.as_ref()?;
    (submission.outcome.is_none() && !is_for_spec(submission, decision)).then_some(submission)
}

/// Whether a submission was made for the spec as it is now.
pub(super) fn is_for_spec(submission: &Submission, decision: &ApprovalDecision) -> bool {
    let spec = &decision.spec;
    let has_token = match spec.binding() {
        Some(Binding::Token(token)) => submission.token == *token,
        Some(Binding::Execution(_)) => true,
        None => false,
    };
    !is_edited(decision)
        && has_token
        && submission.target.as_ref() == spec.target_ref.as_ref().map(|target| &target.name)
        && (&submission.pipeline_name, &submission.stage_name, &submission.action_name)
            == (&spec.pipeline_name, &spec.stage_name, &spec.action_name)
}

/// The name of the target that a decision is about; none for the operator's own identity.
#[must_use]
pub fn target_of(decision: &ApprovalDecision) -> Option<&str> {
    match in_doubt_for_former_spec(decision) {
        Some(submission) => submission.target.as_deref(),
        None => decision.spec.target_ref.as_ref().map(|target| target.name.as_str()),
    }
}

/// The pipeline that a decision is about, and what it needs to know of it; none if it names no request.
#[must_use]
pub fn query_of(decision: &ApprovalDecision) -> Option<(String, Query)> {
    let subject = subject(decision);
    let spec = &subject.spec;
    let executions = match spec.binding()? {
        Binding::Execution(execution) => execution.into(),
        Binding::Token(token) => ExecutionSelector::Request { token: token.clone(), ids: known_ids(decision, token) },
    };
    let query = Query { stage: spec.stage_name.clone(), action: spec.action_name.clone(), executions };
    Some((spec.pipeline_name.clone(), query))
}

/// What a snapshot shows of the request with this token.
pub(super) fn record(
    decision: &ApprovalDecision,
    token: &Token,
    ids: &ExecutionIds,
    snapshot: &PipelineSnapshot,
) -> ApprovalRecord {
    let (stage, action) = (&decision.spec.stage_name, &decision.spec.action_name);
    snapshot.record_of(RecordQuery { stage, action, token, ids })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::Reason;
    use crate::decision::test_fixtures::{DecisionExt, by_revision, fresh, ids, other_token, token};

    #[test]
    fn a_decision_in_doubt_asks_for_the_request_of_its_submission_whatever_its_spec_says() {
        let in_doubt = || fresh().in_doubt().with_ids(ids());
        let request = |token: Token, ids| ExecutionSelector::Request { token, ids };
        let query =
            |decision: &ApprovalDecision| query_of(decision).map(|(pipeline, query)| (pipeline, query.executions));
        let shop = |executions| Some(("shop".to_owned(), executions));
        let elsewhere =
            in_doubt().edited().naming_nothing().with(|decision| decision.spec.pipeline_name = "other".into());
        assert_eq!(query(&elsewhere), shop(request(token(), ids())));
        assert_eq!(query(&in_doubt()), shop(request(token(), ids())));
        let by_revision = by_revision("main");
        let entries = by_revision.spec.source_revisions.clone();
        assert_eq!(query(&by_revision), shop(ExecutionSelector::SourceRevisions(entries)));
        let other = in_doubt().with_reason(Reason::Expired).submitted(1, 0, 25).edited().naming_token(other_token());
        assert_eq!(query(&other), shop(request(other_token(), ExecutionIds::default())));
        assert_eq!(query_of(&fresh().naming_nothing()), None);
    }
}
