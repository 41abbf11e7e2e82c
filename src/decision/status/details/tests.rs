//! For which commit a decision waits, and until when.

use super::*;
use crate::api::v1alpha1::{Reason, SourceRevision, Submission};
use crate::codepipeline::RetryCause;
use crate::decision::outcome::UnconfirmedCause;
use crate::decision::resolve::{ExecutionPosition, ExecutionWait};
use crate::decision::status::Report;
use crate::decision::target::{TargetProblem, Unverified};
use crate::decision::test_fixtures::outcomes::*;
use crate::decision::test_fixtures::pipeline::*;
use crate::decision::test_fixtures::targets::own;
use crate::decision::test_fixtures::*;
use crate::decision::timing::Expiry;

const EXECUTION: &str = "pipeline-execution";

fn reported(
    decision: &ApprovalDecision,
    outcome: &Outcome,
    snapshot: Option<&PipelineSnapshot>,
) -> ApprovalDecisionStatus {
    let details = Details { settings: &SETTINGS, snapshot, location: None };
    Report::new(decision, outcome, details, None, at(5)).status
}

fn in_progress() -> Outcome {
    let (execution, position) = (EXECUTION.to_owned(), ExecutionPosition::InProgress);
    waiting_for(ExecutionWait::Execution { execution, position })
}

/// What a poll shows to the decision.
fn snapshot(pipeline: &TestPipeline, decision: &ApprovalDecision) -> PipelineSnapshot {
    let observation = pipeline.poll_at(5, decision);
    PipelineSnapshot::clone(observation.poll.result.as_ref().expect("a snapshot"))
}

fn observed(action: &str, id: Option<&str>) -> ObservedSourceRevision {
    ObservedSourceRevision { action_name: action.to_owned(), revision_id: id.map(str::to_owned) }
}

#[test]
fn a_decision_that_waits_for_an_execution_shows_it_and_its_source_revisions() {
    let named = by_id(EXECUTION);
    let sources = pipeline().execution(EXECUTION, RUNNING).with_sources(&[("App", Some("A")), ("Bucket", None)]);
    let snapshot = snapshot(&sources, &named);
    let status = reported(&named, &in_progress(), Some(&snapshot));
    assert_eq!(status.pipeline_execution_id.as_deref(), Some(EXECUTION));
    assert_eq!(status.source_revisions, [observed("App", Some("A")), observed("Bucket", None)]);

    let waits = named.with(|decision| decision.status = Some(status.clone()));
    assert_eq!(reported(&waits, &in_progress(), Some(&snapshot)), status, "the same poll writes nothing");
    let mut sparse = snapshot.clone();
    sparse.executions.clear();
    for other in [None, Some(&sparse)] {
        assert_eq!(reported(&waits, &in_progress(), other), status, "what was read before stays");
    }
    let none = waiting_for(ExecutionWait::NoExecution { newest: Vec::new(), hint: None });
    let waits_for_another = reported(&waits, &none, Some(&snapshot));
    assert_eq!((waits_for_another.pipeline_execution_id, waits_for_another.source_revisions), (None, Vec::new()));

    // After a restart, for example, while STS denies the role of the target.
    let not_verified = TargetProblem::NotVerified(Unverified::Pending);
    let caveat = Some(Caveat::PipelineUnreadable("denied".to_owned()));
    for outcome in
        [unreadable(RetryCause::AccessDenied), target_problem(not_verified), expired(Expiry::NotAfter(at(5)), caveat)]
    {
        let unread = reported(&waits, &outcome, None);
        assert_eq!(unread.pipeline_execution_id.as_deref(), Some(EXECUTION), "the request is the same: {outcome:?}");
        assert_eq!(unread.source_revisions, status.source_revisions);
        let edited = reported(&waits.clone().edited(), &outcome, None);
        assert_eq!(edited.pipeline_execution_id, None, "the request may be another: {outcome:?}");
    }
}

#[test]
fn an_attempt_that_was_not_applied_shows_the_request_that_the_operator_found() {
    let submission =
        Submission { pipeline_execution_id: ids().pipeline, action_execution_id: ids().action, ..submission(1, 0, 25) };
    // There were no credentials: no intent was recorded.
    let Outcome::Retrying { cause, exception, detail, next, until, .. } = retrying(RetryCause::AccessDenied) else {
        unreachable!("an attempt that is retried")
    };
    let outcome = Outcome::Retrying { submission, cause, exception, detail, next, until };
    let status = reported(&by_id(EXECUTION), &outcome, None);
    assert_eq!((status.pipeline_execution_id, status.action_execution_id), (ids().pipeline, ids().action));
}

