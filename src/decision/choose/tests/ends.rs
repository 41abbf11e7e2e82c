//! Requests and runs that are over, or not to be seen, and what is chosen among several runs of a revision.

use super::*;

const STOPPING: ExecutionStatus = ExecutionStatus::Stopping;
const SUCCEEDED: ExecutionStatus = ExecutionStatus::Over(ExecutionEnd::Succeeded);
const SUPERSEDED: ExecutionStatus = ExecutionStatus::Over(ExecutionEnd::Superseded);
const STOPPED: ExecutionStatus = ExecutionStatus::Over(ExecutionEnd::Stopped);

#[test]
fn a_request_that_is_over_was_answered_or_its_run_goes_on_or_ended() {
    let run = |status| scene().run("run", status);
    let nobody = || over(EndStatus::Failed, None);
    let rejected = || by_ada(EndStatus::Failed);
    let retried = run(FAILED).entry("new", "run", GOING).entries.remove(0);
    let retried = ActionExecution { started: Some(at(100)), ..retried };
    check(vec![
        (
            "it was approved, and the run goes on",
            run(ON).entry("new", "run", by_ada(EndStatus::Succeeded)),
            TO_RUN,
            LATE,
            finished(ApprovalStatus::Approved, "run", "new"),
        ),
        (
            "of an end the state knows first",
            run(ON).entry("new", "run", GOING).shows("new", None, by_ada(EndStatus::Succeeded)),
            TO_RUN,
            LATE,
            finished(ApprovalStatus::Approved, "run", "new"),
        ),
        (
            "it was rejected, and the run failed",
            run(FAILED).entry("new", "run", rejected()),
            TO_RUN,
            LATE,
            finished(ApprovalStatus::Rejected, "run", "new"),
        ),
        (
            "it was rejected, and the stage is being retried",
            run(ON).entry("new", "run", rejected()),
            TO_RUN,
            LATE,
            waits("run", Place::UnderWay, None),
        ),
        (
            "it was rejected, and the run is being stopped",
            run(STOPPING).entry("new", "run", rejected()),
            TO_RUN,
            LATE,
            waits("run", Place::UnderWay, None),
        ),
        (
            "it timed out or was cancelled",
            run(FAILED).entry("new", "run", nobody()),
            TO_RUN,
            LATE,
            ended("run", ExecutionEnd::Failed),
        ),
        (
            "its run was stopped without waiting for it",
            run(STOPPED).entry("new", "run", over(EndStatus::Abandoned, None)),
            TO_RUN,
            LATE,
            ended("run", ExecutionEnd::Stopped),
        ),
        (
            "the run ended, and history may not know yet how the request did",
            run(FAILED).entry("new", "run", GOING),
            TO_RUN,
            59,
            waits("run", Place::PastApproval, Some(60)),
        ),
        (
            "the stage was retried after the runs were listed",
            Scene { entries: vec![retried], ..run(FAILED) },
            TO_RUN,
            100,
            waits("run", Place::PastApproval, Some(160)),
        ),
        (
            "the run ended, and history never learns that the request was cancelled",
            run(FAILED).entry("new", "run", GOING),
            TO_RUN,
            60,
            ended("run", ExecutionEnd::Failed),
        ),
    ]);
}

#[test]
fn a_run_that_has_not_come_to_the_approval_is_waited_for_until_it_ends() {
    let run = |status| scene().run("run", status);
    let unknown = Choice::Unknown(exception("PipelineExecutionNotFound"));
    check(vec![
        (
            "it waits in front of the stage",
            run(ON).within([Some("run"), None, Some("run")]),
            TO_RUN,
            LATE,
            waits("run", Place::InFrontOf { stage: "Production".to_owned() }, None),
        ),
        ("it is nowhere to be seen", run(ON), TO_RUN, LATE, waits("run", Place::UnderWay, None)),
        (
            "it ended a moment ago, and may have come to the approval before",
            run(SUPERSEDED),
            TO_RUN,
            6,
            waits("run", Place::PastApproval, Some(7)),
        ),
        ("it was superseded", run(SUPERSEDED), TO_RUN, 7, ended("run", ExecutionEnd::Superseded)),
        ("the service does not know it", scene(), TO_RUN, LATE, unknown),
    ]);
}

