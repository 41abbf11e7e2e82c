//! A rejection goes first: before an intent to approve is recorded, and again before its request leaves.

use super::*;
use crate::api::v1alpha1::PipelineExecutionId;
use crate::codepipeline::{ExecutionIds, PipelineExecution};
use crate::decision::conflict::RejectionMatch::{self, ExecutionUnknown, Same, SourcesUnknown, Unreadable};
use crate::decision::conflict::{RejectedRequests, Rejection};
use crate::decision::target::RejectionLocation;

fn rejection(requests: RejectedRequests) -> Rejection {
    Rejection {
        namespace: "team".to_owned(),
        name: "stop".to_owned(),
        requests,
        not_after: None,
        location: RejectionLocation::Unknown,
    }
}

fn of_token(token: crate::api::v1alpha1::Token) -> Rejection {
    rejection(RejectedRequests::Token(token))
}

fn of_execution(id: &str) -> Rejection {
    rejection(RejectedRequests::PipelineExecution(PipelineExecutionId(id.to_owned())))
}

fn of_revisions(entries: &[(Option<&str>, Option<&str>)]) -> Rejection {
    let entries = entries.iter().map(|(action, revision)| entry(*action, *revision)).collect();
    rejection(RejectedRequests::SourceRevisions(entries))
}

impl Case {
    fn with_rejections(self, rejections: impl Into<Vec<Rejection>>) -> Self {
        Self { rejections: Some(Rejections::Listed(rejections.into())), ..self }
    }
}

/// A decision with a token, beside this rejection.
fn beside(rejection: Rejection) -> Case {
    given(fresh(), 5).with_rejections([rejection])
}

fn held_as(found: RejectionMatch, ids: ExecutionIds, until: Timestamp) -> Step {
    write(Outcome::Conflicting { rejection: Some("stop".to_owned()), found, ids, until })
}

fn held_until(seconds: i64) -> Step {
    held_as(Same, unknown_ids(), at(seconds))
}

fn held() -> Step {
    held_until(WEEK)
}

/// The rejection names executions, and that of the request is not known.
fn held_without_execution() -> Step {
    held_as(ExecutionUnknown, unknown_ids(), at(WEEK))
}

/// The executions of the request are known.
fn held_with_ids() -> Step {
    held_as(Same, ids(), at(WEEK))
}

/// The first attempt, at second 5, to answer the request of [`ids`], whose execution was read.
fn found(pipeline: &TestPipeline) -> Step {
    let execution: Option<PipelineExecution> = pipeline.executions.first().cloned();
    record(Intent { execution, ..with_ids(intent(1, 5, 30, NotApplied), ids()) })
}

#[test]
fn an_approval_is_held_until_the_rejections_are_known() {
    let not_listed = || Some(Rejections::NotListed);
    rows! {
        "they are listed first": Case { rejections: None, ..given(fresh(), 5) } => Step::ListRejections;
        "a watch has not listed its decisions yet":
            Case { rejections: not_listed(), ..given(fresh(), 5) } => Step::AwaitChange;
        "there is none": given(fresh(), 5) => first_attempt(5);
        "a rejection waits for no other decision":
            Case { rejections: None, ..given(fresh().with_result(Rejected, SUMMARY), 5) }
            => match first_attempt(5) {
                Step::RecordIntent(mut intent) => {
                    intent.submission.result.status = Rejected;
                    Step::RecordIntent(intent)
                }
                step => step,
            };
    }
}

#[test]
fn a_rejection_of_the_same_token_goes_first() {
    let other_namespace = Rejection { namespace: "other".to_owned(), ..of_token(token()) };
    let until = |seconds| Rejection { not_after: Some(at(seconds)), ..of_token(token()) };
    rows! {
        "the same token": beside(of_token(token())) => held();
        "another token": beside(of_token(other_token())) => first_attempt(5);
        "a decision in another namespace is not named":
            beside(other_namespace) => write(Outcome::Conflicting { rejection: None, found: Same, ids: unknown_ids(), until: at(WEEK) });
        "one that this version cannot read may mean any request": beside(rejection(RejectedRequests::Any)) => read_until(WEEK);
        "… and holds back every approval of the action":
            beside(rejection(RejectedRequests::Any)).polled(&pending_request())
            => held_as(Unreadable, ids(), at(WEEK));
        "a rejection that has expired does not count": beside(until(5)) => first_attempt(5);
        "one that has not goes first until it has": beside(until(6)) => held_until(6);
    }
}

