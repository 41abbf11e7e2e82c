//! What an outcome becomes in the status, in words and in Events.

use super::{
    ApprovalDecision, ApprovalDecisionStatus, ConditionStatus, Doubt, EventType, Exception, ExecutionIds, Expiry,
    Finished, Intent, MAX_MESSAGE, Outcome, Reason, Standing, Timestamp, current_reason, event, is_still_to_tell,
    message, status,
};
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::codepipeline::{Cause, ExecutionEnd, Refusal};
use crate::decision::choose::{Missing, Wait};
use crate::decision::fixtures::*;
use crate::decision::outcome::{Earlier, Pending};
use ConditionStatus::{False, True, Unknown};

fn delivered() -> Outcome {
    Outcome::Delivered { approved_at: Some(at(1)), record: None }
}

fn refused(refusal: Refusal, exception: Option<Exception>, record: Option<Finished>) -> Outcome {
    Outcome::Refused { refusal, exception, record }
}

fn wrong_token() -> Outcome {
    refused(Refusal::InvalidApprovalToken, Some(exception("InvalidApprovalToken")), None)
}

fn completed(exception: Option<Exception>) -> Outcome {
    refused(Refusal::ApprovalAlreadyCompleted, exception, Some(finished(Rejected, 0)))
}

fn already_decided() -> Outcome {
    Outcome::AlreadyDecided { record: finished(Approved, 0), exception: Some(already_completed()) }
}

fn submitting() -> Outcome {
    Outcome::Submitting(Intent { ids: ids(), ..intent(1, 0, 20, Earlier::NotTaken) })
}

fn unconfirmed(doubt: Doubt, completed: Option<Exception>) -> Outcome {
    Outcome::Unconfirmed { doubt, completed, ids: ids(), next: at(20) }
}

fn retrying(cause: Cause) -> Outcome {
    let exception = Some(exception(Reason::from(cause).as_str()));
    Outcome::Retrying { submission: submission(2, 0, 20), cause, exception, detail: "not now".to_owned(), next: at(4) }
}

fn waiting(wait: Wait) -> Outcome {
    Outcome::Waiting { pending: Pending::Run(wait), exception: None, again: None, until: at(60) }
}

/// An outcome of each kind, at least one a reason that the operator has.
fn outcomes() -> Vec<Outcome> {
    let lost = "the connection broke".to_owned();
    let mut all = vec![
        delivered(),
        Outcome::Delivered { approved_at: None, record: Some(finished(Approved, 0)) },
        already_decided(),
        Outcome::AlreadyDecided { record: finished(Approved, 0), exception: None },
        completed(Some(already_completed())),
        completed(None),
        Outcome::Invalid { detail: "spec.notAfter is no time".to_owned() },
        Outcome::Expired { expiry: Expiry::NotAfter(at(60)), unproven: None },
        Outcome::Expired { expiry: Expiry::WaitingLimit(at(60)), unproven: None },
        Outcome::Suspended,
        Outcome::Missing(Missing::Stage),
        Outcome::Missing(Missing::Action),
        Outcome::Missing(Missing::Approval("Build".to_owned())),
        Outcome::ExecutionEnded { execution: "run".to_owned(), end: ExecutionEnd::Superseded },
        Outcome::PipelineExecutionNotFound(exception("PipelineExecutionNotFound")),
        Outcome::AmbiguousRevision { executions: vec!["one".to_owned(), "other".to_owned()] },
        waiting(Wait::NoRun),
        waiting(Wait::UnknownRun),
        waiting(Wait::LaterRun { execution: "run".to_owned(), end: ExecutionEnd::Failed }),
        Outcome::Unreadable {
            cause: Cause::AccessDenied,
            exception: None,
            detail: lost.clone(),
            since: at(0),
            until: at(60),
        },
        submitting(),
        unconfirmed(Doubt::Lost(lost.clone()), None),
        unconfirmed(Doubt::Unreadable(lost.clone()), Some(already_completed())),
        unconfirmed(Doubt::NotInRecord, None),
        unconfirmed(Doubt::NotAsked(lost), None),
    ];
    all.extend(
        [Cause::Throttled, Cause::AccessDenied, Cause::CredentialsUnavailable, Cause::ServiceUnavailable].map(retrying),
    );
    all.extend(
        [
            Refusal::InvalidApprovalToken,
            Refusal::ApprovalAlreadyCompleted,
            Refusal::PipelineNotFound,
            Refusal::StageNotFound,
            Refusal::ActionNotFound,
            Refusal::ValidationFailed,
        ]
        .map(|refusal| refused(refusal, Some(exception(Reason::from(refusal).as_str())), None)),
    );
    all
}

