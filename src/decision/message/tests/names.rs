//! Names that a pipeline does not have, with those that it has.

use super::executions::WAITING;
use super::*;
use crate::codepipeline::SimilarRevision;
use crate::decision::resolve::{Candidates, RefusedNames, RevisionHint};
use crate::decision::test_fixtures::pipeline::source;
use crate::decision::test_fixtures::targets::here;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn candidates(approvals: &[&str], others: &[&str]) -> Candidates {
    Candidates { approvals: names(approvals), others: names(others) }
}

#[test]
fn a_pipeline_stage_or_approval_that_does_not_exist() {
    check(
        Reason::PipelineNotFound,
        "Correct spec.pipelineName or spec.targetRef, or the operator's AWS account and region.",
        [
            (
                missing(Missing::Pipeline { exception: exception("PipelineNotFound"), location: None }),
                "CodePipeline raised PipelineNotFoundException: message of CodePipeline; the operator continues when that \
                 changes",
            ),
            (
                missing(Missing::Pipeline { exception: exception("PipelineNotFound"), location: Some(here()) }),
                "CodePipeline raised PipelineNotFoundException: message of CodePipeline; the operator reads account \
                 111122223333, region eu-west-1; the operator continues when that changes",
            ),
        ],
    );
    check(
        Reason::StageNotFound,
        "Correct spec.stageName.",
        [(
            missing(Missing::Stage { stages: names(&["Source", "Prod"]) }),
            "Pipeline shop has no stage \"Production\"; its stages are Source, Prod; the operator continues when that \
             changes",
        )],
    );
    check(
        Reason::ActionNotFound,
        "Correct spec.actionName: it must name an approval action of the stage.",
        [
            (
                missing(Missing::Action { candidates: candidates(&["Release"], &[]), stages: Vec::new() }),
                "Stage Production of pipeline shop has no action \"Approve\"; the approval is Release; the operator \
                 continues when that changes",
            ),
            (
                missing(Missing::Action { candidates: candidates(&["Release"], &["Scan"]), stages: Vec::new() }),
                "Stage Production of pipeline shop has no action \"Approve\"; the approval is Release, and action \
                 Scan may be an approval; the operator continues when that changes",
            ),
            (
                missing(Missing::Action { candidates: candidates(&[], &["A", "B"]), stages: names(&["Staging"]) }),
                "Stage Production of pipeline shop has no action \"Approve\"; stage Staging has one; these actions may be \
                 approvals: A, B; the operator continues when that changes",
            ),
            (
                missing(Missing::NotAnApproval { category: "Build".to_owned(), candidates: candidates(&[], &[]) }),
                "Action Approve of pipeline shop is not an approval: its category is Build; in this stage, no other action \
                 can be an approval; the operator continues when that changes",
            ),
        ],
    );
}

#[test]
fn a_name_for_which_codepipeline_refused_a_result() {
    let stages = Missing::Stage { stages: names(&["Source", "Prod"]) };
    check(
        Reason::StageNotFound,
        "Correct spec.stageName.",
        [
            (
                refused_names(Refusal::StageNotFound, RefusedNames::Missing(stages)),
                "CodePipeline raised StageNotFoundException: pipeline shop has no stage \"Production\"; its stages are \
                 Source, Prod",
            ),
            (
                refused(Refusal::StageNotFound, Some(exception("StageNotFound")), None),
                "CodePipeline raised StageNotFoundException: message of CodePipeline",
            ),
        ],
    );
    let refused_action = |missing| refused_names(Refusal::ActionNotFound, RefusedNames::Missing(missing));
    check(
        Reason::ActionNotFound,
        "Correct spec.actionName: it must name an approval action of the stage.",
        [
            (
                refused_action(Missing::Action { candidates: candidates(&["Release"], &[]), stages: Vec::new() }),
                "CodePipeline raised ActionNotFoundException: stage Production of pipeline shop has no action \
                 \"Approve\"; the approval is Release",
            ),
            (
                refused_action(Missing::NotAnApproval {
                    category: "Build".to_owned(),
                    candidates: candidates(&["Release"], &[]),
                }),
                "CodePipeline raised ActionNotFoundException: action Approve of pipeline shop is not an approval: its \
                 category is Build; in this stage, the approval is Release",
            ),
        ],
    );
    check(
        Reason::ActionNotFound,
        "Check that this is the approval, and change the annotation codepipeline.approvals.dev/requestedAt to try again.",
        [(
            refused_names(Refusal::ActionNotFound, RefusedNames::Found),
            "CodePipeline raised ActionNotFoundException: message of CodePipeline; stage Production of pipeline shop has an \
             action \"Approve\" now",
        )],
    );
    let until_read = |prior| unexplained(UnconfirmedCause::NamesNotRead, exception("StageNotFound"), prior);
    check(
        Reason::Unconfirmed,
        "Wait: the operator reports the names once it has read the pipeline.",
        [
            (
                until_read(PriorAttempts::NotApplied),
                "CodePipeline raised StageNotFoundException: message of CodePipeline; the operator reads which names the \
                 pipeline has",
            ),
            (
                until_read(PriorAttempts::InDoubt),
                "It has been unknown since 2026-07-01T12:00:00Z whether CodePipeline accepted Approved; the last attempt \
                 was refused (StageNotFoundException)",
            ),
        ],
    );
}

#[test]
fn many_names_are_cut() {
    let stages: Vec<String> = (0..20).map(|number| format!("{}-{number}", "s".repeat(98))).collect();
    let message = message(&fresh(), &missing(Missing::Stage { stages }));
    assert!(message.contains("s-9, …; ") && !message.contains("s-10"), "{message}");
}

#[test]
fn source_revisions_that_mean_something_else_than_they_name() {
    let no_execution = |hint| waiting_for(ExecutionWait::NoExecution { newest: vec![source("Git", None)], hint });
    let similar = |action, revision| {
        let revision = source(action, Some(revision));
        no_execution(Some(RevisionHint::Similar(SimilarRevision { execution: "7d20b1c4".to_owned(), revision })))
    };
    let (decision, none) = (by_revision("4f1a"), "No execution of pipeline shop has the source revisions 4f1a yet");
    let expected = format!("{none}; execution 7d20b1c4 has 4f1a9c2e (Git), and ids are compared in full");
    let remedy = "If you mean that one, correct spec.sourceRevisions.";
    check_for(&decision, Reason::Waiting, remedy, [(similar("Git", "4f1a9c2e"), &expected)]);
    let expected = format!("{none}; execution 7d20b1c4 has 4f1a (Git), from another source action");
    check_for(&decision, Reason::Waiting, remedy, [(similar("Git", "4f1a"), &expected)]);
    let unknown = RevisionHint::UnknownSource { action: "Gti".to_owned(), known: names(&["Git", "Image"]) };
    let expected = format!("{none}; no execution has a source action \"Gti\", and the source actions are Git, Image");
    let remedy = "Correct actionName in spec.sourceRevisions.";
    check_for(&decision, Reason::Waiting, remedy, [(no_execution(Some(unknown)), &expected)]);
    let expected = format!("{none}; the newest execution has no revision id (Git)");
    check_for(&decision, Reason::Waiting, WAITING, [(no_execution(None), &expected)]);
}
