//! Requests that are completed, executions that ended or are not visible, and histories that the operator cannot read.

use super::*;

fn execution(status: crate::codepipeline::ExecutionStatus) -> TestPipeline {
    pipeline().execution("execution", status)
}

#[test]
fn a_response_settles_whatever_the_execution_does_after_it() {
    let rejected = || completed_by_ada(CompletionStatus::Failed);
    let approved = || completed_by_ada(CompletionStatus::Succeeded);
    let unattributed = || {
        let response = CompletedApproval { by: None, ..response(Rejected, "execution", "new", -10) };
        Expected::Other(Resolution::Settled { response, open: None })
    };
    rows! {
        "it was approved, and the execution continues":
            execution(RUNNING).entry("new", "execution", approved()), by_id(), LATE
            => settled(Approved, "execution", "new");
        "the state view shows the completion before history does":
            execution(RUNNING).entry("new", "execution", IN_PROGRESS).shows("new", None, approved()), by_id(), LATE
            => settled(Approved, "execution", "new");
        "it was rejected, and the execution failed":
            execution(FAILED).entry("new", "execution", rejected()), by_id(), LATE
            => settled(Rejected, "execution", "new");
        "it was rejected, and the stage is being retried":
            execution(RUNNING).entry("new", "execution", rejected()), by_id(), LATE
            => settled(Rejected, "execution", "new");
        "it was rejected, and the execution is stopping":
            execution(STOPPING).entry("new", "execution", rejected()), by_id(), LATE
            => settled(Rejected, "execution", "new");
        "it was rejected, and CodePipeline does not say by whom":
            execution(FAILED).entry("new", "execution", completed(CompletionStatus::Failed, Some("checked"), None)),
            by_id(), LATE => unattributed();
        "of several responses, the newest counts":
            execution(RUNNING).entry("new", "execution", approved_at(-10)).started(-50)
                .entry("old", "execution", rejected_at(-60)).started(-100),
            by_id(), LATE => settled(Approved, "execution", "new");
        "… whatever their order in history":
            execution(RUNNING).entry("old", "execution", rejected_at(-60)).started(-100)
                .entry("new", "execution", approved_at(-10)).started(-50),
            by_id(), LATE => settled(Approved, "execution", "new");
        "a newer request that timed out takes nothing back":
            execution(FAILED).entry("new", "execution", timed_out_at(-10)).started(-50)
                .entry("old", "execution", approved_at(-60)).started(-100),
            by_id(), LATE => settled_at(-60, Approved, "execution", "old");
    }
}

#[test]
fn a_request_that_ended_without_a_response_settles_nothing() {
    let failed = || execution(FAILED).entry("new", "execution", completed(CompletionStatus::Failed, None, None));
    let refused = TestBinding { refused_as_completed: Some(token()), ..by_id() };
    let rejected = CompletedApproval { summary: None, by: None, ..response(Rejected, "execution", "new", -10) };
    let retried = || execution(FAILED).entry("new", "execution", IN_PROGRESS).started(100);
    rows! {
        "it timed out or was canceled": failed(), by_id(), LATE => ended("execution", ExecutionEnd::Failed);
        "CodePipeline refused its token as completed: someone responded":
            failed().with_token(token()), refused, LATE
            => Resolution::Settled { response: rejected, open: None }.into();
        "… but not if it refused the token of another request":
            failed().with_token(other_token()), refused, LATE => ended("execution", ExecutionEnd::Failed);
        "its execution was stopped without waiting for it":
            execution(STOPPED).entry("new", "execution", completed(CompletionStatus::Abandoned, None, None)), by_id(),
            LATE => ended("execution", ExecutionEnd::Stopped);
        "the execution ended, and history may not show the outcome of the request yet":
            execution(FAILED).entry("new", "execution", IN_PROGRESS), by_id(), 59
            => not_yet("execution", PastApproval, Some(60));
        "the stage was retried after the executions were listed":
            retried(), by_id(), 100 => not_yet("execution", PastApproval, Some(160));
        "the execution ended, and history never shows that the request was canceled":
            execution(FAILED).entry("new", "execution", IN_PROGRESS), by_id(), 60
            => ended("execution", ExecutionEnd::Failed);
    }
}

#[test]
fn a_decision_waits_until_its_execution_reaches_the_approval_or_ends() {
    let before_production = |disabled, behind: Option<&str>| ExecutionPosition::BeforeStage {
        stage: "Production".to_owned(),
        disabled,
        behind: behind.map(str::to_owned),
    };
    let freeze = || DisabledTransition { reason: Some("freeze".to_owned()) };
    let inbound = || execution(RUNNING).in_stages([Some("execution"), None, Some("execution")]);
    let behind = || execution(RUNNING).in_stages([None, Some("other"), Some("execution")]);
    let unknown = UnknownExecution { exception: exception("PipelineExecutionNotFound"), read_at: at(LATE) };
    rows! {
        "it waits to enter the stage":
            inbound(), by_id(), LATE => not_yet("execution", before_production(None, None), None);
        "… behind an execution that no one queried":
            behind(), by_id(), LATE => not_yet("execution", before_production(None, Some("other")), None);
        "… and the transition into it is disabled":
            TestPipeline { disabled_transition: Some(freeze()), ..inbound() }, by_id(), LATE
            => not_yet("execution", before_production(Some(freeze()), None), None);
        "no stage shows it": execution(RUNNING), by_id(), LATE
            => not_yet("execution", ExecutionPosition::InProgress, None);
        "it has just ended, and may have reached the approval before":
            execution(SUPERSEDED), by_id(), 11 => not_yet("execution", PastApproval, Some(12));
        "it was superseded": execution(SUPERSEDED), by_id(), 12 => ended("execution", ExecutionEnd::Superseded);
        "its stage was skipped": execution(SUCCEEDED), by_id(), LATE => ended("execution", ExecutionEnd::Succeeded);
        "CodePipeline does not know it": pipeline(), by_id(), LATE => Resolution::UnknownExecution(unknown).into();
    }
}

#[test]
fn a_history_that_cannot_be_read_holds_back() {
    let entered = || {
        let entered = execution(RUNNING).entry("new", "execution", IN_PROGRESS);
        entered.shows("new", Some(token()), IN_PROGRESS)
    };
    let unreadable = |pipeline| TestPipeline { unreadable: vec!["execution"], ..pipeline };
    rows! {
        "of the execution that asks": unreadable(entered()), by_id(), LATE => not_yet("execution", BeyondHistory, None);
        "of an execution that ended":
            unreadable(execution(FAILED)), by_id(), LATE => not_yet("execution", BeyondHistory, None);
        "it has more pages than the operator reads":
            TestPipeline { has_endless_history: true, ..entered() }, by_id(), LATE
            => not_yet("execution", BeyondHistory, None);
    }
}
