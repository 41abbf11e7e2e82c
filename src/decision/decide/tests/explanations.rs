//! CodePipeline refused a submission because its request is completed or gone: history shows how it was completed. Or it refused a name:
//! the pipeline shows which ones there are.

use super::*;
use crate::decision::resolve::RefusedNames;
use UnconfirmedCause::NotInHistory;

/// At second 5, a decision whose attempt was refused like this.
fn unexplained(refusal: Refusal, prior: PriorAttempts) -> Case {
    unexplained_at(5, refusal, prior)
}

fn unexplained_at(seconds: i64, refusal: Refusal, prior: PriorAttempts) -> Case {
    let outcome = (prior != InDoubt).then_some(SubmissionOutcome::NotAccepted);
    let decision = fresh().in_doubt().raised(raised(refusal)).with_status(|status| {
        status.submission.as_mut().expect("a submission").outcome = outcome;
    });
    given(decision, seconds)
}

fn raised(refusal: Refusal) -> Exception {
    exception(Reason::from(refusal).as_str())
}

fn still_unknown(
    cause: UnconfirmedCause,
    refusal: Refusal,
    prior: PriorAttempts,
    ids: ExecutionIds,
    next: i64,
) -> Step {
    write(Outcome::Unconfirmed { cause, refused: Some((raised(refusal), prior)), ids, next: at(next) })
}

#[test]
fn a_request_that_codepipeline_says_is_completed() {
    let refusal = Refusal::ApprovalAlreadyCompleted;
    let case = |prior| unexplained(refusal, prior);
    let case_at = |seconds, prior| unexplained_at(seconds, refusal, prior);
    let approved = |seconds| completed_request(&completed_approval(Approved, seconds));
    let by_others = |record| refused(refusal, Some(already_completed()), record);
    let after_doubt = || write(refused_after_doubt(refusal));
    let lost = || pipeline_without_history(indeterminate());
    let denied = || pipeline_without_history(not_applied(RetryCause::AccessDenied));
    let not_yet = |prior, next| still_unknown(NotInHistory, refusal, prior, ids(), next);
    let unread = |prior, next| still_unknown(history_unreadable(), refusal, prior, unknown_ids(), next);
    let denied_after_doubt = || UnconfirmedCause::HistoryUnreadable("not now".to_owned());
    rows! {
        "the operator reads the history": case(NotApplied) => read_until(65);
        "… after doubt too": case(InDoubt) => read_until(65);
        "an attempt that was refused cannot have completed it":
            case(NotApplied).polled(&approved(0))
            => already_decided(completed_approval(Approved, 0), Some(already_completed()));
        "an attempt before it can":
            case(InDoubt).polled(&approved(0)) => delivered_by(completed_approval(Approved, 0));
        "… unless it was completed before our first attempt":
            case(InDoubt).polled(&approved(-11))
            => already_decided(completed_approval(Approved, -11), Some(already_completed()));
        "another result":
            case(NotApplied).polled(&completed_request(&completed_approval(Rejected, 0)))
            => by_others(Some(completed_approval(Rejected, 0)));
        "another result, after doubt":
            case(InDoubt).polled(&completed_request(&completed_approval(Rejected, 0)))
            => by_others(Some(completed_approval(Rejected, 0)));
        "no response":
            case(NotApplied).polled(&completed_request(&completed_approval(None, 0)))
            => by_others(Some(completed_approval(None, 0)));
        "no trace proves nothing": case(NotApplied).polled(&pipeline()) => by_others(None);
        "no trace after doubt": case(InDoubt).polled(&pipeline()) => after_doubt();
        "a pipeline that does not exist proves nothing": case(NotApplied).polled(&missing_pipeline()) => by_others(None);
        "… nor does it after doubt": case(InDoubt).polled(&missing_pipeline()) => after_doubt();
        "a history that lags is read again": case(NotApplied).polled(&lagging_request()) => not_yet(NotApplied, 20);
        "so is one that shows the request as pending":
            case(NotApplied).polled(&pending_request()) => not_yet(NotApplied, 20);
        "so is one that cannot be read": case(NotApplied).polled(&lost()) => unread(NotApplied, 20);
        "after doubt too": case(InDoubt).polled(&lagging_request()) => not_yet(InDoubt, 20);
        "less than ten minutes of contradiction after the deadline are not enough":
            case_at(624, NotApplied).polled(&lagging_request()) => not_yet(NotApplied, 625);
        "ten minutes are": case_at(625, NotApplied).polled(&lagging_request()) => by_others(None);
        "… after doubt too": case_at(625, InDoubt).polled(&lagging_request()) => after_doubt();
        "who may respond may not be allowed to read": case(NotApplied).polled(&denied()) => by_others(None);
        "… but doubt is not dropped for that":
            case(InDoubt).polled(&denied())
            => still_unknown(denied_after_doubt(), refusal, InDoubt, unknown_ids(), 20);
    }
}

