//! Every message, literally. Each one is a row under its reason, whose remedy ends it.

use super::{
    ApprovalDecision, Caveat, CompletedApproval, Exception, ExecutionWait, Expiry, InvalidSpec, Message, Outcome,
    PriorAttempts, Token, UnconfirmedCause, Unsupported, Wait,
};
use crate::api::conditions::MAX_MESSAGE;
use crate::api::v1alpha1::ApprovalStatus::{Approved, Rejected};
use crate::api::v1alpha1::Reason;
use crate::codepipeline::{ExecutionEnd, ExecutionIds, Refusal, RetryCause};
use crate::decision::resolve::{Ambiguity, ExecutionPosition, Missing};
use crate::decision::test_fixtures::outcomes::*;
use crate::decision::test_fixtures::*;

mod additions;
mod details;
mod executions;
mod names;
mod targets;

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
    let of_other = CompletedApproval { decision: Some("release-41".to_owned()), ..completed_approval(Approved, 0) };
    let incomplete = CompletedApproval { at: None, by: None, ..completed_approval(Approved, 0) };
    check(
        Reason::AlreadyDecided,
        "No action needed.",
        [
            (
                already_decided(),
                "The approval had already been approved by arn:aws:iam::111122223333:user/ada at 2026-07-01T12:00:00Z",
            ),
            (
                Outcome::AlreadyDecided { record: incomplete, open: None, exception: None },
                "The approval had already been approved",
            ),
            (
                Outcome::AlreadyDecided { record: of_other, open: None, exception: None },
                "The approval had already been approved by decision release-41 of this namespace \
                 (arn:aws:iam::111122223333:user/ada) at 2026-07-01T12:00:00Z",
            ),
        ],
    );
}

const INVALID_TOKEN: &str = "Set spec.token to the token of the request that is pending.";

const ALREADY_COMPLETED: &str = "Check the pipeline's history; to answer a later request, set spec.token to its token.";

const EXPIRED: &str = "If the result is still wanted, set spec.notAfter to a later time.";

#[test]
fn a_result_that_codepipeline_refused() {
    check(
        Reason::InvalidApprovalToken,
        INVALID_TOKEN,
        [(invalid_token(), "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline")],
    );
    check(
        Reason::ApprovalAlreadyCompleted,
        ALREADY_COMPLETED,
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
                refused(Refusal::ApprovalAlreadyCompleted, None, Some(completed_approval(None, 0))),
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
        "Correct spec.pipelineName or spec.targetRef, or the operator's AWS account and region.",
        [(
            refused(Refusal::PipelineNotFound, Some(exception("PipelineNotFound")), None),
            "CodePipeline raised PipelineNotFoundException: message of CodePipeline; the operator sent the result to account \
             111122223333, region eu-west-1",
        )],
    );
}

#[test]
fn an_edit_that_asks_for_what_was_delivered() {
    let edited = fresh().with_reason(Reason::Delivered).submitted(1, 0, 25).with_ids(ids()).edited();
    let decided = Outcome::AlreadyDecided { record: completed_approval(Approved, 2), open: None, exception: None };
    let expected = "CodePipeline accepted the result Approved of this decision at 2026-07-01T12:00:02Z, before its last \
                    edit";
    check_for(&edited, Reason::AlreadyDecided, "No action needed.", [(decided, expected)]);
}

#[test]
fn an_invalid_token_where_there_is_no_summary_may_mean_that_one_is_required() {
    let remedy = "Set spec.result.summary if the action requires one; otherwise name the request that is pending.";
    let expected = "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline; the action may require a \
                    summary, and spec.result.summary is empty";
    let without = fresh().with_result(Approved, "");
    check_for(&without, Reason::InvalidApprovalToken, remedy, [(invalid_token(), expected)]);
    let by_id = fresh().naming_execution("4f1a9c2e");
    let remedy = "Check that the approval is pending, and change the annotation codepipeline.approvals.dev/requestedAt to try \
                  again.";
    let expected = "CodePipeline raised InvalidApprovalTokenException: message of CodePipeline";
    check_for(&by_id, Reason::InvalidApprovalToken, remedy, [(invalid_token(), expected)]);
}

