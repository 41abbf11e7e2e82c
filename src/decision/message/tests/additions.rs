//! What some messages say besides, and what holds for all of them.

use super::executions::WAITING;
use super::*;
use crate::api::v1alpha1::ApprovalDecisionStatus;
use crate::decision::conflict::RejectionMatch;
use crate::decision::message::executions::uncovered;
use crate::decision::resolve::OpenRequest;
use crate::decision::status::{status, status_matches};
use crate::decision::test_fixtures::pipeline::source;

#[test]
fn a_refusal_after_doubt() {
    let expected = "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline; an earlier attempt may \
                    have been accepted: its outcome is unknown";
    check(
        Reason::InvalidApprovalToken,
        INVALID_TOKEN,
        [(refused_after_doubt(Refusal::InvalidApprovalToken), expected)],
    );
    let expected = "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                    been accepted: its outcome is unknown";
    let outcome = expired(Expiry::NotAfter(at(60)), Some(Caveat::AttemptInDoubt));
    check(Reason::Expired, EXPIRED, [(outcome, expected)]);
}

#[test]
fn doubt_is_not_cut_from_a_message_that_is_too_long() {
    let exception = Exception { message: "long. ".repeat(1000), ..exception("InvalidApprovalToken") };
    let (refusal, caveat) = (Refusal::InvalidApprovalToken, Some(Caveat::AttemptInDoubt));
    let outcome =
        Outcome::Refused { refusal, exception: Some(exception), record: None, open: None, names: None, caveat };
    let message = Message::new(&fresh(), &outcome).within(500);
    assert!(message.len() <= 500 && message.contains("; an earlier attempt may have been accepted"), "{message}");
}

#[test]
fn what_a_response_leaves_open() {
    let response = "The approval had already been approved by arn:aws:iam::111122223333:user/ada at \
                    2026-07-01T12:00:00Z; that response used up this decision, and";
    let of =
        |open| Outcome::AlreadyDecided { record: completed_approval(Approved, 0), open: Some(open), exception: None };
    let again = OpenRequest { execution: "pipeline-execution".to_owned(), is_pending: true };
    for (open, expected) in [
        (
            open_request(true),
            "execution 7d20b1c4 waits for a response: to answer it, name it with spec.pipelineExecutionId or \
             spec.token, or set spec.ignoreResponsesBefore to a time after that response",
        ),
        (
            open_request(false),
            "execution 7d20b1c4 has not reached the approval yet: to answer it, name it with \
             spec.pipelineExecutionId, or set spec.ignoreResponsesBefore to a time after that response",
        ),
        (
            again,
            "execution pipeline-execution asks again: to answer it, name it with spec.token, or set \
             spec.ignoreResponsesBefore to a time after that response",
        ),
    ] {
        check(Reason::AlreadyDecided, "No action needed.", [(of(open), &format!("{response} {expected}"))]);
    }
    let refused = Outcome::Refused {
        refusal: Refusal::ApprovalAlreadyCompleted,
        exception: None,
        record: Some(completed_approval(Rejected, 0)),
        open: Some(open_request(true)),
        names: None,
        caveat: None,
    };
    assert!(message(&fresh(), &refused).contains("execution 7d20b1c4 waits for a response"));
}

/// A decision for an abbreviated commit id, and the outcome where the newest execution has these revisions.
fn no_execution(newest: &[(&str, Option<&str>)]) -> (ApprovalDecision, Outcome) {
    let newest = newest.iter().map(|(action, revision)| source(action, *revision)).collect();
    (by_revision("4f1a9c2"), waiting_for(ExecutionWait::NoExecution { newest, hint: None }))
}

#[test]
fn the_revisions_of_the_newest_execution() {
    let long = "é".repeat(33);
    let too_few = ", and spec.sourceRevisions needs an entry for each source";
    let cut = format!("{}… (B), b (A), no revision id (C), …{too_few}", "é".repeat(32));
    for (newest, expected) in [
        (&[("Source", Some("4f1a9c2e"))][..], "4f1a9c2e (Source)"),
        (
            &[("Source", Some("4f1a9c2e")), ("Image", Some(&"a".repeat(64)))],
            &format!("4f1a9c2e (Source), {} (Image){too_few}", "a".repeat(64)),
        ),
        (&[("Source", Some("4f1a9c2e")), ("Docs", Some("4f1a9c2e"))], "4f1a9c2e (Source), 4f1a9c2e (Docs)"),
        (&[("B", Some(&long)), ("A", Some("b")), ("C", None), ("D", Some("e"))], &cut),
    ] {
        let (decision, outcome) = no_execution(newest);
        let expected = format!(
            "No execution of pipeline shop has the source revisions 4f1a9c2 yet; the newest execution has {expected}"
        );
        check_for(&decision, Reason::Waiting, WAITING, [(outcome, &expected)]);
    }
}

