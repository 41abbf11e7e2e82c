//! What an outcome becomes in the status and in the announcement.

use super::{
    Announcement, ApprovalDecision, ApprovalDecisionStatus, Attention, CompletedApproval, ConditionStatus, Exception,
    ExecutionIds, MAX_MESSAGE, Message, Outcome, ReadyClass, Reason, Report, Timestamp, result_still_unrecorded,
    status,
};
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::{InvalidSpec, SubmissionOutcome};
use crate::codepipeline::{ExecutionEnd, Refusal, RetryCause};
use crate::decision::outcome::{PriorAttempts, UnconfirmedCause, Wait};
use crate::decision::phase::{current_class, current_reason};
use crate::decision::resolve::Missing;
use crate::decision::test_fixtures::outcomes::*;
use crate::decision::test_fixtures::*;
use crate::decision::timing::Expiry;
use ConditionStatus::{False, True, Unknown};

mod announcements;
mod settled;

fn message(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    Message::new(decision, outcome).within(MAX_MESSAGE)
}

fn announcement(decision: &ApprovalDecision, outcome: &Outcome, previous: Option<Reason>) -> Option<Announcement> {
    Report::new(decision, outcome, DETAILS, previous, at(100)).announcement
}

fn report(decision: &ApprovalDecision, outcome: &Outcome) -> ApprovalDecisionStatus {
    status(decision, outcome, at(100))
}

/// The decision after its outcome was written.
fn reporting(decision: ApprovalDecision, outcome: &Outcome) -> ApprovalDecision {
    decision.with(|decision| decision.status = Some(report(decision, outcome)))
}