#[test]
fn an_edit_of_the_result_that_came_too_late() {
    let delivered = fresh().with_reason(Reason::Delivered).submitted(1, 0, 25).with_ids(ids());
    let edited = delivered.edited().with_result(Rejected, "no");
    let refused = |record| refused(Refusal::ApprovalAlreadyCompleted, None, Some(record));
    let accepted = completed_approval(Approved, 2);
    let timeless = CompletedApproval { at: None, ..accepted.clone() };
    let of_others = CompletedApproval { ids: ids_of("other", "request"), ..accepted.clone() };
    check_for(
        &edited,
        Reason::ApprovalAlreadyCompleted,
        ALREADY_COMPLETED,
        [
            (refused(accepted), "Approved was accepted at 2026-07-01T12:00:02Z; the change to Rejected came too late"),
            (refused(timeless), "Approved was accepted; the change to Rejected came too late"),
            (
                refused(of_others),
                "CodePipeline did not accept the result Rejected from this decision; the approval had already been \
                 approved by arn:aws:iam::111122223333:user/ada at 2026-07-01T12:00:02Z",
            ),
        ],
    );
}

#[test]
fn a_decision_that_is_not_valid() {
    for (invalid, remedy, what_happened) in [
        (
            InvalidSpec::Binding,
            "Set exactly one of them.",
            "spec does not have exactly one of token, pipelineExecutionId and sourceRevisions",
        ),
        (
            InvalidSpec::NotATime { field: "notAfter", found: "2026-02-30T00:00:00Z".to_owned() },
            "Use RFC 3339, such as 2026-01-31T17:00:00Z.",
            "spec.notAfter is \"2026-02-30T00:00:00Z\", which is not a time",
        ),
        (
            InvalidSpec::FutureTime(at(60)),
            "Set it to a time in the past.",
            "spec.ignoreResponsesBefore is 2026-07-01T12:01:00Z, which is in the future",
        ),
        (
            InvalidSpec::Unsupported(Unsupported::SpecField("targetRef".to_owned())),
            "Upgrade the operator, or remove it.",
            "spec.targetRef is a field that this version of the operator does not know",
        ),
        (
            InvalidSpec::Unsupported(Unsupported::SpecValue("unknown variant `Postponed`".to_owned())),
            "Upgrade the operator, or remove it.",
            "spec has a value (unknown variant `Postponed`) that this version of the operator does not know",
        ),
        (
            InvalidSpec::Unsupported(Unsupported::Status("unknown variant `Perhaps`".to_owned())),
            "Upgrade the operator, or remove it.",
            "status has a value (unknown variant `Perhaps`) that this version of the operator does not know",
        ),
    ] {
        check(Reason::ValidationFailed, remedy, [(Outcome::Invalid(invalid), what_happened)]);
    }
}

