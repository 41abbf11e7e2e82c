//! The rules of the target: whether a decision may use it, before anything is read or sent, and what recovery may read.

use super::*;
use crate::api::v1alpha1::{ApprovalTarget, Location, NamespaceSelector, Namespaces, TargetRef};
use crate::decision::conflict::{RejectedRequests, Rejection};
use crate::decision::outcome::Requeue;
use crate::decision::target::{
    AmbientCredentials, FailureCause, Forbidden, RejectionLocation, TargetProblem, TargetsUnavailable, Unverified,
    Verification, VerifyFailure, rejection_location,
};
use crate::decision::test_fixtures::targets::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A decision that names the target.
fn through_target() -> ApprovalDecision {
    fresh().with(|decision| decision.spec.target_ref = Some(reference()))
}

fn guarded(account: Option<&str>, region: Option<&str>) -> ApprovalDecision {
    let (account_id, region) = (account.map(str::to_owned), region.map(str::to_owned));
    fresh().with(|decision| decision.spec.target_ref = Some(TargetRef { account_id, region, ..reference() }))
}

/// The decision found its request there.
fn pinned(decision: ApprovalDecision, location: Location) -> ApprovalDecision {
    decision.with_reason(Reason::Waiting).with_status(|status| status.set_location(Some(location)))
}

/// The submission went through the target, in a session of the decision.
fn sent_through_target(decision: ApprovalDecision) -> ApprovalDecision {
    decision.with(|decision| decision.spec.target_ref = Some(reference())).with_status(|status| {
        if let Some(submission) = &mut status.submission {
            submission.target = Some("prod".to_owned());
            submission.session_name = Some("team.release.4a49acf8a6".to_owned());
        }
    })
}

fn beside(target: TargetObservation, case: Case) -> Case {
    Case { target: Some(target), ..case }
}

fn read_in(location: Location, pipeline: TestPipeline) -> TestPipeline {
    TestPipeline { location: Some(location), ..pipeline }
}

fn admitting_nothing(location: Location) -> ApprovalTarget {
    let mut target = target(location);
    target.spec.access.clear();
    target
}

/// The labels of the namespace, on which this depends, cannot be read.
fn admitting_by_labels(location: Location) -> ApprovalTarget {
    let match_labels = [("team".to_owned(), "payments".to_owned())].into();
    let mut target = target(location);
    target.spec.access[0].namespaces = Namespaces {
        names: Vec::new(),
        selector: Some(NamespaceSelector { match_labels, match_expressions: Vec::new() }),
    };
    target
}

fn being_deleted(location: Location) -> ApprovalTarget {
    let mut target = target(location);
    target.metadata.deletion_timestamp = Some(Time(at(1)));
    target
}

fn unknown_to_this_version(location: Location) -> ApprovalTarget {
    let mut target = target(location);
    target.spec.unsupported = Some("spec.access[0].stages".to_owned());
    target
}

fn problem_until(problem: TargetProblem, requeue: Requeue) -> Step {
    write(Outcome::TargetProblem { problem, requeue })
}

fn problem(problem: TargetProblem) -> Step {
    problem_until(problem, Requeue::AwaitChange)
}

fn forbidden(forbidden: Forbidden) -> Step {
    problem(TargetProblem::Forbidden(forbidden))
}

fn moved(pinned: Location, found: Location) -> Step {
    forbidden(Forbidden::Pinned { pinned, found })
}

fn through(step: Step) -> Step {
    let Step::RecordIntent(mut intent) = step else { panic!("it is not an intent") };
    intent.submission.target = Some("prod".to_owned());
    intent.submission.session_name = Some("team.release.4a49acf8a6".to_owned());
    Step::RecordIntent(intent)
}

fn denied() -> Unverified {
    Unverified::Failed(VerifyFailure { cause: FailureCause::AssumeRoleDenied, message: "not trusted".to_owned() })
}

fn unverified(target: ApprovalTarget, why: Unverified) -> TargetObservation {
    found_as(target, Verification::Unverified(why))
}