#[test]
fn every_reason_has_an_outcome() {
    let reported: Vec<_> = outcomes().iter().map(Outcome::reason).collect();
    // The schema alone has Pending.
    let of_operator = Reason::ALL.iter().filter(|reason| reason.ready_class() != ReadyClass::Pending);
    let missing: Vec<_> = of_operator.filter(|reason| !reported.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn ready_is_always_present_and_another_condition_only_while_it_is_true() {
    let expected = |outcome: &Outcome| match (outcome, outcome.reason()) {
        // The pipeline may be created or changed, and the stage retried.
        (
            Outcome::Missing { .. } | Outcome::ExecutionEnded { end: ExecutionEnd::Failed | ExecutionEnd::Stopped, .. },
            _,
        ) => vec![("Ready", False), ("Reconciling", True)],
        (_, Reason::Delivered | Reason::AlreadyDecided) => vec![("Ready", True)],
        (_, Reason::Suspended) => vec![("Ready", False)],
        (
            _,
            Reason::InvalidApprovalToken
            | Reason::ApprovalAlreadyCompleted
            | Reason::PipelineNotFound
            | Reason::StageNotFound
            | Reason::ActionNotFound
            | Reason::ValidationFailed
            | Reason::ExecutionEnded
            | Reason::PipelineExecutionNotFound
            | Reason::AmbiguousRevision
            | Reason::Expired
            | Reason::TargetForbidden
            | Reason::TargetRequired,
        ) => vec![("Ready", False), ("Stalled", True)],
        (
            _,
            Reason::TargetNotFound
            | Reason::TargetNotReady
            | Reason::Throttled
            | Reason::AccessDenied
            | Reason::CredentialsUnavailable
            | Reason::ServiceUnavailable
            | Reason::ClockSkew,
        ) => vec![("Ready", False), ("Reconciling", True)],
        (_, Reason::Pending) => panic!("no outcome has it"),
        (_, Reason::Waiting | Reason::ConflictingDecision | Reason::Submitting | Reason::Unconfirmed) => {
            vec![("Ready", Unknown), ("Reconciling", True)]
        }
    };
    let mut decision = fresh().edited();
    for outcome in outcomes() {
        let status = report(&decision, &outcome);
        let conditions: Vec<_> = status.conditions.iter().map(|c| (c.r#type.as_str(), c.status)).collect();
        assert_eq!(conditions, expected(&outcome), "{outcome:?}");
        assert_eq!(status.observed_generation, Some(2));
        for condition in &status.conditions {
            assert_eq!(condition.reason, outcome.reason().as_str());
            assert_eq!(condition.message, message(&decision, &outcome));
            assert_eq!(condition.observed_generation, Some(2));
        }
        // The next outcome is reported over this status.
        decision.status = Some(status);
        assert_eq!(current_class(&decision), Some(outcome.ready_class()), "{outcome:?}");
    }
}

#[test]
fn a_transition_time_changes_only_with_the_status_of_the_condition() {
    let times = |decision: &ApprovalDecision, outcome: &Outcome, now| {
        let conditions = status(decision, outcome, now).conditions;
        conditions.into_iter().map(|condition| condition.last_transition_time).collect::<Vec<_>>()
    };
    let millisecond = jiff::SignedDuration::from_millis(1);
    let new = fresh().with(|decision| decision.status = Some(ApprovalDecisionStatus::pending()));
    assert_eq!(
        times(&new, &waiting(Wait::RequestRefused), at(5)),
        [at(5), at(5)],
        "the default of the schema has a time at which nothing happened"
    );
    let stalled = |outcome: &Outcome| fresh().with(|decision| decision.status = Some(status(decision, outcome, at(5))));
    let of = |outcome: &Outcome, next: &Outcome| times(&stalled(outcome), next, at(9) + millisecond);
    assert_eq!(
        times(&fresh(), &invalid_token(), at(5) + millisecond),
        [at(5), at(5)],
        "the first one, without fractions of a second"
    );
    assert_eq!(of(&invalid_token(), &rejected_by_others(None)), [at(5), at(5)], "another reason for the same status");
    assert_eq!(
        of(&retrying(RetryCause::Throttled), &invalid_token()),
        [at(5), at(9)],
        "still False, but Stalled is new"
    );
    assert_eq!(
        of(&retrying(RetryCause::Throttled), &submitting()),
        [at(9), at(5)],
        "False to Unknown, still Reconciling"
    );
    assert_eq!(of(&submitting(), &delivered()), [at(9)], "Unknown to True");
    assert_eq!(of(&suspended(), &submitting()), [at(9), at(9)], "a condition whose status changed, and a new one");
    assert_eq!(of(&suspended(), &suspended()), [at(5)], "no change");
}

#[test]
fn the_annotation_is_handled_only_when_a_decision_starts_over() {
    let handled = |decision: ApprovalDecision, outcome: &Outcome| report(&decision, outcome).last_handled_requested_at;
    let first = || Some("first".to_owned());
    let in_flight = || fresh().in_doubt().handled("first").annotated("second");
    let retried = || fresh().with_reason(Reason::Throttled).submitted(1, 0, 25).handled("first");
    assert_eq!(handled(fresh().annotated("first"), &submitting()), first());
    assert_eq!(handled(fresh().annotated(&"é".repeat(2000)), &submitting()), Some("é".repeat(1024)));
    assert_eq!(handled(in_flight(), &invalid_token()), first(), "set during a submission, it is handled later");
    assert_eq!(handled(retried().annotated("first"), &submitting()), first());
    assert_eq!(handled(retried().annotated("second"), &submitting()), Some("second".to_owned()));
    assert_eq!(handled(retried(), &submitting()), first(), "removing it is not a new value");
}

#[test]
fn starting_over_clears_what_an_earlier_edit_left_but_the_submission() {
    let old = |reason| {
        let decision = fresh().with_reason(reason).submitted(3, 0, 25).raised(already_completed()).with_ids(ids());
        decision.with_status(|status| {
            status.approved_at = Some(at(1));
            status.decided_by = Some("ada".to_owned());
        })
    };
    let of_request = |status: ApprovalDecisionStatus| {
        let ids = ExecutionIds { pipeline: status.pipeline_execution_id, action: status.action_execution_id };
        let attempts = status.submission.map(|submission| submission.attempts);
        (attempts, ids, status.exception, status.approved_at, status.decided_by)
    };
    let nothing = (Some(3), ExecutionIds::default(), None, None, None);
    let edited = || old(Reason::ApprovalAlreadyCompleted).edited();
    assert_eq!(of_request(report(&edited(), &suspended())), nothing);
    assert_eq!(of_request(report(&edited(), &expired(Expiry::NotAfter(at(60)), None))), nothing);
    let started = Outcome::Submitting(intent(1, 0, 25, PriorAttempts::NotApplied));
    let (attempts, ids, ..) = of_request(report(&edited(), &started));
    assert_eq!((attempts, ids), (Some(1), ExecutionIds::default()));
    // A decision that continues keeps what is known, but not an exception that is no longer the latest.
    let (attempts, ids, exception, ..) = of_request(report(&old(Reason::Unconfirmed), &submitting()));
    assert_eq!((attempts, ids, exception), (Some(1), self::ids(), None));
    let (attempts, ids, ..) = of_request(report(&old(Reason::Unconfirmed), &suspended()));
    assert_eq!((attempts, ids), (Some(3), self::ids()));
}

#[test]
fn the_outcome_of_a_submission_is_recorded_once_it_is_known() {
    let in_flight = || fresh().with_reason(Reason::Submitting).submitted(1, 0, 25);
    let outcome = |decision: &ApprovalDecision, outcome: &Outcome| {
        report(decision, outcome).submission.expect("a submission").outcome
    };
    for (name, reported, expected) in [
        ("accepted", delivered(), Some(SubmissionOutcome::Accepted)),
        ("in doubt", unconfirmed(UnconfirmedCause::NotInHistory), None),
        (
            "refused, and nothing else is in doubt",
            unexplained(UnconfirmedCause::NotInHistory, already_completed(), PriorAttempts::NotApplied),
            Some(SubmissionOutcome::NotAccepted),
        ),
        (
            "refused after doubt",
            unexplained(UnconfirmedCause::NotInHistory, already_completed(), PriorAttempts::InDoubt),
            None,
        ),
        ("refused for good", invalid_token(), Some(SubmissionOutcome::NotAccepted)),
        ("not applied", retrying(RetryCause::Throttled), Some(SubmissionOutcome::NotAccepted)),
        ("not accepted, and the spec is acted on", waiting(Wait::CurrentSpec), Some(SubmissionOutcome::NotAccepted)),
        ("held back after the intent", suspended(), Some(SubmissionOutcome::NotAccepted)),
    ] {
        assert_eq!(outcome(&in_flight(), &reported), expected, "{name}");
        let accepted = reporting(in_flight(), &delivered()).edited();
        let kept = match &reported {
            Outcome::Retrying { .. } => continue,
            _ => Some(SubmissionOutcome::Accepted),
        };
        assert_eq!(outcome(&accepted, &reported), kept, "{name}, after it was accepted");
    }
}

#[test]
fn waiting_since_counts_from_creation_an_edit_or_the_release_from_suspend() {
    let since = |decision: &ApprovalDecision, seconds| {
        status(decision, &waiting(Wait::RequestRefused), at(seconds)).waiting_since
    };
    assert_eq!(since(&fresh(), 5), Some(at(0)), "creation");
    let waiting = fresh().with(|decision| {
        decision.status = Some(status(decision, &waiting(Wait::RequestRefused), at(5)));
    });
    assert_eq!(since(&waiting, 50), Some(at(0)), "it stays");
    assert_eq!(since(&waiting.clone().edited(), 50), Some(at(50)), "an edit");
    assert_eq!(since(&waiting.clone().annotated("now"), 50), Some(at(50)), "the annotation");
    let suspended = waiting.edited().suspended().with(|decision| {
        decision.status = Some(status(decision, &suspended(), at(60)));
    });
    assert_eq!(suspended.status.as_ref().and_then(|status| status.waiting_since), None, "no limit passes");
    let released = suspended.edited().with(|decision| decision.spec.suspend = false);
    assert_eq!(since(&released, WEEK), Some(at(WEEK)), "the release");
}

#[test]
fn the_outcome_of_a_request_is_recorded_unless_a_successor_has_found_out() {
    let sent = submission(1, 0, 25);
    let with_reason = |reason| fresh().with_reason(reason).submitted(1, 0, 25);
    let unknown = unconfirmed(UnconfirmedCause::NotInHistory);
    let written = |outcome: &Outcome| reporting(with_reason(Reason::Submitting), outcome);
    for (name, decision, outcome, expected) in [
        ("still in flight: every outcome is recorded", with_reason(Reason::Submitting), &unknown, true),
        (
            "… also after an edit, about the spec that was submitted",
            with_reason(Reason::Submitting).edited(),
            &unknown,
            true,
        ),
        (
            "unconfirmed according to a successor: every outcome is recorded",
            with_reason(Reason::Unconfirmed),
            &invalid_token(),
            true,
        ),
        ("delivered according to a successor: doubt is not recorded", with_reason(Reason::Delivered), &unknown, false),
        ("expired according to a successor: doubt is not recorded", with_reason(Reason::Expired), &unknown, false),
        (
            "expired according to a successor: a refusal is not recorded",
            with_reason(Reason::Expired),
            &invalid_token(),
            false,
        ),
        (
            "expired according to a successor: an accepted result is recorded",
            with_reason(Reason::Expired),
            &delivered(),
            true,
        ),
        (
            "delivered according to a successor: an accepted result is not recorded twice",
            with_reason(Reason::Delivered),
            &delivered(),
            false,
        ),
        (
            "written, but the response of the API server was lost: it counts as unrecorded",
            written(&invalid_token()),
            &invalid_token(),
            true,
        ),
        ("… an accepted result too", written(&delivered()), &delivered(), true),
        (
            "another attempt has started",
            fresh().with_reason(Reason::Submitting).submitted(2, 5, 30),
            &delivered(),
            false,
        ),
        ("nothing was ever written", fresh(), &delivered(), false),
    ] {
        assert_eq!(result_still_unrecorded(&decision, &sent, outcome, at(100)), expected, "{name}");
    }
}

#[test]
fn each_outcome_reports_what_it_knows() {
    type Reported = (Option<Timestamp>, Option<String>, bool, Option<Exception>, Option<i64>);
    let ada = || completed_approval(Approved, 0).by;
    let incomplete =
        CompletedApproval { at: None, by: None, ids: ExecutionIds::default(), ..completed_approval(None, 0) };
    let rows: [(Outcome, Reported); 15] = [
        (delivered(), (Some(at(1)), None, false, None, None)),
        (Outcome::Delivered { approved_at: None, record: None }, (None, None, false, None, None)),
        (delivered_by_history(), (Some(at(0)), ada(), true, None, None)),
        (already_decided(), (Some(at(0)), ada(), true, Some(already_completed()), None)),
        (Outcome::AlreadyDecided { record: incomplete, open: None, exception: None }, (None, None, false, None, None)),
        (rejected_by_others(Some(already_completed())), (None, ada(), true, Some(already_completed()), None)),
        (invalid_token(), (None, None, false, Some(exception("InvalidApprovalToken")), None)),
        (Outcome::Invalid(InvalidSpec::Binding), (None, None, false, None, None)),
        (Outcome::Expired { expiry: Expiry::WaitingLimit(at(0)), caveat: None }, (None, None, false, None, None)),
        (suspended(), (None, None, false, None, None)),
        (submitting(), (None, None, true, None, Some(1))),
        (unconfirmed(UnconfirmedCause::NotInHistory), (None, None, true, None, None)),
        (
            unexplained(UnconfirmedCause::NotInHistory, already_completed(), PriorAttempts::NotApplied),
            (None, None, true, Some(already_completed()), None),
        ),
        (unknown_execution(None), (None, None, false, Some(exception("PipelineExecutionNotFound")), None)),
        (retrying(RetryCause::Throttled), (None, None, false, Some(exception("Throttled")), Some(2))),
    ];
    for (outcome, expected) in rows {
        let status = report(&fresh(), &outcome);
        let (pipeline, action) = (status.pipeline_execution_id, status.action_execution_id);
        let known = (pipeline, action) == (ids().pipeline, ids().action);
        let attempts = status.submission.map(|submission| submission.attempts);
        let actual = (status.approved_at, status.decided_by, known, status.exception, attempts);
        assert_eq!(actual, expected, "{outcome:?}");
    }
}

#[test]
fn the_texts_of_codepipeline_are_cut_to_what_the_schema_admits() {
    let long = || "é".repeat(10_000);
    let characters = |text: Option<String>| text.map(|text| text.chars().count());
    let exception = Exception { r#type: long(), message: long() };
    let ids = ExecutionIds { pipeline: Some(long()), action: Some(long()) };
    let record = CompletedApproval { by: Some(long()), summary: Some(long()), ids, ..completed_approval(Rejected, 0) };
    let outcome = refused(Refusal::ApprovalAlreadyCompleted, Some(exception), Some(record));
    let status = report(&fresh(), &outcome);
    let Exception { r#type, message } = status.exception.expect("an exception");
    assert_eq!((characters(Some(r#type)), characters(Some(message))), (Some(256), Some(2048)));
    assert_eq!(characters(status.decided_by), Some(2048));
    assert_eq!(
        (characters(status.pipeline_execution_id), characters(status.action_execution_id)),
        (Some(100), Some(100))
    );
    let note = announcement(&fresh(), &outcome, None).expect("an announcement").note;
    for (text, max) in [(&status.conditions[0].message, MAX_MESSAGE), (&note, 1024)] {
        assert!((max - 2..=max).contains(&text.len()), "{} bytes of {max}", text.len());
        assert!(text.ends_with("set spec.token to its token."), "the remedy is never cut: {text}");
    }
}

#[test]
fn the_current_reason_is_read_from_the_ready_condition() {
    assert_eq!(current_reason(&fresh()), None);
    assert_eq!(current_reason(&fresh().with_reason(Reason::Throttled)), Some(Reason::Throttled));
    let stalled = fresh().with(|decision| decision.status = Some(report(decision, &invalid_token())));
    assert_eq!(current_reason(&stalled), Some(Reason::InvalidApprovalToken));
    let forged = stalled.with_status(|status| status.conditions[0].reason = "Bogus".to_owned());
    assert_eq!(current_reason(&forged), None);
}
