//! Messages about executions: what a decision waits for, and how executions end without a response.

use super::*;
use crate::codepipeline::DisabledTransition;
use crate::decision::test_fixtures::pipeline::source;
use crate::decision::test_fixtures::targets::here;

pub const WAITING: &str = "The operator submits the result automatically when the approval is pending.";

fn execution() -> String {
    "4f1a9c2e".to_owned()
}

fn at_position(position: ExecutionPosition) -> Outcome {
    waiting_for(ExecutionWait::Execution { execution: execution(), position })
}

#[test]
fn an_execution_that_ended() {
    check(
        Reason::ExecutionEnded,
        "Name another execution.",
        [
            (
                execution_ended(ExecutionEnd::Succeeded),
                "Execution 4f1a9c2e went on without this approval, and succeeded",
            ),
            (
                execution_ended(ExecutionEnd::Superseded),
                "Execution 4f1a9c2e was superseded before its approval received a response",
            ),
            (
                execution_ended(ExecutionEnd::Cancelled),
                "Execution 4f1a9c2e ended (Cancelled) before its approval received a response",
            ),
        ],
    );
    check(
        Reason::ExecutionEnded,
        "Retry the stage of the execution, or name another execution.",
        [
            (
                execution_ended(ExecutionEnd::Failed),
                "Execution 4f1a9c2e ended (Failed) before its approval received a response; the operator continues if \
                 its stage is retried",
            ),
            (
                execution_ended(ExecutionEnd::Stopped),
                "Execution 4f1a9c2e ended (Stopped) before its approval received a response; the operator continues if \
                 its stage is retried",
            ),
        ],
    );
    check(
        Reason::PipelineExecutionNotFound,
        "Correct spec.pipelineExecutionId or spec.targetRef, or the operator's AWS account and region.",
        [
            (
                unknown_execution(None),
                "CodePipeline raised PipelineExecutionNotFoundException: message of CodePipeline",
            ),
            (
                unknown_execution(Some(here())),
                "CodePipeline raised PipelineExecutionNotFoundException: message of CodePipeline; the operator reads \
                 account 111122223333, region eu-west-1",
            ),
        ],
    );
}

#[test]
fn source_revisions_that_do_not_name_one_request() {
    let several = Ambiguity::SeveralRequests(vec![execution(), "7d20b1c4".to_owned()]);
    check(
        Reason::AmbiguousRevision,
        "Name one of the executions with spec.pipelineExecutionId.",
        [(
            Outcome::AmbiguousRevision(several),
            "2 executions with the source revisions wait for this approval: 4f1a9c2e, 7d20b1c4",
        )],
    );
    let not_covered = |source| Outcome::AmbiguousRevision(Ambiguity::NotCovered { execution: execution(), source });
    check(
        Reason::AmbiguousRevision,
        "Name one execution with spec.pipelineExecutionId, or cover every source in spec.sourceRevisions.",
        [
            (
                not_covered(source("Image", Some("I1"))),
                "Execution 4f1a9c2e waits for a response, and spec.sourceRevisions does not cover its source Image \
                 (revision I1)",
            ),
            (
                not_covered(source("Bucket", None)),
                "Execution 4f1a9c2e waits for a response, and spec.sourceRevisions does not cover its source Bucket \
                 (without a revision id)",
            ),
        ],
    );
}

#[test]
fn a_position_of_an_execution() {
    let behind = |disabled: Option<Option<&str>>, behind: Option<&str>| {
        let disabled = disabled.map(|reason| DisabledTransition { reason: reason.map(str::to_owned) });
        let (stage, behind) = ("Prod".to_owned(), behind.map(str::to_owned));
        at_position(ExecutionPosition::BeforeStage { stage, disabled, behind })
    };
    let before = |disabled| behind(disabled, None);
    let disabled = "Execution 4f1a9c2e is waiting to enter stage Prod, whose inbound transition is disabled";
    check(
        Reason::Waiting,
        WAITING,
        [
            (
                at_position(ExecutionPosition::InStage { stage: "Build".to_owned(), status: "InProgress".to_owned() }),
                "Execution 4f1a9c2e is in stage Build (InProgress)",
            ),
            (before(None), "Execution 4f1a9c2e is waiting to enter stage Prod"),
            (
                behind(None, Some("7d20b1c4")),
                "Execution 4f1a9c2e is waiting to enter stage Prod, behind execution 7d20b1c4",
            ),
            (
                behind(Some(Some("freeze")), Some("7d20b1c4")),
                &format!("{disabled} (freeze), behind execution 7d20b1c4"),
            ),
            (before(Some(Some("freeze"))), &format!("{disabled} (freeze)")),
            (before(Some(Some(""))), disabled),
            (before(Some(None)), disabled),
            (
                at_position(ExecutionPosition::AtApproval),
                "Execution 4f1a9c2e has reached the approval, but its token is not visible yet",
            ),
            (
                at_position(ExecutionPosition::BeyondHistory),
                "Could not read the whole history of execution 4f1a9c2e, which may show a response; to respond now, \
                 set spec.token",
            ),
            (at_position(ExecutionPosition::InProgress), "Execution 4f1a9c2e is in progress"),
        ],
    );
}