#[test]
fn source_revisions_fit_the_schema() {
    let named = by_id(EXECUTION);
    let long = "r".repeat(2000);
    let many: Vec<_> = (0..12).map(|_| ("Source", Some(long.as_str()))).collect();
    let snapshot = snapshot(&pipeline().execution(EXECUTION, RUNNING).with_sources(&many), &named);
    let revisions = reported(&named, &in_progress(), Some(&snapshot)).source_revisions;
    assert_eq!(revisions.len(), 10);
    assert!(revisions.iter().all(|revision| revision.revision_id.as_ref().is_some_and(|id| id.len() == 1500)));
}

#[test]
fn a_token_shows_its_execution_where_the_pipeline_was_read_anyway() {
    let snapshot = snapshot(&pending_request(), &fresh());
    let pinned = |status: ApprovalDecisionStatus| ExecutionIds {
        pipeline: status.pipeline_execution_id,
        action: status.action_execution_id,
    };
    for outcome in [conflicting(None), invalid_token(), expired(Expiry::NotAfter(at(5)), None)] {
        let status = reported(&fresh(), &outcome, Some(&snapshot));
        assert_eq!(status.source_revisions, [observed("Git", Some("main"))], "{outcome:?}");
        assert_eq!(pinned(status), ids(), "{outcome:?}");
        assert_eq!(pinned(reported(&fresh(), &outcome, None)), ExecutionIds::default(), "{outcome:?}");
    }
}

/// A rejection of the same token needs no poll, and the wait for it has one.
#[test]
fn a_status_is_not_written_again_because_a_reconcile_needed_no_snapshot() {
    let snapshot = snapshot(&pending_request(), &fresh());
    let status = reported(&fresh(), &conflicting(None), Some(&snapshot));
    let held = fresh().with(|decision| decision.status = Some(status.clone()));
    assert_eq!(reported(&held, &conflicting(None), None), status);
    let edited = reported(&held.edited().naming_token(other_token()), &conflicting(None), None);
    assert_eq!((edited.pipeline_execution_id, edited.source_revisions), (None, Vec::new()), "another request");
}

#[test]
fn a_decision_shows_when_it_expires_while_a_limit_passes() {
    let limited = || fresh().not_after(at(60));
    let week = Some(at(WEEK));
    for (name, decision, outcome, expected) in [
        ("the waiting limit", fresh(), in_progress(), week),
        ("notAfter replaces it", limited(), in_progress(), Some(at(60))),
        ("held back by a rejection that ends before", fresh(), conflicting(None), week),
        ("retried", fresh(), retrying(RetryCause::Throttled), week),
        ("unreadable", limited(), unreadable(RetryCause::AccessDenied), Some(at(60))),
        ("may be retried by someone", fresh(), execution_ended(crate::codepipeline::ExecutionEnd::Failed), week),
        ("ended for good", fresh(), execution_ended(crate::codepipeline::ExecutionEnd::Succeeded), None),
        ("suspended: no waiting limit passes", fresh().suspended(), suspended(), None),
        ("suspended, and notAfter passes", limited().suspended(), suspended(), Some(at(60))),
        ("in flight", limited(), submitting(), None),
        ("in doubt", limited(), unconfirmed(UnconfirmedCause::NotInHistory), None),
        ("about to act on an edit", limited(), waiting(Wait::CurrentSpec), None),
        ("settled", limited(), delivered(), None),
        ("expired", limited(), expired(Expiry::NotAfter(at(60)), None), None),
    ] {
        assert_eq!(reported(&decision, &outcome, None).expires_at, expected, "{name}");
    }
    let edited = reported(&fresh().with_reason(Reason::Waiting).edited(), &in_progress(), None);
    assert_eq!(edited.expires_at, Some(at(WEEK + 5)), "the limit counts from the edit");
    let with_fraction = limited().not_after("2026-07-01T12:01:00.123456789Z");
    assert_eq!(reported(&with_fraction, &in_progress(), None).expires_at, Some(at(60)), "a column shows it");
}

/// Someone may write anything into a status, and other versions of the operator may know more.
#[test]
fn nothing_is_decided_from_details() {
    use crate::decision::{Attempt, Observed, decide};
    let given = by_revision("main").with_reason(Reason::Waiting);
    let with_details = given.clone().with_status(|status| {
        status.expires_at = Some(at(-60));
        status.source_revisions = vec![observed("Source", Some("other"))];
        status.pipeline_execution_id = Some("other".to_owned());
    });
    let entries: &[SourceRevision] = &given.spec.source_revisions;
    assert_eq!(entries.len(), 1);
    for pipeline in [pipeline(), pending_request()] {
        let steps = [&given, &with_details].map(|decision| {
            let poll = pipeline.poll_at(5, decision);
            let observed = Observed {
                decision,
                attempt: &Attempt::None,
                target: Some(&own()),
                pipeline: Some(&poll),
                rejections: None,
            };
            decide(&observed, &SETTINGS, at(5))
        });
        assert_eq!(steps[0], steps[1]);
    }
}