#[test]
fn a_target_is_looked_for_before_anything_else_happens() {
    let unknown = |case| Case { target: None, ..case };
    rows! {
        "with a token": unknown(given(through_target(), 5)) => Step::FindTarget;
        "without a target": unknown(given(fresh(), 5)) => Step::FindTarget;
        "by execution, before the pipeline is read": unknown(given(by_id("E1"), 5)) => Step::FindTarget;
        "before a submission in doubt is recovered": unknown(given(fresh().in_doubt(), 25)) => Step::FindTarget;
        "not for a decision that is final": unknown(given(fresh().with_reason(Reason::Delivered), 5)) => Step::AwaitChange;
        "nor for one that is being deleted": unknown(given(through_target().deleted(), 5)) => Step::AwaitChange;
        "nor for one that is not valid": unknown(given(through_target().naming_nothing(), 5)) => write(Outcome::Invalid(InvalidSpec::Binding));
    }
}

#[test]
fn a_decision_that_its_target_admits_is_submitted_through_it() {
    let ready = || found(target(here()));
    rows! {
        "with a token": beside(ready(), given(through_target(), 5)) => through(first_attempt(5));
        "the guards are met":
            beside(ready(), given(guarded(Some("111122223333"), Some("eu-west-1")), 5)) => through(first_attempt(5));
        "it was found there before": beside(ready(), given(pinned(through_target(), here()), 5)) => through(first_attempt(5));
        "by execution, the pipeline is read": beside(ready(), given(pinned(by_id("E1"), here()).with(|decision| decision.spec.target_ref = Some(reference())), 5)) => read_until(WEEK);
    }
}

#[test]
fn the_first_problem_with_a_target_is_reported_before_anything_else() {
    let not_ready = |why: Unverified| problem(TargetProblem::NotVerified(why));
    let not_admitted = || forbidden(Forbidden::NotAdmitted);
    let elsewhere_than = |found| forbidden(Forbidden::Guarded { found });
    let case = || given(through_target(), 5);
    let late = || given(through_target().not_after(at(1)).suspended(), 5);
    rows! {
        "it does not exist": beside(TargetObservation::NotFound, case()) => problem(TargetProblem::NotFound);
        "it is being deleted": beside(found(being_deleted(here())), case()) => problem(TargetProblem::BeingDeleted);
        "… which comes before notAfter and suspend": beside(TargetObservation::NotFound, late()) => problem(TargetProblem::NotFound);
        "the targets cannot be listed":
            beside(TargetObservation::Unavailable(TargetsUnavailable::NotListed), case())
            => problem(TargetProblem::Unavailable(TargetsUnavailable::NotListed));
        "it is not verified yet": beside(unverified(target(here()), Unverified::Pending), case()) => not_ready(Unverified::Pending);
        "it cannot be verified": beside(unverified(target(here()), denied()), case()) => not_ready(denied());
        "who is not admitted does not learn that it is not ready":
            beside(unverified(admitting_nothing(here()), denied()), case()) => not_admitted();
        "… nor where it is": beside(found(admitting_nothing(here())), given(guarded(Some("999999999999"), None), 5)) => not_admitted();
        "… nor that it moved": beside(found(admitting_nothing(here())), given(pinned(through_target(), elsewhere()), 5)) => not_admitted();
        "this version does not know all of it": beside(found(unknown_to_this_version(here())), case()) => not_admitted();
        "another pipeline": beside(found(target(here())), given(through_target().with(|decision| decision.spec.pipeline_name = "billing".to_owned()), 5)) => not_admitted();
        "another account than the guard": beside(found(target(here())), given(guarded(Some("999999999999"), None), 5)) => elsewhere_than(here());
        "another region than the guard":
            beside(unverified(target(here()), denied()), given(guarded(None, Some("us-east-1")), 5)) => elsewhere_than(here());
    }
}

#[test]
fn a_target_that_was_created_again_elsewhere_does_not_move_a_decision() {
    let moved_target = || found(target(elsewhere()));
    let found_here = || pinned(through_target(), here());
    rows! {
        "it is where another request is": beside(moved_target(), given(found_here(), 5)) => moved(here(), elsewhere());
        "also while it is not ready": beside(unverified(target(elsewhere()), Unverified::Pending), given(found_here(), 5)) => moved(here(), elsewhere());
        "an edit releases it": beside(moved_target(), given(found_here().edited(), 5)) => through(first_attempt(5));
        "so does the annotation": beside(moved_target(), given(found_here().annotated("now"), 5)) => through(first_attempt(5));
        "one that never was admitted is not pinned": beside(moved_target(), given(through_target().with_reason(Reason::TargetForbidden), 5)) => through(first_attempt(5));
        "a poll of another account than the target's is not used":
            beside(found(target(here())), given(through_target(), 5).polled(&read_in(elsewhere(), pipeline())))
            => problem_until(TargetProblem::OtherLocation { found: elsewhere(), expected: here() }, Requeue::At(at(20)));
    }
}