#[test]
fn a_decision_that_is_not_submitted() {
    let not_after = || Expiry::NotAfter(at(60));
    let detail = || "AccessDeniedException: not allowed".to_owned();
    check(
        Reason::Expired,
        EXPIRED,
        [
            (
                expired(not_after(), None),
                "spec.notAfter (2026-07-01T12:01:00Z) passed before CodePipeline accepted a result; nothing more is \
                 sent",
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
        Reason::Expired,
        "To wait as long again, change the annotation codepipeline.approvals.dev/requestedAt; to wait longer, set \
         spec.notAfter, which replaces the limit.",
        [(
            expired(Expiry::WaitingLimit(at(60)), None),
            "The operator's waiting limit, counted from status.waitingSince, passed at 2026-07-01T12:01:00Z before \
             CodePipeline accepted a result; nothing more is sent",
        )],
    );
    check(
        Reason::Suspended,
        "Set spec.suspend to false to submit the result.",
        [(suspended(), "The result Approved is held back because spec.suspend is true")],
    );
    check(
        Reason::ConflictingDecision,
        "Delete, suspend or correct one of the two decisions.",
        [
            (
                conflicting(Some("stop")),
                "Decision stop of this namespace rejects the request that this decision approves; a rejection goes \
                 first",
            ),
            (
                conflicting(None),
                "A decision in another namespace rejects the request that this decision approves; a rejection goes \
                 first",
            ),
        ],
    );
}

#[test]
fn a_submission_in_flight() {
    check(
        Reason::Submitting,
        "Wait: this takes a moment.",
        [(submitting(), "Attempt 1 to submit Approved is in flight")],
    );
}

const UNCONFIRMED: &str = "Wait: the operator settles this automatically once it can read CodePipeline's history.";

#[test]
fn a_submission_whose_outcome_is_unknown() {
    let detail = || "the connection broke".to_owned();
    let since = "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved";
    for (cause, why) in [
        (UnconfirmedCause::ResponseLost(detail()), "the response was lost (the connection broke)"),
        (
            UnconfirmedCause::HistoryUnreadable(detail()),
            "CodePipeline's history could not be read (the connection broke)",
        ),
        (UnconfirmedCause::NotInHistory, "CodePipeline's history does not show it yet"),
        (UnconfirmedCause::RetryFailed(detail()), "the next attempt failed (the connection broke)"),
        (UnconfirmedCause::PipelineNotFound, "the pipeline does not exist now"),
        (
            UnconfirmedCause::NoTrace,
            "CodePipeline's history shows no trace of it, and the decision does not allow the operator to send it \
             again now",
        ),
    ] {
        check(Reason::Unconfirmed, UNCONFIRMED, [(unconfirmed(cause), &format!("{since}: {why}"))]);
    }
    let elsewhere = "it was sent to account 111122223333, region eu-west-1, and the operator now has credentials for \
                     another account or region";
    check(
        Reason::Unconfirmed,
        "Give the operator credentials for that account and region: it settles this once it can read the history there.",
        [(unconfirmed(UnconfirmedCause::OtherAccount), &format!("{since}: {elsewhere}"))],
    );
    let refused = |prior| unexplained(UnconfirmedCause::NotInHistory, already_completed(), prior);
    check(
        Reason::Unconfirmed,
        UNCONFIRMED,
        [
            (
                refused(PriorAttempts::NotApplied),
                "CodePipeline raised ApprovalAlreadyCompletedException: message of CodePipeline; the operator has not \
                 found the outcome of the request in CodePipeline's history yet",
            ),
            (
                refused(PriorAttempts::InDoubt),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved; the last \
                 attempt was refused (ApprovalAlreadyCompletedException): CodePipeline's history does not show it yet",
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
            "Check the AWS region, the network between the operator and CodePipeline, and that the operator's CA bundle \
             (SSL_CERT_FILE) contains the issuer of the certificate; the operator retries automatically.",
        ),
        (
            RetryCause::ClockSkew,
            "Synchronize the clock of the operator's node (NTP); the operator retries automatically.",
        ),
    ] {
        let rows = [
            (
                retrying(cause),
                "Attempt 2 to submit Approved failed and was not applied (not now); next attempt at \
                 2026-07-01T12:00:04Z",
            ),
            (
                retrying_until(cause, 4),
                "Attempt 2 to submit Approved failed and was not applied (not now); the decision expires before the \
                 next attempt",
            ),
            (
                unreadable(cause),
                "The operator has been unable to read the pipeline since 2026-07-01T12:00:00Z (the connection broke); \
                 retrying at least once a minute",
            ),
        ];
        check(cause.into(), remedy, rows);
    }
}