#[test]
fn a_request_whose_response_history_does_not_show_yet() {
    check(
        Reason::Waiting,
        "The operator continues when history shows it; no action needed.",
        [
            (
                at_position(ExecutionPosition::PastApproval),
                "Execution 4f1a9c2e ended, and CodePipeline's history does not show the outcome of its approval yet",
            ),
            (
                at_position(ExecutionPosition::PreviousRequest),
                "Execution 4f1a9c2e asked for a response before, and CodePipeline's history does not show yet how that \
                 request ended",
            ),
        ],
    );
}

#[test]
fn an_execution_that_codepipeline_does_not_know() {
    check_for(
        &fresh().naming_execution("4f1a9c2e"),
        Reason::Waiting,
        WAITING,
        [(
            waiting_for(ExecutionWait::UnknownExecution),
            "CodePipeline does not know execution 4f1a9c2e of pipeline shop yet; it may be too new to be visible",
        )],
    );
}

#[test]
fn a_decision_that_waits() {
    let later = |end| waiting_for(ExecutionWait::LaterExecution { execution: execution(), end });
    check(
        Reason::Waiting,
        WAITING,
        [
            (
                later(ExecutionEnd::Failed),
                "Execution 4f1a9c2e ended (Failed) before its approval received a response; waiting for a later \
                 execution of the source revisions",
            ),
            (
                later(ExecutionEnd::Succeeded),
                "Execution 4f1a9c2e went on without this approval, and succeeded; waiting for a later execution of the \
                 source revisions",
            ),
            (
                waiting_for(ExecutionWait::Several(vec![execution(), "7d20b1c4".to_owned()])),
                "2 executions with the source revisions seem to wait for this approval (4f1a9c2e, 7d20b1c4); CodePipeline's history will confirm this within a minute",
            ),
            (
                waiting_for(ExecutionWait::Stopping { execution: execution() }),
                "Execution 4f1a9c2e is being stopped, so the operator does not approve it",
            ),
            (
                waiting(Wait::RequestRefused),
                "CodePipeline refused the result for the request that was pending; the operator reads the pipeline \
                 again",
            ),
            (
                waiting(Wait::CurrentSpec),
                "CodePipeline's history shows that it did not accept the result that was submitted before the last \
                 edit; the operator acts on the edit",
            ),
            (
                waiting(Wait::ReadablePipeline { detail: "the connection broke".to_owned(), since: at(0) }),
                "Could not read the pipeline at 2026-07-01T12:00:00Z (the connection broke); retrying",
            ),
        ],
    );
}

#[test]
fn an_execution_with_a_source_that_is_not_covered() {
    let not_covered = ExecutionWait::NotCovered { execution: execution(), source: source("Image", Some("I1")) };
    check(
        Reason::Waiting,
        "Add an entry for this source to spec.sourceRevisions, or wait for an execution whose sources are covered.",
        [(
            waiting_for(not_covered),
            "Execution 4f1a9c2e has the source Image (revision I1), which spec.sourceRevisions does not cover",
        )],
    );
}

#[test]
fn a_decision_whose_source_revisions_no_execution_has() {
    let none = || waiting_for(ExecutionWait::NoExecution { newest: Vec::new(), hint: None });
    let long = "a".repeat(65);
    let cut = format!("{}…", "a".repeat(64));
    for (entries, expected) in [
        (vec![entry(None, Some("9b1f6d3"))], "9b1f6d3"),
        (vec![entry(Some("Source"), Some("9b1f6d3"))], "9b1f6d3 (Source)"),
        (vec![entry(None, Some("9b1f6d3")), entry(Some("Image"), None)], "9b1f6d3, any (Image)"),
        (vec![entry(None, Some(&long))], &cut),
    ] {
        let expected = format!("No execution of pipeline shop has the source revisions {expected} yet");
        check_for(&fresh().naming_revisions(entries), Reason::Waiting, WAITING, [(none(), &expected)]);
    }
}
