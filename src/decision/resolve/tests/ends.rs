//! Requests that are completed, executions that ended or are not visible, and several executions of a revision.

use super::*;

const STOPPING: ExecutionStatus = ExecutionStatus::Stopping;
const SUCCEEDED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Succeeded);
const SUPERSEDED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Superseded);
const STOPPED: ExecutionStatus = ExecutionStatus::Ended(ExecutionEnd::Stopped);

#[test]
fn a_completed_request_has_a_result_or_its_execution_continues_or_ended() {
    let execution = |status| pipeline().execution("execution", status);
    let rejected = || completed_by_ada(CompletionStatus::Failed);
    let retried = execution(FAILED).entry("new", "execution", IN_PROGRESS).entries.remove(0);
    let retried = ActionExecution { started_at: Some(at(100)), ..retried };
    check(vec![
        (
            "it was approved, and the execution continues",
            execution(RUNNING).entry("new", "execution", completed_by_ada(CompletionStatus::Succeeded)),
            BY_ID,
            LATE,
            already_completed(ApprovalStatus::Approved, "execution", "new"),
        ),
        (
            "the state view shows the completion before history does",
            execution(RUNNING).entry("new", "execution", IN_PROGRESS).shows(
                "new",
                None,
                completed_by_ada(CompletionStatus::Succeeded),
            ),
            BY_ID,
            LATE,
            already_completed(ApprovalStatus::Approved, "execution", "new"),
        ),
        (
            "it was rejected, and the execution failed",
            execution(FAILED).entry("new", "execution", rejected()),
            BY_ID,
            LATE,
            already_completed(ApprovalStatus::Rejected, "execution", "new"),
        ),
        (
            "it was rejected, and the stage is being retried",
            execution(RUNNING).entry("new", "execution", rejected()),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::InProgress, None),
        ),
        (
            "it was rejected, and the execution is stopping",
            execution(STOPPING).entry("new", "execution", rejected()),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::InProgress, None),
        ),
        (
            "it was rejected, and CodePipeline does not say by whom",
            execution(FAILED).entry("new", "execution", completed(CompletionStatus::Failed, Some("checked"), None)),
            BY_ID,
            LATE,
            Resolution::Completed(CompletedApproval {
                result: Some(ApprovalStatus::Rejected),
                summary: Some("checked".to_owned()),
                at: Some(at(-10)),
                by: None,
                ids: ids("execution", "new"),
            }),
        ),
        (
            "it timed out or was canceled",
            execution(FAILED).entry("new", "execution", completed(CompletionStatus::Failed, None, None)),
            BY_ID,
            LATE,
            ended("execution", ExecutionEnd::Failed),
        ),
        (
            "its execution was stopped without waiting for it",
            execution(STOPPED).entry("new", "execution", completed(CompletionStatus::Abandoned, None, None)),
            BY_ID,
            LATE,
            ended("execution", ExecutionEnd::Stopped),
        ),
        (
            "the execution ended, and history may not show the outcome of the request yet",
            execution(FAILED).entry("new", "execution", IN_PROGRESS),
            BY_ID,
            59,
            not_yet("execution", ExecutionPosition::PastApproval, Some(60)),
        ),
        (
            "the stage was retried after the executions were listed",
            StaticPipeline { entries: vec![retried], ..execution(FAILED) },
            BY_ID,
            100,
            not_yet("execution", ExecutionPosition::PastApproval, Some(160)),
        ),
        (
            "the execution ended, and history never shows that the request was canceled",
            execution(FAILED).entry("new", "execution", IN_PROGRESS),
            BY_ID,
            60,
            ended("execution", ExecutionEnd::Failed),
        ),
    ]);
}

#[test]
fn a_decision_waits_until_its_execution_reaches_the_approval_or_ends() {
    let execution = |status| pipeline().execution("execution", status);
    let before_production = |disabled| ExecutionPosition::BeforeStage { stage: "Production".to_owned(), disabled };
    let freeze = || DisabledTransition { reason: Some("freeze".to_owned()) };
    let unknown = Resolution::UnknownExecution(exception("PipelineExecutionNotFound"));
    check(vec![
        (
            "it waits to enter the stage",
            execution(RUNNING).in_stages([Some("execution"), None, Some("execution")]),
            BY_ID,
            LATE,
            not_yet("execution", before_production(None), None),
        ),
        (
            "… and the transition into it is disabled",
            StaticPipeline {
                disabled_transition: Some(freeze()),
                ..execution(RUNNING).in_stages([Some("execution"), None, Some("execution")])
            },
            BY_ID,
            LATE,
            not_yet("execution", before_production(Some(freeze())), None),
        ),
        (
            "no stage shows it",
            execution(RUNNING),
            BY_ID,
            LATE,
            not_yet("execution", ExecutionPosition::InProgress, None),
        ),
        (
            "it has just ended, and may have reached the approval before",
            execution(SUPERSEDED),
            BY_ID,
            6,
            not_yet("execution", ExecutionPosition::PastApproval, Some(7)),
        ),
        ("it was superseded", execution(SUPERSEDED), BY_ID, 7, ended("execution", ExecutionEnd::Superseded)),
        ("CodePipeline does not know it", pipeline(), BY_ID, LATE, unknown),
    ]);
}

