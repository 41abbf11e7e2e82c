//! Every message, literally. Each one is a row under its reason, whose remedy ends it.

use super::{
    ApprovalDecision, Caveat, CompletedApproval, Exception, ExecutionPosition, ExecutionWait, Expiry, InvalidSpec,
    Message, Missing, Outcome, Token, UnconfirmedCause, Wait,
};
use crate::api::conditions::MAX_MESSAGE;
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::{PipelineExecutionId, Reason, SourceRevision};
use crate::codepipeline::{ExecutionEnd, ExecutionIds, Refusal, RetryCause};
use crate::decision::test_fixtures::outcomes::*;
use crate::decision::test_fixtures::*;

mod additions;

fn message(decision: &ApprovalDecision, outcome: &Outcome) -> String {
    Message::new(decision, outcome).within(MAX_MESSAGE)
}

/// The messages of these outcomes, for a decision whose first attempt started at time 0.
fn check<const N: usize>(reason: Reason, remedy: &str, rows: [(Outcome, &str); N]) {
    check_for(&fresh().in_doubt(), reason, remedy, rows);
}

fn check_for<const N: usize>(decision: &ApprovalDecision, reason: Reason, remedy: &str, rows: [(Outcome, &str); N]) {
    for (outcome, what_happened) in rows {
        assert_eq!(outcome.reason(), reason);
        assert_eq!(message(decision, &outcome), format!("{what_happened}. {remedy}"));
    }
}

#[test]
fn a_result_that_counts() {
    check(
        Reason::Delivered,
        "No action needed.",
        [
            (delivered(), "CodePipeline accepted the result Approved at 2026-07-01T12:00:01Z"),
            (Outcome::Delivered { approved_at: None, record: None }, "CodePipeline accepted the result Approved"),
            (
                delivered_by_history(),
                "The response was lost, but CodePipeline's history shows that it accepted the result Approved at \
                 2026-07-01T12:00:00Z",
            ),
        ],
    );
    check_for(
        &fresh().with_result(Rejected, ""),
        Reason::Delivered,
        "No action needed.",
        [(delivered(), "CodePipeline accepted the result Rejected at 2026-07-01T12:00:01Z")],
    );
    let incomplete = CompletedApproval { at: None, by: None, ..completed_approval(Approved, 0) };
    check(
        Reason::AlreadyDecided,
        "No action needed.",
        [
            (
                already_decided(),
                "The approval had already been approved by arn:aws:iam::111122223333:user/ada at 2026-07-01T12:00:00Z",
            ),
            (Outcome::AlreadyDecided { record: incomplete, exception: None }, "The approval had already been approved"),
        ],
    );
}

#[test]
fn a_result_that_codepipeline_refused() {
    check(
        Reason::InvalidApprovalToken,
        "Name the request that is pending, and set spec.result.summary if the action requires one.",
        [(invalid_token(), "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline")],
    );
    let no_response = CompletedApproval { result: None, by: None, ..completed_approval(None, 0) };
    check(
        Reason::ApprovalAlreadyCompleted,
        "Check the pipeline's history; a retried stage has a new token, which needs a new decision.",
        [
            (
                rejected_by_others(Some(already_completed())),
                "CodePipeline raised ApprovalAlreadyCompletedException: message of CodePipeline; the approval had \
                 already been rejected by arn:aws:iam::111122223333:user/ada at 2026-07-01T12:00:00Z",
            ),
            (
                rejected_by_others(None),
                "CodePipeline did not accept the result Approved from this decision; the approval had already been \
                 rejected by arn:aws:iam::111122223333:user/ada at 2026-07-01T12:00:00Z",
            ),
            (
                refused(Refusal::ApprovalAlreadyCompleted, None, Some(no_response)),
                "CodePipeline did not accept the result Approved from this decision; the approval had already ended \
                 without a response (it timed out or was canceled) at 2026-07-01T12:00:00Z",
            ),
            (
                refused(Refusal::ApprovalAlreadyCompleted, Some(already_completed()), None),
                "CodePipeline raised ApprovalAlreadyCompletedException: message of CodePipeline",
            ),
        ],
    );
    check(
        Reason::PipelineNotFound,
        "Correct spec.pipelineName, or the operator's AWS account and region.",
        [(
            refused(Refusal::PipelineNotFound, Some(exception("PipelineNotFound")), None),
            "CodePipeline raised PipelineNotFoundException: message of CodePipeline",
        )],
    );
}