#[test]
fn a_decision_without_a_target_may_use_the_own_identity_only_where_no_target_is() {
    let required = || problem(TargetProblem::RequiredBy("target-0".to_owned()));
    let disabled =
        TargetObservation::Own { ambient: AmbientCredentials::Disabled, location: None, targets: Arc::default() };
    let own_at = |location: Location| own_as(Some(location), &[here()]);
    let poll_of = |location| read_in(location, pipeline());
    let other_location = |pinned: Location, found: Location| {
        let requeue = Requeue::OnPipelineChange { recheck_at: Some(at(65)), until: at(125) };
        problem_until(TargetProblem::Forbidden(Forbidden::Pinned { pinned, found }), requeue)
    };
    rows! {
        "no target exists, and nothing is known": beside(own(), given(fresh(), 5)) => first_attempt(5);
        "a target has the same account and region": beside(own_at(here()), given(fresh(), 5)) => required();
        "a target is elsewhere": beside(own_at(elsewhere()), given(fresh(), 5)) => first_attempt(5);
        "it is not known whether one is":
            beside(own_as(None, &[here()]), given(fresh(), 5)) => problem_until(TargetProblem::OwnUnknown, Requeue::At(at(20)));
        "the poll shows that one is":
            beside(own_as(None, &[here()]), given(by_id("E1"), 5).polled(&poll_of(here()))) => required();
        "the flag requires one": beside(disabled, given(fresh(), 5)) => problem(TargetProblem::RequiredByFlag);
        "Stalled, it is evaluated again": beside(own_at(elsewhere()), given(fresh().with_reason(Reason::TargetRequired), 5)) => first_attempt(5);
        "what settled it is not touched":
            beside(own_at(here()), given(fresh().with_reason(Reason::AlreadyDecided), 5)) => Step::AwaitChange;
        "the operator has other credentials than before":
            beside(own(), given(pinned(by_id("E1"), here()), 5).polled(&poll_of(elsewhere()))) => other_location(here(), elsewhere());
        "… and a token needs no poll for that": beside(own_as(Some(elsewhere()), &[]), given(pinned(fresh(), here()), 5)) => other_location(here(), elsewhere());
    }
}

#[test]
fn the_rules_hold_again_before_the_request_leaves() {
    let recorded = |prior: PriorAttempts| {
        let decision = sent_through_target(fresh().with_reason(Reason::Submitting).submitted(1, 0, 25));
        let submission = decision.status.clone().and_then(|status| status.submission).expect("a submission");
        let intent = Intent { submission, ..intent(1, 0, 25, prior) };
        Case { attempt: Attempt::IntentRecorded(intent), ..given(decision, 1) }
    };
    let without_role = || {
        let mut target = target(here());
        target.spec.role_arn = None;
        target
    };
    let Attempt::IntentRecorded(sent) = recorded(NotApplied).attempt else { panic!("it is recorded") };
    let unattributed =
        Submission { session_name: None, start_time: at(1), deadline: at(26), ..sent.submission.clone() };
    rows! {
        "the target is looked for again": Case { target: None, ..recorded(NotApplied) } => Step::FindTarget;
        "it still admits the decision":
            beside(found(target(here())), recorded(NotApplied)) => Step::Send { intent: sent.clone(), send_deadline: at(5) };
        "it no longer does": beside(found(admitting_nothing(here())), recorded(NotApplied)) => forbidden(Forbidden::NotAdmitted);
        "… while an earlier attempt is in doubt": beside(found(admitting_nothing(here())), recorded(InDoubt)) => wait(25);
        "it is gone": beside(TargetObservation::NotFound, recorded(NotApplied)) => problem(TargetProblem::NotFound);
        "it no longer has a role, so the request has no session name":
            beside(found(without_role()), recorded(NotApplied)) => Step::RecordIntent(Intent { submission: unattributed, ..sent });
    }
}