#[test]
fn the_execution_of_a_token_is_read_if_a_rejection_may_mean_it() {
    let main = [(None, Some("main"))];
    let rejected_elsewhere = || completed_request(&completed_approval(Rejected, 0));
    rows! {
        "the pipeline is read": beside(of_execution("other")) => read_until(WEEK);
        "the same execution": beside(of_execution("pipeline-execution")).polled(&pending_request()) => held_with_ids();
        "another execution":
            beside(of_execution("other")).polled(&pending_request()) => found(&pending_request());
        "the revisions of the execution": beside(of_revisions(&main)).polled(&pending_request()) => held_with_ids();
        "other revisions":
            beside(of_revisions(&[(None, Some("other"))])).polled(&pending_request()) => found(&pending_request());
        "the request is completed, and its execution is known":
            beside(of_execution("other")).polled(&rejected_elsewhere()) => found(&rejected_elsewhere());
        "its execution cannot be found": beside(of_execution("other")).polled(&pipeline()) => held_without_execution();
        "history cannot be read":
            beside(of_execution("other")).polled(&pipeline_without_history(indeterminate())) => held_without_execution();
        "the pipeline cannot be read":
            beside(of_execution("other")).polled(&unreadable_pipeline(indeterminate())) => held_without_execution();
    }
}

#[test]
fn a_rejection_of_the_execution_that_the_operator_found_goes_first() {
    let two_sources = || pending_request().with_sources(&[("App", Some("A")), ("Image", Some("I1"))]);
    let unlisted = || pending_request().with_sources(&[]);
    let approval = |rejection, pipeline: &TestPipeline| {
        given(by_id("pipeline-execution"), 5).polled(pipeline).with_rejections([rejection])
    };
    rows! {
        "it names the token": approval(of_token(token()), &two_sources()) => held_with_ids();
        "it names the execution": approval(of_execution("pipeline-execution"), &two_sources()) => held_with_ids();
        "it names a source revision: coverage is not needed to reject":
            approval(of_revisions(&[(None, Some("A"))]), &two_sources()) => held_with_ids();
        "it names another execution": approval(of_execution("other"), &two_sources()) => found(&two_sources());
        "one of its entries is not met":
            approval(of_revisions(&[(None, Some("A")), (Some("Image"), Some("I2"))]), &two_sources())
            => found(&two_sources());
        "CodePipeline does not show the sources of the execution":
            approval(of_revisions(&[(None, Some("A"))]), &unlisted())
            => held_as(SourcesUnknown, ids(), at(WEEK));
    }
}

#[test]
fn a_rejection_that_appears_after_the_intent_was_recorded_goes_first() {
    let recorded = |prior| Case { attempt: Attempt::IntentRecorded(intent(1, 0, 25, prior)), ..given(fresh(), 1) };
    let unlisted = Case { rejections: None, ..recorded(NotApplied) };
    rows! {
        "the rejections are listed again": unlisted => Step::ListRejections;
        "nothing is sent": recorded(NotApplied).with_rejections([of_token(token())]) => held();
        "after doubt, the doubt remains": recorded(InDoubt).with_rejections([of_token(token())]) => wait(25);
        "one of an execution that is not known may mean it":
            recorded(NotApplied).with_rejections([of_execution("other")]) => held_without_execution();
    }
}

#[test]
fn a_rejection_counts_until_a_response_settled_it_or_its_owner_holds_it_back() {
    let rejecting = || fresh().with_result(Rejected, "");
    let counted = || Some(of_token(token()));
    let named = |decision: ApprovalDecision| {
        let decision = decision.with(|decision| decision.metadata.name = Some("stop".to_owned()));
        Rejection::of(&decision)
    };
    let stalled = |reason| rejecting().with_reason(reason);
    let unsupported = Unsupported::SpecValue("Postponed".to_owned());
    let unreadable = rejecting().naming_nothing().with(|decision| decision.spec.unsupported = Some(unsupported));
    for (name, decision, expected) in [
        ("an approval", fresh(), None),
        ("a new rejection", rejecting(), counted()),
        ("suspended", rejecting().suspended(), None),
        ("being deleted", rejecting().deleted(), None),
        ("in doubt", rejecting().in_doubt(), counted()),
        ("delivered", stalled(Reason::Delivered), None),
        ("the same had been decided", stalled(Reason::AlreadyDecided), None),
        ("another response came first", stalled(Reason::ApprovalAlreadyCompleted), None),
        ("expired", stalled(Reason::Expired), None),
        ("CodePipeline requires a summary", stalled(Reason::InvalidApprovalToken), counted()),
        ("ambiguous", stalled(Reason::AmbiguousRevision), counted()),
        ("edited after it was settled", stalled(Reason::Delivered).edited(), counted()),
        ("what it names is not known", unreadable, Some(rejection(RejectedRequests::Any))),
    ] {
        assert_eq!(named(decision), expected, "{name}");
    }
    let limited = named(rejecting().not_after(at(60)));
    assert_eq!(limited, Some(Rejection { not_after: Some(at(60)), ..of_token(token()) }));
}