#[test]
fn a_request_that_does_not_exist() {
    let execution = || "4f1a9c2e".to_owned();
    check(
        Reason::StageNotFound,
        "Correct spec.stageName.",
        [(Outcome::Missing(Missing::Stage), "Pipeline shop has no stage \"Production\"")],
    );
    check(
        Reason::ActionNotFound,
        "Correct spec.actionName: it must name an approval action of the stage.",
        [
            (Outcome::Missing(Missing::Action), "Stage Production of pipeline shop has no action \"Approve\""),
            (
                Outcome::Missing(Missing::NotAnApproval { category: "Build".to_owned() }),
                "Action Approve of pipeline shop is not an approval: its category is Build",
            ),
        ],
    );
    check(
        Reason::ExecutionEnded,
        "Create a decision for the execution that replaces it; if you retry this execution, set the annotation \
         codepipeline.approvals.dev/requestedAt to a new value.",
        [(
            Outcome::ExecutionEnded { execution: execution(), end: ExecutionEnd::Superseded },
            "Execution 4f1a9c2e ended (Superseded) before its approval received a response",
        )],
    );
    check(
        Reason::PipelineExecutionNotFound,
        "Correct spec.pipelineExecutionId, or the operator's AWS account and region.",
        [(
            Outcome::PipelineExecutionNotFound(exception("PipelineExecutionNotFound")),
            "CodePipeline raised PipelineExecutionNotFoundException: message of CodePipeline",
        )],
    );
    check(
        Reason::AmbiguousRevision,
        "Name one of the executions with spec.pipelineExecutionId instead of spec.sourceRevision.",
        [(
            Outcome::AmbiguousRevision { executions: vec![execution(), "7d20b1c4".to_owned()] },
            "2 executions of the source revision are waiting for this approval: 4f1a9c2e, 7d20b1c4",
        )],
    );
}

#[test]
fn a_decision_that_is_not_submitted() {
    check(
        Reason::ValidationFailed,
        "Correct the field that the message names.",
        [
            (
                Outcome::Invalid(InvalidSpec::Binding),
                "spec must have exactly one of token, pipelineExecutionId and sourceRevision",
            ),
            (
                Outcome::Invalid(InvalidSpec::NotAfter("2026-02-30T00:00:00Z".to_owned())),
                "spec.notAfter is \"2026-02-30T00:00:00Z\", which is not a time: use RFC 3339, such as \
                 2026-01-31T17:00:00Z",
            ),
        ],
    );
    let not_after = || Expiry::NotAfter(at(60));
    let detail = || "AccessDeniedException: not allowed".to_owned();
    check(
        Reason::Expired,
        "If the result is still wanted, create a new decision with a later spec.notAfter, or without one.",
        [
            (
                expired(not_after(), None),
                "spec.notAfter (2026-07-01T12:01:00Z) passed before CodePipeline accepted a result; nothing more is \
                 sent",
            ),
            (
                expired(Expiry::WaitingLimit(at(60)), None),
                "The operator's waiting limit, counted from the creation of the decision, passed at \
                 2026-07-01T12:01:00Z before CodePipeline accepted a result; nothing more is sent",
            ),
            (
                expired(not_after(), Some(Caveat::HistoryUnreadable(detail()))),
                "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                 been accepted: CodePipeline's history of the approval could not be read (AccessDeniedException: not \
                 allowed)",
            ),
            (
                expired(not_after(), Some(Caveat::BeyondHistory)),
                "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                 been accepted: the part of CodePipeline's history that the operator reads does not show the approval",
            ),
            (
                expired(not_after(), Some(Caveat::NoTraceOfAttempt)),
                "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                 been accepted: an attempt was sent, and CodePipeline's history shows no trace of it",
            ),
            (
                expired(not_after(), Some(Caveat::OutcomeNotInHistory { execution: "4f1a9c2e".to_owned() })),
                "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                 been accepted: CodePipeline's history does not show the outcome of the approval of execution 4f1a9c2e",
            ),
            (
                expired(not_after(), Some(Caveat::PipelineUnreadable(detail()))),
                "spec.notAfter (2026-07-01T12:01:00Z) passed; nothing more is sent, but an earlier result may have \
                 been accepted: the pipeline could not be read (AccessDeniedException: not allowed)",
            ),
        ],
    );
    check(
        Reason::Suspended,
        "Set spec.suspend to false to submit the result.",
        [(Outcome::Suspended, "The result Approved is held back because spec.suspend is true")],
    );
}

const WAITING: &str = "The operator submits the result automatically when the approval is pending.";