fn told(decision: &ApprovalDecision, outcome: &Outcome) -> ApprovalDecisionStatus {
    status(decision, outcome, at(100))
}

#[test]
fn every_reason_is_reached_by_an_outcome() {
    let told: Vec<_> = outcomes().iter().map(Outcome::reason).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !told.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn ready_always_stands_and_another_condition_beside_it_only_while_it_is_true() {
    let expected = |reason: Reason| match reason {
        Reason::Delivered | Reason::AlreadyDecided => vec![("Ready", True)],
        Reason::Suspended => vec![("Ready", False)],
        Reason::InvalidApprovalToken
        | Reason::ApprovalAlreadyCompleted
        | Reason::PipelineNotFound
        | Reason::StageNotFound
        | Reason::ActionNotFound
        | Reason::ValidationFailed
        | Reason::ExecutionEnded
        | Reason::PipelineExecutionNotFound
        | Reason::AmbiguousRevision
        | Reason::Expired => vec![("Ready", False), ("Stalled", True)],
        Reason::Throttled | Reason::AccessDenied | Reason::CredentialsUnavailable | Reason::ServiceUnavailable => {
            vec![("Ready", False), ("Reconciling", True)]
        }
        Reason::Waiting | Reason::Submitting | Reason::Unconfirmed => vec![("Ready", Unknown), ("Reconciling", True)],
    };
    let mut decision = fresh().edited();
    for outcome in outcomes() {
        let status = told(&decision, &outcome);
        let conditions: Vec<_> = status.conditions.iter().map(|c| (c.r#type.as_str(), c.status)).collect();
        assert_eq!(conditions, expected(outcome.reason()), "{outcome:?}");
        assert_eq!(status.observed_generation, Some(2));
        for condition in &status.conditions {
            assert_eq!(condition.reason, outcome.reason().as_str());
            assert_eq!(condition.message, message(&decision, &outcome));
            assert_eq!(condition.observed_generation, Some(2));
        }
        // Whatever it was before, the next outcome is told the same way.
        decision.status = Some(status);
    }
}

#[test]
fn a_transition_time_changes_with_the_conditions_status_alone() {
    let times = |decision: &ApprovalDecision, outcome: &Outcome, now| {
        let conditions = status(decision, outcome, now).conditions;
        conditions.into_iter().map(|condition| condition.last_transition_time).collect::<Vec<_>>()
    };
    let millisecond = jiff::SignedDuration::from_millis(1);
    let stalled = |outcome: &Outcome| fresh().with(|decision| decision.status = Some(status(decision, outcome, at(5))));
    let of = |outcome: &Outcome, next: &Outcome| times(&stalled(outcome), next, at(9) + millisecond);
    assert_eq!(times(&fresh(), &wrong_token(), at(5) + millisecond), [at(5), at(5)], "the first, to the second");
    assert_eq!(of(&wrong_token(), &completed(None)), [at(5), at(5)], "another reason for the same");
    assert_eq!(of(&retrying(Cause::Throttled), &wrong_token()), [at(5), at(9)], "still False, but Stalled is new");
    assert_eq!(of(&retrying(Cause::Throttled), &submitting()), [at(9), at(5)], "False to Unknown, still Reconciling");
    assert_eq!(of(&submitting(), &delivered()), [at(9)], "Unknown to True");
    assert_eq!(of(&Outcome::Suspended, &submitting()), [at(9), at(9)], "a fresh start keeps nothing that changed");
    assert_eq!(of(&Outcome::Suspended, &Outcome::Suspended), [at(5)], "nothing new");
}

#[test]
fn the_annotation_is_taken_up_by_a_fresh_start_only() {
    let taken_up = |decision: ApprovalDecision, outcome: &Outcome| told(&decision, outcome).last_handled_requested_at;
    let first = || Some("first".to_owned());
    let under_way = || fresh().in_doubt().handled("first").annotated("second");
    let retried = || fresh().standing(Reason::Throttled).submitted(1, 0, 20).handled("first");
    assert_eq!(taken_up(fresh().annotated("first"), &submitting()), first());
    assert_eq!(taken_up(fresh().annotated(&"é".repeat(2000)), &submitting()), Some("é".repeat(1024)));
    assert_eq!(taken_up(under_way(), &wrong_token()), first(), "set while an answer was under way, it is still to do");
    assert_eq!(taken_up(retried().annotated("first"), &submitting()), first());
    assert_eq!(taken_up(retried().annotated("second"), &submitting()), Some("second".to_owned()));
    assert_eq!(taken_up(retried(), &submitting()), first(), "taken away, it is no new value");
}

#[test]
fn a_fresh_start_clears_what_an_earlier_life_came_to() {
    let old = |reason| {
        let decision = fresh().standing(reason).submitted(3, 0, 20).raised(already_completed()).known(ids());
        decision.with_status(|status| {
            status.approved_at = Some(at(1));
            status.decided_by = Some("ada".to_owned());
        })
    };
    let of_request = |status: ApprovalDecisionStatus| {
        let ids = ExecutionIds { pipeline: status.pipeline_execution_id, action: status.action_execution_id };
        (status.submission, ids, status.exception, status.approved_at, status.decided_by)
    };
    let nothing = (None, ExecutionIds::default(), None, None, None);
    let edited = old(Reason::ApprovalAlreadyCompleted).edited();
    assert_eq!(of_request(told(&edited, &Outcome::Suspended)), nothing);
    assert_eq!(
        of_request(told(&edited, &Outcome::Expired { expiry: Expiry::NotAfter(at(60)), unproven: None })),
        nothing
    );
    let begun = Outcome::Submitting(intent(1, 0, 20, Earlier::NotTaken));
    let (submission, ids, ..) = of_request(told(&edited, &begun));
    assert_eq!((submission.map(|s| s.attempts), ids), (Some(1), ExecutionIds::default()));
    // A life that goes on keeps what it knows, but for an exception that is no longer the last word.
    let (submission, ids, exception, ..) = of_request(told(&old(Reason::Unconfirmed), &submitting()));
    assert_eq!((submission.map(|s| s.attempts), ids, exception), (Some(1), self::ids(), None));
    let (submission, ids, ..) = of_request(told(&old(Reason::Unconfirmed), &Outcome::Suspended));
    assert_eq!((submission.map(|s| s.attempts), ids), (Some(3), self::ids()));
}

#[test]
fn what_came_of_a_request_is_told_unless_a_successor_has_found_out() {
    let sent = submission(1, 0, 20);
    let standing = |reason| fresh().standing(reason).submitted(1, 0, 20);
    let lost = unconfirmed(Doubt::NotInRecord, None);
    let told_already =
        fresh().submitted(1, 0, 20).with(|decision| decision.status = Some(told(decision, &wrong_token())));
    let told_already = told_already.submitted(1, 0, 20);
    for (name, decision, outcome, expected) in [
        ("still under way: everything is", standing(Reason::Submitting), &lost, true),
        ("found unconfirmed by another: everything is", standing(Reason::Unconfirmed), &wrong_token(), true),
        ("settled by another: doubt is not", standing(Reason::Delivered), &lost, false),
        ("ended by another: doubt is not", standing(Reason::Expired), &lost, false),
        ("ended by another: a refusal is not", standing(Reason::Expired), &wrong_token(), false),
        ("ended by another: that it was taken is", standing(Reason::Expired), &delivered(), true),
        (
            "found delivered by another: that it was taken is not, again",
            standing(Reason::Delivered),
            &delivered(),
            false,
        ),
        ("written, but the API server's answer was lost: it is, once", told_already, &wrong_token(), true),
        ("another attempt since", fresh().standing(Reason::Submitting).submitted(2, 0, 20), &delivered(), false),
        ("edited since", standing(Reason::Expired).edited(), &delivered(), false),
        ("nothing was ever written", fresh(), &delivered(), false),
    ] {
        assert_eq!(is_still_to_tell(&decision, &sent, outcome, at(100)), expected, "{name}");
    }
}

#[test]
fn what_an_earlier_edit_was_pinned_to_is_not_looked_up() {
    use crate::decision::progress::{execution_ids, submission};
    let stalled = || fresh().standing(Reason::ApprovalAlreadyCompleted).submitted(1, 0, 20).known(ids());
    assert_eq!((execution_ids(&stalled()), submission(&stalled()).is_some()), (ids(), true));
    let edited = stalled().edited();
    assert_eq!(execution_ids(&edited), ExecutionIds::default());
    let other = edited.with(|decision| decision.spec.token = Some(other_token()));
    assert_eq!(submission(&other), None, "an attempt with another token is not this edit's");
}

#[test]
fn each_outcome_tells_what_it_knows() {
    type Told = (Option<Timestamp>, Option<String>, bool, Option<Exception>, Option<i64>);
    let ada = || finished(Approved, 0).by;
    let timeless = Finished { at: None, by: None, ids: ExecutionIds::default(), ..finished(None, 0) };
    let rows: [(Outcome, Told); 14] = [
        (delivered(), (Some(at(1)), None, false, None, None)),
        (Outcome::Delivered { approved_at: None, record: None }, (None, None, false, None, None)),
        (
            Outcome::Delivered { approved_at: Some(at(0)), record: Some(finished(Approved, 0)) },
            (Some(at(0)), ada(), true, None, None),
        ),
        (already_decided(), (Some(at(0)), ada(), true, Some(already_completed()), None)),
        (Outcome::AlreadyDecided { record: timeless, exception: None }, (None, None, false, None, None)),
        (completed(Some(already_completed())), (None, ada(), true, Some(already_completed()), None)),
        (wrong_token(), (None, None, false, Some(exception("InvalidApprovalToken")), None)),
        (Outcome::Invalid { detail: String::new() }, (None, None, false, None, None)),
        (Outcome::Expired { expiry: Expiry::WaitingLimit(at(0)), unproven: None }, (None, None, false, None, None)),
        (Outcome::Suspended, (None, None, false, None, None)),
        (submitting(), (None, None, true, None, Some(1))),
        (unconfirmed(Doubt::NotInRecord, None), (None, None, true, None, None)),
        (
            unconfirmed(Doubt::NotInRecord, Some(already_completed())),
            (None, None, true, Some(already_completed()), None),
        ),
        (retrying(Cause::Throttled), (None, None, false, Some(exception("Throttled")), Some(2))),
    ];
    for (outcome, expected) in rows {
        let status = told(&fresh(), &outcome);
        let (pipeline, action) = (status.pipeline_execution_id, status.action_execution_id);
        let known = (pipeline, action) == (ids().pipeline, ids().action);
        let attempts = status.submission.map(|submission| submission.attempts);
        let actual = (status.approved_at, status.decided_by, known, status.exception, attempts);
        assert_eq!(actual, expected, "{outcome:?}");
    }
}

#[test]
fn what_the_service_says_is_cut_to_what_the_schema_admits() {
    let long = || "é".repeat(10_000);
    let characters = |text: Option<String>| text.map(|text| text.chars().count());
    let exception = Exception { r#type: long(), message: long() };
    let ids = ExecutionIds { pipeline: Some(long()), action: Some(long()) };
    let record = Finished { by: Some(long()), summary: Some(long()), ids, ..finished(Rejected, 0) };
    let outcome = refused(Refusal::ApprovalAlreadyCompleted, Some(exception), Some(record));
    let status = told(&fresh(), &outcome);
    let Exception { r#type, message } = status.exception.expect("an exception");
    assert_eq!((characters(Some(r#type)), characters(Some(message))), (Some(256), Some(2048)));
    assert_eq!(characters(status.decided_by), Some(2048));
    assert_eq!(
        (characters(status.pipeline_execution_id), characters(status.action_execution_id)),
        (Some(100), Some(100))
    );
    let note = event(&fresh(), &outcome, None).and_then(|event| event.note).expect("a note");
    for (text, most) in [(&status.conditions[0].message, MAX_MESSAGE), (&note, 1024)] {
        assert!((most - 2..=most).contains(&text.len()), "{} bytes of {most}", text.len());
        assert!(text.ends_with(&format!(". {}", outcome.reason().remedy())), "what to do is never cut: {text}");
    }
}

#[test]
fn an_event_tells_a_change_of_reason_and_never_a_submission() {
    for outcome in outcomes() {
        let reason = outcome.reason();
        let silent = reason == Reason::Submitting;
        assert!(event(&fresh(), &outcome, Some(reason)).is_none(), "{reason:?} is no news");
        for before in [None, Some(Reason::Submitting), Some(Reason::Unconfirmed), Some(Reason::Suspended)] {
            let event = event(&fresh(), &outcome, before);
            assert_eq!(event.is_some(), !silent && before != Some(reason), "{before:?} to {reason:?}");
            let Some(event) = event else { continue };
            let healthy = matches!(reason.standing(), Standing::Settled | Standing::Suspended | Standing::Waiting);
            assert_eq!(matches!(event.type_, EventType::Normal), healthy, "{reason:?}");
            assert_eq!((event.reason, event.note), (reason.as_str().to_owned(), Some(message(&fresh(), &outcome))));
        }
    }
}

#[test]
fn the_reason_before_is_read_from_ready() {
    assert_eq!(current_reason(&fresh()), None);
    assert_eq!(current_reason(&fresh().standing(Reason::Throttled)), Some(Reason::Throttled));
    let stalled = fresh().with(|decision| decision.status = Some(told(decision, &wrong_token())));
    assert_eq!(current_reason(&stalled), Some(Reason::InvalidApprovalToken));
    let forged = stalled.with_status(|status| status.conditions[0].reason = "Bogus".to_owned());
    assert_eq!(current_reason(&forged), None);
}

#[test]
fn a_message_says_what_happened_and_what_to_do_in_a_sentence_each_and_never_the_token() {
    let decision = fresh().in_doubt();
    for outcome in outcomes() {
        let message = message(&decision, &outcome);
        let (happened, remedy) = message.split_once(". ").expect("two sentences");
        assert_eq!(remedy, outcome.reason().remedy());
        for sentence in [happened, remedy.trim_end_matches('.')] {
            assert!(sentence.len() > 20 && !sentence.contains(". ") && !sentence.ends_with('.'), "{message}");
        }
        assert!(remedy.ends_with('.'), "{message}");
        assert!(!message.contains(&token().0), "{message}");
        assert!(!format!("{outcome:?}").contains(&token().0), "{outcome:?}");
    }
}

#[test]
fn messages_read_as_they_should() {
    let decision = fresh().in_doubt();
    let ada = "arn:aws:iam::111122223333:user/ada";
    let nobody = Finished { result: None, by: None, ..finished(None, 0) };
    let rows = [
        (delivered(), "CodePipeline took the answer Approved at 2026-07-01T12:00:01Z".to_owned()),
        (
            Outcome::Delivered { approved_at: Some(at(0)), record: Some(finished(Approved, 0)) },
            "The response was lost, but CodePipeline's record shows that it took the answer Approved at \
             2026-07-01T12:00:00Z"
                .to_owned(),
        ),
        (already_decided(), format!("The request had been approved by {ada} at 2026-07-01T12:00:00Z before")),
        (
            completed(Some(already_completed())),
            format!(
                "CodePipeline raised ApprovalAlreadyCompletedException: words of the service; the request had been \
                 rejected by {ada} at 2026-07-01T12:00:00Z"
            ),
        ),
        (
            refused(Refusal::ApprovalAlreadyCompleted, None, Some(nobody)),
            "No answer Approved of this decision was taken; the request had ended without anybody's answer (it timed \
             out or was cancelled) at 2026-07-01T12:00:00Z"
                .to_owned(),
        ),
        (retrying(Cause::Throttled), "Attempt 2 at answering Approved was not taken (not now)".to_owned()),
        (
            unconfirmed(Doubt::NotInRecord, None),
            "Whether the answer Approved was taken is not known since 2026-07-01T12:00:00Z: CodePipeline's record does \
             not show it yet"
                .to_owned(),
        ),
        (
            unconfirmed(Doubt::Unreadable("denied".to_owned()), Some(already_completed())),
            "CodePipeline says that the request is completed, and how is not known since 2026-07-01T12:00:00Z: \
             CodePipeline's record cannot be read (denied)"
                .to_owned(),
        ),
    ];
    for (outcome, expected) in rows {
        assert_eq!(message(&decision, &outcome), format!("{expected}. {}", outcome.reason().remedy()));
    }
}