#[test]
fn a_poll_for_other_queries_says_nothing_about_an_execution() {
    let other = Query { stage: "Production".into(), action: "Approve".into(), executions: BY_REVISION.executions() };
    let snapshot = pipeline().snapshot_at(LATE, other);
    let id = PipelineExecutionId("execution".to_owned());
    let resolution = resolve(&snapshot, &fresh().spec, ExecutionBinding::PipelineExecution(&id));
    assert_eq!(resolution, Resolution::NotYet { wait: ExecutionWait::UnknownExecution, recheck_at: None });
}

#[test]
fn the_one_pending_request_of_the_executions_of_a_revision_counts() {
    let several = |seconds| Resolution::NotYet {
        wait: ExecutionWait::Several(vec!["new".to_owned(), "old".to_owned()]),
        recheck_at: Some(at(seconds)),
    };
    let no_execution = |newest| Resolution::NotYet { wait: ExecutionWait::NoExecution { newest }, recheck_at: None };
    let approved = || completed_by_ada(CompletionStatus::Succeeded);
    let two = |newest, oldest| pipeline().execution("new", newest).execution("old", oldest);
    let in_parallel = || two(RUNNING, RUNNING).parallel().entry("b", "new", IN_PROGRESS).with_token(token());
    check(vec![
        ("no execution has it", pipeline(), BY_REVISION, LATE, no_execution(Vec::new())),
        (
            "another source action has it",
            pipeline().execution("execution", RUNNING).entry("a", "execution", IN_PROGRESS).shows(
                "a",
                Some(token()),
                IN_PROGRESS,
            ),
            TestBinding { source: Some("Image"), ..BY_REVISION },
            LATE,
            no_execution(vec![SourceRevision { revision_id: "main".to_owned(), action_name: Some("Git".to_owned()) }]),
        ),
        (
            "the named source action has it",
            pipeline().execution("execution", RUNNING).entry("a", "execution", IN_PROGRESS).shows(
                "a",
                Some(token()),
                IN_PROGRESS,
            ),
            TestBinding { source: Some("Git"), ..BY_REVISION },
            LATE,
            pending(token(), "execution", "a"),
        ),
        (
            "the older one is pending, and the newer one has not reached the approval",
            two(RUNNING, RUNNING).entry("a", "old", IN_PROGRESS).shows("a", Some(token()), IN_PROGRESS),
            BY_REVISION,
            LATE,
            pending(token(), "old", "a"),
        ),
        (
            "two are pending",
            in_parallel().entry("a", "old", IN_PROGRESS).with_token(other_token()),
            BY_REVISION,
            LATE,
            Resolution::Ambiguous(vec!["new".to_owned(), "old".to_owned()]),
        ),
        (
            "two are pending, if history does not lag",
            in_parallel().entry("a", "old", IN_PROGRESS).with_token(other_token()),
            BY_REVISION,
            5,
            several(10),
        ),
        (
            "two are at the approval, and the token of one is not visible yet",
            in_parallel().entry("a", "old", IN_PROGRESS),
            BY_REVISION,
            5,
            several(10),
        ),
        (
            "one of two was approved",
            in_parallel().entry("a", "old", approved()),
            BY_REVISION,
            LATE,
            pending(token(), "new", "b"),
        ),
        (
            "the newest was approved",
            two(SUCCEEDED, FAILED).entry("b", "new", approved()),
            BY_REVISION,
            LATE,
            already_completed(ApprovalStatus::Approved, "new", "b"),
        ),
        (
            "an older one was approved, and the newest has not reached the approval",
            two(RUNNING, SUCCEEDED).entry("a", "old", approved()),
            BY_REVISION,
            LATE,
            not_yet("new", ExecutionPosition::InProgress, None),
        ),
        (
            "the newest ended without a response",
            two(FAILED, SUCCEEDED).entry("a", "old", approved()),
            BY_REVISION,
            LATE,
            Resolution::NotYet {
                wait: ExecutionWait::LaterExecution { execution: "new".to_owned(), end: ExecutionEnd::Failed },
                recheck_at: None,
            },
        ),
    ]);
}