#[test]
fn a_decision_that_waits() {
    let execution = || "4f1a9c2e".to_owned();
    let at_position = |position| waiting_for(ExecutionWait::Execution { execution: execution(), position });
    let stage = || "Build".to_owned();
    let later = |end| waiting_for(ExecutionWait::LaterExecution { execution: execution(), end });
    check(
        Reason::Waiting,
        WAITING,
        [
            (
                waiting_for(ExecutionWait::UnknownExecution),
                "CodePipeline does not know this execution of pipeline shop yet; it may be too new to be visible",
            ),
            (
                at_position(ExecutionPosition::InStage { stage: stage(), status: "InProgress".to_owned() }),
                "Execution 4f1a9c2e is in stage Build (InProgress)",
            ),
            (
                at_position(ExecutionPosition::AtApproval),
                "Execution 4f1a9c2e has reached the approval, but its token is not visible yet",
            ),
            (
                at_position(ExecutionPosition::PastApproval),
                "Execution 4f1a9c2e ended, and CodePipeline's history does not show the outcome of its approval yet",
            ),
            (
                at_position(ExecutionPosition::BeyondHistory),
                "Could not read the whole history of execution 4f1a9c2e; to respond to its approval, set spec.token",
            ),
            (at_position(ExecutionPosition::InProgress), "Execution 4f1a9c2e is in progress"),
            (
                later(ExecutionEnd::Failed),
                "Execution 4f1a9c2e ended (Failed) before its approval received a response; waiting for a later \
                 execution of this revision",
            ),
            (
                waiting_for(ExecutionWait::Several(vec![execution(), "7d20b1c4".to_owned()])),
                "2 executions of the source revision seem to be waiting for this approval (4f1a9c2e, 7d20b1c4); \
                 CodePipeline's history will confirm this within a minute",
            ),
            (
                waiting(Wait::RequestRefused),
                "CodePipeline refused the result for the request that was pending; the operator reads the pipeline \
                 again",
            ),
            (
                waiting(Wait::ReadablePipeline { detail: "the connection broke".to_owned(), since: at(0) }),
                "Could not read the pipeline at 2026-07-01T12:00:00Z (the connection broke); retrying",
            ),
        ],
    );
    let by_revision = |action: Option<&str>| {
        fresh().with(|decision| {
            let action_name = action.map(str::to_owned);
            decision.spec.token = None;
            decision.spec.source_revision = Some(SourceRevision { revision_id: "9b1f6d3".to_owned(), action_name });
        })
    };
    let no_execution = || waiting_for(ExecutionWait::NoExecution { newest: Vec::new() });
    for (action, of_action) in [(None, ""), (Some("Source"), " of source action Source")] {
        let expected = format!("No execution of pipeline shop has the source revision 9b1f6d3{of_action} yet");
        check_for(&by_revision(action), Reason::Waiting, WAITING, [(no_execution(), expected.as_str())]);
    }
}

#[test]
fn a_submission_in_flight() {
    let detail = || "the connection broke".to_owned();
    check(
        Reason::Submitting,
        "Wait: this takes a moment.",
        [(submitting(), "Attempt 1 to submit Approved is in flight")],
    );
    check(
        Reason::Unconfirmed,
        "Wait: the operator settles this automatically once it can read CodePipeline's history.",
        [
            (
                unconfirmed(UnconfirmedCause::ResponseLost(detail()), None),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved: the response \
                 was lost (the connection broke)",
            ),
            (
                unconfirmed(UnconfirmedCause::HistoryUnreadable(detail()), None),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved: \
                 CodePipeline's history could not be read (the connection broke)",
            ),
            (
                unconfirmed(UnconfirmedCause::NotInHistory, None),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved: \
                 CodePipeline's history does not show it yet",
            ),
            (
                unconfirmed(UnconfirmedCause::RetryFailed(detail()), None),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved: the next \
                 attempt failed (the connection broke)",
            ),
            (
                unconfirmed(UnconfirmedCause::HistoryUnreadable(detail()), Some(already_completed())),
                "CodePipeline says that the approval is already completed; its outcome has been unknown since \
                 2026-07-01T12:00:00Z: CodePipeline's history could not be read (the connection broke)",
            ),
        ],
    );
}

#[test]
fn a_retry() {
    for (cause, remedy) in [
        (
            RetryCause::Throttled,
            "No action needed; if this continues, request a higher CodePipeline quota for the account.",
        ),
        (
            RetryCause::AccessDenied,
            "Allow it in the IAM policy of the operator's role; the operator retries automatically.",
        ),
        (
            RetryCause::CredentialsUnavailable,
            "Give the operator a region and credentials (IRSA, EKS Pod Identity or AWS_* variables); the operator \
             retries automatically.",
        ),
        (
            RetryCause::ServiceUnavailable,
            "Check the network between the operator and CodePipeline, and that the operator's CA bundle \
             (SSL_CERT_FILE) contains the issuer of the certificate; the operator retries automatically.",
        ),
    ] {
        let rows = [
            (retrying(cause), "Attempt 2 to submit Approved failed and was not applied (not now)"),
            (
                unreadable(cause),
                "The operator has been unable to read the pipeline since 2026-07-01T12:00:00Z (the connection broke)",
            ),
        ];
        check(cause.into(), remedy, rows);
    }
}

#[test]
fn a_message_has_one_sentence_for_what_happened_and_one_for_what_to_do_and_no_token() {
    let decision = fresh().in_doubt();
    for outcome in outcomes() {
        let message = message(&decision, &outcome);
        let (what_happened, remedy) = message.split_once(". ").expect("two sentences");
        assert_eq!(remedy, outcome.reason().remedy());
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
    let by_id = by_id.with(|decision| {
        decision.spec.token = None;
        decision.spec.pipeline_execution_id = Some(PipelineExecutionId("4f1a9c2e".to_owned()));
    });
    assert_eq!(message(&by_id, &quoting(token())), expected, "the token of the submission");
}