#[test]
fn a_submission_in_doubt_is_recovered_through_its_own_target_alone() {
    let in_doubt = || sent_through_target(fresh().in_doubt());
    let approved = || {
        read_in(here(), completed_request(&CompletedApproval { by: Some(ours()), ..completed_approval(Approved, 9) }))
    };
    let completed = |target| beside(target, given(in_doubt(), 25).polled(&approved()));
    let at_30 = |cause| unconfirmed(cause, unknown_ids(), 40);
    let denied_now = || unverified(admitting_nothing(here()), denied());
    let record = CompletedApproval { by: Some(ours()), ..completed_approval(Approved, 9) };
    let no_trace = |target| beside(target, given(in_doubt(), 85).polled(&read_in(here(), pipeline())));
    let Step::WriteStatus(Outcome::Unconfirmed { cause, .. }) = no_trace(denied_now()).step() else {
        panic!("it is not Unconfirmed")
    };
    assert_eq!(cause, UnconfirmedCause::NoTraceAtTarget(Box::new(TargetProblem::Forbidden(Forbidden::NotAdmitted))));
    rows! {
        "it reads although the target no longer admits the decision": beside(denied_now(), given(in_doubt(), 25)) => read_until(85);
        "… and settles": completed(denied_now()) => delivered_by(record.clone());
        "the target is gone": beside(TargetObservation::NotFound, given(in_doubt(), 25)) => at_30(UnconfirmedCause::TargetNotFound);
        "… also if there is a poll": completed(TargetObservation::NotFound) => at_30(UnconfirmedCause::TargetNotFound);
        "the target is elsewhere now": completed(found(target(elsewhere()))) => at_30(UnconfirmedCause::TargetElsewhere(elsewhere()));
        "an edit to another target changes nothing":
            beside(TargetObservation::NotFound, given(in_doubt().edited().with(|decision| decision.spec.target_ref = None), 25))
            => at_30(UnconfirmedCause::TargetNotFound);
        "it is pending: sending again is not exempt":
            beside(denied_now(), given(in_doubt(), 25).polled(&read_in(here(), pending_request())))
            => forbidden(Forbidden::NotAdmitted);
    }
}

/// The caller of the decision's session.
fn ours() -> String {
    "arn:aws:sts::111122223333:assumed-role/approver/team.release.4a49acf8a6".to_owned()
}

fn pending_request() -> TestPipeline {
    pipeline().shows(&token().0, Some(token()), IN_PROGRESS)
}

#[test]
fn the_session_name_tells_our_result_from_the_same_words_of_someone_else_in_the_same_second() {
    let ready = || found(target(here()));
    let in_doubt = || sent_through_target(fresh().in_doubt());
    let by = |by: &str| CompletedApproval { by: Some(by.to_owned()), ..completed_approval(Approved, 9) };
    let completed = |record: &CompletedApproval| {
        beside(ready(), given(in_doubt(), 25).polled(&read_in(here(), completed_request(record))))
    };
    let twin = "arn:aws:sts::111122223333:assumed-role/approver/team.release.uid-2";
    let reads = "arn:aws:sts::111122223333:assumed-role/approver/approval-operator";
    let late = CompletedApproval { at: Some(at(60)), ..by(&ours()) };
    let early = CompletedApproval { at: Some(at(-11)), ..by(&ours()) };
    let reworded = CompletedApproval { summary: Some("other words".to_owned()), ..by(&ours()) };
    let nobody = CompletedApproval { by: None, ..completed_approval(Approved, 9) };
    let no_session = in_doubt().with_status(|status| {
        if let Some(submission) = &mut status.submission {
            submission.session_name = None;
        }
    });
    rows! {
        "ours": completed(&by(&ours())) => delivered_by(by(&ours()));
        "the summary does not matter": completed(&reworded) => delivered_by(reworded.clone());
        "nor does it matter how late it is": completed(&late) => delivered_by(late.clone());
        "but it cannot be older than the attempt": completed(&early) => already_decided(early.clone(), None);
        "another decision in the same second": completed(&by(twin)) => already_decided(by(twin), None);
        "another session of the operator": completed(&by(reads)) => already_decided(by(reads), None);
        "a user": completed(&by(ADA)) => already_decided(by(ADA), None);
        "who responded was not read: the words and the time decide": completed(&nobody) => delivered_by(nobody.clone());
        "the request had no session: the words and the time decide":
            beside(ready(), given(no_session, 25).polled(&read_in(here(), completed_request(&by(ADA))))) => delivered_by(by(ADA));
    }
}