#[test]
fn a_token_that_codepipeline_says_is_invalid() {
    let refusal = Refusal::InvalidApprovalToken;
    let case = |prior| unexplained(refusal, prior);
    let invalid = || refused(refusal, Some(raised(refusal)), None);
    let after_doubt = || write(refused_after_doubt(refusal));
    let approved = completed_approval(Approved, 0);
    let rejected = completed_approval(Rejected, 0);
    let not_yet = |prior, next| still_unknown(NotInHistory, refusal, prior, ids(), next);
    rows! {
        "history does not show it: the token is mistyped": case(NotApplied).polled(&pipeline()) => invalid();
        "… after doubt": case(InDoubt).polled(&pipeline()) => after_doubt();
        "it is pending: something else is wrong, such as a summary that the action requires":
            case(NotApplied).polled(&pending_request()) => invalid();
        "the pipeline moved on after an approval":
            case(NotApplied).polled(&completed_request(&approved))
            => already_decided(approved.clone(), Some(raised(refusal)));
        "the pipeline moved on after a rejection":
            case(NotApplied).polled(&completed_request(&rejected))
            => refused(Refusal::ApprovalAlreadyCompleted, Some(raised(refusal)), Some(rejected.clone()));
        "it was ours": case(InDoubt).polled(&completed_request(&approved)) => delivered_by(approved.clone());
        "it ended without a response":
            case(NotApplied).polled(&completed_request(&completed_approval(None, 0))) => invalid();
        "history lags": case(NotApplied).polled(&lagging_request()) => not_yet(NotApplied, 20);
        "an edit of the pipeline canceled the request, which history never shows":
            unexplained_at(85, refusal, NotApplied).polled(&lagging_request()) => invalid();
    }
}

#[test]
fn a_name_that_codepipeline_does_not_know() {
    let named = |stage: &str, action: &str, mut case: Case| {
        let spec = &mut case.decision.spec;
        (spec.stage_name, spec.action_name) = (stage.to_owned(), action.to_owned());
        case
    };
    let without = |refusal| refused(refusal, Some(raised(refusal)), None);
    let with = |refusal, names| {
        let (exception, names) = (Some(raised(refusal)), Some(names));
        write(Outcome::Refused { refusal, exception, record: None, open: None, names, caveat: None })
    };
    let stages =
        || RefusedNames::Missing(Missing::Stage { stages: ["Build", "Production"].map(str::to_owned).to_vec() });
    let approvals = || {
        let others = ["Prepare", "Approve"].map(str::to_owned).to_vec();
        let candidates = Candidates { approvals: Vec::new(), others };
        RefusedNames::Missing(Missing::Action { candidates, stages: Vec::new() })
    };
    let after_doubt = |names| {
        let refusal = Refusal::StageNotFound;
        let (exception, caveat) = (Some(raised(refusal)), Some(Caveat::AttemptInDoubt));
        write(Outcome::Refused { refusal, exception, record: None, open: None, names, caveat })
    };
    let (stage, action) = (Refusal::StageNotFound, Refusal::ActionNotFound);
    let denied = || unreadable_pipeline(not_applied(RetryCause::AccessDenied));
    rows! {
        "the operator reads the pipeline": unexplained(stage, NotApplied) => read_until(85);
        "… but waits no longer than this": unexplained_at(85, stage, NotApplied) => without(stage);
        "the stages": named("Prod", "Approve", unexplained(stage, NotApplied)).polled(&pipeline()) => with(stage, stages());
        "the actions of the stage":
            named("Production", "Aprove", unexplained(action, NotApplied)).polled(&pipeline()) => with(action, approvals());
        "names that are there now": unexplained(stage, NotApplied).polled(&pipeline()) => with(stage, RefusedNames::Found);
        "… and in PARALLEL mode, where the state view does not show them":
            unexplained(stage, NotApplied).polled(&pending_request().parallel()) => without(stage);
        "a pipeline that may not be read": unexplained(stage, NotApplied).polled(&denied()) => without(stage);
        "a pipeline that does not exist now": unexplained(stage, NotApplied).polled(&missing_pipeline()) => without(stage);
        "no name takes back a doubt":
            named("Prod", "Approve", unexplained(stage, InDoubt)).polled(&pipeline()) => after_doubt(Some(stages()));
        "… nor does a failed read": unexplained(stage, InDoubt).polled(&denied()) => after_doubt(None);
    }
}

#[test]
fn the_annotation_or_an_edit_drops_an_explanation_but_no_doubt() {
    let case = |prior, change: fn(ApprovalDecision) -> ApprovalDecision| {
        let Case { decision, .. } = unexplained(Refusal::ApprovalAlreadyCompleted, prior);
        given(change(decision), 25)
    };
    rows! {
        "an edit evaluates the spec": case(NotApplied, DecisionExt::edited) => first_attempt(25);
        "the annotation does": case(NotApplied, |decision| decision.annotated("now")) => first_attempt(25);
        "an edit after doubt is acted on later": case(InDoubt, DecisionExt::edited) => read_until(85);
        "… and the annotation": case(InDoubt, |decision| decision.annotated("now")) => read_until(85);
    }
}