#[test]
fn a_look_that_was_made_for_others_says_nothing_of_a_run() {
    let others = Ask { stage: "Production".into(), action: "Approve".into(), run: TO_REVISION.asked() };
    let view = look(&scene(), at(LATE), [others].into(), None).now_or_never().expect("an end").expect("a view");
    let run = PipelineExecutionId("run".to_owned());
    let choice = choose(&view, &fresh().spec, RunBinding::PipelineExecution(&run));
    assert_eq!(choice, Choice::NotYet { wait: Wait::UnknownRun, again: None });
}

#[test]
fn of_the_runs_of_a_revision_the_one_that_is_pending_is_chosen() {
    let several = |seconds| Choice::NotYet {
        wait: Wait::Several(vec!["new".to_owned(), "old".to_owned()]),
        again: Some(at(seconds)),
    };
    let approved = || by_ada(EndStatus::Succeeded);
    let two = |newest, oldest| scene().run("new", newest).run("old", oldest);
    let in_parallel = || two(ON, ON).parallel().entry("b", "new", GOING).with(token());
    check(vec![
        ("no run has it", scene(), TO_REVISION, LATE, Choice::NotYet { wait: Wait::NoRun, again: None }),
        (
            "another source has it",
            scene().run("run", ON).entry("a", "run", GOING).shows("a", Some(token()), GOING),
            Bound { source: Some("Image"), ..TO_REVISION },
            LATE,
            Choice::NotYet { wait: Wait::NoRun, again: None },
        ),
        (
            "the source that is named has it",
            scene().run("run", ON).entry("a", "run", GOING).shows("a", Some(token()), GOING),
            Bound { source: Some("Git"), ..TO_REVISION },
            LATE,
            pending(token(), "run", "a"),
        ),
        (
            "the older one is pending and the newer on its way",
            two(ON, ON).entry("a", "old", GOING).shows("a", Some(token()), GOING),
            TO_REVISION,
            LATE,
            pending(token(), "old", "a"),
        ),
        (
            "two are pending",
            in_parallel().entry("a", "old", GOING).with(other_token()),
            TO_REVISION,
            LATE,
            Choice::Ambiguous(vec!["new".to_owned(), "old".to_owned()]),
        ),
        (
            "two are pending, if history does not lag",
            in_parallel().entry("a", "old", GOING).with(other_token()),
            TO_REVISION,
            5,
            several(10),
        ),
        (
            "two are at the approval, and the token of one is not to be seen yet",
            in_parallel().entry("a", "old", GOING),
            TO_REVISION,
            5,
            several(10),
        ),
        (
            "one of two was answered",
            in_parallel().entry("a", "old", approved()),
            TO_REVISION,
            LATE,
            pending(token(), "new", "b"),
        ),
        (
            "the newest was answered",
            two(SUCCEEDED, FAILED).entry("b", "new", approved()),
            TO_REVISION,
            LATE,
            finished(ApprovalStatus::Approved, "new", "b"),
        ),
        (
            "an older one was answered, and the newest is on its way",
            two(ON, SUCCEEDED).entry("a", "old", approved()),
            TO_REVISION,
            LATE,
            waits("new", Place::UnderWay, None),
        ),
        (
            "the newest ended without an answer",
            two(FAILED, SUCCEEDED).entry("a", "old", approved()),
            TO_REVISION,
            LATE,
            Choice::NotYet {
                wait: Wait::LaterRun { execution: "new".to_owned(), end: ExecutionEnd::Failed },
                again: None,
            },
        ),
    ]);
}
