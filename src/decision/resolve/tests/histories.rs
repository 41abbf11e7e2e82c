//! Histories of CodePipeline, and what a decision that names an execution or source revisions may do after them. Each test is a
//! history; nothing depends on when the operator looked.

use super::*;

/// An execution E2 asks, after an execution E1 of the same revision with this status.
fn after(e1: crate::codepipeline::ExecutionStatus) -> TestPipeline {
    let pipeline = pipeline().execution("E2", RUNNING).execution("E1", e1);
    pipeline.entry("A2", "E2", IN_PROGRESS).started(-50).shows("A2", Some(token()), IN_PROGRESS)
}

/// The execution asks a second time, after its first request ended like this.
fn retried(first: ActionProgress) -> TestPipeline {
    let pipeline = pipeline().execution("execution", RUNNING);
    let pipeline = pipeline.entry("A2", "execution", IN_PROGRESS).started(-50);
    pipeline.entry("A1", "execution", first).started(-200).shows("A2", Some(token()), IN_PROGRESS)
}

#[test]
fn someone_responded_to_an_earlier_execution_in_the_console_and_a_later_one_asks() {
    let with = |e1: ActionProgress| after(FAILED).entry("A1", "E1", e1).started(-200);
    rows! {
        "rejected": with(rejected_at(-100)), by_revision(), LATE
            => used_up(response(Rejected, "E1", "A1", -100), "E2", true);
        "approved": with(approved_at(-100)), by_revision(), LATE
            => used_up(response(Approved, "E1", "A1", -100), "E2", true);
        "nobody did": with(timed_out_at(-100)), by_revision(), LATE => pending(token(), "E2", "A2");
    }
}

#[test]
fn someone_responded_to_an_earlier_execution_and_a_later_one_is_on_its_way() {
    let pipeline = pipeline().execution("E2", RUNNING).execution("E1", FAILED);
    rows! {
        "it has not reached the approval":
            pipeline.entry("A1", "E1", rejected_at(-100)), by_revision(), LATE
            => used_up(response(Rejected, "E1", "A1", -100), "E2", false);
    }
}

#[test]
fn in_parallel_mode_someone_rejects_one_of_two_pending_requests() {
    let two = |first: ActionProgress, e1| {
        let pipeline = pipeline().execution("E2", RUNNING).execution("E1", e1).parallel();
        let pipeline = pipeline.entry("A2", "E2", IN_PROGRESS).with_token(token()).started(-50);
        pipeline.entry("A1", "E1", first).with_token(other_token()).started(-60)
    };
    let several = ExecutionWait::Several(vec!["E2".to_owned(), "E1".to_owned()]);
    rows! {
        "before, both are pending": two(IN_PROGRESS, RUNNING), by_revision(), 5 => waiting(several, Some(10));
        "E1 has ended, and history does not show how":
            two(IN_PROGRESS, FAILED), by_revision(), 30 => not_yet("E1", PastApproval, Some(60));
        "history shows the rejection": two(rejected_at(0), FAILED), by_revision(), LATE
            => used_up(response(Rejected, "E1", "A1", 0), "E2", true);
    }
}

#[test]
fn a_stage_was_retried_with_all_actions_after_its_approval_had_been_approved() {
    rows! {
        "by its execution": retried(approved_at(-100)), by_id(), LATE
            => used_up(response(Approved, "execution", "A1", -100), "execution", true);
        "by its revision": retried(approved_at(-100)), by_revision(), LATE
            => used_up(response(Approved, "execution", "A1", -100), "execution", true);
    }
}

#[test]
fn someone_rejected_a_request_the_next_opens_at_once_and_history_lags() {
    rows! {
        "history shows A1 as in progress":
            retried(IN_PROGRESS), by_id(), 9 => not_yet("execution", PreviousRequest, Some(10));
        "the same, by the revision":
            retried(IN_PROGRESS), by_revision(), 9 => not_yet("execution", PreviousRequest, Some(10));
        "the next is that of another execution, because one at a time is in the stage":
            after(RUNNING).entry("A1", "E1", IN_PROGRESS).started(-200), by_revision(), 9
            => not_yet("E1", PreviousRequest, Some(10));
        "history shows the end of A1": retried(rejected_at(-51)), by_id(), 9
            => used_up(response(Rejected, "execution", "A1", -51), "execution", true);
        "history never shows that a request was canceled by an edit of the pipeline":
            retried(IN_PROGRESS), by_id(), 10 => pending(token(), "execution", "A2");
    }
}

#[test]
fn a_request_timed_out_and_the_stage_was_retried() {
    rows! {
        "by its execution": retried(timed_out_at(-100)), by_id(), LATE => pending(token(), "execution", "A2");
        "by its revision": retried(timed_out_at(-100)), by_revision(), LATE => pending(token(), "execution", "A2");
    }
}

#[test]
fn the_history_of_an_earlier_execution_is_not_read() {
    let e1 = || after(FAILED).entry("A1", "E1", rejected_at(-100)).started(-200);
    let throttled = crate::decision::test_fixtures::not_applied(crate::codepipeline::RetryCause::Throttled);
    rows! {
        "it cannot be read": TestPipeline { unreadable: vec!["E1"], ..e1() }, by_revision(), LATE
            => not_yet("E1", BeyondHistory, None);
        "reads are throttled": TestPipeline { history_error: Some(throttled), ..e1() }, by_revision(), LATE
            => not_yet("E2", BeyondHistory, None);
        "once it is read, it counts": e1(), by_revision(), LATE
            => used_up(response(Rejected, "E1", "A1", -100), "E2", true);
    }
}

#[test]
fn a_retry_after_a_rejection_with_ignore_responses_before() {
    let rejected = || retried(rejected_at(-100));
    rows! {
        "set after the rejection": rejected(), by_id().ignoring_responses_before(-99), LATE
            => pending(token(), "execution", "A2");
        "… also by the revision": rejected(), by_revision().ignoring_responses_before(-99), LATE
            => pending(token(), "execution", "A2");
        "set at the rejection, which still counts": rejected(), by_id().ignoring_responses_before(-100), LATE
            => used_up(response(Rejected, "execution", "A1", -100), "execution", true);
        "a response of which CodePipeline does not say the time counts":
            retried(timeless_rejection()), by_id().ignoring_responses_before(-99), LATE
            => used_up(CompletedApproval { at: None, ..response(Rejected, "execution", "A1", 0) }, "execution", true);
        "what history does not show yet is not ignored":
            retried(IN_PROGRESS), by_id().ignoring_responses_before(5), 9
            => not_yet("execution", PreviousRequest, Some(10));
    }
}

fn timeless_rejection() -> ActionProgress {
    match rejected_at(0) {
        ActionProgress::Completed(completion) => {
            ActionProgress::Completed(crate::codepipeline::ActionCompletion { at: None, ..completion })
        }
        ActionProgress::InProgress => unreachable!("it is completed"),
    }
}

#[test]
fn a_failed_execution_whose_stage_is_retried_continues() {
    let ended_without_response = pipeline().execution("execution", FAILED);
    let retried = pipeline().execution("execution", RUNNING).entry("A1", "execution", IN_PROGRESS);
    rows! {
        "it failed before it reached the approval": ended_without_response, by_id(), LATE
            => ended("execution", ExecutionEnd::Failed);
        "it is retried, and asks": retried.shows("A1", Some(token()), IN_PROGRESS), by_id(), LATE
            => pending(token(), "execution", "A1");
    }
}
