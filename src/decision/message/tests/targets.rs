//! Messages about targets.

use super::*;
use crate::api::v1alpha1::{ApprovalTarget, TargetRef};
use crate::decision::target::{FailureCause, Forbidden, TargetProblem, TargetsUnavailable, Unverified, VerifyFailure};
use crate::decision::test_fixtures::outcomes::{target_problem, unconfirmed};
use crate::decision::test_fixtures::targets::{elsewhere, here, reference};

fn through_target() -> ApprovalDecision {
    fresh().with(|decision| decision.spec.target_ref = Some(reference()))
}

fn text(decision: &ApprovalDecision, problem: TargetProblem) -> String {
    Message::new(decision, &target_problem(problem)).within(1024)
}

#[test]
fn what_is_wrong_with_a_target_and_what_to_do() {
    let failed = VerifyFailure { cause: FailureCause::AssumeRoleDenied, message: "not trusted".to_owned() };
    let guarded = fresh().with(|decision| {
        decision.spec.target_ref = Some(TargetRef { account_id: Some("999999999999".to_owned()), ..reference() });
    });
    for (decision, problem, expected) in [
        (
            through_target(),
            TargetProblem::NotFound,
            "ApprovalTarget \"prod\" (spec.targetRef.name) does not exist. Correct spec.targetRef.name, or create the \
             ApprovalTarget.",
        ),
        (
            through_target(),
            TargetProblem::Forbidden(Forbidden::NotAdmitted),
            "ApprovalTarget \"prod\" (spec.targetRef.name) does not admit namespace team, pipeline shop and result Approved \
             together. Correct spec, or ask an administrator for an access entry in the ApprovalTarget.",
        ),
        (
            guarded,
            TargetProblem::Forbidden(Forbidden::Guarded { found: here() }),
            "ApprovalTarget \"prod\" (spec.targetRef.name) has account 111122223333, region eu-west-1, and spec.targetRef asks \
             for accountId 999999999999. Correct spec.targetRef.",
        ),
        (
            through_target(),
            TargetProblem::Forbidden(Forbidden::Pinned { pinned: here(), found: elsewhere() }),
            "The operator found the request of this decision in account 111122223333, region eu-west-1 (status.accountId, \
             status.region), and ApprovalTarget \"prod\" (spec.targetRef.name) now has account 444455556666, region eu-west-1. \
             If the decision is meant for the new account and region, change the annotation codepipeline.approvals.dev/requestedAt.",
        ),
        (
            through_target(),
            TargetProblem::NotVerified(Unverified::Pending),
            "ApprovalTarget \"prod\" (spec.targetRef.name) is not ready: the operator has not verified it with STS yet. Wait: \
             the operator continues automatically.",
        ),
        (
            fresh(),
            TargetProblem::RequiredBy("prod".to_owned()),
            "spec.targetRef is not set, and ApprovalTarget \"prod\" has the operator's own account and region. Set \
             spec.targetRef.name to an ApprovalTarget.",
        ),
        (
            fresh(),
            TargetProblem::RequiredByFlag,
            "spec.targetRef is not set, and this operator runs with --ambient-credentials=false. Set spec.targetRef.name to an \
             ApprovalTarget.",
        ),
        (
            fresh(),
            TargetProblem::OwnUnknown,
            "The operator's own AWS account and region, which may be those of an ApprovalTarget, are not known yet. Set \
             spec.targetRef.name to an ApprovalTarget, or wait: the operator continues automatically.",
        ),
        (
            through_target(),
            TargetProblem::Unavailable(TargetsUnavailable::Refused("approvaltargets is forbidden".to_owned())),
            "The operator is not allowed to list ApprovalTargets (approvaltargets is forbidden). Allow the operator to list and \
             watch approvaltargets, or run it with --approval-targets=false if none is used.",
        ),
        (
            through_target(),
            TargetProblem::Unavailable(TargetsUnavailable::Disabled),
            "spec.targetRef is set, and this operator runs with --approval-targets=false. Remove spec.targetRef, or run the \
             operator without --approval-targets=false.",
        ),
        (
            through_target(),
            TargetProblem::Unavailable(TargetsUnavailable::WatchBroken),
            "The operator's watch on ApprovalTargets has failed for too long. Check the API server and the operator's log; the \
             operator continues automatically.",
        ),
        (
            through_target(),
            TargetProblem::LabelsUnknown,
            "ApprovalTarget \"prod\" (spec.targetRef.name) selects namespaces by labels, and the operator cannot read those of \
             namespace team. Allow the operator to list and watch namespaces; it continues automatically.",
        ),
    ] {
        assert_eq!(text(&decision, problem), expected);
    }
    let denied = text(&through_target(), TargetProblem::NotVerified(Unverified::Failed(failed)));
    let expected =
        "ApprovalTarget \"prod\" (spec.targetRef.name) is not ready: AssumeRoleDenied (not trusted). Correct ";
    assert!(denied.starts_with(expected), "{denied}");
}

/// CodePipeline refuses what the role may not do. STS refuses only the session of the decision: the target itself is verified.
#[test]
fn who_denies_the_access_decides_what_to_do() {
    let by_codepipeline = retrying(RetryCause::AccessDenied);
    let mut by_sts = by_codepipeline.clone();
    if let Outcome::Retrying { exception, .. } = &mut by_sts {
        *exception = None;
    }
    let what_happened =
        "Attempt 2 to submit Approved failed and was not applied (not now); next attempt at 2026-07-01T12:00:04Z";
    for (outcome, remedy) in [
        (
            by_codepipeline,
            "Allow it in the IAM policy of the role of the ApprovalTarget; the operator retries automatically.",
        ),
        (
            by_sts,
            "Allow the session name NAMESPACE.* (sts:RoleSessionName) in the trust policy of this role; the operator \
             retries automatically.",
        ),
    ] {
        check_for(&through_target(), Reason::AccessDenied, remedy, [(outcome, what_happened)]);
    }
}

/// The target's account, role and access entries are for those that it admits.
#[test]
fn who_is_not_admitted_learns_nothing_about_the_target() {
    let text = text(&through_target(), TargetProblem::Forbidden(Forbidden::NotAdmitted));
    let ApprovalTarget { spec, .. } = crate::decision::test_fixtures::targets::target(here());
    let role = spec.role_arn.unwrap_or_default();
    for secret in [spec.account_id.as_str(), spec.region.as_str(), role.as_str(), "ops"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_submission_in_doubt_whose_target_is_gone_or_moved() {
    let in_doubt = through_target().in_doubt().with_status(|status| {
        if let Some(submission) = &mut status.submission {
            submission.target = Some("prod".to_owned());
        }
    });
    let text = |cause| Message::new(&in_doubt, &unconfirmed(cause)).within(1024);
    let since = "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved";
    let sent = "it was sent to account 111122223333, region eu-west-1 through ApprovalTarget \"prod\"";
    let restore = "Restore the ApprovalTarget as it was: the operator settles this once it can read the history there.";
    assert_eq!(text(UnconfirmedCause::TargetNotFound), format!("{since}: {sent}, which does not exist now. {restore}"));
    assert_eq!(
        text(UnconfirmedCause::TargetElsewhere(elsewhere())),
        format!("{since}: {sent}, which now has account 444455556666, region eu-west-1. {restore}")
    );
    let refused = text(UnconfirmedCause::NoTraceAtTarget(Box::new(TargetProblem::Forbidden(Forbidden::NotAdmitted))));
    assert!(
        refused.contains("shows no trace of it, and the operator may not send it again now: ApprovalTarget"),
        "{refused}"
    );
}