#[test]
fn an_accepted_submission_of_another_location_does_not_settle_the_same_token() {
    let delivered = || sent_through_target(fresh().with_reason(Reason::Delivered).submitted(1, 0, 25)).edited();
    let Step::RecordIntent(second) = through(first_attempt(5)) else { panic!("it is an intent") };
    let second = Submission { attempts: 1, ..second.submission };
    rows! {
        "the same account and region": beside(found(target(here())), given(delivered(), 5)) => write(Outcome::Delivered { approved_at: None, record: None });
        "another account":
            beside(found(target(elsewhere())), given(delivered(), 5))
            => Step::RecordIntent(Intent { submission: second.clone(), ..intent(1, 5, 30, NotApplied) });
    }
}

#[test]
fn a_rejection_counts_where_it_may_be_about_the_same_account_and_region() {
    let rejection = |location: RejectionLocation| Rejection {
        namespace: "team".to_owned(),
        name: "stop".to_owned(),
        requests: RejectedRequests::Token(token()),
        not_after: None,
        location,
    };
    let is_held = |target: TargetObservation, location: RejectionLocation| {
        let rejections = Some(Rejections::Listed(vec![rejection(location)]));
        let decision = if matches!(target, TargetObservation::Own { .. }) { fresh() } else { through_target() };
        let case = Case { rejections, ..beside(target, given(decision, 5)) };
        matches!(case.step(), Step::WriteStatus(Outcome::Conflicting { .. }))
    };
    let ready = || found(target(here()));
    assert!(is_held(ready(), RejectionLocation::At(here())), "another target in the same account and region");
    assert!(is_held(ready(), RejectionLocation::Unknown));
    assert!(!is_held(ready(), RejectionLocation::At(elsewhere())));
    assert!(!is_held(ready(), RejectionLocation::NotAdmitted));
    assert!(is_held(own(), RejectionLocation::At(elsewhere())), "the operator's own location is not known");
    assert!(!is_held(own_as(Some(here()), &[]), RejectionLocation::At(elsewhere())));
    assert_eq!(rejection(RejectionLocation::Unknown).at(RejectionLocation::NotAdmitted), None);
}

#[test]
fn the_location_of_a_rejection_follows_from_its_target() {
    let at_here = || RejectionLocation::At(here());
    let unknown_field =
        fresh().with(|decision| decision.spec.unsupported = Some(Unsupported::SpecField("x".to_owned())));
    let disabled =
        TargetObservation::Own { ambient: AmbientCredentials::Disabled, location: None, targets: Arc::default() };
    let beside_target = Arc::new(BTreeMap::from([("prod".to_owned(), here())]));
    let own = |location, targets| TargetObservation::Own { ambient: AmbientCredentials::Enabled, location, targets };
    for (decision, target, expected) in [
        (through_target(), found(target(here())), at_here()),
        (through_target(), unverified(target(here()), denied()), at_here()),
        (through_target(), found(admitting_nothing(here())), RejectionLocation::NotAdmitted),
        (through_target(), found(admitting_by_labels(here())), at_here()),
        (guarded(Some("999999999999"), None), found(admitting_by_labels(here())), RejectionLocation::NotAdmitted),
        (through_target(), found(unknown_to_this_version(here())), at_here()),
        (through_target(), TargetObservation::NotFound, RejectionLocation::NotAdmitted),
        (pinned(through_target(), here()), TargetObservation::NotFound, at_here()),
        (through_target(), found(being_deleted(here())), RejectionLocation::NotAdmitted),
        (pinned(through_target(), here()), found(being_deleted(here())), at_here()),
        (through_target(), TargetObservation::Unavailable(TargetsUnavailable::WatchBroken), RejectionLocation::Unknown),
        (guarded(Some("999999999999"), None), found(target(here())), RejectionLocation::NotAdmitted),
        (pinned(through_target(), here()), found(target(elsewhere())), at_here()),
        (unknown_field, found(admitting_nothing(here())), RejectionLocation::Unknown),
        (fresh(), own(Some(here()), Arc::default()), at_here()),
        (fresh(), own(None, Arc::default()), RejectionLocation::Unknown),
        (fresh(), own(None, beside_target.clone()), RejectionLocation::Unknown),
        (fresh(), own(Some(here()), beside_target), RejectionLocation::NotAdmitted),
        (fresh(), disabled, RejectionLocation::NotAdmitted),
    ] {
        assert_eq!(rejection_location(&decision, &target), expected, "{decision:?} {target:?}");
    }
}