#[test]
fn the_newest_execution_shows_whether_each_source_has_an_entry() {
    let sources = [source("App", Some("a")), source("Image", Some("b"))];
    for (entries, is_enough) in [
        (&[entry(None, Some("x"))][..], false),
        (&[entry(Some("App"), Some("x"))], false),
        (&[entry(Some("App"), Some("x")), entry(Some("Image"), None)], true),
        (&[entry(None, Some("x")), entry(Some("Image"), None)], true),
        (&[entry(None, Some("x")), entry(None, Some("y"))], true),
    ] {
        assert_eq!(uncovered(entries, &sources).is_empty(), is_enough, "{entries:?}");
    }
}

#[test]
fn a_status_is_not_written_only_because_another_execution_is_the_newest() {
    let (decision, none) = no_execution(&[]);
    let (_, first) = no_execution(&[("Source", Some("a"))]);
    let (_, second) = no_execution(&[("Source", Some("b"))]);
    let reporting = |outcome| decision.clone().with(|it| it.status = Some(status(&decision, outcome, at(1))));
    let writes = |shown, outcome| !status_matches(&reporting(shown), outcome, at(2));
    assert!(writes(&none, &first), "the first one that there is");
    assert!(!writes(&first, &second));
    assert!(writes(&first, &waiting(Wait::RequestRefused)));
    let edited = reporting(&first).edited();
    assert!(message_in(&status(&edited, &second, at(2))).contains("the newest execution has b"));
}

fn message_in(status: &ApprovalDecisionStatus) -> &str {
    &status.conditions[0].message
}

#[test]
fn a_message_has_one_sentence_for_what_happened_and_one_for_what_to_do_and_no_token() {
    let decision = fresh().in_doubt();
    for outcome in outcomes() {
        let message = message(&decision, &outcome);
        let (what_happened, remedy) = message.split_once(". ").expect("two sentences");
        assert!(what_happened.len() > 20 && !what_happened.ends_with('.'), "{message}");
        assert!(!remedy.is_empty() && remedy.ends_with('.') && !remedy.contains(". "), "{message}");
        assert!(!message.contains(&token().0), "{message}");
        assert!(!format!("{outcome:?}").contains(&token().0), "{outcome:?}");
    }
}

#[test]
fn a_token_that_codepipeline_quotes_is_hidden() {
    let quoting = |token: Token| {
        let exception = Exception { message: format!("the token {} is invalid.", token.0), ..exception("Validation") };
        refused(Refusal::ValidationFailed, Some(exception), None)
    };
    let expected = "CodePipeline raised ValidationException: the token … is invalid. Correct the field that the message \
                    names.";
    assert_eq!(message(&fresh(), &quoting(token())), expected, "the token of the spec");
    let by_id = fresh().in_doubt().with_ids(ExecutionIds { pipeline: Some("4f1a9c2e".to_owned()), action: None });
    assert_eq!(
        message(&by_id.naming_execution("4f1a9c2e"), &quoting(token())),
        expected,
        "the token of the submission"
    );
}

#[test]
fn a_rejection_that_may_be_of_the_same_request() {
    let conflict = |found| conflict(Some("stop"), found);
    let may_reject = "Decision stop of this namespace may reject the request that this decision approves; a rejection goes first, and";
    let check = |found, expected: &str| {
        check(
            Reason::ConflictingDecision,
            "Delete, suspend or correct one of the two decisions.",
            [(conflict(found), &format!("{may_reject} {expected}"))],
        );
    };
    check(
        RejectionMatch::ExecutionUnknown,
        "the operator waits for a poll that shows to which execution the request belongs",
    );
    check(
        RejectionMatch::SourcesUnknown,
        "the operator waits for a poll that shows the source revisions of the execution",
    );
    check(RejectionMatch::Unreadable, "this version of the operator cannot tell which request it names");
}
